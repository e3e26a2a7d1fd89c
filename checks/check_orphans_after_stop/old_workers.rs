//! Old workers beside the service that runs: SO_REUSEPORT lets what survived a restart listen on, and accept.

use super::leftover::{Class, Left};
use super::lifecycle::{Main, TICKS_A_SECOND};
use connleak::base::duration::Span;
use connleak::kernel::cgroup::unit_name;
use connleak::kernel::owner::portrait::parent;
use connleak::kernel::owner::{self, Holders, Owners, Process};
use connleak::kernel::proc_stat;
use connleak::kernel::world::World;
use connleak::service::baseline::Listener;
use rustix::fd::AsFd;
use rustix::io::Errno;
use std::collections::HashMap;

/// Longer lines of parents aren't followed.
const MOST_ANCESTORS: usize = 16;

/// What else listens where the service does.
#[derive(Debug, Default)]
pub struct Others {
    /// Surely the service's own, of before its start.
    pub old_workers: Vec<Listener>,
    /// Maybe.
    pub doubtful: Vec<u32>,
    /// Why there may be more.
    pub unread: Option<String>,
    /// Who listens there.
    pub owners: Owners,
}

impl Others {
    /// Looks only where something else listens on one of the addresses: one socket each is the service's.
    /// `wait`: what started so much earlier belongs to the same start.
    pub fn of(world: &World, main: Main, all: &[Left], wait: Span) -> Others {
        let mut addresses: HashMap<_, Vec<(u64, u32)>> = HashMap::new();
        for left in all.iter().filter(|left| left.class() == Class::Listen && !left.socket.is_unix()) {
            let socket = &left.socket;
            addresses.entry((socket.netns, socket.local)).or_default().push((socket.inode, socket.uid));
        }
        let shared: Vec<(u64, u32)> = addresses.into_values().filter(|sockets| sockets.len() > 1).flatten().collect();
        if shared.is_empty() {
            return Others::default();
        }
        let owners = owner::find(world, &shared, Holders::All);
        let mut others = Others::default();
        let unheld = shared.iter().filter(|(inode, _)| owners.of(*inode).next().is_none()).count();
        if unheld > 0 {
            others.unread = Some(format!(
                "{unheld} of {} listeners on one address may be old workers': {}",
                shared.len(),
                owners.why_unowned()
            ));
        }
        let family = Family::of(world, main.pid);
        for holder in owners.processes.iter().filter(|holder| holder.pid != main.pid) {
            let is_old = family.as_ref().map_err(|errno| *errno);
            match is_old.and_then(|family| Ok((family.is_old(world, holder, main, wait)?, family.unit.is_some()))) {
                Ok((false, _)) => {}
                Ok((true, true)) => others.old_workers.push(Listener { pid: holder.pid, parent: holder.parent }),
                Ok((true, false)) => others.doubtful.push(holder.pid),
                Err(errno) if owner::is_gone(errno) => {}
                Err(errno) => others.unread = Some(format!("{} may be an old worker: {errno}", owner::Named(holder))),
            }
        }
        others.owners = owners;
        others
    }
}

/// What the service's main process tells of others.
struct Family {
    ancestors: Vec<u32>,
    /// The systemd service; `None`: there is none that would tell its processes from others.
    unit: Option<String>,
}

impl Family {
    fn of(world: &World, pid: u32) -> Result<Family, Errno> {
        let cgroup = owner::cgroup_of(owner::open_process(world, pid)?.as_fd())?;
        let unit = cgroup.as_deref().map(unit_name).filter(|unit| unit.ends_with(".service"));
        Ok(Family { ancestors: ancestors(world, pid)?, unit })
    }

    /// Whether a process listens there since before the service's start and is left over: nobody's child any more, no
    /// ancestor of the main process and no descendant, and of no other unit. Another instance has a unit of its own,
    /// or a supervisor as its parent.
    fn is_old(&self, world: &World, holder: &Process, main: Main, wait: Span) -> Result<bool, Errno> {
        let dir = owner::open_process(world, holder.pid)?;
        let started = proc_stat::started(&owner::stat(dir.as_fd())?).ok_or(Errno::IO)?;
        let ahead = main.started.saturating_sub(started) as f64 / TICKS_A_SECOND;
        let is_orphaned = || Ok(holder.parent == 1 || is_manager(world, holder.parent)?);
        let unit = holder.unit.as_ref().filter(|unit| unit.ends_with(".service"));
        let is_related = holder.parent == main.pid || self.ancestors.contains(&holder.pid);
        Ok(unit == self.unit.as_ref() && ahead > wait.0.as_secs_f64() && !is_related && is_orphaned()?)
    }
}

/// Whose children are nobody's: the system's systemd or a user's.
fn is_manager(world: &World, pid: u32) -> Result<bool, Errno> {
    let dir = owner::open_process(world, pid)?;
    Ok(owner::cgroup_of(dir.as_fd())?.is_some_and(|path| path.ends_with("/init.scope")))
}

/// The process' parent, its parent and so on.
fn ancestors(world: &World, mut pid: u32) -> Result<Vec<u32>, Errno> {
    let mut found = Vec::new();
    while pid > 1 && found.len() < MOST_ANCESTORS {
        pid = parent(owner::open_process(world, pid)?.as_fd())?;
        found.push(pid);
    }
    Ok(found)
}

/// Those of the sockets that a process of `pids` has, and none of the others.
pub fn held_by(all: &[Left], owners: &Owners, pids: &[u32]) -> Vec<Left> {
    let is_theirs = |left: &&Left| {
        let mut holders = owners.of(left.socket.inode).peekable();
        holders.peek().is_some() && holders.all(|process| pids.contains(&process.pid))
    };
    all.iter().filter(is_theirs).copied().collect()
}
