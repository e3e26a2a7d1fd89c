//! Who listens where, as far as a look has shown it: that tells which end of a connection is the server's,
//! and whose it is until it is accepted.

use crate::kernel::socket::{Endpoint, Side, Socket, State};
use std::cell::Cell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// From here on hosts give ports to those who connect: Linux 32768 to 60999 unless it is told otherwise
/// (ip-sysctl), others from 49152 (RFC 6335). What a peer's host was told can't be known.
pub const GIVEN_ELSEWHERE: u16 = 32_768;

/// Sources show listeners before all other sockets of their network namespace.
#[derive(Debug)]
pub struct Listeners {
    /// By network namespace and port.
    all: HashMap<(u32, u16), Vec<Socket>>,
    /// A bit for each port that has a listener in any namespace: most ports of connections have none.
    ports: Box<[u64; 1024]>,
    /// What was asked last: thousands of connections share one address of their service.
    last: Cell<Option<(u32, Endpoint, bool)>>,
}

impl Default for Listeners {
    fn default() -> Self {
        Listeners { all: HashMap::new(), ports: Box::new([0; 1024]), last: Cell::new(None) }
    }
}

impl Listeners {
    pub fn add(&mut self, socket: &Socket) {
        if socket.state == State::Listen {
            self.all.entry((socket.netns, socket.local.port)).or_default().push(*socket);
            self.ports[usize::from(socket.local.port) / 64] |= 1 << (socket.local.port % 64);
            self.last.set(None);
        }
    }

    pub fn all(&self) -> impl Iterator<Item = &Socket> {
        self.all.values().flatten()
    }

    pub fn on_port(&self, netns: u32, port: u16) -> &[Socket] {
        if self.ports[usize::from(port) / 64] & (1 << (port % 64)) == 0 {
            return &[];
        }
        self.all.get(&(netns, port)).map_or(&[], Vec::as_slice)
    }

    /// Whether a port is a server's.
    pub fn has_port(&self, netns: u32, port: u16) -> bool {
        !self.on_port(netns, port).is_empty()
    }

    /// Whether a listener takes connections to this address.
    pub fn takes(&self, netns: u32, end: Endpoint) -> bool {
        if self.ports[usize::from(end.port) / 64] & (1 << (end.port % 64)) == 0 {
            return false;
        }
        match self.last.get() {
            Some((at, known, takes)) if (at, known) == (netns, end) => takes,
            _ => {
                let takes = self.on_port(netns, end.port).iter().any(|listener| rank(listener, end).is_some());
                self.last.set(Some((netns, end, takes)));
                takes
            }
        }
    }

    /// Which end of its connection a socket is; `None`: only its ports can tell.
    ///
    /// Who listens decides. Where both ends have a listener, or none is left, the kernel may tell who
    /// connected; so may a port that is nobody's who connects.
    pub fn end_of(&self, socket: &Socket) -> Option<Side> {
        let Socket { state, local, remote, netns, .. } = *socket;
        match state {
            State::Listen | State::SynRecv => return Some(Side::Server),
            State::SynSent => return Some(Side::Client),
            _ => {}
        }
        let (here, there) = (self.takes(netns, local), self.takes(netns, remote));
        if here && !there && remote.port >= GIVEN_ELSEWHERE {
            return Some(Side::Server);
        }
        let connected = socket.connected.map(|connected| if connected { Side::Client } else { Side::Server });
        let by_listeners = match (here, there) {
            (true, false) => Some(Side::Server),
            (false, true) => Some(Side::Client),
            (true, true) => None,
            (false, false) => {
                let is_given = local.port >= GIVEN_ELSEWHERE && remote.port < GIVEN_ELSEWHERE;
                (is_given && self.has_port(netns, local.port)).then_some(Side::Client)
            }
        };
        connected.or(by_listeners)
    }

    /// Whether [`Listeners::end_of`] tells it without a word of the kernel about who connected.
    pub fn is_plain(&self, socket: &Socket) -> bool {
        let Socket { state, local, remote, netns, .. } = *socket;
        !matches!(state, State::Established | State::CloseWait)
            || (self.takes(netns, local) && remote.port >= GIVEN_ELSEWHERE && !self.takes(netns, remote))
    }

    /// Whether it looks like one that connected, as far as addresses tell. One that came in by TPROXY may do so, too.
    pub fn looks_connected(&self, socket: &Socket) -> bool {
        let Socket { local, remote, netns, is_transparent, .. } = *socket;
        let there = || remote.port < GIVEN_ELSEWHERE || self.takes(netns, remote);
        local.port >= GIVEN_ELSEWHERE && !is_transparent && there() && !self.takes(netns, local)
    }

    /// The listeners in one of whose accept queues a socket waits, as the kernel chooses: those of its
    /// interface, then of its exact address, then of all addresses of its family; one of all IPv6
    /// addresses takes IPv4 connections too. Several may share an address (SO_REUSEPORT): of them those
    /// that have anything waiting, and of its cgroup, which it has from its listener.
    pub fn queues_of(&self, socket: &Socket) -> Vec<&Socket> {
        let mut found: Vec<&Socket> = self.on_port(socket.netns, socket.local.port).iter().collect();
        found.retain(|listener| rank(listener, socket.local).is_some());
        if found.is_empty() && socket.is_transparent {
            // TPROXY handed it over: no port tells to which one.
            found = self.all().filter(|listener| listener.netns == socket.netns && listener.is_transparent).collect();
            found.sort_unstable_by_key(|listener| listener.inode);
        }
        prefer(&mut found, |listener| listener.interface == socket.interface);
        prefer(&mut found, |listener| listener.interface == 0);
        let best = found.iter().filter_map(|listener| rank(listener, socket.local)).min();
        found.retain(|listener| rank(listener, socket.local) == best);
        prefer(&mut found, |listener| socket.cgroup.is_some() && listener.cgroup == socket.cgroup);
        // What is only asked for isn't counted in a queue.
        if socket.state != State::SynRecv {
            prefer(&mut found, |listener| listener.accept_queue.is_some_and(|queue| queue.waiting > 0));
        }
        found
    }
}

