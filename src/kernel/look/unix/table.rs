//! What one look shows of UNIX sockets: listeners, what they accepted, and the clients' ends, which only their peers or an
//! earlier look tell.

mod clients;
mod name;

use crate::base::error::Result;
use crate::kernel::select::Selection;
use crate::kernel::socket::{AcceptQueue, Side, UnixName};
use crate::kernel::source::Coverage;
use crate::kernel::source::unix::{self, File, Kind, Query, Row, diag};
use crate::kernel::unix_known::{KnownListener, NumberMap, Sieve};
use crate::kernel::unix_target::{Named, UnixTarget, bound_name};
use crate::kernel::world::{Netns, World};
use name::Name;
use std::num::NonZeroU64;

/// What is kept of a row.
#[derive(Clone, Copy)]
pub(super) struct Kept {
    pub(super) inode: u32,
    pub(super) cookie: Option<NonZeroU64>,
    pub(super) netns: u32,
    pub(super) uid: Option<u32>,
    pub(super) peer: u32,
    pub(super) shutdown: u8,
    name: Name,
}

impl Kept {
    fn of(row: &Row, netns: u32) -> Kept {
        Kept {
            inode: row.inode,
            cookie: row.cookie,
            netns,
            uid: row.uid,
            peer: row.peer.unwrap_or(0),
            shutdown: row.shutdown.unwrap_or(0),
            name: Name::of(row.name),
        }
    }
}

/// Whether nothing of a connected socket says any more whose it was: both ways are shut.
#[inline(always)]
fn is_stray(row: &Row) -> bool {
    row.kind == Kind::Connected && row.shutdown == Some(diag::BOTH)
}

pub(super) struct Listening {
    pub(super) end: Kept,
    pub(super) queue: Option<AcceptQueue>,
    pub(super) waiting: Vec<u32>,
    pub(super) known: Option<KnownListener>,
}

/// A socket that has a target's name and no connections.
pub(super) struct Idle {
    pub(super) end: Kept,
    pub(super) kind: Kind,
}

/// A socket with the name of one of the targets.
pub(super) struct Candidate<T> {
    pub(super) socket: T,
    pub(super) named: Named,
    pub(super) target: usize,
    pub(super) device: Option<u32>,
}

/// A socket at a target's name where a listener was looked for.
pub struct Instead {
    /// In words.
    pub what: &'static str,
    pub inode: u32,
    pub uid: Option<u32>,
}

/// Which clients' ends a [`Table`] is of. They have no name of their own: their peer's tells whose they are.
#[derive(Clone, Copy)]
enum Clients<'a> {
    None,
    All,
    /// Those of which an earlier look told whose they are, by cookie, so that nobody's peer need be asked; but for one that has
    /// bound a name, which is seldom.
    Known(&'a NumberMap<NonZeroU64, UnixName>, &'a Sieve),
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
    pub(super) listening: Vec<Candidate<Listening>>,
    pub(super) accepted: Vec<Candidate<Kept>>,
    /// Where they are asked for.
    pub(super) idle: Vec<Candidate<Idle>>,
    /// What has no name of theirs: a client's end, or of no interest.
    others: Vec<Kept>,
    /// Others that were shut down and are not known.
    strays: u64,
    /// Their cookies and inodes.
    unknown: Vec<(NonZeroU64, u32)>,
    /// Listeners whose name the kernel gave.
    given: Vec<Kept>,
    /// Whether a name led to another file than an earlier look told.
    is_renamed: bool,
    /// Whether sockets of the same name were another's, by their file.
    has_namesakes: bool,
    /// Connected, of which /proc doesn't tell whether their peer has closed.
    pub(super) untold: u64,
    /// Names of all listeners.
    pub names: Vec<String>,
}

impl Table {
    /// Listeners alone, and the names of all.
    ///
    /// # Errors
    /// As [`unix::visit`].
    pub fn of_listeners(world: &World, targets: &[UnixTarget]) -> Result<(Table, Coverage)> {
        let asked = Asked { query: Query::LISTENERS, clients: Clients::None, listeners: None };
        Table::read(world, targets, asked)
    }

    /// Whatever has the targets' names, listening or not, with users.
    ///
    /// # Errors
    /// As [`unix::visit`].
    pub fn of_names(world: &World, targets: &[UnixTarget]) -> Result<Table> {
        let query = Query { idle: true, uids: true, ..Query::BRIEF };
        Ok(Table::read(world, targets, Asked { query, clients: Clients::None, listeners: None })?.0)
    }

    /// All of a selection's. Peers are asked only where they are wanted, or tell clients of which nothing else does; files
    /// where no earlier look told them.
    pub(super) fn of(world: &World, selection: &Selection, wants_idle: bool) -> Result<(Table, Coverage)> {
        let targets = &selection.unix;
        let (all, known) = (selection.side != Side::Server, selection.unix_known.borrow());
        let read = |query, clients, listeners| {
            let query = Query { idle: wants_idle, ..query };
            Table::read(world, targets, Asked { query, clients, listeners })
        };
        let every = if all { Clients::All } else { Clients::None };
        if !selection.is_brief {
            return read(Query::ALL, every, None);
        }
        let listeners = has_all_files(world, targets, &known.listeners).then_some(&known.listeners[..]);
        let peers = all && (!known.has_looked || known.is_busy);
        let sieve = Sieve::of(known.clients.keys().copied());
        let clients = if all && !peers { Clients::Known(&known.clients, &sieve) } else { every };
        let query = Query { peers, files: listeners.is_none(), ..Query::BRIEF };
        let (table, seen) = read(query, clients, listeners)?;
        if !table.is_renamed && (!all || peers || table.has_all_clients()) {
            return Ok((table, seen));
        }
        let listeners = listeners.filter(|_| !table.is_renamed);
        read(Query { peers: all, files: listeners.is_none(), ..Query::BRIEF }, every, listeners)
    }

