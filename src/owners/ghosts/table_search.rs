//! Which of the sockets that descriptors lead to are in the kernel's tables.

use crate::base::error::Result;
use crate::kernel::netns;
use crate::kernel::opened::Opened;
use crate::kernel::owner::descriptors::Descriptor;
use crate::kernel::owner::read_tables::ReadTables;
use crate::kernel::socket::{Side, Socket, State, StateSet};
use crate::kernel::source::{self, Query};
use crate::kernel::world::{Netns, World};
use std::collections::{HashMap, HashSet};

/// What the tables showed, and lack.
#[derive(Debug, Default)]
pub struct Tables {
    pub talking: HashSet<u32>,
    /// Why sockets may be missing in them.
    pub unseen: Option<String>,
    /// Sockets of which it can't be told whether they are TCP's.
    pub untold: u64,
    /// Whether a socket of the service is held by nobody who can be read.
    pub any_unheld: bool,
}

pub struct TableSearch<'a> {
    /// Ports of the service's rows, and at which end.
    of_ports: (&'a [u16], Side),
    /// Whether ghosts were asked for.
    was_asked: bool,
    /// Sockets of the service that nobody has who was read, where others were refused.
    unheld: &'a HashSet<u64>,
    world: &'a World,
    read: &'a ReadTables,
    pub tables: Tables,
}

fn everyones(states: StateSet) -> Query<'static> {
    Query { states, ports: &[], side: Side::Both, times: false, listeners: false }
}

type Open = HashMap<u64, Descriptor>;

impl<'a> TableSearch<'a> {
    pub fn new(
        (of_ports, was_asked): ((&'a [u16], Side), bool),
        unheld: &'a HashSet<u64>,
        (world, read): (&'a World, &'a ReadTables),
    ) -> TableSearch<'a> {
        TableSearch { of_ports, was_asked, unheld, world, read, tables: Tables::default() }
    }

    /// Takes out what the look at the service's sockets has shown of others.
    pub fn known(&mut self, open: &mut Open, others: &HashSet<u64>) {
        let shown = open.extract_if(|inode, _| others.contains(inode));
        self.tables.talking.extend(shown.map(|(_, descriptor)| descriptor.pid));
    }

    /// Takes out what isn't the service's, whose rows are known: that leaves most often none, and no row is shown
    /// again. Whether it was done.
    pub fn others(&mut self, open: &mut Open) -> bool {
        // A walk of what is only bound takes as long again.
        let states = StateSet::ALL.without(State::TimeWait).without(State::SynRecv);
        let (world, of_ports) = (self.world, self.of_ports);
        let seen = source::visit_beside(world, of_ports, states, &mut |socket| self.tables.forget(open, socket));
        let Some(Ok(seen)) = seen else { return false };
        self.tables.unseen = seen.missing;
        open.retain(|_, descriptor| descriptor.is_tcp(world).unwrap_or(true));
        true
    }

    /// [`TableSearch::all`]. Where still no more connections have been `opened` than before a look at all that were
    /// connected, none of these is: they may listen, be bound, or wait to connect until they have data (TCP_FASTOPEN_CONNECT).
    ///
    /// # Errors
    /// When the tables can't be read.
    pub fn rest(&mut self, open: &mut Open, opened: Option<&Opened>) -> Result<()> {
        let is_still = || opened.is_some_and(|opened| opened.is_still(self.world));
        let states = StateSet::BOUND.with(State::Listen).with(State::SynSent);
        // Who connects after the first time and before the dump is in none of these, but counted by the second.
        if is_still() && self.here(open, states).is_ok() && self.tables.unseen.is_none() && is_still() {
            return self.elsewhere(open);
        }
        self.all(open)
    }

    /// Takes out all that is in a table of any network namespace.
    ///
    /// # Errors
    /// When the tables can't be read.
    pub fn all(&mut self, open: &mut Open) -> Result<()> {
        self.here(open, StateSet::ALL_AND_BOUND)?;
        self.elsewhere(open)
    }

    fn here(&mut self, open: &mut Open, states: StateSet) -> Result<()> {
        let unheld = self.unheld;
        let seen = source::visit(self.world, &everyones(states), &mut |socket| {
            self.tables.forget(open, socket);
            self.tables.any_unheld |= unheld.contains(&socket.inode);
        })?;
        self.tables.unseen = seen.missing;
        Ok(())
    }

    /// Leaves TCP's alone, and takes out what is in a table of another network namespace.
    fn elsewhere(&mut self, open: &mut Open) -> Result<()> {
        let (world, unheld) = (self.world, self.unheld);
        self.leave_tcp(open);
        if !open.is_empty() && world.netns != Netns::All {
            // A process may hold sockets of namespaces that it isn't in.
            let ours = netns::identity(world).ok().and_then(|ours| u32::try_from(ours).ok());
            let seen = source::visit_all_but(
                world,
                &everyones(StateSet::ALL_AND_BOUND),
                &self.read.namespaces,
                ours,
                &mut |socket| {
                    self.tables.forget(open, socket);
                    self.tables.any_unheld |= unheld.contains(&socket.inode);
                },
            )?;
            self.tables.unseen = self.tables.unseen.take().or(seen.missing);
        }
        Ok(())
    }

    fn leave_tcp(&mut self, open: &mut Open) {
        let was_asked = self.was_asked;
        let mut untold = 0;
        open.retain(|_, descriptor| {
            let is_tcp = descriptor.is_tcp(self.world);
            untold += u64::from(is_tcp.is_err() && (descriptor.is_meant || was_asked));
            is_tcp.unwrap_or(false)
        });
        self.tables.untold = untold;
    }
}

impl Tables {
    fn forget(&mut self, open: &mut Open, socket: &Socket) {
        self.talking.extend(open.remove(&socket.inode).map(|descriptor| descriptor.pid));
    }
}
