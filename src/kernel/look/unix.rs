//! A service's connections over UNIX sockets, as rows like TCP's.
//!
//! An accepted socket has its listener's name and file; the client's end has none, and is found by its peer. Once
//! the server has closed nothing of a client's end tells whose it was, but that it was seen before.

use crate::base::error::Result;
use crate::kernel::listeners::Listeners;
use crate::kernel::select::{Match, Selection};
use crate::kernel::socket::{AcceptQueue, Protocol, Side, Socket, State, StateSet, UnixEnd, UnixName};
use crate::kernel::source::unix::{self, Query, Row, diag};
use crate::kernel::source::{Coverage, Origin};
use crate::kernel::unix_known::{Known, KnownListener, NumberMap, NumberSet};
use crate::kernel::unix_target::{Named, UnixTarget, bound_name};
use crate::kernel::world::{Netns, World};
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
    has_name: bool,
}

struct Listening {
    end: Kept,
    queue: Option<AcceptQueue>,
    waiting: Vec<u32>,
    known: Option<KnownListener>,
}

/// A socket with the name of one of the targets.
struct Candidate<T> {
    socket: T,
    named: Named,
    target: usize,
    device: Option<u32>,
}

/// Which clients' ends a [`Table`] is of. They have no name of their own: their peer's tells whose they are.
#[derive(Clone, Copy)]
enum Clients<'a> {
    None,
    All,
    /// Those of which an earlier look told whose they are, by cookie, so that nobody's peer need be asked; but for one that has
    /// bound a name, which is seldom.
    Known(&'a NumberMap<NonZeroU64, UnixName>),
}

/// What a look asks for.
#[derive(Clone, Copy)]
struct Asked<'a> {
    query: Query,
    clients: Clients<'a>,
    /// All of the targets' listeners that have files, where those are not asked for.
    listeners: Option<&'a [KnownListener]>,
}

/// Everything that one look shows of the targets.
#[derive(Default)]
pub struct Table {
    listening: Vec<Candidate<Listening>>,
    accepted: Vec<Candidate<Kept>>,
    /// What has no name of theirs: a client's end, or of no interest.
    others: Vec<Kept>,
    /// Others that were shut down and are not known.
    strays: u64,
    /// Of those that have no name the cookies.
    nameless: Vec<NonZeroU64>,
    /// Whether a name led to another file than an earlier look told.
    is_renamed: bool,
    /// Connected, of which /proc doesn't tell whether their peer has closed.
    untold: u64,
    /// Names of all listeners.
    pub names: Vec<String>,
}

impl Table {
    /// Listeners alone, and the names of all.
    ///
    /// # Errors
    /// As [`unix::visit`].
    pub fn of_listeners(world: &World, targets: &[UnixTarget]) -> Result<(Table, Coverage)> {
        let mut names = Vec::new();
        let asked = Asked { query: Query::LISTENERS, clients: Clients::None, listeners: None };
        let (table, seen) = Table::read(world, targets, asked, &mut |row| {
            if row.listens && !row.name.is_empty() {
                names.push(bound_name(row.name));
            }
        })?;
        Ok((Table { names, ..table }, seen))
    }

    /// All of a selection's. Peers are asked only where they are wanted, or tell clients of which nothing else does; files
    /// where no earlier look told them.
    fn of(world: &World, selection: &Selection) -> Result<(Table, Coverage)> {
        let targets = &selection.unix;
        let (all, known) = (selection.side != Side::Server, selection.unix_known.borrow());
        let read =
            |query, clients, listeners| Table::read(world, targets, Asked { query, clients, listeners }, &mut |_| {});
        let every = if all { Clients::All } else { Clients::None };
        if !selection.is_brief {
            return read(Query::ALL, every, None);
        }
        let listeners = has_all_files(world, targets, &known.listeners).then_some(&known.listeners[..]);
        let peers = all && (!known.has_looked || known.is_busy);
        let clients = if all && !peers { Clients::Known(&known.clients) } else { every };
        let query = Query { peers, files: listeners.is_none(), ..Query::BRIEF };
        let (table, seen) = read(query, clients, listeners)?;
        if !table.is_renamed && (!all || peers || table.has_all_clients()) {
            return Ok((table, seen));
        }
        let listeners = listeners.filter(|_| !table.is_renamed);
        read(Query { peers: all, files: listeners.is_none(), ..Query::BRIEF }, every, listeners)
    }