/// Leaves those that `hold`, where there are any.
fn prefer(found: &mut Vec<&Socket>, holds: impl Fn(&Socket) -> bool) {
    if found.iter().any(|listener| holds(listener)) {
        found.retain(|listener| holds(listener));
    }
}

/// How near a listener's address is to that of a connection; `None`: it takes none to there.
fn rank(listener: &Socket, end: Endpoint) -> Option<u8> {
    let all: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    let ip = listener.local.ip;
    if ip == end.ip {
        Some(0)
    } else if ip == all[0] && end.ip.is_ipv4() {
        Some(1)
    } else {
        (ip == all[1]).then_some(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::socket::AcceptQueue;

    fn end(text: &str) -> Endpoint {
        let address: std::net::SocketAddr = text.parse().unwrap();
        Endpoint::new(address.ip(), address.port())
    }

    fn listener(local: &str, inode: u64, waiting: u32) -> Socket {
        let accept_queue = Some(AcceptQueue { waiting, limit: Some(9) });
        Socket { inode, accept_queue, ..Socket::bare(State::Listen, end(local), end("0.0.0.0:0")) }
    }

    fn listening(all: &[Socket]) -> Listeners {
        let mut listeners = Listeners::default();
        all.iter().for_each(|socket| listeners.add(socket));
        listeners
    }

    fn queues(listeners: &Listeners, waiting: Socket) -> Vec<u64> {
        listeners.queues_of(&waiting).iter().map(|listener| listener.inode).collect()
    }

    #[test]
    fn who_listens_is_the_server() {
        let listeners =
            listening(&[listener("127.0.0.1:50000", 1, 0), listener("0.0.0.0:443", 2, 0), listener("[::]:80", 3, 0)]);
        let told = |local, remote, connected| {
            let bare = Socket::bare(State::Established, end(local), end(remote));
            listeners.end_of(&Socket { connected, ..bare })
        };
        let (server, client) = (Some(Side::Server), Some(Side::Client));
        assert_eq!(told("127.0.0.1:50000", "127.0.0.1:40000", None), server);
        assert_eq!(told("127.0.0.1:40000", "127.0.0.1:50000", None), client);
        assert_eq!(told("10.0.0.1:50000", "10.0.0.9:443", None), client, "no listener of its own address");
        assert_eq!(told("10.0.0.1:50000", "10.0.0.9:8443", None), client, "no listener, and the port tells");
        assert_eq!(told("10.0.0.1:80", "10.0.0.9:8443", None), server, "IPv4 on a listener of all IPv6 addresses");
        assert_eq!(told("10.0.0.1:8443", "10.0.0.9:8444", None), None, "nobody listens any more");
        assert_eq!(told("10.0.0.1:8443", "10.0.0.9:8444", Some(true)), client);
        assert_eq!(told("127.0.0.1:50000", "127.0.0.1:443", None), None, "both listen");
        assert_eq!(told("127.0.0.1:50000", "127.0.0.1:443", Some(true)), client);
        assert_eq!(told("127.0.0.1:50000", "10.0.0.1:22", Some(true)), client, "from a port that listens too");
        assert_eq!(told("127.0.0.1:50000", "127.0.0.1:40000", Some(true)), server, "plain enough");
        let request = Socket::bare(State::SynRecv, end("10.0.0.1:9"), end("10.0.0.9:443"));
        assert_eq!(listeners.end_of(&request), server);
        let elsewhere = Socket { netns: 7, ..Socket::bare(State::Established, end("[::1]:80"), end("[::1]:40000")) };
        assert_eq!(listeners.end_of(&elsewhere), None, "each namespace has its own listeners");
    }

    #[test]
    fn a_queue_is_its_own_listeners() {
        let on = |interface, socket| Socket { interface, ..socket };
        let waiting = |local| Socket::bare(State::CloseWait, end(local), end("127.0.0.9:9"));
        let listeners = listening(&[
            listener("127.0.0.1:80", 1, 0),
            listener("127.0.0.1:80", 2, 3),
            listener("0.0.0.0:80", 3, 9),
            listener("[::]:80", 4, 9),
            on(5, listener("0.0.0.0:80", 5, 0)),
        ]);
        assert_eq!(queues(&listeners, waiting("127.0.0.1:80")), [2], "the healthy one has nobody waiting");
        assert_eq!(queues(&listeners, waiting("127.0.0.2:80")), [3]);
        assert_eq!(queues(&listeners, waiting("[::1]:80")), [4]);
        assert_eq!(queues(&listeners, on(5, waiting("127.0.0.2:80"))), [5], "of its interface");
        assert_eq!(queues(&listeners, waiting("127.0.0.2:81")), [0; 0]);
        let request = Socket { state: State::SynRecv, ..waiting("127.0.0.1:80") };
        assert_eq!(queues(&listeners, request), [1, 2], "requests are in no queue yet");
    }
}
