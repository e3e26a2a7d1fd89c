//! One socket, as it is followed from sample to sample.

use super::histogram::SHORTEST;
use super::{Key, State};
use serde::{Deserialize, Serialize};

/// One live socket. Instants are seconds on the detector's clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tracked {
    pub cookie: u64,
    pub key: Key,
    /// Latest instant at which it can have been opened.
    pub born: f64,
    /// False for what was already there at the first sample.
    pub birth_seen: bool,
    /// Its last data, or the FIN of its peer.
    pub silent_since: f64,
    /// Seconds of silence at the last sample.
    pub idle: f64,
    /// False for a silence that was already going on at the first sample.
    pub silence_seen: bool,
    /// Part of the evidence for the leak that is being reported.
    pub suspect: bool,
    /// Since when its place is taken, by it or by those before it; `None`: from before the first sample.
    pub place: Option<f64>,
}

impl Tracked {
    pub fn age(&self, now: f64) -> f64 {
        now - self.born
    }

    /// Whether its place has been taken for longer than `age` seconds.
    pub fn keeps_place(&self, now: f64, age: f64) -> bool {
        self.place.is_none_or(|since| now - since > age)
    }

    /// Whether it took no other's place.
    pub fn has_own_place(&self) -> bool {
        self.place == Some(self.born)
    }

    /// Whether nobody works with it just now: it is open, and idle for longer than ordinary traffic is.
    pub fn is_unused(&self) -> bool {
        self.key.state == State::Established && self.idle >= SHORTEST
    }
}
