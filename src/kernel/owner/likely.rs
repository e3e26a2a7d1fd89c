//! In which order processes are read: first who most likely has what is looked for, then who is quickly read.

use super::tables::{inode, open_table, table_size};
use super::{Listed, open_process};
use crate::kernel::world::World;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::readlinkat_raw;
use rustix::io::Errno;
use std::mem::MaybeUninit;

/// Descriptors of a large table that are tried.
const TRIED: u64 = 8;
/// A smaller one is read whole at hardly more cost.
const LARGE: u64 = 32;

/// `inodes`: what is looked for, sorted. One table of tens of thousands takes as long as hundreds of usual ones, and who
/// leaks has mostly what is looked for. Before Linux 6.2 their sizes aren't told, and the order stays.
pub(super) fn first(world: &World, listed: &mut Vec<Listed>, inodes: &[u64]) {
    let mut ranked: Vec<((bool, u64), Listed)> = Vec::with_capacity(listed.len());
    for process in listed.drain(..) {
        let rank = || open_process(world, process.pid).and_then(|dir| rank(dir.as_fd(), inodes));
        // What time is left is for reading.
        let rank = if world.deadline.is_near() { Ok((true, u64::MAX)) } else { rank() };
        ranked.push((rank.unwrap_or_default(), process));
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    listed.extend(ranked.into_iter().map(|(_, process)| process));
}

/// Whether none of the descriptors that were tried is wanted, and how many there are.
fn rank(process: BorrowedFd<'_>, inodes: &[u64]) -> Result<(bool, u64), Errno> {
    let size = table_size(process)?;
    if size < LARGE {
        return Ok((true, size));
    }
    let table = open_table(process)?;
    let mut target = [MaybeUninit::uninit(); 64];
    let mut is_wanted = |fd: u64| {
        let link = readlinkat_raw(&table, fd.to_string(), &mut target);
        link.is_ok_and(|(link, _)| inode(link).is_some_and(|inode| inodes.binary_search(&inode).is_ok()))
    };
    // Descriptors are given lowest first: there are few gaps.
    Ok((!(0..TRIED).any(|part| is_wanted(size * (2 * part + 1) / (2 * TRIED))), size))
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
