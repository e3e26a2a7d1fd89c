//! Which of the connections that look forgotten are a pool's spares, and which nobody will come back for.
//!
//! One look can't tell a spare from a leaked connection by its silence alone. What it can tell: one
//! that never carried a byte was never in a pool's use, and one that no process accepted is in no
//! pool; of the others a pool keeps so many at most, and takes the ones it used last, so the longest
//! silent are those it has lost.

use crate::kernel::socket::{Side, scope};
use crate::owners::blame::Suspect;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU64;

/// Whose pool a connection is in, known without reading any process: on its own host the unit's and
/// user's, seen from the server the client host's. Each network namespace is a host with its own loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Pool {
    Here { netns: u32, cgroup: Option<NonZeroU64>, uid: u32 },
    At { scope: u32, ip: IpAddr },
}

impl Pool {
    fn of(suspect: &Suspect, side: Side) -> Pool {
        match side {
            Side::Client => Pool::Here { netns: suspect.netns, cgroup: suspect.cgroup, uid: suspect.uid },
            _ => Pool::At { scope: scope(suspect.netns, suspect.local, suspect.remote), ip: suspect.remote.ip },
        }
    }
}

/// What may be a spare.
pub trait Spare {
    fn suspect(&self) -> &Suspect;
    fn side(&self) -> Side;
    /// Whether a pool ever had it in use.
    fn was_used(&self) -> bool;
}

/// [`take_out`]; how many that were of each user.
pub fn take_out_by_user<T: Spare>(all: &mut Vec<T>, expected: u64) -> BTreeMap<u32, u64> {
    let count = |all: &[T]| {
        let mut of = BTreeMap::<u32, u64>::new();
        all.iter().for_each(|one| *of.entry(one.suspect().uid).or_default() += 1);
        of
    };
    let mut spares = count(all);
    take_out(all, expected);
    for (uid, left) in count(all) {
        spares.entry(uid).and_modify(|count| *count -= left);
    }
    spares
}

/// Takes out of each pool as many spares as are `expected`, the youngest; returns how many that were.
pub fn take_out<T: Spare>(all: &mut Vec<T>, expected: u64) -> u64 {
    if expected == 0 {
        return 0;
    }
    let before = all.len();
    let pool = |one: &T| Pool::of(one.suspect(), one.side());
    all.sort_by_key(|one| (pool(one), one.suspect().age, one.suspect().local, one.suspect().remote));
    let (mut of, mut taken) = (None, 0);
    all.retain(|one| {
        if of != Some(pool(one)) {
            (of, taken) = (Some(pool(one)), 0);
        }
        if !one.was_used() || one.suspect().is_waiting() {
            return true;
        }
        taken += 1;
        taken > expected
    });
    (before - all.len()) as u64
}
