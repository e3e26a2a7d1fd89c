//! What the growth check remembers beside its samples: the detector, the names of groups, the pace.

use crate::growth::detector::stuck::{Resting, Rests, When};
use crate::growth::detector::{Detector, Leak, Sample, Socket, TimeLeft, Verdict};
use crate::growth::pool::{Connection, Pool, hashed, is_sampled};
use crate::growth::told_before::ToldBefore;
use crate::kernel::unix_known::NumberSet;
use crate::owners::known::Known;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// The version of [`DetectorState`] as it is stored; another one is begun anew.
pub const VERSION: u32 = 7;
/// Sockets that are followed one by one; above it a sample of them.
const MOST_SOCKETS: usize = 4096;
/// Times between runs from which the schedule is told.
const PACES: usize = 9;
/// Seconds, before any two runs are known: what schedulers do.
const USUAL_PACE: f64 = 60.0;
/// Seconds by which an age and the clock differ on a quiet host: jiffies, at HZ=100, of both looks.
const TICKS: f64 = 0.02;
/// Group names that are kept.
const MOST_NAMES: usize = 256;

#[derive(Debug, Serialize, Deserialize)]
pub struct DetectorState {
    detector: Detector,
    /// By [`Connection::group`].
    pub names: BTreeMap<u32, String>,
    /// One socket in 2^n is followed. It never falls: sockets that come back would look like new ones.
    thinning: u32,
    /// Seconds between the latest runs of one boot.
    paces: Vec<f64>,
    /// The last run that counted: its boot, and the uptime.
    last: Option<(String, f64)>,
    turnover: Option<Turnover>,
    /// The service's processes; kept behind all else, where earlier versions don't look.
    #[serde(skip)]
    pub processes: Known,
    /// How pools rest; kept behind that.
    #[serde(skip)]
    pub rests: Rests,
    /// What an earlier version told of and this one has yet to judge; behind that, where there is any.
    #[serde(skip)]
    pub told_before: Option<ToldBefore>,
}

/// When a sample was taken. Seconds.
#[derive(Clone, Debug)]
pub struct Moment {
    /// Since 1970; may step.
    pub wall: f64,
    /// Since the boot.
    pub uptime: f64,
    pub boot_id: String,
}

/// What one run adds to what was known.
#[derive(Debug)]
pub struct Learned {
    pub verdict: Verdict,
    /// `None`: there was no run before in this boot.
    pub turnover: Option<Turnover>,
    /// Whether the run counted: not where another one did in the same instant.
    pub is_due: bool,
    /// Sockets followed, of all.
    pub sampled: f64,
    /// Seconds since the first run, in a rehearsal as many as it stands for.
    pub watched: f64,
}

impl Learned {
    /// Before anything is learned.
    pub fn nothing() -> Learned {
        Learned { verdict: Verdict::Learning { samples: 0 }, turnover: None, is_due: false, sampled: 1.0, watched: 0.0 }
    }
}

/// Connections opened and closed between the last two runs that counted, and the minutes between.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Turnover {
    pub opened: f64,
    pub closed: f64,
    pub minutes: f64,
}

impl DetectorState {
    pub fn new(limit: u32) -> DetectorState {
        DetectorState {
            detector: Detector::new(USUAL_PACE, limit),
            names: BTreeMap::new(),
            thinning: 0,
            paces: Vec::new(),
            last: None,
            turnover: None,
            processes: Known::default(),
            rests: Rests::default(),
            told_before: None,
        }
    }

    /// From what the run before stored; `None`: it is unreadable or of another version.
    pub fn restore(version: u32, bytes: &[u8]) -> Option<DetectorState> {
        let (state, rest) = postcard::take_from_bytes::<DetectorState>(bytes).ok().filter(|_| version == VERSION)?;
        let (processes, rest) = postcard::take_from_bytes(rest).ok()?;
        // Earlier versions kept none.
        let (rests, rest) = if rest.is_empty() { Default::default() } else { postcard::take_from_bytes(rest).ok()? };
        let told_before = if rest.is_empty() { None } else { Some(postcard::from_bytes(rest).ok()?) };
        Some(DetectorState { processes, rests, told_before, ..state })
    }

