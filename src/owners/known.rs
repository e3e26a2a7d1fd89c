//! What earlier looks knew of a service: its processes, which they are also once no table shows any of their sockets;
//! the sockets of the last look, by which a descriptor is known when its socket has left the tables; and what others had.

use crate::base::fnv::fnv64;
use crate::kernel::boot;
use crate::kernel::owner::{is_gone, open_process, stat};
use crate::kernel::proc_stat;
use crate::kernel::world::World;
use rustix::fd::AsFd;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap, HashSet};

/// The latest processes that are kept.
const MOST: usize = 256;

/// Clock ticks a second, of which `/proc/PID/stat` tells a start (USER_HZ, the same on all that Linux runs on).
const TICKS: f64 = 100.0;

/// So long, in ticks, the time of the last look may be behind: it alone is no reason to write.
const STALE: u64 = 300 * 100;

/// Bits of a start in ticks: of 300 years.
const OF_START: u32 = 40;

/// As they were met in one boot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Known {
    boot_id: String,
    /// Pid, and [`identity`].
    processes: Vec<(u32, u64)>,
    /// Inodes of the service's sockets at the last look.
    pub rows: Vec<u64>,
    /// Processes without any socket in the tables that had descriptors of such that left them: pid, start, and how
    /// many when they were first met.
    strangers: Vec<(u32, u64, u64)>,
    /// When these were last looked for, in ticks since the boot; 0: never.
    looked: u64,
}

impl Known {
    /// Without the sockets and strangers of another boot.
    pub fn in_boot(&self, boot_id: &str) -> Known {
        if self.boot_id == boot_id {
            return self.clone();
        }
        Known { boot_id: self.boot_id.clone(), processes: self.processes.clone(), ..Known::default() }
    }

    /// With the processes and sockets that another check met; whether any of the former is new. Strangers are each check's
    /// own: it met them at looks of its own.
    pub fn add(&mut self, other: &Known) -> bool {
        if other.processes.is_empty() && other.rows.is_empty() {
            return false;
        }
        if self.boot_id != other.boot_id {
            *self = Known { boot_id: other.boot_id.clone(), ..Known::default() };
        }
        let new = other.processes.iter().filter(|one| !self.processes.contains(one));
        let new: Vec<(u32, u64)> = new.copied().collect();
        let is_any_new = !new.is_empty();
        self.processes.extend(new);
        let own: HashSet<u64> = self.rows.iter().copied().collect();
        self.rows.extend(other.rows.iter().filter(|inode| !own.contains(*inode)));
        is_any_new
    }

    /// Those that still run, or of which that can't be told now.
    pub fn alive(&self, boot_id: &str, world: &World) -> Vec<u32> {
        let _rights = world.raise();
        let of_boot = self.processes.iter().filter(|_| self.boot_id == boot_id);
        let runs = of_boot.filter(|(pid, known)| runs(*pid, *known, world));
        // An earlier version told them by their start alone.
        runs.map(|(pid, _)| *pid).collect::<BTreeSet<u32>>().into_iter().collect()
    }

    /// Whether there were any that are to be met anew: all have ended, or one has called execve(2) and is another program now,
    /// or the same one as after a reload.
    pub fn are_to_be_met(&self, alive: &[u32], world: &World) -> bool {
        let is_other = |(pid, known): &(u32, u64)| {
            !alive.contains(pid) && started(*pid, world).is_ok_and(|start| start == start_of(*known))
        };
        !self.processes.is_empty() && (alive.is_empty() || self.processes.iter().any(is_other))
    }

    /// Keeps those of `alive` and `met`.
    pub fn meet(&mut self, boot_id: &str, alive: &[u32], met: impl Iterator<Item = u32>, world: &World) {
        if self.boot_id != boot_id {
            *self = Known { boot_id: boot_id.to_owned(), ..Known::default() };
        }
        let mut pids: Vec<u32> = alive.iter().copied().chain(met).collect();
        pids.sort_unstable();
        pids.dedup();
        let _rights = world.raise();
        let mut before: HashMap<u32, u64> = HashMap::new();
        for (pid, known) in self.processes.iter().filter(|(pid, _)| alive.contains(pid)) {
            // Of two by one number one runs.
            if !before.contains_key(pid) || runs(*pid, *known, world) {
                before.insert(*pid, *known);
            }
        }
        let identity = |pid: u32| match before.get(&pid) {
            Some(known) if known >> OF_START != 0 => Some(*known),
            known => identity(pid, world).ok().or(known.copied()),
        };
        let mut processes: Vec<_> = pids.into_iter().filter_map(|pid| Some((pid, identity(pid)?))).collect();
        processes.sort_unstable_by_key(|(_, identity)| std::cmp::Reverse(start_of(*identity)));
        processes.truncate(MOST);
        self.processes = processes;
    }

