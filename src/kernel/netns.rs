//! Find the network namespace that the caller means, or all of them, and enter where that is allowed.

pub mod candidates;
pub mod host;
pub mod kept;

use crate::base::error::{Error, Result};
use crate::base::read_limited::read_small;
use crate::kernel::release;
use crate::kernel::world::{Netns, Place, World};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;

/// The calling thread's namespace: `/proc/net` would be that of the first thread.
pub const OURS: &str = "/proc/thread-self/net";

/// The namespace that the caller means: entered at the first call, the same ever after.
pub fn place(world: &World) -> Result<&Place> {
    if let Some(place) = world.place.get() {
        return Ok(place);
    }
    let place = enter(world)?;
    Ok(world.place.get_or_init(|| place))
}

/// What tells the namespace from others: see [`identity_of`]. 0: all namespaces are meant.
pub fn identity(world: &World) -> Result<u64> {
    if world.netns == Netns::All {
        return Ok(0);
    }
    let net_dir = &place(world)?.net_dir;
    identity_of(net_dir).map(u64::from).map_err(|cause| Error::reading(&net_dir.join("tcp"), cause))
}

/// The inode of a namespace's `tcp`: the same whichever of its processes it is read through, and
/// another one's once the namespace is gone. procfs numbers its files with 32 bits.
pub fn identity_of(net_dir: &Path) -> io::Result<u32> {
    fs::metadata(net_dir.join("tcp")).map(|meta| meta.ino() as u32)
}

/// The calling thread's namespace.
pub fn own_identity() -> Option<u32> {
    identity_of(Path::new(OURS)).ok()
}

/// Whether a namespace has no TCP socket at all: its own counters tell, without a walk of the host's
/// table. What can't be read is not empty.
pub fn is_empty(net_dir: &Path) -> bool {
    // sockstat6 comes first: where it is missing as the process has ended, sockstat is as well.
    counters(net_dir, "sockstat6", "TCP6:", ["inuse"]) == Some([0])
        && counters(net_dir, "sockstat", "TCP:", ["inuse", "tw"]) == Some([0, 0])
}

/// Some fields of a row in a file of counters. Without IPv6 there is no `sockstat6`, and none of its
/// sockets.
pub fn counters<const N: usize>(net_dir: &Path, name: &str, row: &str, fields: [&str; N]) -> Option<[u64; N]> {
    let table = match read_small(&net_dir.join(name)) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound && name == "sockstat6" => return Some([0; N]),
        table => table.ok()?,
    };
    fields_of(&table, row, fields)
}

fn fields_of<const N: usize>(table: &str, row: &str, fields: [&str; N]) -> Option<[u64; N]> {
    let mut words = table.lines().find_map(|line| line.strip_prefix(row))?.split_whitespace();
    let mut values = [0; N];
    while let (Some(field), Some(number)) = (words.next(), words.next()) {
        if let Some(at) = fields.iter().position(|wanted| *wanted == field) {
            values[at] = number.parse().ok()?;
        }
    }
    Some(values)
}

/// A file of counters that is read several times: to open it takes the kernel far longer than to tell it again.
pub struct Counters {
    /// `None`: [`counters`] tells why it may be missing.
    file: Option<File>,
}

impl Counters {
    pub fn open(net_dir: &Path, name: &str) -> Option<Counters> {
        match File::open(net_dir.join(name)) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound && name == "sockstat6" => {
                Some(Counters { file: None })
            }
            file => file.ok().map(|file| Counters { file: Some(file) }),
        }
    }

    /// What they are now.
    pub fn read<const N: usize>(&self, row: &str, fields: [&str; N]) -> Option<[u64; N]> {
        let Some(file) = &self.file else { return Some([0; N]) };
        // Far more than either says, which one call tells whole.
        let mut text = [0; 4096];
        let length = file.read_at(&mut text, 0).ok().filter(|length| *length < text.len())?;
        fields_of(str::from_utf8(&text[..length]).ok()?, row, fields)
    }
}

/// TCP's sockets in the tables of one namespace.
pub fn in_tables(net_dir: &Path) -> Option<u64> {
    let of_ipv6 = of_ipv6(net_dir)?;
    counters(net_dir, "sockstat", "TCP:", ["inuse"]).map(|[of_ipv4]| of_ipv6 + of_ipv4)
}

