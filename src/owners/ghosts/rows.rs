//! The service's sockets as a look showed them: who has one of them is the service's.

use crate::base::error::Result;
use crate::kernel::look;
use crate::kernel::opened::Opened;
use crate::kernel::select::Match;
use crate::kernel::socket::{Socket, State, StateSet};
use crate::kernel::world::World;
use crate::service::target::Target;
use std::collections::{BTreeSet, HashSet};

/// In these nobody has the socket: the kernel keeps less than one.
const NOBODYS: [State; 2] = [State::TimeWait, State::SynRecv];

fn of_processes() -> StateSet {
    NOBODYS.into_iter().fold(StateSet::ALL, StateSet::without)
}

#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// The states that the look was at; none: there was none yet.
    states: StateSet,
    /// In the order of the tables.
    pub inodes: Vec<u64>,
    pub users: BTreeSet<u32>,
    /// Inodes of others' sockets that were shown; `None`: they were not noted.
    pub others: Option<HashSet<u64>>,
    /// Whether the look was at everyone's sockets, and read processes before.
    pub are_everyones: bool,
    /// What had been opened when the look began; `None`: not asked, or not all was shown.
    pub opened: Option<Opened>,
}

impl Rows {
    pub fn of(states: StateSet) -> Rows {
        Rows { states, ..Rows::default() }
    }

    /// None yet, of a look at all states in which a process has a socket. `everyones`: at everyone's.
    pub fn of_all_states(world: &World, everyones: bool) -> Rows {
        let opened = if everyones { None } else { Opened::read(world) };
        Rows { others: Some(HashSet::new()), are_everyones: everyones, opened, ..Rows::of(of_processes()) }
    }

    pub fn states(&self) -> StateSet {
        self.states
    }

    pub fn see(&mut self, socket: &Socket, matched: Match) {
        match (matched, &mut self.others) {
            (Match::Yes(_), _) => self.add(socket),
            (_, Some(others)) => drop(others.insert(socket.inode)),
            (_, None) => {}
        }
    }

    pub fn add(&mut self, socket: &Socket) {
        if socket.inode != 0 {
            self.inodes.push(socket.inode);
            self.users.insert(socket.uid);
        }
    }

    /// With those in all other states in which a process has a socket.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn complete(mut self, world: &World, target: &Target) -> Result<Rows> {
        let rest = of_processes().less(self.states);
        if rest != StateSet::default() {
            look::visit(world, &target.selection, (rest, false), &mut |socket, matched, _| {
                if matches!(matched, Match::Yes(_)) {
                    self.add(socket);
                }
            })?;
        }
        Ok(self)
    }
}
