//! Visit a service's sockets, each with what tells its side and whose it is: the listeners.

pub mod here;
mod transparent;
pub mod unix;

use crate::base::error::Result;
use crate::kernel::listeners::Listeners;
use crate::kernel::select::{Match, Selection};
use crate::kernel::socket::{Socket, State, StateSet};
use crate::kernel::source::{self, Coverage, Origin, Query};
use crate::kernel::world::World;

/// Shows the sockets in `states` that may be the selection's, and how it matches each. `times`: as in a [`Query`].
///
/// # Errors
/// As [`source::visit`].
pub fn visit(
    world: &World,
    selection: &Selection,
    (states, times): (StateSet, bool),
    each: &mut dyn FnMut(&Socket, Match, &Listeners),
) -> Result<Coverage> {
    if !selection.has_tcp() {
        let mut seen = Coverage::new(Origin::Netlink, String::new());
        unix::visit(world, selection, states, &mut seen, each)?;
        return Ok(seen);
    }
    let mut listeners = Listeners::default();
    let query = Query { states, ports: &selection.ports, side: selection.side, times, listeners: true };
    let mut seen = source::visit(world, &query, &mut |socket| {
        if socket.state == State::Listen {
            listeners.add(socket);
            if !states.contains(State::Listen) {
                return;
            }
        }
        each(socket, selection.matches(socket, &listeners), &listeners);
    })?;
    transparent::visit(world, selection, states, &listeners, &mut seen, each)?;
    if !selection.unix.is_empty()
        && let Err(why) = unix::visit(world, selection, states, &mut seen, each)
    {
        seen.missing.get_or_insert(format!("UNIX sockets not seen: {why}"));
    }
    Ok(seen)
}
