//! What check_conn_growth learns of CLOSE_WAIT: which sockets are so, who has them, and for how long they were when their
//! process closed them.

use super::{OPEN, OfPool, Usual, at_most, figures, file, now};
use crate::base::error::Result;
use crate::base::fnv::fnv64;
use crate::kernel::owner::read_tables::still_leads;
use crate::kernel::owner::tables::Place;
use crate::kernel::owner::{self, Holders, open_process, sockets_held, stat};
use crate::kernel::proc_stat;
use crate::kernel::world::World;
use crate::owners::blame::Suspect;
use crate::owners::spares;
use crate::service::target::Target;
use rustix::fd::AsFd;
use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// So often it must have come and gone, other sockets each time.
const OFTEN: usize = 3;
/// Seldom is a pause exactly as long as those before.
const LONGER: u64 = 2;
/// Milliseconds. Of longer ones nobody can say whether they were a pause or a leak that was found.
const LONGEST: u64 = 3_600_000;
/// Milliseconds: younger ones are being closed just now.
const SHORTEST: u32 = 1000;
/// Sockets in CLOSE_WAIT that are followed, and closed ones that are remembered.
const MOST: usize = 512;

/// A client's socket in CLOSE_WAIT, and who has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    cookie: u64,
    pool: u64,
    inode: u64,
    pid: u32,
    /// By which its process had it when it was met; `None`: an earlier version met it.
    fd: Option<u32>,
    /// [`life`] of its process.
    life: u64,
    /// When its peer closed at the earliest; the first look that showed it so and the last one, in milliseconds.
    since: u64,
    first: u64,
    last: u64,
    /// Milliseconds in CLOSE_WAIT at most, as later ones are judged by that: where probes hide it, the time since data.
    age: u64,
    /// Whether it was missing at the last look. Who ends closes all it has just before: it must have lived on.
    has_gone: bool,
}

/// One that its process closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Past {
    pool: u64,
    first: u64,
    last: u64,
    age: u64,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Learned {
    /// When check_conn_growth last looked.
    looked: u64,
    open: Vec<Open>,
    past: Vec<Past>,
}

/// What a whole look of check_conn_growth saw in CLOSE_WAIT on the client's side. `leaks`: something of the service does,
/// so what ends now teaches nothing.
///
/// # Errors
/// Where it can't be remembered.
pub fn learn(
    state_dir: Option<&Path>,
    target: &Target,
    (seen, leaks): (&[Suspect], bool),
    world: &World,
) -> Result<()> {
    let file = file(state_dir, target, world)?;
    let known = file.numbers().and_then(|numbers| Learned::of_numbers(&numbers));
    let is_unused = known.as_ref().map_or(!file.is_there(), |known| known.open.is_empty() && known.past.is_empty());
    // What is not looked at in time is there at the next look, or gone since.
    if is_unused && seen.is_empty() || world.deadline.is_near() {
        return Ok(());
    }
    let mut learned = known.unwrap_or_default();
    learned.looked = now();
    if leaks {
        learned.open.clear();
    } else {
        let mut holders = HashMap::new();
        let _rights = world.raise();
        learned.see(seen, &mut |one| holds(one, &mut holders, world), &mut |closed| anyones(closed, world));
        learned.meet(seen, world);
    }
    file.keep(&learned.numbers())
}

/// Who had one.
struct Holder {
    /// [`life`] of the process now.
    life: Option<u64>,
    /// All sockets that it has, as far as they had to be read; in it `None`: they can't be.
    sockets: OnceCell<Option<HashSet<u64>>>,
}

