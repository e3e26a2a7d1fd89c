//! A service's connections over UNIX sockets, as rows like TCP's.
//!
//! An accepted socket has its listener's name and file; the client's end has none, and is found by its peer. Once
//! the server has closed nothing of a client's end tells whose it was, but that it was seen before.

mod table;

pub use table::{Instead, Table};

use crate::base::error::Result;
use crate::kernel::listeners::Listeners;
use crate::kernel::owner::UNKNOWN_UID;
use crate::kernel::select::{Match, Selection};
use crate::kernel::socket::{Protocol, Side, Socket, State, StateSet, UnixEnd, UnixName};
use crate::kernel::source::unix::{Kind, diag};
use crate::kernel::source::{Coverage, Origin};
use crate::kernel::unix_known::NumberSet;
use crate::kernel::world::World;
use table::{Candidate, Idle, Kept};

/// Shows the rows of the selection's UNIX sockets, listeners first.
pub fn visit(
    world: &World,
    selection: &Selection,
    states: StateSet,
    seen: &mut Coverage,
    each: &mut dyn FnMut(&Socket, Match, &Listeners),
) -> Result<()> {
    let wants_idle = states.has_bound();
    let (table, more) = Table::of(world, selection, wants_idle)?;
    let none = Listeners::default();
    let mut show = |socket: &Socket, side: Side, uid: Option<u32>, waits_at: &[&Socket]| {
        if states.contains(socket.state) {
            let matched = selection.matches_unix(socket, side, waits_at);
            let is_unsure = uid.is_none() && selection.uid.is_some();
            each(socket, if is_unsure { matched.doubted() } else { matched }, &none);
        }
    };
    // While others come and go the kernel may show a row twice: it goes on by its place in a list.
    let mut given = NumberSet::<u32>::default();
    // Who is accepted meanwhile may be in both.
    let taken: NumberSet<u32> = table.accepted.iter().map(|one| one.socket.peer).filter(|peer| *peer != 0).collect();
    for Candidate { socket: listening, named, .. } in
        table.listening.iter().filter(|one| given.insert(one.socket.end.inode))
    {
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
    }
    for Candidate { socket, named, .. } in table.accepted.iter().filter(|one| given.insert(one.socket.inode)) {
        show(&row(socket, state(socket), named.name, Side::Server), Side::Server, socket.uid, &[]);
    }
    for Candidate { socket: Idle { end, kind }, named, .. } in
        table.idle.iter().filter(|one| given.insert(one.socket.end.inode))
    {
        let protocol = if *kind == Kind::Datagram { Protocol::Datagram } else { Protocol::Unix };
        show(&Socket { protocol, ..row(end, State::Close, named.name, Side::Server) }, Side::Server, end.uid, &[]);
    }
    let clients = table.clients(&selection.unix_known.borrow());
    teach(&table, selection, &clients, more.missing.is_none());
    for (socket, name) in clients.into_iter().filter(|(socket, _)| given.insert(socket.inode)) {
        show(&row(&socket, state(&socket), name, Side::Client), Side::Client, socket.uid, &[]);
    }
    let is_asked = selection.asks_unix();
    // A profile's sockets are not looked for in a recording that has none.
    if is_asked || more.rows > 0 || more.origin != Origin::Replay {
        merge(seen, more, table.untold, !selection.has_tcp());
    }
    Ok(())
}

/// What the next look is to know, and what this one tells of sockets that are nobody's. `is_whole`: else a listener may be in
/// what wasn't seen.
fn teach(table: &Table, selection: &Selection, clients: &[(Kept, UnixName)], is_whole: bool) {
    let mut known = selection.unix_known.borrow_mut();
    let strays = table.teach(&mut known, clients);
    let may_be_selected = |(inode, uid): (u32, Option<u32>)| {
        let end = UnixEnd { name: None, inode }.endpoint();
        let (inode, uid, is_told) = (u64::from(inode), uid.unwrap_or(UNKNOWN_UID), uid.is_some());
        let stray = Socket { protocol: Protocol::Unix, inode, uid, ..Socket::bare(State::CloseWait, end, end) };
        let is_other = is_told && selection.matches_unix(&stray, Side::Client, &[]) == Match::No;
        (!is_other).then_some(stray)
    };
    known.astray = strays.into_iter().filter_map(may_be_selected).collect();
    if is_whole {
        table.teach_heard(&mut known, clients);
    }
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
