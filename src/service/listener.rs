//! Whether the service is there at all: a zero looks like health also where nobody listens.

use crate::base::error::{Error, Result};
use crate::kernel::owner::{self, Named};
use crate::kernel::select::{Match, Selection};
use crate::kernel::socket::{Side, State, StateSet};
use crate::kernel::source::{self, Query};
use crate::kernel::world::World;
use crate::report::verdict::ServiceState;
use crate::report::{Report, ports_text};
use crate::service::target::Target;
use crate::service::unix;
use std::collections::BTreeSet;

/// # Errors
/// `--require-listener` where there is no listener to be asked for.
pub fn check_options(target: &Target, world: &World) -> Result<()> {
    if target.request.without_listener.is_none() {
        return Ok(());
    }
    let refuse = |why: &str| Err(Error::Usage(format!("--require-listener {why}")));
    match (target.selection.is_any(), target.selection.side, world.replay.is_some()) {
        (true, ..) => refuse("needs the service's port: give it with -p or -P"),
        (_, Side::Client, _) => refuse("is about this host's listener: leave out --side client"),
        (.., true) => refuse("is about now: it can't be used with --replay"),
        _ => Ok(()),
    }
}

/// Which connections of the service a check saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Nobody,
    Connections,
    /// Among them the service's own ends: who accepted them is expected to listen still.
    OwnEnds,
}

/// Says that nothing listens, where nobody is connected, the service's own ends are or a listener is required, and what
/// else is missing of the choice. Returns whether anything of it is seen.
pub fn add_absence(report: &mut Report, target: &Target, world: &World, seen: Seen) -> bool {
    let is_connected = seen != Seen::Nobody;
    let is_there = listens(report, target, world, seen) || is_connected;
    target.add_to(world, is_there, report);
    is_there
}

/// Whether anyone does on one of the ports or UNIX sockets, as far as it was asked.
fn listens(report: &mut Report, target: &Target, world: &World, seen: Seen) -> bool {
    let (selection, required) = (&target.selection, target.request.without_listener);
    let is_connected = seen != Seen::Nobody;
    // One of several that were typed may be a mistake while others are connected.
    let is_asked = selection.asks_unix();
    let are_several = is_asked && (selection.has_tcp() || selection.unix.len() > 1);
    let is_left = !selection.unix_known.borrow().unheard.is_empty();
    let is_judged = required.is_some() || !is_connected || are_several || is_left;
    let is_wanted = is_judged || (seen == Seen::OwnEnds && selection.has_tcp());
    if !is_wanted || selection.is_any() || world.replay.is_some() {
        return false;
    }
    if selection.side == Side::Client && !is_asked && !is_left {
        let here = if selection.is_narrowed() { "of what was chosen" } else { "here" };
        report.missing.push(format!("nobody {here} is connected to it"));
        return false;
    }
    let mut absence = Absence { report, selection, world, required, is_connected };
    let over_unix = if is_judged && !selection.unix.is_empty() { absence.over_unix(are_several) } else { None };
    over_unix.unwrap_or_else(|| absence.of_ports())
}

/// Nothing that listens, and what is said of it.
struct Absence<'a> {
    report: &'a mut Report,
    selection: &'a Selection,
    world: &'a World,
    /// What it is then, where a listener is required.
    required: Option<ServiceState>,
    is_connected: bool,
}

impl Absence<'_> {
    fn raise(&mut self) {
        let state = self.report.state;
        self.report.state = state.max(self.required.unwrap_or(state));
    }

    fn and_nobody(&self) -> &'static str {
        if self.is_connected { "" } else { ", and nobody is connected" }
    }

    /// Whether one of the UNIX sockets is listened on; `None`: the ports tell. `are_several`: all of them were typed.
    fn over_unix(&mut self, are_several: bool) -> Option<bool> {
        let selection = self.selection;
        let heard = match unix::heard(selection, self.world, self.required.is_some() || are_several) {
            Ok(heard) => heard,
            Err(why) => {
                self.report.is_incomplete(format!("listeners unknown: {why}"));
                return Some(true);
            }
        };
        let is_told = heard.left.is_some();
        if let Some(left) = heard.left {
            self.report.missing.push(left);
            self.raise();
        }
        // What is typed and not there is a mistake, or the service is down: no zero of its is health.
        if let Some(why) = heard.missing {
            self.report.is_incomplete(why);
            self.raise();
            return Some(false);
        }
        let is_enough = self.required.is_none() && (self.is_connected || !are_several);
        if heard.any && (is_enough || selection.ports.is_empty()) {
            return Some(true);
        }
        if !selection.ports.is_empty() {
            return None;
        }
        if !is_told {
            self.report.missing.push(format!("none of its UNIX sockets is listened on{}", self.and_nobody()));
            self.raise();
        }
        Some(false)
    }

    /// Whether one of the ports is. Listeners are asked for by themselves, which the kernel answers without a walk of its
    /// connections.
    fn of_ports(&mut self) -> bool {
        let selection = self.selection;
        let mut silent: BTreeSet<u16> = selection.ports.iter().copied().collect();
        let query = Query {
            states: StateSet::of(&[State::Listen]),
            ports: &selection.ports,
            side: Side::Server,
            times: false,
            listeners: false,
        };
        let seen = source::visit(self.world, &query, &mut |socket| {
            if selection.matches_listener(socket) != Match::No {
                silent.remove(&socket.local.port);
            }
        });
        let unread = seen.map_or_else(|error| Some(error.to_string()), |seen| seen.missing);
        if let Some(why) = unread {
            // What was asked of the service's connections said the same, but for what broke since.
            self.report.is_incomplete(format!("listeners unknown: {why}"));
            return true;
        }
        let is_missing = !silent.is_empty() && (self.required.is_some() || silent.len() == selection.ports.len());
        if is_missing {
            let word = if silent.len() == 1 { "port" } else { "ports" };
            let ports = ports_text(&silent.iter().copied().collect::<Vec<_>>());
            let chosen = if selection.is_narrowed() { " of what was chosen" } else { "" };
            let bound = bound(selection, &silent, self.world).map_or_else(String::new, |bound| format!(" ({bound})"));
            let nobody = self.and_nobody();
            self.report.missing.push(format!("nothing{chosen} listens on {word} {ports} here{bound}{nobody}"));
            self.raise();
        }
        silent.len() < selection.ports.len()
    }
}

/// What keeps one of these ports without listening there, as a listener that was shut down does: `bound without listening
/// by haproxy[7]`. `None`: nothing, as far as the kernel tells it.
fn bound(selection: &Selection, ports: &BTreeSet<u16>, world: &World) -> Option<String> {
    let ports: Vec<u16> = ports.iter().copied().collect();
    let query = Query { states: StateSet::BOUND, ports: &ports, side: Side::Server, times: false, listeners: false };
    let mut bound = Vec::new();
    let seen = source::visit(world, &query, &mut |socket| {
        if socket.is_bound() && selection.matches_listener(socket) == Match::Yes(Side::Server) {
            bound.push((socket.inode, socket.uid));
        }
    });
    // It only explains: what can't be read changes nothing.
    seen.ok()?;
    bound.first()?;
    let holder = owner::main_holder(world, &bound);
    let by = holder.map_or_else(String::new, |process| format!(" by {}", Named(&process)));
    Some(format!("bound without listening{by}"))
}
