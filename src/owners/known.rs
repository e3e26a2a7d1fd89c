//! What earlier looks knew of a service: its processes, which they are also once no table shows any of their sockets;
//! the sockets of the last look, by which a descriptor is known when its socket has left the tables; and what others had.

use crate::kernel::boot;
use crate::kernel::owner::{is_gone, open_process, stat};
use crate::kernel::proc_stat;
use crate::kernel::world::World;
use rustix::fd::AsFd;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};

/// The latest processes that are kept.
const MOST: usize = 256;

/// Clock ticks a second, of which `/proc/PID/stat` tells a start (USER_HZ, the same on all that Linux runs on).
const TICKS: f64 = 100.0;

/// So long, in ticks, the time of the last look may be behind: it alone is no reason to write.
const STALE: u64 = 300 * 100;

/// As they were met in one boot: pid, and start in clock ticks since the boot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Known {
    boot_id: String,
    processes: Vec<(u32, u64)>,
    /// Where their stacks began when they were met: another place is another program ([`proc_stat::stack_start`]). A history
    /// keeps none.
    #[serde(skip)]
    stacks: BTreeMap<(u32, u64), u64>,
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

    /// With the processes and sockets that another check met. Strangers are each check's own: it met them at looks of its own.
    pub fn add(&mut self, other: &Known) {
        if other.processes.is_empty() && other.rows.is_empty() {
            return;
        }
        if self.boot_id != other.boot_id {
            *self = Known { boot_id: other.boot_id.clone(), ..Known::default() };
        }
        let new = other.processes.iter().filter(|one| !self.processes.contains(one));
        let new: Vec<(u32, u64)> = new.copied().collect();
        self.stacks.extend(new.iter().filter_map(|one| Some((*one, *other.stacks.get(one)?))));
        self.processes.extend(new);
        let own: HashSet<u64> = self.rows.iter().copied().collect();
        self.rows.extend(other.rows.iter().filter(|inode| !own.contains(*inode)));
    }

    /// Those that still run, or of which that can't be told now.
    pub fn alive(&self, boot_id: &str, world: &World) -> Vec<u32> {
        let of_boot = self.processes.iter().filter(|_| self.boot_id == boot_id);
        of_boot.filter(|one| runs(one.0, one.1, self.stacks.get(one), world)).map(|(pid, _)| *pid).collect()
    }

    /// Whether there were any, all of which have ended.
    pub fn have_ended(&self, alive: &[u32]) -> bool {
        !self.processes.is_empty() && alive.is_empty()
    }

    /// Keeps those of `alive` and `met`.
    pub fn meet(&mut self, boot_id: &str, alive: &[u32], met: impl Iterator<Item = u32>, world: &World) {
        if self.boot_id != boot_id {
            *self = Known { boot_id: boot_id.to_owned(), ..Known::default() };
        }
        let mut pids: Vec<u32> = alive.iter().copied().chain(met).collect();
        pids.sort_unstable();
        pids.dedup();
        let before = |pid: u32| self.processes.iter().find(|(known, _)| *known == pid && alive.contains(&pid));
        let now = |pid: u32| begun(pid, world).ok();
        let mut processes: Vec<(u32, u64, Option<u64>)> = Vec::new();
        for pid in pids {
            let begun = before(pid).map_or_else(|| now(pid), |one| Some((one.1, self.stacks.get(one).copied())));
            processes.extend(begun.map(|(start, stack)| (pid, start, stack)));
        }
        processes.sort_unstable_by_key(|(_, start, _)| std::cmp::Reverse(*start));
        processes.truncate(MOST);
        self.stacks = processes.iter().filter_map(|(pid, start, stack)| Some(((*pid, *start), (*stack)?))).collect();
        self.processes = processes.into_iter().map(|(pid, start, _)| (pid, start)).collect();
    }

    /// Notes which programs they are, to be known by it later: what `earlier` noted of them, else what they are now.
    pub fn note_programs(&mut self, earlier: &Known, world: &World) {
        for one in &self.processes {
            let before = || earlier.stacks.get(one).copied();
            let now = || begun(one.0, world).ok().filter(|(start, _)| *start == one.1)?.1;
            if let Some(stack) = before().or_else(now) {
                self.stacks.insert(*one, stack);
            }
        }
    }

    /// Keeps the sockets of this look, and of strangers (`None`: not looked for) those that it met for the first time.
    pub fn remember(&mut self, rows: Vec<u64>, strangers: Option<&[(u32, u64)]>, world: &World) {
        self.rows = rows;
        let now = (boot::uptime() * TICKS) as u64;
        let Some(strangers) = strangers else { return };
        self.strangers.retain(|(pid, start, _)| runs(*pid, *start, None, world));
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
        numbers.extend(self.processes.iter().map(|one| self.stacks.get(one).copied().unwrap_or(0)));
        numbers
    }

    /// `None`: they are none of ours, or not all of them.
    pub fn of_numbers(boot_id: &str, numbers: &[u64]) -> Option<Known> {
        let (&[looked, processes, strangers, count], rest) = numbers.split_first_chunk()?;
        let (processes, rest) = rest.split_at_checked(usize::try_from(processes).ok()?.checked_mul(2)?)?;
        let (strangers, rest) = rest.split_at_checked(usize::try_from(strangers).ok()?.checked_mul(3)?)?;
        let (rows, stacks) = rest.split_at_checked(usize::try_from(count).ok()?)?;
        let pid = |number: u64| u32::try_from(number).unwrap_or(0);
        let processes: Vec<(u32, u64)> = processes.chunks_exact(2).map(|of| (pid(of[0]), of[1])).collect();
        // Earlier versions noted none.
        (stacks.is_empty() || stacks.len() == processes.len()).then_some(())?;
        let stacks = processes.iter().zip(stacks).filter(|(_, stack)| **stack != 0);
        Some(Known {
            boot_id: boot_id.to_owned(),
            stacks: stacks.map(|(one, stack)| (*one, *stack)).collect(),
            processes,
            rows: rows.to_vec(),
            strangers: strangers.chunks_exact(3).map(|of| (pid(of[0]), of[1], of[2])).collect(),
            looked,
        })
    }
}

