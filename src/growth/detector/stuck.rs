//! A pool that is stuck: all connections of an owner have been silent for longer than they ever are at once.
//!
//! One connection may rest for hours, as a pool takes the one that it used last; that none is used is rare while its owner works. At
//! night and on weekends it is not: how long all rest is learned by the hour of the week. Whether the owner still works its other
//! sockets tell, which the caller asks once a pool is suspected.

use super::histogram::{Histogram, RATIO, SHORTEST};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Seconds; a shorter rest may be any pause.
const FLOOR: f64 = 300.0;
/// Looks in a row that must have seen it, where they are rare.
const LOOKS: f64 = 3.0;
/// Longer than this many times what all but one in a hundred rests here last.
const USUAL: f64 = 10.0;
const RARE: f64 = 0.01;
/// And than this many times the longest of the hours of the week that it lies in and those beside them; where one of them is new, of all.
const LONGEST: f64 = 3.0;
/// Seconds after which it is no news: a pool gets stuck in use, and what rests since last evening has a holiday.
const NO_NEWS: f64 = 43_200.0;
/// Rests that must have ended before any is judged.
const ENOUGH: f64 = 10.0;
/// A pool that is stuck has all the connections that it may have: nearly as many as while it is used.
const SIZE: f32 = 0.9;
/// By how much of the difference the usual size follows a look.
const FOLLOWS: f32 = 0.1;
/// Seconds by which ages and clocks differ.
const JITTER: f64 = 3.0;
/// Rests of other times fade by 1/e in this many seconds, as silences do.
const MEMORY: f64 = 30.0 * 86_400.0;
/// Hours of a week.
const WEEK: usize = 168;
/// Seconds after which a size that was not reached again is none that a pool has.
const FORGOTTEN: f64 = 7.0 * 86_400.0;
/// Owners that are followed.
const CAPACITY: usize = 64;

/// When a look was taken, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct When {
    /// Since 1970.
    pub wall: f64,
    /// Since the boot, without what was spent in suspend: the kernel's ages of sockets don't grow in it.
    pub awake: f64,
    /// By which the clock was read late.
    pub late: f64,
    pub boot: u64,
}

/// All of an owner's connections, silent for longer than they ever are at once here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resting {
    pub group: u32,
    pub connections: u32,
    /// Seconds.
    pub silent: f64,
    /// What rests here usually stay below, in seconds.
    pub usual: f64,
    /// Whether nothing is known yet of an hour of the week that it lies in.
    pub is_new_hour: bool,
    /// Whether it was told as stuck already.
    pub is_told: bool,
}

/// The most connections that an owner had, again and again: the size of its pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plateau {
    pub connections: u32,
    /// Looks that saw so many.
    pub times: u32,
    /// How many of them followed one that saw fewer.
    arrivals: u32,
    /// When of the last, on the wall clock.
    last: f64,
}

/// How the connections of each owner rest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rests {
    last: Option<When>,
    groups: BTreeMap<u32, Rest>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Rest {
    /// Connections at the last look, and for how long all of them had been silent.
    connections: u32,
    silent: f64,
    is_told: bool,
    /// Rests that ended, as long as the look before their end saw them.
    ended: Histogram,
    /// The longest of those below the first bin.
    brief: f64,
    /// The longest rest by the hour of the week it lay in: its bin and one; 0: never watched.
    hours: Vec<u8>,
    hour: u8,
    /// Whether this hour of the week was never watched before, and whether one that the rest lies in was not.
    is_new_hour: bool,
    rests_in_new_hour: bool,
    /// Connections while they are used.
    size: f32,
    plateau: Plateau,
}

impl Rests {
    /// Takes one look: owner and silence of each ESTABLISHED connection.
    pub fn learn(&mut self, now: When, sockets: impl Iterator<Item = (u32, f64)>) {
        let last = self.last.replace(now).filter(|last| last.boot == now.boot);
        let elapsed = last.map(|last| now.awake - last.awake).filter(|elapsed| *elapsed > 0.0);
        let mut seen: BTreeMap<u32, (u32, f64)> = BTreeMap::new();
        for (group, silent) in sockets {
            let (connections, least) = seen.entry(group).or_insert((0, f64::INFINITY));
            (*connections, *least) = (connections.saturating_add(1), least.min(silent));
        }
        for (group, rest) in &mut self.groups {
            let (connections, silent) = seen.remove(group).unwrap_or_default();
            rest.step(now, elapsed, connections, silent);
        }
        for (group, (connections, silent)) in seen {
            let (is_new_hour, rests_in_new_hour) = (true, true);
            let hour = hour(now.wall);
            let mut rest = Rest { hours: vec![0; WEEK], hour, is_new_hour, rests_in_new_hour, ..Rest::default() };
            rest.step(now, None, connections, silent);
            self.groups.insert(group, rest);
        }
        if self.groups.len() > CAPACITY {
            self.groups.retain(|_, rest| rest.connections > 0);
        }
    }

