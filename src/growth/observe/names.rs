//! What groups of owners are called, by whoever holds their connections.

use crate::growth::pool::{Connection, Pool};
use crate::kernel::cgroup;
use crate::kernel::owner::{Owners, Process};
use std::collections::BTreeMap;

/// Unit, else command and user, of whoever holds most of the connections.
pub fn most_common<'a>(owners: &Owners, connections: impl Iterator<Item = &'a Connection>) -> Option<String> {
    let mut counts: BTreeMap<u32, (u64, &Process)> = BTreeMap::new();
    for process in connections.filter_map(|connection| owners.of(connection.socket.inode).next()) {
        counts.entry(process.pid).or_insert((0, process)).0 += 1;
    }
    let mut by_name: BTreeMap<String, u64> = BTreeMap::new();
    for (count, process) in counts.into_values() {
        *by_name.entry(name_of(process)).or_default() += count;
    }
    by_name.into_iter().max_by_key(|(_, count)| *count).map(|(name, _)| name)
}

fn name_of(process: &Process) -> String {
    match &process.unit {
        Some(unit) => cgroup::label(unit).into_owned(),
        None => {
            let user = process.user.clone().unwrap_or_else(|| process.uid.to_string());
            format!("{} ({user})", process.command)
        }
    }
}

/// The group's name; where its holder was not found its user's at least.
pub fn name(pool: &Pool, names: &BTreeMap<u32, String>, group: u32) -> String {
    let one = || pool.connections.iter().find(|connection| connection.group() == group);
    let uid = || one().map(|connection| format!("uid {}", connection.socket.uid));
    names.get(&group).cloned().or_else(uid).unwrap_or_else(|| "a group that is gone".to_owned())
}

/// Connections by group's name, the largest first.
pub fn by_group(pool: &Pool, names: &BTreeMap<u32, String>) -> Vec<(String, u64)> {
    let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
    for connection in &pool.connections {
        *counts.entry(connection.group()).or_default() += 1;
    }
    let mut by_name: BTreeMap<String, u64> = BTreeMap::new();
    for (group, count) in counts {
        *by_name.entry(name(pool, names, group)).or_default() += count;
    }
    let mut by_name: Vec<_> = by_name.into_iter().collect();
    by_name.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    by_name
}
