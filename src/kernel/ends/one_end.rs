//! Of a connection with both ends here one is kept, as soon as the other one is seen: half of the memory of very many.

use super::{Ends, join_more};
use crate::kernel::unix_known::NumberMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;

/// So many are joined at once: the kernel's walk puts what each looks up out of the caches, and to fetch many takes hardly
/// longer than one.
const AT_ONCE: usize = if cfg!(test) { 7 } else { 256 };

/// What is kept of one end of a connection.
pub trait Kept: Copy {
    /// Whether ends that meet tell each other anything.
    const MEETS: bool;

    fn ends(&self) -> Ends;

    fn is_client(&self) -> bool;

    /// A client's: what a server's end tells that isn't kept. The last one counts.
    fn meet(&mut self, _server: &Self) {}

    /// A client's: has met the server's end that an equal one met before.
    fn replace(&mut self, _before: &mut Self) {}
}

/// Connections by their client's end, or by the server's where that one's is not seen.
pub struct OneEnd<T> {
    kept: Vec<T>,
    /// Which ends of each were seen.
    seen: Vec<Seen>,
    /// By what both ends see, as a number: what is kept has left the caches, and is not read again for it.
    places: NumberMap<u64, u32>,
    secret: u64,
    /// Clients' ends that don't count any more.
    closing: Vec<Ends>,
    /// What became of the servers' ends that are left, while no more ends come.
    rest: Option<Vec<Rest>>,
    /// What comes next, and what both of its ends see.
    waiting: Vec<T>,
    numbers: Vec<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Server,
    Client,
    Both,
}

/// A server's end that no client's sees the same, by its place, and where only that one's own address joins them its client's.
type Rest = (usize, Option<Client>);

#[derive(Clone, Copy)]
enum Client {
    Kept(usize),
    Closing(usize),
}

impl<T> Default for OneEnd<T> {
    fn default() -> OneEnd<T> {
        let secret = RandomState::new().hash_one(0) | 1;
        let (kept, seen, places, closing, rest, waiting, numbers) = Default::default();
        OneEnd { kept, seen, places, secret, closing, rest, waiting, numbers }
    }
}

impl<T: Kept> OneEnd<T> {
    /// Copied no oftener than it must be: to copy a large one takes as long as to look it up.
    pub fn add(&mut self, one: &T) {
        self.rest = None;
        self.numbers.push(one.ends().number(self.secret));
        self.waiting.push(*one);
        if self.waiting.len() == AT_ONCE {
            self.join();
        }
    }

    fn join(&mut self) {
        let (mut waiting, mut numbers) = (std::mem::take(&mut self.waiting), std::mem::take(&mut self.numbers));
        // No lookup waits here for the one before.
        let met = |(one, number): (&T, &u64)| {
            let at = *self.places.get(number)? as usize;
            (T::MEETS || one.is_client() && self.seen[at] == Seen::Server).then(|| &self.kept[at])
        };
        black_box(waiting.iter().zip(&numbers).filter_map(met).filter(|known| known.is_client()).count());
        waiting.iter().zip(&numbers).for_each(|(one, number)| self.keep(one, *number));
        waiting.clear();
        numbers.clear();
        (self.waiting, self.numbers) = (waiting, numbers);
    }

    /// Keeps it, if that is this end.
    fn keep(&mut self, one: &T, number: u64) {
        let (mut one, is_client, new) = (*one, one.is_client(), self.kept.len() as u32);
        let mut seen = if is_client { Seen::Client } else { Seen::Server };
        match self.places.entry(number) {
            Entry::Occupied(mut place) => {
                let at = *place.get() as usize;
                match self.seen[at] {
                    Seen::Client | Seen::Both if !is_client => {
                        self.kept[at].meet(&one);
                        self.seen[at] = Seen::Both;
                        return;
                    }
                    Seen::Server if is_client => {
                        one.meet(&self.kept[at]);
                        (self.kept[at], self.seen[at]) = (one, Seen::Both);
                        return;
                    }
                    _ => {
                        // Of equal ones the last meets the other end.
                        place.insert(new);
                        if is_client {
                            one.replace(&mut self.kept[at]);
                            std::mem::swap(&mut seen, &mut self.seen[at]);
                        }
                    }
                }
            }
            Entry::Vacant(place) => {
                place.insert(new);
            }
        }
        self.seen.push(seen);
        self.kept.push(one);
    }

    pub fn add_closing(&mut self, client: Ends) {
        self.rest = None;
        self.closing.push(client);
    }

    /// The servers' ends of which no client's was seen, behind NAT neither.
    pub fn clientless(&mut self) -> Vec<Ends> {
        let rest = self.rest();
        let without = rest.iter().filter(|(_, client)| client.is_none());
        let without = without.map(|(server, _)| self.kept[*server].ends()).collect();
        self.rest = Some(rest);
        without
    }

    /// All clients' ends.
    pub fn clients(&self) -> impl Iterator<Item = Ends> {
        let clients = self.kept.iter().chain(&self.waiting).filter(|one| one.is_client());
        clients.map(Kept::ends).chain(self.closing.iter().copied())
    }

