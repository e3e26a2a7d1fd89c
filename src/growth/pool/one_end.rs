//! Of a connection with both ends here one is kept, as soon as the other one is seen: half of the memory of very many.

use super::Connection;
use crate::kernel::ends::{self, Ends};
use crate::kernel::socket::{Side, Socket};
use crate::kernel::unix_known::NumberMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;

/// So many are joined at once: the kernel's walk puts what each looks up out of the caches, and to fetch many takes hardly
/// longer than one.
const AT_ONCE: usize = if cfg!(test) { 7 } else { 256 };

/// Connections by their client's end, or by the server's where that one's is not seen.
pub struct OneEnd {
    kept: Vec<Connection>,
    /// Which ends of each were seen.
    seen: Vec<Seen>,
    /// By what both ends see, as a number: what is kept has left the caches, and is not read again.
    places: NumberMap<u64, u32>,
    secret: u64,
    /// Clients' ends that don't count any more.
    closing: Vec<Ends>,
    /// What comes next, and what both of its ends see.
    waiting: Vec<Connection>,
    numbers: Vec<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Server,
    Client,
    Both,
}

impl Default for OneEnd {
    fn default() -> OneEnd {
        let secret = RandomState::new().hash_one(0) | 1;
        let (places, kept, waiting) = (NumberMap::default(), Vec::new(), Vec::new());
        OneEnd { kept, seen: Vec::new(), places, secret, closing: Vec::new(), waiting, numbers: Vec::new() }
    }
}

impl OneEnd {
    /// Copied no oftener than it must be: to copy one takes as long as to look it up.
    pub fn add(&mut self, connection: &Connection) {
        self.numbers.push(ends_of(connection).number(self.secret));
        self.waiting.push(*connection);
        if self.waiting.len() == AT_ONCE {
            self.join();
        }
    }

    fn join(&mut self) {
        let (mut waiting, mut numbers) = (std::mem::take(&mut self.waiting), std::mem::take(&mut self.numbers));
        // No lookup waits here for the one before.
        let replaced = |(connection, number): (&Connection, &u64)| {
            let at = *self.places.get(number)? as usize;
            (connection.side == Side::Client && self.seen[at] == Seen::Server).then(|| &self.kept[at].socket)
        };
        let near = waiting.iter().zip(&numbers).filter_map(replaced);
        black_box(near.fold(0, |all, socket| all ^ socket.netns ^ u32::from(socket.local.port)));
        waiting.iter().zip(&numbers).for_each(|(connection, number)| self.keep(connection, *number));
        waiting.clear();
        numbers.clear();
        (self.waiting, self.numbers) = (waiting, numbers);
    }

    /// Keeps it, if that is this end.
    fn keep(&mut self, connection: &Connection, number: u64) {
        let is_client = connection.side == Side::Client;
        let mut seen = if is_client { Seen::Client } else { Seen::Server };
        let new = self.kept.len() as u32;
        match self.places.entry(number) {
            Entry::Occupied(mut place) => {
                let at = *place.get() as usize;
                match self.seen[at] {
                    Seen::Client | Seen::Both if !is_client => return self.seen[at] = Seen::Both,
                    Seen::Server if is_client => {
                        (self.kept[at], self.seen[at]) = (*connection, Seen::Both);
                        return;
                    }
                    // Of equal ones the last has met the server's.
                    _ if is_client => {
                        place.insert(new);
                        std::mem::swap(&mut seen, &mut self.seen[at]);
                    }
                    _ => {}
                }
            }
            Entry::Vacant(place) => drop(place.insert(new)),
        }
        self.seen.push(seen);
        self.kept.push(*connection);
    }

    pub fn add_closing(&mut self, client: &Socket) {
        self.closing.push(Ends::of(client, Side::Client));
    }

    /// Also without what only the client's own end joins, as behind NAT. A server's end whose client is closing stays.
    pub fn end(mut self) -> Vec<Connection> {
        self.join();
        let OneEnd { mut kept, mut seen, closing, .. } = self;
        let servers: Vec<Ends> = kept.iter().filter(|one| one.side != Side::Client).map(ends_of).collect();
        seen.retain(|seen| *seen != Seen::Server);
        let counted = seen.len();
        if servers.is_empty() || counted == 0 {
            return kept;
        }
        let of_clients = kept.iter().filter(|one| one.side == Side::Client).map(ends_of);
        let clients: Vec<Ends> = of_clients.chain(closing).collect();
        seen.resize(clients.len(), Seen::Client);
        let are_joined = seen.into_iter().map(|seen| seen == Seen::Both).collect();
        let mut joined = ends::join_more(&clients, are_joined, &servers).into_iter();
        kept.retain(|one| one.side == Side::Client || joined.next().flatten().is_none_or(|client| client >= counted));
        kept
    }
}

fn ends_of(connection: &Connection) -> Ends {
    Ends::of(&connection.socket, connection.side)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::socket::{Endpoint, State};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn socket((inode, client, server): (u64, u16, u8), side: Side) -> Socket {
        let end = |host, port| Endpoint::new([10, 0, 0, host].into(), port);
        let (client, server) = (end(1, client), end(server, 80));
        let (local, remote) = if side == Side::Client { (client, server) } else { (server, client) };
        Socket { inode, ..Socket::bare(State::Established, local, remote) }
    }

    /// All ends are collected first.
    fn at_the_end(rows: &[Connection], closing: &[Ends]) -> BTreeSet<u64> {
        let of = |side: Side| rows.iter().filter(move |one| one.side == side);
        let clients: Vec<Ends> = of(Side::Client).map(ends_of).chain(closing.iter().copied()).collect();
        let servers: Vec<Ends> = of(Side::Server).map(ends_of).collect();
        let counted = of(Side::Client).count();
        let joined = ends::join(&clients, &servers).into_iter();
        let alone = of(Side::Server).zip(joined).filter(|(_, client)| client.is_none_or(|client| client >= counted));
        alone.map(|(one, _)| one).chain(of(Side::Client)).map(|one| one.socket.inode).collect()
    }

    proptest! {
        /// Ports and addresses are few, so that ends meet, twins too, and some only behind NAT.
        #[test]
        fn what_is_left_is_what_a_join_of_all_leaves(
            rows in prop::collection::vec((any::<bool>(), 0u16..12, 1u8..4), 0..60),
            closing in prop::collection::vec((12u16..20, 1u8..4), 0..6),
            ends_of_those in prop::collection::vec((12u16..20, 1u8..4), 0..6),
        ) {
            let ends_of_those = ends_of_those.into_iter().map(|(port, host)| (false, port, host));
            let connection = |(inode, (is_client, port, host)): (usize, (bool, u16, u8))| {
                let side = if is_client { Side::Client } else { Side::Server };
                Connection::new(&socket((inode as u64 + 1, port, host), side), side)
            };
            let rows: Vec<_> = rows.into_iter().chain(ends_of_those).enumerate().map(connection).collect();
            let mut streamed = OneEnd::default();
            let closing: Vec<_> = closing.into_iter().map(|(port, host)| socket((0, port, host), Side::Client)).collect();
            rows.iter().for_each(|one| streamed.add(one));
            closing.iter().for_each(|one| streamed.add_closing(one));
            let closing: Vec<_> = closing.iter().map(|one| Ends::of(one, Side::Client)).collect();
            let left: BTreeSet<u64> = streamed.end().iter().map(|one| one.socket.inode).collect();
            prop_assert_eq!(left, at_the_end(&rows, &closing));
        }
    }
}
