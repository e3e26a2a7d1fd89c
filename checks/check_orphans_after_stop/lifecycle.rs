//! Whether a service runs, told from cgroups and `/proc` alone.

use connleak::base::duration::Span;
use connleak::base::error::{Error, Result, plain};
use connleak::base::fnv::fnv64;
use connleak::base::read_limited;
use connleak::kernel::boot;
use connleak::kernel::members;
use connleak::kernel::netns;
use connleak::kernel::owner;
use connleak::kernel::owner::listing::{Walk, walk};
use connleak::kernel::owner::portrait::is_called;
use connleak::kernel::proc_stat::{self, Stat};
use connleak::kernel::world::World;
use connleak::report::Service;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Clock ticks a second as user space sees them, whatever the kernel's own are (USER_HZ).
pub const TICKS_A_SECOND: f64 = 100.0;

/// What to watch. All that are given must hold for the service to run.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// systemd unit, or with a slash a cgroup path.
    pub unit: Option<String>,
    /// A process's name (`comm`: its first 15 bytes).
    pub process: Option<String>,
    pub pid_file: Option<PathBuf>,
}

impl Watched {
    /// The options that are given: `--unit and --process`.
    pub fn options(&self) -> String {
        let given = [
            ("--unit", self.unit.is_some()),
            ("--process", self.process.is_some()),
            ("--pid-file", self.pid_file.is_some()),
        ];
        let given = given.iter().filter(|(_, is_given)| *is_given).map(|(option, _)| *option);
        given.collect::<Vec<_>>().join(" and ")
    }

    /// A process of the service; none: it is stopped.
    ///
    /// # Errors
    /// When that can't be told, and for an empty name, as a script's unset variable leaves it: every
    /// cgroup belongs to it, no process has it.
    pub fn running(&self, world: &World) -> Result<Running> {
        let pid_file = self.pid_file.as_ref().map(|path| path.as_os_str().is_empty());
        let is_empty = |name: &Option<String>| name.as_ref().map(|name| name.trim_matches('/').is_empty());
        let given =
            [("--unit", is_empty(&self.unit)), ("--process", is_empty(&self.process)), ("--pid-file", pid_file)];
        if let Some((option, _)) = given.iter().find(|(_, empty)| *empty == Some(true)) {
            return Err(Error::Usage(format!("{option} has no name: which service is watched? see --help")));
        }
        let named = match &self.pid_file {
            Some(path) => match PidFile::read(path)? {
                Some(named) => Some(named),
                None => return Ok(Running::default()),
            },
            None => None,
        };
        let root = &world.proc_root;
        if world.hides_processes() {
            let why = "hides other users' processes (hidepid): whether the service runs can't be told; run as root";
            return Err(Error::content(root, why));
        }
        if !world.sees_the_hosts_processes() && netns::is_hosts() {
            let why = "shows a PID namespace, but the network is the host's: whether the service runs can't be told";
            return Err(Error::content(root, why));
        }
        let (mut running, mut unread) = (Running::default(), None);
        let walked = walk(world, &mut |process, dir| {
            if running.process.is_some() || named.as_ref().is_some_and(|named| named.pid != process.pid) {
                return Ok(());
            }
            match dir.and_then(|dir| self.names(process.pid, dir, named.as_ref())) {
                Ok(told) => running = told,
                Err(errno) if owner::is_gone(errno) => return Err(errno),
                Err(errno) => unread = Some((process.pid, errno)),
            }
            Ok(())
        });
        if running.process.is_some() {
            return Ok(running);
        }
        match (walked, unread) {
            (Walk::Unlisted, _) => Err(Error::content(root, "its processes can't be listed")),
            (_, Some((pid, errno))) => {
                let why = format!("{}: whether the service runs can't be told", plain(&errno.into()));
                Err(Error::content(&root.join(pid.to_string()), why))
            }
            (Walk::Unsettled, None) => {
                let why = "processes come and go faster than they are read: whether the service runs can't be told";
                Err(Error::content(root, why))
            }
            (Walk::Whole, None) => Ok(running),
        }
    }

    /// The name of the file that remembers the stop: one for each service and way to watch it.
    pub fn memory_name(&self, service: &Service, scope: &str) -> String {
        let name = self.key(service, scope);
        let plain: String =
            name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect();
        // FNV-1a tells apart what looks alike in plain letters or is cut.
        let hash = fnv64(name.as_bytes());
        format!("orphans-{}-{hash:016x}.json", &plain[..plain.len().min(100)])
    }

    /// In words: what is written to disk must not change with a field's name.
    fn key(&self, service: &Service, scope: &str) -> String {
        let mut key = format!("{} ports {} side {}", service.profile, service.ports_text(), service.side.name());
        let file = self.pid_file.as_ref().map(|path| path.display().to_string());
        for (option, value) in [("unit", &self.unit), ("process", &self.process), ("pid-file", &file)] {
            if let Some(value) = value {
                key.push_str(&format!(" {option} {value}"));
            }
        }
        format!("{key} {scope}")
    }

