//! One look at a service: judged by what earlier ones taught, and recorded for later ones.
//!
//! Processes are searched before the history's turn to write is taken, so that runs at once wait for
//! each other no longer than it takes to look at the sockets and to store a sample.

use crate::args::{Common, Pids};
use crate::boot;
use crate::error::Result;
use crate::growth::Found;
use crate::history::{Group, History, Previous, Sample, Step, Updated};
use crate::limit::{self, EphemeralPorts, OpenFiles, PortUse, Room, What};
use crate::memory::{self, Memory, Moment};
use crate::owner::{self, Holders, Owners, Process};
use crate::pool::{self, Connection, Pool};
use crate::service::Target;
use crate::world::World;
use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

/// What is looked at, and how.
#[derive(Debug)]
pub struct Plan<'a> {
    pub common: &'a Common,
    pub pids: &'a [Pids],
    pub target: &'a Target,
    /// Connections that the service can hold; `None`: as many as what it needs for them.
    pub limit: Option<u64>,
    /// How many times as fast time runs; 1 but in a rehearsal.
    pub speed: u32,
}

/// What one look gives.
#[derive(Debug)]
pub struct Seen {
    pub found: Found,
    /// The connections that speak for a leak, and who holds them.
    pub suspects: Vec<Connection>,
    pub owners: Owners,
    /// What could not be read, to be said.
    pub unread: Vec<String>,
}

impl Plan<'_> {
    /// The history's name for it: other options see other sockets, or the same ones differently.
    pub fn name(&self) -> String {
        let Plan { common, target, .. } = self;
        let mut name = match target.selection.ports.is_empty() {
            true => "all ports".to_owned(),
            false => format!("{} {}", target.service, target.service.side.name()),
        };
        let texts = [("user", &common.user), ("unit", &common.unit)];
        let mut options: Vec<(&str, String)> =
            texts.into_iter().filter_map(|(option, text)| Some((option, text.clone()?))).collect();
        let pids: BTreeSet<u32> = self.pids.iter().flat_map(|pids| &pids.0).copied().collect();
        options.extend(pids.into_iter().map(|pid| ("pid", pid.to_string())));
        options.extend(common.peer.iter().map(|range| ("peer", format!("{range:?}"))));
        options.extend(common.local.iter().map(|range| ("local", format!("{range:?}"))));
        options.extend(common.netns.iter().map(|netns| ("netns", format!("{netns:?}"))));
        options.extend(common.source.iter().map(|source| ("source", format!("{source:?}"))));
        options.extend(common.proc_root.iter().map(|root| ("proc", root.display().to_string())));
        options.extend((self.speed != 1).then(|| ("rehearsal", self.speed.to_string())));
        options.iter().for_each(|(option, value)| name.push_str(&format!(" {option} {value}")));
        name
    }

    /// Looks, judges and records. `holders`: of suspects.
    ///
    /// # Errors
    /// Where the sockets or the history can't be read. What can't be stored is in the result.
    pub fn see(&self, history: &mut History, holders: Holders, world: &World) -> Result<Updated<Seen>> {
        let name = self.name();
        // What is wrong with the history shows again below.
        let before = history.peek(&name).unwrap_or_default();
        let (mut known, _) = restore(&before);
        let look = Look::new(self, world)?;
        let searched = Searched::new(self, &look.pool, known.as_ref(), holders, world);
        history.wait_at_most(world.deadline.left() / 2);
        let mut updated = history.update(&name, |previous| {
            if previous.runs == before.runs {
                return self.judge(look, known.take(), &searched, &previous);
            }
            // Another run was faster: samples are stored in the order in which they were taken.
            let look = Look::new(self, world)?;
            self.judge(look, restore(&previous).0, &searched, &previous)
        })?;
        let seen = &mut updated.value;
        seen.owners = match searched.everything || seen.suspects.is_empty() {
            true => searched.owners,
            false => owner::find(world, &seen.suspects.iter().map(of_inode).collect::<Vec<_>>(), holders),
        };
        Ok(updated)
    }

    fn judge(&self, look: Look, known: Option<Memory>, searched: &Searched, previous: &Previous) -> Result<Step<Seen>> {
        let Look { pool, moment, mut unread } = look;
        unread.extend(restore(previous).1);
        unread.extend_from_slice(&searched.files.unread);
        let rooms = self.rooms(&pool, searched);
        let connections = pool.connections.len() as u64;
        let capacity = limit::choose(&rooms).and_then(|room| u32::try_from(connections + room.left()).ok());
        let capacity = capacity.unwrap_or(u32::MAX);
        let mut memory = known.unwrap_or_else(|| Memory::new(capacity));
        let learned = memory.learn(&moment, &pool, capacity, f64::from(self.speed));
        let names = searched.names(&memory, &pool);
        memory.names.extend(names);
        let found = Found { names: memory.names.clone(), pool, learned, rooms };
        let suspects = found.leak().map_or_else(Vec::new, |_| memory.suspects(&found.pool));
        // What an incomplete look lacks has not ended: the next one goes on from the one before.
        let state = match (&found.pool.seen.missing, &previous.state) {
            (Some(_), Some((memory::VERSION, before))) => before.clone(),
            _ => memory.store(),
        };
        let sample = sample(&moment, &found);
        let value = Seen { found, suspects, owners: Owners::default(), unread };
        Ok(Step { sample, state, version: memory::VERSION, value })
    }

    /// What may run out.
    fn rooms(&self, pool: &Pool, searched: &Searched) -> Vec<Room> {
        let used = pool.connections.len() as u64;
        let connections = self.limit.map(|limit| Room { what: What::Connections, used, limit });
        let ports = pool.ports.as_ref().and_then(PortUse::busiest);
        connections.into_iter().chain(searched.files.least.clone()).chain(ports).collect()
    }
}

