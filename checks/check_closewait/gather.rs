//! Look at the service's sockets, and find those that are stuck.

use super::behind_nat::{Redirected, Signs};
use super::ghosts::{Beside, Memory};
use super::judge::{Found, MOST_INODES, Rules};
use connleak::base::duration::Span;
use connleak::base::error::Result;
use connleak::history::first_sights::FirstSights;
use connleak::kernel::listeners::Listeners;
use connleak::kernel::look;
use connleak::kernel::select::Match;
use connleak::kernel::socket::{Age, Side, Socket, State, StateSet};
use connleak::kernel::tally::Tally;
use connleak::kernel::world::World;
use connleak::owners::blame::Suspect;
use connleak::owners::ghosts::Rows;
use connleak::owners::spares::{self, Spare};
use connleak::owners::usual_close_wait;
use connleak::service::target::Target;

/// How long one has been in CLOSE_WAIT.
#[derive(Clone, Copy, PartialEq)]
enum Since {
    Young,
    /// Maybe for the minimal age.
    Hidden,
    Long,
}

struct Closed {
    suspect: Suspect,
    side: Side,
    since: Since,
    /// [`Age::at_most`].
    at_most: Option<u32>,
}

impl Closed {
    fn is_unix(&self) -> bool {
        self.suspect.unix_name().is_some()
    }
}

impl Spare for Closed {
    fn suspect(&self) -> &Suspect {
        &self.suspect
    }

    fn side(&self) -> Side {
        self.side
    }

    fn was_used(&self) -> bool {
        true
    }
}

