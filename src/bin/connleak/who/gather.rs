//! One look at the sockets of a service, counted by who has them.

use super::ghosts::{self, Haunted};
use super::remembered::Remembered;
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
use connleak::kernel::socket::{Endpoint, Protocol, Side, Socket, State, StateSet};
use connleak::kernel::source::{Coverage, Origin};
use connleak::kernel::user::Users;
use connleak::kernel::world::World;
use connleak::owners::blame::Suspect;
use connleak::owners::ghosts::{Looking, Rows};
use connleak::owners::holders;
use connleak::service::target::Target;
use rustix::process::geteuid;
use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

/// What one look shows.
pub struct View {
    pub by: By,
    /// Worst first.
    pub rows: Vec<Row>,
    pub seen: Coverage,
    /// All rows together.
    pub all: Row,
    /// Owners of all rows, also of those that are not shown.
    pub owners: usize,
    /// Sockets whose process was looked for in vain.
    pub unowned: u64,
    pub ages_known: bool,
    /// All sockets, worst first, where they are shown, and who holds them.
    pub sockets: Vec<Suspect>,
    pub holders: Owners,
    /// `None`: not asked for.
    pub ghosts: Option<Vec<Haunted>>,
    /// What is to be said of the view's limits.
    pub notes: Vec<String>,
}

/// What decides on a socket's row. Names are made once for all sockets of one.
type Place = (Holder, bool, Option<u16>, Option<IpAddr>);

/// A socket that a process has, or is going to accept.
struct Sockets {
    /// Those that have an owner, with the side and the port of each.
    held: Vec<Suspect>,
    ends: Vec<(Side, u16)>,
    /// Those that a process has.
    all: Rows,
    /// What only the kernel has; without a port: which end was a service's can't be told.
    kernel: Vec<(Suspect, Side, Option<u16>)>,
    unsure: u64,
    ages_known: bool,
    /// In CLOSE_WAIT over UNIX sockets, which have no ages.
    undated: u64,
    /// Bound, neither listening nor connected; and of those the UNIX sockets of datagrams.
    bound: u64,
    datagram: u64,
}

impl View {
    /// `keeps_sockets`: each of them is shown. `looking`: for ghosts, `None` is not. `remembered`: by checks.
    pub fn gather(
        target: &Target,
        by: By,
        keeps_sockets: bool,
        (looking, remembered): (Option<Looking>, Remembered),
        world: &World,
    ) -> Result<View> {
        let Remembered { mut sights, known, .. } = remembered;
        let (mut sockets, seen) = Sockets::read(target, &mut sights, world)?;
        // What is read for ghosts tells owners too.
        let mut tables = ReadTables::default();
        let mut of_ghosts = Vec::new();
        let ghosts = match looking {
            Some(looking) => {
                let rows = std::mem::take(&mut sockets.all);
                ghosts::find(target, looking, (rows, &known), &mut tables, world, &mut of_ghosts)?
            }
            None => None,
        };
        let mut tables = Some(tables).filter(|tables| !tables.is_empty());
        let owners = holders::find(world, &mut sockets.held, Holders::First, tables.as_mut());
        let users = if world.is_foreign() || world.replay.is_some() { Users::default() } else { Users::read() };
        let (rows, all) = sockets.rows(target, by, &owners, &users);
        let unowned = sockets.held.iter().filter(|suspect| owners.of(suspect.holder_inode).next().is_none()).count();
        let mut notes = target.absent.clone();
        notes.extend(seen.remark.clone());
        if let Some(missing) = &seen.missing {
            notes.push(format!("sockets incomplete: {missing}"));
        }
        if seen.origin == Origin::Replay {
            notes.push(replayed(&seen));
        } else if unowned > 0 {
            // A container's root may lack rights that other processes have.
            let is_remedy = owners.refused > 0 && !owners.late && !geteuid().is_root();
            let why = owners.why_unowned() + if is_remedy { "; run as root to see all" } else { "" };
            notes.push(format!("owners of {unowned} of {} sockets unknown: {why}", sockets.held.len()));
        }
        if !sockets.ages_known {
            let why = match seen.origin {
                Origin::Replay => "the dump was recorded without tcp_info; 'ss -tanie -D FILE' records it",
                _ => "only /proc could be read",
            };
            notes.push(format!("ages unknown: {why}"));
        }
        if sockets.held.is_empty() && target.selection.has_tcp() {
            let recorded = (seen.origin == Origin::Replay).then_some("recordings may lack what is only bound");
            notes.extend(seen.lacks_bound().or(recorded).map(|why| format!("listeners and connections only: {why}")));
        }
        if sockets.undated > 0 {
            notes.push(format!("{} in CLOSE_WAIT over UNIX sockets: the kernel tells no ages", sockets.undated));
        }
        if sockets.datagram > 0 {
            notes.push(format!("{} of datagrams, which have no connections", sockets.datagram));
        }
        let bound = sockets.bound - sockets.datagram;
        if bound > 0 {
            notes.push(format!("{bound} bound without listening: nobody can connect there"));
        }
        if sockets.unsure > 0 {
            notes.push(format!("{} more have no process: whose they were can't be told", sockets.unsure));
        }
        let portless = sockets.kernel.iter().filter(|(_, _, port)| port.is_none()).count();
        if portless > 0 {
            notes.push(format!(
                "{portless} closed ones between clients' ports are in one row: their service can't be told"
            ));
        }
        notes.append(&mut of_ghosts);
        let (holders, unowned) = (owners, unowned as u64);
        let (owners, ages_known) = (holders.processes.len(), sockets.ages_known);
        let of_kernel = sockets.kernel.into_iter().map(|(suspect, ..)| suspect);
        let mut sockets: Vec<Suspect> = sockets.held.into_iter().chain(of_kernel).filter(|_| keeps_sockets).collect();
        sockets.sort_by_key(row::badness);
        Ok(View { by, rows, seen, all, owners, unowned, ages_known, sockets, holders, ghosts, notes })
    }
}

