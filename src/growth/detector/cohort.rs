//! The second witness: lasting sockets that pile up and are never closed, be they busy. Leaks keep busy by heartbeats.

use super::habits::Group;
use super::scene::{Finding, Pace, Scene, Witness};
use super::tracked::Tracked;
use super::{STAKE_BUSY, State};

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
/// So many of the places have been taken over by another connection.
const RENEWED: f64 = 0.2;
/// The share of the places that are taken again where that is a habit: else an idle timeout and an opening met by chance.
const TAKEN: f64 = 0.75;
/// Traffic may have risen by this factor; beyond it the growth is load.
const LOAD: f64 = 1.25;

/// What piles up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// Sockets that outlive others.
    Sockets,
    /// Places of sockets that nobody uses and that are closed and opened anew at a maximum lifetime: whole pools are lost so.
    Places,
}

impl Held {
    /// When a socket was opened, or its place taken.
    fn began(self, socket: &Tracked) -> f64 {
        match self {
            Held::Sockets => socket.born,
            Held::Places => socket.place.unwrap_or(0.0),
        }
    }

    fn is_settled(self, socket: &Tracked, scene: &Scene) -> bool {
        match self {
            // What its peer has closed is the first witness's: it knows the spares of pools.
            Held::Sockets => {
                socket.birth_seen && socket.key.state == State::Established && socket.age(scene.now) > scene.settled_age
            }
            Held::Places => {
                socket.place.is_some() && socket.is_unused() && socket.keeps_place(scene.now, scene.settled_age)
            }
        }
    }
}

/// Looks for a leak in each owner group.
pub fn find(scene: &Scene, held: Held) -> Vec<Finding> {
    let mut settled: Vec<&Tracked> = scene.table.iter().filter(|socket| held.is_settled(socket, scene)).collect();
    let began = |socket: &Tracked| held.began(socket);
    settled.sort_unstable_by(|a, b| a.key.group.cmp(&b.key.group).then(began(a).total_cmp(&began(b))));
    settled.chunk_by(|a, b| a.key.group == b.key.group).filter_map(|group| find_in(scene, held, group)).collect()
}

/// Looks for a leak among the settled sockets of one group, in the order of their beginnings.
fn find_in(scene: &Scene, held: Held, settled: &[&Tracked]) -> Option<Finding> {
    let group = settled.first()?.key.group;
    let habit = scene.habits.groups.get(&group)?;
    let age_bar = match held {
        Held::Sockets => scene.settled_age.max(MARGIN * habit.ages.exceeded_by(RARE)),
        Held::Places => scene.settled_age,
    };
    let lasting = &settled[..settled.partition_point(|socket| scene.now - held.began(socket) > age_bar)];
    let mut length = lasting.len();
    while length >= FEWEST {
        let sockets = &lasting[lasting.len() - length..];
        let cohort = Cohort { scene, held, habit, end: scene.now - age_bar, sockets };
        if cohort.span() < SHORTEST_SPAN || scene.share_taken(length as f64) < cohort.stake() {
            return None;
        }
        let piles_up = cohort.goes_on() && cohort.is_renewed() && cohort.exceeds_record();
        if piles_up && !cohort.keeps_step_with_load() {
            return Some(cohort.finding(age_bar));
        }
        length = length * 8 / 10;
    }
    None
}

/// Sockets in the order of their births, or of their places.
struct Cohort<'a> {
    scene: &'a Scene<'a>,
    held: Held,
    habit: &'a Group,
    /// The latest beginning that can belong to it.
    end: f64,
    sockets: &'a [&'a Tracked],
}

impl Cohort<'_> {
    fn onset(&self) -> f64 {
        self.held.began(self.sockets[0])
    }

    fn span(&self) -> f64 {
        self.end - self.onset()
    }

    /// Places are known from how often they were taken again, sockets in use from nothing.
    fn stake(&self) -> f64 {
        match self.held {
            Held::Sockets => self.scene.stake(STAKE_BUSY, self.scene.scale * self.sockets.len() as f64 / self.span()),
            Held::Places => STAKE_BUSY,
        }
    }

    /// Births without a long pause that do not slow down.
    fn goes_on(&self) -> bool {
        let span = self.span();
        let births = || self.sockets.iter().map(|socket| self.held.began(socket));
        let ends = births().skip(1).chain([self.end]);
        let pause = births().zip(ends).map(|(a, b)| b - a).fold(0.0, f64::max);
        let early = births().filter(|&born| born <= self.onset() + 0.4 * span).count() as f64;
        let late = births().filter(|&born| born >= self.onset() + 0.6 * span).count() as f64;
        pause < PAUSE * span && late >= UNABATED * early
    }

    /// Places are told from sockets that just last by those that were taken over.
    fn is_renewed(&self) -> bool {
        let renewed = || self.sockets.iter().filter(|socket| !socket.has_own_place()).count();
        let is_habit = || self.habit.taken >= TAKEN * self.habit.left;
        self.held == Held::Sockets || is_habit() && renewed() as f64 >= RENEWED * self.sockets.len() as f64
    }

    fn exceeds_record(&self) -> bool {
        let series = match self.held {
            Held::Sockets => &self.habit.settled,
            Held::Places => &self.habit.unused,
        };
        let record = series.peak(0.0, self.onset());
        series.last().unwrap_or(0.0) - record >= GROWN * self.sockets.len() as f64
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
            pace: Pace::of(
                self.sockets.iter().map(|socket| self.held.began(socket)),
                self.end,
                self.scene.scale,
                self.scene.room(),
            ),
            bar: age_bar,
            suspects: self.sockets.iter().map(|socket| socket.cookie).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Key, habits::Habits, series::Series, table::Table};
    use super::*;

    /// A pool's spares lie in it for days, and it opens others meanwhile.
    #[test]
    fn what_its_peer_has_closed_is_in_no_cohort() {
        let (table, habits, series) = (Table::default(), Habits::default(), Series::default());
        let scene = Scene {
            now: 1000.0,
            epoch: 0.0,
            interval: 60.0,
            settled_age: 120.0,
            limit: 100.0,
            total: 1.0,
            scale: 1.0,
            table: &table,
            habits: &habits,
            totals: &series,
            traffic: &series,
        };
        let in_cohort = |state| {
            let socket = Tracked {
                cookie: 1,
                key: Key { group: 7, state },
                born: 500.0,
                birth_seen: true,
                silent_since: 600.0,
                idle: 400.0,
                silence_seen: true,
                suspect: false,
                place: Some(500.0),
            };
            Held::Sockets.is_settled(&socket, &scene)
        };
        assert!(in_cohort(State::Established) && !in_cohort(State::CloseWait));
    }
}
