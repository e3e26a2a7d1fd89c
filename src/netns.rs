//! Find the network namespace that the caller means, and enter it where that is allowed.

use crate::error::{Error, Result};
use crate::world::{Netns, World};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A namespace to read.
#[derive(Debug)]
pub struct Place {
    /// The directory with its `tcp` and `tcp6`.
    pub net_dir: PathBuf,
    /// Whether the calling thread is in it, so that netlink sees it too.
    pub is_ours: bool,
}

pub fn enter(world: &World) -> Result<Place> {
    match &world.netns {
        Netns::Home => Ok(home(&world.proc_root)),
        Netns::OfProcess(pid) => {
            let process = world.proc_root.join(pid.to_string());
            let net_dir = process.join("net");
            fs::metadata(&net_dir).map_err(|cause| Error::reading(&net_dir, cause))?;
            // Without the rights to enter, its tables in /proc are still readable by anyone.
            let is_ours = same_namespace(&net_dir) || join(&process.join("ns/net")).is_ok();
            Ok(Place { net_dir, is_ours })
        }
        Netns::Named(name) => {
            let path = Path::new("/run/netns").join(name);
            join(&path).map_err(|cause| Error::File { path, doing: "enter", cause })?;
            Ok(Place { net_dir: PathBuf::from("/proc/thread-self/net"), is_ours: true })
        }
    }
}

/// `/proc/net` is the reader's own namespace even under another `--proc-root`, as it leads through
/// `self`: the namespace meant there is that of its process 1.
fn home(proc_root: &Path) -> Place {
    if proc_root == Path::new("/proc") {
        return Place { net_dir: PathBuf::from("/proc/thread-self/net"), is_ours: true };
    }
    let of_init = proc_root.join("1/net");
    let net_dir = if of_init.join("tcp").exists() { of_init } else { proc_root.join("net") };
    let is_ours = same_namespace(&net_dir);
    Place { net_dir, is_ours }
}

/// The inode of `net/tcp` belongs to the namespace, whichever process it is read through.
fn same_namespace(net_dir: &Path) -> bool {
    let inode = |dir: &Path| fs::metadata(dir.join("tcp")).map(|meta| (meta.dev(), meta.ino())).ok();
    let ours = inode(Path::new("/proc/thread-self/net"));
    ours.is_some() && inode(net_dir).map(|(_, ino)| ino) == ours.map(|(_, ino)| ino)
}

fn join(path: &Path) -> std::io::Result<()> {
    let namespace = File::open(path)?;
    Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
}