    fn read(
        world: &World,
        targets: &[UnixTarget],
        asked: Asked,
        also: &mut dyn FnMut(&Row),
    ) -> Result<(Table, Coverage)> {
        let mut table = Table::default();
        let mut heard = 0;
        let seen = unix::visit(world, asked.query, &mut |row, netns| {
            also(row);
            // Most are clients' ends: what has no name has no file.
            let has_name = !row.name.is_empty();
            let listeners = asked.listeners.filter(|_| has_name).unwrap_or_default();
            let known = listeners.iter().find(|known| known.name.as_bytes() == row.name);
            let told = known.map(|known| Row { file: row.file.or(Some(known.file)), ..*row });
            let row = told.as_ref().unwrap_or(row);
            let of = |(index, target): (usize, &UnixTarget)| Some((index, target.matches(row)?));
            let meant = if has_name { targets } else { &[] };
            let found = meant.iter().enumerate().filter_map(of).max_by_key(|(_, named)| named.by_file);
            if row.listens
                && asked.listeners.is_some()
                && (known.is_some() || found.is_some_and(|(index, _)| targets[index].has_file()))
            {
                let is_it = known.is_some_and(|known| row.cookie == Some(known.cookie));
                heard += usize::from(is_it);
                table.is_renamed |= !is_it;
            }
            let is_unknown = match asked.clients {
                Clients::Known(known) if found.is_none() => {
                    has_name || row.cookie.is_none_or(|cookie| !known.contains_key(&cookie))
                }
                _ => false,
            };
            if is_unknown {
                let is_stray = !row.listens && row.shutdown == Some(diag::BOTH);
                table.strays += u64::from(is_stray);
                table.nameless.extend(row.cookie.filter(|_| is_stray && !has_name));
            } else {
                table.add(row, netns, found, !matches!(asked.clients, Clients::None));
            }
        })?;
        table.is_renamed |= asked.listeners.is_some_and(|listeners| heard != listeners.len());
        if world.netns != Netns::All {
            table.leave_namesakes(targets);
        }
        Ok((table, seen))
    }

    /// Whether the client of each accepted socket is among those that are kept, and each that waits. Both ends of a connection are in
    /// the same network namespace, what one shuts down is shut down at the other, and with both ways shut its peer has closed, unless
    /// one asked for just that.
    fn has_all_clients(&self) -> bool {
        let is_open = |socket: &Kept| socket.shutdown != diag::BOTH;
        let (open, shut): (Vec<_>, Vec<_>) = self.accepted.iter().partition(|one| is_open(&one.socket));
        let waiting: NumberSet<u32> =
            self.listening.iter().flat_map(|one| one.socket.waiting.iter().copied()).collect();
        let (waits, others): (Vec<_>, Vec<_>) = self.others.iter().partition(|one| waiting.contains(&one.inode));
        let has_all = waits.len() == waiting.iter().filter(|inode| **inode != 0).count();
        has_all
            && others.into_iter().filter(|one| is_open(one)).count() == open.len()
            && (self.strays == 0 || shut.is_empty())
    }

