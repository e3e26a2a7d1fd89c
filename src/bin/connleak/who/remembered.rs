//! What checks remember of a service, and which of its listeners are missing.

use crate::everyone;
use connleak::base::error::{Error, Result};
use connleak::history::first_sights::FirstSights;
use connleak::history::state_dir;
use connleak::kernel::world::World;
use connleak::owners::known::Known;
use connleak::owners::recorded::{self, By};
use connleak::service::target::Target;
use connleak::service::unix;
use rustix::process::geteuid;
use std::path::Path;

/// As root everyone's, else one's own.
#[derive(Default)]
pub struct Remembered {
    pub sights: FirstSights,
    /// To know ghosts by.
    pub known: Known,
    /// What is to be said where there may be more.
    pub unread: Option<String>,
}

/// `seeks_ghosts`: what checks know of its processes is wanted, too.
pub fn recall(target: &Target, chosen: Option<&Path>, seeks_ghosts: bool, world: &World) -> Remembered {
    let has_unix = !target.selection.unix.is_empty();
    if !has_unix && !seeks_ghosts || world.replay.is_some() {
        return Remembered::default();
    }
    let (mut sights, mut known, mut unread) = (FirstSights::default(), Known::default(), None);
    let mut is_unknown = |why: String| {
        unread.get_or_insert(format!("what checks remember is partly unknown: {why}"));
    };
    let places = everyone::places(chosen).unwrap_or_else(|why| {
        is_unknown(why);
        Vec::new()
    });
    let by = [By::Closewait, By::Growth].into_iter().filter(|_| seeks_ghosts);
    let keys = by.map(|by| recorded::key(by, target, world)).collect::<Result<Vec<_>>>().unwrap_or_else(|why| {
        is_unknown(why.to_string());
        Vec::new()
    });
    for (uid, dir) in places {
        let read = || {
            let sights = if has_unix { FirstSights::recall(&dir)? } else { FirstSights::default() };
            let of_ghosts = keys.iter().map(|key| recorded::read(key, dir.parent())).collect::<Result<Vec<_>>>()?;
            Ok((sights, of_ghosts))
        };
        match everyone::as_user(uid, || read().map_err(|why: Error| why.to_string())) {
            Ok((of_user, of_ghosts)) => {
                sights.merge(of_user);
                for of_check in &of_ghosts {
                    known.add(of_check);
                }
            }
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
    target.recall(&sights);
    Remembered { sights, known, unread }
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
