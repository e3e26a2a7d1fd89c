//! A service's connections over UNIX sockets, as rows like TCP's.
//!
//! An accepted socket has its listener's name and file; the client's end has none, and is found by its peer. Once
//! the server has closed nothing of a client's end tells whose it was, but that it was seen before.

use crate::base::error::Result;
use crate::kernel::listeners::Listeners;
use crate::kernel::select::{Match, Selection};
use crate::kernel::socket::{AcceptQueue, Protocol, Side, Socket, State, StateSet, UnixEnd, UnixName};
use crate::kernel::source::unix::{self, Row, diag};
use crate::kernel::source::{Coverage, Origin};
use crate::kernel::unix_target::{Named, UnixTarget, bound_name};
use crate::kernel::world::{Netns, World};
use std::collections::{HashMap, HashSet};
use std::num::NonZeroU64;

/// What is kept of a row.
#[derive(Clone, Copy)]
struct Kept {
    inode: u32,
    cookie: Option<NonZeroU64>,
    netns: u32,
    uid: Option<u32>,
    peer: u32,
    shutdown: u8,
}

struct Listening {
    end: Kept,
    queue: Option<AcceptQueue>,
    waiting: Vec<u32>,
}

/// A socket with the name of one of the targets.
struct Candidate<T> {
    socket: T,
    named: Named,
    target: usize,
    device: Option<u32>,
}

/// Everything that one dump shows of the targets.
#[derive(Default)]
pub struct Table {
    listening: Vec<Candidate<Listening>>,
    accepted: Vec<Candidate<Kept>>,
    /// What has no name of theirs: a client's end, or of no interest.
    others: Vec<Kept>,
    /// Connected, of which /proc doesn't tell whether their peer has closed.
    untold: u64,
    /// Names of all listeners.
    pub names: Vec<String>,
}

impl Table {
    /// `wants_others`: clients' ends too. `wants_names`: of all listeners, to say who there is.
    ///
    /// # Errors
    /// As [`unix::visit`].
    pub fn read(
        world: &World,
        targets: &[UnixTarget],
        wants_others: bool,
        wants_names: bool,
    ) -> Result<(Table, Coverage)> {
        let mut table = Table::default();
        let seen = unix::visit(world, &mut |row, netns| {
            if wants_names && row.listens && !row.name.is_empty() {
                table.names.push(bound_name(row.name));
            }
            let of = |(index, target): (usize, &UnixTarget)| Some((index, target.matches(row)?));
            let found = targets.iter().enumerate().filter_map(of).max_by_key(|(_, named)| named.by_file);
            table.add(row, netns, found, wants_others);
        })?;
        if world.netns != Netns::All {
            table.leave_namesakes(targets);
        }
        Ok((table, seen))
    }

    fn add(&mut self, row: &Row, netns: u32, found: Option<(usize, Named)>, wants_others: bool) {
        let kept = Kept {
            inode: row.inode,
            cookie: row.cookie,
            netns,
            uid: row.uid,
            peer: row.peer.unwrap_or(0),
            shutdown: row.shutdown.unwrap_or(0),
        };
        let device = row.file.map(|file| file.device);
        match found {
            Some((target, named)) if row.listens => {
                let socket = Listening { end: kept, queue: row.queue, waiting: row.waiting().collect() };
                self.listening.push(Candidate { socket, named, target, device });
            }
            Some((target, named)) => {
                self.untold += u64::from(row.shutdown.is_none());
                self.accepted.push(Candidate { socket: kept, named, target, device });
            }
            None if wants_others && !row.listens => self.others.push(kept),
            None => {}
        }
    }

    /// Where a target's file has its listener, another socket of the same name is of another mount namespace:
    /// unless it lies on the same device, as where a server made its file anew and still has old connections.
    fn leave_namesakes(&mut self, targets: &[UnixTarget]) {
        let is_sure: Vec<bool> = (0..targets.len())
            .map(|index| self.listening.iter().any(|one| one.target == index && one.named.by_file))
            .collect();
        let is_its = |named: &Named, target: usize, device: Option<u32>| {
            named.by_file || !is_sure[target] || device.is_none_or(|device| targets[target].is_on(device))
        };
        self.listening.retain(|one| is_its(&one.named, one.target, one.device));
        self.accepted.retain(|one| is_its(&one.named, one.target, one.device));
    }

    /// Which targets have a listener.
    pub fn has_listener(&self, target: usize) -> bool {
        self.listening.iter().any(|one| one.target == target)
    }

