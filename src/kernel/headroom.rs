//! What runs out first for a service: its own limit, its holders' open files, or the ephemeral ports.

use crate::base::error::{Error, Result};
use crate::base::read_limited;
use crate::kernel::netns;
use crate::kernel::owner::open_process;
use crate::kernel::owner::tables::fullest;
use crate::kernel::socket::{Endpoint, Socket, State};
use crate::kernel::world::{Netns, World};
use procfs::FromRead;
use procfs::process::{LimitValue, Limits};
use rustix::fd::AsFd;
use rustix::io::Errno;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

/// A resource that can run out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// What is counted itself, by option or profile: the connections that the service accepts.
    Connections,
    /// The soft limit of open files (RLIMIT_NOFILE) of one process.
    OpenFiles { pid: u32, command: String },
    /// The local ports that connect(2) chooses from, for one source and destination.
    EphemeralPorts { source: IpAddr, destination: Endpoint },
    /// Bytes that a cgroup may have (memory.max).
    Memory { cgroup: String },
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resource::Connections => f.write_str("connections"),
            Resource::OpenFiles { pid, command } => write!(f, "open files of {command}[{pid}]"),
            Resource::EphemeralPorts { source, destination } => {
                write!(f, "ephemeral ports from {source} to {destination}")
            }
            Resource::Memory { cgroup } => write!(f, "memory of {cgroup}"),
        }
    }
}

/// What of a resource is used, and its limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headroom {
    pub what: Resource,
    pub used: u64,
    pub limit: u64,
}

