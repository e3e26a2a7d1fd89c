//! The connections of a service as the leak detector sees them: each once, with its owner group and
//! its silence.

use crate::base::error::Result;
use crate::base::fnv::fnv64;
use crate::growth::detector;
use crate::history::first_sights::FirstSights;
use crate::kernel::ends::Ends;
use crate::kernel::ends::one_end::{Kept, OneEnd};
use crate::kernel::headroom::PortUse;
use crate::kernel::look;
use crate::kernel::select::{Match, Selection};
use crate::kernel::socket::{Side, Socket, State, StateSet};
use crate::kernel::source::Coverage;
use crate::kernel::world::World;
use crate::owners::blame::Suspect;
use crate::owners::ghosts::Rows;
use std::collections::HashMap;

/// Inodes that are remembered: of very many sockets each process has some among those that the kernel lists first.
const MOST_INODES: usize = 16_384;

/// One connection, by the end of it that is most telling.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    pub socket: Socket,
    pub side: Side,
    group: u32,
    /// Which one of those that only their number tells apart.
    twin: u32,
}

impl Connection {
    pub fn new(socket: &Socket, side: Side) -> Connection {
        Connection { group: group(socket, side), socket: *socket, side, twin: 0 }
    }

    /// What makes it the same one in the next run: the kernel's cookie; where only `/proc` is read,
    /// a hash of inode and addresses.
    pub fn identity(&self) -> u64 {
        let Socket { netns, cookie, inode, local, remote, .. } = self.socket;
        match cookie {
            None if self.twin > 0 => hashed(format!("{netns} {inode} {local} {remote} {}", self.twin).as_bytes()),
            Some(cookie) if netns == 0 => cookie.get(),
            // Before Linux 5.4 each network namespace counted its cookies by itself.
            Some(cookie) => hashed(format!("{netns} {cookie}").as_bytes()),
            None => hashed(format!("{netns} {inode} {local} {remote}").as_bytes()),
        }
    }

    /// Whether neither the kernel nor its ends tell it from others.
    fn is_nameless(&self) -> bool {
        let Socket { cookie, inode, remote, .. } = self.socket;
        cookie.is_none() && inode == 0 && remote.unix().is_some_and(|end| end.name.is_none() && end.inode == 0)
    }

    /// Sockets of one cgroup, user and side share their habits. Known without reading any process.
    pub fn group(&self) -> u32 {
        self.group
    }

    /// Whether only its descriptor is left: no table shows one in this state as connected.
    pub fn is_ghost(&self) -> bool {
        self.socket.state == State::Close
    }

    /// Seconds without data in either direction, in CLOSE_WAIT since the FIN; `None`: /proc was read, or a ghost.
    pub fn silence(&self) -> Option<f64> {
        let millis = match self.socket.state {
            State::CloseWait => self.socket.close_wait_age()?.at_least,
            _ => self.socket.silence()?,
        };
        Some(f64::from(millis) / 1000.0)
    }
}

impl Kept for Connection {
    const MEETS: bool = false;

    fn ends(&self) -> Ends {
        Ends::of(&self.socket, self.side)
    }

    fn is_client(&self) -> bool {
        self.side == Side::Client
    }
}

fn group(socket: &Socket, side: Side) -> u32 {
    let mut bytes = [0; 13];
    bytes[..8].copy_from_slice(&socket.cgroup.map_or(0, |id| id.get()).to_le_bytes());
    bytes[8..12].copy_from_slice(&socket.uid.to_le_bytes());
    bytes[12] = u8::from(side == Side::Client);
    (hashed(&bytes) >> 32) as u32
}

