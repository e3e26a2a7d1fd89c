//! Network namespaces that something keeps, whether processes are in them or not.

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

/// The inode of the network namespace to which a descriptor leads.
pub fn inode(link: &[u8]) -> Option<u64> {
    std::str::from_utf8(link.strip_prefix(b"net:[")?.strip_suffix(b"]")?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_told_by_where_a_descriptor_leads() {
        assert_eq!(inode(b"net:[4026532177]"), Some(4026532177));
        for other in [&b"mnt:[4026532177]"[..], b"net:[]", b"net:[7", b"socket:[7]", b"net:[x]", b""] {
            assert_eq!(inode(other), None, "{other:?}");
        }
    }
}
