//! The connections of a service, by group of owners.

use super::names::{by_group, most_common, name};
use super::stuck::{self, Beside};
use super::{KnownNow, Observation, Past, Plan, capacity, leaking, moment, sample, state, still_open, suspended};
use crate::base::error::Result;
use crate::growth::detector::stuck::When;
use crate::growth::detector::{self, Verdict};
use crate::growth::detector_state::{self, DetectorState, Moment};
use crate::growth::measure::Measure;
use crate::growth::outcome::Outcome;
use crate::growth::pool::{self, Connection, Pool, hashed};
use crate::growth::process_usage;
use crate::history::{History, Step, Updated};
use crate::kernel::boot;
use crate::kernel::headroom::{self, EphemeralPorts, Headroom, OpenFiles, PortUse, Resource};
use crate::kernel::owner::all_holders::find_all_holders;
use crate::kernel::owner::one_each::find_one_each;
use crate::kernel::owner::read_tables::ReadTables;
use crate::kernel::owner::{self, Holders, Owners, Process};
use crate::kernel::source::Origin;
use crate::kernel::world::World;
use crate::owners::ghosts::{self, Ghosts, Looking};
use crate::owners::known::Known;
use std::collections::{BTreeMap, BTreeSet, HashMap};

pub fn see(plan: &Plan, history: &mut History, holders: Holders, world: &World) -> Result<Updated<Observation>> {
    let past = plan.past(history, world)?;
    let known = past.known(plan, world);
    let mut tables = ReadTables::default();
    let look = PoolSample::new(plan, &known, &mut tables, world)?;
    // Whoever holds a socket of the service was met where ghosts were looked for.
    let seeks_all = known.is_sought && look.ghosts.looked_at.is_none();
    let mut searched = Searched::new(plan, &look.pool, past.memory.as_ref(), seeks_all, (holders, &mut tables), world);
    let (memory, now) = (past.memory.as_ref(), look.instant(plan.speed));
    searched.beside = stuck::beside(&look.pool, memory, now, plan.speed.into(), (world, &mut tables));
    searched.processes = known.met(&searched.owners, look.ghosts.looked_at.as_deref(), world);
    searched.processes.remember(look.pool.inodes(), look.ghosts.strangers.as_deref(), world);
    let anew = || PoolSample::new(plan, &known, &mut ReadTables::default(), world);
    let mut updated = plan.record(history, world, past, look, anew, |look, past| judge(plan, look, &searched, past))?;
    let seen = &mut updated.value;
    seen.owners = match searched.everything || seen.suspects.is_empty() {
        true => searched.owners,
        false => owner::find_in(world, &mut seen.suspects.iter().map(of_inode), holders, Some(&mut tables)),
    };
    // A group is named once; who leaks now may be another process of the same unit and user.
    if let (Verdict::Leak(leak), Some((name, _))) = (&seen.found.learned.verdict, &mut seen.found.leaking) {
        let of_group = seen.suspects.iter().filter(|suspect| suspect.group() == leak.group);
        if let Some(now) = most_common(&seen.owners, of_group) {
            *name = now;
        }
    }
    Ok(updated)
}

struct PoolSample {
    pool: Pool,
    moment: Moment,
    /// Seconds between the clocks before and after the sockets were read.
    took: f64,
    suspended: f64,
    unread: Vec<String>,
    ghosts: Ghosts,
}

impl PoolSample {
    /// `known`: the service's processes, whatever they hold now, and what earlier looks knew. `tables`: what was read of
    /// processes, and is.
    fn new(plan: &Plan, known: &KnownNow, tables: &mut ReadTables, world: &World) -> Result<PoolSample> {
        let mut unread = Vec::new();
        let ports = EphemeralPorts::read(world).map(PortUse::new).map_err(|error| unread.push(error.to_string())).ok();
        let before = boot::uptime();
        let selection = &plan.target.selection;
        let mut pool = pool::look(world, selection, ports, &mut plan.sights.borrow_mut())?;
        let moment = moment()?;
        let (took, suspended) = (moment.uptime - before, suspended());
        // Fewer are no leak.
        let looking = Looking::ByDefault { matters: &|more| more >= detector::FEWEST, exactly: false };
        let rows = if known.is_sought { pool.rows.clone() } else { std::mem::take(&mut pool.rows) };
        let pids = || known.pids.clone();
        let find = || ghosts::find(world, plan.target, rows, &pids, &known.before, looking, tables);
        let ghosts = if selection.has_tcp() { find()?.unwrap_or_default() } else { Ghosts::default() };
        pool.add_ghosts(&ghosts.sockets, selection);
        Ok(PoolSample { pool, moment, took, suspended, unread, ghosts })
    }

