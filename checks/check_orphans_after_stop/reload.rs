//! After a reload the service listens on: what it keeps is no orphan, what its old workers have not let go is.

use super::leftover::{self, Class, Left};
use connleak::kernel::owner::Owners;
use connleak::kernel::socket::{Side, State};
use connleak::service::baseline::Listener;

/// What became of the service, as far as one look shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reload {
    /// Sockets of before that the service goes on with.
    pub kept: u64,
    /// Processes that listened before, still do, and made none of those that listen now.
    pub still_listening: u64,
    /// Connections that are left whose holder may not be read.
    pub unknown: u64,
    /// Whether none came that didn't listen before.
    pub is_unchanged: bool,
    pub is_gone: bool,
}

impl Reload {
    /// A reload returns before it has come to its end: new workers come first, then the old ones let go.
    pub fn is_over(&self) -> bool {
        !self.is_unchanged && self.still_listening == 0
    }

    pub fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if self.kept > 0 {
            words.push(format!("{} kept", self.kept));
        }
        if self.is_unchanged && !self.is_gone {
            words.push("the same processes listen as before".to_owned());
        } else if self.still_listening > 0 {
            words.push(format!("{} that listened before still listen", self.still_listening));
        }
        words
    }
}

/// Takes out of what is left what the service keeps: what it listens on, who waits there, and connections of processes that
/// listen now, or whose parent does. `before`: who listened before; one of these that doesn't any more is an old worker.
pub fn take_out_kept(left: &mut Vec<Left>, listening: &[Left], owners: &Owners, before: &[Listener]) -> Reload {
    let now = leftover::listeners(listening, owners);
    let (count, mut unknown) = (left.len(), 0);
    left.retain(|left| match is_kept(left, owners, before, &now) {
        Some(is_kept) => !is_kept,
        None => {
            unknown += 1;
            false
        }
    });
    let new: Vec<&Listener> = now.iter().filter(|listener| !has(before, listener.pid)).collect();
    let is_old =
        |listener: &&Listener| has(before, listener.pid) && !new.iter().any(|made| made.parent == listener.pid);
    Reload {
        kept: (count - left.len()) as u64 - unknown,
        still_listening: now.iter().filter(is_old).count() as u64,
        unknown,
        is_unchanged: new.is_empty(),
        is_gone: listening.is_empty(),
    }
}

fn has(listeners: &[Listener], pid: u32) -> bool {
    listeners.iter().any(|listener| listener.pid == pid)
}

/// Whether it is kept. `None`: its holder may not be read.
fn is_kept(left: &Left, owners: &Owners, before: &[Listener], now: &[Listener]) -> Option<bool> {
    match left.class() {
        Class::Listen => Some(true),
        Class::Bound => Some(false),
        // A kept listener's; else nobody listens, which is told.
        Class::Kernel => Some(left.socket.is_waiting()),
        // Its server's end tells.
        Class::Held if left.side == Side::Client => Some(left.socket.state == State::Established),
        Class::Held => {
            let mut holders = owners.of(left.socket.inode).peekable();
            holders.peek()?;
            let mut is_kept = false;
            for holder in holders {
                if has(before, holder.pid) && !has(now, holder.pid) {
                    return Some(false);
                }
                is_kept |= has(now, holder.pid) || has(now, holder.parent);
            }
            Some(is_kept)
        }
    }
}
