//! In which order processes are read: first who most likely has what is looked for, then who is quickly read.

use super::tables::{inode, table_size};
use super::{Listed, one_table, open_process};
use crate::kernel::world::World;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::readlinkat_raw;
use rustix::io::Errno;
use rustix::path::DecInt;
use std::mem::MaybeUninit;

/// Descriptors of a large table that are tried.
const TRIED: u64 = 8;
/// A smaller one is read whole at hardly more cost.
const LARGE: u64 = 32;
/// The rank of who has nothing that was tried.
const LAST: u64 = 1 << 63;

/// `inodes`: what is looked for, sorted. One table of tens of thousands takes as long as hundreds of usual ones, and who
/// leaks has mostly what is looked for. Before Linux 6.2 their sizes aren't told, and the order stays.
pub(super) fn first(world: &World, listed: &mut Vec<Listed>, inodes: &[u64]) {
    // As holders are, so that the program sorts in one way.
    let mut ranked: Vec<(u64, u32, u32)> = Vec::with_capacity(listed.len());
    for Listed { pid, uid } in listed.drain(..) {
        let rank = || open_process(world, pid).and_then(|dir| rank(dir.as_fd(), inodes));
        // What time is left is for reading.
        ranked.push((if world.deadline.is_near() { LAST } else { rank().unwrap_or(0) }, pid, uid));
    }
    ranked.sort_unstable();
    listed.extend(ranked.into_iter().map(|(_, pid, uid)| Listed { pid, uid }));
}

/// How many descriptors it has, behind all others where none that was tried is wanted.
fn rank(process: BorrowedFd<'_>, inodes: &[u64]) -> Result<u64, Errno> {
    let size = table_size(process)?;
    if size < LARGE {
        return Ok(LAST | size);
    }
    Ok(if tried(process, size, inodes)?.is_some() { size } else { LAST | size })
}

/// One of `inodes` that a process has, and its descriptor, if a few of its `size` show one.
pub(super) fn tried(process: BorrowedFd<'_>, size: u64, inodes: &[u64]) -> Result<Option<(u64, u32)>, Errno> {
    let table = one_table::open(process)?;
    let mut target = [MaybeUninit::uninit(); 64];
    let mut wanted = |fd: u64| {
        let (link, _) = readlinkat_raw(&table, DecInt::new(fd).as_c_str(), &mut target).ok()?;
        inode(link).filter(|inode| inodes.binary_search(inode).is_ok()).map(|inode| (inode, fd as u32))
    };
    // Descriptors are given lowest first: there are few gaps.
    Ok((0..TRIED).find_map(|part| wanted(size * (2 * part + 1) / (2 * TRIED))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::deadline::Deadline;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
    use std::process::{Command, Stdio, id};
    use std::time::Duration;

    #[test]
    fn who_has_what_is_looked_for_comes_first_and_else_who_has_little() {
        let world = World::here(Deadline::after(Duration::from_secs(30)));
        let sockets: Vec<UdpSocket> = (0..300).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        let inode = |socket: &UdpSocket| rustix::fs::fstat(socket.as_fd()).unwrap().st_ino;
        let mut inodes: Vec<u64> = sockets.iter().map(inode).collect();
        inodes.sort_unstable();
        let mut other = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let order = |inodes: &[u64]| {
            let mut listed = [id(), other.id()].map(|pid| Listed { pid, uid: 0 }).into();
            first(&world, &mut listed, inodes);
            listed.iter().map(|process| process.pid).collect::<Vec<_>>()
        };
        assert_eq!(order(&inodes), [id(), other.id()]);
        assert_eq!(order(&[1]), [other.id(), id()]);
        drop(other.stdin.take());
        other.wait().unwrap();
    }
}
