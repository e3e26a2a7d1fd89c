//! The sockets of a systemd unit or cgroup, or of processes.

use crate::base::error::{Error, Result, plain};
use crate::kernel::cgroup::{self, container};
use crate::kernel::netns;
use crate::kernel::owner::listing::{Walk, walk};
use crate::kernel::owner::tables::any_in_flight;
use crate::kernel::owner::{cgroup_of, each_socket, is_gone, open_process, sockets_held, was_refused};
use crate::kernel::socket::Socket;
use crate::kernel::world::{Netns, World};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use std::cell::RefCell;
use std::collections::HashSet;

/// Whether a cgroup path belongs to what `--unit` names: a unit of this system (`nginx` or `nginx.service`, also
/// what is nested in it, but not a container's unit of the same name) or, with a slash, a path prefix.
pub fn belongs(cgroup: &str, unit: &str) -> bool {
    if unit.contains('/') {
        let prefix = unit.trim_matches('/');
        let rest = cgroup.trim_start_matches('/').strip_prefix(prefix);
        return rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    }
    let is_unit = |part: &str| part == unit || part.strip_suffix(".service") == Some(unit);
    let mut at = 0;
    cgroup.split('/').any(|part| {
        let above = &cgroup[..at];
        at += part.len() + 1;
        is_unit(part) && !container::is_inside(above)
    })
}

/// The sockets of a unit, known in two ways, or those of processes, known by what they hold.
#[derive(Debug)]
pub struct Members {
    whose: Whose,
    world: World,
    /// Ids of the unit's cgroups: its sockets were created there.
    cgroups: HashSet<u64>,
    /// Ids of all other cgroups in which services live.
    others: HashSet<u64>,
    held: RefCell<Held>,
}

#[derive(Debug)]
enum Whose {
    Unit(String),
    Processes(Vec<u32>),
}

/// What the processes hold, wherever it was created (socket activation), and what all others do.
#[derive(Debug, Default)]
struct Held {
    ours: HashSet<u64>,
    /// Read when first needed: it takes reading every process.
    strangers: HashSet<u64>,
    /// Whether all of ours could be read that were found.
    is_whole: bool,
    /// Whether all were found: processes may come and go faster than they are read.
    is_settled: bool,
    /// Whether some of the others could not be read: what nobody has may be theirs.
    any_stranger_refused: bool,
    /// Whether ours have descriptors that wait in UNIX sockets; looked for once.
    any_in_flight: Option<bool>,
    /// How often all were read.
    looks: u32,
    /// How many of the unit's processes were seen.
    processes: usize,
    /// One that is in another network namespace than is looked at, and how many are.
    elsewhere: Option<(u32, usize)>,
}

impl Members {
    /// Whether they have the socket; `None`: it can't be told, or not without more rights.
    pub fn has(&self, socket: &Socket) -> Option<bool> {
        let cgroup = socket.cgroup.map_or(0, |id| id.get());
        let mut held = self.held.borrow_mut();
        if self.cgroups.contains(&cgroup) || held.ours.contains(&socket.inode) {
            return Some(true);
        }
        // What another service created was not handed to this one by systemd.
        if self.others.contains(&cgroup) && held.is_settled {
            return Some(false);
        }
        if socket.inode == 0 || !held.is_whole {
            return None;
        }
        self.look_for(socket.inode, &mut held)
    }

    /// Where processes of ours are in another network namespace than the one that is looked at: what is to be said.
    pub fn elsewhere(&self) -> Option<String> {
        let held = self.held.borrow();
        let (pid, count) = held.elsewhere?;
        // A unit's helper in a sandbox is none.
        if matches!(self.whose, Whose::Unit(_)) && count < held.processes {
            return None;
        }
        let processes = if count == 1 { "process" } else { "processes" };
        Some(format!("{count} {processes} of the choice in other network namespaces: see --netns {pid}"))
    }

    /// The processes were read before the sockets: what has come since, or was handed on, is looked for again.
    fn look_for(&self, inode: u64, held: &mut Held) -> Option<bool> {
        const MOST_LOOKS: u32 = 2;
        loop {
            if held.ours.contains(&inode) {
                return Some(true);
            }
            if held.strangers.contains(&inode) {
                return Some(false);
            }
            if held.looks == MOST_LOOKS || self.world.deadline.is_near() || !held.is_whole {
                // In flight in a UNIX socket, or only mapped: no process shows it. Where some may not be read it is
                // most likely theirs, as all of ours were.
                let is_theirs = held.is_whole && held.is_settled && held.any_stranger_refused;
                return (is_theirs && !self.any_in_flight(held)).then_some(false);
            }
            self.look(held);
        }
    }

