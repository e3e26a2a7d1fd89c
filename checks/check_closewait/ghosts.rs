//! The service's ghosts, and what is remembered between runs to know them by: its sockets of the last look and its processes.

use super::Closewait;
use super::judge::{Found, MOST_INODES, Rules};
use connleak::base::error::{Error, Result};
use connleak::history::last_look::LastLook;
use connleak::kernel::boot;
use connleak::kernel::owner::read_tables::ReadTables;
use connleak::kernel::unhashed;
use connleak::kernel::world::{Netns, World};
use connleak::options::args::Args;
use connleak::owners::ghosts::{self, Ghosts, Looking};
use connleak::owners::known::Known;
use connleak::owners::recorded::{self, By};
use connleak::report::verdict::ServiceState;
use connleak::service::target::Target;
use std::collections::HashSet;

/// What a look at the service's sockets shows for who looks for them.
pub enum Beside<'a> {
    Nothing,
    /// The service's sockets in further states: it has many, which are not to be shown again.
    States,
    /// Everyone's, and what processes hold, which is kept.
    Everyones(&'a mut ReadTables),
}

/// From so many sockets at the last look on it is dearer to show them again than to note what else is there.
const MANY: usize = 1024;

/// What the look at the service's sockets is to show for them. Of all network namespaces each costs a walk of the host's whole
/// table: where they are going to be looked for anyway, one shows all.
pub fn beside<'a>(
    args: &Args<Closewait>,
    target: &Target,
    memory: Option<&Memory>,
    tables: &'a mut ReadTables,
    world: &World,
) -> Beside<'a> {
    let Some(memory) = memory.filter(|_| world.replay.is_none() && target.selection.unix.is_empty()) else {
        return Beside::Nothing;
    };
    match world.netns {
        Netns::All if args.own.ghosts || !unhashed::tells_of_all(world) => Beside::Everyones(tables),
        Netns::All => Beside::Nothing,
        _ if memory.known.rows.len() >= MANY && unhashed::bound(world) != Some(0) => Beside::States,
        _ => Beside::Nothing,
    }
}

/// Looks for them, and remembers this look.
pub fn look_for(
    args: &Args<Closewait>,
    target: &Target,
    rules: &Rules,
    (found, tables): (&mut Found, &mut ReadTables),
    memory: Option<Memory>,
    world: &World,
) -> Result<Option<Ghosts>> {
    if args.own.ghosts && args.own.no_ghosts {
        return Err(Error::Usage("--ghosts and --no-ghosts contradict each other; give one".into()));
    }
    if !target.selection.has_tcp() && world.replay.is_none() {
        return Ok(Some(Ghosts::default()));
    }
    let Some(memory) = memory else { return Ok(None) };
    let rows = std::mem::take(&mut found.rows);
    let mut ghosts = {
        let known = rules.judge(found.stuck.len() as u64, found.oldest, found).state;
        let shows_details = args.common.wants_owners(known != ServiceState::Ok).is_some();
        let (matters, exactly) = (&|more| rules.at_worst(found, more) > known, shows_details);
        let looking = if args.own.ghosts { Looking::Asked } else { Looking::ByDefault { matters, exactly } };
        let alive = || {
            let mut pids = match world.netns {
                // Their sockets may live on in a namespace that can't be entered any more.
                Netns::All => Vec::new(),
                _ => memory.known.alive(&memory.boot_id, world),
            };
            pids.extend(&target.request.pids);
            pids
        };
        ghosts::find(world, target, rows, &alive, &memory.known, looking, tables)?
    };
    if let Some(ghosts) = &mut ghosts {
        let mut memory = memory;
        let unread = memory.unread.take();
        let unkept = memory.keep(found, ghosts, world).err();
        unread.or(unkept).iter().for_each(|why| ghosts.are_not_remembered(why));
    }
    Ok(ghosts)
}

/// As an earlier run left it.
pub struct Memory {
    boot_id: String,
    known: Known,
    /// Inodes of sockets that came in by another port than their own: once their client's end is gone nothing else tells.
    pub redirected: HashSet<u64>,
    file: Result<LastLook>,
    /// Why it can't be told what earlier runs, or check_conn_growth's, knew.
    unread: Option<Error>,
}

/// Marks such an inode among the others: the kernel's have 32 bits.
const REDIRECTED: u64 = 1 << 63;

impl Memory {
    /// `None`: nothing is to be remembered.
    pub fn of(args: &Args<Closewait>, target: &Target, world: &World) -> Option<Memory> {
        (target.selection.has_tcp() && !args.own.no_ghosts).then(|| Memory::read(args, target, world))
    }

    fn read(args: &Args<Closewait>, target: &Target, world: &World) -> Memory {
        let state_dir = args.own.state_dir.as_deref();
        let file = recorded::file(By::Closewait, state_dir, target, world);
        let own = file.as_ref().map_or_else(|_| Ok(Known::default()), recorded::content);
        let (mut known, damage) = own.map_or_else(|damage| (Known::default(), Some(damage)), |known| (known, None));
        let (redirected, rows) = known.rows.iter().partition::<Vec<u64>, _>(|inode| **inode & REDIRECTED != 0);
        known.rows = rows;
        let redirected = redirected.iter().map(|inode| inode & !REDIRECTED).collect();
        let growths = recorded::key(By::Growth, target, world).and_then(|key| recorded::read(&key, state_dir));
        let unread = damage.or(growths.map(|growths| known.add(&growths)).err());
        Memory { boot_id: boot::boot_id().unwrap_or_default(), known, redirected, file, unread }
    }

    /// Processes are known once one of their ghosts is, or a look met them.
    fn keep(mut self, found: &mut Found, ghosts: &Ghosts, world: &World) -> Result<()> {
        let mut inodes: Vec<u64> = found.redirected.inodes.iter().map(|inode| inode | REDIRECTED).collect();
        inodes.append(&mut found.inodes);
        if found.seen.missing.is_some() {
            // What couldn't be read now stays known, once and as many as ever.
            inodes.extend(self.redirected.iter().map(|inode| inode | REDIRECTED));
            inodes.append(&mut self.known.rows);
            let mut met = HashSet::new();
            inodes.retain(|inode| met.insert(*inode));
            inodes.truncate(MOST_INODES);
        }
        if let Some(met) = &ghosts.looked_at {
            let alive = self.known.alive(&self.boot_id, world);
            self.known.meet(&self.boot_id, &alive, met.iter().copied(), world);
        }
        self.known.remember(inodes, ghosts.strangers.as_deref(), world);
        match self.file? {
            file if file.is_there() || !self.known.is_empty() => file.keep(&self.known.numbers()),
            _ => Ok(()),
        }
    }
}
