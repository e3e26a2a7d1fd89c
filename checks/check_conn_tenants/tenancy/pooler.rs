//! Poolers between tenants and databases: who is one, and what it has on either side.

use super::census::{Ages, Counts};
use connleak::base::error::Result;
use connleak::kernel::owner::lineage::{Lineages, Link};
use connleak::kernel::owner::{self, Holders, is_gone};
use connleak::kernel::socket::{Side, Socket, State, StateSet};
use connleak::kernel::source::{self, Query};
use connleak::kernel::world::World;
use rustix::fd::AsFd;
use serde::Serialize;

/// Their programs' names.
const NAMES: [&str; 3] = ["pgbouncer", "proxysql", "mysqlrouter"];

/// By `comm`, or by the program as it was called: threads rename the one, titles replace the other.
fn name_of(link: &Link) -> Option<&'static str> {
    let called = link.command_line.split(' ').next().and_then(|program| program.rsplit('/').next());
    NAMES.into_iter().find(|name| link.command == *name || called == Some(name))
}

/// Whether any process has a pooler's name, or can't be asked.
pub fn may_be_here(world: &World) -> bool {
    let _rights = world.raise();
    let all = owner::processes(world);
    let is_none = |pid: u32| match owner::open_process(world, pid).and_then(|dir| Link::names(dir.as_fd())) {
        Ok(link) => name_of(&link).is_none(),
        Err(errno) => is_gone(errno),
    };
    world.hides_processes() || all.is_empty() || !all.iter().all(|process| is_none(process.pid))
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

/// What the poolers with these masters hold, on all ports, and why that may lack sockets. `uids`: whose
/// their sockets may be.
pub fn sides(world: &World, masters: &[u32], uids: &[u32], ages: &Ages) -> Result<(Vec<Pooler>, Option<String>)> {
    let states = StateSet::of(&[State::Established, State::CloseWait, State::Listen]);
    let query = Query { states, ports: &[], side: Side::Both, times: true, listeners: false };
    let mut sockets: Vec<Socket> = Vec::new();
    let seen = source::visit(world, &query, &mut |socket| {
        if socket.inode != 0 && uids.contains(&socket.uid) {
            sockets.push(*socket);
        }
    })?;
    let wanted: Vec<_> = sockets.iter().map(|socket| (socket.inode, socket.uid)).collect();
    let owners = owner::find(world, &wanted, Holders::First);
    let lineages = Lineages::read(world, owners.processes.iter().map(|process| process.pid));
    let mut poolers: Vec<Pooler> = Vec::new();
    let mut held: Vec<(usize, Socket)> = Vec::new();
    for socket in sockets {
        let Some(process) = owners.of(socket.inode).next() else { continue };
        let Some(pid) = master(&lineages, process.pid).filter(|pid| masters.contains(pid)) else { continue };
        let known = poolers.iter().position(|pooler| pooler.pid == pid);
        let index = known.unwrap_or_else(|| {
            let command = lineages.up(pid).next().and_then(name_of).unwrap_or_default().to_owned();
            poolers.push(Pooler { pid, command, unit: process.unit.clone(), ..Pooler::default() });
            poolers.len() - 1
        });
        held.push((index, socket));
    }
    let is_listener = |(_, socket): &&(usize, Socket)| socket.state == State::Listen;
    let listens: Vec<_> = held.iter().filter(is_listener).map(|(index, socket)| (*index, socket.local.port)).collect();
    for (index, socket) in held.iter().filter(|held| !is_listener(held)) {
        let pooler = &mut poolers[*index];
        let is_clients = listens.contains(&(*index, socket.local.port));
        let side = if is_clients { &mut pooler.client_side } else { &mut pooler.server_side };
        side.add(&ages.looks(socket).into());
    }
    poolers.sort_unstable_by_key(|pooler| pooler.pid);
    let late = owners.late.then(|| "no time left to look".to_owned());
    Ok((poolers, seen.missing.or(late)))
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