impl Headroom {
    pub fn left(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

/// The one that runs out first: each leaked connection takes one of each, so it is the one with the
/// fewest left; of several the fullest, then the first given.
pub fn choose(headrooms: &[Headroom]) -> Option<&Headroom> {
    // used / limit, compared without division: a limit of 0 is full.
    let fuller = |a: &Headroom, b: &Headroom| {
        let cross = |used: u64, limit: u64| u128::from(used.max(1)) * u128::from(limit);
        cross(b.used, a.limit).cmp(&cross(a.used, b.limit))
    };
    headrooms.iter().min_by(|a, b| a.left().cmp(&b.left()).then_with(|| fuller(a, b)))
}

/// What was read of processes' limits.
#[derive(Debug, Default)]
pub struct OpenFiles {
    /// The process with the fewest descriptors left. Without a limit it has no headroom to tell.
    pub least: Option<Headroom>,
    /// What could not be read, to be said.
    pub unread: Vec<String>,
}

/// Reads the holders given as (pid, command). A process that ended meanwhile holds nothing.
pub fn open_files(world: &World, holders: &[(u32, String)]) -> OpenFiles {
    let _rights = world.raise();
    let mut files = OpenFiles::default();
    let (mut headrooms, mut refused, mut why) = (Vec::new(), 0usize, String::new());
    for (index, (pid, command)) in holders.iter().enumerate() {
        if world.deadline.is_near() {
            files.unread.push(format!("open files of {} processes not read in time", holders.len() - index));
            break;
        }
        match of_process(world, *pid) {
            Ok(Some((used, limit))) => {
                headrooms.push(Headroom {
                    what: Resource::OpenFiles { pid: *pid, command: command.clone() },
                    used,
                    limit,
                });
            }
            Ok(None) => {}
            Err(error) => {
                refused += 1;
                why = format!("open files of {command}[{pid}] unknown: {error}");
            }
        }
    }
    if refused > 1 {
        why = format!("{why} (and of {} more)", refused - 1);
    }
    files.unread.extend((refused > 0).then_some(why));
    files.least = choose(&headrooms).cloned();
    files
}

/// Descriptors and their soft limit; `None`: no limit, or no such process any more.
fn of_process(world: &World, pid: u32) -> Result<Option<(u64, u64)>> {
    let dir = world.proc_root.join(pid.to_string());
    let count = || {
        let process = open_process(world, pid).and_then(|process| fullest(process.as_fd()));
        process.map_err(|errno| Error::reading(&dir.join("fd"), errno.into()))
    };
    let counted = match soft_limit(&dir.join("limits")) {
        Ok(LimitValue::Value(limit)) => count().map(|used| Some((used, limit))),
        Ok(LimitValue::Unlimited) => Ok(None),
        Err(error) => Err(error),
    };
    match counted {
        Err(Error::File { cause, .. }) if has_ended(&cause) => Ok(None),
        counted => counted,
    }
}

/// What a cgroup's file says once the cgroup is removed.
const NO_DEVICE: i32 = Errno::NODEV.raw_os_error();

fn has_ended(cause: &io::Error) -> bool {
    cause.kind() == io::ErrorKind::NotFound || cause.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}

fn soft_limit(path: &Path) -> Result<LimitValue> {
    let text = read_limited::read(path, 64 * 1024)?;
    // The crate takes shorter lines for a reason to panic.
    if text.lines().any(|line| line.split_whitespace().count() < 4) {
        return Err(Error::content(path, "not a table of limits; is --proc-root a copy of /proc?"));
    }
    let limits = Limits::from_read(text.as_bytes()).map_err(|error| Error::content(path, error))?;
    Ok(limits.max_open_files.soft_limit)
}

/// The cgroup with the fewest bytes left below its memory.max, of those that hold these bytes. A limit
/// holds for all cgroups below. `None`: there is no limit. Also tells what can't be read.
pub fn memory(world: &World, bytes: &BTreeMap<String, u64>) -> (Option<Headroom>, Vec<String>) {
    // The cgroups are this machine's.
    if world.is_foreign() {
        return (None, Vec::new());
    }
    let mut unread = Vec::new();
    let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
    let is_root = |root: &&Path| {
        let exists = root.join("cgroup.controllers").try_exists();
        unread
            .extend(exists.as_ref().err().map(|cause| Error::reading(root, io::Error::from(cause.kind())).to_string()));
        exists.unwrap_or(false)
    };
    let Some(root) = roots.into_iter().find(is_root) else { return (None, unread) };
    let mut used: BTreeMap<&Path, u64> = BTreeMap::new();
    for (path, bytes) in bytes {
        for cgroup in Path::new(path).ancestors() {
            *used.entry(cgroup).or_default() += bytes;
        }
    }
    let mut limit = |cgroup: &Path| {
        let file = root.join(cgroup.strip_prefix("/").ok()?).join("memory.max");
        match read_limited::read(&file, 64) {
            // "max" is none.
            Ok(limit) => limit.trim().parse::<u64>().ok(),
            // The root has none, nor one without that controller, or that is gone.
            Err(Error::File { cause, .. }) if has_ended(&cause) || cause.raw_os_error() == Some(NO_DEVICE) => None,
            Err(error) => {
                unread.push(error.to_string());
                None
            }
        }
    };
    let headroom = |(cgroup, used): (&Path, u64)| {
        let what = Resource::Memory { cgroup: cgroup.display().to_string() };
        Some(Headroom { what, used, limit: limit(cgroup)? })
    };
    let least = choose(&used.into_iter().filter_map(headroom).collect::<Vec<_>>()).cloned();
    (least, unread)
}

/// The local ports that the kernel gives to connect(2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EphemeralPorts {
    first: u16,
    last: u16,
    reserved: HashSet<u16>,
}

impl EphemeralPorts {
    /// From the two files' content: `32768\t60999` and `8080,9000-9010`.
    ///
    /// # Errors
    /// The token that is no port.
    pub fn parse(range: &str, reserved: &str) -> std::result::Result<EphemeralPorts, String> {
        let port = |text: &str| text.parse::<u16>().map_err(|_| format!("'{text}' is not a port"));
        let mut ends = range.split_whitespace();
        let (Some(first), Some(last), None) = (ends.next(), ends.next(), ends.next()) else {
            return Err(format!("'{}' is not a range of ports", range.trim()));
        };
        let (first, last) = (port(first)?, port(last)?);
        if first > last {
            return Err(format!("'{}' is not a range of ports", range.trim()));
        }
        let mut ports = EphemeralPorts { first, last, reserved: HashSet::new() };
        for part in reserved.trim().split(',').filter(|part| !part.is_empty()) {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            ports.reserved.extend(port(from)?.max(first)..=port(to)?.min(last));
        }
        Ok(ports)
    }

