//! What shows at little cost that something is left: as long as one socket that was left is still there, nothing has settled.

use super::drain::{Drain, Fate, Leftovers};
use super::leftover::Left;
use connleak::kernel::look::here::Here;
use connleak::kernel::look::unix;
use connleak::kernel::select::Match;
use connleak::kernel::socket::StateSet;
use connleak::kernel::source::exact::Asker;
use connleak::kernel::source::{Coverage, Origin};
use connleak::service::baseline::Baseline;
use std::time::Duration;

/// So many are known at once: each that goes saves a look for others.
const ENOUGH: usize = 64;

/// What was done while waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// At everything.
    pub looks: u32,
    /// At as much of the tables as shows that something is left.
    pub glances: u32,
    /// Sockets that were asked for alone.
    pub asked: u32,
}

pub struct Witnesses<'a> {
    drain: &'a Drain<'a>,
    baseline: Option<&'a Baseline>,
    /// `None`: only looks tell.
    asker: Option<Asker>,
    /// `None`: only looks at everything tell.
    here: Option<Here<'a>>,
    known: Vec<Left>,
    pub effort: Effort,
}

impl<'a> Witnesses<'a> {
    pub fn new(drain: &'a Drain<'a>, baseline: Option<&'a Baseline>, wait: Duration) -> Witnesses<'a> {
        // Only where there is something to wait for.
        let asker = (!wait.is_zero()).then(|| Asker::here(drain.world)).flatten();
        // What a reload keeps is told by all sockets together.
        let is_told = asker.is_some() && !drain.is_reload;
        let here = is_told.then(|| Here::new(drain.world, drain.selection)).flatten();
        Witnesses { drain, baseline, asker, here, known: Vec::new(), effort: Effort::default() }
    }

    pub fn one_is_known(&self) -> bool {
        !self.known.is_empty()
    }

    /// Looks remember of UNIX clients' ends what the next one couldn't tell.
    pub fn must_look(&self) -> bool {
        !self.drain.selection.unix.is_empty() && !self.looks_at_unix()
    }

    /// Whether UNIX sockets can be looked at alone.
    fn looks_at_unix(&self) -> bool {
        !self.drain.selection.unix.is_empty() && self.asker.is_some() && !self.drain.is_reload
    }

    /// Whether one of those that are known is there, or a UNIX socket, which takes a look at those each time.
    pub fn one_is_there(&mut self) -> bool {
        self.unix_is_left() || self.one_is_found()
    }

    /// Asks the kernel for one after the other.
    fn one_is_found(&mut self) -> bool {
        while let Some(left) = self.known.last() {
            self.effort.asked += 1;
            let now = self.asker.as_ref().and_then(|asker| asker.find(&left.socket));
            // Unchanged in whose it is, as that decides whether it is meant.
            let is_same = |now: &Left| (now.socket.uid, now.socket.inode) == (left.socket.uid, left.socket.inode);
            let now = now.map(|socket| Left { socket, ..*left }).filter(is_same);
            if now.is_some_and(|now| self.drain.fate(&now, true, self.baseline) == Fate::Left) {
                return true;
            }
            self.known.pop();
        }
        false
    }

    fn unix_is_left(&self) -> bool {
        let Drain { world, selection, .. } = *self.drain;
        if !self.looks_at_unix() {
            return false;
        }
        let mut any = false;
        let mut seen = Coverage::new(Origin::Netlink, String::new());
        let looked = unix::visit(world, selection, StateSet::ALL, &mut seen, &mut |socket, matched, _| {
            any |= self.is_left(Left { socket: *socket, side: selection.side }, matched).is_some();
        });
        // Why not, a look at everything says.
        any && looked.is_ok()
    }

    /// A glance at TCP's tables, as far as it takes to know some.
    pub fn look_for(&mut self) -> bool {
        let Some(here) = &self.here else { return false };
        self.effort.glances += 1;
        let mut known = Vec::new();
        let looked = here.visit((StateSet::ALL, true), &mut |socket, matched, _| {
            known.extend(self.is_left(Left { socket: *socket, side: self.drain.selection.side }, matched));
            known.len() < ENOUGH
        });
        self.known = if looked.is_ok() { known } else { Vec::new() };
        !self.known.is_empty()
    }

    /// The one that was found, if it is left for certain.
    fn is_left(&self, found: Left, matched: Match) -> Option<Left> {
        let Match::Yes(side) = matched else { return None };
        Some(Left { side, ..found }).filter(|left| self.drain.fate(left, true, self.baseline) == Fate::Left)
    }

    /// What a look at everything showed is known from then on.
    pub fn learn(&mut self, view: &Leftovers) {
        self.effort.looks += 1;
        let is_told_here = view.seen.origin == Origin::Netlink && self.asker.is_some();
        self.known = view.left.iter().take(if is_told_here { ENOUGH } else { 0 }).copied().collect();
    }
}
