//! Visit the UNIX sockets of a network namespace, or of all, once: a socket is in that of the process that
//! connected.

pub mod diag;
mod proc;
mod replay;

pub use diag::{File, Kind, Query, Row};

use super::netlink::{Ended, RECEIVE_BUFFER, receive_all, refused};
use super::{Coverage, Namespaces, Origin, netlink};
use crate::base::error::{Error, Result};
use crate::kernel::netns::host::LivedIn;
use crate::kernel::netns::kept::{self, Visited};
use crate::kernel::netns::{self, Inside, counters};
use crate::kernel::world::{Netns, Source, World};
use diag::{Framed, Message, Messages};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use std::fs;
use std::path::Path;

/// Shows the sockets that are asked for, and the namespace that each is in: 0, or where several are looked at, its
/// [`netns::identity_of`]. /proc and a recording show all connections that they have, whatever is asked.
///
/// # Errors
/// When no row could be read at all.
pub fn visit(world: &World, query: Query, each: &mut dyn FnMut(&Row, u32)) -> Result<Coverage> {
    let mut here = |row: &Row| each(row, 0);
    if let Some(file) = &world.replay {
        return replay::visit(file, &mut here);
    }
    if world.netns == Netns::All {
        return visit_all(world, query, each);
    }
    let place = netns::place(world)?;
    match world.source {
        Source::Netlink | Source::Auto if place.is_ours => match netlink::open() {
            Ok(socket) => by_netlink(&socket, query, &mut here),
            Err(refused) => Err(refused),
        }
        .or_else(|refused| {
            if world.source == Source::Auto { proc::visit(&place.net_dir, query.idle, &mut here) } else { Err(refused) }
        }),
        Source::Netlink => Err(Error::Usage("--source netlink can't see another network namespace".into())),
        Source::Auto | Source::Proc => proc::visit(&place.net_dir, query.idle, &mut here),
    }
}

/// One dump, to its end.
fn by_netlink(socket: &OwnedFd, query: Query, each: &mut dyn FnMut(&Row)) -> Result<Coverage> {
    let mut seen = Coverage::new(Origin::Netlink, "a sock_diag dump of UNIX sockets".to_owned());
    let mut buffer = Box::new_uninit_slice(RECEIVE_BUFFER);
    send(socket, &diag::request(query), SendFlags::empty()).map_err(refused("a sock_diag request"))?;
    let ended = receive_all(socket, &mut buffer, &mut seen, &mut |filled, seen| take(filled, query.idle, seen, each));
    match ended {
        Ok(()) => {}
        Err(errno) if seen.rows == 0 => return Err(refused("a sock_diag dump of UNIX sockets")(errno)),
        Err(errno) => seen.missing = Some(format!("the dump of UNIX sockets broke off ({errno})")),
    }
    Ok(seen)
}

/// What one receive brought; the dump's end, where it is there.
fn take(filled: &[u8], wants_idle: bool, seen: &mut Coverage, each: &mut dyn FnMut(&Row)) -> Option<Ended> {
    let mut messages = Messages::new(filled);
    while let Some(framed) = messages.next() {
        let Framed { message, interrupted } = match framed {
            Ok(framed) => framed,
            Err(why) => {
                seen.missing = Some(why);
                return Some(Ok(()));
            }
        };
        if interrupted {
            seen.missing = Some("the socket table changed under the dump".to_owned());
        }
        match message {
            Message::Socket(()) if wants_idle || messages.row.kind.is_of_connections() => {
                seen.rows += 1;
                each(&messages.row);
            }
            Message::Done(0..) => return Some(Ok(())),
            Message::Done(errno) | Message::Refused(errno) => return Some(Err(Errno::from_raw_os_error(-errno))),
            Message::Socket(()) | Message::Other => {}
        }
    }
    None
}

/// Each namespace that can be found, as [`super::visit_all`] finds them.
fn visit_all(world: &World, query: Query, each: &mut dyn FnMut(&Row, u32)) -> Result<Coverage> {
    let _rights = world.raise();
    let mut all = Coverage::new(Origin::Netlink, "UNIX sockets of all network namespaces".to_owned());
    all.namespaces = Namespaces { seen: 0, refused: 0, late: 0 };
    let host = kept::visit(&mut || kept::look_for_unix(world), &mut |host, visited| {
        for namespace in &host.lived_in {
            if !visited.has(namespace.identity) {
                let is_there = peopled((world, query), namespace, &mut all, each);
                visited.any_left |= !is_there;
                if is_there {
                    visited.enter(namespace.identity);
                }
            }
        }
        for path in host.mounted.iter().filter(|path| visited.follow(path)).collect::<Vec<_>>() {
            mounted(query, path, visited, &mut all, each);
        }
    })?;
    let Namespaces { seen, refused, late } = all.namespaces;
    let count = seen + refused + late;
    let mut missing: Vec<String> = all.missing.into_iter().chain(host.hidden).collect();
    if refused + late > 0 {
        missing.push(format!("UNIX sockets of {} of {count} network namespaces not seen", refused + late));
    }
    all.missing = (!missing.is_empty()).then(|| missing.join(", "));
    Ok(all)
}

/// Whether a process is still in it.
fn peopled(
    (world, query): (&World, Query),
    namespace: &LivedIn,
    all: &mut Coverage,
    each: &mut dyn FnMut(&Row, u32),
) -> bool {
    let Some(process) = namespace.process() else { return false };
    let net_dir = process.join("net");
    if world.deadline.is_near() {
        all.namespaces.late += 1;
        return true;
    }
    if is_empty(&net_dir) {
        all.namespaces.seen += 1;
        return true;
    }
    let mut there = |row: &Row| each(row, namespace.identity);
    let socket = match namespace.is_ours {
        _ if world.source == Source::Proc => None,
        true => netlink::open().ok(),
        false => inside(&process.join("ns/net"), namespace.identity),
    };
    let seen = socket.and_then(|socket| by_netlink(&socket, query, &mut there).ok());
    match seen.or_else(|| proc::visit(&net_dir, query.idle, &mut there).ok()) {
        Some(seen) => add(all, seen),
        None if namespace.process().is_none() => return false,
        None => all.namespaces.refused += 1,
    }
    true
}

fn mounted(query: Query, path: &Path, visited: &mut Visited, all: &mut Coverage, each: &mut dyn FnMut(&Row, u32)) {
    let inside = fs::File::open(path).and_then(|file| netns::inside(file, netlink::open));
    let Ok(Inside { identity: Some(identity), done }) = inside else {
        all.namespaces.refused += 1;
        return;
    };
    if visited.enter(identity) {
        match done.and_then(|socket| by_netlink(&socket, query, &mut |row| each(row, identity))) {
            Ok(seen) => add(all, seen),
            Err(_) => all.namespaces.refused += 1,
        }
    }
}

/// A netlink socket of the namespace that a process is in, if it still is.
fn inside(namespace: &Path, identity: u32) -> Option<OwnedFd> {
    let inside = fs::File::open(namespace).and_then(|file| netns::inside(file, netlink::open)).ok()?;
    inside.done.ok().filter(|_| inside.identity == Some(identity))
}

fn add(all: &mut Coverage, seen: Coverage) {
    all.namespaces.seen += 1;
    all.rows += seen.rows;
    if seen.origin == Origin::Proc {
        all.origin = Origin::Proc;
    }
    all.missing = all.missing.take().or(seen.missing);
}

/// Whether a namespace has no socket of any kind: `used` counts them all.
fn is_empty(net_dir: &Path) -> bool {
    counters(net_dir, "sockstat", "sockets:", ["used"]) == Some([0])
}