    /// The ephemeral ports of the namespace that is looked at.
    ///
    /// # Errors
    /// Where it can't be read: /proc/sys shows the reader's own namespace only (6.18).
    pub fn read(world: &World) -> Result<EphemeralPorts> {
        if world.netns == Netns::All {
            let why = "ephemeral ports are not judged with --netns all";
            return Err(Error::Usage(why.to_owned()));
        }
        let place = netns::place(world)?;
        if !place.is_ours {
            let why = "the ephemeral ports of another network namespace can't be read; run as root with --netns";
            return Err(Error::content(&place.net_dir, why));
        }
        let dir = world.proc_root.join("sys/net/ipv4");
        let read = |name: &str| {
            let path = dir.join(name);
            fs::read_to_string(&path).map_err(|cause| Error::reading(&path, cause))
        };
        let range = read("ip_local_port_range")?;
        EphemeralPorts::parse(&range, &read("ip_local_reserved_ports")?)
            .map_err(|why| Error::content(&dir.join("ip_local_port_range"), why))
    }

    /// As kernels have them before anyone changes it.
    pub fn usual() -> EphemeralPorts {
        EphemeralPorts { first: 32_768, last: 60_999, reserved: HashSet::new() }
    }

    pub fn has(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port) && !self.reserved.contains(&port)
    }

    pub fn count(&self) -> u64 {
        u64::from(self.last - self.first) + 1 - self.reserved.len() as u64
    }
}

/// Ephemeral ports in use, by source and destination: a port can be used once for each.
#[derive(Clone, Debug)]
pub struct PortUse {
    ports: EphemeralPorts,
    /// Several sockets may have one.
    used: HashMap<(IpAddr, Endpoint), Vec<u16>>,
}

impl PortUse {
    pub fn new(ports: EphemeralPorts) -> PortUse {
        PortUse { ports, used: HashMap::new() }
    }

    /// Adds a socket of the client side, in whatever state: TIME_WAIT holds its port too.
    pub fn add(&mut self, socket: &Socket) {
        if socket.state != State::Listen && self.ports.has(socket.local.port) {
            self.used.entry((socket.local.ip, socket.remote)).or_default().push(socket.local.port);
        }
    }

