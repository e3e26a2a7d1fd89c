//! Tells a connection leak from load, early, and says when it runs out of room. Pure: no clock, no I/O.
//!
//! # The idea
//! A leaked socket falls silent and nobody ever comes back for it, while its owner goes on opening others. Counts cannot
//! show that, the kernel's socket table can: cookies give sockets an identity from run to run, idle times give silences
//! their length. So per key (owner group, state) a leak is what satisfies all of these at once:
//!
//! 1. *Silence without end*: sockets silent for longer than silences of this key ever last. The bar is learned from the
//!    silences that did end, by traffic or by a close; those that a restart cut short teach nothing.
//! 2. *It goes on*: the survivors fell silent at four or more distinct instants, without a long pause, up to now. A
//!    warm-up, a batch, a deploy is one instant and drops out.
//! 3. *They are additional*: the group stands above its peak before the first of them by nearly their number. A pool
//!    that lies idle at night has the same sockets as by day.
//! 4. *The stake fits what we know*: where closing and silence are known habits here, a few survivors suffice. The less is
//!    known, the larger the share of the headroom that must be gone before we speak: the `STAKE_…` constants, and more on
//!    the first day.
//!
//! Leaks that never fall silent, because heartbeats go on, show as a growing cohort of lasting sockets (`cohort`), and
//! leaks of a minute as a rush toward the limit (`backstop`). Growth in step with traffic is load.
//!
//! It is blind to leaks of fewer than four sockets, and slow where healthy sockets are as silent and as old as leaked ones.

mod alarm;
mod backstop;
mod clock;
mod cohort;
mod forecast;
mod habits;
mod histogram;
mod places;
mod rise;
mod sample;
mod scene;
mod series;
pub mod stuck;
mod survivors;
mod table;
mod tracked;

use alarm::Alarm;
use clock::Clock;
use cohort::Held;
pub use forecast::{Leaking, TimeLeft, time_left};
use habits::Habits;
pub use sample::{Key, Sample, Socket, State};
pub use scene::Witness;
use scene::{Finding, Scene};
use serde::{Deserialize, Serialize};
pub use series::Series;
use survivors::Lane;
use table::Table;
use tracked::Tracked;

/// Sockets of the smallest leak that is seen.
pub const FEWEST: u64 = 4;
/// Seconds of silence that ordinary requests and heartbeats stay below; two minutes is above common keep-alives.
const SILENT: f64 = 120.0;
/// Checks in a row that must have seen a silence, where checks are rare.
const SILENT_CHECKS: f64 = 2.0;
/// Seconds of silence in a leak so fast that there is no time to wait for [`SILENT`].
const SILENT_FAST: f64 = 20.0;
/// Share of the headroom a fast leak must have taken: sudden load is common, a fifth of all room at once is not.
const STAKE_FAST: f64 = 0.2;
/// The stake where half of the habits are known: silences have not been watched for long enough to know their end, or
/// sockets come back from silence but hardly any is ever closed, as in a pool, which may still be growing.
const STAKE_HALF_KNOWN: f64 = 0.25;
/// The stake where neither closes nor returns are known: these connections may be meant to stay.
const STAKE_UNKNOWN: f64 = 0.5;
/// The stake for sockets that are in use: nothing but their growth speaks against them.
const STAKE_BUSY: f64 = 0.5;
/// Share of the limit that silent newcomers hold in a rush.
const STAKE_RUSH: f64 = 0.2;
/// Seconds after which a connection counts as settled; a request is over by then.
const SETTLED: f64 = 120.0;
/// Samples before the first judgement.
const LEARNING: u64 = 4;

/// What the detector thinks of a sample.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Too few samples yet.
    Learning {
        samples: u64,
    },
    Steady,
    /// More connections than hours ago, and nothing that speaks of a leak; connections per second.
    Growing {
        rate: f64,
    },
    Leak(Leak),
}

