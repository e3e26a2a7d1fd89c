//! Visit the sockets of a network namespace, or of all, once; say where the view came from and what it lacks.

mod all;
pub mod crowded;
pub mod diag;
pub mod exact;
mod mptcp;
pub mod netlink;
pub mod proc;
mod repeats;
pub mod replay;
pub mod unix;

pub use all::{visit as visit_all, visit_but as visit_all_but};

use crate::base::error::{Error, Result};
use crate::kernel::netns::kept::Reading;
use crate::kernel::socket::{Side, Socket, State, StateSet};
use crate::kernel::world::{Netns, Source, World};
use crate::kernel::{netns, release};
use std::path::Path;

/// What the caller needs to see. Sources may return more, never less.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    pub states: StateSet,
    /// At most [`diag::MOST_PORTS`]; none: all ports.
    pub ports: &'a [u16],
    pub side: Side,
    /// Whether [`Socket::times`] are wanted: they cost the kernel 250 bytes a socket.
    pub times: bool,
    /// Whether all listeners are wanted too, whatever their ports; each network namespace's are then
    /// shown before its other sockets.
    pub listeners: bool,
}

impl Query<'_> {
    /// Whether a socket with this state and these ports is asked for.
    pub fn wants(&self, state: State, local_port: u16, remote_port: u16) -> bool {
        if self.listeners && state == State::Listen {
            return true;
        }
        let server = self.side != Side::Client && self.ports.contains(&local_port);
        let client = self.side != Side::Server && self.ports.contains(&remote_port);
        self.states.contains(state) && (server || client || self.ports.is_empty())
    }
}

/// Where a view came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Netlink,
    Proc,
    Replay,
}

impl Origin {
    pub fn name(self) -> &'static str {
        match self {
            Origin::Netlink => "netlink",
            Origin::Proc => "proc",
            Origin::Replay => "replay",
        }
    }
}

/// What a source saw.
#[derive(Clone, Debug)]
pub struct Coverage {
    pub origin: Origin,
    /// How it looked, for `-vvv`.
    pub how: String,
    /// Rows that the source delivered, before selection.
    pub rows: u64,
    /// Why the view may lack sockets; `None`: it is complete.
    pub missing: Option<String>,
    /// What it tells less of than another source would, where nothing speaks for a difference.
    pub remark: Option<String>,
    pub namespaces: Namespaces,
}

impl Coverage {
    pub fn new(origin: Origin, how: String) -> Coverage {
        Coverage { origin, how, rows: 0, missing: None, remark: None, namespaces: Namespaces::default() }
    }

    /// Why it lacks ports that are only bound, whatever was asked for; `None`: it doesn't, or is of another time.
    pub fn lacks_bound(&self) -> Option<&'static str> {
        match self.origin {
            Origin::Proc => Some("/proc doesn't show what is only bound"),
            // 91051f003948.
            Origin::Netlink if !release::is_at_least((6, 8)) => {
                Some("Linux before 6.8 doesn't show what is only bound")
            }
            Origin::Netlink | Origin::Replay => None,
        }
    }
}

/// How many network namespaces a view is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Namespaces {
    /// Looked at, or known to have no socket.
    pub seen: u64,
    /// May not be looked into.
    pub refused: u64,
    /// Not reached in time.
    pub late: u64,
}

impl Default for Namespaces {
    fn default() -> Self {
        Namespaces { seen: 1, refused: 0, late: 0 }
    }
}

/// Shows every socket that `query` wants to `each`, once.
///
/// # Errors
/// When no row could be read at all. A view that breaks off later is returned with
/// [`Coverage::missing`], as what was seen may already be a problem.
pub fn visit(world: &World, query: &Query, each: &mut dyn FnMut(&Socket)) -> Result<Coverage> {
    if let Some(file) = &world.replay {
        return replay::visit(file, query, each);
    }
    if world.netns == Netns::All {
        return visit_all(world, query, &mut Reading::Passing, each);
    }
    let place = netns::place(world)?;
    match world.source {
        Source::Proc => proc::visit(&place.net_dir, query, each),
        Source::Netlink if !place.is_ours => Err(Error::Usage(format!(
            "--source netlink can't see the network namespace of {}; use --source proc, or run as root with --netns",
            place.net_dir.display()
        ))),
        Source::Auto if !place.is_ours => proc::visit(&place.net_dir, query, each),
        Source::Netlink => by_netlink(&place.net_dir, query, each),
        Source::Auto => match by_netlink(&place.net_dir, query, each) {
            Err(refused) => {
                let mut seen = proc::visit(&place.net_dir, query, each)?;
                seen.how = format!("{}, as {refused}", seen.how);
                Ok(seen)
            }
            seen => seen,
        },
    }
}

/// Shows sockets in `states` that [`visit`] doesn't show for these ports, as far as one dump of TCP's table does: what
/// the others cost is spared. `None`: here that can't be asked.
pub fn visit_beside(
    world: &World,
    (ports, side): (&[u16], Side),
    states: StateSet,
    each: &mut dyn FnMut(&Socket),
) -> Option<Result<Coverage>> {
    if world.replay.is_some() || world.netns == Netns::All || world.source == Source::Proc {
        return None;
    }
    netns::place(world).ok().filter(|place| place.is_ours)?;
    Some(netlink::open().and_then(|socket| netlink::visit_without(&socket, (ports, side), states, each)))
}

/// Whether one dump of TCP's table shows all of the namespace that is looked at.
pub fn is_one_dump(world: &World) -> bool {
    netns::place(world).is_ok_and(|place| !crowded::may_be() && !netns::has_mptcp(&place.net_dir))
}

/// The calling thread's namespace.
fn by_netlink(net_dir: &Path, query: &Query, each: &mut dyn FnMut(&Socket)) -> Result<Coverage> {
    crowded::visit(&netlink::open()?, query, (net_dir, netns::has_mptcp(net_dir)), each)
}
