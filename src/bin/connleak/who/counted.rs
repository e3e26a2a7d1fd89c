//! The sockets of a service as one look shows them, and their rows.

use super::held::{Held, Kind, Kinds};
use super::row::{self, Bounds, Holder, Row};
use super::{By, user_of};
use connleak::base::duration::Span;
use connleak::base::error::Result;
use connleak::history::first_sights::FirstSights;
use connleak::kernel::headroom::EphemeralPorts;
use connleak::kernel::listeners::{GIVEN_ELSEWHERE, Listeners};
use connleak::kernel::look;
use connleak::kernel::owner::read_tables::ReadTables;
use connleak::kernel::owner::{Holders, Owners, Process};
use connleak::kernel::select::Match;
use connleak::kernel::socket::{Protocol, Side, Socket, State, StateSet};
use connleak::kernel::source::Coverage;
use connleak::kernel::user::Users;
use connleak::kernel::world::World;
use connleak::owners::blame::Suspect;
use connleak::owners::ghosts::Rows;
use connleak::owners::holders;
use connleak::service::target::Target;
use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

/// What decides on a socket's row. Names are made once for all sockets of one.
type Place = (Holder, bool, Option<u16>, Option<(bool, bool, Option<IpAddr>)>);

/// Sockets that a process has, or is going to accept; and those of the kernel.
#[derive(Default)]
pub struct Sockets {
    kinds: Kinds,
    /// Those that have an owner.
    pub held: Vec<Held>,
    /// What only the kernel has.
    kernel: Vec<Held>,
    /// Those that are held, where sockets are shown, else those of them that wait to be accepted; and the kernel's where
    /// they are shown.
    suspects: Vec<Suspect>,
    of_kernel: Vec<Suspect>,
    are_shown: bool,
    bounds: Bounds,
    /// Milliseconds from which on data is unread for long.
    unread: u64,
    /// Those that a process has.
    pub all: Rows,
    pub unsure: u64,
    pub ages_known: bool,
    /// In CLOSE_WAIT over UNIX sockets, which have no ages.
    pub undated: u64,
    /// Bound, neither listening nor connected; and of those the UNIX sockets of datagrams.
    pub bound: u64,
    pub datagram: u64,
}

impl Sockets {
    /// What is only bound is in a table of its own, whose walk is spared where there is anything else.
    pub fn read(
        target: &Target,
        are_shown: bool,
        sights: &mut FirstSights,
        world: &World,
    ) -> Result<(Sockets, Coverage)> {
        let states = if target.selection.has_tcp() { StateSet::ALL } else { StateSet::ALL_AND_BOUND };
        let mut read = |states| Sockets::of(states, target, are_shown).read_in(states, target, sights, world);
        let (sockets, seen) = read(states)?;
        if sockets.held.is_empty() && sockets.kernel.is_empty() && !states.has_bound() {
            return read(StateSet::ALL_AND_BOUND);
        }
        Ok((sockets, seen))
    }

    fn of(states: StateSet, target: &Target, are_shown: bool) -> Sockets {
        let millis = |span: Option<Span>, default| span.unwrap_or(Span::seconds(default)).as_millis();
        let profile = &target.profile;
        let stuck = millis(profile.close_wait.min_age, 60);
        let bounds = Bounds { stuck, idle: millis(profile.idle.min_age, 1800) };
        let unread = millis(profile.idle.unread.min_age, 600);
        Sockets { are_shown, bounds, unread, all: Rows::of(states), ages_known: true, ..Sockets::default() }
    }

    fn read_in(
        mut self,
        states: StateSet,
        target: &Target,
        sights: &mut FirstSights,
        world: &World,
    ) -> Result<(Sockets, Coverage)> {
        let selection = &target.selection;
        // Where no port was asked for each socket's ends are looked up again once all are known.
        let mut all = Listeners::default();
        let seen = look::visit(world, selection, (states, true), &mut |socket, matched, listeners| {
            all.add(socket);
            match matched {
                Match::No => {}
                Match::Yes(side) => self.add(&sights.see(socket, side), side),
                Match::Unsure => match selection.port_is_theirs(socket, listeners) {
                    Some(true) => self.add(socket, Side::Server),
                    Some(false) => {}
                    None => self.unsure += 1,
                },
            }
        })?;
        if selection.is_any() {
            // Those of a recording's host aren't in it.
            let ports = if world.replay.is_none() { EphemeralPorts::read(world).ok() } else { None };
            self.assign_sides(&all, &ports.unwrap_or_else(EphemeralPorts::usual));
        }
        Ok((self, seen))
    }

