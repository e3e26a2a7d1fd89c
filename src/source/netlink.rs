//! Sockets from the kernel by NETLINK_SOCK_DIAG: complete, exact, with ages and cookies.

use super::diag::{self, Framed, Message};
use super::{Origin, Query, Seen};
use crate::error::{Error, Result};
use crate::socket::Socket;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};
use std::mem::MaybeUninit;

/// Below 32 KiB the kernel loses messages and still ends the dump without an error (measured on
/// 6.18); it never fills more than 32 KiB at once.
const RECEIVE_BUFFER: usize = 64 * 1024;

/// How to ask for both address families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dump {
    /// One walk of the kernel's table for both.
    Combined,
    /// One walk for each: what `ss` does, and the fallback where the old request is refused.
    ByFamily,
}

/// A socket that shows the network namespace in which the calling thread is now, wherever it is
/// used later.
pub fn open() -> Result<OwnedFd> {
    socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(netlink::SOCK_DIAG))
        .map_err(refused("a sock_diag socket"))
}

/// Shows the sockets of the network namespace that `socket` is of.
pub fn visit(socket: &OwnedFd, query: &Query, each: &mut dyn FnMut(&Socket)) -> Result<Seen> {
    match visit_by(Dump::Combined, socket, query, each) {
        Err(Error::Kernel { .. }) => visit_by(Dump::ByFamily, socket, query, each),
        seen => seen,
    }
}

fn refused(call: &'static str) -> impl Fn(Errno) -> Error {
    move |errno| Error::Kernel { call, cause: errno.into() }
}

/// # Errors
/// [`Error::Kernel`] only while `each` has seen nothing, so that the caller may try another way.
pub fn visit_by(dump: Dump, socket: &OwnedFd, query: &Query, each: &mut dyn FnMut(&Socket)) -> Result<Seen> {
    let (kind, families, how): (_, &[u8], _) = match dump {
        Dump::Combined => (diag::COMBINED, &[0], "one combined sock_diag dump"),
        Dump::ByFamily => (diag::BY_FAMILY, &[diag::AF_INET, diag::AF_INET6], "two sock_diag dumps by family"),
    };
    let mut seen = Seen::new(Origin::Netlink, how.to_owned());
    // Not zeroed: what the kernel doesn't fill costs no page.
    let mut buffer = Box::new_uninit_slice(RECEIVE_BUFFER);
    for family in families {
        send(socket, &diag::request(kind, *family, query), SendFlags::empty())
            .map_err(refused("a sock_diag request"))?;
        match receive(socket, &mut buffer, &mut seen, each) {
            Ok(()) => {}
            // A kernel without IPv6 has no handler for its sockets, and none of those.
            Err(Errno::NOENT) if *family == diag::AF_INET6 => {}
            Err(errno) if seen.rows == 0 => return Err(refused("a sock_diag dump")(errno)),
            Err(errno) => seen.missing = Some(format!("the dump broke off ({errno})")),
        }
    }
    Ok(seen)
}

/// Reads one dump to its end. Only NLMSG_DONE without error and without a truncated receive is
/// the end of a complete one.
fn receive(
    socket: &OwnedFd,
    buffer: &mut [MaybeUninit<u8>],
    seen: &mut Seen,
    each: &mut dyn FnMut(&Socket),
) -> std::result::Result<(), Errno> {
    loop {
        let ((filled, _), full_length) = match recv(socket, &mut *buffer, RecvFlags::TRUNC) {
            Err(Errno::INTR) => continue,
            received => received?,
        };
        if full_length > filled.len() {
            seen.missing = Some("the kernel's answer was truncated".to_owned());
        }
        for framed in diag::messages(filled) {
            let Framed { message, interrupted, .. } = match framed {
                Ok(framed) => framed,
                Err(why) => {
                    seen.missing = Some(why);
                    return Ok(());
                }
            };
            if interrupted {
                seen.missing = Some("the socket table changed under the dump".to_owned());
            }
            match message {
                Message::Socket(socket) => {
                    seen.rows += 1;
                    each(&socket);
                }
                Message::Done(0..) => return Ok(()),
                Message::Done(errno) | Message::Refused(errno) => return Err(Errno::from_raw_os_error(-errno)),
                Message::Other => {}
            }
        }
    }
}
