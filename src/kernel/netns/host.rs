//! All network namespaces of a host: those that processes live in, and those that are only mounted.
//!
//! The kernel has no list of them. One that no thread of a process visible here is in, and that neither a mount nor
//! a descriptor of such a process keeps, can't be found.

use super::candidates::inode;
use super::{identity_of, own_identity};
use crate::base::error::{Error, Result};
use crate::kernel::owner;
use crate::kernel::world::World;
use rustix::io::Errno;
use std::fs;
use std::io;
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
    /// The folder of a process that is still in it, or of which that can't be told now; `None`: it is empty by now, or gone.
    pub fn process(&self) -> Option<&Path> {
        let is_in = |process: &&PathBuf| {
            identity_of(&process.join("net")).map_or_else(|why| !is_gone(&why), |inode| inode == self.identity)
        };
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
///
/// # Errors
/// When they, or where one is, can't be told; not for those that have ended.
fn others(process: &Path, identity: u32) -> io::Result<Vec<(u32, PathBuf)>> {
    let tasks = process.join("task");
    // A folder for each thread, beside the two that all have.
    if fs::metadata(&tasks).is_ok_and(|meta| meta.nlink() <= 3) {
        return Ok(Vec::new());
    }
    let mut others = Vec::new();
    for thread in fs::read_dir(&tasks)? {
        let thread = thread?.path();
        match identity_of(&thread.join("net")) {
            Ok(of_thread) if of_thread == identity => {}
            Ok(of_thread) => others.push((of_thread, thread)),
            Err(why) if is_gone(&why) => {}
            Err(why) => return Err(why),
        }
    }
    Ok(others)
}

/// Whether that is said of what has ended, and not of what can't be read now.
fn is_gone(why: &io::Error) -> bool {
    Errno::from_io_error(why).is_some_and(owner::is_gone)
}

/// # Errors
/// When there is no process at all: that is no /proc.
pub fn look(world: &World) -> Result<Host> {
    let root = &world.proc_root;
    let mut host = Host { lived_in: Vec::new(), mounted: Vec::new(), remark: None, hidden: Vec::new(), outside: None };
    let (ours, mut unread, mut untold) = (own_identity(), 0, 0);
    for pid in pids(root)? {
        let process = root.join(pid.to_string());
        match identity_of(&process.join("net")) {
            Ok(identity) => {
                match others(&process, identity) {
                    Ok(threads) => threads.into_iter().for_each(|(of, thread)| host.add(of, thread, ours)),
                    Err(why) => untold += u64::from(!is_gone(&why)),
                }
                host.add(identity, process, ours);
            }
            // hidepid shows the folder, but not what is in it. One that has ended is no loss.
            Err(why) if why.kind() == io::ErrorKind::PermissionDenied => unread += 1,
            Err(why) => untold += u64::from(!is_gone(&why)),
        }
    }
    if host.lived_in.is_empty() {
        return Err(Error::content(root, "no process tells its network namespace here; is --proc-root a /proc?"));
    }
    if unread > 0 || world.hides_processes() {
        host.hidden.push(format!("{} hides processes (hidepid), so maybe more namespaces", root.display()));
    }
    if untold > 0 {
        host.hidden.push(format!("network namespaces of {untold} processes can't be told, so maybe more"));
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
    let names: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.file_name())).collect();
    let names = names.map_err(|cause| Error::reading(root, cause))?;
    let mut pids: Vec<u32> = names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect();
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

/// Inode and place of each network namespace that is mounted where a process sees it.
pub fn mounts(process: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let path = process.join("mountinfo");
    let table = fs::read(&path).map_err(|cause| Error::reading(&path, cause))?;
    Ok(mounts_of(&table))
}

/// The network namespaces of a table of mounts, as [`mounts`] tells them.
pub fn mounts_of(table: &[u8]) -> Vec<(u64, PathBuf)> {
    String::from_utf8_lossy(table).lines().filter_map(mount).collect()
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
}