/// Whether who had it has it still, where that one runs and can be read: by the descriptor that it had; where that leads
/// elsewhere, by any. `holders`: by pid, as far as they were asked for.
fn holds(one: &Open, holders: &mut HashMap<u32, Holder>, world: &World) -> Option<bool> {
    let new = || Holder { life: life(one.pid, world), sockets: OnceCell::new() };
    let holder = holders.entry(one.pid).or_insert_with(new);
    holder.life.filter(|life| *life == one.life)?;
    let place = one.fd.map(|fd| Place { thread: 0, fd, is_registered: false });
    if place.is_some_and(|place| still_leads(world, one.pid, place, one.inode)) {
        return Some(true);
    }
    let read = || {
        let mut inodes = HashSet::new();
        sockets_held(open_process(world, one.pid).ok()?.as_fd(), &mut inodes).ok()?;
        // Who has called execve(2) since has not closed them as one that lives on does.
        (life(one.pid, world) == holder.life).then_some(inodes)
    };
    holder.sockets.get_or_init(read).as_ref().map(|inodes| inodes.contains(&one.inode))
}

/// What tells a process from others of its number, and from what it was before execve(2), which closes descriptors as an end
/// does. `None`: it has ended, or may not be read.
fn life(pid: u32, world: &World) -> Option<u64> {
    let _rights = world.raise();
    let line = stat(open_process(world, pid).ok()?.as_fd()).ok()?;
    let (started, stack) = (proc_stat::started(&line)?, proc_stat::stack_start(&line)?);
    Some(fnv64(format!("{started} {stack}").as_bytes()))
}

/// Those that some process still has, as a child that was forked with them; `None`: that can't be told.
fn anyones(closed: &[Open], world: &World) -> Option<HashSet<u64>> {
    let wanted: Vec<(u64, u32)> = closed.iter().map(|one| (one.inode, 0)).collect();
    let owners = owner::find(world, &wanted, Holders::First);
    let is_held = |inode: &u64| owners.of(*inode).next().is_some();
    (!owners.late && !owners.unlisted).then(|| closed.iter().map(|one| one.inode).filter(is_held).collect())
}

impl Learned {
    /// `holds`: whether its process has one still; `None`: that can't be told, or it has ended. `anyones`: [`anyones`].
    fn see(
        &mut self,
        seen: &[Suspect],
        holds: &mut dyn FnMut(&Open) -> Option<bool>,
        anyones: &mut dyn FnMut(&[Open]) -> Option<HashSet<u64>>,
    ) {
        let (now, mut closed) = (self.looked, Vec::new());
        let seen: HashMap<_, _> = seen.iter().filter_map(|one| Some((one.cookie?.get(), one.age))).collect();
        self.open.retain_mut(|one| match (holds(one), seen.get(&one.cookie)) {
            (Some(true), here) => {
                let age = here.copied().flatten().map_or(0, u64::from);
                (one.last, one.age) = (now, one.age.max(age).max(now.saturating_sub(one.since)));
                true
            }
            (Some(false), None) => {
                closed.extend((one.has_gone && one.age <= LONGEST).then_some(*one));
                !std::mem::replace(&mut one.has_gone, true)
            }
            // Its process has ended, or left it to another.
            (None, _) | (Some(false), Some(_)) => false,
        });
        let held = if closed.is_empty() { None } else { anyones(&closed) };
        let is_closed = |one: &Open| held.as_ref().is_some_and(|held| !held.contains(&one.inode));
        let past = |Open { pool, first, last, age, .. }| Past { pool, first, last, age };
        self.past.extend(closed.into_iter().filter(is_closed).map(past));
        self.past.drain(..self.past.len().saturating_sub(MOST));
    }

