//! All network namespaces of a host: those that processes live in, and those that are only mounted.
//!
//! The kernel has no list of them. One that no thread of a process visible here is in, and that neither a mount nor
//! a descriptor of such a process keeps, can't be found.

use super::{identity_of, own_identity};
use crate::base::error::{Error, Result};
use crate::kernel::world::World;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub struct Host {
    /// In the order of their first processes.
    pub lived_in: Vec<LivedIn>,
    /// Paths into further ones: bind mounts, as `ip netns` and container runtimes make them, and descriptors.
    pub mounted: Vec<PathBuf>,
    /// Why there may be more, where nothing speaks for it.
    pub remark: Option<String>,
    /// Why there may be more.
    pub hidden: Vec<String>,
    /// TCP sockets that are in none of those that processes are in; `None`: not told.
    pub outside: Option<u64>,
}

/// A namespace that processes are in.
#[derive(Debug)]
pub struct LivedIn {
    /// [`identity_of`] it.
    pub identity: u32,
    pub is_ours: bool,
    /// Their folders in /proc.
    processes: Vec<PathBuf>,
}

impl LivedIn {
    /// The folder of a process that is still in it; `None`: it is empty by now, or gone.
    pub fn process(&self) -> Option<&Path> {
        let is_in = |process: &&PathBuf| identity_of(&process.join("net")).is_ok_and(|inode| inode == self.identity);
        self.processes.iter().find(is_in).map(PathBuf::as_path)
    }
}

impl Host {
    /// `process`: its folder, or that of one of its threads.
    fn add(&mut self, identity: u32, process: PathBuf, ours: Option<u32>) {
        match self.lived_in.iter_mut().find(|known| known.identity == identity) {
            Some(known) => known.processes.push(process),
            None => {
                let is_ours = ours == Some(identity);
                self.lived_in.push(LivedIn { identity, is_ours, processes: vec![process] });
            }
        }
    }
}

/// The threads of a process that are in another namespace than it: setns(2) is a thread's own.
fn others(process: &Path, identity: u32) -> Vec<(u32, PathBuf)> {
    let tasks = process.join("task");
    // A folder for each thread, beside the two that all have.
    if fs::metadata(&tasks).is_ok_and(|meta| meta.nlink() <= 3) {
        return Vec::new();
    }
    let threads = fs::read_dir(&tasks).into_iter().flatten().flatten().map(|thread| thread.path());
    let of = |thread: PathBuf| Some((identity_of(&thread.join("net")).ok()?, thread));
    threads.filter_map(of).filter(|(of_thread, _)| *of_thread != identity).collect()
}

/// # Errors
/// When there is no process at all: that is no /proc.
pub fn look(world: &World) -> Result<Host> {
    let root = &world.proc_root;
    let mut host = Host { lived_in: Vec::new(), mounted: Vec::new(), remark: None, hidden: Vec::new(), outside: None };
    let (ours, mut unread) = (own_identity(), 0);
    for pid in pids(root)? {
        let process = root.join(pid.to_string());
        match identity_of(&process.join("net")) {
            Ok(identity) => {
                for (of_thread, thread) in others(&process, identity) {
                    host.add(of_thread, thread, ours);
                }
                host.add(identity, process, ours);
            }
            // hidepid shows the folder, but not what is in it. One that has ended is no loss.
            Err(cause) => unread += u64::from(cause.kind() == std::io::ErrorKind::PermissionDenied),
        }
    }
    if host.lived_in.is_empty() {
        return Err(Error::content(root, "no process tells its network namespace here; is --proc-root a /proc?"));
    }
    if unread > 0 || world.hides_processes() {
        host.hidden.push(format!("{} hides processes (hidepid), so maybe more namespaces", root.display()));
    }
    match mounted(world, &host.lived_in) {
        Ok(mounted) => host.mounted = mounted,
        Err(unreadable) => host.hidden.push(format!("{unreadable}, so maybe more namespaces")),
    }
    Ok(host)
}

/// All that are listed, in order.
pub fn pids(root: &Path) -> Result<Vec<u32>> {
    let entries = fs::read_dir(root).map_err(|cause| Error::reading(root, cause))?;
    let mut pids: Vec<u32> = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    Ok(pids)
}

