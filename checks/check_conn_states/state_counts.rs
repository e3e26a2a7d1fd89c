//! The mix of a service's TCP states in one look: counts, accept queues, half-open and stuck
//! connections, ephemeral ports.

pub mod found;
pub mod judge;
pub mod usual;

use connleak::kernel::headroom::{Headroom, PortUse};
use connleak::kernel::socket::{Endpoint, Side, Socket, State};
use connleak::kernel::tally::Tally;
use judge::Doubt;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// TCP_TIMEWAIT_LEN, milliseconds.
pub const TIME_WAIT_LASTS: u32 = 60_000;

/// BSD's old listen(5): a backlog that isn't told is hardly smaller.
const SMALLEST_BACKLOG: u64 = 5;

/// Something of a listener that has room for so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// [`Socket::netns`]: containers listen on the same addresses.
    pub netns: u32,
    pub listener: Endpoint,
    /// [`Socket::interface`] and inode of the listener; 0: of half-open connections, which several may have.
    pub interface: u32,
    pub inode: u64,
    pub used: u64,
    /// `None`: /proc doesn't tell it.
    pub limit: Option<u64>,
}

impl Queue {
    fn is_at(&self, netns: u32, listener: Endpoint, interface: u32) -> bool {
        (self.netns, self.listener, self.interface) == (netns, listener, interface)
    }

    /// Percent of the limit; an empty queue is empty whatever its limit.
    pub fn percent(&self) -> Option<f64> {
        let limit = if self.used == 0 { Some(1) } else { self.limit };
        limit.map(|limit| self.used as f64 * 100.0 / limit.max(1) as f64)
    }

    /// Percent of the limit where that may be as small as any.
    pub fn percent_at_worst(&self) -> f64 {
        self.percent().unwrap_or(self.used as f64 * 100.0 / SMALLEST_BACKLOG as f64)
    }
}

#[derive(Clone, Debug)]
pub struct StateCounts {
    /// Milliseconds; younger closings are normal.
    min_age: u32,
    /// net.ipv4.tcp_fin_timeout, milliseconds.
    fin_timeout: u32,
    pub tally: Tally,
    /// SYN_RECV that are no sockets yet: the kernel's TCP_NEW_SYN_RECV.
    pub requests: u64,
    /// A limit for each listener; several may share an address (SO_REUSEPORT).
    pub accept_queues: Vec<Queue>,
    /// By network namespace, own address and interface.
    half_open: BTreeMap<(u32, Endpoint, u32), u64>,
    /// FIN_WAIT1, FIN_WAIT2, CLOSING and LAST_ACK for the minimal age.
    pub stuck: Tally,
    /// Closing for an unknown time, which may be the minimal age.
    pub maybe_stuck: u64,
    /// Milliseconds, with the state.
    pub oldest_closing: Option<(u32, State)>,
    /// TIME_WAIT that will last longer than any kernel of Linus' lets it, and by how much at most.
    pub lasting: u64,
    pub longest_rest: u32,
    /// Connected UNIX sockets.
    pub over_unix: u64,
    /// The service's own ends of TCP connections: whoever accepted them listened on a port.
    pub own_by_port: u64,
    pub ports: PortUse,
}

impl StateCounts {
    pub fn new(min_age: u32, fin_timeout: u32, ports: PortUse) -> StateCounts {
        StateCounts {
            min_age,
            fin_timeout,
            tally: Tally::default(),
            requests: 0,
            accept_queues: Vec::new(),
            half_open: BTreeMap::new(),
            stuck: Tally::default(),
            maybe_stuck: 0,
            oldest_closing: None,
            lasting: 0,
            longest_rest: 0,
            over_unix: 0,
            own_by_port: 0,
            ports,
        }
    }

