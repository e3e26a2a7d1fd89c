//! What a process holds: the descriptor tables of its threads, and files that io_uring holds for it.
//!
//! Threads share one table, but for those that were made without CLONE_FILES or called
//! unshare(CLONE_FILES). Only kcmp(2) tells which; where two tables differ in size they are two.

use super::one_table;
use super::reading::{each_number, is_gone, number, read_all};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{AtFlags, Mode, OFlags, openat, statat};
use rustix::io::Errno;
use std::path::{Path, PathBuf};

/// A ring's registered files are at most 32,768, a line each.
const LONGEST_RING: u64 = 4 << 20;

/// Which tables beside the first are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// Tables of another size than the first: surely others.
    Differing,
    /// Tables of the same size: almost always the first again.
    Alike,
}

/// Where a file is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The thread whose table it is, where that is not the process's first; else 0.
    pub thread: u32,
    /// The descriptor; for a file that is registered with io_uring its ring's.
    pub fd: u32,
    pub is_registered: bool,
}

impl Place {
    /// The task whose table it is, of a process.
    pub fn task(self, pid: u32) -> u32 {
        if self.thread == 0 { pid } else { self.thread }
    }

    /// Its path below `proc_root`: a thread has a folder there too, which isn't listed.
    pub fn path(self, pid: u32, proc_root: &Path) -> PathBuf {
        proc_root.join(format!("{}/fd/{}", self.task(pid), self.fd))
    }
}

/// Is given a file's place and where it leads, at most 64 bytes of it.
pub type Each<'a> = dyn FnMut(Place, &[u8]) + 'a;

/// Calls `each` with the inode and the place of every socket in the first table.
pub fn each_socket(process: BorrowedFd<'_>, mut each: impl FnMut(u64, Place)) -> Result<(), Errno> {
    each_descriptor(process, &mut |place, link| {
        if let Some(inode) = inode(link) {
            each(inode, place);
        }
    })
}

/// The inode of a socket, from where its descriptor leads.
pub fn inode(link: &[u8]) -> Option<u64> {
    link.strip_prefix(b"socket:[").and_then(number)
}

/// Calls `each` with every descriptor of a process. It is the first thread's table; once that thread has ended, as
/// the others run on, that of the first which has one.
pub fn each_descriptor(process: BorrowedFd<'_>, each: &mut Each<'_>) -> Result<(), Errno> {
    if of_table(process, 0, each)? > 0 || threads(process)? < 2 {
        return Ok(());
    }
    each_thread(process, &mut |id, thread| Ok(of_table(thread, id, each)? == 0))
}

/// Calls `each` with the descriptors of a process's first table until it says no.
pub fn each_descriptor_while(process: BorrowedFd<'_>, each: &mut dyn FnMut(Place, &[u8]) -> bool) -> Result<(), Errno> {
    of_table_while(process, 0, each).map(drop)
}

/// Calls `each` with the descriptors in the tables of all other threads, at most `links` descriptors. Returns whether all were read.
pub fn each_descriptor_of_others(
    process: BorrowedFd<'_>,
    others: Others,
    links: &mut usize,
    each: &mut Each<'_>,
) -> Result<bool, Errno> {
    if threads(process)? < 2 {
        return Ok(true);
    }
    let mut first: Option<u64> = None;
    let mut all = true;
    each_thread(process, &mut |id, thread| {
        let size = table_size(thread)?;
        let Some(known) = first else {
            // That of a first thread that has ended is empty.
            first = Some(size).filter(|size| *size > 0);
            return Ok(true);
        };
        // A busy process's one table grows while it is looked at.
        let is_alike = size == known || size == table_size(process)?;
        if is_alike == (others == Others::Alike) {
            all = *links > 0;
            let read = if all { of_table(thread, id, each)? } else { 0 };
            *links = links.saturating_sub(read);
        }
        Ok(all)
    })?;
    Ok(all)
}

/// How many descriptors the fullest table has: the limit holds for each.
pub fn fullest(process: BorrowedFd<'_>) -> Result<u64, Errno> {
    let count = |thread: BorrowedFd<'_>| {
        let table = one_table::open(thread)?;
        let mut count = 0;
        match one_table::size(&table) {
            Some(size) => Ok(size),
            None => each_number(table.as_fd(), &mut |_, _| count += 1).map(|()| count),
        }
    };
    let mut most = count(process)?;
    if threads(process)? > 1 {
        let mut known = None;
        each_thread(process, &mut |_, thread| {
            let size = table_size(thread)?;
            if known != Some(size) {
                known = Some(size);
                most = most.max(count(thread)?);
            }
            Ok(true)
        })?;
    }
    Ok(most)
}

/// How many threads it has, those that have ended too but for the first not.
pub fn threads(process: BorrowedFd<'_>) -> Result<u64, Errno> {
    match statat(process, "task", AtFlags::empty()) {
        Ok(task) => Ok(u64::from(task.st_nlink as u32).saturating_sub(2)),
        // A copy of /proc may have none.
        Err(errno) if is_gone(errno) => Ok(1),
        Err(errno) => Err(errno),
    }
}

/// Entries of a descriptor table: the directory's size since Linux 6.2, before that 0.
pub(super) fn table_size(thread: BorrowedFd<'_>) -> Result<u64, Errno> {
    statat(thread, "fd", AtFlags::empty()).map(|fds| fds.st_size.cast_unsigned())
}