    fn rest(&mut self) -> Vec<Rest> {
        if let Some(rest) = self.rest.take() {
            return rest;
        }
        self.join();
        let kept = &self.kept;
        let (clients, servers): (Vec<usize>, Vec<usize>) = (0..kept.len()).partition(|at| kept[*at].is_client());
        if servers.is_empty() || clients.len() + self.closing.len() == 0 {
            return servers.into_iter().map(|at| (at, None)).collect();
        }
        let of = |at: &usize| kept[*at].ends();
        let ends: Vec<Ends> = clients.iter().map(of).chain(self.closing.iter().copied()).collect();
        let mut are_joined: Vec<bool> = clients.iter().map(|at| self.seen[*at] == Seen::Both).collect();
        are_joined.resize(ends.len(), false);
        let joined = join_more(&ends, are_joined, &servers.iter().map(of).collect::<Vec<_>>());
        let closing = |index: usize| Client::Closing(index - clients.len());
        let client = |index: usize| clients.get(index).map_or_else(|| closing(index), |at| Client::Kept(*at));
        servers.into_iter().zip(joined).map(|(at, index)| (at, index.map(client))).collect()
    }

    /// Also without what only the client's own end joins, as behind NAT. A server's end whose client is closing stays: it
    /// `meets` that one, by its number.
    pub fn end(mut self, mut meets: impl FnMut(&mut T, usize)) -> Vec<T> {
        let rest = self.rest();
        let OneEnd { mut kept, mut seen, .. } = self;
        for (server, client) in rest {
            match client {
                Some(Client::Kept(client)) => {
                    let end = kept[server];
                    if seen[client] != Seen::Both {
                        kept[client].meet(&end);
                    }
                    seen[server] = Seen::Both;
                }
                Some(Client::Closing(number)) => meets(&mut kept[server], number),
                None => {}
            }
        }
        let mut seen = seen.into_iter();
        kept.retain(|one| seen.next() != Some(Seen::Both) || one.is_client());
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::ends;
    use crate::kernel::socket::{Endpoint, Side};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[derive(Clone, Copy)]
    struct One {
        number: usize,
        is_client: bool,
        ends: Ends,
        /// The server's end of a client's, or a closing client's of a server's.
        met: Option<usize>,
    }

    impl Kept for One {
        const MEETS: bool = true;

        fn ends(&self) -> Ends {
            self.ends
        }

        fn is_client(&self) -> bool {
            self.is_client
        }

        fn meet(&mut self, server: &One) {
            self.met = Some(server.number);
        }

        fn replace(&mut self, before: &mut One) {
            self.met = before.met.take();
        }
    }

    fn ends((client, server): (u16, u8), is_client: bool) -> Ends {
        let end = |host, port| Endpoint::new([10, 0, 0, host].into(), port);
        let (client, server) = (end(1, client), end(server, 80));
        if is_client { Ends::new(Side::Client, 0, client, server) } else { Ends::new(Side::Server, 0, server, client) }
    }

    type Left = BTreeSet<(usize, Option<usize>)>;

    /// All ends are collected first.
    fn at_the_end(rows: &[One], closing: &[Ends]) -> (Left, usize) {
        let of = |is_clients: bool| rows.iter().filter(move |one| one.is_client == is_clients);
        let clients: Vec<Ends> = of(true).map(|one| one.ends).chain(closing.iter().copied()).collect();
        let servers: Vec<Ends> = of(false).map(|one| one.ends).collect();
        let counted = of(true).count();
        let joined = ends::join(&clients, &servers);
        let mut met = vec![None; clients.len()];
        of(false).zip(&joined).for_each(|(one, client)| {
            if let Some(client) = client {
                met[*client] = Some(one.number);
            }
        });
        let alone = of(false).zip(&joined).filter(|(_, client)| client.is_none_or(|client| client >= counted));
        let servers = alone.map(|(one, client)| (one.number, client.map(|client| client - counted)));
        let clients = of(true).zip(met).map(|(one, server)| (one.number, server));
        (clients.chain(servers).collect(), joined.iter().filter(|client| client.is_none()).count())
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
            let one = |(number, (is_client, port, host)): (usize, (bool, u16, u8))| {
                One { number, is_client, ends: ends((port, host), is_client), met: None }
            };
            let rows: Vec<_> = rows.into_iter().chain(ends_of_those).enumerate().map(one).collect();
            let mut streamed = OneEnd::default();
            let closing: Vec<Ends> = closing.into_iter().map(|of| ends(of, true)).collect();
            rows.iter().for_each(|one| streamed.add(one));
            closing.iter().for_each(|one| streamed.add_closing(*one));
            let (left, clientless) = at_the_end(&rows, &closing);
            prop_assert_eq!(streamed.clientless().len(), clientless);
            let streamed = streamed.end(|server, number| server.met = Some(number));
            // Behind NAT any of several may be the one: which it is depends on their order.
            for one in &streamed {
                let of = |met: usize| if one.is_client { rows[met].ends } else { closing[met] };
                prop_assert!(one.met.is_none_or(|met| of(met).client() == one.ends.client()));
            }
            let number = |(number, _): &(usize, _)| *number;
            let met = |left: &Left| left.iter().filter_map(|(_, met)| *met).collect::<BTreeSet<usize>>();
            let streamed: Left = streamed.iter().map(|one| (one.number, one.met)).collect();
            prop_assert_eq!(met(&streamed), met(&left));
            prop_assert!(streamed.iter().map(number).eq(left.iter().map(number)), "{:?} {:?}", streamed, left);
        }
    }
}
