//! The detector over recorded counts: when would it have spoken, had it known no more than these?
//!
//! Counts don't tell which connections stayed. The youngest are taken to be closed first, as those of
//! requests are: what no later fall undid has lasted. Silences are unknown, so the detector hears
//! only its witnesses of lasting sockets and of a rush, and speaks later than with sockets to look at.

use super::recording::Recording;
use connleak::trend::{Detector, Sample, Socket, State, Verdict};

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

pub fn alarms(recording: &Recording, mut progress: impl FnMut(usize, usize)) -> Vec<Alarm> {
    let Some(limit) = recording.last_limit() else { return Vec::new() };
    let every = recording.times.len().div_ceil(MOST_STEPS).max(1);
    let most = recording.connections.iter().copied().filter(|count| count.is_finite()).fold(1.0, f64::max);
    let mut crowd = Crowd { each: (most / MOST_SOCKETS).max(1.0), groups: Vec::new(), cookies: 0 };
    let mut detector = Detector::new(recording.pace() * every as f64, limit.min(f64::from(u32::MAX)) as u32);
    let mut alarms: Vec<Alarm> = Vec::new();
    let mut before = None;
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
        if matches!(verdict, Verdict::Leak(_)) {
            match alarms.last_mut() {
                Some(alarm) if Some(alarm.to) == before => alarm.to = index,
                _ => alarms.push(Alarm { from: index, to: index }),
            }
        }
        before = Some(index);
    }
    alarms
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
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].from > 120 && found[0].to == 299, "{found:?}");
        assert!(leak.connections[found[0].from] < 180.0, "{found:?}");
    }

    #[test]
    fn breathing_load_and_a_limit_that_is_unknown_raise_nothing() {
        assert_eq!(alarms(&recording(600, breathing), |_, _| ()), []);
        let unlimited = Recording { limit: None, ..recording(300, |minute| minute as f64) };
        assert_eq!(alarms(&unlimited, |_, _| ()), []);
    }
}
