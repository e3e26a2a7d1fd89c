//! A leak that runs of another version told of. What they learned can't be read: whether it goes on is open until it shows.

use crate::history::Sample;
use crate::kernel::socket::State;
use serde::{Deserialize, Serialize};

/// Seconds in which it is learned anew: on the first day a detector is warier than later.
const LONGEST: f64 = 86_400.0;
/// With less of the connections left than that a leak was given back, and no pool has just been renewed.
const LEFT: f64 = 0.75;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToldBefore {
    boot: String,
    /// [`Sample::instance`].
    instance: u64,
    amount: u64,
}

impl ToldBefore {
    /// `last`: of the run of another version.
    pub fn of(last: &Sample) -> Option<ToldBefore> {
        let amount = amount(last);
        last.leak.then(|| ToldBefore { boot: last.boot.clone(), instance: last.instance, amount })
    }

    /// Whether it is still open. `watched`: seconds since the first run of this version.
    pub fn is_open(&self, now: &Sample, watched: f64) -> bool {
        let is_same = self.boot == now.boot && self.instance == now.instance;
        is_same && !now.leak && watched < LONGEST && amount(now) as f64 >= LEFT * self.amount as f64
    }
}

/// How much is open: a sample of descriptors or memory has its amount as if they were ESTABLISHED.
fn amount(sample: &Sample) -> u64 {
    [State::Established, State::CloseWait].map(|state| sample.counts[state as usize - 1]).iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(established: u64, close_wait: u64) -> Sample {
        let mut sample = Sample { boot: "b".into(), instance: 7, ..Sample::default() };
        sample.counts[State::Established as usize - 1] = established;
        sample.counts[State::CloseWait as usize - 1] = close_wait;
        sample
    }

    #[test]
    fn it_is_open_until_it_shows_or_is_given_back() {
        assert_eq!(ToldBefore::of(&sample(100, 0)), None);
        let told = ToldBefore::of(&Sample { leak: true, ..sample(60, 40) }).unwrap();
        let is_open = |now: Sample| told.is_open(&now, 3600.0);
        assert!(is_open(sample(100, 0)) && is_open(sample(75, 0)) && is_open(sample(300, 0)));
        assert!(!is_open(sample(74, 0)) && !is_open(Sample { leak: true, ..sample(100, 0) }));
        assert!(!is_open(Sample { instance: 8, ..sample(100, 0) }), "the service was started anew");
        assert!(!is_open(Sample { boot: "c".into(), ..sample(100, 0) }));
        assert!(!told.is_open(&sample(100, 0), LONGEST));
    }
}
