//! When the check spoke of a leak; over counts that nobody judged, when its detector would have spoken.
//!
//! Counts don't tell which connections stayed. The youngest are taken to be closed first, as those of
//! requests are: what no later fall undid has lasted. Silences are unknown, so the detector hears
//! only its witnesses of lasting sockets and of a rush, and speaks later than with sockets to look at.

use super::recording::Recording;
use connleak::growth::detector::{Detector, Sample, Socket, State, Verdict};

/// Samples shown to the detector; of more, every so many.
const MOST_STEPS: usize = 3_000;
/// Sockets shown to it; of more, each stands for several.
const MOST_SOCKETS: f64 = 1_000.0;

/// A stretch of time in which the detector spoke. Indices of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alarm {
    pub from: usize,
    pub to: usize,
}

pub fn alarms(recording: &Recording, progress: impl FnMut(usize, usize)) -> Vec<Alarm> {
    match (&recording.spoken, recording.last_limit()) {
        (Some(spoken), _) => stretches(spoken.iter().copied().enumerate()),
        (None, Some(limit)) => stretches(replayed(recording, limit, progress).into_iter()),
        (None, None) => Vec::new(),
    }
}

/// Samples in a row that speak of a leak.
fn stretches(samples: impl Iterator<Item = (usize, bool)>) -> Vec<Alarm> {
    let mut alarms: Vec<Alarm> = Vec::new();
    let mut speaking = false;
    for (index, speaks) in samples {
        match alarms.last_mut().filter(|_| speaking) {
            Some(alarm) if speaks => alarm.to = index,
            _ if speaks => alarms.push(Alarm { from: index, to: index }),
            _ => {}
        }
        speaking = speaks;
    }
    alarms
}

fn replayed(recording: &Recording, limit: f64, mut progress: impl FnMut(usize, usize)) -> Vec<(usize, bool)> {
    let every = recording.times.len().div_ceil(MOST_STEPS).max(1);
    let most = recording.connections.iter().copied().filter(|count| count.is_finite()).fold(1.0, f64::max);
    let mut crowd = Crowd { each: (most / MOST_SOCKETS).max(1.0), groups: Vec::new(), cookies: 0 };
    let mut detector = Detector::new(recording.pace() * every as f64, limit.min(f64::from(u32::MAX)) as u32);
    let mut spoken = Vec::new();
    let indices: Vec<usize> = (0..recording.times.len()).step_by(every).collect();
    for (step, &index) in indices.iter().enumerate() {
        progress(step, indices.len());
        let connections = recording.connections[index];
        if !connections.is_finite() {
            continue;
        }
        crowd.become_like(&by_owner(recording, index));
        let restarts = recording.restarts.iter().filter(|restart| restart.at <= index);
        let (boots, services) = (restarts.clone().filter(|restart| restart.of_machine).count(), restarts.count());
        let elapsed = recording.times[index] - recording.times[0];
        let verdict = detector.step(&Sample {
            wall: recording.times[index],
            uptime: elapsed,
            boot: boots as u64,
            // Without any the recording may have none to tell.
            service: if recording.restarts.is_empty() { 0 } else { services as u64 + 1 },
            established: connections.min(f64::from(u32::MAX)) as u32,
            sockets: crowd.sockets(),
            ..Sample::default()
        });
        spoken.push((index, matches!(verdict, Verdict::Leak(_))));
    }
    spoken
}

/// Connections of each owner; all in one where owners aren't known.
fn by_owner(recording: &Recording, index: usize) -> Vec<f64> {
    match recording.owners.as_slice() {
        [] => vec![recording.connections[index]],
        owners => owners.iter().map(|owner| owner.values[index]).collect(),
    }
}

/// Sockets that could have made the counts, by owner, the oldest first.
struct Crowd {
    /// Connections that one socket stands for.
    each: f64,
    groups: Vec<Vec<u64>>,
    cookies: u64,
}

impl Crowd {
    fn become_like(&mut self, counts: &[f64]) {
        self.groups.resize(counts.len(), Vec::new());
        for (group, count) in self.groups.iter_mut().zip(counts) {
            let wanted = (count.max(0.0) / self.each).round() as usize;
            group.truncate(wanted);
            while group.len() < wanted {
                self.cookies += 1;
                group.push(self.cookies);
            }
        }
    }

    fn sockets(&self) -> Vec<Socket> {
        let groups = self.groups.iter().zip(0u32..);
        let socket = |cookie: u64, group: u32| Socket { cookie, group, state: State::Established, idle: 0.0 };
        groups.flat_map(|(cookies, group)| cookies.iter().map(move |cookie| socket(*cookie, group))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::recording::{Column, Restart};

    /// One sample a minute; `count` of the minute.
    fn recording(minutes: usize, count: impl Fn(usize) -> f64) -> Recording {
        let connections: Vec<f64> = (0..minutes).map(count).collect();
        Recording {
            times: (0..minutes).map(|minute| 1e9 + 60.0 * minute as f64).collect(),
            limit: Some(Column { name: "limit".into(), values: vec![200.0; minutes] }),
            connections,
            ..Recording::default()
        }
    }

    fn breathing(minute: usize) -> f64 {
        40.0 + ((minute * 37) % 17) as f64
    }

    #[test]
    fn a_leak_is_found_before_the_limit_and_ends_with_a_restart() {
        let mut leak = recording(400, |minute| {
            let leaked = if (100..300).contains(&minute) { (minute - 100) as f64 * 0.6 } else { 0.0 };
            breathing(minute) + leaked
        });
        leak.restarts.push(Restart { at: 300, of_machine: false });
        let found = alarms(&leak, |_, _| ());
        let (first, last) = (found[0], found[found.len() - 1]);
        assert!(first.from > 120 && leak.connections[first.from] < 180.0 && last.to == 299, "{found:?}");
    }

    #[test]
    fn what_the_check_said_needs_no_replay() {
        let spoken = Some(vec![false, true, true, false, true]);
        let judged = Recording { spoken, ..recording(5, breathing) };
        assert_eq!(alarms(&judged, |_, _| ()), [Alarm { from: 1, to: 2 }, Alarm { from: 4, to: 4 }]);
    }

    #[test]
    fn breathing_load_and_a_limit_that_is_unknown_raise_nothing() {
        assert_eq!(alarms(&recording(600, breathing), |_, _| ()), []);
        let unlimited = Recording { limit: None, ..recording(300, |minute| minute as f64) };
        assert_eq!(alarms(&unlimited, |_, _| ()), []);
    }
}
