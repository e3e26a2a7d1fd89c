//! Network namespaces that something keeps, whether processes are in them or not.

use super::host::inode;
use crate::kernel::owner::tables::Place;
use crate::kernel::world::World;
use std::collections::HashMap;
use std::path::PathBuf;

/// Namespaces that descriptors or mounts keep, by inode.
pub type Candidates = HashMap<u64, PathBuf>;

/// Adds the network namespace to which a descriptor of a process leads, if it does.
pub fn add(candidates: &mut Candidates, world: &World, pid: u32, place: Place, link: &[u8]) {
    if let Some(inode) = inode(link).filter(|_| !place.is_registered) {
        candidates.entry(inode).or_insert_with(|| place.path(pid, &world.proc_root));
    }
}
