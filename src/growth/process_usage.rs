//! Descriptors and memory of processes, as the leak detector sees them.
//!
//! A descriptor is the same one in the next run while its number leads to the same file. Memory has no
//! such identity: it is taken for a stack of MiB, of which the uppermost were got last and are given
//! back first. What a garbage collection gives back was then held for as long as it takes to come to
//! the next one, and what is never given back stays at the bottom.

use crate::base::error::plain;
use crate::growth::detector::{Sample, Socket, State, Verdict};
use crate::growth::pool::hashed;
use crate::kernel::cgroup;
use crate::kernel::members::belongs;
use crate::kernel::owner::listing::{Walk, walk};
use crate::kernel::owner::portrait::is_alive;
use crate::kernel::owner::reading::read_all;
use crate::kernel::owner::tables::{Others, each_descriptor_of_others, each_thread, threads};
use crate::kernel::owner::{self, Named, Process, UNKNOWN_UID};
use crate::kernel::proc_stat;
use crate::kernel::user::{self, Users};
use crate::kernel::world::World;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The detector counts memory in these.
pub const MIB: u64 = 1 << 20;
/// Seconds after which a daily load has shown its height.
const DAY: f64 = 86_400.0;
/// Share of the limit from which growth is reported as a leak before that: load alone seldom comes so high.
const HIGH: f64 = 0.75;
/// Processes that are followed, each with its own habits: the largest.
const MOST: usize = 32;

/// Which processes; all conditions must hold.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    /// By id, as the caller names them.
    pub pids: Option<&'a [u32]>,
    /// By id, as they were found.
    pub holders: Option<&'a [u32]>,
    pub unit: Option<&'a str>,
    /// Effective.
    pub uid: Option<u32>,
}

/// One process and what it has.
#[derive(Debug)]
pub struct ProcessUsage {
    pub process: Process,
    /// Descriptors, or bytes of resident memory.
    pub amount: u64,
    /// Clock ticks since the boot.
    started: u64,
    cgroup: Option<String>,
    /// What tells each descriptor, or each MiB, from all others.
    items: Vec<u64>,
}

#[derive(Debug, Default)]
pub struct ProcessUsages {
    /// The largest first.
    pub all: Vec<ProcessUsage>,
    /// Smaller ones that are left out.
    pub others: usize,
    /// What could not be read.
    pub lacking: Vec<String>,
}

impl ProcessUsage {
    pub fn name(&self) -> String {
        Named(&self.process).to_string()
    }

    /// Descriptors or bytes, and whose.
    pub fn json(&self) -> Value {
        let Process { pid, command, unit, uid, user, .. } = &self.process;
        json!({ "pid": pid, "command": command, "unit": unit, "uid": uid, "user": user, "amount": self.amount })
    }

    /// Each process has its own habits.
    pub fn group(&self) -> u32 {
        (hashed(format!("{} {}", self.process.pid, self.started).as_bytes()) >> 32) as u32
    }

    /// `php-fpm[1234] (unit php-fpm.service, user www-data)`.
    pub fn described(&self) -> String {
        let Process { unit, uid, user, .. } = &self.process;
        let unit = unit.as_ref().map_or_else(String::new, |unit| format!("unit {}, ", cgroup::label(unit)));
        let user = user.as_ref().map_or_else(|| format!("uid {uid}"), |user| format!("user {user}"));
        format!("{} ({unit}{user})", self.name())
    }
}

impl ProcessUsages {
    pub fn oldest(&self) -> u64 {
        self.all.iter().map(|process| process.started).min().unwrap_or(0)
    }

    /// Bytes of the processes in each cgroup.
    pub fn by_cgroup(&self) -> BTreeMap<String, u64> {
        let mut bytes: BTreeMap<String, u64> = BTreeMap::new();
        for process in &self.all {
            *bytes.entry(process.cgroup.clone().unwrap_or_else(|| "/".to_owned())).or_default() += process.amount;
        }
        bytes
    }

    /// What the detector is shown; when it was taken is the caller's to say.
    pub fn sample(&self, service: u64) -> Sample {
        let socket =
            |group| move |cookie: &u64| Socket { cookie: *cookie, group, state: State::Established, idle: 0.0 };
        let sockets: Vec<_> =
            self.all.iter().flat_map(|process| process.items.iter().map(socket(process.group()))).collect();
        Sample { service, established: sockets.len().try_into().unwrap_or(u32::MAX), sockets, ..Sample::default() }
    }
}

/// What the detector's `verdict` means for numbers without silences: on the first day a rise is the
/// morning's load as well as a leak, unless it has come high. `watched`: seconds; `used`: share of the limit.
pub fn tempered(verdict: Verdict, watched: f64, used: f64) -> Verdict {
    match verdict {
        Verdict::Leak(leak) if watched < DAY && used < HIGH => Verdict::Growing { rate: leak.rate },
        verdict => verdict,
    }
}

