//! What of a mix of states is unusual for the hour, by the history of check_conn_growth.

use super::StateCounts;
use connleak::base::error::Result;
use connleak::history::{History, Usual};
use connleak::kernel::ends::{self, Ends};
use connleak::kernel::socket::{Side, State};
use connleak::owners::blame::Suspect;
use connleak::report::rounded;
use serde_json::{Value, json};
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// Fewer more than usual are chance.
const FEWEST_MORE: f64 = 50.0;

/// A state with many more sockets than usual at this hour.
#[derive(Clone, Debug, PartialEq)]
pub struct Unusual {
    pub state: State,
    pub count: u64,
    pub usual: Usual,
}

impl Unusual {
    pub fn json(&self) -> Value {
        json!({"state": self.state.name(), "count": self.count, "usual": self.usual.number, "days": self.usual.days})
    }

    /// Above the usual number; of none as of one.
    pub fn percent_more(&self) -> f64 {
        let usual = self.usual.number.max(1.0);
        rounded((self.count as f64 - usual) * 100.0 / usual, 0)
    }
}

impl fmt::Display for Unusual {
    /// `900 TIME_WAIT, 350% more than the usual 200 at this hour`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Unusual { state, count, usual } = self;
        let number = rounded(usual.number, 0);
        write!(f, "{count} {state}, {}% more than the usual {number} at this hour", self.percent_more())
    }
}

/// The usual numbers of all states but LISTEN. `None`: no history yet, or one of too few days.
///
/// # Errors
/// Where there is a history that can't be read.
pub fn read(dir: &Path, series: &str, wall: i64, left: Duration) -> Result<Option<Vec<(State, Usual)>>> {
    let Some(history) = History::open_existing(dir, left)? else { return Ok(None) };
    let mut all = Vec::new();
    for (index, (state, _)) in State::NAMES.into_iter().enumerate().filter(|(_, (state, _))| *state != State::Listen) {
        match history.usual(series, wall, |hour| hour.mean[index])? {
            Some(usual) => all.push((state, usual)),
            None => return Ok(None),
        }
    }
    Ok(Some(all))
}

/// Which states have many more sockets than usual. `twice`: see [`both_ends`].
pub fn unusual(mix: &StateCounts, twice: [u64; 2], usual: &[(State, Usual)]) -> Vec<Unusual> {
    let count = |state: State| {
        let count = mix.tally.count(Side::Both, state);
        match state {
            State::Established => count - twice[0],
            State::CloseWait => count - twice[1],
            _ => count,
        }
    };
    let all = usual.iter().map(|(state, usual)| Unusual { state: *state, count: count(*state), usual: *usual });
    all.filter(|unusual| unusual.count as f64 - unusual.usual.number >= FEWEST_MORE).collect()
}

/// The history has each connection once, by its client's end where both are here. How many of the
/// server's ends, ESTABLISHED and in CLOSE_WAIT, are therefore left out.
pub fn both_ends(sockets: &[(Side, Suspect)]) -> [u64; 2] {
    let ends = |(side, end): &(Side, Suspect)| Ends::new(*side, end.netns, end.local, end.remote);
    let of = |wanted: Side, states: &'static [State]| {
        let is_wanted = move |end: &&(Side, Suspect)| end.0 == wanted && states.contains(&end.1.state);
        sockets.iter().filter(is_wanted)
    };
    let counted = &[State::Established, State::CloseWait];
    let mut clients: Vec<Ends> = of(Side::Client, counted).map(ends).collect();
    let count = clients.len();
    clients.extend(of(Side::Client, &[State::FinWait1, State::FinWait2]).map(ends));
    let servers: Vec<Ends> = of(Side::Server, counted).map(ends).collect();
    let mut twice = [0, 0];
    for ((_, socket), client) in of(Side::Server, counted).zip(ends::join(&clients, &servers)) {
        twice[usize::from(socket.state == State::CloseWait)] += u64::from(client.is_some_and(|client| client < count));
    }
    twice
}

