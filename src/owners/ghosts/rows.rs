//! The service's sockets as a look showed them: who has one of them is the service's.

use crate::base::error::Result;
use crate::kernel::look;
use crate::kernel::select::Match;
use crate::kernel::socket::{Socket, State, StateSet};
use crate::kernel::world::World;
use crate::service::target::Target;
use std::collections::BTreeSet;

/// In these nobody has the socket: the kernel keeps less than one.
const NOBODYS: [State; 2] = [State::TimeWait, State::SynRecv];

#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// The states that the look was at; none: there was none yet.
    states: StateSet,
    /// In the order of the tables.
    pub inodes: Vec<u64>,
    pub users: BTreeSet<u32>,
}

impl Rows {
    pub fn of(states: StateSet) -> Rows {
        Rows { states, ..Rows::default() }
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
        let of_processes = NOBODYS.into_iter().fold(StateSet::ALL, StateSet::without);
        let rest = of_processes.less(self.states);
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