/// Reads the chosen processes: their descriptors, or their resident memory.
pub fn read(world: &World, choice: Choice, memory: bool) -> ProcessUsages {
    let mut found = ProcessUsages::default();
    let users = if world.is_foreign() { Users::default() } else { Users::read() };
    let unmapped = choice.uid.and_then(|_| user::unmapped());
    let (mut refused, mut why, mut here) = (0usize, String::new(), BTreeSet::new());
    let chosen = |pid: &u32| [choice.pids, choice.holders].into_iter().flatten().all(|pids| pids.contains(pid));
    let walked = {
        let _rights = world.raise();
        walk(world, &mut |process, dir| {
            here.extend(choice.pids.is_some_and(|pids| pids.contains(&process.pid)).then_some(process.pid));
            let is_users = choice
                .uid
                .is_none_or(|uid| process.uid == uid || [unmapped, Some(UNKNOWN_UID)].contains(&Some(process.uid)));
            if !chosen(&process.pid) || !is_users {
                return Ok(());
            }
            let read = match choice.uid {
                Some(_) if [unmapped, Some(UNKNOWN_UID)].contains(&Some(process.uid)) => Err(Errno::ACCESS),
                _ => dir.and_then(|dir| of_process(dir, process.pid, choice.unit, memory, &users)),
            };
            let read = read.map(|usage| found.all.extend(usage));
            if let Err(errno) = read
                && !owner::is_gone(errno)
            {
                refused += 1;
                why = format!("process {} may not be read: {}", process.pid, plain(&errno.into()));
            }
            read
        })
    };
    if walked == Walk::Unlisted {
        found.lacking.push(format!("{}: its processes can't be listed", world.proc_root.display()));
        return found;
    }
    let gone = choice.pids.unwrap_or_default().iter().filter(|pid| !here.contains(pid));
    found.lacking.extend(gone.map(|pid| format!("process {pid} (--pid) is gone")));
    if walked == Walk::Unsettled {
        found.lacking.push("not all processes read: no time left, or they came and went too fast".to_owned());
    }
    if refused > 1 {
        why = format!("{why} (and {} more)", refused - 1);
    }
    found.lacking.extend((refused > 0).then_some(why));
    if let (Some(unit), true, true) = (choice.unit, found.all.is_empty(), found.lacking.is_empty()) {
        // A misspelt unit would be OK for ever.
        found.lacking.push(format!("no process of unit '{unit}' is here; see 'systemctl status {unit}'"));
    }
    // By age and id where equal, so that every run follows the same ones.
    found.all.sort_by_key(|one| (std::cmp::Reverse(one.amount), one.started, one.process.pid));
    found.others = found.all.len().saturating_sub(MOST);
    found.all.truncate(MOST);
    found
}

/// `None`: not of the unit, or it has ended and waits for its parent.
fn of_process(
    dir: BorrowedFd<'_>,
    pid: u32,
    unit: Option<&str>,
    memory: bool,
    users: &Users,
) -> Result<Option<ProcessUsage>, Errno> {
    let path = owner::cgroup_of(dir)?;
    if unit.is_some_and(|unit| !path.as_deref().is_some_and(|path| belongs(path, unit))) {
        return Ok(None);
    }
    let started = proc_stat::started(&owner::stat(dir)?).ok_or(Errno::IO)?;
    let (items, amount) = if memory {
        let bytes = resident(dir)?;
        (stack(pid, started, bytes), bytes)
    } else {
        let items = descriptors(dir, pid, started)?;
        let count = items.len() as u64;
        (items, count)
    };
    // One that ends while it is read shows a part.
    is_alive(dir)?;
    Ok(Some(ProcessUsage { process: owner::describe(pid, dir, users), amount, started, cgroup: path, items }))
}

/// What tells each descriptor, in whichever thread's table, from all others.
fn descriptors(dir: BorrowedFd<'_>, pid: u32, started: u64) -> Result<Vec<u64>, Errno> {
    let (mut items, mut links) = (Vec::new(), usize::MAX);
    let place = |table: &str, number: u32, link: &[u8]| {
        hashed(format!("{pid} {started} {table}{number} {}", String::from_utf8_lossy(link)).as_bytes())
    };
    owner::each_descriptor(dir, &mut |at, link| items.push(place("", at.fd, link)))?;
    each_descriptor_of_others(dir, Others::Differing, &mut links, &mut |at, link| {
        items.push(place("thread ", at.fd, link));
    })?;
    Ok(items)
}

/// What tells each MiB of a process from all others, the lowest first.
fn stack(pid: u32, started: u64, bytes: u64) -> Vec<u64> {
    (0..bytes / MIB).map(|at| hashed(format!("{pid} {started} {at}").as_bytes())).collect()
}

