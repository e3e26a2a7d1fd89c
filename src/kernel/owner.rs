//! From socket inodes to the processes that hold them, through `/proc/PID/fd`.
//!
//! Reading other users' processes needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH; what is refused is
//! counted and said. `pidfd_getfd` would be exact but delays the target's close(2): not used.

pub mod all_holders;
pub mod descriptors;
mod likely;
pub mod lineage;
pub mod listing;
mod main_process;
pub mod one_each;
mod one_table;
mod places;
pub mod portrait;
pub mod read_tables;
pub mod reading;
mod sought;
pub mod tables;

pub use listing::{Listed, UNKNOWN_UID, open_process, processes};
use places::Places;
pub use portrait::{cgroup_of, describe, stat};
use read_tables::{ReadTables, Sockets, still_leads};
pub use reading::{is_gone, open, was_refused};
pub use sought::{Sought, Wanted};
pub use tables::{each_descriptor, each_socket};

use crate::kernel::user::Users;
use crate::kernel::world::World;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;
use tables::{Each, Others, Place, each_descriptor_of_others};

/// Descriptors that are read of further threads to find sockets that no process's first thread has. A JVM has
/// hundreds of threads with one table.
const MOST_LINKS: [(Others, usize); 2] = [(Others::Differing, 50_000), (Others::Alike, 10_000)];

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

/// A process in one breath: `php-fpm[1234]`.
pub struct Named<'a>(pub &'a Process);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.0.command, self.0.pid)
    }
}

/// How many holders of a socket are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holders {
    /// Stop as soon as every socket has one.
    First,
    /// As [`Holders::First`], and their ancestors: of processes that share a socket by fork(2) the one that made it.
    Main,
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
    places: Places,
    /// Processes whose descriptors we may not read.
    pub refused: usize,
    /// Whether the time was over before all processes were read.
    pub late: bool,
    /// Whether processes can't be listed.
    pub unlisted: bool,
    /// Whether only the processes of a PID namespace could be seen.
    pub is_nested: bool,
}

/// Finds who holds the sockets given as (inode, uid). Inode 0 has no holder.
///
/// Processes of the sockets' own users come first, as most often one of them is the holder; what
/// then is left is looked for in all others (a service may open sockets as root and drop to a user).
pub fn find(world: &World, sockets: &[(u64, u32)], wanted: Holders) -> Owners {
    find_in(world, &mut sockets.iter().copied(), wanted, None)
}

/// The first of these sockets' holders that is found: of processes that share one by fork(2) the one that made it.
pub fn main_holder(world: &World, sockets: &[(u64, u32)]) -> Option<Process> {
    let mut owners = find(world, sockets, Holders::Main);
    owners.put_main_first();
    sockets.iter().find_map(|(inode, _)| owners.of(*inode).next().cloned())
}

/// [`find`]. What is in `tables` isn't read again, and what is read is kept there.
pub fn find_in(world: &World, of: &mut Wanted, holders: Holders, mut tables: Option<&mut ReadTables>) -> Owners {
    let mut sought = Sought::of(of);
    let mut owners = Owners::default();
    if sought.left() == 0 {
        return owners;
    }
    let _rights = world.raise();
    let users = if world.is_foreign() { Users::default() } else { Users::read() };
    let was_read = |process: &Listed| tables.as_ref().is_some_and(|tables| tables.has(process.pid));
    let (mut read, unread): (Vec<_>, Vec<_>) = processes(world).into_iter().partition(was_read);
    read.sort_by_key(|process| !sought.users.contains(&process.uid));
    let (mut first, then): (Vec<_>, Vec<_>) =
        unread.into_iter().partition(|process| sought.users.contains(&process.uid));
    owners.unlisted = read.is_empty() && first.is_empty() && then.is_empty();
    if holders != Holders::All && first.len() > 1 && read.is_empty() {
        likely::first(world, &mut first, sought.inodes());
    }
    let (mut readable, mut tried) = (Vec::new(), Vec::new());
    for process in read.into_iter().chain(first).chain(then) {
        // Who opens sockets for another is not who is looked for, if that one has them too.
        let is_found = || holders == Holders::First || !owners.processes.iter().any(main_process::opens);
        if holders != Holders::All && sought.left() == 0 && is_found() {
            break;
        }
        if world.deadline.is_near() {
            owners.late = true;
            break;
        }
        let pid = process.pid;
        tried.push(pid);
        let read = open_process(world, pid).and_then(|dir| match tables.as_deref_mut() {
            Some(tables) => owners.read_in(world, (pid, dir.as_fd()), &mut sought, &users, tables),
            None => owners.read(pid, dir.as_fd(), &mut sought, &users, &|each| each_descriptor(dir.as_fd(), each)),
        });
        if was_refused(&read) {
            owners.refused += 1;
        } else {
            readable.push(process);
        }
    }
    if holders == Holders::Main {
        owners.read_ancestors(world, &tried, &mut sought, &users);
    }
    owners.read_threads(world, &readable, &mut sought, &users);
    owners.is_nested = sought.left() > 0 && !world.sees_the_hosts_processes();
    owners.holders.sort_unstable();
    owners.holders.dedup_by_key(|(inode, index, _)| (*inode, *index));
    owners.places = Places::of(&owners.holders);
    owners
}

/// Calls back with descriptors.
type Descriptors<'a> = dyn Fn(&mut Each<'_>) -> Result<(), Errno> + 'a;

impl Owners {
    /// Adds what one process holds of the inodes.
    fn read(
        &mut self,
        pid: u32,
        dir: BorrowedFd<'_>,
        sought: &mut Sought,
        users: &Users,
        descriptors: &Descriptors<'_>,
    ) -> Result<(), Errno> {
        descriptors(&mut |place, link| {
            if let Some(inode) = tables::inode(link).filter(|inode| sought.take(*inode)) {
                self.add_holder((pid, dir), users, inode, place.fd);
            }
        })
    }

