//! CLOSE_WAIT that comes and goes: what a server closed while it was idle stays in its pool until that takes it again.
//! check_conn_growth remembers how many of a pool were so at once, and for how long, before a process that lived on closed
//! them; check_closewait spares as many. What never ends, as a leak's, teaches nothing. A reset makes such a socket a ghost: it
//! is there as long as its process has the descriptor.

mod learning;
mod pools;

pub use learning::learn;

use crate::base::duration::Span;
use crate::base::error::{Error, Result};
use crate::history::last_look::LastLook;
use crate::kernel::boot;
use crate::kernel::scope;
use crate::kernel::socket::{Side, State};
use crate::kernel::world::World;
use crate::owners::blame::Suspect;
use crate::owners::spares::Spare;
use crate::service::target::Target;
use pools::Pools;
use rustix::time::{ClockId, clock_gettime};
use std::path::Path;

/// Milliseconds without a look of check_conn_growth, after which nobody knows what is usual now.
const STALE: u64 = 3_600_000;
/// Numbers that are remembered of one in CLOSE_WAIT; of a pool three.
const OPEN: usize = 10;

/// What a pool's CLOSE_WAIT usually is. A pool may have several, by how long they last: the longer, the fewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OfPool {
    /// [`pools::number`].
    pool: u64,
    /// At once.
    count: u64,
    /// Milliseconds that one may last.
    lasts: u64,
}

/// What is usual of a service's pools, as far as it isn't taken out yet.
#[derive(Clone, Debug, Default)]
pub struct Usual {
    pools: Vec<OfPool>,
    /// Inode, pool and age at most of those that were in CLOSE_WAIT at the last look of check_conn_growth.
    closed: Vec<(u64, u64, u64)>,
    /// How many can't be told a pool of, and why.
    untold: Option<(usize, String)>,
}

fn file(state_dir: Option<&Path>, target: &Target, world: &World) -> Result<LastLook> {
    let key = format!("CLOSE_WAIT of {} {}", target.name(world), scope::key(world)?);
    LastLook::read(state_dir, &key, &boot::boot_id()?)
}

/// Milliseconds that the host was awake since its boot: no socket's age goes on while it sleeps.
fn now() -> u64 {
    let awake = clock_gettime(ClockId::Monotonic);
    (awake.tv_sec as u64).saturating_mul(1000).saturating_add(awake.tv_nsec as u64 / 1_000_000)
}

/// What is usual of the target's pools on this host, and why what was learned can't be used.
pub fn usual(state_dir: Option<&Path>, target: &Target, world: &World) -> (Usual, Option<String>) {
    let learned =
        file(state_dir, target, world).and_then(|file| match file.numbers().map(|numbers| figures(&numbers)) {
            None if !file.is_there() => Ok(Usual::default()),
            None | Some(None) => Err(Error::Usage("of another boot or version".into())),
            Some(Some((looked, usual)))
                if !usual.is_empty() && !(looked..=looked.saturating_add(STALE)).contains(&now()) =>
            {
                Err(Error::Usage("its last run was not within the last hour".into()))
            }
            Some(Some((_, usual))) => Ok(usual),
        });
    match learned {
        Ok(usual) => (usual, None),
        Err(why) => {
            (Usual::default(), Some(format!("what check_conn_growth learned of CLOSE_WAIT is not used: {why}")))
        }
    }
}

/// When it was learned, and what is usual.
fn figures(numbers: &[u64]) -> Option<(u64, Usual)> {
    let (&[looked, pools, closed], rest) = numbers.split_first_chunk()?;
    let (pools, rest) = rest.split_at_checked(usize::try_from(pools).ok()?.checked_mul(3)?)?;
    let closed = rest.get(..usize::try_from(closed).ok()?.checked_mul(OPEN)?)?;
    let of_pool = |[pool, count, lasts]: &[u64; 3]| OfPool { pool: *pool, count: *count, lasts: *lasts };
    let now = now();
    let age = |[inode, pool, since, ..]: &[u64; OPEN]| (*inode, *pool, now.saturating_sub(*since));
    let closed = closed.as_chunks().0.iter().map(age).collect();
    Some((looked, Usual { pools: pools.as_chunks().0.iter().map(of_pool).collect(), closed, untold: None }))
}

/// Whether a pool on this host may keep it for a while.
pub fn may_be_usual(suspect: &Suspect, side: Side) -> bool {
    side == Side::Client && suspect.state == State::CloseWait
}

impl Usual {
    pub fn is_empty(&self) -> bool {
        self.pools.is_empty()
    }

    /// Takes out of each pool what is usual of it, and returns it: the youngest, as many as come and go at once.
    pub fn take_out<T: Spare>(&mut self, all: &mut Vec<T>, world: &World) -> Vec<T> {
        if self.is_empty() {
            return Vec::new();
        }
        let may_be = all.iter().filter(|one| may_be_usual(one.suspect(), one.side())).map(Spare::suspect);
        let pools = Pools::find(&may_be.collect::<Vec<_>>(), world);
        all.sort_by_key(|one| (at_most(one.suspect()), one.suspect().local, one.suspect().remote));
        let is_usual = |one: &mut T| {
            let suspect = one.suspect();
            let age = at_most(suspect).filter(|_| may_be_usual(suspect, one.side()));
            age.zip(pools.of(suspect)).is_some_and(|(age, member)| self.has_room(member.pool, age))
        };
        let usual = all.extract_if(.., is_usual).collect();
        self.untold = pools.untold;
        usual
    }

    /// That some aren't spared as nobody knows whose they are. A guess would hide another program's leak.
    pub fn unspared(&self) -> Option<String> {
        let (count, why) = self.untold.as_ref()?;
        Some(format!("none of {count} in CLOSE_WAIT is spared as usual, as their process is unknown: {why}"))
    }

    /// Takes out those ghosts that were in CLOSE_WAIT at the last look of check_conn_growth, as far as their pools have room.
    pub fn take_out_ghosts(&mut self, ghosts: &mut Vec<Suspect>) -> u64 {
        let before = ghosts.len();
        let closed = std::mem::take(&mut self.closed);
        ghosts.retain(|ghost| {
            let known = closed.iter().find(|(inode, ..)| *inode == ghost.inode);
            !known.is_some_and(|(_, pool, age)| self.has_room(*pool, *age))
        });
        (before - ghosts.len()) as u64
    }

    /// Takes a place where there is one: who lasts longer counts among those that may last for less, too.
    fn has_room(&mut self, pool: u64, age: u64) -> bool {
        let mut its: Vec<&mut OfPool> = self.pools.iter_mut().filter(|usual| usual.pool == pool).collect();
        let Some(longest) = its.iter().position(|usual| age <= usual.lasts) else { return false };
        let has_room = its[..=longest].iter().all(|usual| usual.count > 0);
        its[..=longest].iter_mut().filter(|_| has_room).for_each(|usual| usual.count -= 1);
        has_room
    }

    /// For `-v`.
    pub fn details(&self) -> impl Iterator<Item = String> {
        self.pools.iter().map(|OfPool { count, lasts, .. }| {
            let lasts = Span::millis(*lasts);
            format!("usual: {count} in CLOSE_WAIT at once for up to {lasts}, as check_conn_growth has seen a pool's come and go")
        })
    }
}

fn at_most(suspect: &Suspect) -> Option<u64> {
    suspect.age_at_most.or(suspect.age).map(u64::from)
}
