//! How long a leak stays reported once it was found.

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
/// Seconds, or share of the time left, in which a better forecast is believed.
const LATELY: f64 = 1800.0;
const HASTE: f64 = 0.25;

/// A leak that is being reported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    pub witness: Witness,
    pub group: u32,
    /// Instant on the detector's clock.
    pub onset: f64,
    pub pace: Pace,
    /// Sockets that gave evidence when it was last found.
    pub suspects: usize,
    /// Instant on the detector's clock at which it was last found.
    pub found: f64,
    /// Instant on the detector's clock at which the limit is told to be reached; infinite: not told yet.
    pub full: f64,
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
            pace: findings.iter().map(|finding| finding.pace).reduce(Pace::plus)?,
            suspects: cookies.len(),
            found: now,
            full: f64::INFINITY,
        })
    }

    /// Smooths the instant at which the limit is reached: an earlier one at once, a later one by and by, so that
    /// a state doesn't flap with each estimate. `elapsed`: seconds since the sample before.
    pub fn smooth(&mut self, full: f64, now: f64, elapsed: f64) {
        let patience = LATELY.max(HASTE * (full - now));
        self.full = match full < self.full {
            true => full,
            false => self.full + (full - self.full) * (1.0 - (-elapsed / patience).exp()),
        };
    }

    /// Whether it still stands although no witness has found it at this sample.
    pub fn stands(&self, scene: &Scene) -> bool {
        let believed = (self.found - self.onset).clamp(SHORTEST, LONGEST).max(CHECKS * scene.interval);
        if scene.now - self.found > believed {
            return false;
        }
        let present = scene.table.iter().filter(|socket| socket.suspect).count();
        present as f64 >= STANDING * self.suspects as f64
    }
}