impl View {
    /// Ghosts go to their process's first row; one that has nothing else gets a row of its own.
    pub fn add_ghosts(&mut self, side: Side) {
        if self.by.is_by_peer() {
            // A ghost has no peer any more.
            return;
        }
        for Haunted { process, sockets } in self.ghosts.iter().flatten() {
            let user = user_of(process);
            let Some(label) = self.by.name(Some(process), Some(&user), Ipv4Addr::UNSPECIFIED.into()) else { continue };
            let at = self.rows.iter().position(|row| row.label == label).unwrap_or_else(|| {
                let mut row = Row::new(Holder::Process(process.pid), side, None);
                (row.label, row.user) = (label, Some(user));
                row.process = (self.by == By::Pid).then(|| process.clone());
                self.rows.push(row);
                self.rows.len() - 1
            });
            self.rows[at].ghosts += sockets;
            self.rows[at].pids.insert(process.pid);
            let is_known = self.holders.processes.iter().any(|known| known.pid == process.pid);
            self.owners += usize::from(!is_known);
        }
        self.rows.sort_by_key(Row::rank);
    }
}

/// The note of a recording.
pub fn replayed(seen: &Coverage) -> String {
    format!("replayed from {}, so without owners", seen.how)
}

impl Sockets {
    /// What is only bound is in a table of its own, whose walk is spared where there is anything else.
    fn read(target: &Target, sights: &mut FirstSights, world: &World) -> Result<(Sockets, Coverage)> {
        let states = if target.selection.has_tcp() { StateSet::ALL } else { StateSet::ALL_AND_BOUND };
        let (sockets, seen) = Sockets::read_in(states, target, sights, world)?;
        if sockets.held.is_empty() && sockets.kernel.is_empty() && !states.has_bound() {
            return Sockets::read_in(StateSet::ALL_AND_BOUND, target, sights, world);
        }
        Ok((sockets, seen))
    }

    fn read_in(
        states: StateSet,
        target: &Target,
        sights: &mut FirstSights,
        world: &World,
    ) -> Result<(Sockets, Coverage)> {
        let selection = &target.selection;
        let (held, ends, kernel) = Default::default();
        let all = Rows::of(states);
        let (bound, datagram) = (0, 0);
        let mut sockets = Sockets { held, ends, all, kernel, unsure: 0, ages_known: true, undated: 0, bound, datagram };
        // Where no port was asked for each socket's ends are looked up again once all are known.
        let mut all = Listeners::default();
        let seen = look::visit(world, selection, (states, true), &mut |socket, matched, listeners| {
            all.add(socket);
            match matched {
                Match::No => {}
                Match::Yes(side) => sockets.add(&sights.see(socket, side), side),
                Match::Unsure => match selection.port_is_theirs(socket, listeners) {
                    Some(true) => sockets.add(socket, Side::Server),
                    Some(false) => {}
                    None => sockets.unsure += 1,
                },
            }
        })?;
        if selection.is_any() {
            // Those of a recording's host aren't in it.
            let ports = if world.replay.is_none() { EphemeralPorts::read(world).ok() } else { None };
            sockets.assign_sides(&all, &ports.unwrap_or_else(EphemeralPorts::usual));
        }
        Ok((sockets, seen))
    }

