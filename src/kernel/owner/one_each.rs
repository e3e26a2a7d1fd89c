//! For each group of sockets somebody who holds any of them: where one name stands for all, that is enough.

use super::tables::{each_descriptor_while, inode};
use super::{Holders, Owners, find, open_process, processes};
use crate::kernel::user::Users;
use crate::kernel::world::World;
use rustix::fd::AsFd;
use std::collections::{BTreeMap, BTreeSet};

/// A process is left after so many descriptors that tell nothing new; where that has met too few, the next time after more.
const IN_VAIN: [usize; 2] = [64, 1024];

/// `sockets`: inode, user and group of each. Of a large service the first descriptors tell; where they don't, one
/// socket of each group is looked for everywhere.
pub fn find_one_each(world: &World, sockets: &[(u64, u32, u32)]) -> Owners {
    let mut sought: Vec<(u64, u32)> = sockets.iter().map(|(inode, _, group)| (*inode, *group)).collect();
    sought.retain(|(inode, _)| *inode != 0);
    sought.sort_unstable();
    let mut unmet: BTreeSet<u32> = sought.iter().map(|(_, group)| *group).collect();
    if unmet.is_empty() {
        return Owners::default();
    }
    let uids: BTreeSet<u32> = sockets.iter().map(|(_, uid, _)| *uid).collect();
    let mut owners = Owners::default();
    let rights = world.raise();
    let users = if world.is_foreign() { Users::default() } else { Users::read() };
    let listed: Vec<_> = processes(world).into_iter().filter(|process| uids.contains(&process.uid)).collect();
    for most_in_vain in IN_VAIN {
        for process in &listed {
            if unmet.is_empty() || world.deadline.is_near() {
                break;
            }
            let Ok(dir) = open_process(world, process.pid) else { continue };
            let mut in_vain = 0;
            let _ = each_descriptor_while(dir.as_fd(), &mut |place, link| {
                in_vain += 1;
                let at = inode(link).and_then(|inode| sought.binary_search_by_key(&inode, |(inode, _)| *inode).ok());
                if let Some((inode, group)) = at.map(|at| sought[at])
                    && unmet.remove(&group)
                {
                    owners.add_holder((process.pid, dir.as_fd()), &users, inode, place.fd);
                    in_vain = 0;
                }
                !unmet.is_empty() && in_vain < most_in_vain
            });
        }
    }
    drop(rights);
    if !unmet.is_empty() {
        let one_each: BTreeMap<u32, (u64, u32)> = sockets
            .iter()
            .filter(|(inode, ..)| *inode != 0)
            .map(|(inode, uid, group)| (*group, (*inode, *uid)))
            .collect();
        return find(world, &one_each.into_values().collect::<Vec<_>>(), Holders::First);
    }
    owners.holders.sort_unstable();
    owners.places = super::Places::of(&owners.holders);
    owners
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::deadline::Deadline;
    use std::net::TcpListener;
    use std::os::unix::fs::MetadataExt;
    use std::time::Duration;

    #[test]
    fn one_of_each_group_is_enough() {
        let world = World::here(Deadline::after(Duration::from_secs(30)));
        let sockets: Vec<TcpListener> = (0..6).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let uid = rustix::process::geteuid().as_raw();
        let inode = |socket: &TcpListener| rustix::fs::fstat(socket).unwrap().st_ino;
        let mut wanted: Vec<_> =
            sockets.iter().enumerate().map(|(number, socket)| (inode(socket), uid, number as u32 % 2)).collect();
        let found_of = |wanted: &[(u64, u32, u32)]| {
            let owners = find_one_each(&world, wanted);
            let held = wanted.iter().filter(|(inode, ..)| {
                owners.of(*inode).next().is_some_and(|process| process.pid == std::process::id())
            });
            held.map(|(_, _, group)| *group).collect::<Vec<_>>()
        };
        let mut groups = found_of(&wanted);
        groups.sort_unstable();
        assert_eq!(groups, [0, 1]);
        let between: Vec<_> = (0..2 * IN_VAIN[0]).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        let behind = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(found_of(&[wanted[0], (inode(&behind), uid, 7)]), [0, 7], "far behind the first");
        drop(between);
        // A group that nobody has hides no other.
        let gone = std::fs::metadata("/proc/self/ns/net").unwrap().ino();
        wanted.truncate(1);
        wanted.push((gone, uid, 9));
        assert_eq!(found_of(&wanted), [0]);
    }
}
