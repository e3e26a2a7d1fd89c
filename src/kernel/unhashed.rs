//! How many TCP sockets no table shows, by the kernel's own counters: without a look at any process.
//!
//! `alloc` in `net/sockstat` counts the TCP sockets of the whole machine until their descriptor is closed,
//! `inuse` those in the tables of one namespace (net/ipv4/proc.c, Linux 6.18). The rest were reset, were
//! never bound or connected, or are of a namespace that wasn't counted.

use crate::base::error::{Error, Result};
use crate::base::read_limited::read_small;
use crate::kernel::netns::host::LivedIn;
use crate::kernel::netns::{self, Counters, counters, host, in_tables};
use crate::kernel::release;
use crate::kernel::world::{Netns, World};
use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// The machine's first PID namespace (PROC_PID_INIT_INO, include/linux/proc_ns.h): only there are all
/// processes seen, and with them all namespaces.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// How many there are at most, where only the sockets of this namespace and of process 1's are taken off: that
/// costs a few small files. `None`: that can't be told.
pub fn bound(world: &World) -> Option<u64> {
    if world.netns == Netns::All {
        return None;
    }
    let ours = &netns::place(world).ok()?.net_dir;
    // Until 6.5 an accepted MPTCP socket's first subflow isn't kept with it when it is reset (`free_first` in
    // net/mptcp/protocol.c is newer): it is nowhere in `alloc`.
    if !release::is_at_least((6, 6)) && netns::has_mptcp(ours) {
        return None;
    }
    let of_first = world.proc_root.join("1/net");
    let is_same = netns::identity_of(&of_first).ok()? == netns::identity_of(ours).ok()?;
    let [ipv4, ipv6] = ["sockstat", "sockstat6"].map(|name| Counters::open(ours, name));
    let (ipv4, ipv6) = (ipv4?, ipv6?);
    let others = || {
        let [of_ipv6] = ipv6.read("TCP6:", ["inuse"])?;
        Some(of_ipv6 + if is_same { 0 } else { in_tables(&of_first)? })
    };
    let (mut before, mut most) = (others()?, 0);
    // The counters are read at different moments: what ends between two reads won't do so twice.
    for _ in 0..2 {
        let [in_table, all] = ipv4.read("TCP:", ["inuse", "alloc"])?;
        let after = others()?;
        most = most.max(all.saturating_sub(in_table + before.min(after)));
        before = after;
    }
    Some(most)
}

/// How many there are at most, as far as that matters: those of all namespaces taken off, with `threads` also of
/// those that only a thread is in, which takes far longer. `None`: that can't be told here.
pub fn at_most(world: &World, matters: &dyn Fn(u64) -> bool, threads: bool) -> Option<u64> {
    if !tells_of_all(world) {
        return None;
    }
    // What is opened between the reads of one count passes for one that no table shows.
    let mut least = outside_tables(world, threads, matters)?;
    if threads && matters(least) {
        least = least.min(outside_tables(world, threads, matters)?);
    }
    if !matters(least) {
        return Some(least);
    }
    // The sockets of one that is mounted only are in no count.
    let mounted = host::mounted(world, &[]).ok()?;
    mounted.is_empty().then_some(least)
}

/// Whether all processes are seen here, so that [`at_most`] may tell.
pub fn tells_of_all(world: &World) -> bool {
    let is_first = || fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() == FIRST_PID_NAMESPACE);
    !world.is_foreign() && is_first() && !world.hides_processes()
}

/// Looks at no more namespaces than it takes to tell that it doesn't matter.
fn outside_tables(world: &World, with_threads: bool, matters: &dyn Fn(u64) -> bool) -> Option<u64> {
    let all = || allocated(&world.proc_root.join("thread-self/net"));
    let (mut known, mut sum, before) = (HashSet::new(), 0, all()?);
    let mut add = |net_dir: &Path| {
        if netns::identity_of(net_dir).is_ok_and(|identity| known.insert(identity)) {
            sum += in_tables(net_dir).unwrap_or(0);
        }
        matters(before.saturating_sub(sum))
    };
    // The kernel's threads are the oldest, and in no namespace of their own.
    for pid in host::pids(&world.proc_root).ok()?.into_iter().rev() {
        let process = world.proc_root.join(pid.to_string());
        let mut go_on = add(&process.join("net"));
        if with_threads && let Ok(threads) = fs::read_dir(process.join("task")) {
            go_on &= threads.flatten().all(|thread| add(&thread.path().join("net")));
        }
        if !go_on {
            break;
        }
    }
    // What ends between the reads must not make it less.
    Some(all()?.max(before).saturating_sub(sum))
}

/// For as long as a closed socket may still be counted.
const UNNOTICED: [Duration; 3] = [Duration::from_millis(10), Duration::from_millis(40), Duration::from_millis(100)];

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
    let used = || counters(&netns::place(world).ok()?.net_dir, "sockstat", "sockets:", ["used"]).map(|[used]| used);
    let once = || {
        let before = used();
        let listed = listed(&read_small(&protocols).map_err(unread)?);
        let count = || Some(used()?.max(before?).saturating_sub(listed?));
        count().ok_or_else(|| Error::content(&protocols, "its sockets and those in use can't be told"))
    };
    // What is opened or closed between the reads won't do so twice. A netlink socket, ours too, is no longer listed
    // when it is closed, but counted until all processors have noticed (netlink_release in net/netlink/af_netlink.c).
    let mut least = once()?.min(once()?);
    for pause in UNNOTICED.into_iter().filter(|pause| *pause < world.deadline.left() / 4) {
        if least == 0 {
            break;
        }
        thread::sleep(pause);
        least = least.min(once()?);
    }
    Ok(Some(least))
}

/// Column `sockets` of all lines below the first; protocols that don't count say -1.
fn listed(protocols: &str) -> Option<u64> {
    let count = |line: &str| line.split_ascii_whitespace().nth(2)?.parse().ok().map(|count: i64| count.max(0) as u64);
    protocols.lines().skip(1).map(count).sum()
}

/// How many TCP sockets of the machine are in no table of the namespaces that processes are in: they are reset, unbound,
/// or in another one. `None`: that can't be told here.
pub fn outside(world: &World, lived_in: &[LivedIn]) -> Option<u64> {
    let first = world.proc_root.join(if world.is_foreign() { "1/ns/pid" } else { "self/ns/pid" });
    if world.hides_processes() || fs::read_link(first).ok()?.as_os_str() != FIRST_PID_NAMESPACE {
        return None;
    }
    let all = || allocated(&lived_in.first()?.process()?.join("net"));
    // What is opened or closed between the reads won't be so twice.
    let once = || {
        let before = all()?;
        let sum: u64 = lived_in.iter().filter_map(|one| in_tables(&one.process()?.join("net"))).sum();
        Some(before.max(all()?).saturating_sub(sum))
    };
    match once()? {
        0 => Some(0),
        count => Some(once()?.min(count)),
    }
}

fn allocated(net_dir: &Path) -> Option<u64> {
    counters(net_dir, "sockstat", "TCP:", ["alloc"]).map(|[count]| count)
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
