//! UNIX sockets that earlier looks showed and processes still hold, but in a network namespace that can't be looked into:
//! they alone keep it, as after a container's end.

use connleak::history::first_sights::FirstSights;
use connleak::kernel::owner::{self, Holders, Named, UNKNOWN_UID};
use connleak::kernel::world::{Netns, World};

/// What is to be said of them. Where one namespace is looked at the kernel tells of each whether it has closed.
pub fn still_held(sights: &FirstSights, world: &World) -> Option<String> {
    let vanished = if world.netns == Netns::All { sights.vanished() } else { Vec::new() };
    let sockets: Vec<(u64, u32)> = vanished.into_iter().map(|inode| (inode, UNKNOWN_UID)).collect();
    let owners = owner::find(world, &sockets, Holders::First);
    let mut holders = sockets.iter().filter_map(|(inode, _)| owners.of(*inode).next());
    let first = Named(holders.next()?);
    let count = 1 + holders.count();
    Some(format!(
        "{count} UNIX sockets that were in CLOSE_WAIT are in no network namespace that is reached any more, held by {first}"
    ))
}