    /// Where no port was asked for, one with a listener is a server's; without any listener one that
    /// connect(2) does not give, where the other end's may be so given.
    fn assign_sides(&mut self, listeners: &Listeners, given: &EphemeralPorts) {
        let end = |suspect: &Suspect| {
            let Suspect { local, remote, netns, .. } = suspect;
            let has_listener = |end: &Endpoint| listeners.has_port(*netns, end.port);
            let is_left = remote.port >= GIVEN_ELSEWHERE && !given.has(local.port) && !has_listener(remote);
            let is_server = has_listener(local) || is_left || suspect.is_bound();
            if is_server { (Side::Server, local.port) } else { (Side::Client, remote.port) }
        };
        self.ends = self.held.iter().map(end).collect();
        let known: HashSet<u16> = self.ends.iter().map(|(_, port)| *port).collect();
        for (suspect, side, port) in &mut self.kernel {
            // A row for each closed connection of a service that is gone would bury all others.
            let (told, of) = end(suspect);
            let is_told = told == Side::Server || of < GIVEN_ELSEWHERE || known.contains(&of);
            (*side, *port) = if is_told { (told, Some(of)) } else { (Side::Both, None) };
        }
    }

    fn add(&mut self, socket: &Socket, side: Side) {
        let port = if side == Side::Client { socket.remote.port } else { socket.local.port };
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
        // Without a process: what waits in an accept queue is its listener's, all else the kernel's.
        if socket.inode != 0 || is_aged || socket.state == State::SynRecv {
            self.all.add(socket);
            self.held.push(suspect);
            self.ends.push((side, port));
        } else {
            self.kernel.push((suspect, side, Some(port)));
        }
    }

    fn rows(&self, target: &Target, by: By, owners: &Owners, users: &Users) -> (Vec<Row>, Row) {
        let millis = |span: Option<Span>, default| span.unwrap_or(Span::seconds(default)).as_millis();
        let profile = &target.profile;
        let bounds = Bounds {
            stuck: millis(profile.close_wait.min_age, 60),
            idle: millis(profile.idle.min_age, 1800),
            unread: millis(profile.idle.unread.min_age, 600),
        };
        let mut places: BTreeMap<Place, Row> = BTreeMap::new();
        let mut count =
            |suspect: &Suspect, side: Side, port: Option<u16>, holder: Holder, process: Option<&Process>| {
                let peer = by.is_by_peer().then_some(suspect.remote.ip);
                let row = places.entry((holder.clone(), side == Side::Client, port, peer)).or_insert_with(|| {
                    let mut row = Row::new(holder.clone(), side, port);
                    row.pids.extend(process.map(|process| process.pid));
                    row.user = match (process, &holder) {
                        (Some(process), _) => Some(user_of(process)),
                        (None, Holder::Unknown(uid)) => {
                            Some(users.name(*uid).map_or_else(|| uid.to_string(), str::to_owned))
                        }
                        _ => None,
                    };
                    row.label = label(&holder, process, row.user.as_deref(), suspect, by);
                    row.process = process.filter(|_| by == By::Pid).cloned();
                    row
                });
                row.add(suspect, bounds);
                row.waiting += u64::from(suspect.inode == 0 && holder != Holder::Kernel);
            };
        for (suspect, (side, port)) in self.held.iter().zip(&self.ends) {
            let process = owners.of(suspect.holder_inode).next();
            let holder = process.map_or(Holder::Unknown(suspect.uid), |process| Holder::Process(process.pid));
            count(suspect, *side, Some(*port), holder, process);
        }
        for (suspect, side, port) in &self.kernel {
            count(suspect, *side, *port, Holder::Kernel, None);
        }
        let mut all = Row::new(Holder::Kernel, target.selection.side, None);
        places.values().for_each(|row| all.merge(row.clone()));
        (row::merged(places.into_values(), by == By::Pid), all)
    }
}

fn label(holder: &Holder, process: Option<&Process>, user: Option<&str>, suspect: &Suspect, by: By) -> String {
    if by.is_by_peer() && suspect.state == State::Listen {
        return "(listening)".to_owned();
    }
    if by.is_by_peer() && suspect.is_bound() {
        return "(bound)".to_owned();
    }
    if by.is_by_peer() && suspect.unix_name().is_some() {
        return "(UNIX socket)".to_owned();
    }
    let nobody = if *holder == Holder::Kernel { "(kernel)" } else { "(unknown)" };
    by.name(process, user, suspect.remote.ip).unwrap_or_else(|| nobody.to_owned())
}
