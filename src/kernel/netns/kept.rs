//! Network namespaces that nobody is in, and no mount of ours keeps: a descriptor does, or a mount that others see.
//!
//! One that only its sockets keep can't be entered: to tell a socket's namespace takes its descriptor.

use super::host::{self, Host, LivedIn, inode};
use crate::base::error::Result;
use crate::kernel::owner::listing::{Walk, walk};
use crate::kernel::owner::tables::{Others, Place, each_descriptor, each_descriptor_of_others};
use crate::kernel::owner::was_refused;
use crate::kernel::unhashed;
use crate::kernel::world::World;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Namespaces that descriptors keep, by inode.
pub type Candidates = HashMap<u64, PathBuf>;

/// Adds the network namespace to which a descriptor of a process leads, if it does.
pub fn add(candidates: &mut Candidates, world: &World, pid: u32, place: Place, link: &[u8]) {
    if let Some(inode) = inode(link).filter(|_| !place.is_registered) {
        candidates.entry(inode).or_insert_with(|| place.path(pid, &world.proc_root));
    }
}

/// All network namespaces that can be found. Where so many TCP sockets are in none of those that processes are in
/// that it may pay, every descriptor is read, which is dear. `candidates`: they have been read.
///
/// # Errors
/// As [`host::look`].
pub fn look(world: &World, candidates: Option<&Candidates>) -> Result<Host> {
    let mut host = host::look(world)?;
    host.outside = unhashed::outside(world, &host.lived_in);
    if candidates.is_some() || host.outside != Some(0) {
        look_for_more(world, &mut host, candidates);
    }
    Ok(host)
}

fn look_for_more(world: &World, host: &mut Host, candidates: Option<&Candidates>) {
    let of_process = |namespace: &LivedIn| Some(fs::metadata(namespace.process()?.join("ns/net")).ok()?.ino());
    let by_path = host.mounted.iter().filter_map(|path| Some(fs::metadata(path).ok()?.ino()));
    let mut known: HashSet<u64> = host.lived_in.iter().filter_map(of_process).chain(by_path).collect();
    let mut found = candidates.cloned().unwrap_or_default();
    let mount_namespace = |process: PathBuf| fs::metadata(process.join("ns/mnt")).map(|meta| meta.ino()).ok();
    let mut seen: HashSet<u64> = mount_namespace(world.proc_root.join("self")).into_iter().collect();
    let mut refused = 0;
    let walked = walk(world, &mut |process, dir| {
        let folder = world.proc_root.join(process.pid.to_string());
        if mount_namespace(folder.clone()).is_some_and(|inode| seen.insert(inode)) {
            for (inode, path) in host::mounts(&folder).unwrap_or_default() {
                let below = path.strip_prefix("/").map(|path| folder.join("root").join(path));
                found.entry(inode).or_insert(below.unwrap_or(path));
            }
        }
        if candidates.is_some() {
            return Ok(());
        }
        let read = dir.and_then(|dir| {
            let (mut links, mut each) =
                (usize::MAX, |place, link: &[u8]| add(&mut found, world, process.pid, place, link));
            each_descriptor(dir, &mut each)?;
            each_descriptor_of_others(dir, Others::Differing, &mut links, &mut each).map(drop)
        });
        refused += u64::from(was_refused(&read));
        read
    });
    if refused > 0 {
        host.remark = Some(format!("{refused} processes may not be read that may keep more network namespaces"));
    } else if walked != Walk::Whole {
        host.remark = Some("not all processes read that may keep more network namespaces".to_owned());
    }
    found.retain(|inode, _| known.insert(*inode));
    let mut paths: Vec<PathBuf> = found.into_values().collect();
    paths.sort_unstable();
    host.mounted.extend(paths);
}
