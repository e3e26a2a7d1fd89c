//! Since when the connections rise, how fast, and when the limit is reached.

use super::recording::Recording;
use connleak::growth::detector::{Leak, Leaking, Series, TimeLeft, Verdict, time_left};
use connleak::growth::detector_state::DetectorState;

/// Stretches of time that the search for the onset looks at.
const STRETCHES: usize = 400;
/// Stretches after the onset, at least.
const FEWEST: usize = 4;
/// A rise is more than this many times what is left unexplained.
const NOISE: f64 = 3.0;

/// Whose judgement it is.
#[derive(Clone, Debug, PartialEq)]
pub enum Judge {
    /// The growth check, which saw the sockets: a leak in this group.
    Leak { group: String, suspects: usize },
    /// The growth check, which saw the sockets: load.
    Load,
    /// The counts alone, which look the same for a leak and for load.
    Counts,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    pub judge: Judge,
    /// Seconds since 1970.
    pub onset: f64,
    pub now: f64,
    /// Connections on the trend's line now.
    pub level: f64,
    /// Connections per second.
    pub rate: f64,
    /// `None`: the limit isn't known.
    pub left: Option<TimeLeft>,
}

/// What is known of a recording's growth: by the check's own memory where there is one.
pub fn of(recording: &Recording, memory: Option<&DetectorState>, speed: f64) -> Option<Estimate> {
    match memory.map(|memory| (memory, memory.verdict(speed))) {
        Some((memory, Verdict::Leak(leak))) => leaking(recording, memory, &leak),
        Some((_, Verdict::Growing { .. })) => of_counts(recording, Judge::Load),
        Some(_) => None,
        None => of_counts(recording, Judge::Counts),
    }
}

fn leaking(recording: &Recording, memory: &DetectorState, leak: &Leak) -> Option<Estimate> {
    let now = *recording.times.last()?;
    let group = memory.names.get(&leak.group).cloned();
    Some(Estimate {
        judge: Judge::Leak { group: group.unwrap_or_else(|| "a group that is gone".into()), suspects: leak.suspects },
        onset: now - leak.onset,
        now,
        level: lately(recording),
        rate: leak.rate,
        left: recording.last_limit().map(|_| leak.left),
    })
}

/// The usual count of the last samples: where the trend's line ends.
fn lately(recording: &Recording) -> f64 {
    let known = recording.connections.iter().rev().copied().filter(|count| count.is_finite());
    let mut last: Vec<f64> = known.take(9).collect();
    last.sort_by(f64::total_cmp);
    last.get(last.len() / 2).copied().unwrap_or(0.0)
}

/// Flat until the onset, then straight up: the onset that leaves least unexplained.
fn of_counts(recording: &Recording, judge: Judge) -> Option<Estimate> {
    let from = recording.epoch();
    let samples = recording.times[from..].iter().copied().zip(recording.connections[from..].iter().copied());
    let samples: Vec<(f64, f64)> = samples.filter(|(_, count)| count.is_finite()).collect();
    let points = stretches(&samples);
    let (now, _) = *samples.last()?;
    let bends = points.get(..points.len().checked_sub(FEWEST)?)?;
    let best = bends.iter().map(|(onset, _)| bend(&points, *onset)).min_by(|a, b| a.rest.total_cmp(&b.rest))?;
    let rise = best.rate * (now - best.onset);
    let noise = (best.rest / points.len().saturating_sub(3).max(1) as f64).sqrt();
    if rise < (0.2 * best.base).max(3.0).max(NOISE * noise) {
        return None;
    }
    let left = recording.last_limit().map(|limit| {
        let mut totals = Series::default();
        samples.iter().for_each(|(time, count)| totals.push(time - samples[0].0, *count));
        let onset = best.onset - samples[0].0;
        time_left(Leaking { onset, rate: best.rate, evidence: rise }, &totals, limit, now - samples[0].0)
    });
    Some(Estimate { judge, onset: best.onset, now, level: best.base + rise, rate: best.rate, left })
}

