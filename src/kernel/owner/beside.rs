//! What a search for holders reads beside what it looks for, kept for another look: reading descriptors is dear.

use super::Told;
use super::tables::{Place, inode};
use crate::kernel::netns::kept::{self, Candidates};
use crate::kernel::world::World;
use std::collections::HashMap;

#[derive(Debug, Default)]
pub struct Beside {
    /// Sockets that were not looked for, of each process whose first table was read to its end.
    sockets: HashMap<u32, Vec<(u64, Place)>>,
    /// Network namespaces that descriptors keep.
    pub namespaces: Candidates,
    /// The process that is being read, and its sockets.
    current: (u32, Vec<(u64, Place)>),
}

impl Beside {
    /// As a search tells it.
    pub fn add(&mut self, world: &World, pid: u32, told: Told<'_>) {
        if self.current.0 != pid {
            self.current = (pid, Vec::new());
        }
        match told {
            Told::Whole => drop(self.sockets.insert(pid, std::mem::take(&mut self.current.1))),
            Told::Other(place, link) => match inode(link) {
                Some(inode) => self.current.1.push((inode, place)),
                None => kept::add(&mut self.namespaces, world, pid, place, link),
            },
        }
    }

    /// The other sockets of a process, if it was read.
    pub fn take(&mut self, pid: u32) -> Option<Vec<(u64, Place)>> {
        self.sockets.remove(&pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::deadline::Deadline;
    use std::time::Duration;

    #[test]
    fn only_a_process_that_was_read_to_its_end_is_kept() {
        let world = World::here(Deadline::after(Duration::from_secs(9)));
        let place = |fd| Place { thread: 0, fd, is_registered: false };
        let mut beside = Beside::default();
        beside.add(&world, 7, Told::Other(place(3), b"socket:[31]"));
        beside.add(&world, 8, Told::Other(place(4), b"socket:[41]"));
        beside.add(&world, 8, Told::Other(place(5), b"/dev/null"));
        beside.add(&world, 8, Told::Whole);
        beside.add(&world, 9, Told::Whole);
        assert_eq!(beside.take(7), None, "it broke off");
        assert_eq!(beside.take(8), Some(vec![(41, place(4))]));
        assert_eq!(beside.take(9), Some(vec![]));
        assert_eq!(beside.take(8), None);
    }
}
