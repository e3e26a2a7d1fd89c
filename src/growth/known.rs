//! Processes that earlier looks met as the service's: they are, also once no table shows any of their sockets.

use crate::kernel::owner::{is_gone, open_process, stat};
use crate::kernel::proc_stat;
use crate::kernel::world::World;
use rustix::fd::AsFd;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// The latest that are kept.
const MOST: usize = 256;

/// As they were met in one boot: pid, and start in clock ticks since the boot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Known {
    boot_id: String,
    processes: Vec<(u32, u64)>,
}

impl Known {
    /// Those that still run, or of which that can't be told now.
    pub fn alive(&self, boot_id: &str, world: &World) -> Vec<u32> {
        let runs = |pid: u32, start: u64| started(pid, world).map_or_else(|errno| !is_gone(errno), |now| now == start);
        let of_boot = self.processes.iter().filter(|_| self.boot_id == boot_id);
        of_boot.filter(|(pid, start)| runs(*pid, *start)).map(|(pid, _)| *pid).collect()
    }

    /// Whether there were any, all of which have ended.
    pub fn have_ended(&self, alive: &[u32]) -> bool {
        !self.processes.is_empty() && alive.is_empty()
    }

    /// Keeps those of `alive` and `met`.
    pub fn meet(&mut self, boot_id: &str, alive: &[u32], met: impl Iterator<Item = u32>, world: &World) {
        let mut pids: Vec<u32> = alive.iter().copied().chain(met).collect();
        pids.sort_unstable();
        pids.dedup();
        let before = |pid: u32| self.processes.iter().find(|(known, _)| *known == pid && alive.contains(&pid));
        let start = |pid: u32| before(pid).map_or_else(|| started(pid, world).ok(), |(_, start)| Some(*start));
        let mut processes: Vec<_> = pids.into_iter().filter_map(|pid| Some((pid, start(pid)?))).collect();
        processes.sort_unstable_by_key(|(_, start)| std::cmp::Reverse(*start));
        processes.truncate(MOST);
        *self = Known { boot_id: boot_id.to_owned(), processes };
    }
}

fn started(pid: u32, world: &World) -> Result<u64, Errno> {
    proc_stat::started(&stat(open_process(world, pid)?.as_fd())?).ok_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::deadline::Deadline;
    use std::process::Command;
    use std::time::Duration;

    #[test]
    fn a_process_is_known_while_it_runs_and_in_its_boot() {
        let world = World::here(Deadline::after(Duration::from_secs(9)));
        let (mut known, me) = (Known::default(), std::process::id());
        let mut other = Command::new("sleep").arg("60").spawn().unwrap();
        assert!(!known.have_ended(&[]));
        known.meet("b", &[me], [other.id(), me].into_iter(), &world);
        let mut alive = known.alive("b", &world);
        alive.sort_unstable();
        let mut both = [me, other.id()];
        both.sort_unstable();
        assert_eq!(alive, both);
        assert_eq!(known.alive("c", &world), [0; 0], "numbers and starts may repeat after a boot");
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(known.alive("b", &world), [me]);
        let younger = Known { processes: vec![(me, 1)], ..known.clone() };
        assert!(younger.have_ended(&younger.alive("b", &world)), "another one by the same number");
    }

    #[test]
    fn one_that_can_t_be_read_now_stays_known() {
        let mut world = World::here(Deadline::after(Duration::from_secs(9)));
        let root = tempfile::tempdir().unwrap();
        world.proc_root = root.path().to_owned();
        // No folder: opened as one it is ENOTDIR, as EMFILE or EACCES no sign that the process is gone.
        std::fs::write(root.path().join("7"), "").unwrap();
        let mut known = Known { boot_id: "b".to_owned(), processes: vec![(7, 11), (8, 12)] };
        let alive = known.alive("b", &world);
        assert_eq!(alive, [7], "8 is gone");
        known.meet("b", &alive, std::iter::empty(), &world);
        assert_eq!(known.processes, [(7, 11)]);
    }
}
