//! All processes that hold any of very many sockets: the first one that is met tells, and mostly that is soon.

use super::tables::{each_descriptor, each_descriptor_of_others, inode, table_size};
use super::{Listed, MOST_LINKS, Others, Owners, Sought, likely, open_process, processes};
use crate::kernel::user::Users;
use crate::kernel::world::World;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use std::collections::BTreeSet;

/// Fewer are found one by one at hardly more cost.
const MANY: usize = 2_000;

/// Each process that holds one of these sockets at least, with one of them. `users`: theirs. `None`: to look for a holder
/// of each socket costs no more, as they are few or others have as many descriptors; or that can't be told, as before Linux 6.2.
pub fn find_all_holders(world: &World, inodes: &[u64], users: &BTreeSet<u32>) -> Option<Owners> {
    if inodes.len() < MANY {
        return None;
    }
    let mut sought = Sought::new(inodes.to_vec());
    sought.users.clone_from(users);
    let mut search = Search { sought: &sought, users: Users::default(), owners: Owners::default() };
    let _rights = world.raise();
    if !world.is_foreign() {
        search.users = Users::read();
    }
    let untold = search.try_all(world)?;
    search.read(world, &untold)?;
    let Search { mut owners, .. } = search;
    owners.holders.sort_unstable();
    owners.places = super::Places::of(&owners.holders);
    Some(owners)
}

struct Search<'a> {
    sought: &'a Sought,
    users: Users,
    owners: Owners,
}

impl Search<'_> {
    /// Tries a few descriptors of each process. Those where none was one of the sockets; `None`: they have too many.
    fn try_all(&mut self, world: &World) -> Option<Vec<Listed>> {
        let (mut untold, mut sizes) = (Vec::new(), 0);
        let mut are_told = false;
        for process in processes(world) {
            let Ok(dir) = open_process(world, process.pid) else { continue };
            let size = table_size(dir.as_fd()).unwrap_or(0);
            are_told |= size > 0;
            let held = if size > 0 { likely::tried(dir.as_fd(), size, self.sought.inodes()) } else { Ok(None) };
            match held {
                Ok(Some(held)) => self.add(process.pid, dir.as_fd(), held),
                _ => {
                    untold.push(process);
                    sizes += size;
                }
            }
            if sizes > self.sought.left() as u64 || world.deadline.is_near() {
                return None;
            }
        }
        are_told.then_some(untold)
    }

    /// Reads what processes hold: as [`Owners::read_threads`] also in other tables than the first.
    fn read(&mut self, world: &World, processes: &[Listed]) -> Option<()> {
        let mut links = MOST_LINKS;
        for process in processes {
            if world.deadline.is_near() {
                return None;
            }
            let Ok(dir) = open_process(world, process.pid) else { continue };
            let mut held = first_of(self.sought, &mut |each| each_descriptor(dir.as_fd(), each));
            for (others, links) in &mut links {
                let is_likely = *others == Others::Differing || self.sought.users.contains(&process.uid);
                if held.is_none() && is_likely && *links > 0 {
                    held = first_of(self.sought, &mut |each| {
                        each_descriptor_of_others(dir.as_fd(), *others, links, each).map(drop)
                    });
                }
            }
            if let Some(held) = held {
                self.add(process.pid, dir.as_fd(), held);
            }
        }
        Some(())
    }

    fn add(&mut self, pid: u32, dir: BorrowedFd<'_>, (inode, fd): (u64, u32)) {
        self.owners.add_holder((pid, dir), &self.users, inode, fd);
    }
}

/// The first of the sockets among these descriptors. What can't be read shows none.
fn first_of(
    sought: &Sought,
    descriptors: &mut dyn FnMut(&mut super::Each<'_>) -> Result<(), Errno>,
) -> Option<(u64, u32)> {
    let mut held = None;
    let _ = descriptors(&mut |place, link| {
        if held.is_none() {
            held = inode(link).filter(|inode| sought.has(*inode)).map(|inode| (inode, place.fd));
        }
    });
    held
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::deadline::Deadline;
    use crate::kernel::owner::{Holders, find_in};
    use std::net::UdpSocket;
    use std::os::fd::OwnedFd;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    fn inode_of(socket: &UdpSocket) -> u64 {
        rustix::fs::fstat(socket).unwrap().st_ino
    }

    #[test]
    fn every_process_with_one_of_the_sockets_is_found() {
        let world = World::here(Deadline::after(Duration::from_secs(30)));
        let uid = rustix::process::geteuid().as_raw();
        let mine = UdpSocket::bind("127.0.0.1:0").unwrap();
        let given = UdpSocket::bind("127.0.0.1:0").unwrap();
        // Of nobody: what is behind a socket's number, and enough for the search.
        let mut inodes: Vec<u64> = (0..500_000).map(|number| u64::from(u32::MAX) + number).collect();
        inodes.extend([inode_of(&mine), inode_of(&given)]);
        let mut other = Command::new("cat").stdin(Stdio::from(OwnedFd::from(given))).spawn().unwrap();
        let users = BTreeSet::from([uid]);
        let pids = |owners: &Owners| owners.processes.iter().map(|process| process.pid).collect::<BTreeSet<_>>();
        let found = pids(&find_all_holders(&world, &inodes, &users).unwrap());
        assert_eq!(found, BTreeSet::from([std::process::id(), other.id()]));
        let mut each = inodes.iter().map(|inode| (*inode, uid));
        assert_eq!(found, pids(&find_in(&world, &mut each, Holders::All, None)), "as where each is looked for");
        assert!(find_all_holders(&world, &inodes[..MANY - 1], &users).is_none(), "few");
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
