//! What a process is: its name, program, parent, cgroup, and whether it still runs.

use super::Process;
use super::reading::{is_gone, read_all};
use crate::kernel::cgroup;
use crate::kernel::proc_stat::Stat;
use crate::kernel::user::Users;
use rustix::fd::BorrowedFd;
use rustix::fs::{fstat, readlinkat};
use rustix::io::Errno;

/// More than any of the small files has.
const LONGEST: u64 = 64 * 1024;

/// How runtimes call the first thread of a program: names that tell nothing. Node does so.
const NAMES_OF_THREADS: [&str; 1] = ["MainThread"];

/// The cgroup's path; `None`: the root.
pub fn cgroup_of(dir: BorrowedFd<'_>) -> Result<Option<String>, Errno> {
    Ok(cgroup::cgroup_path(&read_all(dir, "cgroup", LONGEST)?[..]))
}

/// The line that [`Stat`] parses.
pub fn stat(dir: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
    read_all(dir, "stat", LONGEST)
}

/// # Errors
/// When it has let go of its descriptors, or does just now.
pub fn is_alive(dir: BorrowedFd<'_>) -> Result<(), Errno> {
    let line = stat(dir)?;
    let stat = Stat::parse(&line).ok_or(Errno::IO)?;
    if stat.is_exiting() { Err(Errno::SRCH) } else { Ok(()) }
}

/// The parent's pid.
pub fn parent(dir: BorrowedFd<'_>) -> Result<u32, Errno> {
    Ok(Stat::parse(&stat(dir)?).ok_or(Errno::IO)?.parent)
}

pub fn describe(pid: u32, dir: BorrowedFd<'_>, users: &Users) -> Process {
    let uid = fstat(dir).map_or(super::UNKNOWN_UID, |stat| stat.st_uid);
    let cgroup = cgroup_of(dir).ok().flatten();
    Process {
        pid,
        parent: parent(dir).unwrap_or(0),
        command: command(dir),
        unit: cgroup.as_deref().map(cgroup::unit_name),
        cgroup,
        uid,
        user: users.name(uid).map(str::to_owned),
    }
}

/// `comm`; the program's name where that says no more than which thread it is.
pub fn command(dir: BorrowedFd<'_>) -> String {
    let mut command = read_all(dir, "comm", LONGEST).unwrap_or_default();
    if command.last() == Some(&b'\n') {
        command.pop();
    }
    let command = String::from_utf8_lossy(&command).into_owned();
    let says_nothing = NAMES_OF_THREADS.contains(&command.as_str());
    says_nothing.then(|| program(dir).ok().flatten()).flatten().unwrap_or(command)
}

/// Whether it is known by this name: `comm`, of which the kernel keeps 15 bytes; or, where it gave its first thread
/// a name of that thread's own as Node does, by the file that it runs.
pub fn is_called(dir: BorrowedFd<'_>, comm: &[u8], name: &str) -> Result<bool, Errno> {
    if comm == short(name.as_bytes()) {
        return Ok(true);
    }
    if program(dir)?.is_none_or(|program| program != name) {
        return Ok(false);
    }
    // A script's name is its own: python3 runs uvicorn, but isn't it.
    let line = read_all(dir, "cmdline", LONGEST)?;
    let mut words = line.split(|byte| *byte == 0).take(3).map(|word| word.rsplit(|byte| *byte == b'/').next());
    Ok(!words.any(|word| word.is_some_and(|word| comm == short(word))))
}

fn short(name: &[u8]) -> &[u8] {
    &name[..name.len().min(15)]
}

/// The name of the file that it runs, also where that was replaced meanwhile; what the process calls itself first
/// where the file may not be asked for. `None`: a kernel's thread.
pub fn program(dir: BorrowedFd<'_>) -> Result<Option<String>, Errno> {
    let path = match readlinkat(dir, "exe", Vec::new()) {
        Ok(path) => path.into_bytes(),
        // Another user's, or its first thread has ended.
        Err(errno) if is_gone(errno) || matches!(errno, Errno::ACCESS | Errno::PERM) => {
            let line = read_all(dir, "cmdline", LONGEST)?;
            line.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
        }
        Err(errno) => return Err(errno),
    };
    let path = path.strip_suffix(b" (deleted)").unwrap_or(&path);
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    Ok((!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned()))
}
