//! One socket, of TCP or a UNIX stream, as the kernel's tables show it: values only.

mod state;
mod unix_end;

pub use state::{State, StateSet};
pub use unix_end::{UnixEnd, UnixName};

use crate::base::word;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::str::FromStr;

/// Which end of a connection a socket is, seen from the service's port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The local port is the service's: the service's own end.
    Server,
    /// The remote port is the service's: the application's end.
    Client,
    #[default]
    Both,
}

impl Side {
    pub fn name(self) -> &'static str {
        match self {
            Side::Server => "server",
            Side::Client => "client",
            Side::Both => "both",
        }
    }
}

impl FromStr for Side {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        word::choose("side", text, &[Side::Server, Side::Client, Side::Both].map(|side| (side.name(), side)))
    }
}

/// An address and port. IPv4-mapped IPv6 addresses are held as the IPv4 address they stand for,
/// so that one peer has one name whatever family the service listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    pub ip: IpAddr,
    pub port: u16,
}

impl Endpoint {
    pub fn new(ip: IpAddr, port: u16) -> Endpoint {
        Endpoint { ip: ip.to_canonical(), port }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            IpAddr::V6(_) if let Some(end) = self.unix() => f.write_str(&end.text()),
            IpAddr::V4(ip) => write!(f, "{ip}:{}", self.port),
            IpAddr::V6(ip) => write!(f, "[{ip}]:{}", self.port),
        }
    }
}

/// What `struct tcp_info` tells of a socket's traffic, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Since data was last sent, `tcpi_last_data_sent`.
    pub data_sent: u32,
    /// Since data last arrived, `tcpi_last_data_recv`. A FIN without data doesn't touch it.
    pub data_recv: u32,
    /// Since any ACK last arrived, `tcpi_last_ack_recv`. A FIN carries one.
    pub ack_recv: u32,
    /// For how long at least the peer has been sent again and again what it doesn't take, told by the
    /// timers' exponential back-off. 0: nothing waits, or it was sent only once yet.
    pub stalled: u32,
    /// Whether data was ever sent or received. `None`: a kernel before 4.6, which doesn't tell.
    pub carried: Option<bool>,
    /// For how long after data was last sent the peer may acknowledge it: a round trip, or until it reads
    /// what it has left unread, or for ever while its closed window is probed.
    pub ack_delay: u32,
}

/// Connections that a listener's process has not accepted yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptQueue {
    pub waiting: u32,
    /// What listen(2) asked for, at most net.core.somaxconn; one more finds place (the kernel's
    /// `sk_acceptq_is_full`). `None`: /proc doesn't tell it.
    pub limit: Option<u32>,
}

/// What is known of an age, in milliseconds. Both ends are equal where it is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age {
    pub at_least: u32,
    pub at_most: u32,
}

impl Age {
    /// The longer end where it is further off than what is shown of an age: then that is a lower bound, and said as one.
    pub fn open_end(self) -> Option<u32> {
        const SHOWN: u32 = 100;
        Some(self.at_most).filter(|longest| *longest >= self.at_least.saturating_add(SHOWN))
    }
}

/// Which table a row is of, and with it whether the row is a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    #[default]
    Tcp,
    /// A connection over one or several subflows, each of them a row in TCP's table too.
    Mptcp,
    /// A subflow, or an MPTCP listener, as TCP's table shows it: its state is not the connection's.
    Subflow,
    /// A socket of MPTCP whose peer speaks plain TCP: its row in TCP's table tells more.
    Fallback,
    /// A UNIX stream. Its ends are those of [`UnixEnd`], its state is what TCP would call it: CLOSE_WAIT once
    /// nothing more will come from the peer (RCV_SHUTDOWN).
    Unix,
    /// A UNIX socket of datagrams at a service's name.
    Datagram,
}