    /// The source and destination that have the fewest left. `None`: no socket was added.
    pub fn busiest(&self) -> Option<Headroom> {
        // By address where equal, so that every run names the same one.
        let count = |ports: &[u16]| {
            let mut ports = ports.to_vec();
            ports.sort_unstable();
            ports.dedup();
            ports.len() as u64
        };
        let counted = self.used.iter().map(|(ends, ports)| (count(ports), *ends));
        let busiest = counted.max_by_key(|(used, ends)| (*used, std::cmp::Reverse(*ends)));
        busiest.map(|(used, (source, destination))| Headroom {
            what: Resource::EphemeralPorts { source, destination },
            used,
            limit: self.ports.count(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::deadline::Deadline;
    use std::time::Duration;

    fn headroom(used: u64, limit: u64) -> Headroom {
        Headroom { what: Resource::Connections, used, limit }
    }

    #[test]
    fn the_fewest_left_runs_out_first() {
        let headrooms = [headroom(10, 512), headroom(1000, 1024), headroom(28_000, 28_231)];
        assert_eq!(choose(&headrooms), Some(&headrooms[1]));
        assert_eq!(choose(&[]), None);
        let over = [headroom(1, 3), headroom(9, 5)];
        assert_eq!(choose(&over), Some(&over[1]), "over its limit nothing is left");
        let even = [headroom(10, 20), headroom(90, 100), headroom(990, 1000)];
        assert_eq!(choose(&even), Some(&even[2]), "the fullest");
        let none = [headroom(5, 5), headroom(0, 0)];
        assert_eq!(choose(&none), Some(&none[1]), "what there is none of");
        assert_eq!(choose(&[headroom(5, 6), headroom(5, 6)]), Some(&headroom(5, 6)));
    }

    #[test]
    fn reserved_ports_don_t_count() {
        let ports = EphemeralPorts::parse("32768\t60999\n", "8080,40000-40009,60990-65535\n").unwrap();
        assert_eq!(ports.count(), 28_232 - 10 - 10);
        assert!(ports.has(32768) && ports.has(60989));
        assert!(!ports.has(40005) && !ports.has(60990) && !ports.has(8080));
        assert_eq!(EphemeralPorts::parse("1 65535", "\n").unwrap().count(), 65535);
        for (range, reserved, token) in [
            ("x 9", "", "'x'"),
            ("9", "", "'9'"),
            ("9 8", "", "'9 8'"),
            ("8 9", "7-y", "'y'"),
            ("8 99999", "", "'99999'"),
        ] {
            assert!(EphemeralPorts::parse(range, reserved).unwrap_err().contains(token), "{range} {reserved}");
        }
    }

    fn client(source: u8, port: u16, destination: u8, state: State) -> Socket {
        let end = |host, port| Endpoint::new([10, 0, 0, host].into(), port);
        Socket::bare(state, end(source, port), end(destination, 3306))
    }

    #[test]
    fn each_source_and_destination_has_all_ports() {
        let mut used = PortUse::new(EphemeralPorts::parse("100 109", "109").unwrap());
        assert_eq!(used.busiest(), None);
        for port in 100..104 {
            used.add(&client(1, port, 9, State::Established));
            used.add(&client(2, port, 9, State::TimeWait));
        }
        used.add(&client(1, 104, 8, State::Established));
        used.add(&client(1, 50, 9, State::Established));
        used.add(&client(1, 109, 9, State::Established));
        used.add(&client(2, 104, 9, State::TimeWait));
        let headroom = used.busiest().unwrap();
        assert_eq!((headroom.used, headroom.limit, headroom.left()), (5, 9, 4));
        assert_eq!(headroom.what.to_string(), "ephemeral ports from 10.0.0.2 to 10.0.0.9:3306");
    }

    fn process(root: &Path, pid: u32, soft: &str, fds: u32) {
        let dir = root.join(pid.to_string());
        fs::create_dir_all(dir.join("fd")).unwrap();
        for fd in 0..fds {
            fs::write(dir.join(format!("fd/{fd}")), "").unwrap();
        }
        let real = fs::read_to_string("/proc/self/limits").unwrap();
        let line = format!("Max open files            {soft:<20} 4096                 files     ");
        let lines: Vec<_> =
            real.lines().map(|old| if old.starts_with("Max open files") { line.as_str() } else { old }).collect();
        fs::write(dir.join("limits"), lines.join("\n") + "\n").unwrap();
    }

    fn world(root: &Path) -> World {
        World { proc_root: root.to_owned(), ..World::here(Deadline::after(Duration::from_secs(9))) }
    }

    #[test]
    fn the_process_with_the_fewest_descriptors_left() {
        let root = tempfile::tempdir().unwrap();
        process(root.path(), 7, "1024", 3);
        process(root.path(), 8, "16", 12);
        process(root.path(), 9, "unlimited", 40);
        let holders = [7, 8, 9, 4711].map(|pid| (pid, "php-fpm".to_owned()));
        let files = open_files(&world(root.path()), &holders);
        let headroom = files.least.unwrap();
        assert_eq!((headroom.used, headroom.limit), (12, 16));
        assert_eq!(headroom.what.to_string(), "open files of php-fpm[8]");
        assert_eq!(files.unread, [""; 0], "one that ended holds nothing");
    }

    #[test]
    fn what_can_t_be_read_is_said() {
        let root = tempfile::tempdir().unwrap();
        process(root.path(), 7, "1024", 3);
        process(root.path(), 8, "1024", 3);
        fs::write(root.path().join("7/limits"), "Max rubbish").unwrap();
        fs::remove_dir_all(root.path().join("8/fd")).unwrap();
        fs::write(root.path().join("8/fd"), "").unwrap();
        let holders = [7, 8].map(|pid| (pid, "x".to_owned()));
        let files = open_files(&world(root.path()), &holders);
        assert_eq!(files.least, None);
        assert!(files.unread[0].contains("x[8]") && files.unread[0].contains("and of 1 more"), "{:?}", files.unread);
        let late = World { deadline: Deadline::after(Duration::ZERO), ..world(root.path()) };
        assert!(open_files(&late, &holders).unread[0].contains("2 processes not read in time"));
    }

    #[test]
    fn this_process_and_this_namespace_are_read() {
        let here = World::here(Deadline::after(Duration::from_secs(9)));
        let files = open_files(&here, &[(std::process::id(), "me".to_owned())]);
        assert!(files.unread.is_empty() && files.least.is_none_or(|headroom| headroom.used > 2 && headroom.limit > 2));
        assert!(EphemeralPorts::read(&here).unwrap().count() > 0);
    }
}
