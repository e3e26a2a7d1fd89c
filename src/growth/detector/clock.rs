//! Time that never steps, and the instants at which the service or the machine began anew.

use super::Sample;
use serde::{Deserialize, Serialize};

/// Seconds watched so far, from the uptime clock; the wall clock only bridges a reboot, where nothing else can.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Clock {
    /// Seconds since the first sample.
    pub now: f64,
    last: Option<Stamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Stamp {
    wall: f64,
    /// Without what was spent in suspend.
    uptime: f64,
    boot: u64,
    service: u64,
}

/// What happened between the sample before and this one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tick {
    /// Seconds on the detector's clock at the sample before.
    pub before: f64,
    /// Seconds between the two samples; 0 for the very first.
    pub elapsed: f64,
    /// Seconds by which less can have passed between the two readings of a socket's ages, as the clock was read late.
    pub late: f64,
    pub first: bool,
    /// Cookies may repeat after a reboot: no socket is the one it was.
    pub rebooted: bool,
    /// Another listener or process: sockets did not end by themselves.
    pub restarted: bool,
    /// A restart would have been told: the service's instance is known (not 0).
    pub told: bool,
}

/// Seconds; two runs closer than this are one instant, nothing can be told from their difference.
const INSTANT: f64 = 0.5;

impl Clock {
    /// Whether a sample is of another instant than the last one that counted.
    pub fn is_due(&self, sample: &Sample) -> bool {
        self.last.is_none_or(|last| {
            let same = last.boot == sample.boot && last.service == sample.service;
            !same || (awake(sample) - last.uptime).abs() >= INSTANT
        })
    }

    /// Seconds since the last sample that counted, if it was of the same boot.
    pub fn since_last(&self, sample: &Sample) -> Option<f64> {
        self.last.filter(|last| last.boot == sample.boot).map(|last| awake(sample) - last.uptime)
    }

    /// Moves on to a sample that counts. `asleep`: seconds since the one before that its `suspended` doesn't tell of.
    pub fn tick(&mut self, sample: &Sample, asleep: f64) -> Tick {
        let stamp = Stamp { wall: sample.wall, uptime: awake(sample), boot: sample.boot, service: sample.service };
        let before = self.now;
        let told = stamp.service != 0;
        let last = self.last.replace(stamp);
        let Some(last) = last else {
            return Tick { before, elapsed: 0.0, late: 0.0, first: true, rebooted: false, restarted: false, told };
        };
        let rebooted = last.boot != stamp.boot;
        let elapsed = match rebooted {
            true => (stamp.wall - last.wall).max(1.0),
            false => (stamp.uptime - last.uptime - asleep).max(0.0),
        };
        self.now += elapsed;
        let restarted = rebooted || last.service != stamp.service;
        Tick { before, elapsed, late: sample.took, first: false, rebooted, restarted, told }
    }
}

/// The kernel's ages grow by jiffies, which stop in suspend.
fn awake(sample: &Sample) -> f64 {
    sample.uptime - sample.suspended
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(wall: f64, uptime: f64, boot: u64, service: u64) -> Sample {
        Sample { wall, uptime, boot, service, ..Sample::default() }
    }

    #[test]
    fn a_stepping_wall_clock_changes_nothing() {
        let mut clock = Clock::default();
        clock.tick(&sample(1000.0, 50.0, 1, 1), 0.0);
        let tick = clock.tick(&sample(-2600.0, 110.0, 1, 1), 0.0);
        assert_eq!((tick.elapsed, tick.restarted), (60.0, false));
    }

    #[test]
    fn runs_of_one_instant_add_up_to_the_next() {
        let mut clock = Clock::default();
        let mut counted = 0;
        for run in 0..100 {
            let sample = sample(0.0, 50.0 + f64::from(run) * 0.2, 1, 1);
            if clock.is_due(&sample) {
                clock.tick(&sample, 0.0);
                counted += 1;
            }
        }
        assert_eq!(counted, 34, "every third run of five a second");
        assert!(clock.is_due(&sample(0.0, 69.9, 2, 1)) && clock.is_due(&sample(0.0, 69.9, 1, 2)), "begun anew");
        assert!(clock.is_due(&sample(0.0, 9.0, 1, 1)), "a clock that went back is taken as it is");
    }

    #[test]
    fn a_reboot_takes_the_wall_clock_and_never_goes_back() {
        let mut clock = Clock::default();
        clock.tick(&sample(1000.0, 5000.0, 1, 1), 0.0);
        assert_eq!(clock.tick(&sample(1300.0, 40.0, 2, 1), 0.0).elapsed, 300.0);
        let tick = clock.tick(&sample(900.0, 30.0, 3, 1), 0.0);
        assert!(tick.rebooted && tick.restarted);
        assert_eq!(clock.now, 301.0);
    }

    #[test]
    fn another_service_instance_is_a_restart() {
        let mut clock = Clock::default();
        assert!(clock.tick(&sample(0.0, 0.0, 1, 7), 0.0).first);
        let tick = clock.tick(&sample(0.0, 10.0, 1, 8), 0.0);
        assert!(tick.restarted && !tick.rebooted);
    }
}