    fn names(&self, pid: u32, dir: BorrowedFd<'_>, named: Option<&PidFile>) -> std::result::Result<Running, Errno> {
        let line = owner::stat(dir)?;
        let stat = Stat::parse(&line).ok_or(Errno::IO)?;
        if stat.has_ended() {
            return Ok(Running::default());
        }
        if let Some(name) = &self.process
            && !is_called(dir, stat.comm, name)?
        {
            return Ok(Running::default());
        }
        if let Some(unit) = &self.unit
            && !owner::cgroup_of(dir)?.is_some_and(|path| members::belongs(&path, unit))
        {
            return Ok(Running::default());
        }
        let process = format!("{}[{pid}]", String::from_utf8_lossy(stat.comm));
        let started = proc_stat::started(&line);
        Ok(match named {
            Some(named) if named.is_older(started) => Running { other: Some(process), ..Running::default() },
            _ => {
                let main = named.and(started).map(|started| Main { pid, started });
                Running { process: Some(process), main, other: None }
            }
        })
    }
}

/// Whether a service runs.
#[derive(Debug, Default)]
pub struct Running {
    /// A process of it, as `name[pid]`.
    pub process: Option<String>,
    /// The same, where a pid file names it.
    pub main: Option<Main>,
    /// One that was started after the pid file was written: the number was the service's once.
    pub other: Option<String>,
}

impl Running {
    /// What is to be said where the pid file's number is another's.
    pub fn older_pid_file(&self) -> Option<String> {
        let other = self.other.as_ref();
        other.map(|process| format!("the pid file is older than {process}, which has its number by now"))
    }
}

/// The process that a pid file names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Main {
    pub pid: u32,
    /// In clock ticks since the boot.
    pub started: u64,
}

impl Main {
    pub fn running_for(self) -> Span {
        Span::millis(((boot::uptime() - self.started as f64 / TICKS_A_SECOND).max(0.0) * 1000.0) as u64)
    }
}

/// What a pid file tells.
#[derive(Debug, PartialEq)]
struct PidFile {
    pid: u32,
    /// When it was written, by the wall clock.
    written: SystemTime,
}

impl PidFile {
    /// `None`: no file, so no service. The first line has the number: some services write more below it
    /// (postmaster.pid, sendmail's).
    fn read(path: &Path) -> Result<Option<PidFile>> {
        let text = match read_limited::read(path, 4096) {
            Err(Error::File { cause, .. }) if cause.kind() == ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let line = text.trim_start().lines().next().unwrap_or_default().trim();
        let written = fs::metadata(path).and_then(|meta| meta.modified());
        match line.parse() {
            Ok(pid @ 1..) => Ok(Some(PidFile { pid, written: written.map_err(|cause| Error::reading(path, cause))? })),
            _ => Err(Error::content(path, format!("'{line}' is not a process id"))),
        }
    }

    /// Whether it was written before the process that has its number was started, in clock ticks since the boot.
    fn is_older(&self, started: Option<u64>) -> bool {
        /// File times are as coarse as the kernel's tick, some file systems' are whole seconds.
        const SLACK: f64 = 2.0;
        let since = SystemTime::now().duration_since(self.written).map_or(0.0, |since| since.as_secs_f64());
        started.is_some_and(|started| since > boot::uptime() - started as f64 / TICKS_A_SECOND + SLACK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use connleak::kernel::socket::Side;

    /// What is on disk goes by these words.
    #[test]
    fn the_words_of_a_memory_are_pinned() {
        let service = Service { profile: "mysql".into(), ports: vec![3306, 3307], side: Side::Server };
        let watched = |unit, process, file: Option<&str>| Watched { unit, process, pid_file: file.map(PathBuf::from) };
        let key = |watched: Watched| watched.key(&service, "host a netns home");
        let here = "mysql ports 3306,3307 side server";
        assert_eq!(
            key(watched(Some("m.service".into()), None, None)),
            format!("{here} unit m.service host a netns home")
        );
        assert_eq!(
            key(watched(None, Some("mysqld".into()), Some("/run/m.pid"))),
            format!("{here} process mysqld pid-file /run/m.pid host a netns home")
        );
        let name = watched(None, Some("mysqld".into()), None).memory_name(&service, "host a netns home");
        assert_eq!(
            name,
            "orphans-mysql_ports_3306_3307_side_server_process_mysqld_host_a_netns_home-5cfe96627b8e3359.json"
        );
    }

    #[test]
    fn a_pid_file_holds_a_pid() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.pid");
        let read = || PidFile::read(&path).map(|file| file.map(|file| file.pid));
        assert_eq!(read().unwrap(), None);
        for good in
            [" 17\n", "17", "17\n/var/lib/postgresql/17/main\n1764313122\n5432\n", "17\n/usr/sbin/sendmail -bd\n"]
        {
            fs::write(&path, good).unwrap();
            assert_eq!(read().unwrap(), Some(17), "{good}");
        }
        for bad in ["", "x", "-5", "0", "99999999999", "17 18", "x\n17\n"] {
            fs::write(&path, bad).unwrap();
            assert!(read().unwrap_err().to_string().contains("not a process id"), "{bad}");
        }
    }

    #[test]
    fn a_pid_file_older_than_its_process_is_of_another() {
        let at = |ago| PidFile { pid: 17, written: SystemTime::now() - std::time::Duration::from_secs(ago) };
        let started = |ago: f64| Some(((boot::uptime() - ago) * 100.0) as u64);
        assert!(at(60).is_older(started(50.0)) && !at(60).is_older(started(61.0)) && !at(60).is_older(None));
        assert!(!at(0).is_older(started(1.0)));
    }
}