    /// Adds those that are not known yet, whose process is found.
    fn meet(&mut self, seen: &[Suspect], world: &World) {
        let open: HashSet<u64> = self.open.iter().map(|one| one.cookie).collect();
        let is_new = |suspect: &&Suspect| {
            let is_old = suspect.age_at_most.max(suspect.age).is_some_and(|age| age >= SHORTEST);
            is_old && suspect.inode != 0 && suspect.cookie.is_some_and(|cookie| !open.contains(&cookie.get()))
        };
        let new: Vec<&Suspect> = seen.iter().filter(is_new).take(MOST.saturating_sub(self.open.len())).collect();
        let wanted: Vec<(u64, u32)> = new.iter().map(|suspect| (suspect.inode, suspect.uid)).collect();
        let owners = owner::find(world, &wanted, Holders::First);
        for suspect in new {
            let held = owners.descriptors(suspect.inode).next();
            let (Some(cookie), Some((holder, fd))) = (suspect.cookie, held) else { continue };
            let Some(life) = life(holder.pid, world) else { continue };
            self.open.push(Open {
                cookie: cookie.get(),
                pool: spares::number(suspect),
                inode: suspect.inode,
                pid: holder.pid,
                fd: Some(fd),
                life,
                since: self.looked.saturating_sub(at_most(suspect).unwrap_or(0)),
                first: self.looked,
                last: self.looked,
                age: at_most(suspect).unwrap_or(0),
                has_gone: false,
            });
        }
    }

    /// How many of each pool are usual for how long: the longer, the fewer.
    fn usual(&self) -> Vec<OfPool> {
        let mut pools: Vec<u64> = self.past.iter().map(|past| past.pool).collect();
        pools.sort_unstable();
        pools.dedup();
        pools.into_iter().flat_map(|pool| self.usual_of(pool)).collect()
    }

    fn usual_of(&self, pool: u64) -> Vec<OfPool> {
        let mut usual: Vec<OfPool> = Vec::new();
        let mut least = 0;
        while least <= LONGEST {
            let lasting = self.past.iter().filter(|past| past.pool == pool && past.age >= least);
            let Some((count, longest)) = often(lasting.collect()) else { break };
            let lasts = longest * LONGER;
            usual.pop_if(|before| before.count == count && before.lasts < lasts);
            if usual.last().is_none_or(|before| before.lasts < lasts) {
                usual.push(OfPool { pool, count, lasts });
            }
            least = (2 * least).max(u64::from(SHORTEST));
        }
        usual
    }

    fn numbers(&self) -> Vec<u64> {
        let usual = self.usual();
        let mut numbers = vec![self.looked, usual.len() as u64, self.open.len() as u64];
        numbers.extend(usual.iter().flat_map(|OfPool { pool, count, lasts }| [*pool, *count, *lasts]));
        for Open { cookie, pool, inode, pid, fd, life, since, first, last, age, has_gone } in &self.open {
            let gone = u64::from(*has_gone);
            // Earlier versions, which know no descriptor, find no such process then, and forget the socket.
            let holder = u64::from(*pid) | fd.map_or(0, |fd| (u64::from(fd) + 1) << 32);
            let one: [u64; OPEN] = [*inode, *pool, *since, *cookie, holder, *life, *first, *last, *age, gone];
            numbers.extend(one);
        }
        numbers.extend(self.past.iter().flat_map(|Past { pool, first, last, age }| [*pool, *first, *last, *age]));
        numbers
    }

    /// `None`: they are none of ours.
    fn of_numbers(numbers: &[u64]) -> Option<Learned> {
        let (looked, Usual { pools, closed }) = figures(numbers)?;
        let (open, past) = numbers.get(3 + 3 * pools.len()..)?.split_at_checked(closed.len() * OPEN)?;
        let (past, []) = past.as_chunks() else { return None };
        let one = |[inode, pool, since, cookie, holder, life, first, last, age, gone]: &[u64; OPEN]| Open {
            cookie: *cookie,
            pool: *pool,
            inode: *inode,
            pid: *holder as u32,
            fd: ((*holder >> 32) as u32).checked_sub(1),
            life: *life,
            since: *since,
            first: *first,
            last: *last,
            age: *age,
            has_gone: *gone != 0,
        };
        let closed = |[pool, first, last, age]: &[u64; 4]| Past { pool: *pool, first: *first, last: *last, age: *age };
        Some(Learned {
            looked,
            open: open.as_chunks().0.iter().map(one).collect(),
            past: past.iter().map(closed).collect(),
        })
    }
}