    /// Keeps the sockets of this look, and of strangers (`None`: not looked for) those that it met for the first time.
    pub fn remember(&mut self, rows: Vec<u64>, strangers: Option<&[(u32, u64)]>, world: &World) {
        self.rows = rows;
        let now = (boot::uptime() * TICKS) as u64;
        let Some(strangers) = strangers else { return };
        self.strangers.retain(|(pid, start, _)| runs(*pid, *start, world));
        for (pid, count) in strangers {
            let Ok(start) = started(*pid, world) else { continue };
            if !self.strangers.iter().any(|(known, ..)| known == pid) && self.strangers.len() < MOST {
                self.strangers.push((*pid, start, self.at_first(*pid, *count, world)));
            }
        }
        if now > self.looked + STALE || self.looked == 0 {
            self.looked = now;
        }
    }

    /// How many of its `count` such descriptors a process had when it was first met: all, where that is now. None, where
    /// it ran at an earlier look and had none.
    pub fn at_first(&self, pid: u32, count: u64, world: &World) -> u64 {
        let Ok(start) = started(pid, world) else { return 0 };
        match self.strangers.iter().find(|known| (known.0, known.1) == (pid, start)) {
            Some((.., first)) => count.min(*first),
            None if start < self.looked => 0,
            None => count,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.processes.is_empty() && self.rows.is_empty() && self.strangers.is_empty()
    }

    /// As numbers, for [`Known::of_numbers`].
    pub fn numbers(&self) -> Vec<u64> {
        let lengths = [self.processes.len(), self.strangers.len(), self.rows.len()];
        let mut numbers = vec![self.looked];
        numbers.extend(lengths.map(|length| length as u64));
        numbers.extend(self.processes.iter().flat_map(|(pid, start)| [u64::from(*pid), *start]));
        numbers.extend(self.strangers.iter().flat_map(|(pid, start, first)| [u64::from(*pid), *start, *first]));
        numbers.extend(&self.rows);
        numbers
    }

    /// `None`: they are none of ours, or not all of them.
    pub fn of_numbers(boot_id: &str, numbers: &[u64]) -> Option<Known> {
        let (&[looked, processes, strangers, count], rest) = numbers.split_first_chunk()?;
        let (processes, rest) = rest.split_at_checked(usize::try_from(processes).ok()?.checked_mul(2)?)?;
        let (strangers, rows) = rest.split_at_checked(usize::try_from(strangers).ok()?.checked_mul(3)?)?;
        (rows.len() as u64 == count).then_some(())?;
        let pid = |number: u64| u32::try_from(number).unwrap_or(0);
        Some(Known {
            boot_id: boot_id.to_owned(),
            processes: processes.chunks_exact(2).map(|of| (pid(of[0]), of[1])).collect(),
            rows: rows.to_vec(),
            strangers: strangers.chunks_exact(3).map(|of| (pid(of[0]), of[1], of[2])).collect(),
            looked,
        })
    }
}

/// Whether it does as what it was, or that can't be told now. `known`: [`identity`], or a start alone.
fn runs(pid: u32, known: u64, world: &World) -> bool {
    let is_same = |now: u64| {
        let stacks = [now, known].map(|identity| identity >> OF_START);
        start_of(now) == start_of(known) && (stacks.contains(&0) || stacks[0] == stacks[1])
    };
    identity(pid, world).map_or_else(|errno| !is_gone(errno), is_same)
}

/// In ticks since the boot.
fn started(pid: u32, world: &World) -> Result<u64, Errno> {
    identity(pid, world).map(start_of)
}

/// What tells a process from others of its number, and from what it was before execve(2), whose descriptors are other ones
/// then: its start in ticks, and above that bits of where its stack begins. These are 0 where that may not be read, as
/// earlier versions wrote.
fn identity(pid: u32, world: &World) -> Result<u64, Errno> {
    let line = stat(open_process(world, pid)?.as_fd())?;
    let start = proc_stat::started(&line).ok_or(Errno::IO)?;
    let stack = proc_stat::stack_start(&line).map_or(0, |at| fnv64(&at.to_le_bytes()) | 1 << 63);
    Ok(start_of(start) | stack >> OF_START << OF_START)
}

/// [`identity`] with its stack: execve(2) closes descriptors as an end does. `None`: it has ended, or may not be read.
pub(in crate::owners) fn life(pid: u32, world: &World) -> Option<u64> {
    let _rights = world.raise();
    identity(pid, world).ok().filter(|identity| identity >> OF_START != 0)
}

fn start_of(identity: u64) -> u64 {
    identity & ((1 << OF_START) - 1)
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
        assert!(!known.are_to_be_met(&[], &world));
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
        assert!(younger.are_to_be_met(&younger.alive("b", &world), &world), "another one by the same number");
        assert!(!known.are_to_be_met(&[me], &world), "one of two has ended");
        let by_earlier_version = Known { processes: vec![(me, started(me, &world).unwrap())], ..known.clone() };
        assert_eq!(by_earlier_version.alive("b", &world), [me]);
    }

