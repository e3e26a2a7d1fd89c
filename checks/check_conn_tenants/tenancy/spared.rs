//! What a pool may keep of connections that look forgotten counts for no tenant.

use super::census::{Counts, Expected};
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
        let socket = &connection.socket;
        let mut suspect = Suspect::new(socket, age);
        // A client on this host is known by more than its address.
        let client = connection.client.filter(|end| end.inode != 0);
        if let Some(end) = client {
            (suspect.uid, suspect.cgroup) = (end.uid, end.cgroup);
        }
        let side = if client.is_some() { Side::Client } else { Side::Server };
        let is_unused = socket.times.is_some_and(|times| times.carried == Some(false));
        Kept { index, suspect, side, was_used: socket.state == State::CloseWait || !is_unused }
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

/// Takes the spares out of what counts, and of what may count as far as a pool has fewer than it may keep. `counts`: of
/// each connection.
pub fn take_out(connections: &[Connection], counts: &mut [Counts], expected: Expected) {
    type Count = fn(&mut Counts) -> &mut u64;
    let kinds: [(u64, Count, Count); 2] = [
        (expected.close_wait, |counts| &mut counts.close_wait, |counts| &mut counts.maybe_close_wait),
        (expected.idle, |counts| &mut counts.idle, |counts| &mut counts.maybe_idle),
    ];
    for (expected, known, maybe) in kinds.into_iter().filter(|(expected, ..)| *expected > 0) {
        let age = |connection: &Connection| match connection.socket.state {
            State::CloseWait => connection.socket.close_wait_age().map(|age| age.at_least),
            _ => connection.socket.silence(),
        };
        let found = |counts: &mut [Counts], count: Count| -> Vec<usize> {
            (0..counts.len()).filter(|index| *count(&mut counts[*index]) > 0).collect()
        };
        let (are, may_be) = (found(counts, known), found(counts, maybe));
        let mut kept: Vec<Kept> =
            are.iter().map(|index| Kept::new(*index, &connections[*index], age(&connections[*index]))).collect();
        spares::take_out(&mut kept, expected);
        // What is known fills a pool first: it sorts as the youngest.
        let mut all: Vec<Kept> = are.iter().map(|index| Kept::new(*index, &connections[*index], None)).collect();
        all.extend(may_be.iter().map(|index| Kept::new(*index, &connections[*index], Some(0))));
        spares::take_out(&mut all, expected);
        for (indices, beyond, count) in [(&are, &kept, known), (&may_be, &all, maybe)] {
            let beyond: HashSet<usize> = beyond.iter().map(|kept| kept.index).collect();
            for index in indices.iter().filter(|index| !beyond.contains(index)) {
                *count(&mut counts[*index]) = 0;
                counts[*index].spares += 1;
            }
        }
    }
}

/// Takes out what is usual of the pools' CLOSE_WAIT, whether it is or only may be old enough to count.
pub fn take_out_usual(connections: &[Connection], counts: &mut [Counts], usual: &mut Usual, world: &World) {
    let is_clients =
        |connection: &Connection| connection.client.is_some_and(|end| end.inode == connection.socket.inode);
    let closed = connections.iter().enumerate().filter(|(_, connection)| is_clients(connection));
    let age = |connection: &Connection| connection.socket.close_wait_age().map(|age| age.at_least);
    let mut closed: Vec<Kept> =
        closed.map(|(index, connection)| Kept::new(index, connection, age(connection))).collect();
    for Kept { index, .. } in usual.take_out(&mut closed, world) {
        let counts = &mut counts[index];
        counts.spares += counts.close_wait + counts.maybe_close_wait;
        (counts.close_wait, counts.maybe_close_wait) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use connleak::kernel::socket::{Endpoint, Socket};

    /// One user's, at port 6379.
    fn connection(port: u16) -> Connection {
        let end = |port| Endpoint::new([127, 0, 0, 1].into(), port);
        let socket = Socket { inode: 7, ..Socket::bare(State::CloseWait, end(port), end(6379)) };
        Connection { socket, client: None, server: None, peer: socket.remote.ip }
    }

    #[test]
    fn what_may_be_stuck_is_spared_where_what_is_leaves_room() {
        let (known, maybe) =
            (Counts { close_wait: 1, ..Counts::default() }, Counts { maybe_close_wait: 1, ..Counts::default() });
        let connections: Vec<Connection> = (1..=6).map(connection).collect();
        for (expected, are, may_be, spares) in [(0, 2, 4, 0), (1, 1, 4, 1), (2, 0, 4, 2), (5, 0, 1, 5), (9, 0, 0, 6)] {
            let mut counts = [maybe, known, maybe, known, maybe, maybe];
            take_out(&connections, &mut counts, Expected { close_wait: expected, idle: 9 });
            let mut all = Counts::default();
            counts.iter().for_each(|counts| all.add(counts));
            assert_eq!((all.close_wait, all.maybe_close_wait, all.spares), (are, may_be, spares), "{expected}");
        }
    }
}
