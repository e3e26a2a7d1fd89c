//! How many TCP sockets no table shows, by the kernel's own counters: without a look at any process.
//!
//! `alloc` in `net/sockstat` counts the TCP sockets of the whole machine until their descriptor is closed,
//! `inuse` those in the tables of one namespace (net/ipv4/proc.c, Linux 6.18). The rest were reset, were
//! never bound or connected, or are of a namespace that wasn't counted.

use crate::base::error::{Error, Result};
use crate::kernel::netns::{self, counter, host};
use crate::kernel::owner::{self, Listed};
use crate::kernel::world::{Netns, World};
use std::collections::HashSet;
use std::fs;
use std::path::Path;

/// The machine's first PID namespace (PROC_PID_INIT_INO, include/linux/proc_ns.h): only there are all
/// processes seen, and with them all namespaces.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Whether surely no descriptor is left of a socket that the tables lack. `false`: there may be some.
pub fn none(world: &World) -> bool {
    // The counters are read at different moments: what ends between two reads won't do so twice.
    (0..2).all(|_| is_none(world).unwrap_or(false))
}

fn is_none(world: &World) -> Option<bool> {
    if world.netns == Netns::All {
        return None;
    }
    let ours = &netns::place(world).ok()?.net_dir;
    // Before Linux 6 the first subflow of an MPTCP socket was not kept with it.
    if netns::has_mptcp(ours) {
        return None;
    }
    let of_first = world.proc_root.join("1/net");
    let is_same = netns::identity_of(&of_first).ok()? == netns::identity_of(ours).ok()?;
    let of_host = if is_same { 0 } else { in_tables(&of_first)? };
    let before = in_tables(ours)?;
    let all = allocated(ours)?;
    Some(in_tables(ours)? == before && all <= before + of_host)
}

/// How many there are at most, as far as that matters: those of all namespaces taken off, also of those that
/// only a thread is in. `None`: that can't be told here.
pub fn at_most(world: &World, matters: impl Fn(u64) -> bool) -> Option<u64> {
    let is_first = fs::read_link("/proc/self/ns/pid").ok()?.as_os_str() == FIRST_PID_NAMESPACE;
    if world.is_foreign() || world.hides_processes() || !is_first {
        return None;
    }
    let mut least = u64::MAX;
    // What is opened between the reads of one count passes for one that no table shows.
    for with_threads in [false, true, true] {
        let count = outside_tables(world, with_threads)?;
        least = least.min(count);
        if !matters(least) {
            break;
        }
    }
    Some(least)
}

fn outside_tables(world: &World, with_threads: bool) -> Option<u64> {
    let all = || allocated(&world.proc_root.join("thread-self/net"));
    let (mut known, mut sum, before) = (HashSet::new(), 0, all()?);
    let mut add = |net_dir: &Path| {
        if netns::identity_of(net_dir).is_ok_and(|identity| known.insert(identity)) {
            sum += in_tables(net_dir).unwrap_or(0);
        }
    };
    for Listed { pid, .. } in owner::processes(world) {
        let process = world.proc_root.join(pid.to_string());
        add(&process.join("net"));
        if with_threads && let Ok(threads) = fs::read_dir(process.join("task")) {
            threads.flatten().for_each(|thread| add(&thread.path().join("net")));
        }
    }
    // What ends between the reads must not make it less. One that is mounted only can't be counted.
    let all = all()?.max(before);
    let mounted = host::mounted(world, &[]).ok()?;
    mounted.is_empty().then_some(all.saturating_sub(sum))
}

/// How many sockets of whatever protocol the namespace that is looked at has beside those which its protocols list:
/// a sign that some may be outside of the tables, where [`at_most`] can't tell, as it needs no rights and no host's
/// processes. Not listed are those of TCP that were reset or never bound, and the unbound of UDP; of a reset MPTCP
/// socket two. No proof that there is none, as the kernel's own sockets (NFS, WireGuard) are listed without being
/// counted. `None`: a copy of `/proc` without counters, which shows nothing of the kind.
///
/// # Errors
/// When it can't be told.
pub fn unlisted(world: &World) -> Result<Option<u64>> {
    if world.netns == Netns::All {
        return Err(Error::content(&world.proc_root, "sockets of all namespaces can't be told by their counters"));
    }
    let protocols = netns::place(world)?.net_dir.join("protocols");
    let unread = |cause| Error::reading(&protocols, cause);
    if !protocols.try_exists().map_err(unread)? {
        return Ok(None);
    }
    let used = || counter(&netns::place(world).ok()?.net_dir, "sockstat", "sockets:", &["used"]);
    let once = || {
        let before = used();
        let listed = listed(&fs::read_to_string(&protocols).map_err(unread)?);
        let count = || Some(used()?.max(before?).saturating_sub(listed?));
        count().ok_or_else(|| Error::content(&protocols, "its sockets and those in use can't be told"))
    };
    // What is opened or closed between the reads won't do so twice.
    Ok(Some(once()?.min(once()?)))
}

/// Column `sockets` of all lines below the first; protocols that don't count say -1.
fn listed(protocols: &str) -> Option<u64> {
    let count = |line: &str| line.split_ascii_whitespace().nth(2)?.parse().ok().map(|count: i64| count.max(0) as u64);
    protocols.lines().skip(1).map(count).sum()
}

fn in_tables(net_dir: &Path) -> Option<u64> {
    Some(counter(net_dir, "sockstat6", "TCP6:", &["inuse"])? + counter(net_dir, "sockstat", "TCP:", &["inuse"])?)
}

fn allocated(net_dir: &Path) -> Option<u64> {
    counter(net_dir, "sockstat", "TCP:", &["alloc"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_that_no_protocol_lists_show_by_the_namespaces_counters() {
        let dir = tempfile::tempdir().unwrap();
        let net_dir = dir.path().join("net");
        fs::create_dir(&net_dir).unwrap();
        for table in ["tcp", "tcp6"] {
            fs::write(net_dir.join(table), "").unwrap();
        }
        let deadline = crate::base::deadline::Deadline::after(std::time::Duration::from_secs(9));
        let world = World { proc_root: dir.path().to_owned(), ..World::here(deadline) };
        assert_eq!(unlisted(&world).unwrap(), None, "a copy without counters");
        // Linux 6.18, shortened: some protocols don't count.
        let protocols = "protocol  size sockets  memory press maxhdr  slab module     cl co\n\
            PACKET    1472      2      -1   NI       0   no   kernel      n  n\n\
            PING      1000     -1      -1   NI       0   yes  kernel      y  y\n\
            TCP       2432     22       5   no     320   yes  kernel      y  y\n";
        fs::write(net_dir.join("protocols"), protocols).unwrap();
        assert!(unlisted(&world).is_err(), "no sockstat");
        let write = |text: &str| fs::write(net_dir.join("sockstat"), text).unwrap();
        for (used, unlisted_are) in [(54, 30), (24, 0), (20, 0)] {
            write(&format!("sockets: used {used}\nTCP: inuse 22 orphan 0 tw 0 alloc 52 mem 5\n"));
            assert_eq!(unlisted(&world).unwrap(), Some(unlisted_are));
        }
        fs::write(net_dir.join("protocols"), "protocol  size sockets\nTCP 2432\n").unwrap();
        assert!(unlisted(&world).is_err(), "a line without the number");
    }
}
