//! Owners under names that outlive processes: few enough to be a time series each.

use crate::report::{Owner, Share};
use std::cmp::Reverse;

/// The `top` largest names, and last `other`: all sockets of the rest and of nobody known.
pub fn among(owners: &[Owner], total: u64, top: usize) -> Vec<Share> {
    let share = |owner: &Owner| Share { owner: name(owner), sockets: owner.sockets };
    let mut shares: Vec<Share> = owners.iter().map(share).collect();
    shares.sort_by(|a, b| a.owner.cmp(&b.owner));
    shares.dedup_by(|next, kept| {
        let is_same = next.owner == kept.owner;
        kept.sockets += if is_same { next.sockets } else { 0 };
        is_same
    });
    shares.sort_by_key(|share| Reverse(share.sockets));
    shares.truncate(top);
    let named: u64 = shares.iter().map(|share| share.sockets).sum();
    shares.push(Share { owner: "other".to_owned(), sockets: total - named });
    shares
}

/// `php-fpm.service`; `php-fpm (www-data)` outside of units, so that none is called `other`.
fn name(owner: &Owner) -> String {
    let user = || owner.user.clone().unwrap_or_else(|| owner.uid.to_string());
    match &owner.unit {
        Some(unit) if unit != "other" => unit.clone(),
        _ => format!("{} ({})", owner.command, user()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(command: &str, unit: Option<&str>, sockets: u64) -> Owner {
        Owner {
            pid: 1,
            command: command.to_owned(),
            unit: unit.map(str::to_owned),
            uid: 33,
            user: None,
            sockets,
            oldest_seconds: None,
            peers: Vec::new(),
        }
    }

    fn told(owners: &[Owner], total: u64, top: usize) -> Vec<(String, u64)> {
        among(owners, total, top).into_iter().map(|share| (share.owner, share.sockets)).collect()
    }

    #[test]
    fn processes_of_one_name_are_one_and_the_rest_is_other() {
        let fpm = Some("php-fpm.service");
        let owners = [owner("a", None, 4), owner("php", fpm, 3), owner("php", fpm, 2), owner("b", None, 1)];
        let (a, fpm, b) = (("a (33)".into(), 4), ("php-fpm.service".into(), 5), ("b (33)".into(), 1));
        assert_eq!(told(&owners, 12, 2), [fpm.clone(), a.clone(), ("other".into(), 3)]);
        assert_eq!(told(&owners, 10, 9), [fpm, a, b, ("other".into(), 0)]);
        assert_eq!(told(&[], 0, 5), [("other".into(), 0)]);
    }

    #[test]
    fn nobody_else_is_called_other() {
        assert_eq!(told(&[owner("other", Some("other"), 1)], 1, 5), [("other (33)".into(), 1), ("other".into(), 0)]);
    }
}
