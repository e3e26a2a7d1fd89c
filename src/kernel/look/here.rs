//! A look at TCP's sockets of one's own network namespace that costs the kernel less: it ends where enough was seen, and
//! it may leave out tcp_info, a fifth of a row's price, and ask single sockets for it where only that tells.

use crate::base::error::Result;
use crate::kernel::listeners::Listeners;
use crate::kernel::select::{Match, Selection};
use crate::kernel::socket::{Endpoint, Side, Socket, State, StateSet, Times};
use crate::kernel::source::exact::Asker;
use crate::kernel::source::{self, Coverage, Origin, Query, netlink};
use crate::kernel::world::World;
use std::collections::HashMap;

/// Asking more of them one by one is dearer than tcp_info in each row.
const MOST_ASKED: usize = 64;

/// Is given what [`super::visit`] shows, and says whether to go on.
pub type Each<'a> = dyn FnMut(&Socket, Match, &Listeners) -> bool + 'a;

pub struct Here<'a> {
    selection: &'a Selection,
    pub asker: Asker,
}

impl<'a> Here<'a> {
    /// `None`: one dump of TCP's table is not all that a look takes here, or there is nothing to look at.
    pub fn new(world: &World, selection: &'a Selection) -> Option<Here<'a>> {
        let asker = Asker::here(world).filter(|_| selection.has_tcp())?;
        source::is_one_dump(world).then_some(Here { selection, asker })
    }

    /// Shows the sockets in `states` until `each` says no. `times`: as in a [`Query`]; where they are not wanted a socket
    /// that is closing has them all the same. `None`: not all were shown.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn visit(&self, (states, times): (StateSet, bool), each: &mut Each<'_>) -> Result<Option<Coverage>> {
        let mut listeners = Listeners::default();
        let (mut rows, mut is_fit) = (0, true);
        let (doors, side) = (StateSet::of(&[State::Listen]), Side::Both);
        let query = Query { states: doors, ports: &[], side, times: false, listeners: false };
        let is_whole = netlink::visit_while(&netlink::open()?, &query, &mut |listener| {
            rows += 1;
            listeners.add(listener);
            let matched = self.selection.matches(listener, &listeners);
            // What came in by TPROXY is under other ports.
            is_fit = !(listener.is_transparent && self.selection.matches_listener(listener) != Match::No);
            is_fit && (!states.contains(State::Listen) || each(listener, matched, &listeners))
        })?;
        if !is_whole {
            return Ok(None);
        }
        let (ports, side) = (&self.selection.ports[..], self.selection.side);
        let query = Query { states: states.without(State::Listen), ports, side, times, listeners: false };
        let mut untold = Untold { asker: &self.asker, connected: HashMap::new(), left: MOST_ASKED };
        let is_whole = netlink::visit_while(&netlink::open()?, &query, &mut |socket| {
            rows += 1;
            let is_told = times || ports.is_empty();
            let Some(socket) = untold.told(socket, &listeners, is_told) else { return false };
            each(&socket, self.selection.matches(&socket, &listeners), &listeners)
        })?;
        let seen = Coverage::new(Origin::Netlink, "one combined sock_diag dump".to_owned());
        Ok(is_whole.then_some(Coverage { rows, ..seen }))
    }
}

/// Asks for what rows without tcp_info don't tell.
struct Untold<'a> {
    asker: &'a Asker,
    /// Whether it was we who connected, by the server's address.
    connected: HashMap<Endpoint, bool>,
    /// How many may yet be asked.
    left: usize,
}

impl Untold<'_> {
    /// `is_told`: who connected is told, or doesn't matter. `None`: too many would have to be asked.
    fn told(&mut self, socket: &Socket, listeners: &Listeners, is_told: bool) -> Option<Socket> {
        if socket.times.is_some() {
            return Some(*socket);
        }
        if is_closing(socket) {
            return self.ask(socket);
        }
        if is_told || listeners.is_plain(socket) {
            return Some(*socket);
        }
        // All connections with one server are alike in that.
        let is_alike = listeners.looks_connected(socket);
        if let Some(connected) = self.connected.get(&socket.remote).filter(|_| is_alike) {
            return Some(Socket { connected: Some(*connected), ..*socket });
        }
        let now = self.ask(socket)?;
        self.connected.extend(now.connected.filter(|_| is_alike).map(|connected| (now.remote, connected)));
        Some(now)
    }

    fn ask(&mut self, socket: &Socket) -> Option<Socket> {
        self.left = self.left.checked_sub(1)?;
        // It changed in this moment: what it was told to be lasts no longer.
        let times = Times { data_sent: 0, data_recv: 0, ack_recv: 0, stalled: 0, carried: None, ack_delay: 0 };
        let now = self.asker.ask(socket, true).ok()?;
        Some(now.unwrap_or(Socket { times: Some(times), ..*socket }))
    }
}

/// Whether it is a socket that closes. FIN_WAIT2 mostly is none any more, but an entry that its timer alone tells of: it
/// has no owner and no cgroup.
fn is_closing(socket: &Socket) -> bool {
    match socket.state {
        State::FinWait1 | State::Closing | State::LastAck => true,
        State::FinWait2 => socket.inode != 0 || socket.keepalive || socket.cgroup.is_some(),
        _ => false,
    }
}