    /// [`Owners::read`], unless it was read before.
    fn read_in(
        &mut self,
        world: &World,
        (pid, dir): (u32, BorrowedFd<'_>),
        sought: &mut Sought,
        users: &Users,
        tables: &mut ReadTables,
    ) -> Result<(), Errno> {
        // One of those that are looked for shows whether it still is that process.
        let is_known = |known: &Sockets| {
            let one = known.held.iter().find(|(inode, _)| sought.has(*inode));
            one.is_none_or(|(inode, place)| still_leads(world, pid, *place, *inode))
        };
        let (sockets, done) = tables.read(world, (pid, Ok(dir)), false, is_known);
        for (inode, place) in &sockets.held {
            if sought.take(*inode) {
                self.add_holder((pid, dir), users, *inode, place.fd);
            }
        }
        if done.is_ok() {
            tables.keep(pid, sockets);
        }
        done
    }

    fn add_holder(&mut self, (pid, dir): (u32, BorrowedFd<'_>), users: &Users, inode: u64, fd: u32) {
        // Most often it is the last one.
        let index = self.processes.iter().rposition(|known| known.pid == pid).unwrap_or_else(|| {
            self.processes.push(describe(pid, dir, users));
            self.processes.len() - 1
        });
        self.holders.push((inode, index as u32, fd));
    }

    /// What the holders' ancestors have, but for those that were `tried`.
    fn read_ancestors(&mut self, world: &World, tried: &[u32], sought: &mut Sought, users: &Users) {
        let mut climbed = Vec::new();
        for mut pid in self.processes.iter().map(|process| process.parent).collect::<Vec<_>>() {
            while pid != 0 && !climbed.contains(&pid) {
                climbed.push(pid);
                let Ok(dir) = open_process(world, pid) else { break };
                let dir = dir.as_fd();
                if !tried.contains(&pid) {
                    let descriptors: &Descriptors = &|each| each_descriptor(dir, each);
                    let read = self.read(pid, dir, sought, users, descriptors);
                    self.refused += usize::from(was_refused(&read));
                }
                let Ok(parent) = portrait::parent(dir) else { break };
                pid = parent;
            }
        }
    }

    /// What no first thread has may be in another's own table: first in those that surely are others, then in
    /// those of the sockets' users.
    fn read_threads(&mut self, world: &World, readable: &[Listed], sought: &mut Sought, users: &Users) {
        for (others, mut links) in MOST_LINKS {
            for process in readable {
                if others == Others::Alike && !sought.users.contains(&process.uid) {
                    continue;
                }
                if sought.left() == 0 || self.late {
                    return;
                }
                if links == 0 {
                    break;
                }
                self.late = world.deadline.is_near();
                let left = Cell::new(links);
                let read = open_process(world, process.pid).and_then(|dir| {
                    let descriptors: &Descriptors = &|each| {
                        let mut links = left.get();
                        let read = each_descriptor_of_others(dir.as_fd(), others, &mut links, each);
                        left.set(links);
                        read.map(drop)
                    };
                    self.read(process.pid, dir.as_fd(), sought, users, descriptors)
                });
                links = left.get();
                self.refused += usize::from(was_refused(&read));
            }
        }
    }

    /// With what another search found.
    pub fn add(&mut self, other: Owners) {
        let index = |process: Process, known: &mut Vec<Process>| {
            known.iter().position(|one| one.pid == process.pid).unwrap_or_else(|| {
                known.push(process);
                known.len() - 1
            })
        };
        let indices: Vec<usize> =
            other.processes.into_iter().map(|process| index(process, &mut self.processes)).collect();
        self.holders.extend(other.holders.iter().map(|(inode, at, fd)| (*inode, indices[*at as usize] as u32, *fd)));
        self.holders.sort_unstable();
        self.places = Places::of(&self.holders);
        self.refused = self.refused.max(other.refused);
        self.late |= other.late;
        self.unlisted |= other.unlisted;
        self.is_nested |= other.is_nested;
    }

    /// Why sockets have no holder here.
    pub fn why_unowned(&self) -> String {
        match (self.late, self.refused) {
            (true, _) => "no time left to look".to_owned(),
            (false, _) if self.unlisted => "processes can't be listed".to_owned(),
            (false, 0) if self.is_nested => {
                "no process visible here has them (this PID namespace is not the host's)".to_owned()
            }
            (false, 0) => "no process visible here has them (in flight, io_uring, or closed meanwhile)".to_owned(),
            (false, 1) => "1 process may not be read".to_owned(),
            (false, refused) => format!("{refused} processes may not be read"),
        }
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
        let from = self.places.of_inode(&self.holders, inode);
        let same = self.holders[from..].iter().take_while(move |(held, ..)| *held == inode);
        same.map(|(_, index, fd)| (&self.processes[*index as usize], *fd))
    }
}

/// The inodes of the sockets that a process holds, in whichever of its threads' tables.
///
/// # Errors
/// Also when it ends meanwhile.
pub fn sockets_held(dir: BorrowedFd<'_>, inodes: &mut HashSet<u64>) -> Result<(), Errno> {
    let mut add = |_: Place, link: &[u8]| inodes.extend(tables::inode(link));
    each_descriptor(dir, &mut add)?;
    let mut links = usize::MAX;
    each_descriptor_of_others(dir, Others::Differing, &mut links, &mut add)?;
    // One that ends while it is read shows a part.
    portrait::is_alive(dir)
}