    /// The pools that may be stuck at the last look. `interval`: seconds between two looks.
    pub fn resting(&self, interval: f64) -> Vec<Resting> {
        let Some(now) = self.last else { return Vec::new() };
        let of = |(group, rest): (&u32, &Rest)| rest.resting(*group, hour(now.wall), interval);
        self.groups.iter().filter_map(of).collect()
    }

    /// It is told as stuck, and is until its rest ends.
    pub fn tell(&mut self, group: u32) {
        if let Some(rest) = self.groups.get_mut(&group) {
            rest.is_told = true;
        }
    }

    /// The pools that were seen full, by owner.
    pub fn plateaus(&self) -> impl Iterator<Item = (u32, Plateau)> {
        self.groups.iter().map(|(group, rest)| (*group, rest.plateau)).filter(|(_, plateau)| plateau.is_known())
    }
}

impl Rest {
    fn step(&mut self, now: When, elapsed: Option<f64>, connections: u32, silent: f64) {
        self.ended.fade((-elapsed.unwrap_or(0.0) / MEMORY).exp());
        self.enter(hour(now.wall));
        if let Some(elapsed) = elapsed.filter(|_| self.connections > 0)
            && (connections == 0 || !self.goes_on(silent, elapsed, now.late))
        {
            let unseen = if self.silent < SHORTEST { 0.0 } else { elapsed - silent.min(elapsed) };
            // What was stuck is no habit, nor is a restart that ended it.
            if !self.is_told {
                self.end(self.silent + unseen);
            }
            (self.is_told, self.rests_in_new_hour) = (false, self.is_new_hour);
        }
        self.is_told &= elapsed.is_some();
        if connections > 0 && silent < SHORTEST {
            let size = connections as f32;
            self.size = if self.size > 0.0 { self.size + FOLLOWS * (size - self.size) } else { size };
        }
        self.plateau.step(now.wall, self.connections, connections);
        (self.connections, self.silent) = (connections, silent);
    }

    /// Data since the look before leaves a connection no more silent than that is ago.
    fn goes_on(&self, silent: f64, elapsed: f64, late: f64) -> bool {
        silent >= self.silent && (silent > elapsed + JITTER || silent - self.silent >= elapsed - late - JITTER)
    }

    /// A rest of these seconds is over.
    fn end(&mut self, seconds: f64) {
        self.ended.add(seconds);
        if seconds < SHORTEST {
            self.brief = self.brief.max(seconds);
        }
        let hours = ((seconds / 3600.0) as usize).min(WEEK - 1);
        for before in 0..=hours {
            let at = (usize::from(self.hour) + WEEK - before) % WEEK;
            if let Some(longest) = self.hours.get_mut(at) {
                *longest = (*longest).max(1 + bin(seconds));
            }
        }
    }

    /// What an hour was like is forgotten by and by, week by week.
    fn enter(&mut self, hour: u8) {
        if self.hour != hour {
            self.hour = hour;
            self.is_new_hour = self.hours.get(usize::from(hour)).is_none_or(|longest| *longest == 0);
            self.rests_in_new_hour |= self.is_new_hour;
            if let Some(longest) = self.hours.get_mut(usize::from(hour)).filter(|longest| **longest > 1) {
                *longest -= 1;
            }
        }
    }

