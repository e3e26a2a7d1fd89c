//! Look at what a service leaves behind: once, or until it is gone.

use super::leftover::{self, Class, Left};
use super::reload::{self, Reload};
use connleak::base::duration::Span;
use connleak::base::error::{Error, Result};
use connleak::kernel::look;
use connleak::kernel::owner::{self, Holders, Owners};
use connleak::kernel::select::{Match, Selection};
use connleak::kernel::socket::{Socket, State, StateSet, UnixName};
use connleak::kernel::source::Coverage;
use connleak::kernel::world::World;
use connleak::report::verdict::Limits;
use connleak::report::{Metric, Unit, rounded};
use connleak::service::baseline::{Baseline, Listener};

/// What one look shows.
#[derive(Debug)]
pub struct Leftovers {
    pub seen: Coverage,
    pub left: Vec<Left>,
    /// What only the kernel has, and ends by itself.
    pub ending: Vec<Left>,
    /// After a reload: all that listens, whether it was there before or not.
    pub listening: Vec<Left>,
    /// UNIX sockets' names that something listens on or is bound to, whosever it is.
    pub served: Vec<UnixName>,
    /// [`Drain::is_reload`].
    pub reload: Option<Reload>,
    pub time_wait: u64,
    /// Not in the baseline.
    pub new: u64,
    /// Whose it is can't be told.
    pub unsure: u64,
}

impl Leftovers {
    /// Whether nothing listens any more where a reload was to keep it.
    pub fn is_gone(&self, before: &[Listener]) -> bool {
        self.reload.is_some_and(|reload| reload.is_gone) && !before.is_empty() && self.seen.missing.is_none()
    }

    /// `limits`: of the sockets that are left.
    pub fn metrics(&self, after: Span, limits: Limits) -> Vec<Metric> {
        let all = || self.left.iter().chain(&self.ending);
        let of = |class: Class| all().filter(|left| left.class() == class).count() as u64;
        let after = rounded(after.0.as_secs_f64(), 3);
        vec![
            Metric::count("orphans", self.left.len() as u64).within(limits),
            Metric::count("held", of(Class::Held)),
            Metric::count("kernel", of(Class::Kernel)),
            Metric::count("listen", of(Class::Listen)),
            Metric::count("bound", of(Class::Bound)),
            Metric::count("time_wait", self.time_wait),
            Metric::count("new", self.new),
            Metric::new("drained_after", Unit::Seconds, Some(after)),
        ]
    }
}

/// What a socket of the service is after its stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Ignored,
    /// Not in the baseline.
    New,
    /// Only the kernel has it, and ends it.
    Ending,
    Left,
    /// Whose it is can't be told.
    Unsure,
}

/// Where to look, and what is no orphan.
#[derive(Clone, Copy, Debug)]
pub struct Drain<'a> {
    pub world: &'a World,
    pub selection: &'a Selection,
    pub ignore: &'a [State],
    /// Whether the service goes on, with what it listens on.
    pub is_reload: bool,
}