/// A leak, for the one line that an operator reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Leak {
    /// Owner of most of what leaks.
    pub group: u32,
    pub witness: Witness,
    /// Seconds ago.
    pub onset: f64,
    /// Connections per second.
    pub rate: f64,
    /// Sockets that speak for it.
    pub suspects: usize,
    pub left: TimeLeft,
}

/// All that is remembered between two samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detector {
    interval: f64,
    limit: f64,
    samples: u64,
    clock: Clock,
    epoch: f64,
    table: Table,
    habits: Habits,
    totals: Series,
    traffic: Series,
    alarm: Option<Alarm>,
}

impl Detector {
    /// `interval`: seconds between two checks as scheduled; `limit`: connections that the service can hold.
    pub fn new(interval: f64, limit: u32) -> Self {
        Self {
            interval,
            limit: f64::from(limit),
            samples: 0,
            clock: Clock::default(),
            epoch: 0.0,
            table: Table::default(),
            habits: Habits::default(),
            totals: Series::default(),
            traffic: Series::default(),
            alarm: None,
        }
    }

    /// For a schedule or a limit that was changed since.
    pub fn set_pace(&mut self, interval: f64, limit: u32) {
        self.interval = interval;
        self.limit = f64::from(limit);
    }

    /// Cookies of the last sample, in order.
    pub fn cookies(&self) -> impl Iterator<Item = u64> {
        self.table.iter().map(|socket| socket.cookie)
    }

    /// Seconds of silence at the last sample, by cookie.
    pub fn silences(&self) -> impl Iterator<Item = (u64, f64)> {
        self.table
            .iter()
            .filter(|socket| socket.key.state == State::CloseWait)
            .map(|socket| (socket.cookie, socket.idle))
    }

    /// Cookies of the sockets that speak for the leak.
    pub fn suspects(&self) -> impl Iterator<Item = u64> {
        self.table.iter().filter(|socket| socket.suspect).map(|socket| socket.cookie)
    }

    /// Forgets sockets that are not sampled any more, as if they had never been.
    pub fn keep(&mut self, sampled: impl Fn(u64) -> bool) {
        self.table.keep(sampled);
    }

    /// Whether [`Detector::step`] will learn from it: of two runs in one instant only the first counts.
    pub fn is_due(&self, sample: &Sample) -> bool {
        self.clock.is_due(sample)
    }

    /// Takes one sample and judges it.
    pub fn step(&mut self, sample: &Sample) -> Verdict {
        if self.is_due(sample) {
            let elapsed = self.clock.since_last(sample).unwrap_or(0.0);
            let asleep = self.table.asleep(&sample.sockets, elapsed, self.interval);
            let tick = self.clock.tick(sample, asleep);
            self.samples = self.samples.saturating_add(1);
            self.observe(sample, &tick);
            self.judge(sample, tick.elapsed);
        }
        self.verdict()
    }

    /// Seconds since the first sample.
    pub fn watched(&self) -> f64 {
        self.clock.now
    }

    /// Bytes of history that the detector holds, the socket table apart.
    pub fn bytes(&self) -> usize {
        self.habits.bytes() + self.totals.bytes() + self.traffic.bytes()
    }

    fn observe(&mut self, sample: &Sample, tick: &clock::Tick) {
        let now = self.clock.now;
        let changes = self.table.step(&sample.sockets, now, tick, self.interval);
        if tick.restarted || changes.wiped {
            self.epoch = now;
            self.alarm = None;
        }
        let settled = self.settled_age();
        self.habits.learn(&changes, &self.table, now, tick.elapsed, settled);
        let young = self.table.iter().filter(|socket| socket.birth_seen && !socket.keeps_place(now, settled)).count();
        self.traffic.push(now, young as f64 + f64::from(sample.time_wait));
        self.totals.push(now, sample.total());
    }

    fn judge(&mut self, sample: &Sample, elapsed: f64) {
        if self.samples <= LEARNING {
            return;
        }
        let scene = self.scene(sample);
        let held = self.alarm.as_ref().and_then(|alarm| alarm.standing(&scene));
        let findings = witnesses(&scene, held.as_ref());
        let found = Alarm::raise(&findings, &mut self.table, self.clock.now);
        if let Some(mut alarm) = found.or_else(|| held.clone()) {
            let now = self.clock.now;
            held.iter().for_each(|held| alarm.go_on(held));
            alarm.follow(self.forecast(&alarm), now, elapsed);
            self.alarm = Some(alarm);
        } else {
            self.alarm = None;
        }
    }

