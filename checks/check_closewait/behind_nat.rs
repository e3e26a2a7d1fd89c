//! Server's ends of connections that the kernel redirected on this host (REDIRECT, DNAT): their own port is another than
//! the service's, which only the client's end and an earlier look tell.

use connleak::base::error::Result;
use connleak::kernel::ends::{self, Ends};
use connleak::kernel::listeners::Listeners;
use connleak::kernel::own_addresses::OwnAddresses;
use connleak::kernel::select::{Match, Selection};
use connleak::kernel::socket::{Endpoint, Side, Socket, State, StateSet};
use connleak::kernel::source::{self, Coverage, Query};
use connleak::kernel::world::{Netns, World};
use connleak::owners::blame::sockets;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// What a look met that speaks for redirected connections.
#[derive(Default)]
pub struct Signs {
    /// Whether any socket of the service was there, a listener of it too.
    any: bool,
    listens: bool,
    /// Whether the service's end of any connection was.
    serves: bool,
    /// To where clients here are connected though nobody listens there.
    unheard: BTreeSet<Endpoint>,
    /// How many clients' ends, and service's ends, connections from an address to itself have, by scope and where they lead.
    to_itself: BTreeMap<(u32, Endpoint), [u64; 2]>,
}

impl Signs {
    pub fn add(&mut self, socket: &Socket, matched: Match, listeners: &Listeners, selection: &Selection) {
        let is_connection = socket.state != State::Listen && !socket.is_unix();
        self.any |= matched != Match::No;
        self.listens |= matched != Match::No && socket.state == State::Listen;
        self.serves |= matched == Match::Yes(Side::Server) && is_connection;
        let is_client = matched == Match::Yes(Side::Client) && is_connection;
        if is_client && !listeners.takes(socket.netns, socket.remote) {
            self.unheard.insert(socket.remote);
        }
        if !is_connection || !is_to_itself(socket) {
            return;
        }
        let mut count = |end, of| self.to_itself.entry((socket.scope(), end)).or_default()[of] += 1;
        if is_client && socket.state == State::Established {
            count(socket.remote, 0);
        } else if selection.ports.contains(&socket.local.port) {
            count(socket.local, 1);
        }
    }

    /// Whether clients are connected to an address of this host, and far fewer are there at its end: while others come and
    /// go a dump has some of either alone.
    fn lead_elsewhere(&self) -> bool {
        self.to_itself.values().any(|[clients, servers]| *clients > 2 * servers)
    }

    /// Clients whose other end none of all namespaces has.
    fn unserved(&self) -> u64 {
        self.to_itself.values().filter(|[_, servers]| *servers == 0).map(|[clients, _]| clients).sum()
    }
}

/// Whoever connects to an address of its host has that one, unless it chose another. One that met itself is both ends.
fn is_to_itself(socket: &Socket) -> bool {
    socket.local.ip == socket.remote.ip && socket.local.port != socket.remote.port
}

/// What was found of them.
#[derive(Default)]
pub struct Redirected {
    pub inodes: Vec<u64>,
    count: u64,
    ports: BTreeSet<u16>,
    /// Clients of an own address whose other end no table that was read has.
    elsewhere: u64,
}

impl Redirected {
    /// Gives those in `states` to `add`, and what was read for that to `seen`.
    ///
    /// # Errors
    /// As [`source::visit`].
    pub fn visit(
        world: &World,
        selection: &Selection,
        (signs, earlier): (&Signs, Option<&HashSet<u64>>),
        seen: &mut Coverage,
        add: &mut dyn FnMut(&Socket, Match),
    ) -> Result<Redirected> {
        let (mut found, none) = (Redirected::default(), HashSet::new());
        let more = visit(world, selection, (signs, earlier.unwrap_or(&none)), &mut |socket, matched| {
            if matched != Match::No {
                found.count += 1;
                found.ports.insert(socket.local.port);
                found.inodes.extend(Some(socket.inode).filter(|inode| *inode != 0));
            }
            add(socket, matched);
        })?;
        if world.netns == Netns::All && !selection.is_narrowed() && selection.side == Side::Both {
            found.elsewhere = signs.unserved();
        }
        if let Some((more, elsewhere)) = more {
            seen.rows += more.rows;
            seen.missing = seen.missing.take().or(more.missing);
            found.elsewhere = elsewhere;
        }
        Ok(found)
    }

    /// Where they are: `ss` shows none of them under the service's port.
    pub fn words(&self) -> impl Iterator<Item = String> {
        let ports: Vec<String> = self.ports.iter().map(u16::to_string).collect();
        let port = if ports.len() == 1 { "port" } else { "ports" };
        let text = || format!("{} on {port} {} by a redirection on this host", sockets(self.count), ports.join(","));
        let elsewhere = || {
            let ends = sockets(self.elsewhere);
            format!(
                "the other end of {ends} here is elsewhere by a redirection (a container's published port?): see --netns and the port there"
            )
        };
        let here = (self.count > 0).then(text);
        here.into_iter().chain((self.elsewhere > 0).then(elsewhere))
    }
}

