//! The service's connections, each once, with both of its ends where they are on this host.

use super::census::{Ages, Counts, Looks};
use connleak::base::error::Result;
use connleak::kernel::ends::Ends;
use connleak::kernel::ends::one_end::{Kept, OneEnd};
use connleak::kernel::look;
use connleak::kernel::own_addresses::OwnAddresses;
use connleak::kernel::select::{Match, Selection};
use connleak::kernel::socket::{Endpoint, Side, Socket, State, StateSet};
use connleak::kernel::source::{self, Coverage, Query};
use connleak::kernel::world::World;
use connleak::owners::blame::Suspect;
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

/// A connection that counts against the limit: ESTABLISHED or CLOSE_WAIT at the end that was selected. There may be very many.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// The end that was selected, its age that in CLOSE_WAIT or without data.
    pub suspect: Suspect,
    pub side: Side,
    /// The other end, if that is on this host.
    other: Option<End>,
    pub looks: Looks,
    /// Whether a pool may keep it, as whatever it looks.
    pub is_spare: bool,
    /// Whether its ages are known.
    pub is_timed: bool,
    /// Whether it is known that it never carried data.
    pub is_unused: bool,
    /// Whether it counts; else it only is the other end of one that does.
    is_counted: bool,
    /// Whether its own address is the client's.
    is_from_here: bool,
}

impl Connection {
    pub fn new(socket: &Socket, side: Side, ages: &Ages) -> Connection {
        let age = match socket.state {
            State::CloseWait => socket.close_wait_age().map(|age| age.at_least),
            _ => socket.silence(),
        };
        Connection {
            suspect: Suspect::new(socket, age),
            side,
            other: None,
            looks: ages.looks(socket),
            is_spare: false,
            is_timed: socket.times.is_some(),
            is_unused: socket.times.is_some_and(|times| times.carried == Some(false)),
            is_counted: true,
            is_from_here: false,
        }
    }

    pub fn counts(&self) -> Counts {
        if self.is_spare { Counts { connections: 1, spares: 1, ..Counts::default() } } else { self.looks.into() }
    }

    fn own(&self) -> End {
        let Suspect { inode, uid, cgroup, .. } = self.suspect;
        End { inode, uid, cgroup }
    }

    pub fn client(&self) -> Option<End> {
        if self.side == Side::Client { Some(self.own()) } else { self.other }
    }

    pub fn server(&self) -> Option<End> {
        if self.side == Side::Client { self.other } else { Some(self.own()) }
    }

    /// The client's address; the server's where only the client's end is looked at.
    pub fn peer(&self) -> IpAddr {
        if self.is_from_here { self.suspect.local.ip } else { self.suspect.remote.ip }
    }

    pub fn is_unix(&self) -> bool {
        self.suspect.local.unix().is_some()
    }

    /// Whether its address is no more than that of the host itself.
    fn is_local(&self) -> bool {
        let Suspect { local, remote, .. } = self.suspect;
        !self.is_unix() && (self.peer().is_loopback() || local.ip == remote.ip)
    }

    /// Whether both are held by somebody.
    pub fn has_both_ends(&self) -> bool {
        self.suspect.inode != 0 && self.other.is_some_and(|end| end.inode != 0)
    }
}

impl Kept for Connection {
    const MEETS: bool = true;

    fn ends(&self) -> Ends {
        let Suspect { netns, local, remote, .. } = self.suspect;
        Ends::new(self.side, netns, local, remote)
    }

    fn is_client(&self) -> bool {
        self.side == Side::Client
    }

    fn meet(&mut self, server: &Connection) {
        self.other = Some(server.own());
    }

    fn replace(&mut self, before: &mut Connection) {
        self.other = before.other.take();
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
        self.connections.iter().filter(|connection| connection.is_unix()).count() as u64
    }

    /// Whether any may have been in CLOSE_WAIT for long enough to count.
    pub fn has_long_closed(&self) -> bool {
        self.connections.iter().any(|connection| matches!(connection.looks, Looks::Stuck | Looks::MaybeStuck))
    }

    /// Whether all clients are this host's own: then their address tells none from another.
    pub fn is_local(&self) -> bool {
        self.connections.iter().all(Connection::is_local) && !self.connections.is_empty()
    }
}

