//! The last witness: a rush toward the limit, far above all of the past, by newcomers that fall silent.

use super::histogram;
use super::scene::{Finding, Pace, Scene, Witness};
use super::series::Point;
use super::tracked::Tracked;
use super::{STAKE_RUSH, State};

/// Near the limit: so much of it is in use.
const NEAR: f64 = 0.85;
/// Above all of the past by this share of the limit; a full fixed pool never is.
const ABOVE: f64 = 0.1;
/// While the total rises it may dip by this share of the limit: noise.
const DIP: f64 = 0.05;

/// Looks for a leak that leaves no time to watch it.
pub fn find(scene: &Scene) -> Option<Finding> {
    if scene.total < NEAR * scene.limit {
        return None;
    }
    let (onset, low) = rise(scene)?;
    // Without a past before the rise nobody knows what is much.
    scene.totals.mean(0.0, onset - 1.0)?;
    if scene.total < low.max(scene.totals.peak(0.0, onset - 1.0)) + ABOVE * scene.limit {
        return None;
    }
    let newcomers = || scene.table.iter().filter(|socket| socket.birth_seen && socket.born >= onset);
    let idle = |socket: &&Tracked| socket.idle >= histogram::SHORTEST || socket.key.state == State::CloseWait;
    let silent: Vec<&Tracked> = newcomers().filter(idle).collect();
    if silent.len() * 2 < newcomers().count() || scene.scale * (silent.len() as f64) < STAKE_RUSH * scene.limit {
        return None;
    }
    Some(Finding {
        witness: Witness::Backstop,
        group: silent.first()?.key.group,
        onset,
        pace: Pace::steady((scene.total - low) / (scene.now - onset).max(1.0)),
        bar: 0.0,
        suspects: silent.iter().map(|socket| socket.cookie).collect(),
    })
}

/// When the total last stood near the foot of the present rise, and how many connections that were.
fn rise(scene: &Scene) -> Option<(f64, f64)> {
    let dip = DIP * scene.limit;
    let mut low = scene.total;
    let rising: Vec<&Point> = scene
        .totals
        .between(0.0, scene.now)
        .iter()
        .rev()
        .take_while(|point| {
            let rises = f64::from(point.max) <= low + dip;
            low = low.min(f64::from(point.mean));
            rises
        })
        .collect();
    rising.iter().find(|point| f64::from(point.mean) <= low + dip).map(|foot| (foot.at, low))
}