/// Those of IPv6 among them.
fn of_ipv6(net_dir: &Path) -> Option<u64> {
    counters(net_dir, "sockstat6", "TCP6:", ["inuse"]).map(|[count]| count)
}

/// Whether a namespace has sockets of MPTCP, listeners too, by its count of them: what can't be read
/// may have some. A kernel without MPTCP has no line for it.
pub fn has_mptcp(net_dir: &Path) -> bool {
    mptcp_sockets(net_dir) != Some(0) || has_uncounted_mptcp(net_dir)
}

/// How many; `None`: unreadable.
pub fn mptcp_sockets(net_dir: &Path) -> Option<u64> {
    let table = read_small(&net_dir.join("protocols")).ok()?;
    let count = |line: &str| line.split_ascii_whitespace().nth(2).and_then(|count| count.parse::<u64>().ok());
    table.lines().filter(|line| line.starts_with("MPTCP")).map(count).sum()
}

/// Whether the calling thread's namespace made no UNIX socket that is still there: what can't be read may have. Of many the
/// first line after the header is enough.
pub fn has_no_unix_socket() -> bool {
    let mut text = [0; 512];
    let length = File::open(Path::new(OURS).join("unix")).and_then(|file| file.read_at(&mut text, 0));
    length.is_ok_and(|length| text[..length].iter().filter(|byte| **byte == b'\n').count() == 1)
}

/// What is to be said of a namespace in which nothing is found, where nobody chose it and it isn't the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// Whether it has no TCP socket at all.
    pub is_empty: bool,
}

/// `None`: it is the host's, or was chosen, or that can't be told.
pub fn elsewhere(world: &World) -> Option<Elsewhere> {
    let is_ours = world.netns == Netns::Home && !world.is_foreign() && world.replay.is_none();
    let is_other = || setting("somaxconn") == Some(true) && setting("netdev_budget") == Some(false);
    (is_ours && is_other()).then(|| Elsewhere { is_empty: is_empty(Path::new(OURS)) })
}

/// Whether the calling thread is in the host's own.
pub fn is_hosts() -> bool {
    setting("netdev_budget") == Some(true)
}

/// Whether a setting below net/core is there; a few are the first namespace's alone, in every kernel. `None`: can't be told.
fn setting(name: &str) -> Option<bool> {
    Path::new("/proc/sys/net/core").join(name).try_exists().ok()
}

/// Whether there may be some that the count lacks: before 6.3 (c558246ee73e) it is always zero.
pub fn has_uncounted_mptcp(net_dir: &Path) -> bool {
    !release::is_at_least((6, 3)) && ever_spoke_mptcp(net_dir)
}

/// Whether any connection since the namespace's start asked for MPTCP: what can't be read may have.
fn ever_spoke_mptcp(net_dir: &Path) -> bool {
    let Ok(table) = read_small(&net_dir.join("netstat")) else { return true };
    // A line of names, then one of numbers.
    let is_used = |number: &str| number != "0" && number.bytes().all(|byte| byte.is_ascii_digit());
    table.lines().filter_map(|line| line.strip_prefix("MPTcpExt:")).flat_map(str::split_ascii_whitespace).any(is_used)
}

/// What a thread sees in a namespace.
#[derive(Debug)]
pub struct Inside<T> {
    /// [`identity_of`]; `None`: no /proc to tell.
    pub identity: Option<u32>,
    pub done: T,
}

/// Does something in another namespace.
pub fn inside<T: Send + 'static>(namespace: File, act: fn() -> T) -> io::Result<Inside<T>> {
    let done = inside_each(vec![namespace], act)?.pop();
    done.unwrap_or_else(|| Err(io::Error::other("the thread in it ended")))
}

/// Does it in one namespace after the other. A thread of its own enters: no other one is moved, and none needs the
/// right to come back.
///
/// # Errors
/// Where there can't be another thread.
pub fn inside_each<T: Send + 'static>(namespaces: Vec<File>, act: fn() -> T) -> io::Result<Vec<io::Result<Inside<T>>>> {
    let enter = move |namespace: File| -> io::Result<Inside<T>> {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(Inside { identity: own_identity(), done: act() })
    };
    let enter_all = move || namespaces.into_iter().map(enter).collect();
    let thread = thread::Builder::new().stack_size(128 * 1024).spawn(enter_all)?;
    thread.join().map_err(|_| io::Error::other("the thread in it ended"))
}

