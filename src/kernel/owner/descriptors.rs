//! The sockets that each process has open, whatever the tables show of them.

use super::{Listed, each_socket, is_gone, open, open_process, processes, was_refused};
use crate::kernel::cgroup;
use crate::kernel::world::World;
use rustix::fd::AsFd;
use rustix::fs::{getxattr, readlink};
use rustix::io::Errno;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::PathBuf;

/// One descriptor of a socket: that of the first process met, where several share it.
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    pub pid: u32,
    pub fd: u32,
    /// The process's user.
    pub uid: u32,
    /// Whether the process is one of those meant.
    pub is_meant: bool,
}

#[derive(Debug, Default)]
pub struct Descriptors {
    /// By the socket's inode.
    pub open: HashMap<u64, Descriptor>,
    /// How many processes are meant, as far as they could be read.
    pub meant: usize,
    /// Processes that may not be read; one more where they are hidden (hidepid).
    pub refused: usize,
    /// Whether they are.
    pub is_hidden: bool,
    /// Refused processes that belong to the service by user or cgroup; one where they can't even be listed.
    pub refused_meant: usize,
    /// Whether the time was over before all processes were read.
    pub late: bool,
}

/// Whose descriptors are read.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    All,
    /// Processes of these users, and of others while a socket of the service has not been met.
    Users(&'a HashSet<u32>),
}

/// Reads processes. Those are meant that hold one of the sockets `theirs`, or that `belongs` knows by user
/// and cgroup path, which is read only when asked for.
pub fn read(
    world: &World,
    theirs: &HashSet<u64>,
    scope: Scope,
    belongs: impl Fn(u32, &dyn Fn() -> Option<String>) -> bool,
) -> Descriptors {
    let _rights = world.raise();
    let is_hidden = world.hides_processes();
    let mut listed = processes(world);
    if let Scope::Users(users) = scope {
        listed.sort_by_key(|process| !users.contains(&process.uid));
    }
    let mut unmet: HashSet<u64> = if matches!(scope, Scope::All) { HashSet::new() } else { theirs.clone() };
    let refused_meant = usize::from(listed.is_empty());
    let mut all = Descriptors { refused: usize::from(is_hidden), is_hidden, refused_meant, ..Descriptors::default() };
    let mut sockets = Vec::new();
    for Listed { pid, uid } in listed {
        if world.deadline.is_near() {
            all.late = true;
            break;
        }
        if matches!(scope, Scope::Users(users) if !users.contains(&uid)) && unmet.is_empty() {
            break;
        }
        let dir = match open_process(world, pid) {
            Err(errno) if is_gone(errno) => continue,
            dir => dir,
        };
        let cgroup = || {
            let file = open(dir.as_ref().ok()?.as_fd(), "cgroup").ok()?;
            cgroup::cgroup_path(File::from(file))
        };
        let belongs = belongs(uid, &cgroup);
        sockets.clear();
        let done = dir
            .as_ref()
            .map_err(|errno| *errno)
            .and_then(|dir| each_socket(dir.as_fd(), |inode, fd| sockets.push((inode, fd))));
        if was_refused(&done) {
            all.refused += 1;
            all.refused_meant += usize::from(belongs);
            continue;
        }
        let is_meant = belongs || sockets.iter().any(|(inode, _)| theirs.contains(inode));
        all.meant += usize::from(is_meant);
        for (inode, fd) in &sockets {
            unmet.remove(inode);
            let descriptor = Descriptor { pid, fd: *fd, uid, is_meant };
            let known = all.open.entry(*inode).or_insert(descriptor);
            if is_meant && !known.is_meant {
                *known = descriptor;
            }
        }
    }
    all
}

impl Descriptor {
    fn path(&self, world: &World) -> PathBuf {
        world.proc_root.join(format!("{}/fd/{}", self.pid, self.fd))
    }

    /// Whether the socket may be TCP's. What an MPTCP listener accepted is called MPTCP too, also where its
    /// client speaks plain TCP (6.18).
    ///
    /// # Errors
    /// When it can't be told.
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
        let target = readlink(self.path(world), Vec::new());
        was_refused(&target) || target.is_ok_and(|target| target.as_bytes() == format!("socket:[{inode}]").as_bytes())
    }
}
