//! A socket that someone is to be named for.

use crate::base::duration::Span;
use crate::kernel::socket::{Age, Endpoint, Protocol, Socket, State, UnixName};
use std::num::NonZeroU64;

/// There may be many: it keeps no more than is told.
#[derive(Clone, Copy, Debug)]
pub struct Suspect {
    pub protocol: Protocol,
    pub state: State,
    pub local: Endpoint,
    pub remote: Endpoint,
    /// [`Socket::netns`].
    pub netns: u32,
    pub uid: u32,
    pub inode: u64,
    pub cookie: Option<NonZeroU64>,
    /// As of a [`Socket`]: they tell in whose queue it waits.
    pub interface: u32,
    pub is_transparent: bool,
    pub cgroup: Option<NonZeroU64>,
    /// Whose descriptor to look for: the socket's own, or that of the listener in whose accept
    /// queue it waits. 0: nobody's.
    pub holder_inode: u64,
    /// In how many listeners' queues it may wait, where it can't be told in which: then the one with
    /// the longest queue stands for all. 0: it is told.
    pub rivals: usize,
    /// Milliseconds; `None`: unknown.
    pub age: Option<u32>,
    /// Where `age` is what it is at least: what it is at most. `None`: it is exact.
    pub age_at_most: Option<u32>,
    /// [`Socket::silence`].
    pub silence: Option<u32>,
    /// [`Socket::unread_age`].
    pub unread: Option<u32>,
}

impl Suspect {
    pub fn new(socket: &Socket, age: Option<u32>) -> Suspect {
        let Socket { protocol, state, local, remote, netns, uid, inode, cookie, .. } = *socket;
        let Socket { interface, is_transparent, cgroup, .. } = *socket;
        // Who waits at a UNIX listener has that one's inode.
        let listener = local.unix().map_or(0, |end| u64::from(end.inode));
        let (holder_inode, rivals) = (if inode == 0 { listener } else { inode }, 0);
        Suspect {
            protocol,
            state,
            local,
            remote,
            netns,
            uid,
            inode,
            cookie,
            interface,
            is_transparent,
            cgroup,
            holder_inode,
            rivals,
            age,
            age_at_most: age.and(socket.span()).and_then(Age::open_end),
            silence: socket.silence(),
            unread: socket.unread_age(),
        }
    }

    /// ` for 2m`; ` for at least 2m`; nothing, where it is unknown.
    pub fn age_text(&self) -> String {
        let or_more = if self.age_at_most.is_some() { "at least " } else { "" };
        self.age.map_or(String::new(), |age| format!(" for {or_more}{}", Span::millis(u64::from(age))))
    }

    /// The socket as far as listeners look at it.
    pub fn socket(&self) -> Socket {
        let Suspect { state, local, remote, netns, inode, interface, is_transparent, cgroup, .. } = *self;
        Socket { netns, inode, interface, is_transparent, cgroup, ..Socket::bare(state, local, remote) }
    }

    /// [`Socket::unix_name`].
    pub fn unix_name(&self) -> Option<UnixName> {
        self.socket().unix_name()
    }

    /// Whether it waits for its listener's process: only there a socket in these states is nobody's.
    pub fn is_waiting(&self) -> bool {
        self.state.is_waiting(self.inode)
    }

    /// Whether the kernel ends it by itself: its process has let it go.
    pub fn is_kernels(&self) -> bool {
        self.inode == 0 && !self.is_waiting()
    }

    /// Whether only its descriptor is left: no table has it, so its address isn't known either.
    pub fn is_ghost(&self) -> bool {
        self.state == State::Close && !self.is_bound()
    }

    /// [`Socket::is_bound`].
    pub fn is_bound(&self) -> bool {
        self.state.is_bound(self.local)
    }

    /// Whether it has no peer, or that one no address.
    pub fn is_peerless(&self) -> bool {
        self.state == State::Close || self.unix_name().is_some()
    }
}
