//! The connections of a service as the leak detector sees them: each once, with its owner group and
//! its silence.

use crate::base::error::Result;
use crate::base::fnv::fnv64;
use crate::growth::detector;
use crate::kernel::headroom::PortUse;
use crate::kernel::select::{Match, Selection};
use crate::kernel::socket::{Endpoint, Side, Socket, State, StateSet};
use crate::kernel::source::{self, Coverage, Query};
use crate::kernel::world::World;
use std::collections::{HashMap, HashSet};

/// One connection, by the end of it that is most telling.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    pub socket: Socket,
    pub side: Side,
}

impl Connection {
    /// What makes it the same one in the next run: the kernel's cookie; where only `/proc` is read,
    /// a hash of inode and addresses.
    pub fn identity(&self) -> u64 {
        let Socket { netns, cookie, inode, local, remote, .. } = self.socket;
        match cookie {
            Some(cookie) if netns == 0 => cookie.get(),
            // Before Linux 5.4 each network namespace counted its cookies by itself.
            Some(cookie) => hashed(format!("{netns} {cookie}").as_bytes()),
            None => hashed(format!("{netns} {inode} {local} {remote}").as_bytes()),
        }
    }

    /// Sockets of one cgroup, user and side share their habits. Known without reading any process.
    pub fn group(&self) -> u32 {
        let cgroup = self.socket.cgroup.map_or(0, |id| id.get());
        let side = u8::from(self.side == Side::Client);
        let mut bytes = [0; 13];
        bytes[..8].copy_from_slice(&cgroup.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.socket.uid.to_le_bytes());
        bytes[12] = side;
        (hashed(&bytes) >> 32) as u32
    }

    /// Seconds without data in either direction, in CLOSE_WAIT since the FIN; `None`: /proc was read.
    pub fn silence(&self) -> Option<f64> {
        let millis = match self.socket.state {
            State::CloseWait => self.socket.close_wait_age()?.at_least,
            _ => self.socket.silence()?,
        };
        Some(f64::from(millis) / 1000.0)
    }
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
    /// ESTABLISHED and CLOSE_WAIT: what counts against a limit.
    pub connections: Vec<Connection>,
    /// By TCP state, in the order of [`State::NAMES`]; each connection once.
    pub counts: [u64; 11],
    /// The lowest cookie of the listeners; 0: none is seen.
    pub instance: u64,
    /// The service's own listeners: inode and user of each.
    pub listeners: Vec<(u64, u32)>,
    pub ports: Option<PortUse>,
    /// Connections of which it can't be told whether they are selected.
    pub unsure: u64,
}

impl Pool {
    /// Seconds of the longest silence; one that is not known makes it unknown.
    pub fn idle_oldest(&self) -> Option<f64> {
        let idle: Option<Vec<f64>> = self.connections.iter().map(Connection::silence).collect();
        idle.map(|idle| idle.into_iter().fold(0.0, f64::max))
    }

    /// Why there may be more connections than are counted.
    pub fn lacking(&self) -> Option<String> {
        (self.unsure > 0).then(|| format!("{} more can't be told whose they are", self.unsure))
    }

    /// What the detector is shown of it; when it was taken is the caller's to say.
    pub fn sample(&self) -> detector::Sample {
        let count = |state: State| self.counts[state as usize - 1].try_into().unwrap_or(u32::MAX);
        let (established, close_wait, time_wait) =
            (count(State::Established), count(State::CloseWait), count(State::TimeWait));
        let all = self.counts.iter().sum::<u64>().try_into().unwrap_or(u32::MAX);
        let socket = |connection: &Connection| detector::Socket {
            cookie: connection.identity(),
            group: connection.group(),
            state: match connection.socket.state {
                State::CloseWait => detector::State::CloseWait,
                _ => detector::State::Established,
            },
            idle: connection.silence().unwrap_or(0.0),
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
/// pools are made; once the client has closed, by the server's. Without ports each end is one of its own.
pub fn look(world: &World, selection: &Selection, mut ports: Option<PortUse>) -> Result<Pool> {
    let query = Query { states: StateSet::ALL, ports: &selection.ports, side: selection.side, times: true };
    let (mut connections, mut counts, mut unsure) = (Vec::new(), [0; 11], Vec::new());
    let (mut listeners, mut instance) = (Vec::new(), None::<u64>);
    let mut doors = Doors::default();
    let seen = source::visit(world, &query, &mut |socket| {
        let matched = selection.matches(socket);
        doors.add(socket, matched);
        let side = match matched {
            Match::No => return,
            Match::Yes(side) => side,
            Match::Unsure => {
                unsure.extend(counts_against_limit(socket.state).then_some(*socket));
                return;
            }
        };
        if let Some(ports) = ports.as_mut().filter(|_| side == Side::Client) {
            ports.add(socket);
        }
        if socket.state == State::Listen {
            listeners.push((socket.inode, socket.uid));
            instance = instance.into_iter().chain(socket.cookie.map(|cookie| cookie.get())).min();
        }
        if counts_against_limit(socket.state) {
            connections.push(Connection { socket: *socket, side });
        } else {
            counts[socket.state as usize - 1] += 1;
        }
    })?;
    unsure.retain(|socket| match doors.belongs(socket) {
        Some(true) => {
            connections.push(Connection { socket: *socket, side: Side::Server });
            false
        }
        Some(false) => false,
        None => true,
    });
    if selection.ports.is_empty() {
        for Connection { socket, side } in &mut connections {
            *side = doors.side(socket.netns, socket.local);
        }
    }
    let clients: HashSet<(u32, Endpoint, Endpoint)> = connections
        .iter()
        .filter(|connection| connection.side == Side::Client)
        .map(|Connection { socket, .. }| (socket.scope(), socket.remote, socket.local))
        .collect();
    connections.retain(|Connection { socket, side }| {
        *side == Side::Client
            || selection.ports.is_empty()
            || !clients.contains(&(socket.scope(), socket.local, socket.remote))
    });
    for connection in &connections {
        counts[connection.socket.state as usize - 1] += 1;
    }
    let (instance, unsure) = (instance.unwrap_or(0), unsure.len() as u64);
    Ok(Pool { seen, connections, counts, instance, listeners, ports, unsure })
}

/// Where connections come in: all listeners, whoever has them.
#[derive(Debug, Default)]
pub struct Doors {
    /// By network namespace and port: whether its listeners are selected; `None`: some are.
    ports: HashMap<(u32, u16), Option<bool>>,
}

impl Doors {
    pub fn add(&mut self, socket: &Socket, matched: Match) {
        if socket.state == State::Listen {
            let selected = match matched {
                Match::No => Some(false),
                Match::Yes(_) => Some(true),
                Match::Unsure => None,
            };
            let known = self.ports.entry((socket.netns, socket.local.port)).or_insert(selected);
            *known = known.filter(|known| Some(*known) == selected);
        }
    }

    /// Whether what no process has is selected: it waits in the accept queue of its port's listener.
    pub fn belongs(&self, socket: &Socket) -> Option<bool> {
        self.ports.get(&(socket.netns, socket.local.port)).copied().flatten().filter(|_| socket.inode == 0)
    }

    /// A port with a listener is a server's.
    pub fn side(&self, netns: u32, local: Endpoint) -> Side {
        if self.ports.contains_key(&(netns, local.port)) { Side::Server } else { Side::Client }
    }
}

fn counts_against_limit(state: State) -> bool {
    matches!(state, State::Established | State::CloseWait)
}

#[cfg(test)]
mod tests {
    use super::*;

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