    #[test]
    fn who_has_called_execve_is_met_anew() {
        let world = World::here(Deadline::after(Duration::from_secs(9)));
        let (mut known, me) = (Known::default(), std::process::id());
        let (mut other, mut go) = {
            let mut shell = Command::new("sh");
            shell.args(["-c", "read go; exec cat"]).stdin(std::process::Stdio::piped());
            let mut child = shell.spawn().unwrap();
            let go = child.stdin.take().unwrap();
            (child, go)
        };
        let is_called = |name: &str| {
            let mut looks = 0..900;
            let comm = format!("/proc/{}/comm", other.id());
            while std::fs::read_to_string(&comm).unwrap().trim_end() != name {
                assert!(looks.next().is_some(), "no {name}");
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        is_called("sh");
        known.meet("b", &[], [other.id(), me].into_iter(), &world);
        assert_eq!(known.alive("b", &world).len(), 2);
        std::io::Write::write_all(&mut go, b"\n").unwrap();
        is_called("cat");
        let alive = known.alive("b", &world);
        assert_eq!(alive, [me]);
        assert!(known.are_to_be_met(&alive, &world), "the same service reloaded, maybe");
        known.meet("b", &alive, [other.id()].into_iter(), &world);
        assert_eq!(known.alive("b", &world).len(), 2);
        drop(go);
        other.wait().unwrap();
    }

    #[test]
    fn another_check_s_processes_are_known_and_no_other_program_is() {
        let world = World::here(Deadline::after(Duration::from_secs(9)));
        let (mut known, mut other, me) = (Known::default(), Known::default(), std::process::id());
        other.meet("b", &[], [me].into_iter(), &world);
        other.rows = vec![3, 4];
        // Another process had this number, and an earlier version told this one by its start alone.
        let start = started(me, &world).unwrap();
        known.meet("b", &[], std::iter::empty(), &world);
        (known.processes, known.rows) = (vec![(me, 1 << OF_START | 1), (me, start)], vec![4]);
        known.add(&other);
        assert_eq!((known.alive("b", &world), &known.rows[..]), (vec![me], &[4, 3][..]));
        assert_eq!(Known::of_numbers("b", &known.numbers()), Some(known.clone()));
        let identity = other.processes[0].1;
        known.meet("b", &[me], std::iter::empty(), &world);
        assert_eq!(known.processes, [(me, identity)]);
        known.processes[0].1 ^= 1 << OF_START;
        assert_eq!(known.alive("b", &world), [0; 0], "another program");
    }

    #[test]
    fn one_that_can_t_be_read_now_stays_known() {
        let mut world = World::here(Deadline::after(Duration::from_secs(9)));
        let root = tempfile::tempdir().unwrap();
        world.proc_root = root.path().to_owned();
        // No folder: opened as one it is ENOTDIR, as EMFILE or EACCES no sign that the process is gone.
        std::fs::write(root.path().join("7"), "").unwrap();
        let mut known = Known { boot_id: "b".to_owned(), processes: vec![(7, 11), (8, 12)], ..Known::default() };
        let alive = known.alive("b", &world);
        assert_eq!(alive, [7], "8 is gone");
        known.meet("b", &alive, std::iter::empty(), &world);
        assert_eq!(known.processes, [(7, 11)]);
    }

    #[test]
    fn what_a_stranger_had_at_first_is_told_from_what_came() {
        let world = World::here(Deadline::after(Duration::from_secs(9)));
        let me = std::process::id();
        let mut known = Known { boot_id: "b".to_owned(), ..Known::default() };
        assert_eq!(known.at_first(me, 8, &world), 8, "nothing is known of earlier");
        known.remember(vec![3, 4], Some(&[(me, 8)]), &world);
        assert_eq!([7, 8, 9].map(|count| known.at_first(me, count, &world)), [7, 8, 8]);
        known.remember(vec![3, 4], Some(&[(me, 20)]), &world);
        assert_eq!(known.at_first(me, 20, &world), 8, "the first sight counts");
        known.remember(vec![3, 4], None, &world);
        assert_eq!(known.at_first(me, 20, &world), 8, "nobody looked");
        assert_eq!(Known::of_numbers("b", &known.numbers()), Some(known.clone()));
        for cut in 0..known.numbers().len() {
            assert_eq!(Known::of_numbers("b", &known.numbers()[..cut]), None, "{cut}");
        }
        let begun_anew = known.in_boot("c");
        assert_eq!((begun_anew.rows.len(), begun_anew.at_first(me, 20, &world)), (0, 20));
        known.remember(vec![], Some(&[]), &world);
        let later = Known { strangers: Vec::new(), looked: u64::MAX, ..known };
        assert_eq!(later.at_first(me, 8, &world), 0, "it ran at an earlier look and had none");
    }
}