/// One socket of one source. Which fields a source can't know is said at each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// What a source shows is of TCP or of MPTCP, but for a listener's; /proc can't tell.
    pub protocol: Protocol,
    pub state: State,
    pub local: Endpoint,
    pub remote: Endpoint,
    /// The user whose process created or accepted it; 0 too where no process has it.
    pub uid: u32,
    /// 0: no process has it: still in the accept queue, or orphaned by its closed owner.
    pub inode: u64,
    /// The kernel's identity of the socket for its whole life. /proc doesn't tell it.
    pub cookie: Option<NonZeroU64>,
    /// The cgroup2 directory's inode at the socket's creation. /proc doesn't tell it.
    pub cgroup: Option<NonZeroU64>,
    /// Whether the keepalive timer runs (`idiag_timer` 2).
    pub keepalive: bool,
    /// Milliseconds until the kernel's running timer acts (`idiag_expires`): for what no process
    /// has, until it is gone or tried again. `None`: no timer runs, or /proc, which doesn't tell it.
    pub timer_rest: Option<u32>,
    /// Whether its process connected rather than accepted, where the kernel's counts of bytes tell it
    /// ([`diag`](crate::kernel::source::diag)); asked for with [`Socket::times`].
    pub connected: Option<bool>,
    /// Bytes that its process has not read (Recv-Q), and that its peer has not acknowledged (Send-Q); of a
    /// listener 0.
    pub unread: u32,
    pub unsent: u32,
    /// How many wait to be accepted; only a listener has it.
    pub accept_queue: Option<AcceptQueue>,
    /// /proc doesn't tell them, and what is no full socket (SYN_RECV, TIME_WAIT) has none.
    pub times: Option<Times>,
    /// The interface that it is bound to, or its listener was (SO_BINDTODEVICE, `idiag_if`); 0: none.
    /// /proc doesn't tell it.
    pub interface: u32,
    /// Whether it may have an address that isn't this host's (IP_TRANSPARENT), or its listener may: so
    /// TPROXY's connections come in. Told since Linux 5.11 (`INET_DIAG_SOCKOPT`); not by /proc.
    pub is_transparent: bool,
    /// Where several network namespaces are looked at, the inode of this one's `net/tcp`: each has
    /// its own 127.0.0.1. 0: the only one.
    pub netns: u32,
}

impl Socket {
    /// Time since the peer's FIN for a socket in CLOSE_WAIT.
    ///
    /// The FIN's own ACK restarts `ack_recv`, so that is the age, exactly, unless something was
    /// acknowledged later by a peer that closed only its sending half: a probe of ours where that
    /// timer runs, or a write where the last one was no longer before the last ACK than `ack_delay`.
    /// Then the age is at least `ack_recv` and at most `data_recv`, as data can't arrive after a FIN.
    /// Source: net/ipv4/tcp_input.c and tcp_timer.c, Linux 6.18.
    pub fn close_wait_age(&self) -> Option<Age> {
        let Times { data_sent, data_recv, ack_recv, ack_delay, carried, .. } = self.times?;
        if self.protocol == Protocol::Unix {
            // Since it was first seen so, and since it last was not ([`Socket::first_seen`]).
            return Some(Age { at_least: ack_recv, at_most: data_recv });
        }
        // Before the first write the time since the last one is that since the handshake.
        let may_be_of_a_write = carried != Some(false) && data_sent <= ack_recv.saturating_add(ack_delay);
        let at_most = if self.keepalive || may_be_of_a_write { data_recv.max(ack_recv) } else { ack_recv };
        Some(Age { at_least: ack_recv, at_most })
    }

    /// The time in its state where two ends of it may be known: in CLOSE_WAIT, or in a process's FIN_WAIT2.
    pub fn span(&self) -> Option<Age> {
        match self.state {
            State::CloseWait => self.close_wait_age(),
            // The timeout is that of what no process has.
            State::FinWait2 if self.inode != 0 => self.closing_age(0),
            _ => None,
        }
    }

    /// A UNIX socket with the age in its state that earlier looks tell: the kernel has none.
    pub fn first_seen(&self, age: Age) -> Socket {
        let Age { at_least, at_most } = age;
        let times = Times {
            data_sent: at_least,
            data_recv: at_most,
            ack_recv: at_least,
            ack_delay: 0,
            stalled: 0,
            carried: None,
        };
        Socket { times: Some(times), ..*self }
    }

