//! The first witness: silent sockets that outlive every silence usual here, more and more of them.

use super::habits::Silences;
use super::scene::{Finding, Pace, Scene, Witness};
use super::tracked::Tracked;
use super::{STAKE_HALF_KNOWN, STAKE_UNKNOWN, State, histogram};

/// The share of the silences that ended which may be longer than the bar before its margin.
const RARE: f64 = 0.01;
/// The bar stands this much above the longest usual silence: timeouts jitter, and a bin is 20 % wide.
const MARGIN: f64 = 1.25;
/// Ended silences beyond the bar, per time watched, at most this share of the survivors: else long silences are a habit.
const HABITUAL: f64 = 0.1;
/// A bar is known once the key has been watched for this many times its length; longer silences could not be seen to end.
const WATCHED: f64 = 6.0;
/// Distinct instants at which survivors fell silent; a warm-up, a batch or a restart makes one, a coincidence two.
const GENERATIONS: usize = super::FEWEST as usize;
/// Instants closer than this, seconds, are one generation: a deploy or a failover takes as long.
const ONE_EVENT: f64 = 60.0;
/// The longest pause, as a share of the whole stream: it goes on, or it has stopped.
const PAUSE: f64 = 0.5;
/// The two longest pauses likewise: what lies in between is two instants, as two deploys or batches make them.
const PAUSES: f64 = 0.9;
/// Survivors of the newer half, at least this share of all: a stream that dies out is a pool finding its size.
const NEWER: f64 = 1.0 / 3.0;
/// While a stream is shorter than its bar, it may have stopped unseen: this share of the followers to be expected must
/// already be on their way.
const FOLLOWERS: f64 = 0.5;
/// The group has grown by this share of its survivors' number: sockets that lie idle in a pool are not new ones.
const GROWN: f64 = 0.8;
/// Closes, or returns from silence, per survivor that make ending a habit here.
const ENDS: f64 = 2.0;

/// How long a silence must last, and how much of the headroom must be gone, before survivors mean anything.
#[derive(Debug, Clone, Copy)]
pub struct Lane {
    /// Seconds; no silence shorter than this counts.
    pub floor: f64,
    /// Share of the headroom that the survivors must have taken.
    pub stake: f64,
    /// There is no time to wait until the sockets have settled: the service as a whole must have grown.
    pub hasty: bool,
}

/// Looks for a leak among the silent sockets of one key, in the order in which they fell silent.
pub fn find(scene: &Scene, quiet: &[&Tracked], lane: Lane) -> Option<Finding> {
    let key = quiet.first()?.key;
    let habit = scene.habits.silences.get(&key)?;
    let mut bar = (MARGIN * habit.ended.exceeded_by(RARE)).max(lane.floor);
    let mut silent: Vec<&Tracked> = quiet.iter().copied().filter(|socket| socket.idle > bar).collect();
    while silent.len() >= GENERATIONS && habitual(scene, habit, bar, &silent) {
        bar *= histogram::RATIO;
        silent.retain(|socket| socket.idle > bar);
    }
    // The stream may have begun long after some older cluster: try ever shorter endings of it.
    let mut length = silent.len();
    while length >= GENERATIONS {
        let survivors = &silent[silent.len() - length..];
        let stream = Stream { scene, habit, bar, quiet, survivors };
        if stream.goes_on() && !habitual(scene, habit, bar, survivors) && stream.weighs(lane) {
            return Some(stream.finding());
        }
        length = length * 7 / 10;
    }
    None
}

/// Whether silences beyond `bar` end so often that as many as these may just be waiting for their end.
fn habitual(scene: &Scene, habit: &Silences, bar: f64, survivors: &[&Tracked]) -> bool {
    let span = scene.now - bar - survivors[0].silent_since;
    let expected = habit.ended.above(bar) * span / habit.watched.max(1.0);
    expected > HABITUAL * survivors.len() as f64
}

/// Survivors in the order in which they fell silent; at least `GENERATIONS` of them.
struct Stream<'a> {
    scene: &'a Scene<'a>,
    habit: &'a Silences,
    /// Seconds.
    bar: f64,
    /// All silent sockets of the key, those below the bar too.
    quiet: &'a [&'a Tracked],
    survivors: &'a [&'a Tracked],
}

