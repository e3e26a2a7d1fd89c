//! MPTCP connections from the rows of two tables: TCP's has the subflows, MPTCP's the connections.
//!
//! After DATA_FIN the subflows stay ESTABLISHED, at the end that closed even with the inode of the
//! descriptor that is gone: state and ages are those of MPTCP's table. Source: net/mptcp/protocol.c, 6.18.

use super::Query;
use crate::kernel::socket::{Endpoint, Protocol, Socket, State};
use std::collections::{HashMap, HashSet};

/// What the rows of both tables make, those of MPTCP's first.
pub struct Connections<'a> {
    query: &'a Query<'a>,
    /// Whether MPTCP's table was read to its end.
    is_complete: bool,
    known: Vec<Socket>,
    by_inode: HashMap<u64, usize>,
    by_ends: HashMap<(Endpoint, Endpoint), usize>,
    /// Subflows that are no connection's first one.
    others: Vec<Socket>,
}

impl<'a> Connections<'a> {
    pub fn new(query: &'a Query<'a>) -> Connections<'a> {
        Connections {
            query,
            is_complete: false,
            known: Vec::new(),
            by_inode: HashMap::new(),
            by_ends: HashMap::new(),
            others: Vec::new(),
        }
    }

    /// A row of MPTCP's table. A listener's row in TCP's table tells as much.
    pub fn add(&mut self, row: &Socket) {
        if row.state == State::Listen || self.by_ends.contains_key(&(row.local, row.remote)) {
            return;
        }
        let index = self.known.len();
        // The kernel copies the listener's cookie, once a look gave it one, to all that it accepts: no identity (6.18).
        self.known.push(Socket { cookie: None, ..*row });
        self.by_ends.insert((row.local, row.remote), index);
        if row.inode != 0 {
            self.by_inode.insert(row.inode, index);
        }
    }

    /// MPTCP's table was read to its end.
    pub fn complete(&mut self) {
        self.is_complete = true;
    }

    /// A row of TCP's table.
    pub fn row(&mut self, row: &Socket, each: &mut dyn FnMut(&Socket)) {
        if row.protocol != Protocol::Subflow || row.state == State::Listen {
            return self.show(row, each);
        }
        let Some(index) = self.by_ends.get(&(row.local, row.remote)).copied() else { return self.others.push(*row) };
        if row.inode != 0 {
            // At the end that closed the connection has none, its subflows still have that of its descriptor.
            self.by_inode.insert(row.inode, index);
        }
        match self.known[index].protocol {
            Protocol::Fallback => self.show(row, each),
            _ => self.known[index].join(row),
        }
    }

    /// Where it is asked for.
    fn show(&self, row: &Socket, each: &mut dyn FnMut(&Socket)) {
        let protocol = if row.protocol == Protocol::Tcp { Protocol::Tcp } else { Protocol::Mptcp };
        if self.query.wants(row.state, row.local.port, row.remote.port) {
            each(&Socket { protocol, times: row.times.filter(|_| self.query.times), ..*row });
        }
    }

    /// Shows the connections. Returns of how many the state is not told.
    pub fn end(mut self, each: &mut dyn FnMut(&Socket)) -> u64 {
        let (mut shown, mut untold) = (HashSet::new(), 0);
        for row in std::mem::take(&mut self.others) {
            if let Some(index) = self.by_inode.get(&row.inode) {
                self.known[*index].join(&row);
            } else if row.inode == 0 || shown.insert(row.inode) {
                // Of a connection younger than the look at MPTCP's table, or that table is not told: one
                // subflow stands for all.
                untold += u64::from(!self.is_complete && row.state == State::Established);
                self.show(&row, each);
            }
        }
        for connection in self.known.iter().filter(|known| known.protocol == Protocol::Mptcp) {
            self.show(connection, each);
        }
        untold
    }
}