fn ours() -> Place {
    Place { net_dir: PathBuf::from(OURS), is_ours: true }
}

fn enter(world: &World) -> Result<Place> {
    let _rights = world.raise();
    match &world.netns {
        Netns::Home => Ok(home(&world.proc_root)),
        Netns::All => {
            Err(Error::Usage("--netns all is not one namespace; name one here: self, a pid or a name".into()))
        }
        Netns::OfProcess(pid) => {
            let process = world.proc_root.join(pid.to_string());
            let net_dir = process.join("net");
            fs::metadata(&net_dir).map_err(|cause| Error::reading(&net_dir, cause))?;
            // Without the rights to enter, its tables in /proc are still readable by anyone.
            let is_ours = same_namespace(&net_dir) || join(&process.join("ns/net")).is_ok();
            // Once inside, the view doesn't depend on the process any more.
            Ok(if is_ours { ours() } else { Place { net_dir, is_ours } })
        }
        Netns::Named(name) => {
            let path = Path::new("/run/netns").join(name);
            join(&path).map_err(|cause| Error::File { path, doing: "enter", cause })?;
            Ok(ours())
        }
    }
}

/// `/proc/net` is the reader's own namespace even under another `--proc-root`, as it leads through
/// `self`: the namespace meant there is that of its process 1, also where that is hidden (hidepid).
fn home(proc_root: &Path) -> Place {
    if proc_root == Path::new("/proc") {
        return ours();
    }
    let (of_init, plain) = (proc_root.join("1/net"), proc_root.join("net"));
    let net_dir = if plain.is_symlink() || of_init.join("tcp").exists() { of_init } else { plain };
    let is_ours = same_namespace(&net_dir);
    Place { net_dir, is_ours }
}

fn same_namespace(net_dir: &Path) -> bool {
    let ours = own_identity();
    ours.is_some() && identity_of(net_dir).ok() == ours
}

fn join(path: &Path) -> std::io::Result<()> {
    let namespace = File::open(path)?;
    Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, Mode, mkfifoat};
    use std::io::Write;

    #[test]
    fn connections_of_mptcp_are_told_by_the_counters_of_what_was_asked() {
        let dir = tempfile::tempdir().unwrap();
        let spoke = |table: &str| {
            fs::write(dir.path().join("netstat"), table).unwrap();
            ever_spoke_mptcp(dir.path())
        };
        let other = "TcpExt: SyncookiesSent\nTcpExt: 7\n";
        assert!(!spoke(&format!("{other}MPTcpExt: MPCapableSYNRX MPCapableSYNTX\nMPTcpExt: 0 0\n")));
        assert!(spoke(&format!("{other}MPTcpExt: MPCapableSYNRX MPCapableSYNTX\nMPTcpExt: 0 3\n")));
        assert!(!spoke(other), "a kernel without MPTCP");
        fs::remove_file(dir.path().join("netstat")).unwrap();
        assert!(ever_spoke_mptcp(dir.path()), "unreadable");
    }

    #[test]
    fn counters_that_are_not_all_read_are_no_empty_namespace() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        assert!(!is_empty(dir.path()));
        fs::write(file("sockstat"), "sockets: used 9\nTCP: inuse 0 orphan 0 tw 0 alloc 2 mem 1\nUDP: inuse 4\n")
            .unwrap();
        assert!(is_empty(dir.path()), "IPv6 is switched off");
        fs::write(file("sockstat6"), "TCP6: inuse 1\nUDP6: inuse 0\n").unwrap();
        assert!(!is_empty(dir.path()));
        // A process that ends meanwhile.
        fs::remove_file(file("sockstat6")).unwrap();
        mkfifoat(CWD, file("sockstat6"), Mode::RWXU).unwrap();
        let empty = thread::scope(|scope| {
            scope.spawn(|| {
                let mut counters = File::options().write(true).open(file("sockstat6")).unwrap();
                fs::remove_file(file("sockstat")).unwrap();
                counters.write_all(b"TCP6: inuse 0\n").unwrap();
            });
            is_empty(dir.path())
        });
        assert!(!empty);
    }
}