    fn forecast(&self, alarm: &Alarm) -> TimeLeft {
        let Alarm { onset, found, pace, suspects, .. } = *alarm;
        let leaking = Leaking { onset, rate: pace.whole, evidence: suspects as f64 };
        forecast::time_left_at(pace, found, leaking, &self.totals, self.limit, self.clock.now)
    }

    fn scene(&self, sample: &Sample) -> Scene<'_> {
        Scene {
            now: self.clock.now,
            epoch: self.epoch,
            interval: self.interval,
            settled_age: self.settled_age(),
            limit: self.limit,
            total: sample.total(),
            scale: (sample.total() / sample.sockets.len().max(1) as f64).max(1.0),
            table: &self.table,
            habits: &self.habits,
            totals: &self.totals,
            traffic: &self.traffic,
        }
    }

    /// At two checks a minute apart a request of half a minute looks like a minute old.
    fn settled_age(&self) -> f64 {
        settled_age(self.interval)
    }

    /// On the last sample.
    pub fn verdict(&self) -> Verdict {
        let now = self.clock.now;
        if let Some(alarm) = &self.alarm {
            let [likely, earliest] = [alarm.full, alarm.earliest].map(|full| full - now);
            let latest = self.forecast(alarm).latest.max(likely);
            let left = TimeLeft { likely, earliest: earliest.min(likely), latest };
            return Verdict::Leak(Leak {
                group: alarm.group,
                witness: alarm.witness,
                onset: now - alarm.onset,
                rate: alarm.pace.whole,
                suspects: alarm.suspects,
                left,
            });
        }
        if self.samples <= LEARNING {
            return Verdict::Learning { samples: self.samples };
        }
        let growth = forecast::growth(&self.totals, now).or_else(|| rise::rate(&self.totals, now));
        growth.map_or(Verdict::Steady, |rate| Verdict::Growing { rate })
    }
}

fn settled_age(interval: f64) -> f64 {
    SETTLED.max(2.0 * interval)
}

/// Asks the witnesses in order of trust; the weaker ones only where the stronger are silent.
fn witnesses(scene: &Scene, held: Option<&Alarm>) -> Vec<Finding> {
    let patient = Lane { floor: SILENT.max(SILENT_CHECKS * scene.interval), stake: 0.0, hasty: false };
    let fast = Lane { floor: SILENT_FAST, stake: STAKE_FAST, hasty: true };
    let mut quiet: Vec<&Tracked> =
        scene.table.iter().filter(|socket| socket.silence_seen && socket.idle >= SILENT_FAST / 4.0).collect();
    quiet.sort_unstable_by(|a, b| a.key.cmp(&b.key).then(a.silent_since.total_cmp(&b.silent_since)));
    let keys = quiet.chunk_by(|a, b| a.key == b.key);
    let find = |key: &[&Tracked]| survivors::find(scene, key, patient).or_else(|| survivors::find(scene, key, fast));
    let mut findings: Vec<Finding> = keys.filter_map(find).collect();
    if findings.is_empty() && held.is_none_or(|alarm| alarm.witness == Witness::Cohort) {
        findings.extend(cohort::find(scene, Held::Sockets));
        if findings.is_empty() {
            findings.extend(cohort::find(scene, Held::Places));
        }
    }
    if findings.is_empty() && held.is_none() {
        findings.extend(backstop::find(scene));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a damaged history may have it.
    #[test]
    fn a_count_of_samples_at_its_end_does_not_begin_anew() {
        let mut detector = Detector { samples: u64::MAX, ..Detector::new(60.0, 100) };
        detector.step(&Sample { uptime: 60.0, ..Sample::default() });
        assert_eq!(detector.samples, u64::MAX);
    }
}
