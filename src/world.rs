//! The world a check looks at: paths, choices and time, passed in and never global.

use crate::deadline::Deadline;
use crate::netns::Choice as Netns;
use crate::source::Choice as Source;
use std::path::{Path, PathBuf};

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
    pub deadline: Deadline,
}

impl World {
    /// This machine, now.
    pub fn here(deadline: Deadline) -> World {
        World {
            proc_root: PathBuf::from("/proc"),
            thresholds: PathBuf::from("/etc/connleak/thresholds"),
            source: Source::default(),
            netns: Netns::default(),
            replay: None,
            deadline,
        }
    }

    /// Whether `/proc` is another machine's or container's, so that names of users don't apply.
    pub fn is_foreign(&self) -> bool {
        self.proc_root != Path::new("/proc")
    }
}
