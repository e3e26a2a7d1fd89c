//! Descriptors or memory of a service's processes.

use super::{KnownNow, Observation, Past, Plan, capacity, leaking, moment, sample, state, still_open};
use crate::base::error::{Error, Result};
use crate::growth::detector_state::{self, DetectorState, Learned, Moment};
use crate::growth::measure::Measure;
use crate::growth::outcome::Outcome;
use crate::growth::pool;
use crate::growth::process_usage::{self, Choice, MIB, ProcessUsage, ProcessUsages};
use crate::history::{History, Step, Updated};
use crate::kernel::headroom::{self, Headroom, Resource};
use crate::kernel::owner::{self, Holders, Owners};
use crate::kernel::socket::State;
use crate::kernel::source::{Coverage, Origin};
use crate::kernel::world::World;
use crate::owners::known::Known;
use std::collections::BTreeMap;

pub fn see(plan: &Plan, history: &mut History, world: &World) -> Result<Updated<Observation>> {
    let past = plan.past(history, world)?;
    let known = past.known(plan, world);
    let new = || UsageSample::new(plan, &known, world);
    plan.record(history, world, past, new()?, new, |look, past| judge(plan, look, past))
}

struct UsageSample {
    usages: ProcessUsages,
    headrooms: Vec<Headroom>,
    moment: Moment,
    /// What could not be read of their limits.
    unread: Vec<String>,
    /// Who is known to later looks.
    processes: Known,
}

impl UsageSample {
    fn new(plan: &Plan, known: &KnownNow, world: &World) -> Result<UsageSample> {
        let request = &plan.target.request;
        let mut by_port = (!plan.target.selection.is_any()).then(|| holders(plan, world)).transpose()?;
        let mut processes = Known::default();
        if let Some((pids, owners, _)) = &mut by_port {
            processes = known.met(owners, None, world);
            // What they hold is the service's, also where no row shows that any more.
            pids.extend(&known.pids);
        }
        let choice = Choice {
            pids: (!request.pids.is_empty()).then_some(&request.pids[..]),
            holders: by_port.as_ref().map(|(pids, ..)| &pids[..]),
            unit: request.unit.as_deref(),
            uid: plan.target.selection.uid,
        };
        let mut usages = process_usage::read(world, choice, plan.measure == Measure::Memory);
        usages.lacking.extend(by_port.and_then(|(.., lacking)| lacking));
        if usages.all.is_empty() && !usages.lacking.is_empty() {
            return Err(Error::Usage(usages.lacking.join("; ")));
        }
        let amount = usages.all.iter().map(|process| process.amount).sum();
        let own = plan.limit.map(|limit| Headroom { what: Resource::Connections, used: amount, limit });
        let (headrooms, unread) = match plan.measure {
            Measure::Memory => headroom::memory(world, &usages.by_cgroup()),
            _ => {
                let process = |usage: &ProcessUsage| (usage.process.pid, usage.process.command.clone());
                let files = headroom::open_files(world, &usages.all.iter().map(process).collect::<Vec<_>>());
                (files.least, files.unread)
            }
        };
        // A limit that is given is the limit.
        let headrooms = own.or(headrooms).into_iter().collect();
        Ok(UsageSample { usages, headrooms, moment: moment()?, unread, processes })
    }
}

/// Who listens on the service's ports, else who is connected; and what may be missing.
fn holders(plan: &Plan, world: &World) -> Result<(Vec<u32>, Owners, Option<String>)> {
    let pool = pool::look(world, &plan.target.selection, None, &mut plan.sights.borrow_mut())?;
    let sockets = match pool.listeners.is_empty() {
        false => pool.listeners,
        true => pool.connections.iter().map(|one| (one.socket.inode, one.socket.uid)).collect(),
    };
    let owners = owner::find(world, &sockets, Holders::All);
    let unowned = sockets.iter().filter(|(inode, _)| *inode != 0 && owners.of(*inode).next().is_none()).count();
    let why = owners.why_unowned();
    let lacking = (unowned > 0).then(|| format!("the holders of {unowned} sockets of the port are unknown, {why}"));
    let pids = owners.processes.iter().map(|process| process.pid).collect();
    Ok((pids, owners, lacking.or(pool.seen.missing)))
}

fn judge(plan: &Plan, look: UsageSample, past: Past) -> Result<Step<Observation>> {
    let UsageSample { usages, headrooms, moment, unread: limits, processes: known } = look;
    let mut unread = past.unread;
    if usages.others > 0 {
        let (followed, all) = (usages.all.len(), usages.all.len() + usages.others);
        unread.push(format!("the {followed} largest of {all} processes are followed"));
    }
    let amount: u64 = usages.all.iter().map(|process| process.amount).sum();
    let groups = usages.all.iter().map(|process| (process.name(), process.amount));
    let mut found = Outcome {
        measure: plan.measure,
        amount,
        groups: groups.collect(),
        learned: Learned::nothing(),
        leaking: None,
        headrooms,
        idle_oldest: None,
        idle_median: None,
        stuck: Vec::new(),
        plateaus: Vec::new(),
        may_be_full: plan.may_be_full(),
        usual: past.usual,
    };
    let capacity = capacity(&found);
    let mut memory = past.memory.unwrap_or_else(|| DetectorState::new(capacity));
    memory.processes = known;
    // Processes of a user come and go by themselves; of all others the oldest stands for the service.
    let instance = if plan.target.request.user.is_some() { 0 } else { usages.oldest() };
    found.learned = memory.learn(&moment, usages.sample(instance), capacity, f64::from(plan.speed));
    let used =
        headroom::choose(&found.headrooms).map_or(0.0, |headroom| headroom.used as f64 / headroom.limit.max(1) as f64);
    found.learned.verdict = process_usage::tempered(found.learned.verdict, found.learned.watched, used);
    let names: BTreeMap<u32, String> = usages.all.iter().map(|one| (one.group(), one.described())).collect();
    found.leaking = leaking(&found.learned, &moment, |group| {
        names.get(&group).cloned().unwrap_or_else(|| "a process that is gone".to_owned())
    });
    let mut counts = [0; 11];
    counts[State::Established as usize - 1] = if plan.measure == Measure::Memory { amount / MIB } else { amount };
    let sample = sample(&moment, &found, instance, counts);
    let how = format!("{} processes", usages.all.len());
    let view = Coverage { rows: usages.all.len() as u64, ..Coverage::new(Origin::Proc, how) };
    let (suspects, owners) = (Vec::new(), Owners::default());
    let (processes, mut lacking) = (usages.all, usages.lacking);
    let open = still_open(&mut memory, past.told_before, &sample, found.learned.watched);
    let state = state(&memory, past.state, lacking.is_empty());
    lacking.extend(open);
    // A limit that is given is the one that counts.
    if plan.limit.is_none() {
        lacking.extend(limits)
    } else {
        unread.extend(limits)
    }
    let (connections, counts) = (Vec::new(), [0; 11]);
    let (unsure, ghosts) = (0, None);
    let known = memory.processes;
    let value = Observation {
        found,
        view,
        connections,
        counts,
        suspects,
        owners,
        processes,
        ghosts,
        known,
        unread,
        unsure,
        lacking,
    };
    Ok(Step { sample, state, version: detector_state::VERSION, value })
}
