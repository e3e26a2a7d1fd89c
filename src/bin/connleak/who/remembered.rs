//! What checks remember of a service's UNIX sockets, and which of its listeners are missing.

use crate::everyone;
use connleak::history::first_sights::FirstSights;
use connleak::history::state_dir;
use connleak::kernel::world::World;
use connleak::service::target::Target;
use connleak::service::unix;
use rustix::process::geteuid;
use std::path::Path;

/// As root everyone's, else one's own; and what is to be said where there may be more.
pub fn recall(target: &Target, chosen: Option<&Path>, world: &World) -> (FirstSights, Option<String>) {
    if target.selection.unix.is_empty() || world.replay.is_some() {
        return (FirstSights::default(), None);
    }
    let (mut all, mut unread) = (FirstSights::default(), None);
    let mut is_unknown = |why: String| {
        unread.get_or_insert(format!("what checks remember is partly unknown: {why}"));
    };
    let places = everyone::places(chosen).unwrap_or_else(|why| {
        is_unknown(why);
        Vec::new()
    });
    for (uid, dir) in places {
        match everyone::as_user(uid, || FirstSights::recall(&dir).map_err(|why| why.to_string())) {
            Ok(sights) => all.merge(sights),
            Err(why) => is_unknown(why),
        }
    }
    let uid = geteuid();
    let others =
        state_dir::of_everyone(chosen).unwrap_or_default().iter().filter(|(of, _)| *of != uid.as_raw()).count();
    if !uid.is_root() && others > 0 {
        let users = if others == 1 { "another user's".to_owned() } else { format!("{others} other users'") };
        is_unknown(format!("{users} can't be read; run as root to see all"));
    }
    target.recall(&all);
    (all, unread)
}

/// Listeners that are asked for and missing, to be said. `is_any`: whether anything of the service is there.
pub fn absent(target: &Target, is_any: bool, world: &World) -> Vec<String> {
    let selection = &target.selection;
    // As in the checks, one of several may be a mistake while others are connected.
    let are_several = selection.asks_unix() && (selection.has_tcp() || selection.unix.len() > 1);
    let is_wanted = !is_any || are_several || !selection.unix_known.borrow().unheard.is_empty();
    if selection.unix.is_empty() || world.replay.is_some() || !is_wanted {
        return Vec::new();
    }
    match unix::heard(selection, world, are_several) {
        Ok(heard) => heard.left.into_iter().chain(heard.missing).collect(),
        Err(why) => vec![format!("listeners unknown: {why}")],
    }
}