/// Whether one is still there at a path of [`Host::mounted`].
pub fn is_there(world: &World, path: &Path) -> bool {
    if fs::read_link(path).is_ok_and(|link| inode(link.as_os_str().as_encoded_bytes()).is_some()) {
        return true;
    }
    // A plain file may be left where one was mounted.
    let (process, path) = match path.strip_prefix(&world.proc_root).ok().and_then(|below| below.components().next()) {
        Some(process) => (world.proc_root.join(process), path.strip_prefix(world.proc_root.join(process).join("root"))),
        None => (world.proc_root.join("self"), path.strip_prefix("/")),
    };
    path.is_ok_and(|path| mounts(&process).is_ok_and(|all| all.iter().any(|(_, mounted)| mounted.ends_with(path))))
}

/// Where namespaces are mounted in which no process is known to be. Whether one is, is seen only with
/// the right to read `ns/net`: without it both count, as one that is left out could hide a leak.
pub fn mounted(world: &World, lived_in: &[LivedIn]) -> Result<Vec<PathBuf>> {
    // Below another root paths are those of its process 1.
    let (process, prefix) = match world.is_foreign() {
        true => (world.proc_root.join("1"), Some(world.proc_root.join("1/root"))),
        false => (world.proc_root.join("self"), None),
    };
    let of_process =
        |namespace: &LivedIn| fs::metadata(namespace.process()?.join("ns/net")).ok().map(|meta| meta.ino());
    let mut known: Vec<u64> = lived_in.iter().filter_map(of_process).collect();
    let mut mounted = Vec::new();
    for (inode, path) in mounts(&process)? {
        if !known.contains(&inode) {
            known.push(inode);
            mounted.push(match (&prefix, path.strip_prefix("/")) {
                (Some(prefix), Ok(below)) => prefix.join(below),
                _ => path,
            });
        }
    }
    Ok(mounted)
}

/// The inode of the network namespace to which a descriptor leads.
pub fn inode(link: &[u8]) -> Option<u64> {
    std::str::from_utf8(link.strip_prefix(b"net:[")?.strip_suffix(b"]")?).ok()?.parse().ok()
}

/// Inode and place of each network namespace that is mounted where a process sees it.
pub fn mounts(process: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let path = process.join("mountinfo");
    let table = fs::read(&path).map_err(|cause| Error::reading(&path, cause))?;
    Ok(String::from_utf8_lossy(&table).lines().filter_map(mount).collect())
}

/// The inode and place of a mounted network namespace, from a line of mountinfo:
/// `29 1 0:4 net:[4026532177] /run/netns/blue rw shared:5 - nsfs nsfs rw`.
fn mount(line: &str) -> Option<(u64, PathBuf)> {
    let mut fields = line.split(' ').skip(3);
    let inode = fields.next()?.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()?;
    // Blanks are written as \040.
    let path = fields.next()?.replace("\\040", " ");
    (line.contains(" - nsfs ") && path.starts_with('/')).then(|| (inode, PathBuf::from(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_network_namespaces_and_no_others() {
        let line = "29 1 0:4 net:[4026532177] /run/netns/a\\040b rw shared:5 - nsfs nsfs rw";
        assert_eq!(mount(line), Some((4026532177, "/run/netns/a b".into())));
        for other in [
            "29 1 0:4 mnt:[4026532177] /run/m rw - nsfs nsfs rw",
            "29 1 0:4 net:[x] /run/m rw - nsfs nsfs rw",
            "29 1 0:4 net:[7] /run/m rw - ext4 /dev/vda rw",
            "29 1 0:4 / / rw - ext4 /dev/vda rw",
            "29 1 0:4 net:[7]",
            "",
        ] {
            assert_eq!(mount(other), None, "{other}");
        }
    }

    #[test]
    fn a_namespace_is_told_by_where_a_descriptor_leads() {
        assert_eq!(inode(b"net:[4026532177]"), Some(4026532177));
        for other in [&b"mnt:[4026532177]"[..], b"net:[]", b"net:[7", b"socket:[7]", b"net:[x]", b""] {
            assert_eq!(inode(other), None, "{other:?}");
        }
    }
}
