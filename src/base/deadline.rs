//! When a run must have ended. Shared between the check, which may wait longer by design, and the
//! watchdog of [`crate::program::run`], which ends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[derive(Clone, Debug)]
pub struct Deadline {
    started: Instant,
    /// Milliseconds after the start.
    millis: Arc<AtomicU64>,
    /// What must be left for the answer.
    reserve: Duration,
}

impl Deadline {
    pub fn after(budget: Duration) -> Deadline {
        let millis = u64::try_from(budget.as_millis()).unwrap_or(u64::MAX);
        Deadline { started: Instant::now(), millis: Arc::new(AtomicU64::new(millis)), reserve: budget / 5 }
    }

    /// Moves the deadline: what a check waits by design doesn't count against its time limit.
    pub fn extend(&self, by: Duration) {
        let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        let _ = self.millis.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |millis| Some(millis.saturating_add(by)));
    }

    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The whole budget.
    pub fn budget(&self) -> Duration {
        Duration::from_millis(self.millis.load(Ordering::SeqCst))
    }

    /// What is left; zero when it is over.
    pub fn left(&self) -> Duration {
        self.budget().saturating_sub(self.elapsed())
    }

    /// Whether looking deeper must stop, so that what is known can still be said in time.
    /// A fifth of the time limit, however long the check has waited by design.
    pub fn is_near(&self) -> bool {
        self.left() <= self.reserve
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_sees_the_extension() {
        let deadline = Deadline::after(Duration::from_secs(1));
        let watchdog = deadline.clone();
        deadline.extend(Duration::from_secs(9));
        assert_eq!(watchdog.budget(), Duration::from_secs(10));
        assert!(watchdog.left() > Duration::from_secs(8) && !watchdog.is_near());
        assert!(Deadline::after(Duration::ZERO).is_near());
    }

    #[test]
    fn a_long_wait_by_design_does_not_bring_the_end_nearer() {
        let waited = Duration::from_secs(600);
        let mut deadline = Deadline::after(Duration::from_secs(10));
        deadline.extend(waited);
        deadline.started -= waited;
        assert!(!deadline.is_near());
        deadline.started -= Duration::from_secs(8);
        assert!(deadline.is_near());
    }
}
