//! Find the processes that hold suspect sockets, also those still in an accept queue.

use crate::base::error::Result;
use crate::kernel::owner::{self, Holders, Owners};
use crate::kernel::socket::{Endpoint, Side, State, StateSet};
use crate::kernel::source::{self, Query};
use crate::kernel::world::World;
use crate::owners::blame::Suspect;
use crate::service::target::Target;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A socket that nobody accepted is its listener's fault: the listener's inode stands for it.
pub fn find(world: &World, target: &Target, suspects: &mut [Suspect], holders: Holders) -> Owners {
    // The inodes of a recorded dump are another time's, maybe another machine's.
    if world.replay.is_some() {
        return Owners::default();
    }
    if suspects.iter().any(Suspect::is_waiting) {
        // Without them those sockets have no owner, which is said; what was counted stands.
        let listeners = listeners(world, target).unwrap_or_default();
        for suspect in suspects.iter_mut().filter(|suspect| suspect.is_waiting()) {
            if let Some((inode, uid)) = listener_of(&listeners, suspect.netns, suspect.local) {
                (suspect.holder_inode, suspect.uid) = (*inode, *uid);
            }
        }
    }
    let wanted: Vec<_> = suspects.iter().map(|suspect| (suspect.holder_inode, suspect.uid)).collect();
    owner::find(world, &wanted, holders)
}

/// Inode and uid of a listener by its network namespace and address.
type Listeners = HashMap<(u32, Endpoint), (u64, u32)>;

/// The listener of a connection's own address, as the kernel chooses it: the exact one first, then
/// that of all addresses of its family. One of all IPv6 addresses takes IPv4 connections too.
fn listener_of(listeners: &Listeners, netns: u32, local: Endpoint) -> Option<&(u64, u32)> {
    let at = |ip: IpAddr| listeners.get(&(netns, Endpoint::new(ip, local.port)));
    let any_v4 = || at(Ipv4Addr::UNSPECIFIED.into()).filter(|_| local.ip.is_ipv4());
    at(local.ip).or_else(any_v4).or_else(|| at(Ipv6Addr::UNSPECIFIED.into()))
}

fn listeners(world: &World, target: &Target) -> Result<Listeners> {
    let states = StateSet::of(&[State::Listen]);
    let query = Query { states, ports: &target.selection.ports, side: Side::Server, times: false };
    let mut listeners = HashMap::new();
    source::visit(world, &query, &mut |socket| {
        listeners.insert((socket.netns, socket.local), (socket.inode, socket.uid));
    })?;
    Ok(listeners)
}