    pub fn store(&self) -> Vec<u8> {
        // Serialising plain numbers into memory can't fail; an empty state would be begun anew, and said.
        let bytes = postcard::to_stdvec(self).unwrap_or_default();
        let bytes = postcard::to_extend(&self.processes, bytes).unwrap_or_default();
        let bytes = postcard::to_extend(&self.rests, bytes).unwrap_or_default();
        match &self.told_before {
            Some(told) => postcard::to_extend(told, bytes).unwrap_or_default(),
            None => bytes,
        }
    }

    /// Takes one look at the service, which can hold `limit` of what `seen` counts. `speed`: how many
    /// times as fast the detector's time runs in a rehearsal; all that goes in and comes out here is
    /// real time.
    pub fn learn(&mut self, moment: &Moment, mut seen: Sample, limit: u32, speed: f64) -> Learned {
        (seen.wall, seen.uptime) = (moment.wall * speed, moment.uptime * speed);
        (seen.suspended, seen.took) = (seen.suspended * speed, (seen.took + TICKS) * speed);
        seen.boot = hashed(moment.boot_id.as_bytes());
        seen.sockets.iter_mut().for_each(|socket| socket.idle *= speed);
        let groups: NumberSet<u32> = seen.sockets.iter().map(|socket| socket.group).collect();
        let all = seen.sockets.len();
        self.follow(&mut seen.sockets);
        let sampled = if all == 0 { 1.0 } else { seen.sockets.len() as f64 / all as f64 };
        let is_due = self.detector.is_due(&seen);
        if is_due {
            let before = self.last.replace((moment.boot_id.clone(), moment.uptime));
            let elapsed = before.filter(|(boot, _)| *boot == moment.boot_id).map(|(_, uptime)| moment.uptime - uptime);
            let elapsed = elapsed.filter(|elapsed| *elapsed > 0.0);
            self.keep_pace(elapsed);
            self.turnover = elapsed.map(|elapsed| self.turnover(&seen.sockets, all, elapsed / 60.0));
        }
        self.detector.set_pace(self.pace().map_or(USUAL_PACE, |pace| pace * speed), limit);
        let verdict = self.detector.step(&seen);
        self.names.retain(|group, _| groups.contains(group));
        Learned {
            verdict: in_real_time(verdict, speed),
            turnover: self.turnover,
            is_due,
            sampled,
            watched: self.detector.watched(),
        }
    }

    /// Takes one look at how pools rest: the owner and the silence in seconds of each of their connections. The pools that may be stuck,
    /// as the detector's time has it.
    pub fn rest(&mut self, now: When, silences: impl Iterator<Item = (u32, f64)>, speed: f64) -> Vec<Resting> {
        let interval = self.pace().unwrap_or(USUAL_PACE) * speed;
        self.rests.learn(now, silences.map(|(group, silent)| (group, silent * speed)));
        self.rests.resting(interval)
    }

    /// What [`DetectorState::rest`] would give.
    pub fn would_rest(&self, now: When, silences: impl Iterator<Item = (u32, f64)>, speed: f64) -> Vec<Resting> {
        let interval = self.pace().unwrap_or(USUAL_PACE) * speed;
        let mut rests = self.rests.clone();
        rests.learn(now, silences.map(|(group, silent)| (group, silent * speed)));
        rests.resting(interval)
    }

    /// How long ghosts have been silent now, at least, in seconds of real time: since they were first followed.
    pub fn silences(&self, moment: &Moment, speed: f64) -> HashMap<u64, f64> {
        let before = self.last.as_ref().filter(|(boot, _)| *boot == moment.boot_id);
        let Some((_, before)) = before else { return HashMap::new() };
        let elapsed = (moment.uptime - before).max(0.0);
        self.detector.silences().map(|(cookie, idle)| (cookie, idle / speed + elapsed)).collect()
    }

    /// What was thought of the last look; `speed` as in [`DetectorState::learn`].
    pub fn verdict(&self, speed: f64) -> Verdict {
        in_real_time(self.detector.verdict(), speed)
    }

