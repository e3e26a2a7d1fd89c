//! Which host and network namespace something remembered is of, in words that stay over runs and reboots.
//!
//! Two hosts may share a state directory, and one may be used from several namespaces: what they see
//! must not mix.

use crate::base::error::Result;
use crate::base::fnv::fnv64;
use crate::base::read_limited::read_line;
use crate::kernel::netns::{self, identity_of};
use crate::kernel::world::{Netns, World};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// `host 3f2a9c417d20 netns home`.
///
/// # Errors
/// Where the network namespace that is meant can't be told.
pub fn key(world: &World) -> Result<String> {
    if let Some(key) = world.scope.get() {
        return Ok(key.clone());
    }
    let key = format!("host {} netns {}", host_id(), netns_name(world)?);
    Ok(world.scope.get_or_init(|| key).clone())
}

/// machine-id(5) and the host's name, as images are cloned with the one and containers lack it. Hashed:
/// a machine-id is not to be shown. 48 bits.
fn host_id() -> String {
    let read = |path: &str| read_line(Path::new(path)).unwrap_or_default();
    let parts = [read("/etc/machine-id"), read("/proc/sys/kernel/hostname")];
    let text = format!("connleak {}", parts.join(" "));
    format!("{:012x}", fnv64(text.as_bytes()) >> 16)
}

/// `home`: process 1's. `all`. `name blue`: as `ip netns` names it. Else its number, which lasts as long as
/// the namespace does.
fn netns_name(world: &World) -> Result<String> {
    if world.netns == Netns::All {
        return Ok("all".to_owned());
    }
    let identity = netns::identity(world)?;
    if identity_of(&world.proc_root.join("1/net")).is_ok_and(|home| u64::from(home) == identity) {
        return Ok("home".to_owned());
    }
    let name = netns::place(world)?.is_ours.then(named).flatten();
    Ok(name.map_or_else(|| identity.to_string(), |name| format!("name {name}")))
}

/// The calling thread's namespace as `ip netns` names it.
fn named() -> Option<String> {
    let inode = |path: &Path| fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
    let ours = inode(Path::new("/proc/thread-self/ns/net"))?;
    let mut names: Vec<String> = fs::read_dir("/run/netns")
        .ok()?
        .flatten()
        .filter(|entry| inode(&entry.path()) == Some(ours))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    // One namespace may have several names.
    names.sort_unstable();
    names.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::deadline::Deadline;
    use std::time::Duration;

    #[test]
    fn words_that_stay() {
        let world = |netns| World { netns, ..World::here(Deadline::after(Duration::from_secs(9))) };
        let own = key(&world(Netns::Home)).unwrap();
        assert_eq!(own, key(&world(Netns::Home)).unwrap());
        let words: Vec<&str> = own.split(' ').collect();
        assert_eq!((words[0], words[1].len(), words[2]), ("host", 12, "netns"), "{own}");
        assert!(key(&world(Netns::All)).unwrap().ends_with(" netns all"));
        assert_eq!(key(&world(Netns::OfProcess(std::process::id()))).unwrap(), own, "by whichever name");
    }
}
