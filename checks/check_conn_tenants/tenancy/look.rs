//! The service's connections, each once, with both of its ends where they are on this host.

use super::census::Ages;
use connleak::base::error::Result;
use connleak::kernel::ends::{self, Ends};
use connleak::kernel::look;
use connleak::kernel::own_addresses::OwnAddresses;
use connleak::kernel::select::{Match, Selection};
use connleak::kernel::socket::{Endpoint, Side, Socket, State, StateSet};
use connleak::kernel::source::{self, Coverage, Query};
use connleak::kernel::world::World;
use connleak::service::target::Target;
use std::collections::HashSet;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::path::Path;

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

impl Connection {
    /// Whether its address is no more than that of the host itself.
    fn is_local(&self) -> bool {
        let Socket { local, remote, .. } = self.socket;
        !self.socket.is_unix() && (self.peer.is_loopback() || local.ip == remote.ip)
    }

    /// Whether both are held by somebody.
    pub fn has_both_ends(&self) -> bool {
        [&self.client, &self.server].into_iter().all(|end| end.is_some_and(|end| end.inode != 0))
    }
}

#[derive(Debug)]
pub struct Snapshot {
    pub seen: Coverage,
    pub connections: Vec<Connection>,
    pub listeners: Vec<End>,
    /// Whether TCP's sockets are meant, too.
    pub has_tcp: bool,
    /// Sockets of connections of which it can't be told whether they are selected.
    pub unsure: Vec<Socket>,
    /// Why the next run won't know since when UNIX sockets are without their peer.
    pub unkept: Option<String>,
}

impl Snapshot {
    pub fn over_unix(&self) -> u64 {
        self.connections.iter().filter(|connection| connection.socket.is_unix()).count() as u64
    }

    /// Whether any may have been in CLOSE_WAIT for long enough to count.
    pub fn has_long_closed(&self, ages: &Ages) -> bool {
        let mut closed = self.connections.iter().filter(|connection| connection.socket.state == State::CloseWait);
        closed.any(|connection| {
            let counts = ages.count(&connection.socket);
            counts.close_wait + counts.maybe_close_wait > 0
        })
    }

    /// Whether all clients are this host's own: then their address tells none from another.
    pub fn is_local(&self) -> bool {
        self.connections.iter().all(Connection::is_local) && !self.connections.is_empty()
    }
}

