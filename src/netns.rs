//! Find the network namespace that the caller means, and enter it where that is allowed.

use crate::error::{Error, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// `--netns`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Our own, or with `--proc-root` that of its process 1.
    #[default]
    Home,
    OfProcess(u32),
    /// As `ip netns add` names it.
    Named(String),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text == "self" {
            return Ok(Choice::Home);
        }
        if let Ok(pid) = text.parse() {
            return Ok(Choice::OfProcess(pid));
        }
        if text.is_empty() || text.starts_with('.') || text.contains('/') {
            return Err(format!("bad namespace '{text}': use self, a pid, or a name from 'ip netns list'"));
        }
        Ok(Choice::Named(text.to_owned()))
    }
}

/// A namespace to read.
#[derive(Clone, Debug)]
pub struct Place {
    /// The directory with its `tcp` and `tcp6`.
    pub net_dir: PathBuf,
    /// Whether the calling thread is in it, so that netlink sees it too.
    pub is_ours: bool,
}

impl Place {
    /// What tells this namespace from others: the inode of its `tcp`, whichever way it is read.
    pub fn identity(&self) -> Result<u64> {
        let path = self.net_dir.join("tcp");
        Ok(fs::metadata(&path).map_err(|cause| Error::reading(&path, cause))?.ino())
    }

    fn ours() -> Place {
        Place { net_dir: PathBuf::from(OURS), is_ours: true }
    }
}

/// The calling thread's namespace: `/proc/net` would be that of the first thread.
const OURS: &str = "/proc/thread-self/net";

/// Goes to the namespace that the caller means. [`crate::world::World::place`] does it once.
pub fn enter(choice: &Choice, proc_root: &Path) -> Result<Place> {
    match choice {
        Choice::Home => Ok(home(proc_root)),
        Choice::OfProcess(pid) => {
            let process = proc_root.join(pid.to_string());
            let net_dir = process.join("net");
            fs::metadata(&net_dir).map_err(|cause| Error::reading(&net_dir, cause))?;
            // Without the rights to enter, its tables in /proc are still readable by anyone.
            let is_ours = same_namespace(&net_dir) || join(&process.join("ns/net")).is_ok();
            // Once inside, the view doesn't depend on the process any more.
            Ok(if is_ours { Place::ours() } else { Place { net_dir, is_ours } })
        }
        Choice::Named(name) => {
            let path = Path::new("/run/netns").join(name);
            join(&path).map_err(|cause| Error::File { path, doing: "enter", cause })?;
            Ok(Place::ours())
        }
    }
}

/// `/proc/net` is the reader's own namespace even under another `--proc-root`, as it leads through
/// `self`: the namespace meant there is that of its process 1.
fn home(proc_root: &Path) -> Place {
    if proc_root == Path::new("/proc") {
        return Place::ours();
    }
    let of_init = proc_root.join("1/net");
    let net_dir = if of_init.join("tcp").exists() { of_init } else { proc_root.join("net") };
    let is_ours = same_namespace(&net_dir);
    Place { net_dir, is_ours }
}

/// The inode of `net/tcp` belongs to the namespace, whichever process it is read through.
fn same_namespace(net_dir: &Path) -> bool {
    let inode = |dir: &Path| fs::metadata(dir.join("tcp")).map(|meta| meta.ino()).ok();
    let ours = inode(Path::new(OURS));
    ours.is_some() && inode(net_dir) == ours
}

fn join(path: &Path) -> std::io::Result<()> {
    let namespace = File::open(path)?;
    Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
}
