//! How many TCP sockets no table shows, by the kernel's own counters: without a look at any process.
//!
//! `alloc` in `net/sockstat` counts the TCP sockets of the whole machine until their descriptor is closed,
//! `inuse` those in the tables of one namespace (net/ipv4/proc.c, Linux 6.18). The rest were reset, were
//! never bound or connected, or are of a namespace that wasn't counted.

use crate::kernel::netns::{self, counters, host};
use crate::kernel::release;
use crate::kernel::world::{Netns, World};
use std::collections::HashSet;
use std::fs;
use std::path::Path;

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
    let others = || Some(of_ipv6(ours)? + if is_same { 0 } else { in_tables(&of_first)? });
    let (mut before, mut most) = (others()?, 0);
    // The counters are read at different moments: what ends between two reads won't do so twice.
    for _ in 0..2 {
        let [in_table, all] = counters(ours, "sockstat", "TCP:", ["inuse", "alloc"])?;
        let after = others()?;
        most = most.max(all.saturating_sub(in_table + before.min(after)));
        before = after;
    }
    Some(most)
}

/// How many there are at most, as far as that matters: those of all namespaces taken off, with `threads` also of
/// those that only a thread is in, which takes far longer. `None`: that can't be told here.
pub fn at_most(world: &World, matters: &dyn Fn(u64) -> bool, threads: bool) -> Option<u64> {
    let is_first = fs::read_link("/proc/self/ns/pid").ok()?.as_os_str() == FIRST_PID_NAMESPACE;
    if world.is_foreign() || world.hides_processes() || !is_first {
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

fn in_tables(net_dir: &Path) -> Option<u64> {
    let of_ipv6 = of_ipv6(net_dir)?;
    counters(net_dir, "sockstat", "TCP:", ["inuse"]).map(|[of_ipv4]| of_ipv6 + of_ipv4)
}

fn of_ipv6(net_dir: &Path) -> Option<u64> {
    counters(net_dir, "sockstat6", "TCP6:", ["inuse"]).map(|[count]| count)
}

fn allocated(net_dir: &Path) -> Option<u64> {
    counters(net_dir, "sockstat", "TCP:", ["alloc"]).map(|[count]| count)
}