/// Looks once; twice where the client's end of a connection from an address of this host was not seen:
/// NAT hides it behind another port. A connection with both ends selected is held by its client's, as
/// in [`connleak::growth::pool`].
pub fn look(world: &World, target: &mut Target, state_dir: Option<&Path>) -> Result<Snapshot> {
    let mut sights = target.first_sights(state_dir, world)?;
    let selection = &target.selection;
    let counted = |state| matches!(state, State::Established | State::CloseWait);
    let (mut listeners, mut unsure) = (Vec::new(), Vec::new());
    let (mut clients, mut servers, mut selected) = (Seen::default(), Seen::default(), Vec::new());
    // The other end too is wanted, whichever is chosen.
    let (ports, unix, unix_known) = (selection.ports.clone(), selection.unix.clone(), selection.unix_known.clone());
    let both = Selection { ports, unix, unix_known, side: Side::Both, ..Selection::default() };
    let states = StateSet::of(&[STATES, &[State::Listen]].concat());
    let seen = look::visit(world, &both, (states, true), &mut |socket, matched, known| {
        let Match::Yes(side) = matched else { return };
        let socket = &*sights.see(socket, side);
        if socket.state == State::Listen {
            listeners
                .extend((socket.is_unix() || selection.ports.contains(&socket.local.port)).then(|| End::of(socket)));
            return;
        }
        let (seen, seen_as) = (if side == Side::Client { &mut clients } else { &mut servers }, side);
        let index = seen.add(socket, side);
        let matched = match socket.is_unix() {
            true => selection.matches_unix(socket, side, &[]),
            false => selection.matches(socket, known),
        };
        match matched {
            Match::Yes(side) if counted(socket.state) => {
                selected.push(Selected { socket: *socket, side, index: (side == seen_as).then_some(index) });
            }
            Match::Unsure if counted(socket.state) => unsure.push(*socket),
            _ => {}
        }
    })?;
    let mut client_of = ends::join(&clients.ends, &servers.ends);
    if client_of.contains(&None) && look_behind_nat(world, &servers.ends, &client_of, &mut clients)? {
        client_of = ends::join(&clients.ends, &servers.ends);
    }
    (clients.ends, servers.ends) = Default::default();
    let mut server_of: Vec<Option<usize>> = vec![None; clients.holders.len()];
    for (server, client) in client_of.iter().enumerate() {
        if let Some(client) = client {
            server_of[*client] = Some(server);
        }
    }
    let mut is_selected = vec![false; clients.holders.len()];
    let of_clients = |one: &&Selected| one.side == Side::Client;
    selected.iter().filter(of_clients).filter_map(|one| one.index).for_each(|index| is_selected[index] = true);
    let client_of = |one: &Selected| one.index.and_then(|index| client_of[index]);
    selected.retain(|one| one.side == Side::Client || client_of(one).is_none_or(|client| !is_selected[client]));
    // Of most connections both ends were.
    selected.shrink_to_fit();
    let connection = |one: Selected| {
        let Selected { socket, side, index } = one;
        let own = Some(End::of(&socket));
        let (client, server) = match side {
            Side::Client => (own, index.and_then(|index| server_of[index]).map(|index| servers.holders[index])),
            _ => (client_of(&one).map(|index| clients.holders[index]), own),
        };
        let asks_server = selection.side == Side::Both && side == Side::Client && server.is_some();
        let peer = if asks_server { socket.local.ip } else { socket.remote.ip };
        Connection { socket, client, server, peer }
    };
    let connections = selected.into_iter().map(connection).collect();
    let unkept = sights.keep(&both.unix_known.borrow(), seen.missing.is_none());
    let has_tcp = selection.has_tcp();
    selection.unix_known.swap(&both.unix_known);
    Ok(Snapshot { seen, connections, listeners, has_tcp, unsure, unkept })
}

/// In FIN_WAIT a client that has closed only its sending half is still there.
const STATES: &[State] = &[State::Established, State::CloseWait, State::FinWait1, State::FinWait2];

/// A socket that is selected, and its place among those of its side; `None`: it is seen as of another side.
#[derive(Clone, Copy)]
struct Selected {
    socket: Socket,
    side: Side,
    index: Option<usize>,
}

/// Sockets of one side.
#[derive(Default)]
struct Seen {
    ends: Vec<Ends>,
    holders: Vec<End>,
}

impl Seen {
    /// Returns its place.
    fn add(&mut self, socket: &Socket, side: Side) -> usize {
        self.ends.push(Ends::of(socket, side));
        self.holders.push(End::of(socket));
        self.holders.len() - 1
    }
}

/// Adds clients' ends whose own addresses `servers` without a client have. That is a walk of all
/// sockets, and only for clients on this host. Whether any was found.
fn look_behind_nat(world: &World, servers: &[Ends], joined: &[Option<usize>], clients: &mut Seen) -> Result<bool> {
    // A recording holds what it holds, and its host's addresses aren't known.
    if world.replay.is_some() {
        return Ok(false);
    }
    let own = OwnAddresses::read(world);
    let without = servers.iter().zip(joined).filter(|(_, client)| client.is_none()).map(|(ends, _)| ends.client());
    let wanted: HashSet<Endpoint> = without.filter(|client| own.may_have(client.ip)).collect();
    if wanted.is_empty() {
        return Ok(false);
    }
    let before = clients.ends.len();
    let states = StateSet::of(STATES);
    let query = Query { states, ports: &[], side: Side::Both, times: false, listeners: false };
    source::visit(world, &query, &mut |socket| {
        if wanted.contains(&socket.local) {
            clients.add(socket, Side::Client);
        }
    })?;
    Ok(clients.ends.len() > before)
}
