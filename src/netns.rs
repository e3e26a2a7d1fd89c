//! Find the network namespace that the caller means, and enter it where that is allowed.

use crate::error::{Error, Result};
use crate::world::{Netns, Place, World};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The calling thread's namespace: `/proc/net` would be that of the first thread.
const OURS: &str = "/proc/thread-self/net";

/// The namespace that the caller means: entered at the first call, the same ever after.
pub fn place(world: &World) -> Result<&Place> {
    if let Some(place) = world.place.get() {
        return Ok(place);
    }
    let place = enter(world)?;
    Ok(world.place.get_or_init(|| place))
}

/// What tells a namespace from others: the inode of its `tcp`, whichever way it is read.
pub fn identity(world: &World) -> Result<u64> {
    let path = place(world)?.net_dir.join("tcp");
    Ok(fs::metadata(&path).map_err(|cause| Error::reading(&path, cause))?.ino())
}

fn ours() -> Place {
    Place { net_dir: PathBuf::from(OURS), is_ours: true }
}

fn enter(world: &World) -> Result<Place> {
    let _rights = world.raise();
    match &world.netns {
        Netns::Home => Ok(home(&world.proc_root)),
        Netns::OfProcess(pid) => {
            let process = world.proc_root.join(pid.to_string());
            let net_dir = process.join("net");
            fs::metadata(&net_dir).map_err(|cause| Error::reading(&net_dir, cause))?;
            // Without the rights to enter, its tables in /proc are still readable by anyone.
            let is_ours = same_namespace(&net_dir) || join(&process.join("ns/net")).is_ok();
            // Once inside, the view doesn't depend on the process any more.
            Ok(if is_ours { ours() } else { Place { net_dir, is_ours } })
        }
        Netns::Named(name) => {
            let path = Path::new("/run/netns").join(name);
            join(&path).map_err(|cause| Error::File { path, doing: "enter", cause })?;
            Ok(ours())
        }
    }
}

/// `/proc/net` is the reader's own namespace even under another `--proc-root`, as it leads through
/// `self`: the namespace meant there is that of its process 1.
fn home(proc_root: &Path) -> Place {
    if proc_root == Path::new("/proc") {
        return ours();
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
