//! TCP states and sets of them.

use std::fmt;
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

    /// As ours, as ss(8) and netstat(8) write it, in any case (`TIME_WAIT`, `time-wait`, `ESTAB`), or
    /// as `/proc/net/tcp` does (`06`).
    fn from_str(text: &str) -> Result<Self, String> {
        let written = text.to_ascii_uppercase().replace('-', "_");
        let name = match written.as_str() {
            "ESTAB" => "ESTABLISHED",
            "FIN_WAIT_1" => "FIN_WAIT1",
            "FIN_WAIT_2" => "FIN_WAIT2",
            "CLOSED" | "UNCONN" => "CLOSE",
            "LISTENING" => "LISTEN",
            // The kernel's name for a connection that is no socket yet: its tables show it as SYN_RECV.
            "NEW_SYN_RECV" => "SYN_RECV",
            name => name,
        };
        let in_hex = || {
            u8::from_str_radix(text, 16)
                .ok()
                .filter(|_| text.len() == 2 && text.starts_with('0'))
                .and_then(State::from_kernel)
        };
        let known = Self::NAMES.iter().find(|(_, known)| *known == name).map(|(state, _)| *state);
        known.or_else(in_hex).ok_or_else(|| {
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
    pub const ALL_AND_BOUND: StateSet = StateSet(Self::ALL.0 | Self::BOUND.0);
    /// That alone: neither the listeners' table nor the connections' is walked for it.
    pub const BOUND: StateSet = StateSet(1 << 13);

    /// Whether what is bound without listening or being connected is in it.
    pub fn has_bound(self) -> bool {
        self.0 & Self::BOUND.0 != 0
    }

    pub const fn of(states: &[State]) -> StateSet {
        let (mut mask, mut at) = (0, 0);
        while at < states.len() {
            mask |= 1 << states[at] as u8;
            at += 1;
        }
        StateSet(mask)
    }

    pub fn without(self, state: State) -> StateSet {
        StateSet(self.0 & !(1 << state as u8))
    }

    /// Without all of `others`.
    #[must_use]
    pub fn less(self, others: StateSet) -> StateSet {
        StateSet(self.0 & !others.0)
    }

    pub fn with(self, state: State) -> StateSet {
        StateSet(self.0 | 1 << state as u8)
    }

    pub fn contains(self, state: State) -> bool {
        self.0 & (1 << state as u8) != 0 || (state == State::Close && self.has_bound())
    }

    /// Whether there is none beside `states`.
    pub fn is_within(self, states: &[State]) -> bool {
        self.0 & !StateSet::of(states).0 == 0
    }

    pub fn mask(self) -> u32 {
        u32::from(self.0)
    }
}