/// VmRSS in bytes; a kernel thread has none, nor a first thread that has ended.
fn resident(dir: BorrowedFd<'_>) -> Result<u64, Errno> {
    let vm_rss = |dir: BorrowedFd<'_>| -> Result<Option<u64>, Errno> {
        let status = read_all(dir, "status", 64 * 1024)?;
        let status = String::from_utf8_lossy(&status);
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        Ok(line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()))
    };
    let mut kib = vm_rss(dir)?;
    if kib.is_none() && threads(dir)? > 1 {
        each_thread(dir, &mut |_, thread| {
            kib = vm_rss(thread)?;
            Ok(kib.is_none())
        })?;
    }
    Ok(kib.unwrap_or(0) * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::deadline::Deadline;
    use crate::growth::detector::Leak;
    use crate::growth::detector_state::{DetectorState, Moment};
    use std::time::Duration;

    const HOUR: f64 = 3600.0;
    /// MiB that there can be.
    const LIMIT: u32 = 1000;

    fn usage(bytes: u64) -> ProcessUsage {
        let (pid, started) = (7, 99);
        let process = Process {
            pid,
            parent: 1,
            command: "app".into(),
            unit: Some("app.service".into()),
            cgroup: None,
            uid: 33,
            user: None,
        };
        ProcessUsage { process, amount: bytes, started, cgroup: None, items: stack(pid, started, bytes) }
    }

    /// When a process whose memory goes so is reported first, in hours, checked each five minutes for `hours`.
    fn first_leak(hours: u32, limit: u32, mib: impl Fn(f64) -> f64) -> Option<(f64, Leak)> {
        let mut memory = DetectorState::new(limit);
        (0..hours * 12).find_map(|check| {
            let at = f64::from(check) * 300.0;
            // It breathes a little, as all do.
            let level = mib(at / HOUR) + f64::from(check * 7 % 5);
            let found = ProcessUsages { all: vec![usage(level as u64 * MIB)], ..ProcessUsages::default() };
            let moment = Moment { wall: 1e9 + at, uptime: 1000.0 + at, boot_id: "b".to_owned() };
            let learned = memory.learn(&moment, found.sample(99), limit, 1.0);
            match tempered(learned.verdict, learned.watched, level / f64::from(limit)) {
                Verdict::Leak(leak) => Some((at / HOUR, leak)),
                _ => None,
            }
        })
    }

    #[test]
    fn healthy_memory_is_no_leak() {
        let warm_up = |hour: f64| 100.0 + 600.0 * (1.0 - (-hour / 2.0).exp());
        let at_once = |hour: f64| if hour < 1.0 { 100.0 } else { 800.0 };
        let collected = |hour: f64| 200.0 + 300.0 * (hour / 3.0).fract();
        let daily = |hour: f64| 450.0 - 280.0 * (hour * std::f64::consts::TAU / 24.0).cos();
        let nightly = |hour: f64| if (hour % 24.0) < 2.0 { 900.0 } else { 200.0 };
        let levels: [(&str, &dyn Fn(f64) -> f64); 5] = [
            ("warm-up to a plateau", &warm_up),
            ("a step", &at_once),
            ("a sawtooth", &collected),
            ("daily load", &daily),
            ("a job each night", &nightly),
        ];
        for (name, level) in levels {
            assert_eq!(first_leak(60, LIMIT, level), None, "{name}");
        }
    }

    #[test]
    fn a_floor_that_rises_is_a_leak() {
        let plain = |hour: f64| 200.0 + 25.0 * (hour - 4.0).max(0.0);
        let (at, leak) = first_leak(40, LIMIT, plain).expect("800 MiB in 32 hours");
        assert!((10.0..30.0).contains(&at), "{at}");
        assert!((leak.rate * HOUR - 25.0).abs() < 5.0 && leak.group == usage(0).group(), "{leak:?}");
        let left = (1000.0 - plain(at)) / 25.0 * HOUR;
        assert!((leak.left.likely - left).abs() < 0.3 * left, "{left}: {leak:?}");
        let below_a_sawtooth = |hour: f64| plain(hour) + 100.0 * (hour / 2.0).fract();
        assert!(first_leak(40, LIMIT, below_a_sawtooth).is_some_and(|(at, _)| at < 34.0));
    }

    #[test]
    fn without_a_limit_growth_is_no_leak() {
        assert_eq!(first_leak(40, u32::MAX, |hour| 200.0 + 25.0 * hour), None);
    }

    #[test]
    fn this_process_is_read() {
        let world = World::here(Deadline::after(Duration::from_secs(9)));
        let me = [std::process::id()];
        let read = |pids: &[u32], memory| {
            read(&world, Choice { pids: Some(pids), holders: None, unit: None, uid: None }, memory)
        };
        let (descriptors, memory) = (read(&me, false), read(&me, true));
        assert!(descriptors.all[0].amount > 2 && descriptors.lacking.is_empty(), "{descriptors:?}");
        assert!((MIB..1 << 40).contains(&memory.all[0].amount) && memory.all[0].amount.is_multiple_of(1024));
        assert_eq!(memory.all[0].started, descriptors.all[0].started);
        let gone = read(&[me[0], 1 << 22], true);
        assert_eq!((gone.all.len(), gone.lacking), (1, vec!["process 4194304 (--pid) is gone".to_owned()]));
    }
}
