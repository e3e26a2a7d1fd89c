//! Sockets that no table shows any more, by the process that still has their descriptor.

use crate::screen::visible;
use connleak::base::error::Result;
use connleak::kernel::owner::beside::Beside;
use connleak::kernel::owner::descriptors::Earlier;
use connleak::kernel::owner::{self, Holders, Owners, Process};
use connleak::kernel::world::World;
use connleak::owners::blame::{Named, Suspect};
use connleak::owners::ghosts::{self, Looking};
use connleak::service::target::Target;
use std::cell::Cell;

pub struct Haunted {
    pub process: Process,
    pub sockets: u64,
}

/// Most ghosts first. What is to be said of them goes to `notes`. `(held, owners, beside)`: the service's sockets, who has
/// them, and what else was read for that.
pub fn find(
    target: &Target,
    looking: Looking,
    (held, owners, beside): (&[Suspect], &Owners, Beside),
    world: &World,
    notes: &mut Vec<String>,
) -> Result<Option<Vec<Haunted>>> {
    let sockets = held.iter().filter(|socket| socket.inode != 0).map(|socket| (socket.inode, socket.uid));
    let beside = Cell::new(beside);
    let earlier = || {
        let mut earlier = Earlier { beside: beside.take(), ..Earlier::default() };
        for (inode, _) in sockets.clone() {
            let mut is_held = false;
            for process in owners.of(inode) {
                *earlier.holders.entry(process.pid).or_default() += 1;
                is_held = true;
            }
            if !is_held {
                earlier.unheld.insert(inode);
            }
        }
        earlier
    };
    let Some(found) = ghosts::find_besides(world, target, sockets.clone(), &earlier, looking)? else { return Ok(None) };
    let sockets: Vec<_> = found.sockets.iter().map(|ghost| (ghost.holder_inode, ghost.uid)).collect();
    let owners = owner::find(world, &sockets, Holders::First);
    let mut haunted: Vec<Haunted> = Vec::new();
    for (inode, _) in &sockets {
        let Some(process) = owners.of(*inode).next() else { continue };
        match haunted.iter_mut().find(|known| known.process.pid == process.pid) {
            Some(known) => known.sockets += 1,
            None => haunted.push(Haunted { process: process.clone(), sockets: 1 }),
        }
    }
    haunted.sort_by_key(|known| std::cmp::Reverse(known.sockets));
    let told = haunted.iter().map(|known| format!("{} {}", known.sockets, visible(&Named(&known.process).to_string())));
    let told: Vec<String> = told.collect();
    if found.count > 0 {
        notes.push(format!(
            "ghosts, descriptors of sockets that no table shows: {} ({})",
            found.count,
            told.join(", ")
        ));
    }
    if found.elsewhere > 0 {
        notes.push(format!("{} more ghosts in processes that have no socket of the service", found.elsewhere));
    }
    notes.extend(found.remarks.into_iter().map(|(_, said)| said));
    notes.extend(found.missing);
    notes.extend(found.doubts.into_iter().map(|(_, why)| why));
    Ok(Some(haunted))
}
