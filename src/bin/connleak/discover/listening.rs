//! Who listens: TCP, MPTCP and UNIX streams, with the process that will take the connections.

use connleak::base::error::Result;
use connleak::kernel::cgroup::container;
use connleak::kernel::owner::{self, Holders, Process};
use connleak::kernel::socket::{Protocol, Side, State, StateSet};
use connleak::kernel::source::{self, Query, unix};
use connleak::kernel::unix_target::bound_name;
use connleak::kernel::user::Users;
use connleak::kernel::world::World;
use rustix::process::geteuid;
use std::collections::BTreeMap;
use std::net::IpAddr;

use super::fit::Fit;

/// A place where connections are taken, by one service.
pub struct Listening {
    pub place: Place,
    /// The network namespace that it is in, where there are several.
    pub netns: u32,
    pub is_mptcp: bool,
    pub process: Option<Process>,
    /// By name, else by number; the socket's where the process isn't known. `None`: not told.
    pub user: Option<String>,
    /// Filled in by who looks for profiles.
    pub fit: Option<Fit>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A port, and the addresses on which it is open.
    Tcp(u16, Vec<IpAddr>),
    /// As it was bound: a path, or `@name`.
    Unix(String),
}

impl Listening {
    pub fn port(&self) -> Option<u16> {
        if let Place::Tcp(port, _) = self.place { Some(port) } else { None }
    }

    pub fn path(&self) -> Option<&str> {
        if let Place::Unix(path) = &self.place { Some(path) } else { None }
    }

    pub fn protocol(&self) -> &'static str {
        match (&self.place, self.is_mptcp) {
            (Place::Unix(_), _) => "unix",
            (_, true) => "mptcp",
            (_, false) => "tcp",
        }
    }

    pub fn unit(&self) -> Option<&str> {
        self.process.as_ref()?.unit.as_deref()
    }

    pub fn container(&self) -> Option<String> {
        container::name(self.process.as_ref()?.cgroup.as_deref()?)
    }
}

/// A listening socket, before its process is known.
struct Door {
    place: Place,
    netns: u32,
    is_mptcp: bool,
    inode: u64,
    uid: Option<u32>,
}

/// What listens, what of it can't be seen, and what is to be said of the owners.
///
/// # Errors
/// Where TCP's listeners can't be read at all.
pub fn look(world: &World) -> Result<(Vec<Listening>, Vec<String>, Vec<String>)> {
    let (mut doors, mut missing) = (Vec::new(), Vec::new());
    let states = StateSet::of(&[State::Listen]);
    let query = Query { states, ports: &[], side: Side::Server, times: false, listeners: false };
    let seen = source::visit(world, &query, &mut |socket| {
        doors.push(Door {
            place: Place::Tcp(socket.local.port, vec![socket.local.ip]),
            netns: socket.netns,
            is_mptcp: socket.protocol != Protocol::Tcp,
            inode: socket.inode,
            uid: Some(socket.uid),
        });
    })?;
    missing.extend(seen.missing.map(|why| format!("TCP listeners: {why}")));
    let unseen = unix::visit(world, unix::Query { uids: true, ..unix::Query::LISTENERS }, &mut |row, netns| {
        if row.listens() && !row.name.is_empty() {
            let place = Place::Unix(bound_name(row.name));
            doors.push(Door { place, netns, is_mptcp: false, inode: u64::from(row.inode), uid: row.uid });
        }
    })
    .map_or_else(|why| Some(why.to_string()), |seen| seen.missing);
    // Most recordings are of TCP only.
    missing.extend(unseen.filter(|_| world.replay.is_none()).map(|why| format!("UNIX sockets: {why}")));
    let (listening, notes) = owned(doors, world);
    Ok((listening, missing, notes))
}

/// One for each port or path and process: addresses, and the sockets of SO_REUSEPORT, are one service's.
fn owned(doors: Vec<Door>, world: &World) -> (Vec<Listening>, Vec<String>) {
    let is_replayed = world.replay.is_some();
    let wanted: Vec<_> = doors.iter().map(|door| (door.inode, door.uid.unwrap_or(owner::UNKNOWN_UID))).collect();
    let mut owners = if is_replayed { owner::Owners::default() } else { owner::find(world, &wanted, Holders::All) };
    owners.put_main_first();
    let users = if world.is_foreign() || is_replayed { Users::default() } else { Users::read() };
    let (count, mut unowned) = (doors.len(), 0);
    let mut all: BTreeMap<(bool, u32, u16, String, u32), Listening> = BTreeMap::new();
    for door in doors {
        let process = owners.of(door.inode).next().cloned();
        unowned += usize::from(process.is_none());
        let pid = process.as_ref().map_or(0, |process| process.pid);
        let (is_unix, port, path) = match &door.place {
            Place::Tcp(port, _) => (false, *port, String::new()),
            Place::Unix(path) => (true, 0, path.clone()),
        };
        let of_socket = door.uid.map(|uid| users.name(uid).map_or_else(|| uid.to_string(), str::to_owned));
        let user = process.as_ref().map(crate::who::user_of).or(of_socket);
        let Door { place, netns, is_mptcp, .. } = door;
        let known = all.entry((is_unix, netns, port, path, pid)).or_insert_with(|| Listening {
            place: place.clone(),
            netns,
            is_mptcp: false,
            process,
            user,
            fit: None,
        });
        known.is_mptcp |= is_mptcp;
        if let (Place::Tcp(_, known), Place::Tcp(_, more)) = (&mut known.place, place) {
            known.extend(more);
            known.sort_unstable();
            known.dedup();
        }
    }
    let mut notes = Vec::new();
    if is_replayed {
        notes.push("a recording: without owners".to_owned());
    } else if unowned > 0 {
        let remedy = if owners.refused > 0 && !geteuid().is_root() { "; run as root to see all" } else { "" };
        notes.push(format!("owners of {unowned} of {count} listeners unknown: {}{remedy}", owners.why_unowned()));
    }
    (all.into_values().collect(), notes)
}
