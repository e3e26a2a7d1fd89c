//! From socket inodes to the processes that hold them, through `/proc/PID/fd`.
//!
//! Reading other users' processes needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH; what is refused is
//! counted and said. `pidfd_getfd` would be exact but delays the target's close(2): not used.

pub mod descriptors;
pub mod lineage;
mod main_process;

use crate::kernel::cgroup;
use crate::kernel::proc_stat::Stat;
use crate::kernel::user::Users;
use crate::kernel::world::World;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, fstat, openat, readlinkat_raw, statat};
use rustix::io::Errno;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;

/// A process that holds sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    /// Its parent's pid; 0 where that can't be read.
    pub parent: u32,
    /// `comm`, at most 15 bytes, whatever the process calls itself.
    pub command: String,
    /// systemd unit, or cgroup path where there is no unit.
    pub unit: Option<String>,
    pub cgroup: Option<String>,
    pub uid: u32,
    pub user: Option<String>,
}

/// How many holders of a socket are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holders {
    /// Stop as soon as every socket has one.
    First,
    /// Read every process: sockets are shared across fork(2).
    All,
}

#[derive(Debug, Default)]
pub struct Owners {
    /// Processes that hold a wanted socket, in the order found.
    pub processes: Vec<Process>,
    /// Socket inodes with indices in `processes` and the lowest descriptor there, sorted: a busy service
    /// has tens of thousands, and mostly one holder of each.
    holders: Vec<(u64, u32, u32)>,
    /// Processes whose descriptors we may not read.
    pub refused: usize,
    /// Whether the time was over before all processes were read.
    pub late: bool,
}

/// Finds who holds the sockets given as (inode, uid). Inode 0 has no holder.
///
/// Processes of the sockets' own users come first, as most often one of them is the holder; what
/// then is left is looked for in all others (a service may open sockets as root and drop to a user).
pub fn find(world: &World, sockets: &[(u64, u32)], wanted: Holders) -> Owners {
    let mut inodes: Vec<u64> = sockets.iter().map(|(inode, _)| *inode).filter(|inode| *inode != 0).collect();
    inodes.sort_unstable();
    inodes.dedup();
    let mut uids: Vec<u32> = sockets.iter().map(|(_, uid)| *uid).collect();
    uids.sort_unstable();
    uids.dedup();
    let mut owners = Owners::default();
    if inodes.is_empty() {
        return owners;
    }
    let _rights = world.raise();
    let users = if world.is_foreign() { Users::default() } else { Users::read() };
    let mut sought = Sought { held: vec![false; inodes.len()], inodes, left: 0 };
    sought.left = sought.inodes.len();
    let (first, then): (Vec<_>, Vec<_>) = processes(world).into_iter().partition(|process| uids.contains(&process.uid));
    for Listed { pid, .. } in first.into_iter().chain(then) {
        if wanted == Holders::First && sought.left == 0 {
            break;
        }
        if world.deadline.is_near() {
            owners.late = true;
            break;
        }
        let read = open_process(world, pid).and_then(|dir| owners.read(pid, dir.as_fd(), &mut sought, &users));
        owners.refused += usize::from(was_refused(read));
    }
    owners.holders.sort_unstable();
    owners.holders.dedup_by_key(|(inode, index, _)| (*inode, *index));
    owners
}

impl Owners {
    /// Adds what one process holds of `inodes`.
    fn read(&mut self, pid: u32, dir: BorrowedFd<'_>, sought: &mut Sought, users: &Users) -> Result<(), Errno> {
        let mut index = None;
        each_socket(dir, |inode, fd| {
            if !sought.take(inode) {
                return;
            }
            let index = *index.get_or_insert_with(|| {
                self.processes.push(describe(pid, dir, users));
                self.processes.len() as u32 - 1
            });
            self.holders.push((inode, index, fd));
        })
    }

    /// What was looked at, for `-vvv`.
    pub fn how(&self) -> String {
        format!("{} processes hold them, {} may not be read", self.processes.len(), self.refused)
    }

    /// The processes that hold a socket.
    pub fn of(&self, inode: u64) -> impl Iterator<Item = &Process> {
        self.descriptors(inode).map(|(process, _)| process)
    }

    /// The processes that hold a socket, and by which descriptor.
    pub fn descriptors(&self, inode: u64) -> impl Iterator<Item = (&Process, u32)> {
        let from = self.holders.partition_point(|(held, ..)| *held < inode);
        let same = self.holders[from..].iter().take_while(move |(held, ..)| *held == inode);
        same.map(|(_, index, fd)| (&self.processes[*index as usize], *fd))
    }
}

/// The inodes that are looked for, and which of them have been met.
struct Sought {
    /// Sorted.
    inodes: Vec<u64>,
    held: Vec<bool>,
    left: usize,
}

impl Sought {
    /// Whether `inode` is looked for.
    fn take(&mut self, inode: u64) -> bool {
        let Ok(at) = self.inodes.binary_search(&inode) else { return false };
        self.left -= usize::from(!std::mem::replace(&mut self.held[at], true));
        true
    }
}

/// The sockets of all processes whose cgroup path `belongs`.
pub struct MemberSockets {
    pub processes: usize,
    /// That may not be read; one more where processes are hidden or can't be listed.
    pub refused: usize,
    pub inodes: HashSet<u64>,
}