/// Looks once; twice where the client's end of a connection from an address of this host was not seen:
/// NAT hides it behind another port. A connection with both ends selected is held by its client's, as
/// in [`connleak::growth::pool`].
pub fn look(world: &World, target: &mut Target, state_dir: Option<&Path>, ages: &Ages) -> Result<Snapshot> {
    let mut sights = target.first_sights(state_dir, world)?;
    let selection = &target.selection;
    let (mut listeners, mut unsure) = (Vec::new(), Vec::new());
    let mut ends = Joined::default();
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
        let matched = match socket.is_unix() {
            true => selection.matches_unix(socket, side, &[]),
            false => selection.matches(socket, known),
        };
        let counts = matches!(socket.state, State::Established | State::CloseWait);
        unsure.extend((matched == Match::Unsure && counts).then_some(*socket));
        let selected = if let Match::Yes(side) = matched { Some(side).filter(|_| counts) } else { None };
        ends.add(socket, (side, selected), ages);
    })?;
    ends.look_behind_nat(world)?;
    let connections = ends.connections(selection.side);
    let unkept = sights.keep(&both.unix_known.borrow(), seen.missing.is_none());
    let has_tcp = selection.has_tcp();
    selection.unix_known.swap(&both.unix_known);
    Ok(Snapshot { seen, connections, listeners, has_tcp, unsure, unkept })
}

/// In FIN_WAIT a client that has closed only its sending half is still there.
const STATES: &[State] = &[State::Established, State::CloseWait, State::FinWait1, State::FinWait2];

/// Both ends of connections, joined as they come.
#[derive(Default)]
struct Joined {
    ends: OneEnd<Connection>,
    /// Clients' ends that don't count themselves, in the order in which they were added.
    clients: Vec<End>,
    /// What was seen as of another side than that which is selected.
    others: Vec<Connection>,
}

impl Joined {
    /// `selected`: as of which side it counts.
    fn add(&mut self, socket: &Socket, (side, selected): (Side, Option<Side>), ages: &Ages) {
        let is_counted = selected == Some(side);
        if let Some(other) = selected.filter(|_| !is_counted) {
            self.others.push(Connection::new(socket, other, ages));
        }
        if is_counted || side != Side::Client {
            self.ends.add(&Connection { is_counted, ..Connection::new(socket, side, ages) });
        } else {
            self.add_client(socket);
        }
    }

    fn add_client(&mut self, socket: &Socket) {
        self.ends.add_closing(Ends::of(socket, Side::Client));
        self.clients.push(End::of(socket));
    }

    /// A look at everything for clients' ends on this host whose server's end shows another address than they have.
    fn look_behind_nat(&mut self, world: &World) -> Result<()> {
        // A recording holds what it holds, and its host's addresses aren't known.
        if world.replay.is_some() {
            return Ok(());
        }
        let without = self.ends.clientless();
        if without.is_empty() {
            return Ok(());
        }
        let own = OwnAddresses::read(world);
        let without = without.iter().map(Ends::client);
        let wanted: HashSet<Endpoint> = without.filter(|client| own.may_have(client.ip)).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        // What was seen is no other connection's: its port may be in use again, to another address.
        let known: HashSet<Ends> = self.ends.clients().filter(|ends| wanted.contains(&ends.client())).collect();
        let states = StateSet::of(STATES);
        let query = Query { states, ports: &[], side: Side::Both, times: false, listeners: false };
        source::visit(world, &query, &mut |socket| {
            if wanted.contains(&socket.local) && !known.contains(&Ends::of(socket, Side::Client)) {
                self.add_client(socket);
            }
        })?;
        Ok(())
    }

    /// `chosen`: the side that was asked for.
    fn connections(self, chosen: Side) -> Vec<Connection> {
        let clients = self.clients;
        let mut connections = self.ends.end(|server, client| server.other = Some(clients[client]));
        connections.retain(|connection| connection.is_counted);
        for client in connections.iter_mut().filter(|connection| connection.side == Side::Client) {
            client.is_from_here = chosen == Side::Both && client.other.is_some();
        }
        connections.extend(self.others);
        connections
    }
}