/// What the run before left, and what to say where that is of no use.
fn restore(previous: &Previous) -> (Option<Memory>, Option<String>) {
    match previous.state.as_ref().map(|(version, state)| Memory::restore(*version, state)) {
        Some(None) => (None, Some("what earlier runs learned is of another version: learning anew".to_owned())),
        known => (known.flatten(), None),
    }
}

struct Look {
    pool: Pool,
    moment: Moment,
    unread: Vec<String>,
}

impl Look {
    fn new(plan: &Plan, world: &World) -> Result<Look> {
        let mut unread = Vec::new();
        let ports = EphemeralPorts::read(world).map(PortUse::new).map_err(|error| unread.push(error.to_string())).ok();
        let pool = pool::look(world, &plan.target.selection, ports)?;
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        let moment = Moment { wall, uptime: boot::uptime(), boot_id: boot::boot_id()? };
        Ok(Look { pool, moment, unread })
    }
}

/// Processes of the service, as far as they are needed: reading them is dear.
struct Searched {
    owners: Owners,
    /// Whether every connection's holder was looked for: where nothing else says what the service
    /// accepts, and while something leaks.
    everything: bool,
    files: OpenFiles,
}

impl Searched {
    fn new(plan: &Plan, pool: &Pool, known: Option<&Memory>, holders: Holders, world: &World) -> Searched {
        let (fresh, suspects) = (Memory::new(0), known.map_or_else(Vec::new, |memory| memory.suspects(pool)));
        let everything = plan.limit.is_none() || !suspects.is_empty();
        let mut sockets: Vec<(u64, u32)> = match everything {
            true => pool.connections.iter().map(of_inode).collect(),
            false => known.unwrap_or(&fresh).nameless(pool).into_values().map(of_inode).collect(),
        };
        if plan.limit.is_none() {
            sockets.extend(&pool.listeners);
        }
        let owners = owner::find(world, &sockets, if suspects.is_empty() { Holders::First } else { holders });
        let holders: BTreeSet<(u32, &str)> = match plan.limit {
            None => owners.processes.iter().map(tell).collect(),
            Some(_) => suspects.iter().flat_map(|suspect| owners.of(suspect.socket.inode)).map(tell).collect(),
        };
        let holders: Vec<_> = holders.into_iter().map(|(pid, command)| (pid, command.to_owned())).collect();
        let mut files = limit::open_files(world, &holders);
        if everything && owners.late {
            files.unread.push("open files of some processes unknown: no time left to look".to_owned());
        }
        Searched { owners, everything, files }
    }

    /// Unit, else command and user, of groups that have no name yet. One whose holder isn't found gets
    /// it from a later run.
    fn names(&self, memory: &Memory, pool: &Pool) -> Vec<(u32, String)> {
        let nameless = memory.nameless(pool).into_iter();
        let name = |process: &Process| match &process.unit {
            Some(unit) => unit.clone(),
            None => {
                let user = process.user.clone().unwrap_or_else(|| process.uid.to_string());
                format!("{} ({user})", process.command)
            }
        };
        nameless
            .filter_map(|(group, connection)| Some((group, name(self.owners.of(connection.socket.inode).next()?))))
            .collect()
    }
}

fn tell(process: &Process) -> (u32, &str) {
    (process.pid, &process.command)
}

fn of_inode(connection: &Connection) -> (u64, u32) {
    (connection.socket.inode, connection.socket.uid)
}

fn sample(moment: &Moment, found: &Found) -> Sample {
    let count = |number: f64| number.round().max(0.0) as u64;
    let groups = found.by_group().into_iter().map(|(name, count)| Group { name, count });
    Sample {
        wall: (moment.wall * 1000.0) as i64,
        uptime: (moment.uptime * 1000.0) as u64,
        boot: moment.boot_id.clone(),
        instance: found.pool.instance,
        counts: found.pool.counts,
        limit: limit::choose(&found.rooms).map(|room| room.limit),
        sampled: (found.learned.sampled * 1e6) as u32,
        groups: groups.collect(),
        other: 0,
        opened: found.learned.turnover.map(|turnover| count(turnover.opened)),
        closed: found.learned.turnover.map(|turnover| count(turnover.closed)),
    }
}