pub fn sockets_of(world: &World, belongs: impl Fn(&str) -> bool) -> MemberSockets {
    let _rights = world.raise();
    let listed = processes(world);
    let refused = usize::from(listed.is_empty() || world.hides_processes());
    let mut found = MemberSockets { processes: 0, refused, inodes: HashSet::new() };
    for Listed { pid, .. } in listed {
        let Ok(dir) = open_process(world, pid) else { continue };
        let cgroup = open(dir.as_fd(), "cgroup").ok().and_then(|file| cgroup::cgroup_path(File::from(file)));
        if cgroup.is_some_and(|path| belongs(&path)) {
            found.processes += 1;
            let read = each_socket(dir.as_fd(), |inode, _| {
                found.inodes.insert(inode);
            });
            found.refused += usize::from(was_refused(read));
        }
    }
    found
}

/// The inodes of the sockets that a process holds.
pub fn sockets_held(world: &World, pid: u32) -> io::Result<HashSet<u64>> {
    let _rights = world.raise();
    let mut inodes = HashSet::new();
    each_socket(open_process(world, pid)?.as_fd(), |inode, _| {
        inodes.insert(inode);
    })?;
    Ok(inodes)
}

fn was_refused(read: Result<(), Errno>) -> bool {
    // A process that ended while we read is no refusal.
    read.is_err_and(|errno| !matches!(errno, Errno::NOENT | Errno::SRCH))
}

/// A process of the list, before it is opened.
pub struct Listed {
    pub pid: u32,
    /// Effective uid.
    pub uid: u32,
}

/// All of them; none where they can't be listed to the end, as who is missing would pass for gone. A whole
/// list is never empty: we are one.
pub fn processes(world: &World) -> Vec<Listed> {
    let mut listed = Vec::new();
    if let Ok(root) = openat(CWD, &world.proc_root, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        let whole = each_number(root.as_fd(), &mut |pid, name| {
            if let Ok(stat) = statat(&root, name, AtFlags::empty()) {
                listed.push(Listed { pid: pid as u32, uid: stat.st_uid });
            }
        });
        if whole.is_err() {
            listed.clear();
        }
    }
    listed
}

/// One descriptor pins one process: a pid that is used again can't mix two.
pub fn open_process(world: &World, pid: u32) -> Result<OwnedFd, Errno> {
    let dir = world.proc_root.join(pid.to_string());
    openat(CWD, &dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

pub fn open(dir: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

pub(crate) fn describe(pid: u32, dir: BorrowedFd<'_>, users: &Users) -> Process {
    let uid = fstat(dir).map_or(0, |stat| stat.st_uid);
    let cgroup = open(dir, "cgroup").ok().and_then(|file| cgroup::cgroup_path(File::from(file)));
    Process {
        pid,
        parent: parent(dir).unwrap_or(0),
        command: comm(dir),
        unit: cgroup.as_deref().map(cgroup::unit_name),
        cgroup,
        uid,
        user: users.name(uid).map(str::to_owned),
    }
}

fn comm(dir: BorrowedFd<'_>) -> String {
    let mut command = Vec::new();
    if let Ok(file) = open(dir, "comm") {
        let _ = File::from(file).read_to_end(&mut command);
    }
    if command.last() == Some(&b'\n') {
        command.pop();
    }
    String::from_utf8_lossy(&command).into_owned()
}

/// The parent's pid.
fn parent(dir: BorrowedFd<'_>) -> Option<u32> {
    Some(Stat::parse(&stat(dir)?)?.parent)
}

/// The line that [`Stat`] parses.
pub fn stat(dir: BorrowedFd<'_>) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    File::from(open(dir, "stat").ok()?).read_to_end(&mut line).ok()?;
    Some(line)
}

/// Calls `each` with the inode and the descriptor of every socket that a process holds.
fn each_socket(process: BorrowedFd<'_>, mut each: impl FnMut(u64, u32)) -> Result<(), Errno> {
    each_descriptor(process, &mut |fd, link| {
        if let Some(inode) = link.strip_prefix(b"socket:[").and_then(number) {
            each(inode, fd as u32);
        }
    })
}

/// Calls `each` with every descriptor of a process and where it leads, at most 64 bytes of it.
pub(crate) fn each_descriptor(process: BorrowedFd<'_>, each: &mut dyn FnMut(u64, &[u8])) -> Result<(), Errno> {
    let fds = openat(process, "fd", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut target = [MaybeUninit::uninit(); 64];
    let mut refused = Ok(());
    each_number(fds.as_fd(), &mut |fd, name| match readlinkat_raw(&fds, name, &mut target) {
        Ok((link, _)) => each(fd, link),
        // Its user may list them; to read them takes all rights that the process has.
        Err(errno @ (Errno::ACCESS | Errno::PERM)) => refused = Err(errno),
        Err(_) => {}
    })?;
    refused
}

/// Calls `each` for every entry of a directory whose name is a number.
fn each_number(dir: BorrowedFd<'_>, each: &mut dyn FnMut(u64, &std::ffi::CStr)) -> Result<(), Errno> {
    let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
    let mut entries = RawDir::new(dir, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if let Some(value) = number(entry.file_name().to_bytes()) {
            each(value, entry.file_name());
        }
    }
    Ok(())
}

/// The decimal number at the start of `bytes`, up to their end or a `]`.
fn number(bytes: &[u8]) -> Option<u64> {
    let digits = bytes.strip_suffix(b"]").unwrap_or(bytes);
    let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let value = |value: u64, digit: &u8| value.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
    if all_digits { digits.iter().try_fold(0, value) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers_and_nothing_else() {
        assert_eq!(number(b"4711]"), Some(4711));
        assert_eq!(number(b"17"), Some(17));
        for bad in [&b""[..], b"]", b"-1", b"1a", b"99999999999999999999999"] {
            assert_eq!(number(bad), None);
        }
    }
}
