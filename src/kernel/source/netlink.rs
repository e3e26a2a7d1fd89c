//! Sockets from the kernel by NETLINK_SOCK_DIAG: complete, exact, with ages and cookies.

use super::diag::{self, Framed, Message};
use super::{Coverage, Origin, Query};
use crate::base::error::{Error, Result};
use crate::kernel::socket::{Side, Socket, State, StateSet};
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
///
/// Listeners are few and have a table of their own, which the kernel walks in a hundredth of the time
/// of the other (6.18): all of them cost less than a port's filter on one dump of both would.
pub fn visit(socket: &OwnedFd, query: &Query, each: &mut dyn FnMut(&Socket)) -> Result<Coverage> {
    if !query.listeners {
        return dump(socket, query, each);
    }
    let states = StateSet::of(&[State::Listen]);
    let of_listeners = Query { states, ports: &[], side: Side::Both, times: false, listeners: false };
    let mut seen = dump(socket, &of_listeners, each)?;
    let others = Query { states: query.states.without(State::Listen), listeners: false, ..*query };
    match dump(socket, &others, each) {
        Ok(more) => {
            seen.rows += more.rows;
            seen.missing = seen.missing.or(more.missing);
        }
        Err(why) if seen.rows == 0 => return Err(why),
        Err(why) => seen.missing = Some(format!("the dump broke off ({why})")),
    }
    Ok(seen)
}

fn dump(socket: &OwnedFd, query: &Query, each: &mut dyn FnMut(&Socket)) -> Result<Coverage> {
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
pub fn visit_by(dump: Dump, socket: &OwnedFd, query: &Query, each: &mut dyn FnMut(&Socket)) -> Result<Coverage> {
    let (kind, families, how): (_, &[u8], _) = match dump {
        Dump::Combined => (diag::COMBINED, &[0], "one combined sock_diag dump"),
        Dump::ByFamily => (diag::BY_FAMILY, &[diag::AF_INET, diag::AF_INET6], "two sock_diag dumps by family"),
    };
    let mut seen = Coverage::new(Origin::Netlink, how.to_owned());
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
    seen: &mut Coverage,
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

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::socketpair;

    const INTERRUPTED: u16 = 0x10;
    /// Bytes of a socket's message: as many as divide the receive buffer.
    const ROW: usize = 128;
    const REFUSED: u16 = 2;
    const DONE: u16 = 3;

    fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let length = (diag::HEADER + body.len()) as u32;
        [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 8], body].concat()
    }

    fn end(kind: u16, errno: i32) -> Vec<u8> {
        message(kind, 0, &errno.to_ne_bytes())
    }

    /// An ESTABLISHED IPv4 socket, with an attribute that nobody knows.
    fn row(flags: u16) -> Vec<u8> {
        let mut body = [0; ROW - diag::HEADER];
        body[..2].copy_from_slice(&[diag::AF_INET, 1]);
        body[72..74].copy_from_slice(&40u16.to_ne_bytes());
        body[74..76].copy_from_slice(&99u16.to_ne_bytes());
        message(diag::COMBINED, flags, &body)
    }

    /// What [`visit`] makes of a kernel that answers so.
    fn told(answers: &[Vec<u8>]) -> Result<Coverage> {
        let (ours, kernel) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        for answer in answers {
            assert_eq!(send(&kernel, answer, SendFlags::empty()), Ok(answer.len()));
        }
        let query = Query { states: StateSet::ALL, ports: &[], side: Side::Both, times: false, listeners: false };
        let mut shown = 0;
        let seen = visit(&ours, &query, &mut |_| shown += 1);
        assert!(seen.as_ref().map_or(0, |seen| seen.rows) == shown, "{seen:?}");
        seen
    }

    fn lacks(answers: &[Vec<u8>], rows: u64, why: &str) {
        let seen = told(answers).unwrap();
        assert!(
            seen.rows == rows && seen.missing.as_ref().is_some_and(|missing| missing.contains(why)),
            "{why}: {seen:?}"
        );
    }

    #[test]
    fn only_a_whole_dump_is_complete() {
        let two = [row(0), row(0)].concat();
        let whole = told(&[two.clone(), end(DONE, 0)]).unwrap();
        assert_eq!((whole.rows, whole.missing), (2, None));
        lacks(&[row(0), row(INTERRUPTED), end(DONE, 0)], 2, "changed under the dump");
        lacks(&[two.clone(), message(DONE, INTERRUPTED, &[0; 4])], 2, "changed under the dump");
        lacks(&[row(0), end(DONE, -105)], 1, "the dump broke off");
        lacks(&[row(0), end(REFUSED, -12)], 1, "the dump broke off");
        lacks(&[two.clone(), two[..ROW + 50].to_vec()], 3, "malformed netlink message");
        // What is cut between two messages looks whole.
        lacks(&[row(0).repeat(RECEIVE_BUFFER / ROW + 1), end(DONE, 0)], (RECEIVE_BUFFER / ROW) as u64, "truncated");
    }

    #[test]
    fn what_is_refused_at_once_is_asked_by_family() {
        let by_family = told(&[end(REFUSED, -22), row(0), end(DONE, 0), end(REFUSED, -2)]).unwrap();
        assert_eq!((by_family.rows, by_family.missing), (1, None), "a kernel without IPv6");
        assert!(told(&[end(REFUSED, -22), end(REFUSED, -1)]).is_err());
        assert!(told(&[end(REFUSED, -22), end(DONE, 0), end(REFUSED, -1)]).is_err());
        lacks(&[end(REFUSED, -22), row(0), end(DONE, 0), end(REFUSED, -1)], 1, "the dump broke off");
    }
}
