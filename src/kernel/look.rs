//! Visit a service's sockets, each with what tells its side and whose it is: the listeners.

pub mod here;
mod transparent;
pub mod unix;

use crate::base::error::Result;
use crate::kernel::listeners::Listeners;
use crate::kernel::netns::kept::Reading;
use crate::kernel::owner::read_tables::ReadTables;
use crate::kernel::select::{Match, Selection};
use crate::kernel::socket::{Side, Socket, State, StateSet};
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
    let query = Query { states, ports: &selection.ports, side: selection.side, times, listeners: true };
    let mut seen = visit_tcp(world, selection, &query, None, each)?;
    if !selection.unix.is_empty()
        && let Err(why) = unix::visit(world, selection, states, &mut seen, each)
    {
        seen.missing.get_or_insert(format!("UNIX sockets not seen: {why}"));
    }
    Ok(seen)
}

/// Shows TCP's sockets in `states` in all network namespaces, others' too, which match nothing. What is read of processes on
/// the way is kept in `tables`, before sockets are shown.
///
/// # Errors
/// As [`source::visit`].
pub fn visit_everyones(
    world: &World,
    selection: &Selection,
    (states, times): (StateSet, bool),
    tables: &mut ReadTables,
    each: &mut dyn FnMut(&Socket, Match, &Listeners),
) -> Result<Coverage> {
    let query = Query { states, ports: &[], side: Side::Both, times, listeners: true };
    visit_tcp(world, selection, &query, Some(tables), each)
}

fn visit_tcp(
    world: &World,
    selection: &Selection,
    query: &Query,
    tables: Option<&mut ReadTables>,
    each: &mut dyn FnMut(&Socket, Match, &Listeners),
) -> Result<Coverage> {
    let mut listeners = Listeners::default();
    let mut show = |socket: &Socket| {
        if socket.state == State::Listen {
            listeners.add(socket);
            if !query.states.contains(State::Listen) {
                return;
            }
        }
        each(socket, selection.matches(socket, &listeners), &listeners);
    };
    let mut seen = match tables {
        Some(tables) => source::visit_all(world, query, &mut Reading::Kept(tables), &mut show)?,
        None => source::visit(world, query, &mut show)?,
    };
    transparent::visit(world, selection, query.states, &listeners, &mut seen, each)?;
    Ok(seen)
}