    /// When it was taken, on the detector's time.
    fn instant(&self, speed: u32) -> When {
        let speed = f64::from(speed);
        When {
            wall: self.moment.wall * speed,
            awake: (self.moment.uptime - self.suspended) * speed,
            late: self.took * speed,
            boot: hashed(self.moment.boot_id.as_bytes()),
        }
    }
}

/// Processes of the service, as far as they are needed: reading them is dear.
struct Searched {
    owners: Owners,
    /// Whether every connection's holder was looked for: where nothing else says what the service
    /// accepts, and while something leaks.
    everything: bool,
    files: OpenFiles,
    /// Why what runs out first can't be told.
    unlimited: Vec<String>,
    /// Who is known to later looks.
    processes: Known,
    /// What the processes of suspected pools do beside them.
    beside: Beside,
}

impl Searched {
    /// `seeks_all`: whether the service's processes are not known yet.
    fn new(
        plan: &Plan,
        pool: &Pool,
        known: Option<&DetectorState>,
        seeks_all: bool,
        (holders, tables): (Holders, &mut ReadTables),
        world: &World,
    ) -> Searched {
        let (fresh, suspects) = (DetectorState::new(0), known.map_or_else(Vec::new, |memory| memory.suspects(pool)));
        let everything = plan.limit.is_none() || !suspects.is_empty();
        let mut sockets: Vec<(u64, u32)> = Vec::new();
        let all_holders = || find_all_holders(world, &pool.rows.inodes, &pool.rows.users);
        let met = if seeks_all && !everything { all_holders() } else { None };
        let owners = if everything || (seeks_all && met.is_none()) {
            sockets.extend(pool.connections.iter().map(of_inode));
            if plan.limit.is_none() {
                sockets.extend(&pool.listeners);
            }
            let holders = if suspects.is_empty() { Holders::First } else { holders };
            owner::find_in(world, &mut sockets.iter().copied(), holders, Some(tables))
        } else {
            let mut owners = met.unwrap_or_default();
            owners.add(one_each(world, known.unwrap_or(&fresh), pool, &owners));
            owners
        };
        let holders: BTreeSet<(u32, &str)> = match plan.limit {
            None => owners.processes.iter().map(pid_and_name).collect(),
            Some(_) => suspects.iter().flat_map(|suspect| owners.of(suspect.socket.inode)).map(pid_and_name).collect(),
        };
        let holders: Vec<_> = holders.into_iter().map(|(pid, command)| (pid, command.to_owned())).collect();
        let mut files = headroom::open_files(world, &holders);
        let mut unlimited = Vec::new();
        if plan.limit.is_none() {
            unlimited.append(&mut files.unread);
            let unowned = sockets.iter().filter(|(inode, _)| *inode != 0 && owners.of(*inode).next().is_none()).count();
            // Where all may be read, what nobody has was closed since; but not all of it at once.
            let is_partial = owners.late || owners.unlisted || owners.refused > 0 || owners.processes.is_empty();
            if unowned > 0 && is_partial {
                let why = owners.why_unowned();
                unlimited.push(format!(
                    "open files unknown of who holds {unowned} sockets, {why}: maybe they run out first"
                ));
            }
        } else if everything && owners.late {
            files.unread.push("open files of some processes unknown: no time left to look".to_owned());
        }
        let (processes, beside) = (Known::default(), Beside::default());
        Searched { owners, everything, files, unlimited, processes, beside }
    }

    /// Names of groups by their holders now, where all were looked for; else of those that have none
    /// yet. One whose holder isn't found keeps its name, or gets it from a later run.
    fn names(&self, memory: &DetectorState, pool: &Pool) -> Vec<(u32, String)> {
        let nameless = memory.nameless(pool);
        if !self.everything && nameless.is_empty() {
            return Vec::new();
        }
        let mut all: BTreeMap<u32, Vec<&Connection>> = BTreeMap::new();
        for one in &pool.connections {
            let group = one.group();
            let is_told = || self.owners.of(one.socket.inode).next().is_some();
            if self.everything || is_told() && nameless.contains_key(&group) {
                all.entry(group).or_default().push(one);
            }
        }
        all.retain(|group, _| nameless.contains_key(group) || memory.names.contains_key(group));
        all.into_iter().filter_map(|(group, of)| Some((group, most_common(&self.owners, of.into_iter())?))).collect()
    }
}