#[cfg(test)]
mod tests {
    use super::*;
    use connleak::history::{Sample, Step};
    use connleak::kernel::headroom::{EphemeralPorts, PortUse};
    use connleak::kernel::socket::{Endpoint, Socket};

    const HOUR: u64 = 3_600_000;

    fn socket(state: State, local: u16, remote: u16) -> Socket {
        let end = |port| Endpoint::new([127, 0, 0, 1].into(), port);
        Socket { inode: 7, ..Socket::bare(state, end(local), end(remote)) }
    }

    /// Days of a history with `count` TIME_WAIT each, and the wall clock at their end.
    fn recorded(dir: &Path, days: u64, count: u64) -> i64 {
        let mut history = History::open(dir, Duration::from_secs(20)).unwrap().history;
        let mut wall = 1_700_000_000_000;
        for hour in 0..=days * 24 {
            let uptime = (hour + 1) * HOUR;
            wall = 1_700_000_000_000 + uptime as i64;
            let mut sample = Sample { wall, uptime, boot: "b".into(), sampled: 1_000_000, ..Sample::default() };
            sample.counts[State::TimeWait as usize - 1] = count;
            let step = Step { sample, state: vec![], version: 1, value: () };
            assert!(history.update("mysql:3306 both", |_| Ok(step)).unwrap().unsaved.is_none());
        }
        wall
    }

    #[test]
    fn usual_numbers_come_from_the_same_hour_of_earlier_days() {
        let dir = tempfile::tempdir().unwrap();
        let patience = Duration::from_secs(20);
        assert_eq!(read(dir.path(), "mysql:3306 both", 0, patience).unwrap(), None, "no history yet");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "and none is made");
        let wall = recorded(dir.path(), 4, 200);
        let usual = read(dir.path(), "mysql:3306 both", wall, patience).unwrap().unwrap();
        assert_eq!(usual.len(), 10);
        let (_, time_wait) = usual.iter().find(|(state, _)| *state == State::TimeWait).unwrap();
        assert_eq!((time_wait.number, time_wait.days), (200.0, 4));
        assert_eq!(read(dir.path(), "redis:6379 both", wall, patience).unwrap(), None, "another service");
        let young = tempfile::tempdir().unwrap();
        let wall = recorded(young.path(), 1, 200);
        assert_eq!(read(young.path(), "mysql:3306 both", wall, patience).unwrap(), None, "too few days");
        std::fs::write(young.path().join("history.db"), "rubbish").unwrap();
        assert!(read(young.path(), "mysql:3306 both", wall, patience).is_err());
        assert_eq!(std::fs::read(young.path().join("history.db")).unwrap(), b"rubbish", "left in its place");
    }

    #[test]
    fn only_many_more_than_usual_are_unusual() {
        let mut mix = StateCounts::new(0, 0, PortUse::new(EphemeralPorts::usual()));
        (0..250).for_each(|port| mix.add(&socket(State::TimeWait, port, 80), Side::Client));
        let usual = |number| [(State::TimeWait, Usual { number, days: 3, same_weekday: false })];
        assert_eq!(unusual(&mix, [0, 0], &usual(201.0)), []);
        let found = unusual(&mix, [0, 0], &usual(50.0));
        assert_eq!(found[0].to_string(), "250 TIME_WAIT, 400% more than the usual 50 at this hour");
        assert_eq!(unusual(&mix, [0, 0], &usual(0.0))[0].percent_more(), 24_900.0);
    }

    #[test]
    fn a_connection_with_both_ends_here_counts_once() {
        let sockets = [
            (Side::Server, socket(State::Established, 80, 1)),
            (Side::Client, socket(State::Established, 1, 80)),
            (Side::Server, socket(State::CloseWait, 80, 2)),
            (Side::Client, socket(State::FinWait2, 2, 80)),
            (Side::Server, socket(State::Established, 80, 3)),
        ];
        let mut ends = sockets.map(|(side, socket)| (side, Suspect::new(&socket, None)));
        assert_eq!(both_ends(&ends), [1, 0]);
        ends[0].1.netns = 4;
        assert_eq!(both_ends(&ends), [0, 0], "another container's");
    }
}
