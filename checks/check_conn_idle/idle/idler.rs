//! A connection that has been silent for long.

use connleak::kernel::socket::{Side, Socket};
use connleak::owners::blame::Suspect;
use connleak::owners::spares::{self, Spare};
use std::cmp::Reverse;

#[derive(Clone, Copy, Debug)]
pub struct Idler {
    pub suspect: Suspect,
    pub side: Side,
    pub never_used: bool,
    /// No timer runs: the kernel will never ask whether the peer is still there.
    pub unguarded: bool,
}

impl Idler {
    pub fn new(socket: &Socket, side: Side) -> Idler {
        Idler {
            suspect: Suspect::new(socket, socket.silence()),
            side,
            never_used: socket.times.is_some_and(|times| times.carried == Some(false)),
            // Another timer hides the keepalive's while it runs.
            unguarded: !socket.keepalive && socket.timer_rest.is_none(),
        }
    }
}

impl Spare for Idler {
    fn suspect(&self) -> &Suspect {
        &self.suspect
    }

    fn side(&self) -> Side {
        self.side
    }

    fn was_used(&self) -> bool {
        !self.never_used
    }
}

/// Takes the spares out; the longest silent come first then.
pub fn take_out(idlers: &mut Vec<Idler>, expected: u64) -> u64 {
    let spares = spares::take_out(idlers, expected);
    idlers.sort_by_key(|idler| Reverse(idler.suspect.age));
    spares
}

#[cfg(test)]
mod tests {
    use super::*;
    use connleak::kernel::socket::{Endpoint, State, Times};

    fn idler(peer: u8, age: u32, carried: bool, inode: u64) -> Idler {
        let end = |host, port| Endpoint::new([10, 0, 0, host].into(), port);
        let times =
            Times { data_sent: age, data_recv: age + 9, ack_recv: 0, stalled: 0, carried: Some(carried), ack_delay: 0 };
        let bare = Socket::bare(State::Established, end(1, 3306), end(peer, age as u16));
        Idler::new(&Socket { inode, times: Some(times), ..bare }, Side::Server)
    }

    #[test]
    fn a_pool_keeps_what_it_used_last() {
        let all =
            || vec![idler(2, 500, true, 7), idler(2, 100, true, 7), idler(2, 300, true, 7), idler(3, 900, true, 7)];
        let ages = |idlers: &[Idler]| idlers.iter().map(|idler| idler.suspect.age.unwrap()).collect::<Vec<_>>();
        let mut idlers = all();
        assert_eq!((take_out(&mut idlers, 0), ages(&idlers)), (0, vec![900, 500, 300, 100]));
        let mut idlers = all();
        assert_eq!((take_out(&mut idlers, 1), ages(&idlers)), (2, vec![500, 300]));
        let mut idlers = all();
        assert_eq!((take_out(&mut idlers, 3), ages(&idlers)), (4, vec![]));
    }

    #[test]
    fn what_was_never_used_or_accepted_is_no_spare() {
        let mut idlers = vec![idler(2, 500, false, 7), idler(2, 100, true, 0), idler(2, 300, true, 7)];
        assert_eq!(take_out(&mut idlers, 9), 1);
        assert!(idlers.iter().all(|idler| idler.never_used || idler.suspect.is_waiting()));
    }

    #[test]
    fn the_pools_of_two_users_of_a_host_are_two() {
        let mut idlers: Vec<Idler> = (0..4).map(|age| idler(2, age, true, 7)).collect();
        for (index, idler) in idlers.iter_mut().enumerate() {
            (idler.side, idler.suspect.uid) = (Side::Client, index as u32 / 2);
        }
        assert_eq!(take_out(&mut idlers, 1), 2);
    }

    #[test]
    fn the_loopbacks_of_two_containers_are_two_pools() {
        let end = |port| Endpoint::new([127, 0, 0, 1].into(), port);
        let times = Times { data_sent: 9, data_recv: 9, ack_recv: 0, stalled: 0, carried: Some(true), ack_delay: 0 };
        let bare = Socket { inode: 7, times: Some(times), ..Socket::bare(State::Established, end(3306), end(50_000)) };
        for side in [Side::Server, Side::Client] {
            let mut idlers: Vec<_> = [4, 4, 5].map(|netns| Idler::new(&Socket { netns, ..bare }, side)).into();
            assert_eq!(take_out(&mut idlers, 1), 2, "{side:?}");
        }
    }
}
