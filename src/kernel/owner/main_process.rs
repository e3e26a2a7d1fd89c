//! Which of several holders of one socket is the service: the one that the others descend from.

use super::{Owners, Process};

/// Longer lines of parents among the holders of a service's sockets aren't followed.
const MOST_ANCESTORS: usize = 16;

impl Owners {
    /// Orders the holders of each socket: ancestors before those that descend from them, and last who
    /// opened it for another (systemd's socket units).
    pub fn put_main_first(&mut self) {
        let processes = &self.processes;
        let parent = |process: &Process| processes.iter().find(|other| other.pid == process.parent && !opens(other));
        let depth = |process: &Process| {
            std::iter::successors(parent(process), |ancestor| parent(ancestor)).take(MOST_ANCESTORS).count()
        };
        let ranks: Vec<(bool, usize)> = processes.iter().map(|process| (opens(process), depth(process))).collect();
        self.holders.sort_by_key(|(inode, index, _)| (*inode, ranks[*index as usize], *index));
    }
}

/// Whether it is the system's or a user's systemd, which opens sockets there for other units.
pub(super) fn opens(process: &Process) -> bool {
    process.cgroup.as_deref().is_some_and(|path| path.ends_with("/init.scope"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, parent: u32, cgroup: &str) -> Process {
        let (command, cgroup) = ("x".to_owned(), Some(cgroup.to_owned()));
        Process { pid, parent, command, unit: None, cgroup, uid: 0, user: None }
    }

    #[test]
    fn masters_come_before_their_workers_and_systemd_last() {
        let service = "/system.slice/x.service";
        let processes = vec![
            process(1, 0, "/init.scope"),
            process(30, 20, service),
            process(20, 10, service),
            process(10, 1, service),
            process(31, 20, service),
        ];
        let holders = (0..5).map(|index| (7, index, 3)).chain([(8, 1, 4)]).collect();
        let mut owners = Owners { processes, holders, ..Owners::default() };
        owners.put_main_first();
        let pids = |inode| owners.of(inode).map(|process| process.pid).collect::<Vec<_>>();
        assert_eq!((pids(7), pids(8)), (vec![10, 20, 30, 31, 1], vec![30]));
        // A container's first process is its service.
        let processes = vec![process(9, 1, "/"), process(1, 0, "/")];
        let mut owners = Owners { processes, holders: vec![(7, 0, 3), (7, 1, 3)], ..Owners::default() };
        owners.put_main_first();
        assert_eq!(owners.of(7).next().map(|process| process.pid), Some(1));
    }
}