    /// Time without data in either direction; a keepalive probe is none.
    pub fn silence(&self) -> Option<u32> {
        // Of a UNIX socket they tell how long it has been without its peer.
        let times = self.times.filter(|_| self.protocol != Protocol::Unix);
        times.map(|times| times.data_sent.min(times.data_recv))
    }

    /// For how long at least data has lain there unread: since the last of it came. A zero window lets no more
    /// in, and hides the peer's FIN. `None`: nothing is unread, or when it came isn't told.
    pub fn unread_age(&self) -> Option<u32> {
        self.waiting_times(self.unread).map(|times| times.data_recv)
    }

    /// For how long the peer has taken nothing of what is to be sent: since the last was sent, probes of its closed
    /// window being no data; or for as long as it has been sent again.
    pub fn unsent_age(&self) -> Option<u32> {
        self.waiting_times(self.unsent).map(|times| times.data_sent.max(times.stalled))
    }

    fn waiting_times(&self, bytes: u32) -> Option<Times> {
        let is_open = self.state == State::Established && self.protocol != Protocol::Unix;
        self.times.filter(|_| is_open && bytes > 0)
    }

    /// [`scope`] of its addresses.
    pub fn scope(&self) -> u32 {
        scope(self.netns, self.local, self.remote)
    }

    /// For how long a socket of ours that is closing waits for its peer.
    ///
    /// FIN_WAIT1, CLOSING and LAST_ACK: for how long it has been sending in vain. FIN_WAIT2 of a
    /// process: since the peer last acknowledged; probes and late window updates hide that. FIN_WAIT2 of none:
    /// what has passed of the `fin_timeout` (net.ipv4.tcp_fin_timeout) after which the kernel ends it.
    pub fn closing_age(&self, fin_timeout: u32) -> Option<Age> {
        let exact = |age| Age { at_least: age, at_most: age };
        match (self.state, self.times) {
            (State::FinWait1 | State::Closing | State::LastAck, Some(times)) => Some(exact(times.stalled)),
            (State::FinWait2, Some(times))
                if self.inode != 0
                    && (self.keepalive || times.data_sent <= times.ack_recv.saturating_add(times.ack_delay)) =>
            {
                Some(Age { at_least: times.ack_recv, at_most: times.data_sent.max(times.ack_recv) })
            }
            (State::FinWait2, Some(times)) => Some(exact(times.ack_recv)),
            (State::FinWait2, None) => self.timer_rest.map(|rest| exact(fin_timeout.saturating_sub(rest))),
            _ => None,
        }
    }
}

impl Socket {
    /// One of which no more is known than its state and ends.
    pub fn bare(state: State, local: Endpoint, remote: Endpoint) -> Socket {
        Socket {
            protocol: Protocol::Tcp,
            state,
            local,
            remote,
            uid: 0,
            inode: 0,
            cookie: None,
            cgroup: None,
            keepalive: false,
            timer_rest: None,
            connected: None,
            unread: 0,
            unsent: 0,
            accept_queue: None,
            times: None,
            interface: 0,
            is_transparent: false,
            netns: 0,
        }
    }

    /// Whether it keeps its port or path without listening or being connected.
    pub fn is_bound(&self) -> bool {
        self.state.is_bound(self.local)
    }

    /// Whether it waits in a listener's accept queue, or is about to: only there what no process has is in these states.
    pub fn is_waiting(&self) -> bool {
        self.state.is_waiting(self.inode)
    }
}

impl State {
    /// [`Socket::is_bound`].
    pub fn is_bound(self, local: Endpoint) -> bool {
        self == State::Close && (local.port != 0 || local.unix().is_some())
    }

    /// [`Socket::is_waiting`].
    pub fn is_waiting(self, inode: u64) -> bool {
        inode == 0 && matches!(self, State::Established | State::CloseWait | State::SynRecv)
    }
}

