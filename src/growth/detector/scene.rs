//! What a witness looks at, and what it finds.

use super::habits::Habits;
use super::series::Series;
use super::table::Table;
use serde::{Deserialize, Serialize};

/// Late parts of a leak, as shares of the whole: each may have a pace of its own.
const LATE: [f64; 2] = [0.5, 0.25];
/// Yet later ones: as short a pace says little of what is far ahead.
const LATEST: [f64; 3] = [0.125, 0.0625, 0.03125];
/// It counts where the limit would be reached within this many times as long.
const REACH: f64 = 4.0;
/// Fewer connections are no pace.
const FEWEST: f64 = 6.0;

/// Until a day has been seen stakes are this much larger: pools grow to their size, and what is closed late is in its first round.
const FIRST_DAY: f64 = 1.5;
const DAY: f64 = 86_400.0;
/// But for limits that are nearer, in seconds: there is no time to wait for more.
const NEAR: f64 = 3600.0;

/// Everything known at one sample.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// Seconds on the detector's clock.
    pub now: f64,
    /// Instant of the last restart, or of the first sample.
    pub epoch: f64,
    /// Seconds between two checks, as scheduled.
    pub interval: f64,
    /// Seconds after which a connection counts as settled.
    pub settled_age: f64,
    /// Connections that the service can hold.
    pub limit: f64,
    /// Connections that count against the limit.
    pub total: f64,
    /// Connections that one socket of the table stands for; above 1 where only a sample of them is listed.
    pub scale: f64,
    pub table: &'a Table,
    pub habits: &'a Habits,
    /// Connections against the limit, by sample.
    pub totals: &'a Series,
    /// Traffic, by sample: young connections and those in TIME_WAIT.
    pub traffic: &'a Series,
}

impl Scene<'_> {
    /// By how many settled sockets `group` exceeds its own peak of the `span` seconds before `onset`.
    pub fn grown(&self, group: u32, onset: f64, span: f64) -> f64 {
        self.habits.groups.get(&group).map_or(0.0, |group| self.above_peak(&group.settled, onset, span))
    }

    /// By how many places it does.
    pub fn grown_in_places(&self, group: u32, onset: f64, span: f64) -> f64 {
        self.habits.groups.get(&group).map_or(0.0, |group| self.above_peak(&group.held, onset, span))
    }

    fn above_peak(&self, series: &Series, onset: f64, span: f64) -> f64 {
        series.last().unwrap_or(0.0) - series.peak((onset - span).max(self.epoch), onset)
    }

    /// The growth of the service as a whole, sockets of any age.
    pub fn grown_in_all(&self, onset: f64, span: f64) -> f64 {
        (self.total - self.totals.peak((onset - span).max(self.epoch), onset)) / self.scale
    }

    /// Places of `group` that are taken, but for those of short requests.
    pub fn held(&self, group: u32) -> f64 {
        self.habits.groups.get(&group).and_then(|group| group.held.last()).unwrap_or(0.0)
    }

    /// Connections of `group` that were seen to be closed.
    pub fn closed(&self, group: u32) -> f64 {
        self.habits.groups.get(&group).map_or(0.0, |group| group.closed)
    }

    /// Connections that the service can still hold.
    pub fn room(&self) -> f64 {
        self.limit - self.total
    }

    /// The `stake` of what leaks at a `pace` in connections per second, where it rests on what isn't known.
    pub fn stake(&self, stake: f64, pace: f64) -> f64 {
        if self.now < DAY && self.room() > NEAR * pace { FIRST_DAY * stake } else { stake }
    }

    /// Which share of the headroom that was there without them `sockets` have taken.
    pub fn share_taken(&self, sockets: f64) -> f64 {
        let taken = sockets * self.scale;
        taken / (self.room().max(0.0) + taken).max(1.0)
    }
}

/// Which kind of evidence speaks of a leak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Witness {
    /// Silent sockets that outlive every usual silence.
    Silence,
    /// Lasting sockets, busy ones too, that pile up and are never closed.
    Cohort,
    /// A rush of silent newcomers near the limit.
    Backstop,
}

/// How fast something leaks, in connections per second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pace {
    /// Since the onset.
    pub whole: f64,
    /// The fastest of the whole, the last half, the last quarter and yet shorter ends of it: leaks follow the load, and deploys widen them.
    pub fastest: f64,
    /// The slowest of the first three of them.
    pub slowest: f64,
}

impl Pace {
    pub fn steady(rate: f64) -> Self {
        Self { whole: rate, fastest: rate, slowest: rate }
    }

    /// The pace of what leaked at `instants`, from the first of them to `end`, each standing for `scale` connections; `room`: connections up to the limit.
    pub fn of(instants: impl Iterator<Item = f64> + Clone, end: f64, scale: f64, room: f64) -> Self {
        let onset = instants.clone().next().unwrap_or(end);
        let span = (end - onset).max(1.0);
        let since = |from: f64| instants.clone().filter(|&at| at > from).count() as f64;
        let rate = |count: f64, length: f64| count.max(0.0) / length * scale;
        let mut pace = Self::steady(rate(instants.clone().count() as f64 - 1.0, span));
        // They come one by one: a count of n is uncertain by about its root.
        for length in LATE.map(|part| part * span) {
            let count = since(end - length);
            pace.fastest = pace.fastest.max(rate(count - count.sqrt(), length));
            pace.slowest = pace.slowest.min(rate(count + count.sqrt().max(1.0), length));
        }
        for length in LATEST.map(|part| part * span) {
            let count = since(end - length);
            let late = rate(count - count.sqrt(), length);
            if count >= FEWEST && room <= REACH * length * late {
                pace.fastest = pace.fastest.max(late);
            }
        }
        pace
    }

    pub fn plus(self, other: Self) -> Self {
        Self {
            whole: self.whole + other.whole,
            fastest: self.fastest + other.fastest,
            slowest: self.slowest + other.slowest,
        }
    }
}

/// A leak as one witness sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    pub witness: Witness,
    pub group: u32,
    /// Instant on the detector's clock.
    pub onset: f64,
    pub pace: Pace,
    /// Seconds for which this witness is blind: what leaked since is not among the suspects.
    pub bar: f64,
    /// Cookies.
    pub suspects: Vec<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One an hour for ten days, then one in five minutes for two hours.
    #[test]
    fn a_late_pace_counts_where_the_limit_is_as_near() {
        let slow = (0..240).map(|hour| f64::from(hour) * 3600.0);
        let fast = (1..=24).map(|look| 240.0 * 3600.0 + f64::from(look) * 300.0);
        let instants: Vec<f64> = slow.chain(fast).collect();
        let fastest = |room| Pace::of(instants.iter().copied(), 242.0 * 3600.0, 1.0, room).fastest * 3600.0;
        assert!((2.5..4.0).contains(&fastest(40.0)), "29 in the last 7.6 hours: {}", fastest(40.0));
        assert!(fastest(400.0) < 1.5, "that far ahead it is the pace of days: {}", fastest(400.0));
    }
}
