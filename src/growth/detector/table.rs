//! The sockets from one sample to the next: who is new, who fell silent, which silences ended and how.

use super::clock::Tick;
use super::histogram::SHORTEST;
use super::places::{self, Places};
use super::tracked::Tracked;
use super::{Key, Socket};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Idle times are whole seconds and clocks jitter: a silence whose start moved by less has not ended.
const JITTER: f64 = 3.0;
/// Silent sockets that must agree on it before a gap is taken for a suspend.
const AGREE: usize = 3;

/// A silence that is over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ended {
    pub key: Key,
    /// Seconds; the longest it can have been, as its end lies between two samples.
    pub length: f64,
}

/// A socket that is gone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Death {
    pub group: u32,
    /// Seconds, if its birth was seen.
    pub age: Option<f64>,
}

/// What the step from one sample to the next has shown.
#[derive(Debug, Default, PartialEq)]
pub struct Changes {
    pub ended: Vec<Ended>,
    pub deaths: Vec<Death>,
    /// By group, of each place that was left, whether another connection has taken it.
    pub places: Vec<(u32, bool)>,
    /// Every socket but the new ones is gone, busy and lasting ones too: a restart nobody told of.
    pub wiped: bool,
}

/// All live sockets by cookie.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Table {
    sockets: Vec<Tracked>,
    places: Places,
}

impl Table {
    pub fn iter(&self) -> impl Iterator<Item = &Tracked> {
        self.sockets.iter()
    }

    pub fn keep(&mut self, sampled: impl Fn(u64) -> bool) {
        self.sockets.retain(|socket| sampled(socket.cookie));
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Tracked> {
        self.sockets.iter_mut()
    }

    /// Seconds of a gap between two samples in which the host slept, where nothing else tells: every silence that is longer
    /// than the host can have been awake has grown by the same, and by less than the gap.
    pub fn asleep(&self, seen: &[Socket], elapsed: f64, interval: f64) -> f64 {
        let awake = 2.0 * interval;
        if elapsed <= awake {
            return 0.0;
        }
        let idle: BTreeMap<u64, (Key, f64)> =
            seen.iter().map(|socket| (socket.cookie, (socket.key(), socket.idle))).collect();
        let (mut agreed, mut least, mut most) = (0, f64::INFINITY, 0.0_f64);
        for silent in self.sockets.iter().filter(|socket| socket.idle >= awake) {
            let Some((key, idle)) = idle.get(&silent.cookie) else { continue };
            if *key == silent.key && *idle >= silent.idle {
                agreed += 1;
                (least, most) = (least.min(idle - silent.idle), most.max(idle - silent.idle));
            }
        }
        let alike = agreed >= AGREE && most - least <= JITTER && most <= awake;
        if alike { elapsed - most } else { 0.0 }
    }

    /// Replaces the table by `seen`. After a restart nothing ended by itself, so no ends are told.
    pub fn step(&mut self, seen: &[Socket], now: f64, tick: &Tick, interval: f64) -> Changes {
        let mut seen: Vec<&Socket> = seen.iter().collect();
        seen.sort_unstable_by_key(|socket| socket.cookie);
        seen.dedup_by_key(|socket| socket.cookie);
        let before = std::mem::take(&mut self.sockets);
        let step = Step { now, tick, blind: tick.elapsed.min(interval) };
        let mut changes = Changes::default();
        let mut old = before.iter().peekable();
        let mut gone: Vec<&Tracked> = Vec::new();
        for socket in seen {
            while let Some(missing) = old.next_if(|tracked| tracked.cookie < socket.cookie) {
                gone.push(missing);
            }
            let known = old.next_if(|tracked| tracked.cookie == socket.cookie).filter(|_| !tick.rebooted);
            self.sockets.push(match known {
                Some(tracked) => step.go_on(tracked, socket, &mut changes),
                None => step.begin(socket),
            });
        }
        gone.extend(old);
        changes.wiped = !tick.told && step.wiped(&before, gone.len(), interval);
        if tick.restarted || changes.wiped {
            changes.ended.clear();
            self.places.forget();
        } else {
            gone.iter().for_each(|tracked| step.end(tracked, &mut changes));
            let step = places::Step { before: tick.before, now, interval };
            changes.places = self.places.pass_on(&gone, &mut self.sockets, step);
        }
        changes
    }
}

/// What every socket of one step shares.
struct Step<'a> {
    now: f64,
    tick: &'a Tick,
    /// Seconds for which an end can have gone unnoticed; a gap in the samples must not lengthen what is learned.
    blind: f64,
}

impl Step<'_> {
    fn begin(&self, socket: &Socket) -> Tracked {
        let silent_since = self.now - socket.idle;
        let born = silent_since.max(self.tick.before);
        Tracked {
            cookie: socket.cookie,
            key: socket.key(),
            born,
            birth_seen: !self.tick.first,
            silent_since,
            idle: socket.idle,
            silence_seen: !self.tick.first,
            suspect: false,
            place: (!self.tick.first).then_some(born),
        }
    }

    fn go_on(&self, tracked: &Tracked, socket: &Socket, changes: &mut Changes) -> Tracked {
        let silent_since = self.now - socket.idle;
        let hung_up = tracked.key != socket.key();
        // Whatever came since the look before, the socket can't be idle for longer than that is ago.
        let untouched = socket.idle > self.tick.elapsed + JITTER;
        let in_step = socket.idle - tracked.idle >= self.tick.elapsed - self.tick.late - JITTER;
        if !hung_up && socket.idle >= tracked.idle && (untouched || in_step) {
            // A late clock shows the start later than it was.
            let silent_since = if untouched { silent_since.min(tracked.silent_since) } else { silent_since };
            return Tracked { silent_since, idle: socket.idle, ..tracked.clone() };
        }
        self.end_silence(tracked, changes);
        Tracked {
            key: socket.key(),
            silent_since,
            idle: socket.idle,
            silence_seen: true,
            suspect: false,
            ..tracked.clone()
        }
    }

    fn end(&self, tracked: &Tracked, changes: &mut Changes) {
        self.end_silence(tracked, changes);
        let age = tracked.birth_seen.then(|| tracked.age(self.now));
        changes.deaths.push(Death { group: tracked.key.group, age });
    }

    fn end_silence(&self, tracked: &Tracked, changes: &mut Changes) {
        if tracked.idle >= SHORTEST {
            changes.ended.push(Ended { key: tracked.key, length: tracked.idle + self.blind });
        }
    }

    /// A sweeper closes idle sockets, a restart all of them. Three lasting busy ones that vanish with the rest tell which.
    fn wiped(&self, before: &[Tracked], gone: usize, interval: f64) -> bool {
        let lasting = |tracked: &&Tracked| tracked.idle < interval && tracked.age(self.tick.before) > 2.0 * interval;
        gone == before.len() && before.iter().filter(lasting).count() >= 3
    }
}
