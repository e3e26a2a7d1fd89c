//! The second witness: lasting sockets that pile up and are never closed, be they busy. Leaks keep busy by heartbeats.

use super::STAKE_BUSY;
use super::habits::Group;
use super::scene::{Finding, Pace, Scene, Witness};
use super::table::Tracked;

/// The share of the connections that were closed which may be older than the age bar before its margin.
const RARE: f64 = 0.01;
const MARGIN: f64 = 1.25;
/// Fewer sockets are no trend.
const FEWEST: usize = 6;
/// Seconds; a deploy, a cache warm-up or a failover fills pools in less.
const SHORTEST_SPAN: f64 = 1200.0;
/// The longest pause between two births, as a share of the span.
const PAUSE: f64 = 0.3;
/// Births in the last two fifths, at least this share of those in the first two: pools that fill up slow down.
const UNABATED: f64 = 0.6;
/// The group stands above its record by this share of the cohort: nothing was closed in exchange.
const GROWN: f64 = 0.8;
/// Traffic may have risen by this factor; beyond it the growth is load.
const LOAD: f64 = 1.25;

/// Looks for a leak among the settled sockets of one group, in the order of their births.
pub fn find(scene: &Scene, settled: &[&Tracked]) -> Option<Finding> {
    let group = settled.first()?.key.group;
    let habit = scene.habits.groups.get(&group)?;
    let age_bar = scene.settled_age.max(MARGIN * habit.ages.exceeded_by(RARE));
    let lasting = &settled[..settled.partition_point(|socket| socket.age(scene.now) > age_bar)];
    let mut length = lasting.len();
    while length >= FEWEST {
        let cohort = Cohort { scene, habit, end: scene.now - age_bar, sockets: &lasting[lasting.len() - length..] };
        if cohort.span() < SHORTEST_SPAN || scene.share_taken(length as f64) < STAKE_BUSY {
            return None;
        }
        if cohort.goes_on() && cohort.exceeds_record() && !cohort.keeps_step_with_load() {
            return Some(cohort.finding(age_bar));
        }
        length = length * 8 / 10;
    }
    None
}

/// Sockets in the order of their births.
struct Cohort<'a> {
    scene: &'a Scene<'a>,
    habit: &'a Group,
    /// The latest birth that can belong to it.
    end: f64,
    sockets: &'a [&'a Tracked],
}

impl Cohort<'_> {
    fn onset(&self) -> f64 {
        self.sockets[0].born
    }

    fn span(&self) -> f64 {
        self.end - self.onset()
    }

    /// Births without a long pause that do not slow down.
    fn goes_on(&self) -> bool {
        let span = self.span();
        let births = || self.sockets.iter().map(|socket| socket.born);
        let ends = births().skip(1).chain([self.end]);
        let pause = births().zip(ends).map(|(a, b)| b - a).fold(0.0, f64::max);
        let early = births().filter(|&born| born <= self.onset() + 0.4 * span).count() as f64;
        let late = births().filter(|&born| born >= self.onset() + 0.6 * span).count() as f64;
        pause < PAUSE * span && late >= UNABATED * early
    }

    fn exceeds_record(&self) -> bool {
        let settled = &self.habit.settled;
        let record = settled.peak(0.0, self.onset());
        settled.last().unwrap_or(0.0) - record >= GROWN * self.sockets.len() as f64
    }

    fn keeps_step_with_load(&self) -> bool {
        let traffic = |from: f64, to: f64| {
            let at = |share: f64| self.onset() + share * self.span();
            self.scene.traffic.mean(at(from), at(to)).unwrap_or(0.0) + 1.0
        };
        traffic(0.7, 1.1) > LOAD * traffic(0.0, 0.3)
    }

    fn finding(&self, age_bar: f64) -> Finding {
        Finding {
            witness: Witness::Cohort,
            group: self.sockets[0].key.group,
            onset: self.onset(),
            pace: Pace::of(self.sockets.iter().map(|socket| socket.born), self.end, self.scene.scale),
            bar: age_bar,
            suspects: self.sockets.iter().map(|socket| socket.cookie).collect(),
        }
    }
}