    /// The clients' ends, each with the name of its service. `known`: cookies of those of earlier looks.
    fn clients(&self, known: &HashMap<NonZeroU64, UnixName>) -> Vec<(Kept, UnixName)> {
        let mut servers: HashMap<u32, UnixName> = HashMap::new();
        servers.extend(self.accepted.iter().map(|one| (one.socket.inode, one.named.name)));
        let waiting = self.listening.iter().flat_map(|one| one.socket.waiting.iter().map(|at| (*at, one.named.name)));
        let waiting: HashMap<u32, UnixName> = waiting.filter(|(inode, _)| *inode != 0).collect();
        let whose = |one: &Kept| match one.peer {
            0 if one.shutdown == 0 => waiting.get(&one.inode).copied(),
            0 => known.get(&one.cookie?).copied(),
            peer => servers.get(&peer).copied(),
        };
        self.others.iter().filter_map(|one| Some((*one, whose(one)?))).collect()
    }
}

/// Shows the rows of the selection's UNIX sockets, listeners first.
pub fn visit(
    world: &World,
    selection: &Selection,
    states: StateSet,
    seen: &mut Coverage,
    each: &mut dyn FnMut(&Socket, Match, &Listeners),
) -> Result<()> {
    let (table, more) = Table::read(world, &selection.unix, selection.side != Side::Server, false)?;
    let none = Listeners::default();
    let mut show = |socket: &Socket, side: Side, uid: Option<u32>, waits_at: &[&Socket]| {
        if states.contains(socket.state) {
            let matched = selection.matches_unix(socket, side, waits_at);
            let is_unsure = uid.is_none() && selection.uid.is_some();
            each(socket, if is_unsure { matched.doubted() } else { matched }, &none);
        }
    };
    let mut given = HashSet::new();
    for Candidate { socket: listening, named, .. } in &table.listening {
        let listener =
            Socket { accept_queue: listening.queue, ..row(&listening.end, State::Listen, named.name, Side::Server) };
        show(&listener, Side::Server, listening.end.uid, &[]);
        for client in &listening.waiting {
            // One that closes before it is accepted leaves its connection in the queue.
            let state = if *client == 0 { State::CloseWait } else { State::Established };
            let remote = UnixEnd { name: None, inode: *client }.endpoint();
            let waiting = Socket { state, remote, inode: 0, cookie: None, uid: 0, accept_queue: None, ..listener };
            show(&waiting, Side::Server, listening.end.uid, &[&listener]);
        }
        given.insert(listening.end.inode);
    }
    for Candidate { socket, named, .. } in table.accepted.iter().filter(|one| given.insert(one.socket.inode)) {
        show(&row(socket, state(socket), named.name, Side::Server), Side::Server, socket.uid, &[]);
    }
    let clients = table.clients(&selection.unix_clients.borrow());
    let cookies = clients.iter().filter_map(|(socket, name)| Some((socket.cookie?, *name)));
    selection.unix_clients.borrow_mut().extend(cookies);
    for (socket, name) in clients {
        show(&row(&socket, state(&socket), name, Side::Client), Side::Client, socket.uid, &[]);
    }
    let is_asked = selection.unix.iter().any(|target| target.asked);
    // A profile's sockets are not looked for in a recording that has none.
    if is_asked || more.rows > 0 || more.origin != Origin::Replay {
        merge(seen, more, table.untold, !selection.has_tcp());
    }
    Ok(())
}

/// What TCP would call it: no more comes from a peer that has closed, or closed its sending half.
fn state(socket: &Kept) -> State {
    match socket.shutdown {
        bits if bits & diag::NO_MORE_IN != 0 => State::CloseWait,
        bits if bits & diag::NO_MORE_OUT != 0 => State::FinWait2,
        _ => State::Established,
    }
}

fn row(socket: &Kept, state: State, name: UnixName, side: Side) -> Socket {
    let Kept { inode, cookie, netns, uid, peer, .. } = *socket;
    let here = |name| UnixEnd { name, inode }.endpoint();
    let there = |name| UnixEnd { name, inode: peer }.endpoint();
    let (local, remote) = match side {
        Side::Client => (here(None), there(Some(name))),
        _ => (here(Some(name)), there(None)),
    };
    let (inode, uid) = (u64::from(inode), uid.unwrap_or(0));
    Socket { protocol: Protocol::Unix, inode, cookie, uid, netns, ..Socket::bare(state, local, remote) }
}

/// `is_all`: there is no look at TCP's sockets whose words stand.
fn merge(seen: &mut Coverage, more: Coverage, untold: u64, is_all: bool) {
    if is_all {
        (seen.origin, seen.how, seen.namespaces) = (more.origin, more.how.clone(), more.namespaces);
    }
    seen.rows += more.rows;
    let untold = (untold > 0).then(|| {
        let whose = if more.origin == Origin::Proc { "/proc" } else { "the source" };
        format!("{whose} doesn't tell which of {untold} UNIX connections their peer has closed")
    });
    seen.missing = seen.missing.take().or(more.missing).or(untold);
}
