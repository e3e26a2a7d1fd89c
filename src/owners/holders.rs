//! Find the processes that hold suspect sockets, also those still in an accept queue.

use crate::base::error::Result;
use crate::kernel::listeners::Listeners;
use crate::kernel::owner::read_tables::ReadTables;
use crate::kernel::owner::{self, Holders, Owners, Wanted};
use crate::kernel::socket::{Side, Socket, State, StateSet};
use crate::kernel::source::{self, Query};
use crate::kernel::world::World;
use crate::owners::blame::Suspect;
use std::collections::BTreeMap;

/// `tables`: what was read of processes.
pub fn find(world: &World, suspects: &mut [Suspect], holders: Holders, tables: Option<&mut ReadTables>) -> Owners {
    // The inodes of a recorded dump are another time's, maybe another machine's.
    if world.replay.is_some() {
        return Owners::default();
    }
    give_to_listeners(world, suspects);
    let are_shared = suspects.iter().any(|one| may_be_shared(one.state, one.is_waiting(), one.is_bound()));
    let holders = if are_shared { Holders::All } else { holders };
    find_given(world, &mut suspects.iter().map(|suspect| (suspect.holder_inode, suspect.uid)), holders, tables)
}

/// [`find`], where each that waits has its listener's inode and user, and it is known how many holders are wanted.
pub fn find_given(world: &World, of: &mut Wanted, holders: Holders, tables: Option<&mut ReadTables>) -> Owners {
    let mut owners = owner::find_in(world, of, holders, tables);
    owners.put_main_first();
    owners
}

/// A master and its workers share a listening socket, also once it is shut down: to know the master takes all of them.
pub fn may_be_shared(state: State, is_waiting: bool, is_bound: bool) -> bool {
    is_waiting || is_bound || state == State::Listen
}

/// A socket that nobody accepted is its listener's fault: that one's inode stands for it.
pub fn give_to_listeners(world: &World, suspects: &mut [Suspect]) {
    if suspects.iter().any(Suspect::is_waiting) {
        // Without them those sockets have no owner, which is said; what was counted stands.
        let listeners = listeners(world).unwrap_or_default();
        give_to_queues(suspects, &listeners);
    }
}

/// All of them: a socket may wait at one of another port, handed over by TPROXY.
fn listeners(world: &World) -> Result<Listeners> {
    let states = StateSet::of(&[State::Listen]);
    let query = Query { states, ports: &[], side: Side::Server, times: false, listeners: false };
    let mut listeners = Listeners::default();
    source::visit(world, &query, &mut |socket| listeners.add(socket))?;
    Ok(listeners)
}

/// Several listeners may share an address. The lengths of their queues tell how many of the sockets each
/// has where these are all that wait; else the longest queue stands for all.
fn give_to_queues(suspects: &mut [Suspect], listeners: &Listeners) {
    let mut shared: BTreeMap<Vec<u64>, (Vec<&Socket>, Vec<&mut Suspect>)> = BTreeMap::new();
    for suspect in suspects.iter_mut().filter(|suspect| suspect.is_waiting()) {
        match listeners.queues_of(&suspect.socket())[..] {
            [] => {}
            [listener] => give(suspect, listener),
            ref several => {
                let inodes = several.iter().map(|listener| listener.inode).collect();
                shared.entry(inodes).or_insert_with(|| (several.to_vec(), Vec::new())).1.push(suspect);
            }
        }
    }
    for (mut queues, waiting) in shared.into_values() {
        let length = |listener: &Socket| listener.accept_queue.map_or(0, |queue| queue.waiting) as usize;
        queues.sort_by_key(|listener| std::cmp::Reverse(length(listener)));
        let are_all = queues.iter().map(|listener| length(listener)).sum::<usize>() == waiting.len();
        let rivals = if are_all { 0 } else { queues.len() };
        let mut turns = queues.iter().flat_map(|listener| std::iter::repeat_n(*listener, length(listener)));
        for suspect in waiting {
            let next = if are_all { turns.next() } else { None };
            if let Some(listener) = next.or(queues.first().copied()) {
                give(suspect, listener);
            }
            suspect.rivals = rivals;
        }
    }
}

fn give(suspect: &mut Suspect, listener: &Socket) {
    (suspect.holder_inode, suspect.uid) = (listener.inode, listener.uid);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::socket::{AcceptQueue, Endpoint};

    fn end(port: u16) -> Endpoint {
        Endpoint::new([127, 0, 0, 1].into(), port)
    }

    /// By holder how many of `count` waiting sockets it has, where listeners have so many in their queues.
    fn given(count: u16, queues: &[(u64, u32)]) -> (BTreeMap<u64, usize>, usize) {
        let mut listeners = Listeners::default();
        for (inode, waiting) in queues {
            let accept_queue = Some(AcceptQueue { waiting: *waiting, limit: None });
            listeners.add(&Socket { inode: *inode, accept_queue, ..Socket::bare(State::Listen, end(80), end(0)) });
        }
        let waiting = |port| Suspect::new(&Socket::bare(State::CloseWait, end(80), end(port)), None);
        let mut suspects: Vec<Suspect> = (1..=count).map(waiting).collect();
        give_to_queues(&mut suspects, &listeners);
        let mut by_holder = BTreeMap::new();
        suspects.iter().for_each(|suspect| *by_holder.entry(suspect.holder_inode).or_default() += 1);
        (by_holder, suspects.iter().map(|suspect| suspect.rivals).max().unwrap_or(0))
    }

    #[test]
    fn queues_tell_who_has_how_many() {
        assert_eq!(given(5, &[(1, 0), (2, 5)]), ([(2, 5)].into(), 0), "one hangs, the other doesn't");
        assert_eq!(given(5, &[(1, 2), (2, 3)]), ([(1, 2), (2, 3)].into(), 0));
        assert_eq!(given(4, &[(1, 2), (2, 3)]), ([(2, 4)].into(), 2), "one of both");
        assert_eq!(given(2, &[(1, 0), (2, 0)]), ([(1, 2)].into(), 2), "accepted meanwhile");
        assert_eq!(given(2, &[]), ([(0, 2)].into(), 0));
    }
}
