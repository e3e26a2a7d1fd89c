//! Sockets from the kernel by NETLINK_SOCK_DIAG: complete, exact, with ages and cookies.

use super::diag::{self, Framed, Message, Messages, Table};
use super::mptcp::Connections;
use super::repeats::Repeats;
use super::{Coverage, Origin, Query};
use crate::base::error::{Error, Result};
use crate::kernel::socket::{Protocol, Side, Socket, State, StateSet};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below 32 KiB the kernel loses messages and still ends the dump without an error (measured on
/// 6.18); it never fills more than 32 KiB at once.
pub(super) const RECEIVE_BUFFER: usize = 64 * 1024;

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

/// In the count of a namespace's sockets (`inuse`): neither half-open ones nor what waits without a socket, TIME_WAIT and most of
/// FIN_WAIT2 (net/ipv4/inet_hashtables.c, 6.18).
const COUNTED: &[State] =
    &[State::Established, State::CloseWait, State::LastAck, State::Closing, State::SynSent, State::Listen];

/// Shows the sockets of the network namespace that `socket` is of. `has_mptcp`: MPTCP's may be among
/// them, which takes a dump of their table too.
///
/// Listeners are few and have a table of their own: the kernel walks it in a hundredth of the time of
/// the other (6.18).
pub fn visit(socket: &OwnedFd, query: &Query, has_mptcp: bool, each: &mut dyn FnMut(&Socket)) -> Result<Coverage> {
    visit_counted(socket, query, has_mptcp, &|| None, each)
}

/// As [`visit`]. Where all that `count` tells to be in the tables are listeners, the walk of the other table is spared: in a
/// small namespace it is most of the time, as that table is the whole host's.
pub fn visit_counted(
    socket: &OwnedFd,
    query: &Query,
    has_mptcp: bool,
    count: &dyn Fn() -> Option<u64>,
    each: &mut dyn FnMut(&Socket),
) -> Result<Coverage> {
    if !query.listeners {
        return visit_tables(socket, query, has_mptcp, each);
    }
    let is_counted = !has_mptcp && query.states.is_within(COUNTED);
    let before = if is_counted { count() } else { None };
    let states = StateSet::of(&[State::Listen]);
    // Whether it is MPTCP's is told beside tcp_info.
    let of_listeners = Query { states, ports: &[], side: Side::Both, times: has_mptcp, listeners: false };
    let mut seen = visit_tables(socket, &of_listeners, false, &mut |listener| {
        let is_plain = listener.protocol == Protocol::Tcp;
        let protocol = if is_plain { Protocol::Tcp } else { Protocol::Mptcp };
        each(&Socket { protocol, times: None, ..*listener });
    })?;
    if before == Some(seen.rows) && seen.missing.is_none() && count() == before {
        return Ok(seen);
    }
    let others = Query { states: query.states.without(State::Listen), listeners: false, ..*query };
    match visit_tables(socket, &others, has_mptcp, each) {
        Ok(more) => {
            seen.rows += more.rows;
            seen.missing = seen.missing.or(more.missing);
        }
        Err(why) if seen.rows == 0 => return Err(why),
        Err(why) => seen.missing = Some(format!("the dump broke off ({why})")),
    }
    Ok(seen)
}

fn visit_tables(socket: &OwnedFd, query: &Query, has_mptcp: bool, each: &mut dyn FnMut(&Socket)) -> Result<Coverage> {
    if !has_mptcp {
        return by_any(Table::Tcp, socket, query, each);
    }
    let mut connections = Connections::new(query);
    let all = Query { states: StateSet::ALL, ..*query };
    let of_mptcp = by_any(Table::Mptcp, socket, &all, &mut |row| connections.add(row));
    let why = match of_mptcp.map(|seen| seen.missing) {
        Ok(None) => {
            connections.complete();
            None
        }
        Ok(Some(why)) => Some(why),
        Err(refused) => Some(refused.to_string()),
    };
    // Subflows are ESTABLISHED whatever their connection's state, and are told to be ones beside tcp_info.
    let subflows = Query { states: query.states.with(State::Established), times: true, ..*query };
    let mut seen = by_any(Table::Tcp, socket, &subflows, &mut |row| connections.row(row, each))?;
    let untold = connections.end(each);
    if let Some(why) = why.filter(|_| untold > 0) {
        seen.missing.get_or_insert(format!("states of {untold} MPTCP connections unknown: {why}"));
    }
    Ok(seen)
}

fn by_any(table: Table, socket: &OwnedFd, query: &Query, each: &mut dyn FnMut(&Socket)) -> Result<Coverage> {
    match dump(table, Dump::Combined, socket, query, each) {
        Err(Error::Kernel { .. }) => dump(table, Dump::ByFamily, socket, query, each),
        seen => seen,
    }
}

pub(super) fn refused(call: &'static str) -> impl Fn(Errno) -> Error {
    move |errno| Error::Kernel { call, cause: errno.into() }
}

/// # Errors
/// [`Error::Kernel`] only while `each` has seen nothing, so that the caller may try another way.
pub fn visit_by(by: Dump, socket: &OwnedFd, query: &Query, each: &mut dyn FnMut(&Socket)) -> Result<Coverage> {
    dump(Table::Tcp, by, socket, query, each)
}

fn dump(table: Table, by: Dump, socket: &OwnedFd, query: &Query, each: &mut dyn FnMut(&Socket)) -> Result<Coverage> {
    let (kind, families, how): (_, &[u8], _) = match by {
        Dump::Combined => (diag::COMBINED, &[0], "one combined sock_diag dump"),
        Dump::ByFamily => (diag::BY_FAMILY, &[diag::AF_INET, diag::AF_INET6], "two sock_diag dumps by family"),
    };
    let mut seen = Coverage::new(Origin::Netlink, how.to_owned());
    // Not zeroed: what the kernel doesn't fill costs no page.
    let mut buffer = Box::new_uninit_slice(RECEIVE_BUFFER);
    for family in families {
        let of = (table, ask(socket, diag::request(kind, table, *family, query))?);
        match receive(socket, of, &mut buffer, &mut seen, each) {
            Ok(()) => {}
            // A kernel without IPv6 has no handler for its sockets, and none of those.
            Err(Errno::NOENT) if *family == diag::AF_INET6 => {}
            Err(errno) if seen.rows == 0 => return Err(refused("a sock_diag dump")(errno)),
            Err(errno) => seen.missing = Some(format!("the dump broke off ({errno})")),
        }
    }
    Ok(seen)
}

/// Shows TCP's rows until `each` says no: what is behind them the kernel isn't asked for. Returns whether that was all.
/// `socket`: a fresh one, of no more use when this ends.
///
/// # Errors
/// Where [`visit`] would go another way, too.
pub fn visit_while(socket: &OwnedFd, query: &Query, each: &mut dyn FnMut(&Socket) -> bool) -> Result<bool> {
    let mut seen = Coverage::new(Origin::Netlink, String::new());
    let mut buffer = Box::new_uninit_slice(RECEIVE_BUFFER);
    let (mut repeats, mut goes_on) = (Repeats::default(), true);
    let of = (Table::Tcp, ask(socket, diag::request(diag::COMBINED, Table::Tcp, 0, query))?);
    let ended = receive_all(socket, &mut buffer, &mut seen, &mut |filled, seen| {
        let show = &mut |row: &Socket| goes_on = goes_on && each(row);
        take(filled, of, &mut repeats, seen, show).or((!goes_on).then_some(Ok(())))
    });
    ended.map_err(refused("a sock_diag dump"))?;
    Ok(goes_on && seen.missing.is_none())
}

/// Shows TCP's rows in `states` whose ports at these ends are no one of `ports`; without ports all.
///
/// # Errors
/// When there is none, or it is refused.
pub fn visit_without(
    socket: &OwnedFd,
    (ports, side): (&[u16], Side),
    states: StateSet,
    each: &mut dyn FnMut(&Socket),
) -> Result<Coverage> {
    let mut seen = Coverage::new(Origin::Netlink, "one combined sock_diag dump".to_owned());
    let mut buffer = Box::new_uninit_slice(RECEIVE_BUFFER);
    let of = (Table::Tcp, ask(socket, diag::request_without(ports, side, states))?);
    receive(socket, of, &mut buffer, &mut seen, each).map_err(refused("a sock_diag dump"))?;
    Ok(seen)
}

/// Sends a request under a number of its own: where an earlier dump broke off, what is left of it is no answer to this one.
fn ask(socket: &OwnedFd, mut request: Vec<u8>) -> Result<u32> {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    request[diag::SEQUENCE..][..4].copy_from_slice(&number.to_ne_bytes());
    send(socket, &request, SendFlags::empty()).map_err(refused("a sock_diag request"))?;
    Ok(number)
}

/// Reads one dump to its end. `of`: as in [`take`].
fn receive(
    socket: &OwnedFd,
    of: (Table, u32),
    buffer: &mut [MaybeUninit<u8>],
    seen: &mut Coverage,
    each: &mut dyn FnMut(&Socket),
) -> Ended {
    let mut repeats = Repeats::default();
    receive_all(socket, buffer, seen, &mut |filled, seen| take(filled, of, &mut repeats, seen, each))
}

/// How a dump ended.
pub(super) type Ended = std::result::Result<(), Errno>;

/// Receives until `take` has met the dump's end. Only NLMSG_DONE without error and without a truncated receive
/// is the end of a complete one.
pub(super) fn receive_all(
    socket: &OwnedFd,
    buffer: &mut [MaybeUninit<u8>],
    seen: &mut Coverage,
    take: &mut dyn FnMut(&[u8], &mut Coverage) -> Option<Ended>,
) -> Ended {
    loop {
        let ((filled, _), full_length) = match recv(socket, &mut *buffer, RecvFlags::TRUNC) {
            Err(Errno::INTR) => continue,
            received => received?,
        };
        if full_length > filled.len() {
            seen.missing = Some("the kernel's answer was truncated".to_owned());
        }
        if let Some(end) = take(filled, seen) {
            return end;
        }
    }
}

/// What one receive brought; the dump's end, where it is there. Told are which table was asked for, and the request's number.
fn take(
    filled: &[u8],
    (table, number): (Table, u32),
    repeats: &mut Repeats,
    seen: &mut Coverage,
    each: &mut dyn FnMut(&Socket),
) -> Option<Ended> {
    repeats.begin();
    let mut messages = Messages::new(filled, table);
    while let Some(framed) = messages.next() {
        let Framed { message, interrupted, .. } = match framed {
            // The kernel's own have none.
            Ok(framed) if ![0, number].contains(&framed.sequence) => continue,
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
            // MPTCP connections may share one cookie: what comes again of those is told by its ends.
            Message::Socket(()) if table == Table::Tcp && repeats.has(messages.row.cookie) => {}
            Message::Socket(()) => {
                seen.rows += 1;
                each(&messages.row);
            }
            Message::Done(0..) => return Some(Ok(())),
            Message::Done(errno) | Message::Refused(errno) => return Some(Err(Errno::from_raw_os_error(-errno))),
            Message::Other => {}
        }
    }
    None
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
        told_of(false, answers).map(|(seen, shown)| {
            assert_eq!(seen.rows, shown, "{seen:?}");
            seen
        })
    }

    fn told_of(has_mptcp: bool, answers: &[Vec<u8>]) -> Result<(Coverage, u64)> {
        let (ours, kernel) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        for answer in answers {
            assert_eq!(send(&kernel, answer, SendFlags::empty()), Ok(answer.len()));
        }
        let query = Query { states: StateSet::ALL, ports: &[], side: Side::Both, times: false, listeners: false };
        let mut shown = 0;
        let seen = visit(&ours, &query, has_mptcp, &mut |_| shown += 1);
        assert!(seen.is_ok() || shown == 0, "{seen:?}");
        seen.map(|seen| (seen, shown))
    }

    /// How many rows are shown of one listener and two others, where so many are counted before and after the listeners.
    fn shown_of(states: &[State], counts: [Option<u64>; 2]) -> u64 {
        let (ours, kernel) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        for answer in [row(0), end(DONE, 0), [row(0), row(0)].concat(), end(DONE, 0)] {
            assert_eq!(send(&kernel, &answer, SendFlags::empty()), Ok(answer.len()));
        }
        let states = StateSet::of(states);
        let query = Query { states, ports: &[], side: Side::Both, times: false, listeners: true };
        let (mut shown, counts) = (0, std::cell::RefCell::new(counts.to_vec()));
        let count = || if counts.borrow().is_empty() { None } else { counts.borrow_mut().remove(0) };
        visit_counted(&ours, &query, false, &count, &mut |_| shown += 1).unwrap();
        shown
    }

    /// Where the first receive failed, what it would have brought is still there.
    #[test]
    fn what_is_left_of_another_dump_is_passed_over() {
        let left = [row(0), row(0), end(DONE, 0)].map(|mut message| {
            message[diag::SEQUENCE..][..4].copy_from_slice(&u32::MAX.to_ne_bytes());
            message
        });
        let seen = told(&[left.concat(), row(0), end(DONE, 0)]).unwrap();
        assert_eq!((seen.rows, seen.missing), (1, None));
    }

    #[test]
    fn others_are_not_looked_for_where_all_that_is_counted_listens() {
        let asked = [State::Listen, State::Established, State::CloseWait];
        assert_eq!(shown_of(&asked, [Some(1), Some(1)]), 1);
        for counts in [[Some(3), Some(3)], [Some(1), Some(2)], [Some(1), None], [None, None], [Some(0), Some(0)]] {
            assert_eq!(shown_of(&asked, counts), 3, "{counts:?}");
        }
        // These are in no such count.
        for state in [State::TimeWait, State::SynRecv, State::FinWait2] {
            assert_eq!(shown_of(&[State::Listen, state], [Some(1), Some(1)]), 3, "{state:?}");
        }
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

    /// INET_DIAG_ULP_INFO, which tells that a row is a subflow.
    fn subflow() -> Vec<u8> {
        let mut row = row(0);
        let info = [14u16, 19, 10, 1].map(u16::to_ne_bytes).concat();
        row.splice(diag::HEADER + 72.., [&info[..], b"mptcp\0\0\0", &[24, 0, 99], &[0; 21]].concat());
        assert_eq!(row.len(), ROW);
        row
    }

    #[test]
    fn a_kernel_that_does_not_tell_of_mptcp_is_doubt_where_there_are_subflows() {
        let refused = [end(REFUSED, -2), end(REFUSED, -2)];
        let (plain, _) = told_of(true, &[&refused[..], &[row(0), end(DONE, 0)]].concat()).unwrap();
        assert_eq!(plain.missing, None, "it has a listener at most");
        for answers in [&refused[..], &[end(DONE, -105), end(DONE, -105)]] {
            let (seen, shown) = told_of(true, &[answers, &[subflow(), end(DONE, 0)]].concat()).unwrap();
            assert!(seen.missing.unwrap().starts_with("states of 1 MPTCP connections unknown: "), "{answers:?}");
            assert_eq!(shown, 1);
        }
        let (told, _) = told_of(true, &[end(DONE, 0), subflow(), end(DONE, 0)]).unwrap();
        assert_eq!(told.missing, None);
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
