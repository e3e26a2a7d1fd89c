//! A socket as far as it counts: there may be very many.

use super::row::Counted;
use connleak::kernel::socket::{Side, State};
use connleak::owners::blame::Suspect;
use connleak::owners::holders;
use std::collections::HashMap;
use std::net::IpAddr;

#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// [`Suspect::holder_inode`].
    pub holder_inode: u64,
    /// [`Suspect::age`] and [`Suspect::age_at_most`].
    age: Option<u32>,
    age_at_most: Option<u32>,
    /// Its place among [`Kinds`].
    pub kind: u32,
    pub local_port: u16,
    pub remote_port: u16,
}

/// What most sockets have in common with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    pub state: State,
    /// [`Side::Both`]: it can't be told.
    pub side: Side,
    /// `None`: a UNIX socket's peer has no address.
    pub peer: Option<IpAddr>,
    pub uid: u32,
    pub netns: u32,
    /// Whether a process has it.
    pub has_inode: bool,
    pub is_bound: bool,
    /// Whether data has been unread for longer than the bound.
    pub is_unread: bool,
}

impl Kind {
    /// `unread`: the bound, in milliseconds.
    pub fn of(suspect: &Suspect, side: Side, unread: u64) -> Kind {
        let Suspect { state, uid, netns, .. } = *suspect;
        let peer = Some(suspect.remote.ip).filter(|_| suspect.unix_name().is_none());
        let is_unread = suspect.unread.is_some_and(|age| u64::from(age) >= unread);
        let (has_inode, is_bound) = (suspect.inode != 0, suspect.is_bound());
        Kind { state, side, peer, uid, netns, has_inode, is_bound, is_unread }
    }

    /// Whether a process has it, or is going to accept it; else it is the kernel's.
    pub fn has_owner(&self) -> bool {
        self.has_inode || self.is_waiting()
    }

    pub fn is_waiting(&self) -> bool {
        self.state.is_waiting(u64::from(self.has_inode))
    }
}

/// Each once.
#[derive(Debug)]
pub struct Kinds {
    all: Vec<Kind>,
    places: HashMap<Kind, u32>,
    /// The last ones: there are few, and a lookup among all is dear for each of very many sockets.
    last: [u32; LAST],
}

const LAST: usize = 256;

impl Default for Kinds {
    fn default() -> Kinds {
        let (all, places) = Default::default();
        Kinds { all, places, last: [0; LAST] }
    }
}

impl Kinds {
    pub fn held(&mut self, suspect: &Suspect, kind: Kind) -> Held {
        Held {
            holder_inode: suspect.holder_inode,
            age: suspect.age,
            age_at_most: suspect.age_at_most,
            kind: self.place(kind),
            local_port: suspect.local.port,
            remote_port: suspect.remote.port,
        }
    }

    fn place(&mut self, kind: Kind) -> u32 {
        let low = match kind.peer {
            Some(IpAddr::V4(ip)) => ip.octets()[3],
            Some(IpAddr::V6(ip)) => ip.octets()[15],
            None => 0,
        };
        let last = &mut self.last[(usize::from(low) + kind.uid as usize * 67 + kind.state as usize * 31) % LAST];
        if self.all.get(*last as usize) != Some(&kind) {
            *last = *self.places.entry(kind).or_insert_with(|| {
                self.all.push(kind);
                self.all.len() as u32 - 1
            });
        }
        *last
    }

    /// Whether the processes that share one are to be known.
    pub fn are_shared(&self) -> bool {
        let mut have_owners = self.all.iter().filter(|kind| kind.has_owner());
        have_owners.any(|kind| holders::may_be_shared(kind.state, kind.is_waiting(), kind.is_bound))
    }

    pub fn of(&self, held: &Held) -> &Kind {
        &self.all[held.kind as usize]
    }

    pub fn change(&mut self, held: &mut Held, kind: Kind) {
        held.kind = self.place(kind);
    }

    /// The service's port; `None`: it can't be told.
    pub fn port(&self, held: &Held) -> Option<u16> {
        match self.of(held).side {
            Side::Client => Some(held.remote_port),
            Side::Server => Some(held.local_port),
            Side::Both => None,
        }
    }

    pub fn counted(&self, held: &Held) -> Counted {
        let Kind { state, peer, is_unread, .. } = *self.of(held);
        Counted { state, peer, age: held.age, age_at_most: held.age_at_most, is_unread }
    }
}