    pub fn add(&mut self, socket: &Socket, side: Side) {
        self.tally.add(side, socket.state);
        let is_connected = socket.state != State::Listen;
        self.over_unix += u64::from(is_connected && socket.is_unix());
        self.own_by_port += u64::from(is_connected && !socket.is_unix() && side == Side::Server);
        if side == Side::Client {
            self.ports.add(socket);
        }
        match socket.state {
            State::Listen => self.accept_queues.extend(socket.accept_queue.map(|queue| Queue {
                netns: socket.netns,
                listener: socket.local,
                interface: socket.interface,
                inode: socket.inode,
                used: u64::from(queue.waiting),
                limit: queue.limit.map(u64::from),
            })),
            State::SynRecv => {
                // A socket in SYN_RECV (TCP Fast Open) has a cgroup and, where it is asked for, a tcp_info; a mere request has none.
                let is_request = socket.inode == 0 && socket.times.is_none() && socket.cgroup.is_none();
                self.requests += u64::from(is_request);
                *self.half_open.entry((socket.netns, socket.local, socket.interface)).or_default() += 1;
            }
            State::TimeWait => {
                let rest = socket.timer_rest.unwrap_or(0);
                self.lasting += u64::from(rest > TIME_WAIT_LASTS);
                self.longest_rest = self.longest_rest.max(rest);
            }
            // A UNIX socket's peer has been told already: nothing is under way.
            State::FinWait2 if socket.is_unix() => {}
            State::FinWait1 | State::FinWait2 | State::Closing | State::LastAck => self.add_closing(socket, side),
            _ => {}
        }
    }

    fn add_closing(&mut self, socket: &Socket, side: Side) {
        let age = socket.closing_age(self.fin_timeout);
        match age {
            Some(age) if age.at_least >= self.min_age => self.stuck.add(side, socket.state),
            Some(age) => self.maybe_stuck += u64::from(age.at_most >= self.min_age),
            None => self.maybe_stuck += 1,
        }
        self.oldest_closing = self.oldest_closing.max(age.map(|age| (age.at_least, socket.state)));
    }

    /// What is known of a socket's age in its state, milliseconds.
    pub fn age(&self, socket: &Socket) -> Option<u32> {
        match socket.state {
            State::Established => socket.silence(),
            State::CloseWait => socket.close_wait_age().map(|age| age.at_least),
            State::TimeWait => socket.timer_rest.map(|rest| TIME_WAIT_LASTS.saturating_sub(rest)),
            _ => socket.closing_age(self.fin_timeout).map(|age| age.at_least),
        }
    }

    /// All but listeners.
    pub fn sockets(&self, side: Side) -> u64 {
        let states = State::NAMES.iter().filter(|(state, _)| *state != State::Listen);
        states.map(|(state, _)| self.tally.count(side, *state)).sum()
    }

    /// TIME_WAIT in percent of ESTABLISHED; of none as of one.
    pub fn time_wait_ratio(&self) -> f64 {
        let of = |state| self.tally.count(Side::Both, state) as f64;
        of(State::TimeWait) * 100.0 / of(State::Established).max(1.0)
    }

    pub fn stuck_count(&self) -> u64 {
        State::NAMES.iter().map(|(state, _)| self.stuck.count(Side::Both, *state)).sum()
    }

    /// `stuck: 3 FIN_WAIT1, 1 LAST_ACK`, for `-v`.
    pub fn stuck_by_state(&self) -> Option<String> {
        let count = |(state, name): &(State, &str)| {
            let count = self.stuck.count(Side::Both, *state);
            (count > 0).then(|| format!("{count} {name}"))
        };
        let states: Vec<_> = State::NAMES.iter().filter_map(count).collect();
        (!states.is_empty()).then(|| format!("stuck: {}", states.join(", ")))
    }

    /// The accept queue that is fullest.
    pub fn accept_queue(&self, doubt: Doubt) -> Option<Queue> {
        fullest(self.accept_queues.iter().copied(), doubt)
    }

    /// The listener whose half-open connections take most of its backlog, which bounds them too
    /// (the kernel's `inet_csk_reqsk_queue_is_full`).
    pub fn half_open(&self, doubt: Doubt) -> Option<Queue> {
        let mut used: BTreeMap<(u32, Endpoint, u32), u64> = BTreeMap::new();
        for ((netns, local, interface), count) in &self.half_open {
            let listener = self.listener_of(*netns, *local, *interface).unwrap_or((*local, *interface));
            *used.entry((*netns, listener.0, listener.1)).or_default() += count;
        }
        let queue = |((netns, listener, interface), used)| {
            let is_its = |queue: &&Queue| queue.is_at(netns, listener, interface);
            let limits = self.accept_queues.iter().filter(is_its).map(|queue| queue.limit);
            let limit = limits.fold(None, |sum: Option<Option<u64>>, limit| {
                Some(sum.map_or(limit, |sum| Some(sum?.saturating_add(limit?))))
            });
            Queue { netns, listener, interface, inode: 0, used, limit: limit.flatten() }
        };
        fullest(used.into_iter().map(queue), doubt)
    }

