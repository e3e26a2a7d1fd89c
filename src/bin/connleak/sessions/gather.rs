//! The kernel's side: the service's connections, each by the ends of it that are on this host.

use super::join::{Connection, End};
use connleak::base::error::Result;
use connleak::kernel::ends::{self, Ends};
use connleak::kernel::look;
use connleak::kernel::owner::{Holders, Owners, Process};
use connleak::kernel::select::Match;
use connleak::kernel::socket::{Side, State, StateSet};
use connleak::kernel::world::World;
use connleak::owners::blame::Suspect;
use connleak::owners::holders;
use connleak::service::target::Target;
use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

/// Milliseconds in which a service closes what its client has closed.
const A_MOMENT: u32 = 1000;
const MOST_LOOKS: u32 = 12;
const PAUSE: Duration = Duration::from_millis(100);

/// What one look shows of a service.
pub struct Scene {
    pub connections: Vec<Connection>,
    pub processes: BTreeMap<u32, Process>,
    /// Whether the service itself is on this host: then it has no connection that isn't seen.
    pub serves: bool,
    /// What could not be seen.
    pub notes: Vec<String>,
}

/// As [`look`], once the service has closed what its client closed a moment ago: that client read the list.
pub fn look_settled(target: &Target, world: &World) -> Result<Scene> {
    let mut scene = look(target, world)?;
    for _ in 1..MOST_LOOKS {
        if !scene.is_closing() || world.replay.is_some() || world.deadline.is_near() {
            break;
        }
        sleep(PAUSE);
        scene = look(target, world)?;
    }
    Ok(scene)
}

impl Scene {
    fn is_closing(&self) -> bool {
        let servers = self.connections.iter().filter_map(|connection| connection.server.as_ref());
        let mut closed = servers.filter(|server| server.suspect.state == State::CloseWait);
        closed.any(|server| server.suspect.age.is_none_or(|age| age < A_MOMENT))
    }
}

pub fn look(target: &Target, world: &World) -> Result<Scene> {
    let (mut suspects, mut sides, mut serves, mut unsure) = (Vec::new(), Vec::new(), false, 0);
    let seen = look::visit(world, &target.selection, (StateSet::ALL, true), &mut |socket, matched, _| {
        let side = match matched {
            Match::Yes(side) => side,
            Match::No => return,
            Match::Unsure => {
                unsure += 1;
                return;
            }
        };
        serves |= side == Side::Server;
        // What its process has closed has no session, and no descriptor.
        if socket.state != State::Listen && (socket.inode != 0 || socket.is_waiting()) {
            let age = if socket.state == State::CloseWait { socket.close_wait_age() } else { None };
            suspects.push(Suspect::new(socket, age.map(|age| age.at_least)));
            sides.push(side);
        }
    })?;
    let owners = holders::find(world, &mut suspects, Holders::First, None);
    let mut notes = target.absent.clone();
    notes.extend(seen.remark.clone());
    notes.extend(seen.missing.as_ref().map(|missing| format!("sockets incomplete: {missing}")));
    let is_unowned = |suspect: &&Suspect| owners.of(suspect.holder_inode).next().is_none();
    let unowned = suspects.iter().filter(is_unowned).count();
    if unowned > 0 && world.replay.is_none() {
        let why = owners.why_unowned();
        notes.push(format!("{unowned} of {} sockets without a process: {why}", suspects.len()));
    }
    if unsure > 0 {
        notes.push(format!("{unsure} more, but whose they are can't be told"));
    }
    let own_pids = own_pids(&owners, world);
    let connections = connections(suspects, &sides, &owners, &own_pids);
    let processes = owners.processes.into_iter().map(|process| (process.pid, process)).collect();
    Ok(Scene { connections, processes, serves, notes })
}

/// The pids that processes in PID namespaces below ours have there, by `NSpid` of their status.
fn own_pids(owners: &Owners, world: &World) -> BTreeMap<u32, u32> {
    let own = |process: &Process| {
        let status = std::fs::read_to_string(world.proc_root.join(process.pid.to_string()).join("status")).ok()?;
        let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
        Some((process.pid, pids.split_ascii_whitespace().next_back()?.parse().ok()?))
    };
    owners.processes.iter().filter_map(own).filter(|(pid, own)| pid != own).collect()
}

/// Both ends of what is on one host are one connection.
fn connections(
    suspects: Vec<Suspect>,
    sides: &[Side],
    owners: &Owners,
    own_pids: &BTreeMap<u32, u32>,
) -> Vec<Connection> {
    let (mut clients, mut servers) = (Vec::new(), Vec::new());
    for (suspect, side) in suspects.into_iter().zip(sides) {
        let holder = owners.descriptors(suspect.holder_inode).next();
        let fd = holder.map(|(_, fd)| fd).filter(|_| !suspect.is_waiting());
        let pid = holder.map(|(process, _)| process.pid);
        let end = End { suspect, pid, own_pid: pid.and_then(|pid| own_pids.get(&pid).copied()), fd };
        if *side == Side::Client { &mut clients } else { &mut servers }.push(end);
    }
    let ends = |all: &[End], side| -> Vec<Ends> {
        let of = |end: &End| Ends::new(side, end.suspect.netns, end.suspect.local, end.suspect.remote);
        all.iter().map(of).collect()
    };
    let joined = ends::join(&ends(&clients, Side::Client), &ends(&servers, Side::Server));
    let mut clients: Vec<Option<End>> = clients.into_iter().map(Some).collect();
    let with_client = |(server, client): (End, Option<usize>)| Connection {
        server: Some(server),
        client: client.and_then(|at| clients.get_mut(at)?.take()),
    };
    let mut connections: Vec<Connection> = servers.into_iter().zip(joined).map(with_client).collect();
    let alone = clients.into_iter().flatten();
    connections.extend(alone.map(|client| Connection { server: None, client: Some(client) }));
    connections
}