    fn any_in_flight(&self, held: &mut Held) -> bool {
        *held.any_in_flight.get_or_insert_with(|| {
            let _rights = self.world.raise();
            let mut any = false;
            let walked = walk(&self.world, &mut |process, dir| {
                let is_ours = dir.and_then(|dir| self.is_ours(process.pid, dir));
                let in_flight = match is_ours {
                    Ok(true) if !any => dir.and_then(any_in_flight),
                    other => other.map(|_| false),
                };
                any |= in_flight.unwrap_or_else(|errno| !is_gone(errno));
                Ok(())
            });
            any || walked != Walk::Whole
        })
    }

    fn is_ours(&self, pid: u32, dir: BorrowedFd<'_>) -> std::result::Result<bool, Errno> {
        match &self.whose {
            Whose::Unit(unit) => Ok(cgroup_of(dir)?.is_some_and(|path| belongs(&path, unit))),
            Whose::Processes(pids) => Ok(pids.contains(&pid)),
        }
    }

    /// Reads every process.
    fn look(&self, held: &mut Held) {
        let _rights = self.world.raise();
        held.looks += 1;
        let walked = walk(&self.world, &mut |process, dir| {
            let ours = dir.and_then(|dir| self.is_ours(process.pid, dir));
            let read = match (ours, dir) {
                (Ok(true), Ok(dir)) => sockets_held(dir, &mut held.ours),
                // Others' further threads are read where their first ones don't have it.
                (Ok(false), Ok(dir)) if held.looks > 1 => sockets_held(dir, &mut held.strangers),
                (Ok(false), Ok(dir)) => each_socket(dir, |inode, _| held.strangers.extend([inode])),
                (Err(errno), _) | (_, Err(errno)) => Err(errno),
            };
            if was_refused(&read) {
                held.any_stranger_refused |= ours == Ok(false);
                held.is_whole &= ours == Ok(false);
            }
            read
        });
        held.is_whole &= walked != Walk::Unlisted;
        held.is_settled = walked == Walk::Whole;
    }

    /// Looks for the cgroups and the processes of `unit`.
    ///
    /// # Errors
    /// When there is neither: a misspelt unit would be OK for ever.
    pub fn find(world: &World, unit: &str) -> Result<Members> {
        let (mut cgroups, mut others, mut is_whole) = (HashSet::new(), HashSet::new(), true);
        let mut elsewhere = None;
        // Cgroup ids are this machine's: under another proc root only the processes tell.
        if !world.is_foreign() {
            is_whole = cgroup::each_id(|id, path| {
                if belongs(path, unit) {
                    cgroups.insert(id);
                } else {
                    elsewhere = elsewhere.take().or_else(|| in_container(path, unit));
                    if !path.ends_with("/init.scope") {
                        // systemd itself, the system's and each user's, opens sockets there for other units.
                        others.insert(id);
                    }
                }
            });
        }
        let mut held = Held { is_whole, ..Held::default() };
        read_unit(world, unit, here(world), &mut held);
        if cgroups.is_empty() && held.processes == 0 {
            let hint = elsewhere.map_or_else(
                || format!("see 'systemctl status {unit}' or 'systemd-cgls'"),
                |path| format!("a container's is {path}: a unit in a container is named by its whole path"),
            );
            return Err(Error::Usage(format!("unit '{unit}' has no cgroup and no process here; {hint}")));
        }
        let (whose, held) = (Whose::Unit(unit.to_owned()), RefCell::new(held));
        Ok(Members { whose, world: world.clone(), cgroups, others, held })
    }