    /// Address and interface of the listener of a connection's own address: the exact one, else that of
    /// all addresses; of its interface, else of all.
    pub fn listener_of(&self, netns: u32, local: Endpoint, interface: u32) -> Option<(Endpoint, u32)> {
        let any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        let places = [local.ip, any[0], any[1]].map(|ip| Endpoint { ip, port: local.port });
        let usable = |place: &&Endpoint| local.ip.is_ipv4() || place.ip != any[0];
        let interfaces = if interface == 0 { vec![0] } else { vec![interface, 0] };
        let places = places.iter().filter(usable);
        let mut all = interfaces.iter().flat_map(|interface| places.clone().map(|place| (*place, *interface)));
        all.find(|(place, interface)| self.accept_queues.iter().any(|queue| queue.is_at(netns, *place, *interface)))
    }

    pub fn busiest_ports(&self) -> Option<Headroom> {
        self.ports.busiest()
    }
}

/// By address where equally full, so that every run names the same one. A doubt may outweigh what is
/// known: then it isn't known which is fullest.
fn fullest(queues: impl Iterator<Item = Queue>, doubt: Doubt) -> Option<Queue> {
    let counts = |queue: &Queue| doubt == Doubt::Worst || queue.percent().is_some();
    queues.filter(counts).max_by(|a, b| {
        let fuller = a.percent_at_worst().total_cmp(&b.percent_at_worst());
        fuller.then(a.used.cmp(&b.used)).then(Reverse(a.listener).cmp(&Reverse(b.listener)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use connleak::kernel::headroom::EphemeralPorts;
    use connleak::kernel::socket::{AcceptQueue, Times};

    fn end(text: &str) -> Endpoint {
        let address: std::net::SocketAddr = text.parse().unwrap();
        Endpoint::new(address.ip(), address.port())
    }

    fn socket(state: State, local: &str) -> Socket {
        Socket::bare(state, end(local), end("10.0.0.9:7"))
    }

    fn listener(local: &str, waiting: u32, limit: Option<u32>) -> Socket {
        Socket { accept_queue: Some(AcceptQueue { waiting, limit }), ..socket(State::Listen, local) }
    }

    fn mix(sockets: &[Socket]) -> StateCounts {
        let mut mix = StateCounts::new(60_000, 60_000, PortUse::new(EphemeralPorts::parse("1024 9999", "").unwrap()));
        sockets.iter().for_each(|socket| mix.add(socket, Side::Server));
        mix
    }

    #[test]
    fn the_fullest_queue_is_not_the_longest() {
        let mix = mix(&[
            listener("10.0.0.1:80", 100, Some(4096)),
            listener("10.0.0.2:80", 4, Some(5)),
            listener("10.0.0.3:80", 0, Some(0)),
        ]);
        let queue = mix.accept_queue(Doubt::Worst).unwrap();
        assert_eq!((queue.listener, queue.percent()), (end("10.0.0.2:80"), Some(80.0)));
        let without_limit = Queue { limit: None, ..queue };
        assert_eq!((without_limit.percent(), without_limit.percent_at_worst()), (None, 80.0));
        assert_eq!(Queue { used: 0, ..without_limit }.percent(), Some(0.0));
        assert_eq!(Queue { used: 1, limit: Some(0), ..queue }.percent(), Some(100.0), "one finds place");
    }

    #[test]
    fn half_open_connections_count_against_their_listener() {
        let request = |local| socket(State::SynRecv, local);
        let found = mix(&[
            listener("10.0.0.1:80", 0, Some(8)),
            listener("0.0.0.0:80", 0, Some(5)),
            listener("0.0.0.0:80", 0, Some(5)),
            request("10.0.0.1:80"),
            request("10.0.0.2:80"),
            request("10.0.0.3:80"),
        ]);
        let queue = found.half_open(Doubt::Worst).unwrap();
        // Two of ten; the listener of the address itself has one of eight.
        assert_eq!((queue.listener, queue.used, queue.limit), (end("0.0.0.0:80"), 2, Some(10)));
        assert_eq!(found.requests, 3);
        let v6 = mix(&[listener("0.0.0.0:80", 0, Some(5)), listener("[::]:80", 0, Some(9)), request("[::2]:80")]);
        assert_eq!(v6.half_open(Doubt::Worst).unwrap().listener, end("[::]:80"));
        assert_eq!(mix(&[request("10.0.0.1:80")]).half_open(Doubt::Worst).unwrap().limit, None);
    }

    #[test]
    fn a_queue_without_limit_hides_no_full_one() {
        let found = mix(&[listener("10.0.0.1:80", 5, Some(5)), listener("10.0.0.2:80", 9, None)]);
        let of = |doubt| found.accept_queue(doubt).map(|queue| (queue.listener, queue.percent()));
        assert_eq!(of(Doubt::Known), Some((end("10.0.0.1:80"), Some(100.0))));
        assert_eq!(of(Doubt::Worst), Some((end("10.0.0.2:80"), None)));
        assert_eq!(mix(&[listener("10.0.0.2:80", 9, None)]).accept_queue(Doubt::Known), None);
    }

    /// Containers listen on the same addresses: the room of one is of no use to another.
    #[test]
    fn each_network_namespace_has_its_own_listeners() {
        let within = |netns, socket| Socket { netns, ..socket };
        let found = mix(&[
            within(1, listener("0.0.0.0:80", 0, Some(4))),
            within(2, listener("0.0.0.0:80", 0, Some(4096))),
            within(1, socket(State::SynRecv, "10.0.0.1:80")),
            within(2, socket(State::SynRecv, "10.0.0.1:80")),
            within(3, socket(State::SynRecv, "10.0.0.1:80")),
        ]);
        let queue = found.half_open(Doubt::Worst).unwrap();
        assert_eq!((queue.netns, queue.used, queue.limit), (1, 1, Some(4)));
        assert_eq!(found.listener_of(3, end("10.0.0.1:80"), 0), None);
    }

    #[test]
    fn a_closing_socket_is_stuck_once_it_is_old() {
        let times = |stalled, ack_recv| Times {
            data_sent: 90_000,
            data_recv: 0,
            ack_recv,
            stalled,
            carried: None,
            ack_delay: 0,
        };
        let closing = |state, stalled, ack_recv| Socket {
            times: Some(times(stalled, ack_recv)),
            inode: 7,
            ..socket(state, "10.0.0.1:80")
        };
        let found = mix(&[
            closing(State::FinWait1, 60_000, 0),
            closing(State::FinWait1, 59_999, 90_000),
            closing(State::FinWait2, 0, 61_000),
            Socket { keepalive: true, ..closing(State::FinWait2, 0, 70) },
            Socket { timer_rest: Some(1), ..socket(State::FinWait2, "10.0.0.1:80") },
            socket(State::LastAck, "10.0.0.1:80"),
        ]);
        let of = |state| found.stuck.count(Side::Both, state);
        assert_eq!((of(State::FinWait1), of(State::FinWait2), of(State::LastAck)), (1, 1, 0));
        assert_eq!((found.stuck_count(), found.maybe_stuck), (2, 2));
        assert_eq!(found.oldest_closing, Some((61_000, State::FinWait2)));
    }

    #[test]
    fn a_minute_of_time_wait_is_the_most_there_is() {
        let rest = |rest| Socket { timer_rest: Some(rest), ..socket(State::TimeWait, "10.0.0.1:80") };
        let found = mix(&[rest(60_000), rest(0), rest(60_001)]);
        assert_eq!((found.lasting, found.longest_rest), (1, 60_001));
        assert_eq!((found.time_wait_ratio(), found.sockets(Side::Both)), (300.0, 3));
    }
}