    /// Where no port was asked for, one with a listener is a server's; without any listener one that
    /// connect(2) does not give, where the other end's may be so given.
    fn assign_sides(&mut self, listeners: &Listeners, given: &EphemeralPorts) {
        let side = |held: &Held, Kind { netns, is_bound, .. }: &Kind| {
            let has_listener = |port: u16| listeners.has_port(*netns, port);
            let is_left =
                held.remote_port >= GIVEN_ELSEWHERE && !given.has(held.local_port) && !has_listener(held.remote_port);
            let is_server = has_listener(held.local_port) || is_left || *is_bound;
            if is_server { Side::Server } else { Side::Client }
        };
        let kinds = &mut self.kinds;
        let mut known = HashSet::new();
        for held in &mut self.held {
            let kind = *kinds.of(held);
            kinds.change(held, Kind { side: side(held, &kind), ..kind });
            known.extend(kinds.port(held));
        }
        for held in &mut self.kernel {
            // A row for each closed connection of a service that is gone would bury all others.
            let kind = *kinds.of(held);
            let told = side(held, &kind);
            let of = held.remote_port;
            let is_told = told == Side::Server || of < GIVEN_ELSEWHERE || known.contains(&of);
            kinds.change(held, Kind { side: if is_told { told } else { Side::Both }, ..kind });
        }
    }

    fn add(&mut self, socket: &Socket, side: Side) {
        let age = match socket.state {
            State::CloseWait => socket.close_wait_age().map(|age| age.at_least),
            State::Established => socket.silence(),
            _ => None,
        };
        let is_aged = matches!(socket.state, State::CloseWait | State::Established);
        self.ages_known &= age.is_some() || !is_aged || socket.is_unix();
        self.bound += u64::from(socket.state == State::Close);
        self.datagram += u64::from(socket.protocol == Protocol::Datagram);
        self.undated += u64::from(socket.is_unix() && socket.state == State::CloseWait && age.is_none());
        let suspect = Suspect::new(socket, age);
        let held = self.kinds.held(&suspect, Kind::of(&suspect, side, self.unread));
        // Without a process: what waits in an accept queue is its listener's, all else the kernel's.
        if self.kinds.of(&held).has_owner() {
            self.all.add(socket);
            self.held.push(held);
            self.suspects.extend((self.are_shown || suspect.is_waiting()).then_some(suspect));
        } else {
            self.kernel.push(held);
            self.of_kernel.extend(self.are_shown.then_some(suspect));
        }
    }

    /// Who has them.
    pub fn owners(&mut self, world: &World, tables: Option<&mut ReadTables>) -> Owners {
        if world.replay.is_some() {
            return Owners::default();
        }
        holders::give_to_listeners(world, &mut self.suspects);
        let kinds = &mut self.kinds;
        let mut given = self.suspects.iter().filter(|suspect| suspect.is_waiting()).peekable();
        for held in &mut self.held {
            if given.peek().is_none() {
                break;
            }
            let kind = *kinds.of(held);
            if let Some(Suspect { holder_inode, uid, .. }) = given.next_if(|_| kind.is_waiting()) {
                held.holder_inode = *holder_inode;
                kinds.change(held, Kind { uid: *uid, ..kind });
            }
        }
        let wanted = &mut self.held.iter().map(|held| (held.holder_inode, kinds.of(held).uid));
        let holders = if kinds.are_shared() { Holders::All } else { Holders::First };
        holders::find_given(world, wanted, holders, tables)
    }

    pub fn rows(&self, target: &Target, by: By, owners: &Owners, users: &Users) -> (Vec<Row>, Row) {
        let (rows, places, last) = Default::default();
        let mut rowing = Rowing { by, users, kinds: &self.kinds, rows, places, last };
        let suspect = |of: &'_ [Suspect], at: usize| of.get(at).filter(|_| self.are_shown).copied();
        let mut count = |held: &Held, suspect: Option<Suspect>, process: Option<&Process>| {
            let row = rowing.of(held, process);
            row.add(&self.kinds.counted(held), self.bounds);
            suspect.iter().for_each(|suspect| row.keep(suspect));
            let is_kernels = row.holder == Holder::Kernel;
            row.waiting += u64::from(!self.kinds.of(held).has_inode && !is_kernels);
        };
        for (at, held) in self.held.iter().enumerate() {
            count(held, suspect(&self.suspects, at), owners.of(held.holder_inode).next());
        }
        for (at, held) in self.kernel.iter().enumerate() {
            count(held, suspect(&self.of_kernel, at), None);
        }
        let Rowing { rows, places, .. } = rowing;
        let mut rows: Vec<Option<Row>> = rows.into_iter().map(Some).collect();
        let rows: Vec<Row> = places.into_values().filter_map(|at| rows[at].take()).collect();
        let mut all = Row::new(Holder::Kernel, target.selection.side, None);
        rows.iter().for_each(|row| all.merge(row.clone()));
        (row::merged(rows.into_iter(), by == By::Pid), all)
    }