    fn read(world: &World, targets: &[UnixTarget], asked: Asked) -> Result<(Table, Coverage)> {
        let mut table = Table::default();
        let mut heard = 0;
        let seen = unix::visit(world, asked.query, &mut |row, netns| {
            // Most are others' clients' ends, which are to cost the least: what has no name has no file.
            if row.name.is_empty() {
                table.add_nameless(row, netns, asked.clients);
                return;
            }
            if row.listens() && !asked.query.connected {
                table.names.push(bound_name(row.name));
            }
            if row.listens() && matches!(Name::of(row.name), Name::Given(_)) {
                table.given.push(Kept::of(row, netns));
            }
            let known = asked.listeners.unwrap_or_default().iter().find(|known| known.name.as_bytes() == row.name);
            let file = row.file.or(known.map(|known| known.file));
            let of = |(index, target): (usize, &UnixTarget)| Some((index, target.matches(row.name, file)?));
            let found = targets.iter().enumerate().filter_map(of).max_by_key(|(_, named)| named.by_file);
            if row.listens()
                && asked.listeners.is_some()
                && (known.is_some() || found.is_some_and(|(index, _)| targets[index].has_file()))
            {
                let is_it = known.is_some_and(|known| row.cookie == Some(known.cookie));
                heard += usize::from(is_it);
                table.is_renamed |= !is_it;
            }
            match (found, asked.clients) {
                (Some((target, named)), _) => table.add(row, netns, file, (target, named)),
                // One that has bound a name may be a client's end.
                (None, Clients::All) if row.kind == Kind::Connected => table.others.push(Kept::of(row, netns)),
                (None, Clients::Known(..)) if is_stray(row) => table.add_stray(row),
                (None, _) => {}
            }
        })?;
        table.is_renamed |= asked.listeners.is_some_and(|listeners| heard != listeners.len());
        if world.netns != Netns::All {
            table.leave_namesakes(targets);
        }
        Ok((table, seen))
    }

    #[inline(always)]
    fn add_nameless(&mut self, row: &Row, netns: u32, clients: Clients) {
        let is_wanted = match clients {
            Clients::None => return,
            Clients::All => true,
            Clients::Known(known, sieve) => {
                row.cookie.is_some_and(|cookie| sieve.may_have(cookie) && known.contains_key(&cookie))
            }
        };
        if is_wanted && row.kind == Kind::Connected {
            self.others.push(Kept::of(row, netns));
        } else if !is_wanted && is_stray(row) {
            self.add_stray(row);
        }
    }

    /// One that an earlier look may know as such.
    fn add_stray(&mut self, row: &Row) {
        self.strays += 1;
        self.unknown.extend(row.cookie.map(|cookie| (cookie, row.inode)));
    }

    fn add(&mut self, row: &Row, netns: u32, file: Option<File>, (target, named): (usize, Named)) {
        let (kept, device) = (Kept::of(row, netns), file.map(|file| file.device));
        match row.kind {
            Kind::Listener => {
                let known = KnownListener::of(row, file);
                let socket = Listening { end: kept, queue: row.queue, waiting: row.waiting().collect(), known };
                self.listening.push(Candidate { socket, named, target, device });
            }
            Kind::Connected => {
                self.untold += u64::from(row.shutdown.is_none());
                self.accepted.push(Candidate { socket: kept, named, target, device });
            }
            Kind::Idle | Kind::Datagram => {
                let socket = Idle { end: kept, kind: row.kind };
                self.idle.push(Candidate { socket, named, target, device });
            }
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
        let count = |table: &Table| table.listening.len() + table.accepted.len() + table.idle.len();
        let before = count(self);
        self.listening.retain(|one| is_its(&one.named, one.target, one.device));
        self.accepted.retain(|one| is_its(&one.named, one.target, one.device));
        self.idle.retain(|one| is_its(&one.named, one.target, one.device));
        self.has_namesakes = count(self) < before;
    }

    /// Whether it may be a client's end, by its name.
    fn may_be_clients(&self, one: &Kept) -> bool {
        match one.name {
            Name::None => true,
            Name::Given(_) => !self.given.iter().any(|other| (other.netns, other.name) == (one.netns, one.name)),
            Name::Chosen => false,
        }
    }

    /// Listeners that anyone can connect to.
    fn open(&self) -> impl Iterator<Item = &Candidate<Listening>> {
        self.listening.iter().filter(|one| one.socket.end.shutdown & diag::NO_MORE_IN == 0)
    }

    /// Whether a target has a listener that anyone can connect to.
    pub fn has_listener(&self, target: usize) -> bool {
        self.open().any(|one| one.target == target)
    }

    /// Whether that name has one.
    pub fn is_heard(&self, name: UnixName) -> bool {
        self.open().any(|one| one.named.name == name)
    }

    /// What has a target's name instead of a listener; `None`: nothing.
    pub fn instead(&self, target: usize) -> Option<Instead> {
        let listening = self.listening.iter().filter(|one| one.target == target);
        let shut = listening.map(|one| (one.socket.end, "a listener that was shut down: nobody can connect"));
        let idle = self.idle.iter().filter(|one| one.target == target).map(|one| match one.socket.kind {
            Kind::Datagram => (one.socket.end, "a datagram socket, which has no connections"),
            _ => (one.socket.end, "a socket that is bound but doesn't listen"),
        });
        let (end, what) = shut.chain(idle).next()?;
        Some(Instead { what, inode: end.inode, uid: end.uid })
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