    /// Groups of the pool that have no name yet, with a connection of each that can tell it.
    pub fn nameless<'a>(&self, pool: &'a Pool) -> BTreeMap<u32, &'a Connection> {
        let mut nameless: BTreeMap<u32, &Connection> = BTreeMap::new();
        let mut met = NumberSet::default();
        for connection in &pool.connections {
            let group = connection.group();
            let is_met = connection.socket.inode != 0 && !met.insert(group);
            if is_met {
                continue;
            }
            if self.names.contains_key(&group) || (nameless.len() >= MOST_NAMES && !nameless.contains_key(&group)) {
                continue;
            }
            // Nobody holds what waits in the accept queue: any other tells more.
            let known = nameless.entry(group).or_insert(connection);
            if known.socket.inode == 0 {
                *known = connection;
            }
        }
        nameless
    }

    /// The connections that speak for the leak that was last found.
    pub fn suspects(&self, pool: &Pool) -> Vec<Connection> {
        let cookies: NumberSet<u64> = self.detector.suspects().collect();
        let is_suspect = |connection: &&Connection| cookies.contains(&connection.identity());
        match cookies.is_empty() {
            true => Vec::new(),
            false => pool.connections.iter().filter(is_suspect).copied().collect(),
        }
    }

    /// Thins the sockets out to those that are followed.
    fn follow(&mut self, sockets: &mut Vec<Socket>) {
        let thinning = self.thinning;
        sockets.retain(|socket| is_sampled(socket.cookie, thinning));
        while sockets.len() > MOST_SOCKETS {
            self.thinning += 1;
            sockets.retain(|socket| is_sampled(socket.cookie, self.thinning));
        }
        if self.thinning > thinning {
            self.detector.keep(|cookie| is_sampled(cookie, self.thinning));
        }
    }

    fn turnover(&self, followed: &[Socket], connections: usize, minutes: f64) -> Turnover {
        let before: NumberSet<u64> = self.detector.cookies().collect();
        let scale = if followed.is_empty() { 1.0 } else { connections as f64 / followed.len() as f64 };
        let stayed = followed.iter().filter(|socket| before.contains(&socket.cookie)).count();
        Turnover {
            opened: (followed.len() - stayed) as f64 * scale,
            closed: (before.len() - stayed) as f64 * scale,
            minutes,
        }
    }

    fn keep_pace(&mut self, elapsed: Option<f64>) {
        self.paces.extend(elapsed);
        let old = self.paces.len().saturating_sub(PACES);
        self.paces.drain(..old);
    }

    /// Seconds between runs as scheduled: the median, as gaps and rechecks are not the schedule.
    fn pace(&self) -> Option<f64> {
        let mut paces = self.paces.clone();
        paces.sort_by(f64::total_cmp);
        paces.get(paces.len() / 2).copied()
    }
}