    /// How many have no owner.
    pub fn unowned(&self, owners: &Owners) -> usize {
        self.held.iter().filter(|held| owners.of(held.holder_inode).next().is_none()).count()
    }

    /// Closed ones of the kernel's whose service can't be told.
    pub fn portless(&self) -> usize {
        self.kernel.iter().filter(|held| self.kinds.port(held).is_none()).count()
    }

    /// All where they are shown, worst first.
    pub fn shown(mut self) -> Vec<Suspect> {
        self.suspects.retain(|_| self.are_shown);
        self.suspects.extend(self.of_kernel);
        self.suspects.sort_by_key(row::badness);
        self.suspects
    }
}

/// Finds each socket's row.
struct Rowing<'a> {
    by: By,
    users: &'a Users,
    kinds: &'a Kinds,
    rows: Vec<Row>,
    places: BTreeMap<Place, usize>,
    /// Pid, kind and port of the last sockets with their rows: most are of few.
    last: Vec<(u32, u32, Option<u16>, usize)>,
}

impl Rowing<'_> {
    const LAST: usize = 1024;

    /// `process`: the holder of one that has or may have one.
    fn of(&mut self, held: &Held, process: Option<&Process>) -> &mut Row {
        let (pid, port) = (process.map_or(0, |process| process.pid), self.kinds.port(held));
        let at = (pid as usize * 67 + held.kind as usize) % Rowing::LAST;
        let row = match self.last.get(at) {
            Some((last, kind, of, row)) if (*last, *kind, *of) == (pid, held.kind, port) && *row != usize::MAX => *row,
            _ => self.find(held, process, port),
        };
        self.last.resize(Rowing::LAST, (0, 0, None, usize::MAX));
        self.last[at] = (pid, held.kind, port, row);
        &mut self.rows[row]
    }

    fn find(&mut self, held: &Held, process: Option<&Process>, port: Option<u16>) -> usize {
        let Rowing { by, users, rows, places, .. } = self;
        let kind = self.kinds.of(held);
        let holder = match process {
            Some(process) => Holder::Process(process.pid),
            None if kind.has_owner() => Holder::Unknown(kind.uid),
            None => Holder::Kernel,
        };
        let peer = by.is_by_peer().then_some((kind.state == State::Listen, kind.is_bound, kind.peer));
        *places.entry((holder.clone(), kind.side == Side::Client, port, peer)).or_insert_with(|| {
            let mut row = Row::new(holder.clone(), kind.side, port);
            row.pids.extend(process.map(|process| process.pid));
            row.user = match (process, &holder) {
                (Some(process), _) => Some(user_of(process)),
                (None, Holder::Unknown(uid)) => Some(users.name(*uid).map_or_else(|| uid.to_string(), str::to_owned)),
                _ => None,
            };
            row.label = label(&holder, process, row.user.as_deref(), kind, *by);
            row.process = process.filter(|_| *by == By::Pid).cloned();
            rows.push(row);
            rows.len() - 1
        })
    }
}

fn label(holder: &Holder, process: Option<&Process>, user: Option<&str>, kind: &Kind, by: By) -> String {
    if by.is_by_peer() && kind.state == State::Listen {
        return "(listening)".to_owned();
    }
    if by.is_by_peer() && kind.is_bound {
        return "(bound)".to_owned();
    }
    if by.is_by_peer() && kind.peer.is_none() {
        return "(UNIX socket)".to_owned();
    }
    let nobody = if *holder == Holder::Kernel { "(kernel)" } else { "(unknown)" };
    by.name(process, user, kind.peer.unwrap_or(Ipv4Addr::UNSPECIFIED.into())).unwrap_or_else(|| nobody.to_owned())
}