/// Where a connection's addresses hold: each network namespace has its own loopback, other connections
/// may lead from one to another (0).
pub fn scope(netns: u32, local: Endpoint, remote: Endpoint) -> u32 {
    if local.ip.is_loopback() || remote.ip.is_loopback() { netns } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_kernel_numbers_agree() {
        for (index, (state, name)) in State::NAMES.into_iter().enumerate() {
            assert_eq!(state as usize, index + 1);
            assert_eq!(State::from_kernel(state as u8), Some(state));
            assert_eq!(name.parse(), Ok(state));
        }
        assert_eq!(State::from_kernel(12), Some(State::SynRecv));
        assert_eq!(State::from_kernel(0), None);
        assert_eq!(State::from_kernel(13), None);
        for (text, state) in [
            ("time-wait", State::TimeWait),
            ("Time_Wait", State::TimeWait),
            ("ESTAB", State::Established),
            ("fin-wait-2", State::FinWait2),
            ("listening", State::Listen),
            ("UNCONN", State::Close),
            ("06", State::TimeWait),
            ("0a", State::Listen),
            ("0C", State::SynRecv),
        ] {
            assert_eq!(text.parse(), Ok(state), "{text}");
        }
        for bad in ["", "6", "00", "0D", "+6", "TIMEWAIT", "CLOSE_WAITS"] {
            assert!(bad.parse::<State>().unwrap_err().contains("CLOSE_WAIT"), "{bad}");
        }
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address() {
        let mapped = Endpoint::new("::ffff:10.1.2.3".parse().unwrap(), 80);
        assert_eq!(mapped.to_string(), "10.1.2.3:80");
        assert_eq!(Endpoint::new("::1".parse().unwrap(), 80).to_string(), "[::1]:80");
    }

    fn times(data_sent: u32, data_recv: u32, ack_recv: u32) -> Times {
        Times { data_sent, data_recv, ack_recv, stalled: 9, carried: Some(true), ack_delay: 1000 }
    }

    #[test]
    fn probes_and_writes_make_the_age_a_span() {
        let end = Endpoint::new("127.0.0.1".parse().unwrap(), 1);
        let held = Socket { inode: 1, ..Socket::bare(State::CloseWait, end, end) };
        let mut socket = Socket { times: Some(times(4_000, 5_000, 70)), ..held };
        assert_eq!(socket.close_wait_age(), Some(Age { at_least: 70, at_most: 70 }));
        socket.keepalive = true;
        assert_eq!(socket.close_wait_age(), Some(Age { at_least: 70, at_most: 5_000 }));
        socket.keepalive = false;
        socket.times = Some(times(100, 5_000, 70));
        assert_eq!(socket.close_wait_age(), Some(Age { at_least: 70, at_most: 5_000 }));
        // Nothing was ever written.
        socket.times = Some(Times { carried: Some(false), ..times(100, 5_000, 70) });
        assert_eq!(socket.close_wait_age(), Some(Age { at_least: 70, at_most: 70 }));
        // A window update, of a peer that reads late.
        socket.times = Some(Times { ack_delay: 9_000, ..times(4_000, 5_000, 70) });
        assert_eq!(socket.close_wait_age(), Some(Age { at_least: 70, at_most: 5_000 }));
        socket.times = None;
        assert_eq!(socket.close_wait_age(), None);
        assert_eq!(socket.closing_age(60_000), None);
        (socket.state, socket.timer_rest) = (State::FinWait2, Some(45_000));
        assert_eq!(socket.closing_age(60_000), Some(Age { at_least: 15_000, at_most: 15_000 }));
        socket.times = Some(times(4_000, 5_000, 70));
        assert_eq!(socket.silence(), Some(4_000));
        let open = Socket { unread: 1, unsent: 1, state: State::Established, ..socket };
        assert_eq!((open.unread_age(), open.unsent_age()), (Some(5_000), Some(4_000)));
        assert_eq!((socket.unread_age(), Socket { unread: 0, ..open }.unread_age()), (None, None));
        let received = Socket { times: Some(times(5_000, 3_000, 70)), ..socket };
        assert_eq!(received.silence(), Some(3_000));
        assert_eq!(socket.closing_age(60_000), Some(Age { at_least: 70, at_most: 70 }));
        socket.keepalive = true;
        assert_eq!(socket.closing_age(60_000), Some(Age { at_least: 70, at_most: 4_000 }));
        socket.state = State::LastAck;
        assert_eq!(socket.closing_age(60_000), Some(Age { at_least: 9, at_most: 9 }));
    }
}
