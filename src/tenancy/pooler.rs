//! Poolers between tenants and databases: who is one, and what it has on either side.

use super::census::{Ages, Counts};
use crate::error::Result;
use crate::owner::lineage::{Lineages, Link};
use crate::owner::{self, Holders};
use crate::socket::{Side, Socket, State, StateSet};
use crate::source::{self, Query};
use crate::world::World;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Their programs' names.
const NAMES: [&str; 3] = ["pgbouncer", "proxysql", "mysqlrouter"];

/// By `comm`, or by the program as it was called: threads rename the one, titles replace the other.
fn name_of(link: &Link) -> Option<&'static str> {
    let called = link.command_line.split(' ').next().and_then(|program| program.rsplit('/').next());
    NAMES.into_iter().find(|name| link.command == *name || called == Some(name))
}

/// The pooler's first process, where `pid` is one or a worker of one.
pub fn master(lineages: &Lineages, pid: u32) -> Option<u32> {
    let name = lineages.up(pid).next().and_then(name_of)?;
    lineages.up(pid).take_while(|link| name_of(link) == Some(name)).last().map(|link| link.pid)
}

/// A pooler's connections.
#[derive(Debug, Default, Serialize)]
pub struct Pooler {
    pub pid: u32,
    pub command: String,
    pub unit: Option<String>,
    /// With the tenants.
    pub client_side: Counts,
    /// With the databases.
    pub server_side: Counts,
}

/// What the poolers with these masters hold, on all ports. `uids`: whose their sockets may be.
pub fn sides(world: &World, masters: &BTreeSet<u32>, uids: &BTreeSet<u32>, ages: &Ages) -> Result<Vec<Pooler>> {
    let states = StateSet::of(&[State::Established, State::CloseWait, State::Listen]);
    let query = Query { states, ports: &[], side: Side::Both, times: true };
    let mut sockets: Vec<Socket> = Vec::new();
    source::visit(world, &query, &mut |socket| {
        if socket.inode != 0 && uids.contains(&socket.uid) {
            sockets.push(*socket);
        }
    })?;
    let wanted: Vec<_> = sockets.iter().map(|socket| (socket.inode, socket.uid)).collect();
    let owners = owner::find(world, &wanted, Holders::First);
    let lineages = Lineages::read(world, owners.processes.iter().map(|process| process.pid));
    let mut poolers: BTreeMap<u32, Pooler> = BTreeMap::new();
    let mut held: Vec<(u32, Socket)> = Vec::new();
    for socket in sockets {
        let Some(process) = owners.of(socket.inode).next() else { continue };
        let Some(pid) = master(&lineages, process.pid).filter(|pid| masters.contains(pid)) else { continue };
        let pooler = poolers.entry(pid).or_default();
        (pooler.pid, pooler.unit) = (pid, process.unit.clone());
        pooler.command = lineages.up(pid).next().and_then(name_of).unwrap_or_default().to_owned();
        held.push((pid, socket));
    }
    let listens: BTreeSet<(u32, u16)> = held
        .iter()
        .filter(|(_, socket)| socket.state == State::Listen)
        .map(|(pid, socket)| (*pid, socket.local.port))
        .collect();
    for (pid, socket) in held.iter().filter(|(_, socket)| socket.state != State::Listen) {
        if let Some(pooler) = poolers.get_mut(pid) {
            let is_clients = listens.contains(&(*pid, socket.local.port));
            let side = if is_clients { &mut pooler.client_side } else { &mut pooler.server_side };
            side.add(&ages.count(socket));
        }
    }
    Ok(poolers.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poolers_are_known_by_either_name() {
        let link =
            |command: &str, line: &str| Link { command: command.into(), command_line: line.into(), ..Link::default() };
        assert_eq!(name_of(&link("pgbouncer", "")), Some("pgbouncer"));
        assert_eq!(name_of(&link("RtMain", "/usr/bin/mysqlrouter -c x")), Some("mysqlrouter"));
        assert_eq!(name_of(&link("postgres", "postgres: pgbouncer app")), None);
        assert_eq!(name_of(&link("sh", "sh /usr/sbin/pgbouncer")), None);
    }
}
