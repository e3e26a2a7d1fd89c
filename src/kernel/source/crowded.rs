//! A hash table with long chains: a dump of it may lose rows, so it is made again until that brings nothing more.
//!
//! The kernel goes on in a chain by the number of rows passed, after each 16 that it tells and at the end of each
//! receive (`inet_diag_dump_icsk` in net/ipv4/inet_diag.c, 6.18). Rows that left before that place meanwhile take as
//! many others with them. Where chains are as short as usual that is never seen; a namespace may have a small table of
//! its own (`net.ipv4.tcp_child_ehash_entries`).

use super::{Coverage, Query, netlink};
use crate::base::error::Result;
use crate::base::read_limited::read_line;
use crate::kernel::netns;
use crate::kernel::socket::Socket;
use rustix::fd::OwnedFd;
use std::collections::HashSet;
use std::path::Path;

/// So few rows end up in one receive, and in one piece of a chain.
const FEW: u64 = 16;
/// Rows for each chain from which on it is long.
const LONG: u64 = 4;
/// So many dumps in a row must bring nothing more, of so many at most.
const QUIET: u32 = 4;
const MOST: u32 = 16;
/// No host has so many sockets that its chains were long.
const LARGE_TABLE: u64 = 1 << 18;

/// As [`netlink::visit`], of the calling thread's namespace.
pub fn visit(
    socket: &OwnedFd,
    query: &Query,
    (net_dir, has_mptcp): (&Path, bool),
    each: &mut dyn FnMut(&Socket),
) -> Result<Coverage> {
    let Some(size) = small_table() else { return netlink::visit(socket, query, has_mptcp, each) };
    let mut told = Vec::new();
    let mut seen = netlink::visit(socket, query, has_mptcp, &mut |row| {
        told.push(row.cookie);
        each(row);
    })?;
    if seen.rows <= FEW || seen.missing.is_some() || !is_crowded(net_dir, size) {
        return Ok(seen);
    }
    // What is in one of them is there, or was a moment ago.
    let mut told: HashSet<_> = told.into_iter().flatten().collect();
    let (mut quiet, mut dumps) = (0, 1);
    while quiet < QUIET && dumps < MOST && seen.missing.is_none() {
        let before = seen.rows;
        let again = netlink::visit(socket, query, has_mptcp, &mut |row| {
            if row.cookie.is_some_and(|cookie| told.insert(cookie)) {
                seen.rows += 1;
                each(row);
            }
        });
        match again {
            Ok(again) => seen.missing = again.missing,
            Err(why) => seen.missing = Some(format!("rows of a crowded table may be lost ({why})")),
        }
        dumps += 1;
        quiet = if seen.rows == before { quiet + 1 } else { 0 };
    }
    seen.how.push_str(&format!(", {dumps} times as the table is crowded"));
    Ok(seen)
}

/// Whether the calling thread's namespace may have such a table.
pub fn may_be() -> bool {
    small_table().is_some()
}

/// The chains of the table of the calling thread's namespace, where they may get long; not known before Linux 6.1: no
/// small tables.
fn small_table() -> Option<u64> {
    let table = read_line(Path::new("/proc/sys/net/ipv4/tcp_ehash_entries"));
    // Below zero: the machine's, which all namespaces share.
    let size = table.ok()?.parse::<i64>().ok()?.unsigned_abs();
    (size < LARGE_TABLE).then_some(size)
}

/// Whether the namespace's sockets make long chains in a table of that size.
fn is_crowded(net_dir: &Path, size: u64) -> bool {
    let count = |name, row, fields| netns::counters(net_dir, name, row, fields).map_or(0, |[a, b]: [u64; 2]| a + b);
    count("sockstat", "TCP:", ["inuse", "tw"]) + count("sockstat6", "TCP6:", ["inuse", "-"]) > LONG * size
}
