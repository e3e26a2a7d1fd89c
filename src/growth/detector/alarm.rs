//! How long a leak stays reported once it was found.

use super::forecast::TimeLeft;
use super::scene::{Finding, Pace, Scene, Witness};
use super::table::Table;
use serde::{Deserialize, Serialize};

/// The leak stands while this share of its suspects is still there and has not moved.
const STANDING: f64 = 0.6;
/// A leak that no witness finds again rests, at night or at a full limit, and is believed for as long as it had gone on:
/// for an hour or six checks at least, a day at most. Then it has stopped.
const SHORTEST: f64 = 3600.0;
const CHECKS: f64 = 6.0;
const LONGEST: f64 = 86_400.0;
/// Seconds for which the suspects of a leak of lasting connections may be missing: whole pools are closed and opened anew, one
/// after the other; where so few are left, a sweep has closed them.
const RENEWAL: f64 = 1800.0;
/// Share of the time left in which a better forecast is believed.
const HASTE: f64 = 0.25;
/// Seconds in which a better early end is believed, or all of the time left: states are judged by it.
const CALM: f64 = 3600.0;

/// A leak that is being reported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    pub witness: Witness,
    pub group: u32,
    /// Instant on the detector's clock.
    pub onset: f64,
    /// The earliest onset of those that were found while it stood, one after the other.
    pub since: f64,
    pub pace: Pace,
    /// Sockets that gave evidence when it was last found.
    pub suspects: usize,
    /// Instant on the detector's clock at which it was last found.
    pub found: f64,
    /// Instant on the detector's clock at which its suspects were last there.
    pub stood: f64,
    /// Instant on the detector's clock at which the limit is told to be reached; infinite: not told yet.
    pub full: f64,
    /// Likewise, at the earliest.
    pub earliest: f64,
}

impl Alarm {
    /// Takes several findings as one leak, named after the fastest; marks the suspects in the table.
    pub fn raise(findings: &[Finding], table: &mut Table, now: f64) -> Option<Self> {
        let worst = findings.iter().max_by(|a, b| a.pace.whole.total_cmp(&b.pace.whole))?;
        let mut cookies: Vec<u64> = findings.iter().flat_map(|finding| finding.suspects.iter().copied()).collect();
        cookies.sort_unstable();
        cookies.dedup();
        for socket in table.iter_mut() {
            socket.suspect = cookies.binary_search(&socket.cookie).is_ok();
        }
        Some(Self {
            witness: worst.witness,
            group: worst.group,
            onset: worst.onset,
            since: worst.onset,
            pace: findings.iter().map(|finding| finding.pace).reduce(Pace::plus)?,
            suspects: cookies.len(),
            found: now,
            stood: now,
            full: f64::INFINITY,
            earliest: f64::INFINITY,
        })
    }

    /// Follows the instants at which the limit is reached, in `left` seconds from `now`: to earlier ones at once, as a leak may have become
    /// faster, to later ones by and by, so that a state doesn't flap with each estimate. `elapsed`: seconds since the sample before.
    pub fn follow(&mut self, left: TimeLeft, now: f64, elapsed: f64) {
        let follow = |told: f64, left: f64, patience: f64| match now + left < told {
            true => now + left,
            false => (now + left + (told - now - left) * (-elapsed / patience).exp()).max(now),
        };
        self.full = follow(self.full, left.likely, (HASTE * left.likely).max(1.0));
        self.earliest = follow(self.earliest, left.earliest, CALM.max(left.earliest));
    }

    /// What was told before goes on: it is one leak, though a witness may see only the end of it.
    pub fn go_on(&mut self, held: &Alarm) {
        (self.full, self.earliest) = (held.full, held.earliest);
        self.since = self.since.min(held.since);
    }

    /// This alarm, if it still stands although no witness has found it at this sample.
    pub fn standing(&self, scene: &Scene) -> Option<Self> {
        let believed = (self.found - self.since).clamp(SHORTEST, LONGEST).max(CHECKS * scene.interval);
        if scene.now - self.found > believed {
            return None;
        }
        let present = scene.table.iter().filter(|socket| socket.suspect).count();
        let stood = if present as f64 >= STANDING * self.suspects as f64 { scene.now } else { self.stood };
        let held = scene.table.iter().filter(|socket| socket.key.group == self.group).count() as f64;
        let may_renew = self.witness == Witness::Cohort && held >= STANDING * self.suspects as f64;
        let absent = if may_renew { RENEWAL } else { 0.0 };
        (scene.now - stood <= absent).then(|| Self { stood, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alarm(onset: f64, full: f64) -> Alarm {
        let (witness, pace) = (Witness::Silence, Pace::steady(0.1));
        Alarm {
            witness,
            group: 7,
            onset,
            since: onset,
            pace,
            suspects: 9,
            found: 5000.0,
            stood: 5000.0,
            full,
            earliest: full,
        }
    }

    #[test]
    fn a_leak_is_as_old_as_its_first_onset() {
        let mut again = alarm(4000.0, f64::INFINITY);
        again.go_on(&alarm(1000.0, 9000.0));
        assert_eq!((again.onset, again.since, again.full), (4000.0, 1000.0, 9000.0));
    }

    #[test]
    fn an_earlier_end_is_told_at_once_and_a_later_one_by_and_by() {
        let left = |likely, earliest| TimeLeft { likely, earliest, latest: 9000.0 };
        let mut told = alarm(1000.0, 9000.0);
        told.follow(left(2000.0, 1000.0), 5000.0, 60.0);
        assert_eq!((told.full, told.earliest), (7000.0, 6000.0));
        told.follow(left(3940.0, 2940.0), 5060.0, 60.0);
        assert!((7110.0..7130.0).contains(&told.full), "within a quarter of the time left: {}", told.full);
        assert!((6030.0..6035.0).contains(&told.earliest), "within an hour: {}", told.earliest);
        told.follow(left(0.0, 0.0), 5120.0, 60.0);
        assert_eq!((told.full, told.earliest), (5120.0, 5120.0), "nothing is left, and no less");
    }

    /// By what is likely alone it would be critical and not, with each of them.
    #[test]
    fn a_state_does_not_come_and_go_with_each_estimate() {
        let mut told = alarm(1000.0, f64::INFINITY);
        let early = (0..120).map(|minute| {
            let now = 5000.0 + f64::from(minute) * 60.0;
            let least = if minute % 10 == 0 { 600.0 } else { 5400.0 };
            told.follow(TimeLeft { likely: least, earliest: least, latest: 9000.0 }, now, 60.0);
            told.earliest - now < 1200.0
        });
        assert!(early.skip(1).all(|is_near| is_near));
    }
}
