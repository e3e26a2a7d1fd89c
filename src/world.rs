//! The world a check looks at: paths, choices and time, passed in and never global.

use crate::netns::Choice as Netns;
use crate::source::Choice as Source;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[derive(Clone, Debug)]
pub struct World {
    /// Where processes and `/proc/net` are read.
    pub proc_root: PathBuf,
    /// Where service profiles are looked for before the embedded ones.
    pub thresholds: PathBuf,
    pub source: Source,
    pub netns: Netns,
    /// A recorded dump to read instead of this machine's sockets.
    pub replay: Option<PathBuf>,
    pub started: Instant,
    /// When looking deeper must stop, so that what is known can still be said in time.
    pub look_until: Instant,
}

impl World {
    /// This machine, now, with `budget` until the deadline.
    pub fn here(budget: Duration) -> World {
        let started = Instant::now();
        World {
            proc_root: PathBuf::from("/proc"),
            thresholds: PathBuf::from("/etc/connleak/thresholds"),
            source: Source::default(),
            netns: Netns::default(),
            replay: None,
            started,
            look_until: started + budget.mul_f64(0.8),
        }
    }

    /// Whether `/proc` is another machine's or container's, so that names of users don't apply.
    pub fn is_foreign(&self) -> bool {
        self.proc_root != Path::new("/proc")
    }

    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub fn is_late(&self) -> bool {
        Instant::now() >= self.look_until
    }
}
