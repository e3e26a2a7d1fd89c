//! What a pool may keep of connections that look forgotten counts for no tenant.

use super::census::{Expected, Looks};
use super::look::Connection;
use connleak::kernel::socket::{Side, State};
use connleak::kernel::world::World;
use connleak::owners::blame::Suspect;
use connleak::owners::spares::{self, Spare};
use connleak::owners::usual_close_wait::Usual;
use std::collections::HashSet;

struct Kept {
    index: usize,
    suspect: Suspect,
    side: Side,
    was_used: bool,
}

impl Kept {
    fn new(index: usize, connection: &Connection, age: Option<u32>) -> Kept {
        let mut suspect = Suspect { age, ..connection.suspect };
        // A client on this host is known by more than its address.
        let client = connection.client().filter(|end| end.inode != 0);
        if let Some(end) = client {
            (suspect.uid, suspect.cgroup) = (end.uid, end.cgroup);
        }
        let side = if client.is_some() { Side::Client } else { Side::Server };
        let is_closed = connection.suspect.state == State::CloseWait;
        Kept { index, suspect, side, was_used: is_closed || !connection.is_unused }
    }
}

impl Spare for Kept {
    fn suspect(&self) -> &Suspect {
        &self.suspect
    }

    fn side(&self) -> Side {
        self.side
    }

    fn was_used(&self) -> bool {
        self.was_used
    }
}

/// Takes the spares out of what counts, and of what may count as far as a pool has fewer than it may keep.
pub fn take_out(connections: &mut [Connection], expected: Expected) {
    let kinds =
        [(expected.close_wait, Looks::Stuck, Looks::MaybeStuck), (expected.idle, Looks::Idle, Looks::MaybeIdle)];
    for (expected, known, maybe) in kinds.into_iter().filter(|(expected, ..)| *expected > 0) {
        let found = |looks: Looks| -> Vec<usize> {
            (0..connections.len()).filter(|index| connections[*index].looks == looks).collect()
        };
        let (are, may_be) = (found(known), found(maybe));
        let new = |index: &usize, age| Kept::new(*index, &connections[*index], age);
        let mut kept: Vec<Kept> = are.iter().map(|index| new(index, connections[*index].suspect.age)).collect();
        spares::take_out(&mut kept, expected);
        // What is known fills a pool first: it sorts as the youngest.
        let mut all: Vec<Kept> = are.iter().map(|index| new(index, None)).collect();
        all.extend(may_be.iter().map(|index| new(index, Some(0))));
        spares::take_out(&mut all, expected);
        for (indices, beyond) in [(&are, &kept), (&may_be, &all)] {
            let beyond: HashSet<usize> = beyond.iter().map(|kept| kept.index).collect();
            for index in indices.iter().filter(|index| !beyond.contains(index)) {
                connections[*index].is_spare = true;
            }
        }
    }
}

/// Takes out what is usual of the pools' CLOSE_WAIT, whether it is or only may be old enough to count.
pub fn take_out_usual(connections: &mut [Connection], usual: &mut Usual, world: &World) {
    let is_clients =
        |connection: &Connection| connection.client().is_some_and(|end| end.inode == connection.suspect.inode);
    let closed = connections.iter().enumerate().filter(|(_, connection)| is_clients(connection));
    let mut closed: Vec<Kept> = closed
        .filter(|(_, connection)| connection.suspect.state == State::CloseWait)
        .map(|(index, connection)| Kept::new(index, connection, connection.suspect.age))
        .collect();
    for Kept { index, .. } in usual.take_out(&mut closed, world) {
        connections[index].is_spare = matches!(connections[index].looks, Looks::Stuck | Looks::MaybeStuck);
    }
}

#[cfg(test)]
mod tests {
    use super::super::census::{Ages, Counts};
    use super::*;
    use connleak::base::duration::Span;
    use connleak::kernel::socket::{Endpoint, Socket};

    /// One user's, at port 6379.
    fn connection(port: u16, looks: Looks) -> Connection {
        let end = |port| Endpoint::new([127, 0, 0, 1].into(), port);
        let socket = Socket { inode: 7, ..Socket::bare(State::CloseWait, end(port), end(6379)) };
        let ages = Ages { close_wait: Span::seconds(60), idle: Span::seconds(60) };
        let mut connection = Connection::new(&socket, Side::Server, &ages);
        connection.looks = looks;
        connection
    }

    #[test]
    fn what_may_be_stuck_is_spared_where_what_is_leaves_room() {
        use Looks::{MaybeStuck as Maybe, Stuck};
        for (expected, are, may_be, spares) in [(0, 2, 4, 0), (1, 1, 4, 1), (2, 0, 4, 2), (5, 0, 1, 5), (9, 0, 0, 6)] {
            let looks = [Maybe, Stuck, Maybe, Stuck, Maybe, Maybe];
            let mut connections: Vec<Connection> =
                (1..).zip(looks).map(|(port, looks)| connection(port, looks)).collect();
            take_out(&mut connections, Expected { close_wait: expected, idle: 9 });
            let mut all = Counts::default();
            connections.iter().for_each(|connection| all.add(&connection.counts()));
            assert_eq!((all.close_wait, all.maybe_close_wait, all.spares), (are, may_be, spares), "{expected}");
        }
    }
}