    fn resting(&self, group: u32, hour: u8, interval: f64) -> Option<Resting> {
        let known = |at: usize| self.hours.get(at % WEEK).copied().unwrap_or(0);
        let is_new_hour = self.rests_in_new_hour;
        let hours = if is_new_hour { WEEK } else { (self.silent / 3600.0) as usize + 3 }.min(WEEK);
        // From the hour after this one back to the one before it began.
        let longest = (0..hours).map(|back| known(usize::from(hour) + 1 + WEEK - back)).max().unwrap_or(0);
        let rare = self.ended.exceeded_by(RARE);
        let bar = FLOOR.max(LOOKS * interval).max(USUAL * rare).max(LONGEST * edge(longest));
        let is_strange = self.silent > bar && self.silent < NO_NEWS && self.ended.above(0.0) >= ENOUGH;
        let is_whole = self.connections >= super::FEWEST as u32 && self.connections as f32 >= SIZE * self.size;
        let usual = if rare <= SHORTEST { self.brief.ceil().max(1.0) } else { rare };
        let (connections, silent, is_told) = (self.connections, self.silent, self.is_told);
        (is_told || is_strange && is_whole).then_some(Resting {
            group,
            connections,
            silent,
            usual,
            is_new_hour,
            is_told,
        })
    }
}

impl Plateau {
    fn step(&mut self, wall: f64, before: u32, now: u32) {
        let is_old = !(self.last - FORGOTTEN..=self.last + FORGOTTEN).contains(&wall);
        if now > self.connections || is_old {
            *self = Plateau { connections: now, times: 1, arrivals: 1, last: wall };
        } else if now == self.connections {
            self.times = self.times.saturating_add(1);
            self.arrivals = self.arrivals.saturating_add(u32::from(before < now));
            self.last = wall;
        }
    }

    /// Whether it is a bound rather than the crest of a load, which is reached once or twice, or what is always open.
    fn is_known(&self) -> bool {
        self.connections >= super::FEWEST as u32 && self.times >= 10 && self.arrivals >= 3
    }
}

/// The hour of the week, counted from some day on.
fn hour(wall: f64) -> u8 {
    ((wall / 3600.0).max(0.0) as u64 % WEEK as u64) as u8
}

/// As [`Histogram`] has them.
fn bin(seconds: f64) -> u8 {
    ((seconds / SHORTEST).max(1.0).ln() / RATIO.ln()).ceil().clamp(0.0, 200.0) as u8
}

