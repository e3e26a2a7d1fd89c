//! Whether a process whose pool is silent works on: its other connections tell.

use crate::growth::detector::stuck::{Resting, When};
use crate::growth::detector_state::DetectorState;
use crate::growth::pool::{Connection, Pool};
use crate::growth::stuck_pool::StuckPool;
use crate::kernel::owner::read_tables::ReadTables;
use crate::kernel::owner::{self, Holders, Process, open_process, sockets_held};
use crate::kernel::socket::{Side, State, StateSet};
use crate::kernel::source::{self, Query};
use crate::kernel::world::World;
use rustix::fd::AsFd;
use std::collections::{BTreeMap, HashSet};

/// Seconds since the last data of a connection that is busy.
const BUSY: f64 = 60.0;
/// Busy connections that show that the process works: heartbeats of one go on at night. Where the hour of the week is known one is enough.
const ENOUGH: [u64; 2] = [2, 1];
/// Processes of one owner that are read.
const MOST: usize = 64;

/// What the processes of suspected pools do beside them, by owner.
#[derive(Debug, Default)]
pub struct Beside {
    groups: BTreeMap<u32, Works>,
    /// What could not be read, to be said.
    pub unread: Vec<String>,
}

#[derive(Debug)]
struct Works {
    holder: String,
    busy: u64,
}

/// Owner and silence of each connection that may be a pool's: the client's ends. One whose silence isn't known is none.
pub fn silences(pool: &Pool) -> impl Iterator<Item = (u32, f64)> {
    let of = |one: &Connection| (one.group(), one.silence().unwrap_or(0.0));
    pool.connections.iter().filter(|one| is_pooled(one)).map(of)
}

fn is_pooled(connection: &Connection) -> bool {
    connection.side == Side::Client && connection.socket.state == State::Established
}

/// Reads the processes of the pools that this look makes suspect. It is dear: a look at all connections of the namespace.
/// `tables`: what was read of processes.
pub fn beside(
    pool: &Pool,
    memory: Option<&DetectorState>,
    now: When,
    speed: f64,
    (world, tables): (&World, &mut ReadTables),
) -> Beside {
    let mut found = Beside::default();
    let Some(memory) = memory else { return found };
    let suspected = memory.would_rest(now, silences(pool), speed);
    if suspected.is_empty() {
        return found;
    }
    let pooled: Vec<&Connection> = pool.connections.iter().filter(|one| is_pooled(one)).collect();
    let of_group = |group: u32| pooled.iter().filter(move |one| one.group() == group);
    let of_those = suspected.iter().flat_map(|resting| of_group(resting.group));
    let mut sockets = of_those.map(|one| (one.socket.inode, one.socket.uid));
    let owners = owner::find_in(world, &mut sockets, Holders::First, Some(tables));
    let service: HashSet<u64> = pool.connections.iter().map(|one| one.socket.inode).collect();
    for Resting { group, is_told, .. } in suspected {
        let mut holders: BTreeMap<u32, (u64, &Process)> = BTreeMap::new();
        for holder in of_group(group).filter_map(|one| owners.of(one.socket.inode).next()) {
            holders.entry(holder.pid).or_insert((0, holder)).0 += 1;
        }
        let Some((_, main)) = holders.values().max_by_key(|(count, _)| *count) else {
            let why = owners.why_unowned();
            found.unread.extend((!is_told).then(|| format!("whose silent pool it is can't be told, {why}")));
            continue;
        };
        let more = if holders.len() > 1 { format!(" and {} more", holders.len() - 1) } else { String::new() };
        let holder = format!("{}[{}]{more}", main.command, main.pid);
        match busy(world, holders.keys().copied(), &service, speed) {
            Some(busy) => drop(found.groups.insert(group, Works { holder, busy })),
            None => found.unread.push(format!("what {holder} does beside its silent pool can't be read")),
        }
    }
    found
}

/// How many other connections of these processes moved data just now.
fn busy(world: &World, pids: impl Iterator<Item = u32>, service: &HashSet<u64>, speed: f64) -> Option<u64> {
    let mut held = HashSet::new();
    let mut read = 0;
    {
        let _rights = world.raise();
        for pid in pids.take(MOST) {
            let sockets = open_process(world, pid).and_then(|dir| sockets_held(dir.as_fd(), &mut held));
            read += usize::from(sockets.is_ok());
        }
    }
    let mut busy = 0;
    let states = StateSet::of(&[State::Established]);
    let query = Query { states, ports: &[], side: Side::Both, times: true, listeners: false };
    let seen = source::visit(world, &query, &mut |socket| {
        let is_other = held.contains(&socket.inode) && !service.contains(&socket.inode);
        let is_busy = socket.silence().is_some_and(|millis| f64::from(millis) / 1000.0 * speed <= BUSY);
        busy += u64::from(is_other && is_busy);
    });
    (read > 0 && seen.is_ok()).then_some(busy)
}

impl Beside {
    /// What is stuck of the pools that rest: their processes work on, or did when it was told first.
    pub fn stuck(&self, resting: Vec<Resting>, memory: &mut DetectorState, speed: f64) -> Vec<StuckPool> {
        let mut stuck = Vec::new();
        for Resting { group, connections, silent, usual, is_new_hour, is_told } in resting {
            let works = self.groups.get(&group);
            let enough = ENOUGH[usize::from(!is_new_hour)];
            if !is_told && works.is_none_or(|works| works.busy < enough) {
                continue;
            }
            memory.rests.tell(group);
            let name = || memory.names.get(&group).cloned().unwrap_or_else(|| "an owner".to_owned());
            stuck.push(StuckPool {
                holder: works.map_or_else(name, |works| works.holder.clone()),
                connections: connections.into(),
                silent: silent / speed,
                usual: usual / speed,
                busy: works.map_or(0, |works| works.busy),
            });
        }
        stuck
    }
}
