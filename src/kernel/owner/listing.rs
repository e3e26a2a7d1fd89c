//! The processes there are, each opened once.

use super::reading::{each_number, is_gone};
use crate::kernel::world::World;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, statat};
use rustix::io::Errno;
use std::collections::HashSet;

/// A process of the list, before it is opened.
pub struct Listed {
    pub pid: u32,
    /// Effective uid; [`UNKNOWN_UID`] where it can't be read.
    pub uid: u32,
}

/// The uid of no user: what setuid(2) takes for "leave it".
pub const UNKNOWN_UID: u32 = u32::MAX;

/// All of them; none where they can't be listed to the end, as who is missing would pass for gone. A whole
/// list is never empty: we are one.
pub fn processes(world: &World) -> Vec<Listed> {
    let mut listed = Vec::new();
    if let Ok(root) = openat(CWD, &world.proc_root, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        let whole = each_number(root.as_fd(), &mut |pid, name| match statat(&root, name, AtFlags::empty()) {
            Ok(stat) => listed.push(Listed { pid: pid as u32, uid: stat.st_uid }),
            Err(errno) if is_gone(errno) => {}
            Err(_) => listed.push(Listed { pid: pid as u32, uid: UNKNOWN_UID }),
        });
        if whole.is_err() {
            listed.clear();
        }
    }
    listed
}

/// Is given a process and, where it could be opened, its directory.
pub type Visit<'a> = dyn FnMut(&Listed, Result<BorrowedFd<'_>, Errno>) -> Result<(), Errno> + 'a;

/// How complete a walk through all processes was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// Each that there was at its end was read.
    Whole,
    /// Processes came and went faster than they were read, or no time was left.
    Unsettled,
    /// They can't be listed.
    Unlisted,
}

/// Calls `each` with every process. Where one has gone before it was read (an error that [`is_gone`]), what it
/// held may be a younger one's by now: those are read as well, until none is missed.
pub fn walk(world: &World, each: &mut Visit<'_>) -> Walk {
    const MOST_ROUNDS: usize = 8;
    let mut known = HashSet::new();
    for _ in 0..MOST_ROUNDS {
        let mut missed = false;
        let listed = processes(world);
        if listed.is_empty() {
            return Walk::Unlisted;
        }
        for process in listed {
            if !known.insert(process.pid) {
                continue;
            }
            if world.deadline.is_near() {
                return Walk::Unsettled;
            }
            let done = match open_process(world, process.pid) {
                Ok(dir) => each(&process, Ok(dir.as_fd())),
                Err(errno) => each(&process, Err(errno)),
            };
            missed |= done.is_err_and(is_gone);
        }
        if !missed {
            return Walk::Whole;
        }
    }
    Walk::Unsettled
}

/// One descriptor pins one process: a pid that is used again can't mix two.
pub fn open_process(world: &World, pid: u32) -> Result<OwnedFd, Errno> {
    let dir = world.proc_root.join(pid.to_string());
    openat(CWD, &dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}