/// Means of equal numbers of samples.
fn stretches(samples: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mean = |stretch: &[(f64, f64)]| {
        let (times, counts) = stretch.iter().fold((0.0, 0.0), |sum, sample| (sum.0 + sample.0, sum.1 + sample.1));
        (times / stretch.len() as f64, counts / stretch.len() as f64)
    };
    samples.chunks(samples.len().div_ceil(STRETCHES).max(1)).map(mean).collect()
}

/// A line that is flat until `onset` and straight from there, fitted by least squares.
struct Bend {
    onset: f64,
    base: f64,
    rate: f64,
    /// The sum of squares that it leaves.
    rest: f64,
}

fn bend(points: &[(f64, f64)], onset: f64) -> Bend {
    let n = points.len() as f64;
    let after = |time: f64| (time - onset).max(0.0);
    let mean_x = points.iter().map(|(time, _)| after(*time)).sum::<f64>() / n;
    let mean_y = points.iter().map(|(_, count)| count).sum::<f64>() / n;
    let (mut xx, mut xy) = (0.0, 0.0);
    for (time, count) in points {
        let x = after(*time) - mean_x;
        xx += x * x;
        xy += x * (count - mean_y);
    }
    let rate = if xx > 0.0 { xy / xx } else { 0.0 };
    let base = mean_y - rate * mean_x;
    let rest = points.iter().map(|(time, count)| (count - base - rate * after(*time)).powi(2)).sum();
    Bend { onset, base, rate, rest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::recording::{Column, Restart};

    fn recording(limit: Option<f64>, count: impl Fn(usize) -> f64) -> Recording {
        let minutes = 600;
        Recording {
            times: (0..minutes).map(|minute| 1e9 + 60.0 * minute as f64).collect(),
            connections: (0..minutes).map(count).collect(),
            limit: limit.map(|limit| Column { name: "limit".into(), values: vec![limit; minutes] }),
            ..Recording::default()
        }
    }

    fn leak(minute: usize) -> f64 {
        let noise = ((minute * 7919) % 11) as f64 - 5.0;
        50.0 + noise + minute.saturating_sub(400) as f64 * 0.5
    }

    #[test]
    fn onset_rate_and_time_left_of_a_leak_in_noise() {
        let found = of(&recording(Some(250.0), leak), None, 1.0).unwrap();
        assert!((found.onset - 1e9 - 24_000.0).abs() < 600.0, "{found:?}");
        assert!((found.rate * 60.0 - 0.5).abs() < 0.03, "{found:?}");
        assert!((found.level - 149.5).abs() < 3.0, "{found:?}");
        let left = found.left.unwrap();
        // 100 at one in two minutes, less what the load of 50 may rise by, as it was seen for ten hours only.
        assert!((left.likely - 10_200.0).abs() < 600.0 && left.earliest < left.likely, "{left:?}");
        assert!(left.latest > left.likely, "{left:?}");
        assert_eq!(found.judge, Judge::Counts);
        assert_eq!(of(&recording(None, leak), None, 1.0).unwrap().left, None);
    }

    #[test]
    fn noise_a_fall_and_what_was_before_a_restart_are_no_growth() {
        let of = |recording: &Recording| of(recording, None, 1.0);
        assert_eq!(of(&recording(Some(100.0), |minute| 50.0 + ((minute * 7919) % 11) as f64)), None);
        assert_eq!(of(&recording(Some(100.0), |minute| 500.0 - minute as f64 / 2.0)), None);
        let mut restarted = recording(Some(500.0), |minute| if minute < 500 { minute as f64 } else { 20.0 });
        restarted.restarts.push(Restart { at: 500, of_machine: false });
        assert_eq!(of(&restarted), None);
        assert_eq!(of(&Recording::default()), None);
    }
}