    fn add(&mut self, row: &Row, netns: u32, found: Option<(usize, Named)>, wants_others: bool) {
        let kept = Kept {
            inode: row.inode,
            cookie: row.cookie,
            netns,
            uid: row.uid,
            peer: row.peer.unwrap_or(0),
            shutdown: row.shutdown.unwrap_or(0),
            has_name: !row.name.is_empty(),
        };
        let device = row.file.map(|file| file.device);
        match found {
            Some((target, named)) if row.listens => {
                let known = KnownListener::of(row);
                let socket = Listening { end: kept, queue: row.queue, waiting: row.waiting().collect(), known };
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

    /// The clients' ends, each with the name of its service. `known`: of earlier looks.
    fn clients(&self, known: &Known) -> Vec<(Kept, UnixName)> {
        let mut servers: NumberMap<u32, UnixName> = NumberMap::default();
        servers.extend(self.accepted.iter().map(|one| (one.socket.inode, one.named.name)));
        let waiting = self.listening.iter().flat_map(|one| one.socket.waiting.iter().map(|at| (*at, one.named.name)));
        let waiting: NumberMap<u32, UnixName> = waiting.filter(|(inode, _)| *inode != 0).collect();
        let whose = |one: &Kept| match one.peer {
            0 => {
                let known = || known.clients.get(&one.cookie?);
                waiting.get(&one.inode).filter(|_| one.shutdown == 0).or_else(known).copied()
            }
            peer => servers.get(&peer).copied(),
        };
        self.others.iter().filter_map(|one| Some((*one, whose(one)?))).collect()
    }

    /// What the next look is to know beside the clients that this one shows.
    fn teach(&self, known: &mut Known, clients: &[(Kept, UnixName)]) {
        known.listeners = self.listening.iter().filter_map(|one| one.socket.known.clone()).collect();
        let cookies =
            |all: &[(Kept, UnixName)]| all.iter().filter_map(|(one, name)| Some((one.cookie?, *name))).collect();
        let mut clients: Vec<(NonZeroU64, UnixName)> = cookies(clients);
        clients.retain(|(cookie, _)| !known.clients.contains_key(cookie));
        known.is_busy = known.has_looked && !clients.is_empty();
        known.clients.extend(clients);
        let lost = self.others.iter().filter(|one| one.peer == 0 && one.shutdown == diag::BOTH && !one.has_name);
        let lost = lost.filter_map(|one| one.cookie).chain(self.nameless.iter().copied());
        let is_one = |cookie: &NonZeroU64| match known.has_looked {
            true => known.strays.contains(cookie),
            false => !known.clients.contains_key(cookie),
        };
        known.strays = lost.filter(is_one).collect();
        known.has_looked = true;
    }
}

/// Whether earlier looks tell the file of each of the targets' listeners, in one namespace.
fn has_all_files(world: &World, targets: &[UnixTarget], known: &[KnownListener]) -> bool {
    let is_known = |file| known.iter().any(|known| known.file == file);
    let is_alone = |one: &KnownListener| known.iter().filter(|other| other.name == one.name).count() == 1;
    world.netns != Netns::All
        && world.replay.is_none()
        && known.iter().all(is_alone)
        && targets.iter().flat_map(UnixTarget::files).all(is_known)
}

/// Shows the rows of the selection's UNIX sockets, listeners first.
pub fn visit(
    world: &World,
    selection: &Selection,
    states: StateSet,
    seen: &mut Coverage,
    each: &mut dyn FnMut(&Socket, Match, &Listeners),
) -> Result<()> {
    let (table, more) = Table::of(world, selection)?;
    let none = Listeners::default();
    let mut show = |socket: &Socket, side: Side, uid: Option<u32>, waits_at: &[&Socket]| {
        if states.contains(socket.state) {
            let matched = selection.matches_unix(socket, side, waits_at);
            let is_unsure = uid.is_none() && selection.uid.is_some();
            each(socket, if is_unsure { matched.doubted() } else { matched }, &none);
        }
    };
    let mut given = NumberSet::<u32>::default();
    // Who is accepted meanwhile may be in both.
    let taken: NumberSet<u32> = table.accepted.iter().map(|one| one.socket.peer).filter(|peer| *peer != 0).collect();
    for Candidate { socket: listening, named, .. } in &table.listening {
        let listener =
            Socket { accept_queue: listening.queue, ..row(&listening.end, State::Listen, named.name, Side::Server) };
        show(&listener, Side::Server, listening.end.uid, &[]);
        for client in listening.waiting.iter().filter(|client| !taken.contains(client)) {
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
    let clients = table.clients(&selection.unix_known.borrow());
    table.teach(&mut selection.unix_known.borrow_mut(), &clients);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What was shut down of each accepted socket and of each client's end, who waits, and how many strays there are.
    fn has_all(accepted: &[u8], clients: &[(u32, u8)], waiting: &[u32], strays: u64) -> bool {
        let kept =
            |inode, shutdown| Kept { inode, cookie: None, netns: 0, uid: None, peer: 0, shutdown, has_name: false };
        let named = Named { name: UnixName::new("/run/x"), by_file: true };
        let candidate = |socket| Candidate { socket, named, target: 0, device: None };
        let listener = Listening { end: kept(1, 0), queue: None, waiting: waiting.to_vec(), known: None };
        let table = Table {
            listening: vec![Candidate { socket: listener, named, target: 0, device: None }],
            accepted: accepted.iter().map(|shutdown| candidate(kept(2, *shutdown))).collect(),
            others: clients.iter().map(|(inode, shutdown)| kept(*inode, *shutdown)).collect(),
            strays,
            ..Table::default()
        };
        table.has_all_clients()
    }

    #[test]
    fn clients_are_all_known_where_each_accepted_socket_has_one() {
        assert!(has_all(&[], &[], &[], 0) && has_all(&[], &[], &[], 9));
        assert!(has_all(&[0, 1], &[(7, 0), (8, 2)], &[], 9));
        assert!(!has_all(&[0, 1], &[(7, 0)], &[], 0), "one is new");
        assert!(!has_all(&[0], &[(7, 0), (8, 0)], &[], 0), "accepted meanwhile");
        assert!(has_all(&[0, 3], &[(7, 0), (8, 3), (9, 3)], &[], 0), "clients and servers that are alone");
        assert!(!has_all(&[0, 3], &[(7, 0)], &[], 1), "the stray may be its client");
        assert!(has_all(&[0], &[(7, 0), (8, 0)], &[8, 0], 0) && !has_all(&[0], &[(7, 0)], &[8], 0), "who waits");
    }
}