impl Drain<'_> {
    fn visit(&self, states: StateSet, each: &mut dyn FnMut(&Left, bool)) -> Result<Coverage> {
        let selection = self.selection;
        look::visit(self.world, selection, (states, true), &mut |socket, matched, _| match matched {
            Match::No => {}
            Match::Yes(side) => each(&Left { socket: *socket, side }, true),
            Match::Unsure => each(&Left { socket: *socket, side: selection.side }, false),
        })
    }

    /// `is_sure`: whether it is known to be the service's.
    pub fn fate(&self, found: &Left, is_sure: bool, baseline: Option<&Baseline>) -> Fate {
        if self.ignore.contains(&found.socket.state) {
            Fate::Ignored
        } else if baseline.is_some_and(|baseline| !baseline.has(&found.socket)) {
            Fate::New
        } else if found.is_ending() && !self.ignore.is_empty() {
            Fate::Ending
        } else if is_sure {
            Fate::Left
        } else {
            Fate::Unsure
        }
    }

    /// Everything but ignored states and, with a baseline, new sockets.
    pub fn look(&self, baseline: Option<&Baseline>) -> Result<Leftovers> {
        let (mut left, mut ending, mut listening) = (Vec::new(), Vec::new(), Vec::new());
        let (mut time_wait, mut new, mut unsure) = (0, 0, 0);
        let mut served = Vec::new();
        let seen = self.visit(StateSet::ALL_AND_BOUND, &mut |found, is_sure| {
            let state = found.socket.state;
            time_wait += u64::from(is_sure && state == State::TimeWait);
            if matches!(state, State::Listen | State::Close) {
                served.extend(found.socket.local.unix().and_then(|end| end.name));
            }
            listening.extend((self.is_reload && is_sure && state == State::Listen).then_some(*found));
            match self.fate(found, is_sure, baseline) {
                Fate::Ignored => {}
                Fate::New => new += 1,
                Fate::Ending => ending.extend(is_sure.then_some(*found)),
                Fate::Left => left.push(*found),
                Fate::Unsure => unsure += 1,
            }
        })?;
        let mut view = Leftovers { seen, left, ending, listening, served, reload: None, time_wait, new, unsure };
        if let Some(baseline) = baseline.filter(|_| self.is_reload) {
            let all: Vec<Left> = view.left.iter().chain(&view.listening).copied().collect();
            let owners = owners(self.world, &all, Holders::All);
            let reload = reload::take_out_kept(&mut view.left, &view.listening, &owners, &baseline.listeners);
            view.unsure += reload.unknown;
            view.reload = Some(reload);
        }
        Ok(view)
    }

    /// What there is now, with the processes that listen.
    pub fn take_baseline(&self) -> Result<Baseline> {
        let mut baseline = Baseline::default();
        let mut listening = Vec::new();
        let seen = self.visit(StateSet::ALL_AND_BOUND, &mut |found, _| {
            baseline.add(&found.socket);
            if matches!(found.class(), Class::Listen | Class::Bound) {
                listening.push(*found);
            }
        })?;
        if let Some(missing) = seen.missing {
            return Err(Error::Usage(format!("no baseline: sockets incomplete: {missing}")));
        }
        baseline.listeners = leftover::listeners(&listening, &owners(self.world, &listening, Holders::All));
        Ok(baseline)
    }

    /// While the command runs: until a new service listens, what is opened is the old one's, also
    /// what it accepted just before it ended. An attempt to connect may yet reach the new one.
    pub fn follow(&self, baseline: &mut Baseline) -> Result<()> {
        let mut opened = Vec::new();
        let is_its_own = |socket: &Socket| !matches!(socket.state, State::SynSent | State::Listen);
        self.visit(StateSet::ALL, &mut |found, _| {
            opened.extend(Some(found.socket).filter(|socket| is_its_own(socket) && !baseline.has(socket)));
        })?;
        // Looked for last: what a new service had accepted before would show it here.
        let mut is_restarted = false;
        self.visit(StateSet::of(&[State::Listen]), &mut |found, _| is_restarted |= !baseline.has(&found.socket))?;
        if !is_restarted {
            opened.iter().for_each(|socket| baseline.add(socket));
        }
        Ok(())
    }
}

/// Who holds what is left. A recorded dump's inodes are another time's.
pub fn owners(world: &World, left: &[Left], holders: Holders) -> Owners {
    let inodes: Vec<_> = left.iter().map(|left| (left.socket.inode, left.socket.uid)).collect();
    if world.replay.is_some() {
        return Owners::default();
    }
    // A master and its workers share a listening socket.
    let keeps_port = |left: &Left| matches!(left.class(), Class::Listen | Class::Bound);
    let is_shared = holders == Holders::First && left.iter().any(keeps_port);
    let holders = if is_shared { Holders::Main } else { holders };
    let mut owners = owner::find(world, &inodes, holders);
    owners.put_main_first();
    owners
}
