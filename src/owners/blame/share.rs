//! The largest shares: groups, and owners under names that outlive processes, few enough to be a time
//! series each.

use super::Count;
use crate::base::duration::Span;
use crate::kernel::owner::Process;
use crate::report::Share;
use serde::Serialize;
use std::collections::BTreeMap;

/// The sockets of one key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Group {
    pub key: String,
    pub sockets: u64,
    pub oldest_seconds: Option<f64>,
    /// Where that is what it is at least: what it is at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_at_most_seconds: Option<f64>,
}

/// Equal counts are in the order of keys.
pub(super) fn largest(counts: BTreeMap<String, Count>, top: usize) -> Vec<Group> {
    let group = |(key, count): (String, Count)| {
        let [oldest_seconds, oldest_at_most_seconds] = count.oldest_seconds();
        Group { key, sockets: count.sockets, oldest_seconds, oldest_at_most_seconds }
    };
    let mut groups: Vec<Group> = counts.into_iter().map(group).collect();
    groups.sort_unstable_by(|a, b| b.sockets.cmp(&a.sockets).then_with(|| a.key.cmp(&b.key)));
    groups.truncate(top);
    groups
}

/// `php-fpm.service`; `php-fpm (www-data)` outside of units, so that none is called `other`.
pub fn name(process: &Process) -> String {
    let user = || process.user.clone().unwrap_or_else(|| process.uid.to_string());
    match &process.unit {
        Some(unit) if unit != "other" => unit.clone(),
        _ => format!("{} ({})", process.command, user()),
    }
}

/// The names there are, and last `other`: all sockets of the rest and of nobody known.
pub fn with_other(names: Vec<Group>, total: u64) -> Vec<Share> {
    let named: u64 = names.iter().map(|name| name.sockets).sum();
    let share = |Group { key, sockets, .. }: Group| Share { owner: key, sockets };
    let other = Share { owner: "other".to_owned(), sockets: total - named };
    names.into_iter().map(share).chain([other]).collect()
}

/// `, oldest 2m`; `, oldest at least 2m`; nothing, where it is unknown.
pub fn aged(oldest: Option<f64>, at_most: Option<f64>) -> String {
    let or_more = if at_most.is_some() { "at least " } else { "" };
    oldest.map_or(String::new(), |seconds| format!(", oldest {or_more}{}", Span::millis((seconds * 1000.0) as u64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(command: &str, unit: Option<&str>) -> Process {
        let (command, unit) = (command.to_owned(), unit.map(str::to_owned));
        Process { pid: 1, parent: 0, command, unit, cgroup: None, uid: 33, user: None }
    }

    #[test]
    fn the_rest_is_other_and_always_there() {
        let of = |sockets| Count { sockets, ..Count::default() };
        let counts = || [("a", 4), ("b", 5), ("c", 1)].map(|(name, sockets)| (name.to_owned(), of(sockets))).into();
        let told = |top| with_other(largest(counts(), top), 12).into_iter().map(|share| (share.owner, share.sockets));
        let two: Vec<_> = told(2).collect();
        assert_eq!(two, [("b".to_owned(), 5), ("a".to_owned(), 4), ("other".to_owned(), 3)]);
        assert_eq!(told(9).next_back(), Some(("other".to_owned(), 2)));
        assert_eq!(with_other(Vec::new(), 0), [Share { owner: "other".to_owned(), sockets: 0 }]);
    }

    #[test]
    fn nobody_is_called_other() {
        assert_eq!(name(&process("php-fpm", Some("php-fpm.service"))), "php-fpm.service");
        assert_eq!(name(&process("other", None)), "other (33)");
        assert_eq!(name(&process("x", Some("other"))), "x (33)");
    }
}