impl Stream<'_> {
    fn onset(&self) -> f64 {
        self.survivors[0].silent_since
    }

    /// Seconds from the first survivor up to the last instant from which one could be known by now.
    fn span(&self) -> f64 {
        self.scene.now - self.bar - self.onset()
    }

    fn count(&self) -> f64 {
        self.survivors.len() as f64
    }

    /// Spread over its span, without a long pause and not dying out.
    fn goes_on(&self) -> bool {
        let span = self.span();
        if span <= 0.0 {
            return false;
        }
        let spacing = ONE_EVENT.min(self.bar / 4.0);
        let (mut generations, mut generation, mut before) = (1, self.onset(), self.onset());
        let (mut pause, mut second) = (0.0_f64, 0.0_f64);
        let mut rest = |length: f64| (pause, second) = (pause.max(length), second.max(length.min(pause)));
        for socket in self.survivors {
            rest(socket.silent_since - before);
            before = socket.silent_since;
            if socket.silent_since > generation + spacing {
                generations += 1;
                generation = socket.silent_since;
            }
        }
        rest(self.onset() + span - before);
        let middle = self.onset() + span / 2.0;
        let newer = self.survivors.iter().filter(|socket| socket.silent_since > middle).count() as f64;
        generations >= GENERATIONS
            && pause <= PAUSE * span
            && pause + second <= PAUSES * span
            && newer >= NEWER * self.count()
            && (before - self.onset() >= self.bar || self.followed())
    }

    /// Sockets fell silent lately, in about the number that the stream lets expect; the very latest are just busy.
    fn followed(&self) -> bool {
        let latest = self.bar / 4.0..=self.bar / 2.0;
        let followers = self.quiet.iter().filter(|socket| latest.contains(&socket.idle));
        let expected = self.count() / self.span() * 0.25 * self.bar;
        followers.count() as f64 >= FOLLOWERS * expected
    }

    /// The survivors are additional ones, and as many as our ignorance of this key demands.
    fn weighs(&self, lane: Lane) -> bool {
        let count = self.count();
        let key = self.survivors[0].key;
        let (onset, span) = (self.onset(), self.span());
        let settled = self.scene.grown(key.group, onset, span);
        let mut grown = if lane.hasty { settled.max(self.scene.grown_in_all(onset, span)) } else { settled };
        let unknown = |stake: f64| self.scene.stake(stake, self.scene.scale * (count - 1.0) / span);
        let mut stake = lane.stake;
        if self.bar > 1.01 * lane.floor && self.habit.watched < WATCHED * self.bar {
            stake = stake.max(unknown(STAKE_HALF_KNOWN));
        }
        let returns = self.habit.ended.above(lane.floor) >= ENDS * count;
        match key.state {
            // The peer is gone, only a close is left to do, and here that is done late: a pool finds its dead connections when
            // it borrows them, and opens others in their places. It may still be growing.
            State::CloseWait if returns => {
                stake = stake.max(STAKE_HALF_KNOWN);
                let places = |onset: f64, span: f64| self.scene.grown_in_places(key.group, onset, span);
                let more = places(onset, span);
                grown = grown.min(more);
                // A pool finds its size: the places of its spares are old ones, however late they were used.
                let half = (self.scene.now - onset) / 2.0;
                if places(onset + half, half + span) < NEWER * more.max(count) {
                    return false;
                }
            }
            // CLOSE_WAIT else needs no such knowledge.
            State::CloseWait => {}
            // Closing is a habit where as many were closed as there are: the few of a deploy or a failover are none.
            State::Established if self.scene.closed(key.group) < self.scene.held(key.group).max(ENDS * count) => {
                stake = stake.max(if returns { STAKE_HALF_KNOWN } else { unknown(STAKE_UNKNOWN) });
            }
            State::Established => {}
        }
        grown >= GROWN * count && self.scene.share_taken(count.max(self.all_silent())) >= stake
    }

    /// How many sockets the group has, if all but the newest of them are survivors: then nothing speaks for those that were
    /// there before the history began. 0 else.
    fn all_silent(&self) -> f64 {
        let group = self.survivors[0].key.group;
        let sockets = || self.scene.table.iter().filter(|socket| socket.key.group == group);
        let is_silent =
            |socket: &Tracked| socket.idle > self.bar || socket.birth_seen && socket.age(self.scene.now) <= self.bar;
        if sockets().all(is_silent) { sockets().filter(|socket| socket.idle > self.bar).count() as f64 } else { 0.0 }
    }

    fn finding(&self) -> Finding {
        Finding {
            witness: Witness::Silence,
            group: self.survivors[0].key.group,
            onset: self.onset(),
            pace: Pace::of(
                self.survivors.iter().map(|socket| socket.silent_since),
                self.scene.now - self.bar,
                self.scene.scale,
                self.scene.room(),
            ),
            bar: self.bar,
            suspects: self.survivors.iter().map(|socket| socket.cookie).collect(),
        }
    }
}
