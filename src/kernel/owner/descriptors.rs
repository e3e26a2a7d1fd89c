//! The sockets that each process has open, whatever the tables show of them.

use super::read_tables::ReadTables;
use super::tables::{Others, Place, each_descriptor_of_others, inode, is_registered};
use super::{Listed, Sought, cgroup_of, is_gone, open_process, processes, was_refused};
use crate::kernel::world::World;
use rustix::fd::AsFd;
use rustix::fs::{getxattr, readlink};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;

/// Descriptors that are read in threads' tables of the first one's size: almost always that one again.
const MOST_ALIKE: usize = 10_000;

/// One descriptor of a socket: that of the first process met, where several share it.
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    pub pid: u32,
    place: Place,
    /// The process's user.
    pub uid: u32,
    /// Whether the process is one of those meant.
    pub is_meant: bool,
    /// Whether that can't be told.
    pub is_untold: bool,
}

#[derive(Debug, Default)]
pub struct Descriptors {
    /// By the socket's inode, but for the service's rows.
    pub open: HashMap<u64, Descriptor>,
    /// How many sockets those processes have that are meant, as far as they have some.
    pub holders: BTreeMap<u32, usize>,
    /// Which processes are meant, as far as they could be read.
    pub meant: Vec<u32>,
    /// Processes that may not be read; one more where they are hidden (hidepid).
    pub refused: usize,
    /// Whether they are.
    pub is_hidden: bool,
    /// Refused processes that belong to the service by user or cgroup, or may; one where they can't even be listed.
    pub refused_meant: usize,
    /// Whether the time was over before all processes were read.
    pub late: bool,
}

/// Whose descriptors are read.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    All,
    /// Processes of these users, and of others while a socket of the service has not been met.
    Users(&'a BTreeSet<u32>),
}

/// Reads a process's cgroup path.
pub type Cgroup<'a> = dyn Fn() -> Result<Option<String>, Errno> + 'a;

/// Tells whether a process belongs to the service.
pub type Belongs<'a> = dyn Fn(&Listed, &Cgroup<'_>) -> Result<bool, Errno> + 'a;

/// Reads processes, each thread's table that surely isn't the first's too, unless they are in `tables`, which keeps what
/// is read. Those are meant that hold one of the service's `rows` or of its sockets `before`, or that `belongs` knows.
pub fn read(
    world: &World,
    rows: &mut Sought,
    before: &HashSet<u64>,
    scope: Scope,
    belongs: &Belongs,
    tables: &mut ReadTables,
) -> Descriptors {
    let _rights = world.raise();
    let is_hidden = world.hides_processes();
    let mut listed = processes(world);
    if let Scope::Users(users) = scope {
        listed.sort_by_key(|process| !users.contains(&process.uid));
    }
    let mut unmet = if matches!(scope, Scope::Users(_)) { before.clone() } else { HashSet::new() };
    let refused_meant = usize::from(listed.is_empty());
    let mut all = Descriptors { refused: usize::from(is_hidden), is_hidden, refused_meant, ..Descriptors::default() };
    for process in listed {
        let Listed { pid, uid } = process;
        if world.deadline.is_near() {
            all.late = true;
            break;
        }
        if matches!(scope, Scope::Users(users) if !users.contains(&uid)) && unmet.is_empty() && rows.left() == 0 {
            break;
        }
        let dir = match open_process(world, pid) {
            Err(errno) if is_gone(errno) => continue,
            dir => dir,
        };
        let dir = dir.as_ref().map(AsFd::as_fd).map_err(|errno| *errno);
        // Whose cgroup can't be read may belong.
        let belongs = belongs(&process, &|| cgroup_of(dir?));
        let (sockets, done) = tables.read(world, (pid, dir), true, |_| true);
        let (mut holds, mut others) = (false, Vec::new());
        for (inode, place) in &sockets.held {
            if rows.take(*inode) {
                holds = true;
            } else {
                holds |= before.contains(inode);
                unmet.remove(inode);
                others.push((*inode, *place));
            }
        }
        if was_refused(&done) || (was_refused(&belongs) && !holds) {
            all.refused += usize::from(was_refused(&done));
            all.refused_meant += usize::from(holds || belongs != Ok(false));
        }
        let is_meant = holds || belongs == Ok(true);
        let is_untold = !is_meant && belongs != Ok(false);
        if is_meant {
            all.meant.extend((!was_refused(&done)).then_some(pid));
            all.holders.extend((!sockets.held.is_empty()).then_some((pid, sockets.held.len())));
        }
        for (inode, place) in others {
            all.add(inode, Descriptor { pid, place, uid, is_meant, is_untold });
        }
        if done.is_ok() {
            tables.keep(pid, sockets);
        }
    }
    all
}

