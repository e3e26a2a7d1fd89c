//! One TCP socket as the kernel's tables show it: values only.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::str::FromStr;

/// TCP states with the kernel's numbers (include/net/tcp_states.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum State {
    Established = 1,
    SynSent = 2,
    SynRecv = 3,
    FinWait1 = 4,
    FinWait2 = 5,
    TimeWait = 6,
    Close = 7,
    CloseWait = 8,
    LastAck = 9,
    Listen = 10,
    Closing = 11,
}

impl State {
    /// Every state with the name that profiles, options and outputs use.
    pub const NAMES: [(State, &'static str); 11] = [
        (State::Established, "ESTABLISHED"),
        (State::SynSent, "SYN_SENT"),
        (State::SynRecv, "SYN_RECV"),
        (State::FinWait1, "FIN_WAIT1"),
        (State::FinWait2, "FIN_WAIT2"),
        (State::TimeWait, "TIME_WAIT"),
        (State::Close, "CLOSE"),
        (State::CloseWait, "CLOSE_WAIT"),
        (State::LastAck, "LAST_ACK"),
        (State::Listen, "LISTEN"),
        (State::Closing, "CLOSING"),
    ];

    /// The state with the kernel's number. 12 (NEW_SYN_RECV) is the request half of SYN_RECV.
    pub fn from_kernel(number: u8) -> Option<State> {
        if number == 12 {
            return Some(State::SynRecv);
        }
        let (state, _) = Self::NAMES.get(usize::from(number).checked_sub(1)?)?;
        Some(*state)
    }

    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize - 1].1
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for State {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::NAMES.iter().find(|(_, name)| *name == text);
        known.map(|(state, _)| *state).ok_or_else(|| {
            let names: Vec<_> = Self::NAMES.iter().map(|(_, name)| *name).collect();
            format!("unknown TCP state '{text}'; known are {}", names.join(", "))
        })
    }
}

/// A set of states as the kernel's bit mask: bit n stands for state n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateSet(u16);

impl StateSet {
    /// All states but no other bits: bit 13 (BOUND_INACTIVE) would walk one more kernel table.
    pub const ALL: StateSet = StateSet(0xfff);
    /// And what is bound without listening or being connected, where the kernel tells it (6.8); it
    /// is shown in state CLOSE.
    pub const ALL_AND_BOUND: StateSet = StateSet(Self::ALL.0 | 1 << 13);

    pub fn of(states: &[State]) -> StateSet {
        StateSet(states.iter().fold(0, |mask, state| mask | 1 << *state as u8))
    }

    pub fn contains(self, state: State) -> bool {
        self.0 & (1 << state as u8) != 0
    }

    pub fn mask(self) -> u32 {
        u32::from(self.0)
    }
}

/// Which end of a connection a socket is, seen from the service's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The local port is the service's: the service's own end.
    Server,
    /// The remote port is the service's: the application's end.
    Client,
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
        [Side::Server, Side::Client, Side::Both]
            .into_iter()
            .find(|side| side.name() == text)
            .ok_or_else(|| format!("unknown side '{text}'; use server, client or both"))
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
            IpAddr::V4(ip) => write!(f, "{ip}:{}", self.port),
            IpAddr::V6(ip) => write!(f, "[{ip}]:{}", self.port),
        }
    }
}

/// Milliseconds since the last events on a socket, from `struct tcp_info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Since data was last sent, `tcpi_last_data_sent`.
    pub data_sent: u32,
    /// Since data last arrived, `tcpi_last_data_recv`. A FIN without data doesn't touch it.
    pub data_recv: u32,
    /// Since any ACK last arrived, `tcpi_last_ack_recv`. A FIN carries one.
    pub ack_recv: u32,
}

/// What is known of an age, in milliseconds. Both ends are equal where it is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age {
    pub at_least: u32,
    pub at_most: u32,
}

/// One socket of one source. Which fields a source can't know is said at each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
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
    /// /proc doesn't tell them.
    pub times: Option<Times>,
    /// Where several network namespaces are looked at, the inode of this one's `net/tcp`: each has
    /// its own 127.0.0.1. 0: the only one.
    pub netns: u32,
}

impl Socket {
    /// Time since the peer's FIN for a socket in CLOSE_WAIT.
    ///
    /// The FIN's own ACK restarts `ack_recv`, so that is the age, exactly, unless something was
    /// acknowledged later by a peer that closed only its sending half: a keepalive probe of ours
    /// where that timer runs, or a write where the last one was no longer before the last ACK than
    /// a round trip. Then the age is at least `ack_recv` and at most `data_recv`, as data can't
    /// arrive after a FIN. Source: net/ipv4/tcp_input.c and tcp_timer.c, Linux 6.18.
    pub fn close_wait_age(&self) -> Option<Age> {
        const LONG_ROUND_TRIP: u32 = 1000;
        let Times { data_sent, data_recv, ack_recv } = self.times?;
        let may_be_of_a_write = data_sent <= ack_recv.saturating_add(LONG_ROUND_TRIP);
        let at_most = if self.keepalive || may_be_of_a_write { data_recv.max(ack_recv) } else { ack_recv };
        Some(Age { at_least: ack_recv, at_most })
    }
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
        assert!("close_wait".parse::<State>().unwrap_err().contains("CLOSE_WAIT"));
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address() {
        let mapped = Endpoint::new("::ffff:10.1.2.3".parse().unwrap(), 80);
        assert_eq!(mapped.to_string(), "10.1.2.3:80");
        assert_eq!(Endpoint::new("::1".parse().unwrap(), 80).to_string(), "[::1]:80");
    }

    #[test]
    fn probes_and_writes_make_the_age_a_span() {
        let end = Endpoint::new("127.0.0.1".parse().unwrap(), 1);
        let mut socket = Socket {
            state: State::CloseWait,
            local: end,
            remote: end,
            uid: 0,
            inode: 1,
            cookie: None,
            cgroup: None,
            keepalive: false,
            timer_rest: None,
            times: Some(Times { data_sent: 4_000, data_recv: 5_000, ack_recv: 70 }),
            netns: 0,
        };
        assert_eq!(socket.close_wait_age(), Some(Age { at_least: 70, at_most: 70 }));
        socket.keepalive = true;
        assert_eq!(socket.close_wait_age(), Some(Age { at_least: 70, at_most: 5_000 }));
        socket.keepalive = false;
        socket.times = Some(Times { data_sent: 100, data_recv: 5_000, ack_recv: 70 });
        assert_eq!(socket.close_wait_age(), Some(Age { at_least: 70, at_most: 5_000 }));
        socket.times = None;
        assert_eq!(socket.close_wait_age(), None);
    }
}