/// FNV-1a, mixed once more so that its high bits can choose samples.
pub fn hashed(bytes: &[u8]) -> u64 {
    let hash = fnv64(bytes);
    (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Which connections a sample keeps: one in 2^`thinning`, the same ones in every run.
pub fn is_sampled(identity: u64, thinning: u32) -> bool {
    hashed(&identity.to_le_bytes()).leading_zeros() >= thinning
}

#[derive(Debug)]
pub struct Pool {
    pub seen: Coverage,
    /// ESTABLISHED, CLOSE_WAIT and ghosts: what counts against a limit.
    pub connections: Vec<Connection>,
    /// By TCP state, in the order of [`State::NAMES`]; each connection once.
    pub counts: [u64; 11],
    /// The lowest cookie of the listeners; 0: none is seen.
    pub instance: u64,
    /// The service's own listeners: inode and user of each.
    pub listeners: Vec<(u64, u32)>,
    pub ports: Option<PortUse>,
    /// All sockets of the service that a process has.
    pub rows: Rows,
    /// Connections of which it can't be told whether they are selected.
    pub unsure: u64,
}

impl Pool {
    /// Seconds of the longest silence of TCP's connections; one that is not known makes it unknown.
    pub fn idle_oldest(&self) -> Option<f64> {
        // UNIX sockets and ghosts have none.
        let has_some = |connection: &&Connection| !connection.socket.is_unix() && !connection.is_ghost();
        let idle: Option<Vec<f64>> = self.connections.iter().filter(has_some).map(Connection::silence).collect();
        idle.map(|idle| idle.into_iter().fold(0.0, f64::max))
    }

    /// Seconds for which half of the connections have been silent at least, where silences are known of all of them.
    pub fn idle_median(&self) -> Option<f64> {
        let mut idle: Vec<f64> = self.connections.iter().map(Connection::silence).collect::<Option<_>>()?;
        let middle = idle.len().checked_sub(1)? / 2;
        Some(*idle.select_nth_unstable_by(middle, |one, other| other.total_cmp(one)).1)
    }

    /// Ghosts of the service count as connections in CLOSE_WAIT.
    pub fn add_ghosts(&mut self, ghosts: &[Suspect], selection: &Selection) {
        let side = if selection.side == Side::Client { Side::Client } else { Side::Server };
        let ghost = |ghost: &Suspect| Connection::new(&Socket { uid: ghost.uid, ..ghost.socket() }, side);
        self.connections.extend(ghosts.iter().map(ghost));
        self.counts[State::CloseWait as usize - 1] += ghosts.len() as u64;
    }

    /// By which a descriptor of one of them is known once no table shows it: a part of very many.
    pub fn inodes(&self) -> Vec<u64> {
        let of_tcp = self.connections.iter().filter(|one| !one.socket.is_unix() && !one.is_ghost());
        of_tcp.map(|one| one.socket.inode).filter(|inode| *inode != 0).take(MOST_INODES).collect()
    }

    /// What the detector is shown of it; when it was taken is the caller's to say.
    pub fn sample(&self) -> detector::Sample {
        self.sample_after(&HashMap::new())
    }

    /// `silences`: of ghosts, in seconds by identity; others were seen as such just now.
    pub fn sample_after(&self, silences: &HashMap<u64, f64>) -> detector::Sample {
        let count = |state: State| self.counts[state as usize - 1].try_into().unwrap_or(u32::MAX);
        let (established, close_wait, time_wait) =
            (count(State::Established), count(State::CloseWait), count(State::TimeWait));
        let all = self.counts.iter().sum::<u64>().try_into().unwrap_or(u32::MAX);
        let socket = |connection: &Connection| detector::Socket {
            cookie: connection.identity(),
            group: connection.group(),
            state: match connection.socket.state {
                State::CloseWait | State::Close => detector::State::CloseWait,
                _ => detector::State::Established,
            },
            idle: match connection.is_ghost() {
                true => silences.get(&connection.identity()).copied(),
                false => connection.silence(),
            }
            .unwrap_or(0.0),
        };
        detector::Sample {
            service: self.instance,
            established,
            close_wait,
            time_wait,
            other: all.saturating_sub(established).saturating_sub(close_wait).saturating_sub(time_wait),
            sockets: self.connections.iter().map(socket).collect(),
            ..detector::Sample::default()
        }
    }
}

/// Looks once. A connection with both ends here is held by its client's end: that is where leaks of
/// pools are made; once the client has closed, by the server's. Without ports each end is one of its own. `sights`: what is
/// remembered of UNIX sockets.
pub fn look(
    world: &World,
    selection: &Selection,
    mut ports: Option<PortUse>,
    sights: &mut FirstSights,
) -> Result<Pool> {
    sights.begin_look();
    let (mut connections, mut counts, mut unsure) = (Vec::new(), [0; 11], 0);
    let (mut listeners, mut instance) = (Vec::new(), None::<u64>);
    let mut rows = Rows::of(StateSet::ALL);
    let (mut joined, mut twins) = (OneEnd::default(), 0);
    let seen = look::visit(world, selection, (StateSet::ALL, true), &mut |socket, matched, _| {
        let side = match matched {
            Match::No => return,
            Match::Yes(side) => side,
            Match::Unsure => {
                unsure += u64::from(counts_against_limit(socket.state));
                return;
            }
        };
        rows.add(socket);
        if let Some(ports) = ports.as_mut().filter(|_| side == Side::Client) {
            ports.add(socket);
        }
        if socket.state == State::Listen {
            listeners.push((socket.inode, socket.uid));
            instance = instance.into_iter().chain(socket.cookie.map(|cookie| cookie.get())).min();
        }
        if counts_against_limit(socket.state) {
            sights.see(socket, side);
            let mut connection = Connection::new(socket, side);
            // Of a dead connection in a UNIX listener's queue the kernel tells no more than that it is there.
            if connection.is_nameless() {
                connection.twin = twins;
                twins += 1;
            }
            if selection.is_any() { connections.push(connection) } else { joined.add(&connection) }
        } else {
            counts[socket.state as usize - 1] += 1;
            if side == Side::Client && matches!(socket.state, State::FinWait1 | State::FinWait2) {
                joined.add_closing(Ends::of(socket, Side::Client));
            }
        }
    })?;
    if !selection.is_any() {
        connections = joined.end(|_, _| {});
    }
    for connection in &connections {
        counts[connection.socket.state as usize - 1] += 1;
    }
    let instance = instance.unwrap_or(0);
    Ok(Pool { seen, connections, counts, instance, listeners, ports, rows, unsure })
}

fn counts_against_limit(state: State) -> bool {
    matches!(state, State::Established | State::CloseWait)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_thinner_sample_is_part_of_the_thicker() {
        let kept =
            |thinning: u32| (1..100_000u64).filter(|cookie| is_sampled(*cookie, thinning)).collect::<HashSet<_>>();
        assert_eq!(kept(0).len(), 99_999);
        let (half, eighth) = (kept(1), kept(3));
        assert!(half.len().abs_diff(50_000) < 1_000 && eighth.len().abs_diff(12_500) < 500);
        assert!(eighth.is_subset(&half));
    }
}
