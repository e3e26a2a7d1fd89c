//! The sockets of a systemd unit or cgroup, or of processes.

use crate::base::error::{Error, Result, plain};
use crate::kernel::cgroup;
use crate::kernel::owner;
use crate::kernel::socket::Socket;
use crate::kernel::world::World;
use rustix::io::Errno;
use std::collections::HashSet;
use std::io;

/// Whether a cgroup path belongs to what `--unit` names: a unit (`nginx` or `nginx.service`, also
/// what is nested in it) or, with a slash, a path prefix.
pub fn belongs(cgroup: &str, unit: &str) -> bool {
    if unit.contains('/') {
        let prefix = unit.trim_matches('/');
        let rest = cgroup.trim_start_matches('/').strip_prefix(prefix);
        return rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    }
    cgroup.split('/').any(|part| part == unit || part.strip_suffix(".service") == Some(unit))
}

/// The sockets of a unit, known in two ways, or those of processes, known by what they hold.
#[derive(Debug, Default)]
pub struct Members {
    /// Ids of the unit's cgroups: its sockets were created there.
    cgroups: HashSet<u64>,
    /// Ids of all other cgroups in which services live.
    others: HashSet<u64>,
    /// Sockets that the unit's processes hold, wherever they were created (socket activation).
    inodes: HashSet<u64>,
    /// Whether the descriptors of all the unit's processes could be read.
    complete: bool,
}

impl Members {
    /// Whether the unit has the socket; `None`: it can't be told without more rights.
    pub fn has(&self, socket: &Socket) -> Option<bool> {
        let cgroup = socket.cgroup.map_or(0, |id| id.get());
        if self.cgroups.contains(&cgroup) || self.inodes.contains(&socket.inode) {
            return Some(true);
        }
        // What another service created was not handed to this one by systemd, and what a process
        // holds is not the unit's where all its processes were read.
        let held_elsewhere = self.complete && socket.inode != 0;
        (held_elsewhere || self.others.contains(&cgroup)).then_some(false)
    }

    /// Looks for the cgroups and the processes of `unit`.
    ///
    /// # Errors
    /// When there is neither: a misspelt unit would be OK for ever.
    pub fn find(world: &World, unit: &str) -> Result<Members> {
        let mut members = Members::default();
        // Cgroup ids are this machine's: under another proc root only the processes tell.
        if !world.is_foreign() {
            cgroup::each_id(|id, path| {
                if belongs(path, unit) {
                    members.cgroups.insert(id);
                } else if !path.ends_with("/init.scope") {
                    // systemd itself, the system's and each user's, opens sockets there for other units.
                    members.others.insert(id);
                }
            });
        }
        let found = owner::sockets_of(world, |cgroup| belongs(cgroup, unit));
        members.complete = found.refused == 0;
        members.inodes = found.inodes;
        if members.cgroups.is_empty() && found.processes == 0 {
            return Err(Error::Usage(format!(
                "unit '{unit}' has no cgroup and no process here; see 'systemctl status {unit}' or 'systemd-cgls'"
            )));
        }
        Ok(members)
    }

    /// What `processes` hold. Also tells those of them that are gone.
    ///
    /// # Errors
    /// When all are gone, or the descriptors of one may not be read: what it holds would be nobody's.
    pub fn of(world: &World, processes: &[u32]) -> Result<(Members, Vec<u32>)> {
        let (mut members, mut gone) = (Members { complete: true, ..Members::default() }, Vec::new());
        for pid in processes {
            match owner::sockets_held(world, *pid) {
                Ok(inodes) => members.inodes.extend(inodes),
                Err(cause) if has_ended(&cause) => gone.push(*pid),
                Err(cause) => {
                    let path = world.proc_root.join(format!("{pid}/fd"));
                    let why = format!("{}; --pid needs that user's rights, or root's", plain(&cause));
                    return Err(Error::content(&path, why));
                }
            }
        }
        match gone.first() {
            Some(pid) if gone.len() == processes.len() => Err(Error::Usage(format!(
                "no process {pid} (--pid); give the id of a running one, or choose by --unit or --user"
            ))),
            _ => Ok((members, gone)),
        }
    }
}

/// What the kernel says of a process that is no more, or ends while it is read.
fn has_ended(cause: &io::Error) -> bool {
    cause.kind() == io::ErrorKind::NotFound || cause.raw_os_error() == Some(Errno::SRCH.raw_os_error())
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
}
