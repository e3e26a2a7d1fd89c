//! Connections that came in by TPROXY: a transparent listener accepts them at the address and port that
//! their client meant, so no port tells that they are the service's.

use crate::base::error::Result;
use crate::kernel::listeners::{GIVEN_ELSEWHERE, Listeners};
use crate::kernel::owner::{self, Holders};
use crate::kernel::select::{Match, Selection};
use crate::kernel::socket::{Side, Socket, State, StateSet};
use crate::kernel::source::{self, Coverage, Query};
use crate::kernel::world::World;
use rustix::fd::AsFd;
use std::collections::HashSet;

/// Where one of the selection's listeners is transparent, shows what it accepted under other ports. That
/// takes a walk of all sockets and the descriptors of the listeners' processes; where those can't be
/// read, whose a transparent connection is can't be told.
pub fn visit(
    world: &World,
    selection: &Selection,
    states: StateSet,
    listeners: &Listeners,
    seen: &mut Coverage,
    each: &mut dyn FnMut(&Socket, Match, &Listeners),
) -> Result<()> {
    let is_theirs = |listener: &&Socket| selection.matches_listener(listener) != Match::No;
    let is_door = |listener: &&Socket| listener.is_transparent && is_theirs(listener);
    let own: Vec<&Socket> = listeners.all().filter(is_door).collect();
    if own.is_empty() || selection.ports.is_empty() || selection.side == Side::Client {
        return Ok(());
    }
    let held = Held::by_listeners(world, &own);
    let without_listeners = states.without(State::Listen);
    // Who connected is told beside tcp_info.
    let query = Query { states: without_listeners, ports: &[], side: Side::Both, times: true, listeners: false };
    let more = source::visit(world, &query, &mut |socket| {
        let has_port = |port: u16| selection.ports.contains(&port);
        let is_known = has_port(socket.local.port) || (selection.side == Side::Both && has_port(socket.remote.port));
        if is_known || !came_in(socket, listeners) {
            return;
        }
        let as_theirs = || selection.matches_as(socket, Side::Server, listeners);
        let matched = match held.whose(socket, &listeners.queues_of(socket)) {
            Some(true) => as_theirs(),
            Some(false) => Match::No,
            None => as_theirs().doubted(),
        };
        each(socket, matched, listeners);
    })?;
    seen.rows += more.rows;
    seen.missing = seen.missing.take().or(more.missing);
    Ok(())
}

/// Whether a socket was accepted by a transparent listener: a proxy's own connections to servers, in its
/// clients' names, are transparent too.
fn came_in(socket: &Socket, listeners: &Listeners) -> bool {
    let looks_given = socket.local.port >= GIVEN_ELSEWHERE && socket.remote.port < GIVEN_ELSEWHERE;
    socket.is_transparent
        && !listeners.takes(socket.netns, socket.local)
        && !socket.connected.unwrap_or(looks_given || socket.state == State::SynSent)
}

/// What the listeners' processes hold.
struct Held {
    listeners: HashSet<u64>,
    inodes: HashSet<u64>,
    /// Whether all of them were found and read.
    is_whole: bool,
}

impl Held {
    /// Whether a connection is one of theirs. `waits_at`: in whose queue it may be.
    fn whose(&self, socket: &Socket, waits_at: &[&Socket]) -> Option<bool> {
        if socket.inode != 0 {
            let is_held = self.inodes.contains(&socket.inode);
            return (is_held || self.is_whole).then_some(is_held);
        }
        let is_own = |listener: &&&Socket| self.listeners.contains(&listener.inode);
        let own = waits_at.iter().filter(is_own).count();
        match own {
            0 if socket.is_waiting() => Some(false),
            _ => (socket.is_waiting() && own == waits_at.len()).then_some(true),
        }
    }

    fn by_listeners(world: &World, own: &[&Socket]) -> Held {
        let listeners = own.iter().map(|listener| listener.inode).collect();
        let mut held = Held { listeners, inodes: HashSet::new(), is_whole: false };
        // The inodes of a recorded dump are another time's, maybe another machine's.
        if world.replay.is_some() {
            return held;
        }
        let wanted: Vec<(u64, u32)> = own.iter().map(|listener| (listener.inode, listener.uid)).collect();
        let owners = owner::find(world, &wanted, Holders::All);
        held.is_whole = !owners.late && wanted.iter().all(|(inode, _)| owners.of(*inode).next().is_some());
        for process in &owners.processes {
            let _rights = world.raise();
            let read = owner::open_process(world, process.pid)
                .and_then(|dir| owner::sockets_held(dir.as_fd(), &mut held.inodes));
            held.is_whole &= read.is_ok();
        }
        held
    }
}