/// A holder of one connection at least of each group that has no name yet, where nobody of it was met.
fn one_each(world: &World, known: &DetectorState, pool: &Pool, met: &Owners) -> Owners {
    let mut nameless = known.nameless(pool);
    for one in pool.connections.iter().filter(|one| met.of(one.socket.inode).next().is_some()) {
        nameless.remove(&one.group());
    }
    if nameless.is_empty() {
        return Owners::default();
    }
    let of_nameless = pool.connections.iter().map(|one| (one, one.group()));
    let of_nameless = of_nameless.filter(|(_, group)| nameless.contains_key(group));
    let sockets: Vec<_> = of_nameless.map(|(one, group)| (one.socket.inode, one.socket.uid, group)).collect();
    find_one_each(world, &sockets)
}

fn judge(plan: &Plan, look: PoolSample, searched: &Searched, past: Past) -> Result<Step<Observation>> {
    let now = look.instant(plan.speed);
    let PoolSample { pool, moment, took, suspended, mut unread, ghosts } = look;
    let Past { memory: known, told_before, state: before, usual, unread: of_past, .. } = past;
    unread.extend(of_past);
    unread.extend_from_slice(&searched.files.unread);
    unread.extend_from_slice(&searched.beside.unread);
    // Also where nobody is connected: a label is there in every run, or in none.
    let tells_silences = plan.target.selection.has_tcp() && pool.seen.origin != Origin::Proc;
    let mut found = Outcome {
        measure: Measure::Connections,
        amount: pool.connections.len() as u64,
        headrooms: headrooms(plan, &pool, searched),
        idle_oldest: pool.idle_oldest().filter(|_| tells_silences),
        idle_median: pool.idle_median(),
        may_be_full: plan.may_be_full(),
        usual,
        ..Outcome::default()
    };
    let capacity = capacity(&found);
    let mut memory = known.unwrap_or_else(|| DetectorState::new(capacity));
    memory.processes = searched.processes.clone();
    let silences = match ghosts.sockets.is_empty() {
        true => HashMap::new(),
        false => memory.silences(&moment, f64::from(plan.speed)),
    };
    let seen = detector::Sample { suspended, took, ..pool.sample_after(&silences) };
    found.learned = memory.learn(&moment, seen, capacity, f64::from(plan.speed));
    temper(&mut found, &pool);
    let names = searched.names(&memory, &pool);
    memory.names.extend(names);
    let resting = memory.rest(now, stuck::silences(&pool), plan.speed.into());
    found.stuck = searched.beside.stuck(resting, &mut memory, plan.speed.into());
    // What its owner bounded is known.
    if !plan.may_be_full() {
        let plateaus = memory.rests.plateaus();
        found.plateaus =
            plateaus.map(|(group, seen)| (name(&pool, &memory.names, group), seen.connections, seen.times)).collect();
    }
    found.groups = by_group(&pool, &memory.names);
    found.leaking = leaking(&found.learned, &moment, |group| name(&pool, &memory.names, group));
    let suspects = match found.learned.verdict {
        Verdict::Leak(_) => memory.suspects(&pool),
        _ => Vec::new(),
    };
    let sample = sample(&moment, &found, pool.instance, pool.counts);
    let mut lacking = searched.unlimited.to_vec();
    lacking.extend(still_open(&mut memory, told_before, &sample, found.learned.watched));
    let state = state(&memory, before, pool.seen.missing.is_none() && ghosts.missing.is_empty());
    let Pool { seen, connections, counts, unsure, .. } = pool;
    let looked = Observation::new(found, seen, memory.processes);
    let ghosts = Some(ghosts);
    let value = Observation { connections, counts, suspects, ghosts, unread, unsure, lacking, ..looked };
    Ok(Step { sample, state, version: detector_state::VERSION, value })
}

/// A rise over UNIX sockets alone is told as one of descriptors: their silences are unknown.
fn temper(found: &mut Outcome, pool: &Pool) {
    let Verdict::Leak(leak) = &found.learned.verdict else { return };
    let mut group = pool.connections.iter().filter(|connection| connection.group() == leak.group).peekable();
    if group.peek().is_some() && group.all(|connection| connection.socket.is_unix()) {
        let (leak, used) = (Verdict::Leak(leak.clone()), found.fraction_used());
        found.learned.verdict = process_usage::tempered(leak, found.learned.watched, used);
    }
}

/// What may run out.
fn headrooms(plan: &Plan, pool: &Pool, searched: &Searched) -> Vec<Headroom> {
    let used = pool.connections.len() as u64;
    let connections = plan.limit.map(|limit| Headroom { what: Resource::Connections, used, limit });
    let ports = pool.ports.as_ref().and_then(PortUse::busiest);
    connections.into_iter().chain(searched.files.least.clone()).chain(ports).collect()
}

fn pid_and_name(process: &Process) -> (u32, &str) {
    (process.pid, &process.command)
}

fn of_inode(connection: &Connection) -> (u64, u32) {
    (connection.socket.inode, connection.socket.uid)
}
