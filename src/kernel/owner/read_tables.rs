//! What was read of processes' descriptors, kept for the next search of the same run: reading them is dear.

use super::tables::{Each, Others, Place, each_descriptor, each_descriptor_of_others, inode};
use crate::kernel::netns::candidates::{self, Candidates};
use crate::kernel::world::World;
use rustix::fd::BorrowedFd;
use rustix::fs::readlink;
use rustix::io::Errno;
use std::collections::HashMap;

#[derive(Debug, Default)]
pub struct ReadTables {
    /// What processes hold that were read to the end.
    processes: HashMap<u32, Sockets>,
    /// Network namespaces that descriptors keep.
    pub namespaces: Candidates,
}

/// What a process holds.
#[derive(Debug, Default)]
pub struct Sockets {
    /// Inode and place of each.
    pub held: Vec<(u64, Place)>,
    /// Whether they are of all threads' tables that surely are others, not of the first alone.
    has_others: bool,
}

impl ReadTables {
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    pub fn forget_processes(&mut self) {
        self.processes.clear();
    }

    pub fn has(&self, pid: u32) -> bool {
        self.processes.contains_key(&pid)
    }

    /// A process's sockets: those that were read before, where `is_known` finds nothing against it, else those that are
    /// read now. `with_others`: also of threads whose tables surely are others. What is returned is whatever could be
    /// read; it is to be given back to [`ReadTables::keep`] where that was all.
    pub fn read(
        &mut self,
        world: &World,
        (pid, dir): (u32, Result<BorrowedFd<'_>, Errno>),
        with_others: bool,
        is_known: impl FnOnce(&Sockets) -> bool,
    ) -> (Sockets, Result<(), Errno>) {
        let known = self.processes.remove(&pid).filter(is_known);
        let (was_read, mut sockets) = (known.is_some(), known.unwrap_or_default());
        let Sockets { held, has_others } = &mut sockets;
        let namespaces = &mut self.namespaces;
        let each: &mut Each<'_> = &mut |place, link| match inode(link) {
            Some(inode) => held.push((inode, place)),
            None => candidates::add(namespaces, world, pid, place, link),
        };
        let done = dir.and_then(|dir| {
            if !was_read {
                each_descriptor(dir, each)?;
            }
            if with_others && !*has_others {
                each_descriptor_of_others(dir, Others::Differing, &mut usize::MAX.clone(), each)?;
                *has_others = true;
            }
            Ok(())
        });
        (sockets, done)
    }

    /// Reads a process's sockets, those in threads' tables that surely are others too, and keeps them.
    ///
    /// # Errors
    /// Where not all could be read: then none are kept.
    pub fn read_anew(&mut self, world: &World, pid: u32, dir: BorrowedFd<'_>) -> Result<(), Errno> {
        let (sockets, done) = self.read(world, (pid, Ok(dir)), true, |_| false);
        done.map(|()| self.keep(pid, sockets))
    }

    pub fn keep(&mut self, pid: u32, sockets: Sockets) {
        self.processes.insert(pid, sockets);
    }
}

/// Whether a descriptor still leads there, or that can't be told now: another process may have the number since.
pub fn still_leads(world: &World, pid: u32, place: Place, inode: u64) -> bool {
    let link = format!("socket:[{inode}]");
    place.is_registered
        || readlink(place.path(pid, &world.proc_root), Vec::new())
            .is_ok_and(|target| target.as_bytes() == link.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::deadline::Deadline;
    use crate::kernel::owner::open_process;
    use rustix::fd::AsFd;
    use std::net::UdpSocket;
    use std::time::Duration;

    #[test]
    fn a_process_is_read_once_and_again_where_something_speaks_against_it() {
        let world = World::here(Deadline::after(Duration::from_secs(9)));
        let me = std::process::id();
        let inode = |socket: &UdpSocket| rustix::fs::fstat(socket.as_fd()).unwrap().st_ino;
        let first = UdpSocket::bind("127.0.0.1:0").unwrap();
        let dir = open_process(&world, me).unwrap();
        let mut tables = ReadTables::default();
        let mut read = |is_known: bool| {
            let (sockets, done) = tables.read(&world, (me, Ok(dir.as_fd())), true, |_| is_known);
            assert_eq!(done, Ok(()));
            let inodes: Vec<u64> = sockets.held.iter().map(|(inode, _)| *inode).collect();
            tables.keep(me, sockets);
            inodes
        };
        assert!(read(true).contains(&inode(&first)));
        let second = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(!read(true).contains(&inode(&second)));
        assert!(read(false).contains(&inode(&second)));
    }

    #[test]
    fn what_could_not_be_read_is_not_kept() {
        let world = World::here(Deadline::after(Duration::from_secs(9)));
        let mut tables = ReadTables::default();
        let (sockets, done) = tables.read(&world, (7, Err(Errno::ACCESS)), true, |_| true);
        assert_eq!((sockets.held.len(), done), (0, Err(Errno::ACCESS)));
        assert!(tables.is_empty() && !tables.has(7));
    }
}
