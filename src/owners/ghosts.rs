//! Sockets that the kernel's tables no longer show while a process still has their descriptor.
//!
//! A reset takes a socket out of the tables, from CLOSE_WAIT too; so does the end of a connection that
//! both sides have closed. All that is left is a descriptor whose inode no table of any network
//! namespace knows. It has no addresses, no state and no age.

mod found;
mod others;
mod processes;
mod rows;
mod suspected;
mod table_search;

pub use found::Ghosts;
pub use rows::Rows;
use suspected::Suspected;

use crate::base::error::{Error, Result};
use crate::kernel::owner::read_tables::ReadTables;
use crate::kernel::unhashed;
use crate::kernel::world::{Netns, World};
use crate::owners::known::Known;
use crate::service::target::Target;
use std::thread;
use std::time::Duration;

/// Between two looks: what a process makes just now, or is about to close, is no ghost.
const PAUSE: Duration = Duration::from_millis(500);

/// How ghosts are looked for.
#[derive(Clone, Copy)]
pub enum Looking<'a> {
    /// `--ghosts`: what can't be read leaves the answer open.
    Asked,
    /// Unasked: what can't be read is doubt, as far as the kernel's counters bound it.
    ByDefault {
        /// Whether so many more would change the verdict.
        matters: &'a dyn Fn(u64) -> bool,
        /// Whether their number is wanted also where it doesn't.
        exactly: bool,
    },
}

impl Looking<'_> {
    /// Whether processes must be read where there are no more than these.
    fn needs(self, at_most: u64) -> bool {
        match self {
            Looking::Asked => true,
            Looking::ByDefault { matters, exactly } => at_most > 0 && (exactly || matters(at_most)),
        }
    }
}

/// Looks twice where the first look finds any. What can't be read is said, beside what is known already. `None`:
/// not looked for, in a recorded dump. `rows`: the service's sockets as they have been read. `known` tells processes
/// that are the service's, whether they have another socket of it or not. `before`: what earlier looks knew. `tables`:
/// what was read of processes, and is.
///
/// # Errors
/// When they were asked for there.
pub fn find(
    world: &World,
    target: &Target,
    rows: Rows,
    known: &dyn Fn() -> Vec<u32>,
    before: &Known,
    looking: Looking,
    tables: &mut ReadTables,
) -> Result<Option<Ghosts>> {
    // What is in no table may live on in a namespace that could be entered then and can't be now.
    let nothing = Known::default();
    let before = if world.netns == Netns::All { &nothing } else { before };
    let was_asked = matches!(looking, Looking::Asked);
    match (world.replay.is_some(), was_asked) {
        (true, true) => {
            let why = "--ghosts needs this machine's processes: it can't be used with --replay";
            return Err(Error::Usage(why.into()));
        }
        (true, false) => return Ok(None),
        (false, _) => {}
    }
    // The usual case costs no look at any process.
    let bound = if was_asked { None } else { unhashed::bound(world) };
    if let Some(at_most) = bound.filter(|at_most| !looking.needs(*at_most)) {
        return Ok(Some(Ghosts::not_sought(at_most)));
    }
    let suspected = |at_most| {
        let rows = rows.complete(world, target)?;
        Ok(Suspected::new(target, rows, known(), before, looking, at_most))
    };
    let nothing = |why: Error| Ghosts { missing: vec![format!("ghosts unknown: {why}")], ..Ghosts::default() };
    let found = search(world, suspected, looking, tables).unwrap_or_else(nothing);
    Ok(Some(Ghosts { was_asked, ..found }))
}

/// `whose`: whose ghosts they may be; given is how many there are at most.
fn search<'a>(
    world: &World,
    whose: impl FnOnce(Option<u64>) -> Result<Suspected<'a>>,
    looking: Looking,
    tables: &mut ReadTables,
) -> Result<Ghosts> {
    let at_most = match looking {
        Looking::Asked => None,
        Looking::ByDefault { matters, .. } => unhashed::at_most(world, matters, false),
    };
    if let Some(at_most) = at_most.filter(|at_most| !looking.needs(*at_most)) {
        return Ok(Ghosts::not_sought(at_most));
    }
    let mut suspected = whose(at_most)?;
    let mut look = suspected.look(world, tables)?;
    if !look.ghosts.is_empty() {
        thread::sleep(PAUSE.min(world.deadline.left() / 4));
        suspected.look_again(&mut look, world, tables)?;
    }
    let mut found = suspected.finish(&look);
    suspected.judge_others(&look, &mut found, world);
    if let Looking::ByDefault { matters, .. } = looking
        && !found.missing.is_empty()
    {
        let exact = |all: u64| unhashed::at_most(world, matters, true).map_or(all, |exact| exact.min(all));
        found.bound(at_most.map_or_else(|| unhashed::unlisted(world), |all| Ok(Some(exact(all)))));
    }
    Ok(found)
}
