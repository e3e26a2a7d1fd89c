//! The service's connections, each once, with both of its ends where they are on this host.

use connleak::base::error::Result;
use connleak::kernel::select::{Match, Selection};
use connleak::kernel::socket::{Endpoint, Side, Socket, State, StateSet};
use connleak::kernel::source::{self, Coverage, Query};
use connleak::kernel::world::World;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::num::NonZeroU64;

/// One socket, as far as its holder is concerned.
#[derive(Clone, Copy, Debug)]
pub struct End {
    pub inode: u64,
    pub uid: u32,
    pub cgroup: Option<NonZeroU64>,
}

impl End {
    fn of(socket: &Socket) -> End {
        End { inode: socket.inode, uid: socket.uid, cgroup: socket.cgroup }
    }
}

/// A connection that counts against the limit: ESTABLISHED or CLOSE_WAIT at the end that was selected.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    pub socket: Socket,
    pub client: Option<End>,
    pub server: Option<End>,
    /// The client's address; the server's where only the client's end is looked at.
    pub peer: IpAddr,
}

#[derive(Debug)]
pub struct Snapshot {
    pub seen: Coverage,
    pub connections: Vec<Connection>,
    pub listeners: Vec<End>,
    /// Sockets of connections of which it can't be told whether they are selected.
    pub unsure: Vec<Socket>,
}

/// Looks once. A connection with both ends selected is held by its client's, as in [`connleak::growth::pool`].
pub fn look(world: &World, selection: &Selection) -> Result<Snapshot> {
    let counted = |state| matches!(state, State::Established | State::CloseWait);
    // In FIN_WAIT a client that has closed only its sending half is still there.
    let states = [State::Established, State::CloseWait, State::FinWait1, State::FinWait2, State::Listen];
    let query = Query { states: StateSet::of(&states), ports: &selection.ports, side: Side::Both, times: true };
    let (mut listeners, mut unsure) = (Vec::new(), Vec::new());
    let mut ends: HashMap<(u32, Endpoint, Endpoint), End> = HashMap::new();
    let mut selected: Vec<(Socket, Side)> = Vec::new();
    let seen = source::visit(world, &query, &mut |socket| {
        if socket.state == State::Listen {
            listeners.extend(selection.ports.contains(&socket.local.port).then(|| End::of(socket)));
            return;
        }
        ends.insert((socket.scope(), socket.local, socket.remote), End::of(socket));
        match selection.matches(socket) {
            Match::Yes(side) if counted(socket.state) => selected.push((*socket, side)),
            Match::Unsure if counted(socket.state) => unsure.push(*socket),
            _ => {}
        }
    })?;
    let clients: HashSet<(u32, Endpoint, Endpoint)> = selected
        .iter()
        .filter(|(_, side)| *side == Side::Client)
        .map(|(socket, _)| (socket.scope(), socket.remote, socket.local))
        .collect();
    selected.retain(|(socket, side)| {
        *side == Side::Client || !clients.contains(&(socket.scope(), socket.local, socket.remote))
    });
    let connection = |(socket, side): (Socket, Side)| {
        let other = ends.get(&(socket.scope(), socket.remote, socket.local)).copied();
        let own = Some(End::of(&socket));
        let is_clients = side == Side::Client;
        let (client, server) = if is_clients { (own, other) } else { (other, own) };
        let asks_server = selection.side == Side::Both && is_clients && server.is_some();
        let peer = if asks_server { socket.local.ip } else { socket.remote.ip };
        Connection { socket, client, server, peer }
    };
    let connections = selected.into_iter().map(connection).collect();
    Ok(Snapshot { seen, connections, listeners, unsure })
}
