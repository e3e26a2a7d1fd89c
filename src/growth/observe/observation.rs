//! What one look gives.

use crate::growth::outcome::Outcome;
use crate::growth::pool::Connection;
use crate::growth::process_usage::ProcessUsage;
use crate::kernel::owner::Owners;
use crate::kernel::source;
use crate::owners::ghosts::Ghosts;
use crate::owners::known::Known;

#[derive(Debug)]
pub struct Observation {
    pub found: Outcome,
    /// How complete the view is.
    pub view: source::Coverage,
    /// Where connections are looked at: each once, and their number by TCP state as in a [`crate::history::Sample`].
    pub connections: Vec<Connection>,
    pub counts: [u64; 11],
    /// The connections that speak for a leak, and who holds them.
    pub suspects: Vec<Connection>,
    pub owners: Owners,
    /// Where descriptors or memory are looked at.
    pub processes: Vec<ProcessUsage>,
    /// Where connections are looked at: those of them that no table shows.
    pub ghosts: Option<Ghosts>,
    /// The service's processes and sockets, to know them by later.
    pub known: Known,
    /// What could not be read, to be said.
    pub unread: Vec<String>,
    /// Connections of which it can't be told whether they are selected.
    pub unsure: u64,
    /// What is missing from the amount, so that OK would be a guess.
    pub lacking: Vec<String>,
}

impl Observation {
    /// Nothing but these.
    pub(super) fn new(found: Outcome, view: source::Coverage, known: Known) -> Observation {
        let (connections, counts, suspects, owners) = (Vec::new(), [0; 11], Vec::new(), Owners::default());
        let (processes, ghosts, unread, unsure, lacking) = (Vec::new(), None, Vec::new(), 0, Vec::new());
        Observation {
            found,
            view,
            connections,
            counts,
            suspects,
            owners,
            processes,
            ghosts,
            known,
            unread,
            unsure,
            lacking,
        }
    }
}