/// The moments with the most at once, each time without the sockets of those before: how many even the last of them had, and
/// for how long.
fn often(mut left: Vec<&Past>) -> Option<(u64, u64)> {
    let (mut count, mut longest) = (u64::MAX, u64::MAX);
    for _ in 0..OFTEN {
        let [mut begun, mut ended] =
            [|past: &&Past| past.first, |past: &&Past| past.last].map(|at| left.iter().map(at).collect::<Vec<_>>());
        begun.sort_unstable();
        ended.sort_unstable();
        let at_once = |at: u64| begun.partition_point(|first| *first <= at) - ended.partition_point(|last| *last < at);
        let fullest = left.iter().max_by_key(|past| (at_once(past.first), past.age))?.first;
        let (here, others): (Vec<&Past>, Vec<&Past>) =
            left.into_iter().partition(|past| past.first <= fullest && fullest <= past.last);
        count = count.min(here.len() as u64);
        longest = longest.min(here.iter().map(|past| past.age).max()?);
        left = others;
    }
    Some((count, longest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::deadline::Deadline;
    use crate::kernel::socket::{Endpoint, Socket, State};
    use std::num::NonZeroU64;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    /// One of a pool, in CLOSE_WAIT for so many seconds.
    fn closed(cookie: u64, age: u32) -> Suspect {
        let end = |port| Endpoint::new([127, 0, 0, 1].into(), port);
        let socket = Socket { inode: cookie, uid: 33, ..Socket::bare(State::CloseWait, end(cookie as u16), end(6379)) };
        Suspect { cookie: NonZeroU64::new(cookie), ..Suspect::new(&socket, Some(age * 1000)) }
    }

    impl Learned {
        /// A look at a second; who is new is of process 7.
        fn look(&mut self, second: u64, seen: &[Suspect], has_closed: bool) {
            self.looked = second * 1000;
            let here: Vec<u64> = seen.iter().map(|one| one.inode).collect();
            let holds = |one: &Open| if here.contains(&one.inode) { Some(true) } else { has_closed.then_some(false) };
            self.see(seen, &mut { holds }, &mut |_| Some(HashSet::new()));
            for suspect in seen {
                let cookie = suspect.cookie.unwrap().get();
                if self.open.iter().all(|one| one.cookie != cookie) {
                    let (pool, age) = (spares::number(suspect), suspect.age.unwrap().into());
                    let [first, last] = [self.looked; 2];
                    let one = Open {
                        cookie,
                        pool,
                        inode: cookie,
                        pid: 7,
                        fd: Some(3),
                        life: 1,
                        since: first,
                        first,
                        last,
                        age,
                        has_gone: false,
                    };
                    self.open.push(one);
                }
            }
        }

        /// A minute in which so many come, are seen twice, and are closed, beside `leaked`.
        fn round(&mut self, at: u64, count: u64, leaked: &[Suspect], has_closed: bool) {
            let all = |age| [leaked.to_vec(), (0..count).map(|n| closed(at * 100 + n + 1, age)).collect()].concat();
            self.look(at, &all(5), has_closed);
            self.look(at + 20, &all(25), has_closed);
            self.look(at + 40, leaked, has_closed);
            self.look(at + 50, leaked, has_closed);
        }
    }

    #[test]
    fn what_even_the_third_time_had_is_usual() {
        let mut learned = Learned::default();
        learned.round(0, 12, &[], true);
        learned.round(60, 6, &[], true);
        assert_eq!(learned.usual(), [], "twice is not often");
        learned.round(120, 9, &[], true);
        let usual = learned.usual();
        assert_eq!(usual, [OfPool { pool: spares::number(&closed(1, 0)), count: 6, lasts: 50_000 }]);
        assert_eq!(Learned::of_numbers(&learned.numbers()), Some(learned));
    }

    /// A burst is soon taken again, or most of it rests for long.
    #[test]
    fn the_longer_the_fewer() {
        let mut learned = Learned::default();
        for at in 0..3 {
            learned.round(at * 1000, 12, &[], true);
            let few = |age| (0..5).map(|n| closed(at * 1000 + 500 + n, age)).collect::<Vec<_>>();
            learned.look(at * 1000 + 100, &few(5), true);
            learned.look(at * 1000 + 500, &few(405), true);
            learned.look(at * 1000 + 600, &[], true);
            learned.look(at * 1000 + 700, &[], true);
        }
        let pool = spares::number(&closed(1, 0));
        let usual = [OfPool { pool, count: 12, lasts: 50_000 }, OfPool { pool, count: 5, lasts: 810_000 }];
        assert_eq!(learned.usual(), usual);
        let spared = |ages: &[u64]| {
            let mut left = Usual { pools: usual.to_vec(), closed: Vec::new() };
            ages.iter().filter(|age| left.has_room(pool, **age)).count()
        };
        assert_eq!(spared(&[50_000; 20]), 12);
        assert_eq!(spared(&[50_001; 20]), 5);
        assert_eq!(spared(&[[9; 10], [60_000; 10]].concat()), 12, "of old ones two, as all are no more than twelve");
        assert_eq!(spared(&[[9; 10], [810_001; 10]].concat()), 10);
    }

    #[test]
    fn what_never_ends_teaches_nothing_nor_hides_what_does() {
        let mut learned = Learned::default();
        let leaked: Vec<Suspect> = (0..30).map(|n| closed(9_000_000 + n, 500)).collect();
        for at in 0..5 {
            learned.round(at * 60, 4, &leaked, true);
        }
        assert_eq!(learned.usual().iter().map(|usual| usual.count).collect::<Vec<_>>(), [4]);
    }

    #[test]
    fn what_ends_with_its_process_teaches_nothing() {
        let mut learned = Learned::default();
        for at in 0..5 {
            learned.round(at * 60, 30, &[], false);
        }
        assert_eq!((learned.usual(), learned.open.len()), (Vec::new(), 0));
        // Who closes all it has just before it ends is not there at the next look.
        for at in 5..9 {
            let all: Vec<Suspect> = (0..30).map(|n| closed(at * 100 + n + 1, 9)).collect();
            learned.look(at * 60, &all, true);
            learned.look(at * 60 + 20, &[], true);
            learned.look(at * 60 + 40, &[], false);
        }
        assert_eq!((learned.usual(), learned.open.len()), (Vec::new(), 0));
    }

    #[test]
    fn what_its_process_left_to_another_teaches_nothing() {
        let mut learned = Learned::default();
        for at in 0..4 {
            let all: Vec<Suspect> = (0..6).map(|n| closed(at * 100 + n + 1, 9)).collect();
            learned.look(at * 200, &all, true);
            // In the table still.
            learned.looked += 1000;
            learned.see(&all, &mut |_| Some(false), &mut |_| None);
            assert_eq!(learned.open, []);
            // Reset meanwhile.
            learned.look(at * 200 + 100, &all, true);
            for held in [None, Some(all.iter().map(|one| one.inode).collect::<HashSet<_>>())] {
                let mut learned = Learned::of_numbers(&learned.numbers()).unwrap();
                (0..2).for_each(|_| learned.see(&[], &mut |_| Some(false), &mut |_| held.clone()));
                assert_eq!((learned.usual(), learned.open.len()), (Vec::new(), 0));
            }
            learned.open.clear();
        }
        assert_eq!(learned.usual(), []);
    }

    #[test]
    fn a_ghost_is_there_while_its_process_has_it() {
        let mut learned = Learned::default();
        for at in 0..4 {
            let all: Vec<Suspect> = (0..6).map(|n| closed(at * 100 + n + 1, 9)).collect();
            learned.look(at * 200, &all, true);
            learned.looked = (at * 200 + 90) * 1000;
            learned.see(&[], &mut |_| Some(true), &mut |_| None);
            learned.look(at * 200 + 100, &[], true);
            learned.look(at * 200 + 110, &[], true);
        }
        let pool = spares::number(&closed(1, 0));
        assert_eq!(learned.usual(), [OfPool { pool, count: 6, lasts: 180_000 }]);
        let old = (8, pool, 180_001);
        let mut usual =
            Usual { pools: learned.usual(), closed: (1..8).map(|inode| (inode, pool, 9)).chain([old]).collect() };
        let mut ghosts: Vec<Suspect> = (1..=8).chain([77]).map(|inode| Suspect { inode, ..closed(inode, 0) }).collect();
        assert_eq!(usual.take_out_ghosts(&mut ghosts), 6, "as many as are usual");
        assert_eq!(
            ghosts.iter().map(|ghost| ghost.inode).collect::<Vec<_>>(),
            [7, 8, 77],
            "too many, too old, unknown"
        );
    }

    #[test]
    fn what_lasts_for_hours_is_no_pause() {
        let mut learned = Learned::default();
        for at in 0..4 {
            let all = |age| (0..6).map(|n| closed(at * 100 + n + 1, age)).collect::<Vec<_>>();
            learned.look(at * 8000, &all(5), true);
            learned.look(at * 8000 + 3700, &all(3705), true);
            learned.look(at * 8000 + 3800, &[], true);
            learned.look(at * 8000 + 3900, &[], true);
        }
        assert_eq!(learned.usual(), []);
    }

    /// The process is in a copy of `/proc`, and one of its descriptors can't be read: where all have to be, nothing is told.
    #[test]
    fn one_descriptor_tells_and_all_only_where_it_leads_elsewhere() {
        let root = tempfile::tempdir().unwrap();
        let fds = root.path().join("7/fd");
        std::fs::create_dir_all(&fds).unwrap();
        let stat = (3..=52).map(|field| field.to_string()).collect::<Vec<_>>().join(" ");
        std::fs::write(root.path().join("7/stat"), format!("7 (app) {stat}\n")).unwrap();
        let link = |fd: u32, inode: u64| symlink(format!("socket:[{inode}]"), fds.join(fd.to_string())).unwrap();
        link(3, 42);
        std::fs::write(fds.join("9"), "").unwrap();
        let mut world = World::here(Deadline::after(Duration::from_secs(9)));
        world.proc_root = root.path().to_owned();
        let life = life(7, &world).unwrap();
        let (since, first, last, age) = (0, 0, 0, 0);
        let (cookie, pool, inode, pid, fd, has_gone) = (1, 2, 42, 7, Some(3), false);
        let met = Open { cookie, pool, inode, pid, fd, life, since, first, last, age, has_gone };
        let has = |one: Open| {
            let known = Learned { open: vec![one], ..Learned::default() };
            let known = Learned::of_numbers(&known.numbers()).unwrap();
            assert_eq!(known.open, [one]);
            holds(&known.open[0], &mut HashMap::new(), &world)
        };
        assert_eq!(has(met), Some(true), "the others are not read");
        assert_eq!(has(Open { life: life + 1, ..met }), None, "another process");
        assert_eq!([None, Some(4)].map(|fd| has(Open { fd, ..met })), [None; 2], "all must be read");
        std::fs::remove_file(fds.join("9")).unwrap();
        assert_eq!([None, Some(4)].map(|fd| has(Open { fd, ..met })), [Some(true); 2]);
        link(4, 43);
        assert_eq!(has(Open { fd: Some(4), ..met }), Some(true), "moved by dup2(2)");
        assert_eq!(has(Open { inode: 44, ..met }), Some(false));
    }

    #[test]
    fn numbers_that_are_cut_are_none_of_ours() {
        let mut learned = Learned::default();
        learned.round(0, 2, &[], true);
        learned.look(60, &[closed(7, 3)], true);
        let numbers = learned.numbers();
        assert_eq!(Learned::of_numbers(&numbers), Some(learned));
        for cut in [0, 1, 2, 5, numbers.len() - 1] {
            assert_eq!(Learned::of_numbers(&numbers[..cut]), None, "{cut}");
        }
        assert_eq!(Learned::of_numbers(&[1, u64::MAX]), None);
    }
}