    /// What `processes` hold. Also tells those of them that are gone.
    ///
    /// # Errors
    /// When all are gone, or the descriptors of one may not be read: what it holds would be nobody's.
    pub fn of(world: &World, processes: &[u32]) -> Result<(Members, Vec<u32>)> {
        let (mut held, mut gone) = (Held { is_whole: true, is_settled: true, ..Held::default() }, Vec::new());
        let _rights = world.raise();
        let here = here(world);
        for pid in processes {
            held.note_namespace(world, *pid, here);
            match open_process(world, *pid).and_then(|dir| sockets_held(dir.as_fd(), &mut held.ours)) {
                Ok(()) => {}
                Err(errno) if is_gone(errno) => gone.push(*pid),
                Err(errno) => {
                    let path = world.proc_root.join(format!("{pid}/fd"));
                    let why = format!("{}; --pid needs that user's rights, or root's", plain(&errno.into()));
                    return Err(Error::content(&path, why));
                }
            }
        }
        match gone.first() {
            Some(pid) if gone.len() == processes.len() => Err(Error::Usage(format!(
                "no process {pid} (--pid); give the id of a running one, or choose by --unit or --user"
            ))),
            _ => {
                let whose = Whose::Processes(processes.to_vec());
                let (cgroups, others, held) = (HashSet::new(), HashSet::new(), RefCell::new(held));
                Ok((Members { whose, world: world.clone(), cgroups, others, held }, gone))
            }
        }
    }
}

/// The namespace that is looked at; `None`: all, or it can't be told.
fn here(world: &World) -> Option<u32> {
    if world.netns == Netns::All { None } else { netns::identity(world).ok().map(|identity| identity as u32) }
}

impl Held {
    /// Who is in another network namespace may hold what isn't seen here.
    fn note_namespace(&mut self, world: &World, pid: u32, here: Option<u32>) {
        let theirs = netns::identity_of(&world.proc_root.join(format!("{pid}/net"))).ok();
        if here.is_some() && theirs.is_some() && theirs != here {
            let (first, count) = self.elsewhere.unwrap_or((pid, 0));
            self.elsewhere = Some((first, count + 1));
        }
    }
}

/// The path down to a container's own unit of this name.
fn in_container(path: &str, unit: &str) -> Option<String> {
    let last = path.rsplit('/').next()?;
    (last == unit || last.strip_suffix(".service") == Some(unit)).then(|| path.to_owned())
}

/// Reads what the unit's processes hold.
fn read_unit(world: &World, unit: &str, here: Option<u32>, held: &mut Held) {
    let _rights = world.raise();
    let walked = walk(world, &mut |process, dir| {
        let read = dir.and_then(|dir| {
            if cgroup_of(dir)?.is_some_and(|path| belongs(&path, unit)) {
                held.processes += 1;
                held.note_namespace(world, process.pid, here);
                sockets_held(dir, &mut held.ours)?;
            }
            Ok(())
        });
        held.is_whole &= !was_refused(&read);
        read
    });
    held.is_whole &= walked != Walk::Unlisted && !world.hides_processes();
    // Who may not be read can't be missed.
    held.is_settled = walked == Walk::Whole || !held.is_whole;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn belongs_by_whole_names_only() {
        assert!(belongs("/system.slice/nginx.service", "nginx"));
        assert!(belongs("/system.slice/nginx.service/worker", "nginx.service"));
        assert!(!belongs("/system.slice/nginx-exporter.service", "nginx"));
        assert!(belongs("/kubepods/pod1/c", "/kubepods/pod1"));
        assert!(!belongs("/kubepods/pod10/c", "/kubepods/pod1"));
    }

    #[test]
    fn a_containers_unit_is_not_the_hosts() {
        let nspawn = "/machine.slice/systemd-nspawn@web.service/payload/system.slice/nginx.service";
        let machine = "/machine.slice/machine-web.scope/payload/system.slice/nginx.service";
        let docker = format!("/system.slice/docker-{}.scope/system.slice/nginx.service", "ab".repeat(32));
        for path in [nspawn, machine, &docker, "/lxc.payload.web/system.slice/nginx.service"] {
            assert!(!belongs(path, "nginx") && !belongs(path, "nginx.service"), "{path}");
            assert!(belongs(path, path), "by its whole path");
        }
        assert!(belongs(nspawn, "systemd-nspawn@web") && belongs(machine, "machine-web.scope"));
        let pod =
            format!("/kubepods.slice/kubepods-pod{}.slice/cri-containerd-{}.scope", "1".repeat(36), "ab".repeat(32));
        assert!(belongs(&pod, pod.rsplit('/').next().unwrap()), "a pod's containers are the host's");
        let of_user = "/user.slice/user-1000.slice/user@1000.service/app.slice/nginx.service";
        assert!(belongs(of_user, "nginx"));
    }
}
