//! A socket that someone is to be named for.

use crate::kernel::socket::{Endpoint, Socket, State};

/// There may be many: it keeps no more than is told.
#[derive(Clone, Copy, Debug)]
pub struct Suspect {
    pub state: State,
    pub local: Endpoint,
    pub remote: Endpoint,
    /// [`Socket::netns`].
    pub netns: u32,
    pub uid: u32,
    pub inode: u64,
    /// Whose descriptor to look for: the socket's own, or that of the listener in whose accept
    /// queue it waits. 0: nobody's.
    pub holder_inode: u64,
    /// Milliseconds; `None`: unknown.
    pub age: Option<u32>,
}

impl Suspect {
    pub fn new(socket: &Socket, age: Option<u32>) -> Suspect {
        let Socket { state, local, remote, netns, uid, inode, .. } = *socket;
        Suspect { state, local, remote, netns, uid, inode, holder_inode: inode, age }
    }

    /// Whether it waits for its listener's process: only there a socket in these states is nobody's.
    pub fn is_waiting(&self) -> bool {
        self.inode == 0 && matches!(self.state, State::Established | State::CloseWait | State::SynRecv)
    }

    /// Whether the kernel ends it by itself: its process has let it go.
    pub fn is_kernels(&self) -> bool {
        self.inode == 0 && !self.is_waiting()
    }

    /// Whether only its descriptor is left: no table shows one in this state.
    pub fn is_ghost(&self) -> bool {
        self.state == State::Close
    }
}