fn in_real_time(verdict: Verdict, speed: f64) -> Verdict {
    match verdict {
        Verdict::Growing { rate } => Verdict::Growing { rate: rate * speed },
        Verdict::Leak(leak) => {
            let TimeLeft { likely, earliest, latest } = leak.left;
            let left = TimeLeft { likely: likely / speed, earliest: earliest / speed, latest: latest / speed };
            Verdict::Leak(Leak { onset: leak.onset / speed, rate: leak.rate * speed, left, ..leak })
        }
        Verdict::Learning { .. } | Verdict::Steady => verdict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growth::detector::Witness;
    use crate::kernel::socket::{Endpoint, Side, State as TcpState, Times};
    use crate::kernel::source::{Coverage, Origin};
    use crate::owners::ghosts::Rows;
    use std::collections::HashSet;

    fn pool(cookies: impl Iterator<Item = u64>) -> Pool {
        let end = |port| Endpoint::new([127, 0, 0, 1].into(), port);
        let times = Some(Times { data_sent: 0, data_recv: 0, ack_recv: 0, stalled: 0, carried: None, ack_delay: 0 });
        let bare = crate::kernel::socket::Socket::bare(TcpState::Established, end(4), end(5));
        let socket = |cookie: u64| crate::kernel::socket::Socket {
            inode: cookie,
            cookie: std::num::NonZeroU64::new(cookie),
            times,
            ..bare
        };
        let connections: Vec<_> = cookies.map(|cookie| Connection::new(&socket(cookie), Side::Client)).collect();
        let mut counts = [0; 11];
        counts[TcpState::Established as usize - 1] = connections.len() as u64;
        let seen = Coverage::new(Origin::Netlink, String::new());
        let rows = Rows::default();
        Pool { seen, connections, counts, instance: 7, listeners: Vec::new(), ports: None, rows, unsure: 0 }
    }

    /// Runs of one boot at these seconds, each with the connections of these cookies.
    fn run(memory: &mut DetectorState, uptime: f64, cookies: std::ops::Range<u64>) -> Learned {
        let moment = Moment { wall: 1e9 + uptime, uptime, boot_id: "5c7f-boot".to_owned() };
        memory.learn(&moment, pool(cookies).sample(), 100_000, 1.0)
    }

    #[test]
    fn what_is_stored_comes_back_and_learns_on_alike() {
        let mut memory = DetectorState::new(100_000);
        for minute in 0..6u32 {
            run(&mut memory, 60.0 * f64::from(minute), 1..20 + u64::from(minute));
        }
        memory.names.insert(pool(1..2).connections[0].group(), "php-fpm (customer42)".to_owned());
        let stored = memory.store();
        let mut restored = DetectorState::restore(VERSION, &stored).unwrap();
        assert_eq!(restored.store(), stored);
        let (one, other) = (run(&mut memory, 400.0, 3..40), run(&mut restored, 400.0, 3..40));
        assert_eq!((one.verdict, one.turnover), (other.verdict, other.turnover));
        assert_eq!(restored.store(), memory.store());
        assert_eq!(restored.names, memory.names);
        assert_eq!(restored.names.len(), 1);
    }

    #[test]
    fn what_can_t_be_read_is_none() {
        let stored = DetectorState::new(1).store();
        assert!(DetectorState::restore(VERSION + 1, &stored).is_none());
        assert!(DetectorState::restore(VERSION, &stored[..stored.len() - 1]).is_none());
        assert!(DetectorState::restore(VERSION, b"").is_none());
    }

    #[test]
    fn the_pace_is_the_median() {
        let mut memory = DetectorState::new(9);
        assert_eq!(memory.pace(), None);
        // A recheck after 2 s and an outage of an hour are not the schedule.
        for uptime in [0.0, 60.0, 62.0, 120.0, 180.0, 3780.0, 3840.0] {
            run(&mut memory, uptime, 1..5);
        }
        assert_eq!(memory.pace(), Some(60.0));
        for run_of_nine in 1..=9 {
            run(&mut memory, 3840.0 + 300.0 * f64::from(run_of_nine), 1..5);
        }
        assert_eq!(memory.pace(), Some(300.0), "a new schedule");
        assert_eq!(memory.paces.len(), PACES);
    }

    #[test]
    fn thinning_keeps_at_most_4096_and_never_grows_back() {
        let mut memory = DetectorState::new(9);
        assert_eq!(run(&mut DetectorState::new(100), 0.0, 1..1).sampled, 1.0, "all of nothing");
        assert_eq!(run(&mut memory, 0.0, 1..4097).sampled, 1.0);
        let mut kept = HashSet::new();
        for (minute, most) in [(1.0, 4098), (2.0, 40_000), (3.0, 4_097), (4.0, 40_000)] {
            let learned = run(&mut memory, 60.0 * minute, 1..most);
            let now: HashSet<u64> = memory.detector.cookies().collect();
            assert!(now.len() <= MOST_SOCKETS && learned.sampled < 0.6, "{} at {minute}", now.len());
            if minute > 2.0 {
                assert!(now.is_subset(&kept), "minute {minute}");
            }
            kept = if minute == 2.0 { now } else { kept };
        }
        assert_eq!(memory.thinning, 4, "one in 16");
    }

    #[test]
    fn thinner_is_neither_opened_nor_closed() {
        let mut memory = DetectorState::new(9);
        run(&mut memory, 0.0, 1..4097);
        let turnover = run(&mut memory, 60.0, 1..8193).turnover.unwrap();
        assert_eq!(turnover.closed, 0.0);
        assert!((turnover.opened - 4096.0).abs() < 300.0, "{turnover:?}");
    }

    #[test]
    fn turnover_counts_by_identity() {
        let mut memory = DetectorState::new(9);
        assert_eq!(run(&mut memory, 0.0, 1..11).turnover, None, "the first run");
        let turnover = run(&mut memory, 120.0, 4..14).turnover;
        assert_eq!(turnover, Some(Turnover { opened: 3.0, closed: 3.0, minutes: 2.0 }));
        let turnover = run(&mut memory, 180.0, 0..0).turnover;
        assert_eq!(turnover, Some(Turnover { opened: 0.0, closed: 10.0, minutes: 1.0 }));
        assert_eq!(run(&mut memory, 60.0, 4..14).turnover, None, "the uptime went back: another boot");
    }

    #[test]
    fn runs_of_one_instant_count_once() {
        let mut memory = DetectorState::new(9);
        let (mut opened, mut learned) = (0.0, 0);
        for run_of_many in 0..40u32 {
            let uptime = 100.0 + 0.2 * f64::from(run_of_many);
            let seen = run(&mut memory, uptime, 1..2 + u64::from(run_of_many));
            let turned = seen.turnover.filter(|_| seen.is_due);
            opened += turned.map_or(0.0, |turned| turned.opened);
            learned += u32::from(seen.is_due);
            assert!(run_of_many < 3 || seen.turnover.is_some(), "told by every run");
        }
        assert_eq!((opened, learned), (39.0, 14), "the last run that counts is the last of all");
        assert!(memory.pace().is_some_and(|pace| (pace - 0.6).abs() < 0.01), "{:?}", memory.paces);
    }

    #[test]
    fn a_group_is_named_by_a_connection_that_has_a_holder() {
        let mut many = pool(1..300);
        many.connections[0].socket.inode = 0;
        let mut memory = DetectorState::new(9);
        let nameless = memory.nameless(&many);
        assert_eq!(nameless.values().map(|connection| connection.socket.inode).collect::<Vec<_>>(), [2]);
        memory.names.insert(many.connections[0].group(), "x".to_owned());
        assert!(memory.nameless(&many).is_empty());
    }

    /// The clock is read a third of a second after the sockets now and then: twenty seconds of a rehearsal.
    #[test]
    fn a_loaded_host_ends_no_leak_of_a_rehearsal() {
        let (mut memory, mut leaks) = (DetectorState::new(90), Vec::new());
        for step in 0..90u32 {
            let cookies = || 1..8 + u64::from(step);
            let took = if step % 7 == 3 { 0.34 } else { 0.0 };
            let mut pool = pool(cookies());
            for (connection, cookie) in pool.connections.iter_mut().zip(cookies()) {
                let age = (f64::from(step) - cookie as f64 + 7.0).clamp(0.0, f64::from(step)) * 1000.0;
                let times = connection.socket.times.as_mut().unwrap();
                (times.data_sent, times.data_recv) = (age as u32, age as u32);
            }
            let uptime = 1000.0 + f64::from(step) + took;
            let moment = Moment { wall: 1e9 + uptime, uptime, boot_id: "b".to_owned() };
            let seen = Sample { took, ..pool.sample() };
            leaks.push(match memory.learn(&moment, seen, 90, 60.0).verdict {
                Verdict::Leak(leak) => Some(leak.witness),
                _ => None,
            });
        }
        let silent = |witness: &Option<Witness>| *witness == Some(Witness::Silence);
        let first = leaks.iter().position(silent).expect("a leak");
        assert!(first < 60 && leaks[first..].iter().all(silent), "{leaks:?}");
    }

    /// A pool of four, of which two are replaced each second, and two leaked ones a second since the eighth: their cookies and since when they
    /// have been silent.
    fn leaking_service(at: f64) -> Vec<(u64, f64)> {
        let second = at.max(0.0) as u64;
        let pool = (0..4).map(|member| (1 + 4 * (second / 2) + member + 10_000 * (member / 2 % 2), at.floor()));
        let leaked = (16..=2 * second).map(|number| (100_000 + number, number as f64 / 2.0));
        pool.chain(leaked.filter(|(_, since)| *since <= at)).collect()
    }

    /// Whether a leak that was found stays found: looks each second, each late by chance; that of `second` by `stall` seconds, the next one `after` it.
    fn stays_found(second: u32, stall: f64, after: f64, loaded: f64) -> Result<(), String> {
        let (mut memory, mut chance, mut at, mut found) = (DetectorState::new(180), 7_u64, 0.0, None);
        for look in 0..second + 12 {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let random = (chance >> 33) as f64 / (1_u64 << 31) as f64;
            let took = if look == second { stall } else { loaded * random };
            let connections = leaking_service(at);
            let mut pool = pool(connections.iter().map(|(cookie, _)| *cookie));
            for (connection, (_, since)) in pool.connections.iter_mut().zip(&connections) {
                let age = ((at - since) * 1000.0) as u32;
                let times = connection.socket.times.as_mut().unwrap();
                (times.data_sent, times.data_recv) = (age, age);
            }
            let uptime = 1000.0 + at + took;
            let moment = Moment { wall: 1e9 + uptime, uptime, boot_id: "b".to_owned() };
            let seen = Sample { took, ..pool.sample() };
            match memory.learn(&moment, seen, 180, 60.0).verdict {
                Verdict::Leak(leak) => drop(found.get_or_insert((look, leak.suspects))),
                other if found.is_some() => {
                    return Err(format!(
                        "stall {stall} in look {second}, next after {after}: {other:?} in look {look}"
                    ));
                }
                _ => {}
            }
            at += if look == second { stall + after } else { 1.0 + took };
        }
        found.map(drop).ok_or_else(|| "no leak".to_owned())
    }

    /// Whatever the delay, and however soon the next look follows, beside load or not.
    #[test]
    fn no_stall_ends_a_leak_of_a_rehearsal() {
        let mut lost = Vec::new();
        for second in [26, 29, 32, 37, 43] {
            for stall in [0.3, 0.6, 1.0, 1.7, 2.5, 4.5, 9.0] {
                for after in [0.05, 0.2, 1.0] {
                    for loaded in [0.0, 0.1, 0.4] {
                        lost.extend(stays_found(second, stall, after, loaded).err());
                    }
                }
            }
        }
        assert!(lost.is_empty(), "{} of 315: {lost:#?}", lost.len());
    }

    #[test]
    fn a_rehearsal_tells_real_time() {
        let (mut real, mut rehearsed) = (DetectorState::new(60), DetectorState::new(60));
        let mut told = Vec::new();
        for step in 0..60u32 {
            let cookies = || 1..8 + u64::from(step) * 2;
            for (memory, speed) in [(&mut real, 1.0), (&mut rehearsed, 60.0)] {
                let uptime = 1000.0 + f64::from(step) * 60.0 / speed;
                let mut pool = pool(cookies());
                for (connection, cookie) in pool.connections.iter_mut().zip(cookies()) {
                    let age = (f64::from(step) - (cookie as f64 - 6.0) / 2.0).max(0.0) * 60_000.0 / speed;
                    let times = connection.socket.times.as_mut().unwrap();
                    (times.data_sent, times.data_recv) = (age as u32, age as u32);
                }
                let moment = Moment { wall: 1e9 + uptime, uptime, boot_id: "b".to_owned() };
                told.push(memory.learn(&moment, pool.sample(), 60, speed).verdict);
            }
        }
        let leaks = told.chunks(2).find_map(|both| match both {
            [Verdict::Leak(real), Verdict::Leak(rehearsed)] => Some((real.clone(), rehearsed.clone())),
            _ => None,
        });
        let (real, rehearsed) = leaks.expect("a leak");
        let near = |a: f64, b: f64| (a - b).abs() <= 0.02 * b.abs();
        assert!(near(rehearsed.onset * 60.0, real.onset) && near(rehearsed.rate / 60.0, real.rate));
        assert!(near(rehearsed.left.likely * 60.0, real.left.likely), "{real:?} {rehearsed:?}");
    }
}