impl Socket {
    /// Takes from a subflow what its connection's row doesn't tell.
    fn join(&mut self, subflow: &Socket) {
        if self.cookie.is_none() || (self.local, self.remote) == (subflow.local, subflow.remote) {
            self.cookie = subflow.cookie;
        }
        // A probe's answer restarts the connection's ages too.
        self.keepalive |= subflow.keepalive;
        self.timer_rest = self.timer_rest.or(subflow.timer_rest);
        if let (Some(times), Some(of_subflow)) = (&mut self.times, subflow.times) {
            times.stalled = times.stalled.max(of_subflow.stalled);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::socket::{Side, StateSet, Times};
    use std::num::NonZeroU64;

    const ALL: Query<'static> =
        Query { states: StateSet::ALL, ports: &[], side: Side::Both, times: true, listeners: false };

    fn row(protocol: Protocol, state: State, inode: u64, port: u16) -> Socket {
        let end = |port| Endpoint::new([127, 0, 0, 1].into(), port);
        let times = Times { data_sent: 9, data_recv: 9, ack_recv: 5, stalled: 0, carried: Some(true), ack_delay: 0 };
        let cookie = NonZeroU64::new(u64::from(port));
        Socket { protocol, inode, times: Some(times), cookie, ..Socket::bare(state, end(80), end(port)) }
    }

    fn joined(query: &Query, told: Option<&[Socket]>, rows: &[Socket]) -> (Vec<Socket>, u64) {
        let mut shown = Vec::new();
        let mut connections = Connections::new(query);
        if let Some(told) = told {
            told.iter().for_each(|row| connections.add(row));
            connections.complete();
        }
        rows.iter().for_each(|row| connections.row(row, &mut |socket| shown.push(*socket)));
        let untold = connections.end(&mut |socket| shown.push(*socket));
        (shown, untold)
    }

    #[test]
    fn subflows_are_one_connection_in_the_state_of_its_own_table() {
        let subflow = |inode, port| row(Protocol::Subflow, State::Established, inode, port);
        let listener = row(Protocol::Subflow, State::Listen, 1, 0);
        let stuck = Socket { cookie: NonZeroU64::new(77), ..row(Protocol::Mptcp, State::CloseWait, 7, 1001) };
        let closed = row(Protocol::Mptcp, State::FinWait2, 0, 2001);
        let plain = row(Protocol::Tcp, State::Established, 3, 3001);
        let told = [row(Protocol::Mptcp, State::Listen, 1, 0), stuck, closed];
        let probed = Socket { keepalive: true, ..subflow(7, 1003) };
        let rows = [listener, subflow(7, 1002), subflow(7, 1001), probed, subflow(8, 2002), subflow(8, 2001), plain];
        let (shown, untold) = joined(&ALL, Some(&told), &rows);
        let states: Vec<_> = shown.iter().map(|socket| (socket.state, socket.inode, socket.protocol)).collect();
        assert_eq!(states[0], (State::Listen, 1, Protocol::Mptcp));
        assert_eq!(states[1], (State::Established, 3, Protocol::Tcp));
        assert_eq!(states[2], (State::CloseWait, 7, Protocol::Mptcp));
        assert_eq!(states[3], (State::FinWait2, 0, Protocol::Mptcp), "not the stale inode");
        assert_eq!((states.len(), untold), (4, 0));
        assert_eq!((shown[2].cookie, shown[2].keepalive), (NonZeroU64::new(1001), true), "its first subflow's");
        let only = Query { states: StateSet::of(&[State::CloseWait]), ports: &[80], ..ALL };
        assert_eq!(joined(&only, Some(&told), &rows).0, [shown[2]]);
    }

    #[test]
    fn what_its_table_does_not_have_counts_once() {
        let subflow = |inode, port| row(Protocol::Subflow, State::Established, inode, port);
        let young = [subflow(7, 1001), subflow(7, 1002), subflow(0, 1003), subflow(0, 1004)];
        let one_of_each = [young[0], young[2], young[3]].map(|row| Socket { protocol: Protocol::Mptcp, ..row });
        assert_eq!(joined(&ALL, Some(&[]), &young), (one_of_each.to_vec(), 0));
        let (shown, untold) = joined(&ALL, None, &young);
        assert_eq!((shown.len(), untold), (3, 3), "their states are not told");
    }

    #[test]
    fn a_connection_that_fell_back_is_as_tcp_tells() {
        let told = [row(Protocol::Fallback, State::Established, 7, 1001)];
        let tcp = row(Protocol::Subflow, State::CloseWait, 7, 1001);
        let (shown, untold) = joined(&ALL, Some(&told), &[tcp]);
        assert_eq!((shown, untold), (vec![Socket { protocol: Protocol::Mptcp, ..tcp }], 0));
    }
}