/// What rests of this bin and one stay below; 0 for none.
fn edge(longest: u8) -> f64 {
    if longest == 0 { 0.0 } else { SHORTEST * RATIO.powi(i32::from(longest) - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: u32 = 7;
    const DAY: f64 = 86_400.0;

    /// Looks each minute at a pool of ten; `silent`: for how long all of it is at an instant.
    struct Watch {
        rests: Rests,
        at: f64,
    }

    impl Watch {
        fn new() -> Watch {
            Watch { rests: Rests::default(), at: 0.0 }
        }

        fn look(&mut self, silent: f64) -> Option<Resting> {
            self.look_at(&[silent; 10])
        }

        fn look_at(&mut self, silent: &[f64]) -> Option<Resting> {
            let now = When { wall: 1e9 + self.at, awake: 1000.0 + self.at, late: 0.0, boot: 1 };
            self.rests.learn(now, silent.iter().map(|silent| (GROUP, *silent)));
            self.at += 60.0;
            self.rests.resting(60.0).first().copied()
        }

        /// In use for so many looks.
        fn work(&mut self, looks: u32) {
            for look in 0..looks {
                assert_eq!(self.look(f64::from(look % 4)), None, "in use");
            }
        }

        /// Silent from now on, up to the first suspicion, or for so many looks.
        fn rest(&mut self, looks: u32) -> Option<Resting> {
            (1..=looks).find_map(|look| self.look(f64::from(look) * 60.0))
        }
    }

    #[test]
    fn a_pool_that_is_used_each_minute_is_suspected_after_five() {
        let mut watch = Watch::new();
        watch.work(20);
        let found = watch.rest(30).expect("suspected");
        assert_eq!((found.group, found.connections, found.silent), (GROUP, 10, 360.0));
        assert_eq!((found.usual, found.is_new_hour, found.is_told), (3.0, true, false));
    }

    #[test]
    fn little_history_suspects_nobody() {
        let mut watch = Watch::new();
        watch.work(9);
        assert_eq!(watch.rest(60), None);
        assert_eq!(Watch::new().rest(600), None, "silent from the first look on");
    }

    /// The one that is used is silent for seconds, the others have been for hours.
    #[test]
    fn spare_members_say_nothing_of_the_pool() {
        let mut watch = Watch::new();
        for look in 0..600u32 {
            let mut silent = [f64::from(look) * 60.0; 10];
            silent[3] = f64::from(look % 4);
            assert_eq!(watch.look_at(&silent), None);
        }
        assert!(watch.rest(8).is_some());
    }

    #[test]
    fn longer_pauses_are_learned() {
        let mut watch = Watch::new();
        for _ in 0..20 {
            watch.work(5);
            assert_eq!(watch.rest(4), None, "a batch each few minutes");
        }
        assert_eq!(watch.rest(20), None);
        let found = watch.rest(80).expect("suspected");
        assert!(found.silent > 2400.0 && found.usual > 240.0, "{found:?}");
    }

    #[test]
    fn a_night_is_known_after_the_first_and_a_weekend_is_no_working_day() {
        let mut watch = Watch::new();
        // Two weeks: in use for twelve hours of five days in seven.
        let mut suspected = Vec::new();
        for minute in 0..14 * 1440 {
            let (day, of_day) = (minute / 1440, minute % 1440);
            let is_used = day % 7 < 5 && of_day < 720;
            let since = if day % 7 < 5 { (of_day - 719).max(0) } else { of_day + 720 + (day % 7 - 5) * 1440 + 1 };
            let found = watch.look(if is_used { 2.0 } else { f64::from(since) * 60.0 });
            suspected.extend(found.map(|found| (minute, found)));
        }
        // Of the first week an evening can't be known; the caller asks for more of an hour that it doesn't know.
        let known = suspected.iter().find(|(minute, found)| *minute >= 7 * 1440 || !found.is_new_hour);
        assert!(suspected.len() > 9 && known.is_none(), "{known:?}");
        // The third Monday, at ten in the morning.
        for _ in 0..600 {
            watch.look(2.0);
        }
        let found = watch.rest(8).expect("suspected");
        assert!(found.silent < 400.0 && !found.is_new_hour, "{found:?}");
        assert!((14.0 * DAY..).contains(&watch.at));
    }

    #[test]
    fn load_that_falls_off_is_an_evening() {
        let mut watch = Watch::new();
        watch.work(60);
        let mut pause = 1;
        for _ in 0..40 {
            assert_eq!(watch.rest(pause), None, "{pause} minutes");
            watch.look(1.0);
            pause = (pause * 3 / 2).max(pause + 1).min(600);
        }
    }

    #[test]
    fn a_pool_that_shrinks_is_at_rest() {
        let mut watch = Watch::new();
        watch.work(60);
        for look in 1..60u32 {
            assert_eq!(watch.look_at(&[f64::from(look) * 60.0; 6]), None);
        }
    }

    #[test]
    fn what_was_told_stands_until_it_ends_and_teaches_nothing() {
        let mut watch = Watch::new();
        watch.work(60);
        assert!(watch.rest(8).is_some());
        watch.rests.tell(GROUP);
        for look in 0..600u32 {
            let found = watch.look(400.0 + f64::from(look) * 60.0).expect("told");
            assert!(found.is_told);
        }
        // Its application is started anew.
        watch.work(1);
        assert!(watch.rest(8).is_some_and(|found| !found.is_told), "as before");
    }

    /// The clock is read a minute late, after the sockets.
    #[test]
    fn a_stalled_look_ends_no_rest() {
        let mut watch = Watch::new();
        watch.work(60);
        for look in 1..6u32 {
            watch.look(f64::from(look) * 60.0);
        }
        let now = When { wall: 1e9 + watch.at + 60.0, awake: 1060.0 + watch.at, late: 60.0, boot: 1 };
        watch.rests.learn(now, [(GROUP, 360.0); 10].into_iter());
        assert!(watch.rests.resting(60.0).first().is_some_and(|found| found.silent > 359.0));
    }

    #[test]
    fn a_pool_that_is_full_again_and_again_is_known() {
        let mut watch = Watch::new();
        for look in 0..120usize {
            watch.look_at(&[1.0; 10][..10 - look % 3]);
        }
        let plateaus: Vec<_> = watch.rests.plateaus().collect();
        assert_eq!(plateaus.len(), 1);
        assert_eq!((plateaus[0].0, plateaus[0].1.connections, plateaus[0].1.times), (GROUP, 10, 40));
        let mut steady = Watch::new();
        steady.work(60);
        assert_eq!(steady.rests.plateaus().count(), 0, "what is always open was never full");
    }
}