/// Shows them, each with how it matches, and counts clients whose other end isn't here. That takes a walk of all sockets,
/// where there is a sign of any: a client here of an own address on which nobody listens, or where hardly any end of the
/// service is (who listens there gets nothing), nothing at all of the service, or `earlier` ones, by inode, of the last look.
///
/// # Errors
/// As [`source::visit`].
fn visit(
    world: &World,
    selection: &Selection,
    (signs, earlier): (&Signs, &HashSet<u64>),
    each: &mut dyn FnMut(&Socket, Match),
) -> Result<Option<(Coverage, u64)>> {
    let Some(own) = to_look_for(world, selection, (signs, earlier))? else { return Ok(None) };
    let (mut listeners, mut clients, mut servers) = (Listeners::default(), Vec::new(), Vec::new());
    let (mut leading, mut served) = (Vec::new(), HashSet::new());
    let has_port = |end: Endpoint| selection.ports.contains(&end.port);
    let query = Query { states: StateSet::of(STATES), ports: &[], side: Side::Both, times: true, listeners: true };
    let seen = source::visit(world, &query, &mut |socket| {
        if socket.state == State::Listen {
            return listeners.add(socket);
        }
        if has_port(socket.local) {
            served.insert(socket.local);
        } else if has_port(socket.remote) && socket.state == State::Established && is_to_itself(socket) {
            leading.push((socket.local, socket.remote));
        }
        // The other end is on this host, too.
        let is_own = own.may_have(socket.local.ip) && own.may_have(socket.remote.ip);
        if is_own || earlier.contains(&socket.inode) {
            clients.push(Ends::of(socket, Side::Client));
            servers.extend(matches!(socket.state, State::Established | State::CloseWait).then_some(*socket));
        }
    })?;
    let meant: HashSet<Endpoint> =
        clients.iter().filter(|ends| has_port(ends.server())).map(|ends| ends.client()).collect();
    let is_known = |socket: &Socket| socket.inode != 0 && earlier.contains(&socket.inode);
    let may_be = |socket: &Socket| meant.contains(&socket.remote) || is_known(socket);
    servers.retain(|socket| may_be(socket) && !has_port(socket.local) && !has_port(socket.remote));
    let ends: Vec<Ends> = servers.iter().map(|socket| Ends::of(socket, Side::Server)).collect();
    // A client's port may lead to several servers: each finds its own.
    clients.retain(|client| ends.iter().any(|server| server.client() == client.client()));
    let mut met = HashSet::new();
    for (socket, client) in servers.iter().zip(ends::join(&clients, &ends)) {
        let is_of_client = client.is_some_and(|client| has_port(clients[client].server()));
        // The client's end may be gone by now.
        let was_of_client = client.is_none() && is_known(socket);
        if is_of_client || was_of_client {
            met.insert(socket.remote);
            each(socket, selection.matches_as(socket, Side::Server, &listeners));
        }
    }
    leading.retain(|(client, server)| !met.contains(client) && !served.contains(server));
    Ok(Some((seen, leading.len() as u64)))
}

/// The addresses among which to look for them. `None`: there is no sign of any.
fn to_look_for(
    world: &World,
    selection: &Selection,
    (signs, earlier): (&Signs, &HashSet<u64>),
) -> Result<Option<OwnAddresses>> {
    // A recording's host has addresses of its own; of several namespaces each.
    let is_here = world.replay.is_none() && world.netns != Netns::All && !selection.ports.is_empty();
    if !is_here || selection.side == Side::Client {
        return Ok(None);
    }
    // Clients are shown by the look, unless it is at the service's end alone.
    let may_have_clients = selection.side == Side::Server && signs.listens && !signs.serves;
    let leads_elsewhere = signs.lead_elsewhere() || (may_have_clients && has_client(world, selection)?);
    let is_sure = !earlier.is_empty() || leads_elsewhere || (!signs.any && !listens(world, selection)?);
    if !is_sure && signs.unheard.is_empty() {
        return Ok(None);
    }
    let own = OwnAddresses::read(world);
    let has_sign = is_sure || signs.unheard.iter().any(|end| own.may_have(end.ip));
    Ok(has_sign.then_some(own))
}

/// A client that closed is in FIN_WAIT2 for a minute, and can be joined as long.
const STATES: &[State] =
    &[State::Listen, State::Established, State::CloseWait, State::FinWait1, State::FinWait2, State::TimeWait];

/// Whether a client here is or was connected to one of the service's ports at its own address.
fn has_client(world: &World, selection: &Selection) -> Result<bool> {
    let states = StateSet::of(STATES).without(State::Listen);
    let query = Query { states, ports: &selection.ports, side: Side::Client, times: false, listeners: false };
    let mut any = false;
    source::visit(world, &query, &mut |socket| any |= is_to_itself(socket))?;
    Ok(any)
}

/// Whether anyone does on one of the service's ports, which the kernel answers without a walk.
fn listens(world: &World, selection: &Selection) -> Result<bool> {
    let states = StateSet::of(&[State::Listen]);
    let query = Query { states, ports: &selection.ports, side: Side::Server, times: false, listeners: false };
    let mut any = false;
    source::visit(world, &query, &mut |_| any = true)?;
    Ok(any)
}
