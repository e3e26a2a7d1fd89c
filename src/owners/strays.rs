//! Who holds clients' ends of which nothing tells whose they were, and what ends the doubt.

use crate::kernel::owner::Holders;
use crate::kernel::socket::Side;
use crate::kernel::world::World;
use crate::owners::blame::{Blame, Grouping, Suspect};
use crate::owners::holders;
use crate::report::words;
use crate::service::target::Target;

/// `, held by php-fpm[17] (user www-data): restart it to be sure, or leave clients out by --side server`.
pub fn remedy(target: &Target, world: &World) -> String {
    let known = target.selection.unix_known.borrow();
    let mut strays: Vec<Suspect> = known.astray.iter().map(|stray| Suspect::new(stray, None)).collect();
    let owners = holders::find(world, &mut strays, Holders::First, None);
    let blame = Blame::new(&strays, &owners, Grouping { top: usize::MAX, ..Grouping::new(target) });
    let named: Vec<String> = blame.owners.iter().map(ToString::to_string).collect();
    let by = match (named.len(), blame.unowned) {
        (0, _) => "by whom can't be read: run as root".to_owned(),
        (_, 0) => format!("by {}", words::few(&named)),
        (_, unowned) => format!("by {}, {unowned} by whom can't be read", words::few(&named)),
    };
    let them = if named.len() == 1 && blame.unowned == 0 { "it" } else { "these" };
    let without = if target.selection.side == Side::Both { ", or leave clients out by --side server" } else { "" };
    format!(", held {by}: restart {them} to be sure{without}")
}