/// Whether it does, by its start and, where both are known, its stack; or that can't be told now.
fn runs(pid: u32, start: u64, stack: Option<&u64>, world: &World) -> bool {
    let is_same = |now: Option<u64>| stack.zip(now).is_none_or(|(stack, now)| *stack == now);
    begun(pid, world).map_or_else(|errno| !is_gone(errno), |(now, at)| now == start && is_same(at))
}

/// In ticks since the boot; and where its stack begins, if that may be read.
fn begun(pid: u32, world: &World) -> Result<(u64, Option<u64>), Errno> {
    let _rights = world.raise();
    let line = stat(open_process(world, pid)?.as_fd())?;
    Ok((proc_stat::started(&line).ok_or(Errno::IO)?, proc_stat::stack_start(&line)))
}

fn started(pid: u32, world: &World) -> Result<u64, Errno> {
    begun(pid, world).map(|(start, _)| start)
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
    fn another_check_s_processes_are_known_and_no_other_program_is() {
        let world = World::here(Deadline::after(Duration::from_secs(9)));
        let (mut known, mut other, me) = (Known::default(), Known::default(), std::process::id());
        other.meet("b", &[], [me].into_iter(), &world);
        other.rows = vec![3, 4];
        // Of another process that had this number.
        known.meet("b", &[], std::iter::empty(), &world);
        (known.processes, known.rows) = (vec![(me, 1)], vec![4]);
        known.stacks.insert((me, 1), 7);
        known.add(&other);
        assert_eq!((known.alive("b", &world), &known.rows[..]), (vec![me], &[4, 3][..]));
        assert_eq!(Known::of_numbers("b", &known.numbers()), Some(known.clone()));
        let without = &known.numbers()[..known.numbers().len() - known.processes.len()];
        assert_eq!(Known::of_numbers("b", without).unwrap().alive("b", &world), [me], "by an earlier version");
        known.stacks.values_mut().for_each(|stack| *stack += 1);
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
