//! Pace looks while a stop is waited for: soon at first, later seldom, and never dearer than a share of the time.

use connleak::base::backoff::Pauses;
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

/// Looks at the tables take at most a fiftieth of the time that has passed.
const SHARE: u32 = 50;
/// Whoever waits must be able to end it.
const LONGEST: Duration = Duration::from_secs(1);

pub struct Pacer {
    started: Instant,
    wait: Duration,
    pauses: Pauses,
    /// CPU time of looks.
    spent: Duration,
}

impl Pacer {
    pub fn new(wait: Duration) -> Pacer {
        Pacer { started: Instant::now(), wait, pauses: Pauses::default(), spent: Duration::ZERO }
    }

    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// A look, which is dear.
    pub fn timed<T>(&mut self, look: impl FnOnce() -> T) -> T {
        let before = cpu_time();
        let seen = look();
        self.spent += cpu_time().saturating_sub(before);
        seen
    }

    /// Whether one more look stays within the share.
    pub fn may_look(&self) -> bool {
        self.until(self.elapsed()).is_zero()
    }

    /// Waits, at least until one may look again where that is what is waited for, but not beyond the end.
    pub fn pause(&mut self, to_look: bool) {
        let elapsed = self.elapsed();
        let rest = self.wait.saturating_sub(elapsed);
        let least = if to_look { self.until(elapsed).min(LONGEST) } else { Duration::ZERO };
        std::thread::sleep(self.pauses.next(rest).max(least).min(rest));
    }

    /// For how long the next look has to wait.
    fn until(&self, elapsed: Duration) -> Duration {
        (self.spent * SHARE).saturating_sub(elapsed)
    }
}

/// CPU time of this process.
fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_take_a_fiftieth_of_the_time() {
        let mut pacer = Pacer::new(Duration::from_secs(3600));
        assert!(pacer.may_look(), "the first is free");
        pacer.spent = Duration::from_millis(100);
        assert_eq!(pacer.until(Duration::from_secs(2)), Duration::from_secs(3));
        assert!(!pacer.may_look());
        assert!(pacer.until(Duration::from_secs(5)).is_zero());
    }
}
