//! Places of connections: a pool closes what has reached its maximum lifetime and opens another in its place within a moment.
//! By their births such connections are never old, by their places they are.

use super::State;
use super::tracked::Tracked;
use serde::{Deserialize, Serialize};

/// Seconds; the shortest maximum lifetime that pools give their connections. Requests are over by then, and leave no place.
const LIFETIME: f64 = 300.0;
/// Seconds; idle timeouts are longer than the keep-alive queries of those that nobody uses.
const TIMEOUT: f64 = 600.0;
/// Seconds that opening a connection and its first query take.
const OPENING: f64 = 10.0;

/// A place whose connection is gone.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Vacant {
    group: u32,
    /// As in [`Tracked::place`].
    since: Option<f64>,
    suspect: bool,
    /// Who takes it was opened then, or later.
    from: f64,
}

/// Places that the step before has left empty: their next holders may be seen a step later.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Places {
    vacant: Vec<Vacant>,
}

/// One step between two samples. Instants are seconds on the detector's clock.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    pub before: f64,
    pub now: f64,
    /// Seconds between two checks, as scheduled.
    pub interval: f64,
}

impl Places {
    /// Gives the places of those that are `gone` to those that were opened meanwhile, the oldest places first. Tells of each
    /// place of a group whether it was taken.
    pub fn pass_on(&mut self, gone: &[&Tracked], sockets: &mut [Tracked], step: Step) -> Vec<(u32, bool)> {
        let mut taken = Vec::new();
        let mut vacant: Vec<(Vacant, bool)> =
            std::mem::take(&mut self.vacant).into_iter().map(|old| (old, false)).collect();
        vacant.extend(gone.iter().filter_map(|socket| Some((step.vacate(socket)?, true))));
        let earliest = vacant.iter().map(|(empty, _)| empty.from).fold(f64::INFINITY, f64::min);
        let mut heirs: Vec<&mut Tracked> =
            sockets.iter_mut().filter(|socket| socket.has_own_place() && socket.born >= earliest).collect();
        heirs.sort_by(|a, b| a.born.total_cmp(&b.born));
        vacant.sort_by(|(a, _), (b, _)| a.since.unwrap_or(0.0).total_cmp(&b.since.unwrap_or(0.0)));
        for (empty, is_new) in vacant {
            let fits = |heir: &&mut Tracked| heir.key.group == empty.group && heir.born >= empty.from;
            match heirs.iter().position(fits) {
                Some(first) => {
                    let heir = heirs.remove(first);
                    (heir.place, heir.suspect) = (empty.since, empty.suspect);
                    taken.push((empty.group, true));
                }
                None if is_new => self.vacant.push(empty),
                None => taken.push((empty.group, false)),
            }
        }
        taken
    }

    /// After a restart nobody takes a place of before.
    pub fn forget(&mut self) {
        self.vacant.clear();
    }
}

impl Step {
    /// The place that a socket leaves: one that has reached its lifetime, or took a place by mistake.
    fn vacate(&self, gone: &Tracked) -> Option<Vacant> {
        let age = gone.age(self.now);
        // Closed for its silence after it had been used: whoever is opened next has nothing to do with it.
        let timed_out = gone.key.state == State::Established
            && gone.idle + self.interval > TIMEOUT
            && age - gone.idle - (self.now - self.before).min(self.interval) > OPENING;
        let from = match age >= LIFETIME && !timed_out {
            true => self.before,
            false if !gone.has_own_place() => gone.born - self.interval,
            false => return None,
        };
        Some(Vacant { group: gone.key.group, since: gone.place, suspect: gone.suspect, from })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growth::detector::Key;

    fn socket(cookie: u64, born: f64, idle: f64, now: f64) -> Tracked {
        Tracked {
            cookie,
            key: Key { group: 7, state: State::Established },
            born,
            birth_seen: true,
            silent_since: now - idle,
            idle,
            silence_seen: true,
            suspect: true,
            place: Some(born),
        }
    }

    #[test]
    fn who_is_opened_within_a_step_takes_the_place() {
        let (gone, mut heirs) = (socket(1, 100.0, 50.0, 1000.0), [socket(2, 1030.0, 30.0, 1060.0)]);
        let step = Step { before: 1000.0, now: 1060.0, interval: 60.0 };
        assert_eq!(Places::default().pass_on(&[&gone], &mut heirs, step), [(7, true)]);
        assert_eq!(heirs[0].place, Some(100.0));
    }

    #[test]
    fn a_place_that_nobody_takes_is_told_a_step_later() {
        let (gone, mut places) = (socket(1, 100.0, 50.0, 1000.0), Places::default());
        let step = Step { before: 1000.0, now: 1060.0, interval: 60.0 };
        assert_eq!(places.pass_on(&[&gone], &mut [], step), []);
        let later = Step { before: 1060.0, now: 1120.0, ..step };
        assert_eq!(places.pass_on(&[], &mut [], later), [(7, false)]);
        assert_eq!(places.pass_on(&[], &mut [], later), []);
    }
}