impl Descriptors {
    fn add(&mut self, inode: u64, descriptor: Descriptor) {
        let known = self.open.entry(inode).or_insert(descriptor);
        if descriptor.is_meant && !known.is_meant {
            *known = descriptor;
        }
    }
}

/// The sockets in those tables that [`read`] takes for their processes' first ones again, of processes that are
/// `meant` or of one of these users: a part, where threads and descriptors are many.
pub fn read_alike(
    world: &World,
    is_theirs: &dyn Fn(u64) -> bool,
    users: &BTreeSet<u32>,
    meant: &[u32],
) -> HashMap<u64, Descriptor> {
    let _rights = world.raise();
    let (mut links, mut all, mut sockets) = (MOST_ALIKE, Descriptors::default(), Vec::new());
    for Listed { pid, uid } in processes(world) {
        let is_known = meant.contains(&pid);
        if world.deadline.is_near() || !(is_known || users.contains(&uid)) {
            continue;
        }
        sockets.clear();
        // What can't be read was refused before, and is told.
        let _ = open_process(world, pid).and_then(|dir| {
            each_descriptor_of_others(dir.as_fd(), Others::Alike, &mut links, &mut |place, link| {
                sockets.extend(inode(link).map(|inode| (inode, place)));
            })
        });
        let is_meant = is_known || sockets.iter().any(|(inode, _)| is_theirs(*inode));
        for (inode, place) in &sockets {
            all.add(*inode, Descriptor { pid, place: *place, uid, is_meant, is_untold: false });
        }
    }
    all.open
}

impl Descriptor {
    fn path(&self, world: &World) -> PathBuf {
        self.place.path(self.pid, &world.proc_root)
    }

    /// Whether the socket may be TCP's. What an MPTCP listener accepted is called MPTCP too, also where its
    /// client speaks plain TCP (6.18).
    ///
    /// # Errors
    /// When it can't be told: io_uring's registered files have no name.
    pub fn is_tcp(&self, world: &World) -> Result<bool, Errno> {
        let mut name = [0u8; 32];
        let _rights = world.raise();
        match getxattr(self.path(world), "system.sockprotoname", &mut name) {
            Ok(length) => {
                let name = name[..length].trim_ascii_end();
                let name = name.strip_suffix(b"\0").unwrap_or(name);
                Ok(matches!(name, b"TCP" | b"TCPv6" | b"MPTCP" | b"MPTCPv6"))
            }
            // No longer than 32 bytes with the last zero; closed meanwhile.
            Err(Errno::RANGE | Errno::NOENT | Errno::SRCH) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Whether it still is the socket of this inode, or that can't be told now: it was read a moment ago.
    pub fn is_open(&self, world: &World, inode: u64) -> bool {
        let _rights = world.raise();
        if self.place.is_registered {
            return open_process(world, self.place.task(self.pid))
                .and_then(|task| is_registered(task.as_fd(), self.place, inode))
                .unwrap_or_else(|errno| !is_gone(errno));
        }
        let target = readlink(self.path(world), Vec::new());
        was_refused(&target) || target.is_ok_and(|target| target.as_bytes() == format!("socket:[{inode}]").as_bytes())
    }
}
