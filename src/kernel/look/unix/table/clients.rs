//! Clients' ends, which have no name: told by their peers, by an earlier look, or by nothing any more.

use super::{Kept, Table};
use crate::kernel::socket::UnixName;
use crate::kernel::source::unix::diag;
use crate::kernel::unix_known::{Known, KnownListener, NumberMap, NumberSet};
use std::collections::BTreeSet;
use std::num::NonZeroU64;

impl Table {
    /// Whether the client of each accepted socket is among those that are kept, and each that waits. Both ends of a connection are in
    /// the same network namespace, what one shuts down is shut down at the other, and with both ways shut its peer has closed, unless
    /// one asked for just that.
    pub(super) fn has_all_clients(&self) -> bool {
        let is_open = |socket: &Kept| socket.shutdown != diag::BOTH;
        let (open, shut): (Vec<_>, Vec<_>) = self.accepted.iter().partition(|one| is_open(&one.socket));
        let waiting: NumberSet<u32> =
            self.listening.iter().flat_map(|one| one.socket.waiting.iter().copied()).collect();
        let (waits, others): (Vec<_>, Vec<_>) = self.others.iter().partition(|one| waiting.contains(&one.inode));
        let has_all = waits.len() == waiting.iter().filter(|inode| **inode != 0).count();
        has_all
            && others.into_iter().filter(|one| is_open(one)).count() == open.len()
            && (self.strays == 0 || shut.is_empty())
    }

    /// The clients' ends, each with the name of its service. `known`: of earlier looks.
    pub(in crate::kernel::look::unix) fn clients(&self, known: &Known) -> Vec<(Kept, UnixName)> {
        let mut servers: NumberMap<u32, UnixName> = NumberMap::default();
        servers.extend(self.accepted.iter().map(|one| (one.socket.inode, one.named.name)));
        let waiting = self.listening.iter().flat_map(|one| one.socket.waiting.iter().map(|at| (*at, one.named.name)));
        let waiting: NumberMap<u32, UnixName> = waiting.filter(|(inode, _)| *inode != 0).collect();
        let whose = |one: &Kept| match one.peer {
            0 => {
                let known = || known.clients.get(&one.cookie?);
                waiting.get(&one.inode).filter(|_| one.shutdown == 0).or_else(known).copied()
            }
            peer => servers.get(&peer).copied(),
        };
        self.others.iter().filter_map(|one| Some((*one, whose(one)?))).collect()
    }

    fn known_listeners(&self) -> Vec<KnownListener> {
        self.listening.iter().filter_map(|one| one.socket.known.clone()).collect()
    }

    /// What the next look is to know beside the clients that this one shows. Returns inode and user of the strays.
    pub(in crate::kernel::look::unix) fn teach(
        &self,
        known: &mut Known,
        clients: &[(Kept, UnixName)],
    ) -> Vec<(u32, Option<u32>)> {
        // As long as there are namesakes files are asked for: their connections may outlive their listener.
        known.listeners = if self.has_namesakes { Vec::new() } else { self.known_listeners() };
        let cookies =
            |all: &[(Kept, UnixName)]| all.iter().filter_map(|(one, name)| Some((one.cookie?, *name))).collect();
        let mut clients: Vec<(NonZeroU64, UnixName)> = cookies(clients);
        clients.retain(|(cookie, _)| !known.clients.contains_key(cookie));
        known.is_busy = known.has_looked && !clients.is_empty();
        known.clients.extend(clients);
        let lost =
            self.others.iter().filter(|one| one.peer == 0 && one.shutdown == diag::BOTH && self.may_be_clients(one));
        let lost = lost.filter_map(|one| Some((one.cookie?, one.inode, one.uid)));
        let lost = lost.chain(self.unknown.iter().map(|(cookie, inode)| (*cookie, *inode, None)));
        let is_one = |cookie: &NonZeroU64| match known.has_looked {
            true => known.strays.contains(cookie),
            false => !known.clients.contains_key(cookie),
        };
        let strays: Vec<_> = lost.filter(|(cookie, ..)| is_one(cookie)).collect();
        known.strays = strays.iter().map(|(cookie, ..)| *cookie).collect();
        known.has_looked = true;
        strays.into_iter().map(|(_, inode, uid)| (inode, uid)).collect()
    }

    /// Where somebody listens, or did and connections are left.
    pub(in crate::kernel::look::unix) fn teach_heard(&self, known: &mut Known, clients: &[(Kept, UnixName)]) {
        let listening: BTreeSet<UnixName> = self.open().map(|one| one.named.name).collect();
        let accepted = self.accepted.iter().map(|one| one.named.name);
        let connected: BTreeSet<UnixName> = accepted.chain(clients.iter().map(|(_, name)| *name)).collect();
        known.heard.extend(&listening);
        known.heard.retain(|name| connected.contains(name) || listening.contains(name));
        known.unheard = known.heard.difference(&listening).copied().collect();
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Candidate, Listening, Name};
    use super::*;
    use crate::kernel::unix_target::Named;

    /// What was shut down of each accepted socket and of each client's end, who waits, and how many strays there are.
    fn has_all(accepted: &[u8], clients: &[(u32, u8)], waiting: &[u32], strays: u64) -> bool {
        let kept =
            |inode, shutdown| Kept { inode, cookie: None, netns: 0, uid: None, peer: 0, shutdown, name: Name::None };
        let named = Named { name: UnixName::new("/run/x"), by_file: true };
        let candidate = |socket| Candidate { socket, named, target: 0, device: None };
        let listener = Listening { end: kept(1, 0), queue: None, waiting: waiting.to_vec(), known: None };
        let table = Table {
            listening: vec![Candidate { socket: listener, named, target: 0, device: None }],
            accepted: accepted.iter().map(|shutdown| candidate(kept(2, *shutdown))).collect(),
            others: clients.iter().map(|(inode, shutdown)| kept(*inode, *shutdown)).collect(),
            strays,
            ..Table::default()
        };
        table.has_all_clients()
    }

    #[test]
    fn clients_are_all_known_where_each_accepted_socket_has_one() {
        assert!(has_all(&[], &[], &[], 0) && has_all(&[], &[], &[], 9));
        assert!(has_all(&[0, 1], &[(7, 0), (8, 2)], &[], 9));
        assert!(!has_all(&[0, 1], &[(7, 0)], &[], 0), "one is new");
        assert!(!has_all(&[0], &[(7, 0), (8, 0)], &[], 0), "accepted meanwhile");
        assert!(has_all(&[0, 3], &[(7, 0), (8, 3), (9, 3)], &[], 0), "clients and servers that are alone");
        assert!(!has_all(&[0, 3], &[(7, 0)], &[], 1), "the stray may be its client");
        assert!(has_all(&[0], &[(7, 0), (8, 0)], &[8, 0], 0) && !has_all(&[0], &[(7, 0)], &[8], 0), "who waits");
    }
}
