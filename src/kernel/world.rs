//! The world a check looks at: paths, choices and time, passed in and never global.

use crate::base::capabilities::{self, Raised};
use crate::base::deadline::Deadline;
use crate::base::word;
use std::cell::OnceCell;
use std::fs::{self, File};
use std::io::Read;
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
    /// Filled by [`crate::kernel::netns::place`].
    pub(crate) place: OnceCell<Place>,
    /// Filled by [`crate::kernel::scope::key`].
    pub(crate) scope: OnceCell<String>,
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
            scope: OnceCell::new(),
        }
    }

    /// Whether `/proc` is another machine's or container's, so that names of users don't apply.
    pub fn is_foreign(&self) -> bool {
        self.proc_root != Path::new("/proc")
    }

    /// Whether `/proc` shows no processes of others (hidepid), or their folders but not what is in them:
    /// process 1 is always there.
    pub fn hides_processes(&self) -> bool {
        File::open(self.proc_root.join("1/stat")).and_then(|mut file| file.read(&mut [0])).is_err()
    }

    /// Whether `/proc` is of the first PID namespace: from within another one processes outside are not seen at
    /// all. Of another `/proc` it can't be told; whoever names it has chosen.
    pub fn sees_the_hosts_processes(&self) -> bool {
        /// The first PID namespace, on every kernel since 3.8 (PROC_PID_INIT_INO).
        const FIRST: &str = "pid:[4026531836]";
        self.is_foreign() || fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() == FIRST)
    }

    /// Rights to read other users' processes, where this program was given any. Not below a
    /// directory that the caller names: a link planted there would lead anywhere.
    pub fn raise(&self) -> Option<Raised> {
        (!self.is_foreign()).then(capabilities::raise)
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

impl Source {
    pub fn name(self) -> &'static str {
        match self {
            Source::Auto => "auto",
            Source::Netlink => "netlink",
            Source::Proc => "proc",
        }
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let all = [Source::Auto, Source::Netlink, Source::Proc];
        word::choose("source", text, &all.map(|source| (source.name(), source)))
    }
}

/// `--netns`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Netns {
    /// Our own, or with `--proc-root` that of its process 1.
    #[default]
    Home,
    /// All that this host has, as far as they can be found.
    All,
    OfProcess(u32),
    /// As `ip netns add` names it.
    Named(String),
}

impl FromStr for Netns {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text == "self" {
            return Ok(Netns::Home);
        }
        if text == "all" {
            return Ok(Netns::All);
        }
        if let Ok(pid) = text.parse() {
            return Ok(Netns::OfProcess(pid));
        }
        if text.is_empty() || text.starts_with('.') || text.contains('/') {
            return Err(format!("bad namespace '{text}': use self, all, a pid, or a name from 'ip netns list'"));
        }
        Ok(Netns::Named(text.to_owned()))
    }
}

/// A network namespace to read.
#[derive(Clone, Debug)]
pub struct Place {
    /// The directory with its `tcp` and `tcp6`.
    pub net_dir: PathBuf,
    /// Whether the calling thread is in it, so that netlink sees it too.
    pub is_ours: bool,
}
