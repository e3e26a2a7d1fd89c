//! How long a leak stays reported once it was found.

use super::scene::{Finding, Scene, Witness};
use super::table::Table;
use serde::{Deserialize, Serialize};

/// The leak stands while this share of its suspects is still there and has not moved.
const STANDING: f64 = 0.6;
/// Seconds, or six checks, after which a leak that no witness finds again has stopped: it no longer runs out.
const BELIEVED: f64 = 3600.0;
const CHECKS: f64 = 6.0;

/// A leak that is being reported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    pub witness: Witness,
    pub group: u32,
    /// Instant on the detector's clock.
    pub onset: f64,
    /// Connections per second.
    pub rate: f64,
    /// Sockets that gave evidence when it was last found.
    pub suspects: usize,
    /// Instant on the detector's clock at which it was last found.
    pub found: f64,
}

impl Alarm {
    /// Takes several findings as one leak, named after the fastest; marks the suspects in the table.
    pub fn raise(findings: &[Finding], table: &mut Table, now: f64) -> Option<Self> {
        let worst = findings.iter().max_by(|a, b| a.rate.total_cmp(&b.rate))?;
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
            rate: findings.iter().map(|finding| finding.rate).sum(),
            suspects: cookies.len(),
            found: now,
        })
    }

    /// Whether it still stands although no witness has found it at this sample.
    pub fn stands(&self, scene: &Scene) -> bool {
        if scene.now - self.found > BELIEVED.max(CHECKS * scene.interval) {
            return false;
        }
        let present = scene.table.iter().filter(|socket| socket.suspect).count();
        present as f64 >= STANDING * self.suspects as f64
    }
}
