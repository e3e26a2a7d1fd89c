//! Sockets that no table shows any more, by the process that still has their descriptor.

use crate::screen::visible;
use connleak::base::error::Result;
use connleak::kernel::boot;
use connleak::kernel::owner::read_tables::ReadTables;
use connleak::kernel::owner::{self, Holders, Named, Process};
use connleak::kernel::world::{Netns, World};
use connleak::owners::ghosts::{self, Looking, Rows};
use connleak::owners::known::Known;
use connleak::service::target::Target;

pub struct Haunted {
    pub process: Process,
    pub sockets: u64,
}

/// Most ghosts first. What is to be said of them goes to `notes`. `rows`: the service's sockets. `before`: what checks know
/// of it.
pub fn find(
    target: &Target,
    looking: Looking,
    (rows, before): (Rows, &Known),
    tables: &mut ReadTables,
    world: &World,
    notes: &mut Vec<String>,
) -> Result<Option<Vec<Haunted>>> {
    let known = || {
        let alive = before.alive(&boot::boot_id().unwrap_or_default(), world);
        // Of all namespaces sockets may live on in one that can't be entered any more.
        let alive = alive.into_iter().filter(|_| world.netns != Netns::All);
        alive.chain(target.request.pids.iter().copied()).collect()
    };
    let Some(found) = ghosts::find(world, target, rows, &known, before, looking, tables)? else { return Ok(None) };
    let sockets: Vec<_> = found.sockets.iter().map(|ghost| (ghost.holder_inode, ghost.uid)).collect();
    let owners = owner::find_in(world, &mut sockets.iter().copied(), Holders::First, Some(tables));
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
