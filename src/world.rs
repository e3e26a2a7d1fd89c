//! The world a check looks at: paths, choices and time, passed in and never global.

use crate::deadline::Deadline;
use crate::error::Result;
use crate::netns::{self, Choice as Netns, Place};
use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::str::FromStr;

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
    place: OnceCell<Place>,
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
            place: OnceCell::new(),
        }
    }

    /// The network namespace to read: entered at the first call, the same ever after.
    pub fn place(&self) -> Result<&Place> {
        if let Some(place) = self.place.get() {
            return Ok(place);
        }
        let place = netns::enter(&self.netns, &self.proc_root)?;
        Ok(self.place.get_or_init(|| place))
    }

    /// Whether `/proc` is another machine's or container's, so that names of users don't apply.
    pub fn is_foreign(&self) -> bool {
        self.proc_root != Path::new("/proc")
    }
}

/// Which source the caller wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// Netlink; `/proc` where netlink is refused or sees another namespace.
    #[default]
    Auto,
    Netlink,
    Proc,
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "auto" => Ok(Source::Auto),
            "netlink" => Ok(Source::Netlink),
            "proc" => Ok(Source::Proc),
            _ => Err(format!("unknown source '{text}'; use auto, netlink or proc")),
        }
    }
}