/// Calls `each` with the id of each thread, and the thread, until it says no. One that ends meanwhile is passed over, one that can't be read
/// is told at the end.
pub fn each_thread(
    process: BorrowedFd<'_>,
    each: &mut dyn FnMut(u32, BorrowedFd<'_>) -> Result<bool, Errno>,
) -> Result<(), Errno> {
    let tasks = openat(process, "task", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let (mut goes_on, mut done) = (true, Ok(()));
    each_number(tasks.as_fd(), &mut |id, name| {
        if !goes_on {
            return;
        }
        let thread = openat(&tasks, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        match thread.and_then(|thread| each(id as u32, thread.as_fd())) {
            Ok(more) => goes_on = more,
            Err(errno) if is_gone(errno) => {}
            Err(errno) => done = Err(errno),
        }
    })?;
    done
}

/// Returns how many descriptors there are. `id`: as in a [`Place`].
fn of_table(thread: BorrowedFd<'_>, id: u32, each: &mut Each<'_>) -> Result<usize, Errno> {
    of_table_while(thread, id, &mut |place, link| {
        each(place, link);
        true
    })
}

/// [`of_table`] until `each` says no.
fn of_table_while(thread: BorrowedFd<'_>, id: u32, each: &mut dyn FnMut(Place, &[u8]) -> bool) -> Result<usize, Errno> {
    let mut done = Ok(());
    let count = one_table::each_link(thread, &mut |fd, link| {
        let place = Place { thread: id, fd, is_registered: false };
        let mut goes_on = each(place, link);
        if link == b"anon_inode:[io_uring]" {
            let ring = Place { is_registered: true, ..place };
            done = done.and(registered(thread, ring, &mut |place, link| goes_on &= each(place, link)));
        }
        goes_on
    })?;
    done.map(|()| count)
}

/// Files that live in a ring's own table, whether a descriptor leads to them as well or not.
fn registered(thread: BorrowedFd<'_>, ring: Place, each: &mut Each<'_>) -> Result<(), Errno> {
    const TRIES: usize = 3;
    for _ in 0..TRIES {
        let text = match read_all(thread, &format!("fdinfo/{}", ring.fd), LONGEST_RING) {
            Err(errno) if is_gone(errno) => return Ok(()),
            text => text?,
        };
        if let Some(files) = user_files(&text) {
            files.for_each(|link| each(ring, link));
            return Ok(());
        }
        // The kernel leaves it out while the ring is in use.
        std::thread::yield_now();
    }
    Err(Errno::BUSY)
}

/// Whether the ring still has the socket of this inode.
pub fn is_registered(thread: BorrowedFd<'_>, ring: Place, wanted: u64) -> Result<bool, Errno> {
    let mut any = false;
    registered(thread, ring, &mut |_, link| any |= inode(link) == Some(wanted))?;
    Ok(any)
}

/// Whether descriptors wait in its UNIX sockets that nobody has received: they are in no table.
pub fn any_in_flight(process: BorrowedFd<'_>) -> Result<bool, Errno> {
    let (mut any, mut done) = (false, Ok(()));
    each_descriptor(process, &mut |Place { fd, .. }, link| {
        if any || inode(link).is_none() {
            return;
        }
        match read_all(process, &format!("fdinfo/{fd}"), LONGEST_RING) {
            Ok(text) => any = has_rights(&text),
            Err(errno) if is_gone(errno) => {}
            Err(errno) => done = Err(errno),
        }
    })?;
    done.map(|()| any)
}

/// From a line as `scm_fds: 5`.
fn has_rights(text: &[u8]) -> bool {
    let count = |line: &[u8]| line.strip_prefix(b"scm_fds:").and_then(|count| number(count.trim_ascii()));
    text.split(|byte| *byte == b'\n').find_map(count).is_some_and(|count| count > 0)
}

/// From `UserFiles:\t8` on, lines as `    0: socket:[4245348]`; `None`: not told.
fn user_files(text: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let mut lines = text.split(|byte| *byte == b'\n');
    lines.by_ref().find(|line| line.starts_with(b"UserFiles:"))?;
    let file = |line: &[u8]| line.trim_ascii_start().first().is_some_and(u8::is_ascii_digit);
    Some(lines.take_while(move |line| file(line)).filter_map(|line| {
        let at = line.iter().position(|byte| *byte == b':')?;
        Some(line[at + 1..].trim_ascii())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registered_files_are_told_by_the_rings_fdinfo() {
        // Linux 6.18: io_uring with eight slots, three of them used.
        let text =
            b"pos:\t0\nSQEs:\t0\nCQEs:\t1\n    0: user_data:7, res:0, flag:0\nUserFiles:\t8\n    0: socket:[42]\n\
                     \x20   1: /tmp/a:b\n    3: socket:[43]\nUserBufs:\t1\n    0: 0x1/4096\nPollList:\n";
        let links: Vec<_> = user_files(text).unwrap().collect();
        assert_eq!(links, [&b"socket:[42]"[..], b"/tmp/a:b", b"socket:[43]"]);
        assert_eq!(links.iter().filter_map(|link| inode(link)).collect::<Vec<_>>(), [42, 43]);
        assert_eq!(user_files(b"UserFiles:\t0\n").unwrap().count(), 0);
        assert!(user_files(b"pos:\t0\nflags:\t02000002\n").is_none());
        assert!(has_rights(b"pos:\t0\nscm_fds: 6\n") && !has_rights(b"scm_fds: 0\n") && !has_rights(b"pos:\t0\n"));
    }
}
