//! Count a service's sockets by state, with ages and addresses only where they are wanted.

use super::state_counts::found::Found;
use super::state_counts::judge::Rules;
use super::state_counts::{StateCounts, TIME_WAIT_LASTS};
use connleak::base::error::Result;
use connleak::kernel::headroom::{EphemeralPorts, PortUse};
use connleak::kernel::listeners::Listeners;
use connleak::kernel::look::{self, here::Here};
use connleak::kernel::netns;
use connleak::kernel::select::{Match, Selection};
use connleak::kernel::socket::{Side, Socket, State, StateSet};
use connleak::kernel::world::World;
use connleak::owners::blame::Suspect;
use connleak::service::target::Target;

/// `keeps`: whether the sockets are kept, with their ages.
pub fn gather(target: &Target, rules: &Rules, keeps: bool, world: &World) -> Result<Found> {
    let selection = &target.selection;
    let read = if world.replay.is_some() {
        Err("a recording doesn't tell their range".to_owned())
    } else {
        EphemeralPorts::read(world).map_err(|error| error.to_string())
    };
    let (range, no_range) = match read {
        Ok(range) => (range, None),
        Err(why) => (EphemeralPorts::usual(), Some(why)),
    };
    let min_age = u32::try_from(rules.min_age.as_millis()).unwrap_or(u32::MAX);
    let none = StateCounts::new(min_age, fin_timeout(world), PortUse::new(range));
    // Mere counts don't take the ages of all.
    let here = if keeps || !selection.unix.is_empty() { None } else { Here::new(world, selection) };
    let counted = here.and_then(|here| {
        let mut counts = Counts::new(&none, selection, keeps);
        let seen = here.visit((StateSet::ALL, false), &mut |socket, matched, listeners| {
            counts.add(socket, matched, listeners);
            true
        });
        Some((counts, seen.ok().flatten()?))
    });
    let (counts, seen) = match counted {
        Some(counted) => counted,
        None => {
            let mut counts = Counts::new(&none, selection, keeps);
            let seen = look::visit(world, selection, (StateSet::ALL, true), &mut |socket, matched, listeners| {
                counts.add(socket, matched, listeners);
            })?;
            (counts, seen)
        }
    };
    let Counts { mix, sockets, unsure, .. } = counts;
    let mut with_unsure = mix.clone();
    unsure.iter().for_each(|(side, socket)| with_unsure.add(socket, *side));
    Ok(Found { seen, mix, with_unsure, unsure: unsure.len() as u64, sockets, no_range })
}

/// What one look counts.
struct Counts<'a> {
    selection: &'a Selection,
    keeps: bool,
    mix: StateCounts,
    sockets: Vec<(Side, Suspect)>,
    unsure: Vec<(Side, Socket)>,
}

impl<'a> Counts<'a> {
    fn new(none: &StateCounts, selection: &'a Selection, keeps: bool) -> Counts<'a> {
        Counts { selection, keeps, mix: none.clone(), sockets: Vec::new(), unsure: Vec::new() }
    }

    fn add(&mut self, socket: &Socket, matched: Match, listeners: &Listeners) {
        let is_listener = socket.state == State::Listen;
        // A UNIX listener has no port: its name told already that it is meant.
        match if is_listener && !socket.is_unix() { self.selection.matches_listener(socket) } else { matched } {
            Match::No => {}
            Match::Yes(side) => {
                self.mix.add(socket, side);
                self.sockets.extend(self.keeps.then(|| (side, Suspect::new(socket, self.mix.age(socket)))));
            }
            Match::Unsure => {
                let side = self.selection.side_of(socket, listeners);
                self.unsure.extend(side.map(|side| (side, *socket)));
            }
        }
    }
}

/// For how long the kernel keeps a FIN_WAIT2 without process, milliseconds.
fn fin_timeout(world: &World) -> u32 {
    let is_ours = world.replay.is_none() && netns::place(world).is_ok_and(|place| place.is_ours);
    let path = world.proc_root.join("sys/net/ipv4/tcp_fin_timeout");
    let text = if is_ours { std::fs::read_to_string(path).unwrap_or_default() } else { String::new() };
    text.trim().parse().map_or(TIME_WAIT_LASTS, |seconds: u32| seconds.saturating_mul(1000))
}