/// One look at the service's sockets.
///
/// # Errors
/// When they can't be read.
pub fn gather(
    target: &Target,
    rules: &Rules,
    sights: &mut FirstSights,
    (memory, beside): (Option<&Memory>, Beside),
    world: &World,
) -> Result<Found> {
    let (selection, min_age) = (&target.selection, rules.min_age);
    sights.begin_look();
    let states = StateSet::of(&[State::Established, State::CloseWait, State::Listen]);
    let (mut tally, mut closed, mut inodes) = (Tally::default(), Vec::new(), Vec::new());
    let mut rows = match beside {
        Beside::Nothing => Rows::of(states),
        Beside::States | Beside::Everyones(_) => Rows::of_all_states(world, matches!(beside, Beside::Everyones(_))),
    };
    let asked = rows.states();
    let (mut unsure, mut probed, mut over_unix, mut ageless, mut undated) = (0, 0, 0, 0, 0);
    // With whether it is a UNIX socket.
    let mut longest: Option<(u32, bool)> = None;
    let mut add = |socket: &Socket, matched: Match| {
        rows.see(socket, matched);
        if !states.contains(socket.state) {
            return;
        }
        let side = match matched {
            Match::No => return,
            Match::Yes(side) => side,
            Match::Unsure => {
                if socket.state == State::CloseWait {
                    let age = socket.close_wait_age();
                    unsure += u64::from(age.is_none_or(|age| u64::from(age.at_most) >= min_age.as_millis()));
                    longest = longest.max(age.map(|age| (age.at_most, socket.is_unix())));
                }
                return;
            }
        };
        if socket.state == State::Listen {
            return;
        }
        over_unix += u64::from(socket.is_unix() && socket.state == State::Established);
        if !socket.is_unix() && socket.inode != 0 && inodes.len() < MOST_INODES {
            inodes.push(socket.inode);
        }
        let socket = &*sights.see(socket, side);
        tally.add(side, socket.state);
        if socket.state != State::CloseWait {
            return;
        }
        let age = socket.close_wait_age();
        ageless += u64::from(age.is_none());
        undated += u64::from(age.is_none() && socket.is_unix() && sights.remembers());
        let is_probed = age.is_some_and(|age| is_hidden_by_probes(socket, age, min_age));
        probed += u64::from(is_probed);
        // An unknown age counts: better a question too many than a leak unseen.
        let since = match age {
            Some(age) if !is_probed && u64::from(age.at_least) < min_age.as_millis() => {
                if u64::from(age.at_most) >= min_age.as_millis() { Since::Hidden } else { Since::Young }
            }
            _ => Since::Long,
        };
        let suspect = Suspect::new(socket, age.map(|age| age.at_least));
        closed.push(Closed { suspect, side, since, at_most: age.map(|age| age.at_most) });
    };
    let mut signs = Signs::default();
    let mut each = |socket: &Socket, matched: Match, listeners: &Listeners| {
        if states.contains(socket.state) {
            signs.add(socket, matched, listeners, selection);
        }
        add(socket, matched);
    };
    let mut seen = match beside {
        Beside::Everyones(tables) => look::visit_everyones(world, selection, (asked, true), tables, &mut each)?,
        Beside::Nothing | Beside::States => look::visit(world, selection, (asked, true), &mut each)?,
    };
    let earlier = memory.map(|memory| &memory.redirected);
    let redirected = Redirected::visit(world, selection, (&signs, earlier), &mut seen, &mut add)?;
    rows.opened = rows.opened.filter(|_| seen.missing.is_none());
    let young = closed.iter().filter(|one| one.since != Since::Long).count() as u64;
    let may_be_usual = |one: &Closed| usual_close_wait::may_be_usual(&one.suspect, one.side);
    let may_be_usual = closed.iter().any(|one| one.since != Since::Young && may_be_usual(one));
    let mut usual_left = rules.usual.clone();
    let usual = usual_left.take_out(&mut closed, world);
    let usual = usual.iter().filter(|one| one.since != Since::Young).count() as u64;
    let hidden = || closed.iter().filter(|one| one.since == Since::Hidden);
    let (maybe_stuck, maybe_unix) = (hidden().count() as u64, hidden().filter(|one| one.is_unix()).count() as u64);
    let (mut stuck, younger): (Vec<_>, Vec<_>) = closed.into_iter().partition(|one| one.since == Since::Long);
    let spares_of = spares::take_out_by_user(&mut stuck, rules.expected);
    let clients = stuck.iter().filter(|stuck| stuck.side == Side::Client).count() as u64;
    let sides = (selection.side == Side::Both).then_some([stuck.len() as u64 - clients, clients]);
    let left = || younger.iter().chain(&stuck);
    let oldest = left().filter_map(|one| one.suspect.age).max();
    let longest = longest.max(left().filter_map(|one| Some((one.at_most?, one.is_unix()))).max());
    let (ghosts, stuck) = (None, stuck.iter().map(|stuck| stuck.suspect).collect());
    Ok(Found {
        seen,
        tally,
        rows,
        inodes,
        stuck,
        spares_of,
        usual,
        usual_left,
        may_be_usual,
        ghosts,
        sides,
        young,
        maybe_stuck,
        maybe_unix,
        probed,
        unsure,
        oldest,
        oldest_at_most: longest.map(|(at_most, _)| at_most),
        is_longest_unix: longest.is_some_and(|(_, is_unix)| is_unix),
        ageless,
        undated,
        over_unix,
        strays: 0,
        remedy: String::new(),
        redirected,
    })
}

/// Whether probes are answered so often that no look ever shows the minimal age: the peer closed
/// its sending half only, or its host answers for a minute yet. Then the time since data tells.
fn is_hidden_by_probes(socket: &Socket, age: Age, min_age: Span) -> bool {
    let is_probed = socket.keepalive || socket.times.is_some_and(|times| times.ack_delay == u32::MAX);
    let until_next = socket.timer_rest.filter(|_| is_probed);
    let longest = until_next.map(|rest| u64::from(age.at_least) + u64::from(rest));
    let min_age = min_age.as_millis();
    longest.is_some_and(|longest| longest < min_age) && u64::from(age.at_most) >= min_age
}
