//! The wire format of NETLINK_SOCK_DIAG: requests out, messages in. Pure bytes, no I/O.
//!
//! Layouts: include/uapi/linux/{netlink,inet_diag,tcp}.h. Integers are the host's, ports and
//! addresses the network's.

mod filter;
mod tcp_info;

use super::Query;
use crate::kernel::socket::{AcceptQueue, Endpoint, Protocol, Side, Socket, State, StateSet, Times};
use filter::{bytecode, bytecode_without};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU64;
use tcp_info::{connected, times};

/// TCPDIAG_GETSOCK: with family 0 one walk dumps IPv4 and IPv6.
pub const COMBINED: u16 = 18;
/// SOCK_DIAG_BY_FAMILY: a walk for each family.
pub const BY_FAMILY: u16 = 20;

pub const AF_INET: u8 = 2;
pub const AF_INET6: u8 = 10;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_DUMP: u16 = 0x300;

/// `struct nlmsghdr`.
pub const HEADER: usize = 16;
/// Where in it the number stands that an answer has of its request.
pub const SEQUENCE: usize = 8;
/// `struct inet_diag_msg`.
const DIAG_MSG: usize = 72;
/// `struct inet_diag_sockid`.
const SOCK_ID: usize = 48;

const INET_DIAG_INFO: u16 = 2;
const INET_DIAG_ULP_INFO: u16 = 19;
const INET_DIAG_CGROUP_ID: u16 = 21;
const INET_DIAG_SOCKOPT: u16 = 22;
/// A bit of the first byte of `struct inet_diag_sockopt`.
const TRANSPARENT: u8 = 1 << 5;
const REQ_BYTECODE: u16 = 1;
const REQ_PROTOCOL: u16 = 3;
const IPPROTO_MPTCP: u32 = 262;
/// MPTCP_INFO_FLAG_FALLBACK.
const FELL_BACK: u32 = 1;
const TIMER_KEEPALIVE: u8 = 2;

/// The kernel's table that a dump is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    Tcp,
    /// Since Linux 5.9.
    Mptcp,
}

/// What one netlink message says.
#[derive(Debug, PartialEq, Eq)]
pub enum Message<S = Socket> {
    Socket(S),
    /// The dump's end; a negative number is the error that ended it.
    Done(i32),
    /// The request was refused with this negative errno.
    Refused(i32),
    /// Nothing about a TCP socket in a state we know.
    Other,
}

/// A message with what its header says of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Framed<S = Socket> {
    pub message: Message<S>,
    pub kind: u16,
    /// That of the request which it answers.
    pub sequence: u32,
    /// NLM_F_DUMP_INTR: the kernel saw the table change under the dump.
    pub interrupted: bool,
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

pub(super) fn align(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// The messages of one receive, in order. A malformed one ends them with an error that says where.
pub struct Messages<'a> {
    buffer: &'a [u8],
    table: Table,
    at: usize,
    /// What the last socket's message told: in one place for all, as a copy takes half as long as reading it.
    pub row: Socket,
}

impl Messages<'_> {
    pub fn new(buffer: &[u8], table: Table) -> Messages<'_> {
        let nowhere = Endpoint::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        Messages { buffer, table, at: 0, row: Socket::bare(State::Close, nowhere, nowhere) }
    }

    /// Puts a socket into [`Messages::row`].
    #[expect(clippy::should_implement_trait, reason = "an iterator can't lend its row")]
    pub fn next(&mut self) -> Option<Result<Framed<()>, String>> {
        let here = self.at;
        let rest = self.buffer.get(here..).filter(|rest| !rest.is_empty())?;
        match framed(rest, self.table, &mut self.row) {
            Some((length, message)) => {
                self.at += align(length);
                Some(Ok(message))
            }
            None => {
                self.at = self.buffer.len();
                Some(Err(format!("malformed netlink message at byte {here} of {}", self.buffer.len())))
            }
        }
    }
}

/// The same, each with its socket.
pub fn messages(buffer: &[u8], table: Table) -> impl Iterator<Item = Result<Framed, String>> + '_ {
    let mut messages = Messages::new(buffer, table);
    std::iter::from_fn(move || {
        let framed = messages.next()?;
        Some(framed.map(|Framed { message, kind, sequence, interrupted }| {
            let message = match message {
                Message::Socket(()) => Message::Socket(messages.row),
                Message::Done(errno) => Message::Done(errno),
                Message::Refused(errno) => Message::Refused(errno),
                Message::Other => Message::Other,
            };
            Framed { message, kind, sequence, interrupted }
        }))
    })
}

/// The length that a message's header tells, if it can be one.
pub fn message_length(header: &[u8]) -> Option<usize> {
    let length = u32_at(header, 0)? as usize;
    (length >= HEADER).then_some(length)
}

fn framed(bytes: &[u8], table: Table, row: &mut Socket) -> Option<(usize, Framed<()>)> {
    let length = message_length(bytes)?;
    let payload = bytes.get(HEADER..length)?;
    let (kind, flags, sequence) = (u16_at(bytes, 4)?, u16_at(bytes, 6)?, u32_at(bytes, SEQUENCE)?);
    let message = match kind {
        // A DONE without a number is as old as netlink and means success.
        NLMSG_DONE => Message::Done(u32_at(payload, 0).unwrap_or(0).cast_signed()),
        NLMSG_ERROR => Message::Refused(u32_at(payload, 0)?.cast_signed()),
        COMBINED | BY_FAMILY if socket(payload, table, row)? => Message::Socket(()),
        _ => Message::Other,
    };
    Some((length, Framed { message, kind, sequence, interrupted: flags & NLM_F_DUMP_INTR != 0 }))
}

/// Whether it is a TCP socket in a known state; `None`: malformed.
fn socket(payload: &[u8], table: Table, socket: &mut Socket) -> Option<bool> {
    let fixed: &[u8; DIAG_MSG] = payload.first_chunk()?;
    let (Some(state), Some(local), Some(remote)) =
        (State::from_kernel(fixed[1]), address(fixed, 8), address(fixed, 24))
    else {
        return Some(false);
    };
    *socket = Socket {
        protocol: if table == Table::Tcp { Protocol::Tcp } else { Protocol::Mptcp },
        state,
        local: Endpoint::new(local, u16::from_be_bytes([fixed[4], fixed[5]])),
        remote: Endpoint::new(remote, u16::from_be_bytes([fixed[6], fixed[7]])),
        uid: u32_at(fixed, 64)?,
        inode: u64::from(u32_at(fixed, 68)?),
        cookie: NonZeroU64::new(u64_at(fixed, 44)?),
        cgroup: None,
        // MPTCP's own timer of that number ends a closed connection.
        keepalive: fixed[2] == TIMER_KEEPALIVE && table == Table::Tcp,
        timer_rest: if fixed[2] == 0 { None } else { u32_at(fixed, 52) },
        connected: None,
        unread: u32_at(fixed, 56)?,
        unsent: u32_at(fixed, 60)?,
        accept_queue: None,
        times: None,
        interface: u32_at(fixed, 40)?,
        is_transparent: false,
        netns: 0,
    };
    if state == State::Listen {
        socket.accept_queue = Some(AcceptQueue { waiting: socket.unread, limit: Some(socket.unsent) });
        (socket.unread, socket.unsent) = (0, 0);
    }
    let mut rest = &payload[DIAG_MSG..];
    while let Some(([size @ .., low, high], body)) = rest.split_first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes(*size));
        let value = body.get(..length.checked_sub(4)?)?;
        match u16::from_ne_bytes([*low, *high]) {
            INET_DIAG_INFO if table == Table::Mptcp => mptcp_info(socket, value),
            INET_DIAG_INFO => {
                socket.times = times(value, fixed[2], socket.timer_rest.unwrap_or(0));
                socket.connected = connected(state, value);
            }
            INET_DIAG_ULP_INFO if is_mptcp(value) => socket.protocol = Protocol::Subflow,
            INET_DIAG_CGROUP_ID => socket.cgroup = NonZeroU64::new(u64_at(value, 0)?),
            INET_DIAG_SOCKOPT => socket.is_transparent = value.first()? & TRANSPARENT != 0,
            _ => {}
        }
        rest = body.get(align(length) - 4..).unwrap_or_default();
    }
    Some(true)
}

/// Whether the first attribute in it, INET_ULP_INFO_NAME, says so.
fn is_mptcp(ulp_info: &[u8]) -> bool {
    u16_at(ulp_info, 2) == Some(1) && ulp_info.get(4..).is_some_and(|name| name.starts_with(b"mptcp\0"))
}

fn address(fixed: &[u8; DIAG_MSG], at: usize) -> Option<IpAddr> {
    let bytes: &[u8; 16] = fixed.get(at..)?.first_chunk()?;
    match fixed[0] {
        AF_INET => bytes.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets).into()),
        AF_INET6 => Some(Ipv6Addr::from(*bytes).into()),
        _ => None,
    }
}

/// `struct mptcp_info` grows at its end too; the ages came with Linux 6.10, the bytes with 6.5.
fn mptcp_info(socket: &mut Socket, info: &[u8]) {
    if u32_at(info, 8).is_some_and(|flags| flags & FELL_BACK != 0) {
        socket.protocol = Protocol::Fallback;
    }
    let ages = [84, 88, 92].map(|at| u32_at(info, at));
    if let [Some(data_sent), Some(data_recv), Some(ack_recv)] = ages {
        let bytes = [56, 64].map(|at| u64_at(info, at).unwrap_or(0));
        let carried = Some(bytes.iter().any(|count| *count > 0));
        let ack_delay = tcp_info::ack_delay(u64_at(info, 72), None, 0);
        socket.times = Some(Times { data_sent, data_recv, ack_recv, stalled: 0, carried, ack_delay });
    }
}

/// What a request asks for beside what every answer has.
pub(super) fn extensions(times: bool) -> u8 {
    u8::from(times) << (INET_DIAG_INFO - 1)
}

/// A dump request for [`COMBINED`] (`family` 0) or [`BY_FAMILY`].
///
/// The filters go from cheap to dear: the states' mask, then one port on one side in the socket
/// id, else bytecode. The kernel's filter only saves work: [`crate::kernel::select`] judges every row.
pub fn request(kind: u16, table: Table, family: u8, query: &Query) -> Vec<u8> {
    let mut id = [0u8; SOCK_ID];
    let mut code = Vec::new();
    match (query.ports, query.side) {
        ([], _) => {}
        ([port], Side::Server) => id[..2].copy_from_slice(&port.to_be_bytes()),
        ([port], Side::Client) => id[2..4].copy_from_slice(&port.to_be_bytes()),
        (ports, side) => code = bytecode(ports, side),
    }
    message(kind, table, family, (query.states, query.times), (&id, &code))
}

/// A combined request for rows whose ports at these ends are no one of `ports`.
pub fn request_without(ports: &[u16], side: Side, states: StateSet) -> Vec<u8> {
    message(COMBINED, Table::Tcp, 0, (states, false), (&[0; SOCK_ID], &bytecode_without(ports, side)))
}

fn message(
    kind: u16,
    table: Table,
    family: u8,
    (states, times): (StateSet, bool),
    (id, code): (&[u8; SOCK_ID], &[u8]),
) -> Vec<u8> {
    let extensions = extensions(times);
    let mut body = Vec::with_capacity(128 + code.len());
    if kind == COMBINED {
        // struct inet_diag_req
        body.extend([family, 0, 0, extensions]);
        body.extend(id);
        body.extend(states.mask().to_ne_bytes());
        body.extend(0u32.to_ne_bytes());
    } else {
        // struct inet_diag_req_v2
        body.extend([family, 6 /* IPPROTO_TCP */, extensions, 0]);
        body.extend(states.mask().to_ne_bytes());
        body.extend(id);
    }
    if !code.is_empty() {
        body.extend(u16::to_ne_bytes(4 + code.len() as u16));
        body.extend(REQ_BYTECODE.to_ne_bytes());
        body.extend(code);
    }
    if table == Table::Mptcp {
        body.extend(8u16.to_ne_bytes());
        body.extend(REQ_PROTOCOL.to_ne_bytes());
        body.extend(IPPROTO_MPTCP.to_ne_bytes());
    }
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend(((HEADER + body.len()) as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    message.extend([1, 0, 0, 0, 0, 0, 0, 0]); // sequence, port id
    message.extend(body);
    message
}

/// Most ports one request may name: keeps every jump of the bytecode far inside 16 bits.
pub const MOST_PORTS: usize = 256;

#[cfg(test)]
mod tests {
    use super::tcp_info::{TIMER_PROBE, TIMER_RETRANSMIT, carried, stalled};
    use super::*;
    use crate::kernel::socket::StateSet;
    use proptest::prelude::*;

    /// A socket, and what its message holds beside it.
    #[derive(Clone, Debug)]
    struct Sent {
        socket: Socket,
        kind: u16,
        /// Whether IPv4 rides in IPv6, as on a dual-stack listener.
        mapped: bool,
        timer: u8,
        /// Bytes of `struct tcp_info`, by kernel version; and of an attribute we don't know.
        info: usize,
        other: usize,
    }

    /// What the kernel would send: `struct inet_diag_msg` with its attributes.
    fn encode(sent: &Sent) -> Vec<u8> {
        let socket = &sent.socket;
        let is_v4 = matches!((socket.local.ip, socket.remote.ip), (IpAddr::V4(_), IpAddr::V4(_)));
        let octets = |ip: IpAddr| match ip {
            IpAddr::V4(ip) if is_v4 && !sent.mapped => [&ip.octets()[..], &[0; 12]].concat(),
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let family = if is_v4 && !sent.mapped { AF_INET } else { AF_INET6 };
        let mut body = vec![family, socket.state as u8, sent.timer, 0];
        body.extend(socket.local.port.to_be_bytes());
        body.extend(socket.remote.port.to_be_bytes());
        body.extend(octets(socket.local.ip));
        body.extend(octets(socket.remote.ip));
        body.extend(socket.interface.to_ne_bytes());
        body.extend(socket.cookie.map_or(0, NonZeroU64::get).to_ne_bytes());
        body.extend(socket.timer_rest.unwrap_or(0).to_ne_bytes());
        body.extend([7; 8]); // queues: 0x07070707 each
        body.extend(socket.uid.to_ne_bytes());
        body.extend((socket.inode as u32).to_ne_bytes());
        assert_eq!(body.len(), DIAG_MSG);
        attribute(&mut body, 4, &vec![0xa5; sent.other]);
        if let Some(times) = socket.times {
            let mut info = vec![0xff; sent.info];
            info[4] = 0; // no back-off
            for (at, millis) in [(44, times.data_sent), (52, times.data_recv), (56, times.ack_recv)] {
                info[at..at + 4].copy_from_slice(&millis.to_ne_bytes());
            }
            attribute(&mut body, INET_DIAG_INFO, &info);
        }
        if let Some(cgroup) = socket.cgroup {
            attribute(&mut body, INET_DIAG_CGROUP_ID, &cgroup.get().to_ne_bytes());
        }
        if socket.is_transparent {
            attribute(&mut body, INET_DIAG_SOCKOPT, &[0x30, 0]);
        }
        message(sent.kind, 0x2, &body)
    }

    fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
        body.extend((4 + value.len() as u16).to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(value);
        body.resize(align(body.len()), 0);
    }

    fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let mut message = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend([9; 8]); // sequence, port id
        message.extend(body);
        message
    }

    fn sent() -> impl Strategy<Value = Sent> {
        let v4 = || any::<[u8; 4]>().prop_map(IpAddr::from);
        let v6 = || any::<[u8; 16]>().prop_map(IpAddr::from);
        let ips = prop_oneof![(v4(), v4()), (v6(), v6())];
        let ids = (any::<u32>(), any::<u32>(), any::<u64>(), prop::option::of(any::<u64>()));
        let times = prop::option::of(any::<[u32; 3]>());
        let frame = (any::<bool>(), any::<bool>(), 0u8..=5, any::<u32>(), 60usize..300, 0usize..40);
        (ips, any::<[u16; 2]>(), 0usize..11, ids, times, frame).prop_map(|(ips, ports, state, ids, times, frame)| {
            let (mapped, combined, timer, rest, info, other) = frame;
            let state = State::NAMES[state].0;
            let queue = AcceptQueue { waiting: 0x0707_0707, limit: Some(0x0707_0707) };
            let carried = (info >= 160).then_some(true);
            let times = times.map(|[data_sent, data_recv, ack_recv]| Times {
                data_sent,
                data_recv,
                ack_recv,
                stalled: 0,
                carried,
                ack_delay: if timer == TIMER_PROBE { u32::MAX } else { 600_000 },
            });
            let waiting = if state == State::Listen { 0 } else { 0x0707_0707 };
            let socket = Socket {
                protocol: Protocol::Tcp,
                unread: waiting,
                unsent: waiting,
                state,
                local: Endpoint::new(ips.0, ports[0]),
                remote: Endpoint::new(ips.1, ports[1]),
                uid: ids.0,
                inode: u64::from(ids.1),
                cookie: NonZeroU64::new(ids.2),
                cgroup: ids.3.and_then(NonZeroU64::new),
                keepalive: timer == TIMER_KEEPALIVE,
                timer_rest: (timer != 0).then_some(rest),
                connected: None,
                interface: rest % 7,
                is_transparent: rest % 2 == 1,
                netns: 0,
                accept_queue: (state == State::Listen).then_some(queue),
                times,
            };
            Sent { socket, kind: if combined { COMBINED } else { BY_FAMILY }, mapped, timer, info, other }
        })
    }

    fn read(bytes: &[u8]) -> Vec<Result<Message, String>> {
        messages(bytes, Table::Tcp).map(|framed| framed.map(|framed| framed.message)).collect()
    }

    #[test]
    fn back_off_tells_for_how_long_nothing_was_taken() {
        let told = |timer, backoff, rto_millis: u32, rest| {
            let mut info = [0; 60];
            info[4] = backoff;
            info[8..12].copy_from_slice(&(rto_millis * 1000).to_ne_bytes());
            stalled(&info, timer, rest).unwrap()
        };
        assert_eq!(told(TIMER_RETRANSMIT, 0, 200, 100), 0, "sent once");
        // Sent at 0, 200, 600 and 1400 ms, next at 3000.
        assert_eq!(told(TIMER_RETRANSMIT, 3, 1600, 1600), 1400);
        assert_eq!(told(TIMER_RETRANSMIT, 3, 1600, 600), 2400);
        assert_eq!(told(TIMER_PROBE, 3, 200, 600), 2400);
        assert_eq!(told(TIMER_PROBE, 10, 200, 120_000), 204_600, "none is longer than 120 s");
        assert_eq!(told(TIMER_PROBE, 255, u32::MAX / 1000, 0), 17 * 120_000);
        assert_eq!(told(TIMER_KEEPALIVE, 3, 200, 0), 0);
        assert_eq!(stalled(&[0; 4], TIMER_PROBE, 0), None);
    }

    #[test]
    fn one_byte_or_segment_is_traffic() {
        let with = |at: usize| {
            let mut info = [0; 160];
            info[at] = 1;
            carried(&info)
        };
        assert_eq!([120, 128, 144, 152, 156].map(with), [Some(false), Some(true), Some(true), Some(true), Some(true)]);
        assert_eq!(carried(&[1; 159]), None);
    }

    proptest! {
        #[test]
        fn reads_what_the_kernel_sends(all in prop::collection::vec(sent(), 1..6)) {
            let bytes: Vec<u8> = all.iter().flat_map(encode).collect();
            let expected: Vec<_> = all.iter().map(|sent| Ok(Message::Socket(sent.socket))).collect();
            prop_assert_eq!(read(&bytes), expected);
            let kinds: Vec<_> = messages(&bytes, Table::Tcp).map(|framed| framed.unwrap().kind).collect();
            prop_assert_eq!(kinds, all.iter().map(|sent| sent.kind).collect::<Vec<_>>());
        }

        /// Wherever a buffer is cut: what came before is read, the cut message is an error.
        #[test]
        fn a_cut_message_never_passes_as_whole(all in prop::collection::vec(sent(), 1..4), at: prop::sample::Index) {
            let whole: Vec<Vec<u8>> = all.iter().map(encode).collect();
            let bytes = whole.concat();
            let cut = at.index(bytes.len());
            let mut ends = whole.iter().scan(0, |end, message| { *end += message.len(); Some(*end) });
            let before = ends.clone().filter(|end| *end <= cut).count();
            let is_clean = cut == 0 || ends.any(|end| end == cut);
            let seen = read(&bytes[..cut]);
            prop_assert_eq!(seen.len(), before + usize::from(!is_clean));
            prop_assert!(seen[..before].iter().all(Result::is_ok));
            prop_assert!(seen[before..].iter().all(Result::is_err));
        }

        /// Any bytes inside a message whose header was made to fit: attributes don't pass half.
        #[test]
        fn a_message_shortened_with_its_header_invents_nothing(sent in sent(), at: prop::sample::Index) {
            let mut bytes = encode(&sent);
            let cut = at.index(bytes.len());
            bytes.truncate(cut);
            if cut >= HEADER {
                bytes[..4].copy_from_slice(&(cut as u32).to_ne_bytes());
            }
            match &read(&bytes)[..] {
                [] => prop_assert_eq!(cut, 0),
                [Ok(Message::Socket(socket))] => {
                    prop_assert!(cut >= HEADER + DIAG_MSG);
                    prop_assert_eq!((socket.local, socket.remote), (sent.socket.local, sent.socket.remote));
                    prop_assert!(socket.times.is_none() || socket.times == sent.socket.times);
                    prop_assert!(socket.cgroup.is_none() || socket.cgroup == sent.socket.cgroup);
                }
                [Err(_)] => {}
                other => prop_assert!(false, "{other:?}"),
            }
        }

        #[test]
        fn flipped_bytes_never_panic(all in prop::collection::vec(sent(), 1..4), flips: Vec<(prop::sample::Index, u8)>) {
            let mut bytes: Vec<u8> = all.iter().flat_map(encode).collect();
            for (at, flip) in flips {
                let at = at.index(bytes.len());
                bytes[at] ^= flip;
            }
            prop_assert!(read(&bytes).len() <= bytes.len() / HEADER + 1);
        }

        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>) {
            prop_assert!(read(&bytes).len() <= bytes.len() / HEADER + 1);
        }
    }

    #[test]
    fn other_messages_are_what_they_say() {
        let one = |kind, body: &[u8]| read(&message(kind, 0, body));
        assert_eq!(one(NLMSG_DONE, &[]), [Ok(Message::Done(0))]);
        assert_eq!(one(NLMSG_DONE, &(-105i32).to_ne_bytes()), [Ok(Message::Done(-105))]);
        assert_eq!(one(NLMSG_ERROR, &(-2i32).to_ne_bytes()), [Ok(Message::Refused(-2))]);
        assert!(one(NLMSG_ERROR, &[])[0].is_err());
        assert_eq!(one(99, &[1, 2, 3, 4]), [Ok(Message::Other)]);
        // A socket of another family, or in a state that is none of TCP's.
        let mut body = [0; DIAG_MSG];
        body[..2].copy_from_slice(&[1, 1]);
        assert_eq!(one(BY_FAMILY, &body), [Ok(Message::Other)]);
        body[..2].copy_from_slice(&[AF_INET, 13]);
        assert_eq!(one(BY_FAMILY, &body), [Ok(Message::Other)]);
        body[1] = 12;
        assert!(matches!(one(BY_FAMILY, &body)[..], [Ok(Message::Socket(Socket { state: State::SynRecv, .. }))]));
        let interrupted = message(NLMSG_DONE, NLM_F_DUMP_INTR, &[0; 4]);
        assert!(messages(&interrupted, Table::Tcp).all(|framed| framed.is_ok_and(|framed| framed.interrupted)));
    }

    #[test]
    fn reads_a_real_recording_to_its_end() {
        let bytes = include_bytes!("../../../tests/fixtures/leak/dump.nl");
        let all: Vec<Message> = messages(bytes, Table::Tcp).map(|framed| framed.unwrap().message).collect();
        let sockets: Vec<_> = all
            .iter()
            .filter_map(|message| if let Message::Socket(socket) = message { Some(socket) } else { None })
            .collect();
        assert_eq!(all.iter().filter(|message| matches!(message, Message::Done(0))).count(), 2);
        assert_eq!(sockets.len() + 2, all.len());
        let stuck = sockets.iter().filter(|socket| socket.state == State::CloseWait);
        assert_eq!(stuck.filter(|socket| socket.local.port == 11211).count(), 9);
        // Half-closed ends without a process are in TIME_WAIT's table, which has no tcp_info.
        let held = sockets.iter().filter(|socket| [State::Established, State::CloseWait].contains(&socket.state));
        assert!(held.clone().count() > 50);
        assert!(held.clone().all(|socket| socket.times.is_some() && socket.cookie.is_some()));
    }

    #[test]
    fn a_request_filters_from_cheap_to_dear() {
        let states = StateSet::of(&[State::Established, State::CloseWait]);
        let asked = |kind, family, ports: &[u16], side| {
            request(kind, Table::Tcp, family, &Query { states, ports, side, times: true, listeners: false })
        };
        let server = asked(COMBINED, 0, &[11211], Side::Server);
        assert_eq!(server.len(), HEADER + 60);
        assert_eq!(message_length(&server), Some(server.len()));
        assert_eq!((server[4], server[6..8].to_vec()), (18, vec![0x01, 0x03]));
        assert_eq!(server[16..20], [0, 0, 0, 2]);
        assert_eq!(server[20..24], [0x2b, 0xcb, 0, 0]);
        assert_eq!(u32_at(&server, 16 + 4 + SOCK_ID), Some(1 << 1 | 1 << 8));
        assert_eq!(asked(COMBINED, 0, &[11211], Side::Client)[20..24], [0, 0, 0x2b, 0xcb]);
        let by_family = asked(BY_FAMILY, AF_INET6, &[11211], Side::Server);
        assert_eq!((by_family.len(), by_family[4]), (HEADER + 56, 20));
        assert_eq!(by_family[16..20], [AF_INET6, 6, 2, 0]);
        assert_eq!(u32_at(&by_family, 20), Some(1 << 1 | 1 << 8));
        assert_eq!(by_family[24..28], [0x2b, 0xcb, 0, 0]);
        for (kind, fixed) in [(COMBINED, 60), (BY_FAMILY, 56)] {
            let both = asked(kind, 0, &[80, 443], Side::Both);
            let code = bytecode(&[80, 443], Side::Both);
            assert_eq!(message_length(&both), Some(both.len()));
            assert_eq!(u16_at(&both, HEADER + fixed), Some(4 + code.len() as u16));
            assert_eq!(u16_at(&both, HEADER + fixed + 2), Some(REQ_BYTECODE));
            assert!(both.ends_with(&code));
        }
    }

    /// An op of the kernel's filter: code, jump if true, jump if false; jumps are in bytes.
    fn op(code: &[u8], at: usize) -> (u8, usize, usize) {
        (code[at], usize::from(code[at + 1]), usize::from(u16_at(code, at + 2).unwrap()))
    }

    /// What `inet_diag_bc_run` does with it: accepted is who ends exactly at the program's end.
    fn accepts(code: &[u8], local: u16, remote: u16) -> bool {
        let mut at = 0;
        while at < code.len() {
            let (kind, yes, no) = op(code, at);
            let bound = || op(code, at + 4).2;
            let (local, remote) = (usize::from(local), usize::from(remote));
            let holds = match kind {
                0 => true,
                1 => false,
                2 => local >= bound(),
                3 => local <= bound(),
                4 => remote >= bound(),
                5 => remote <= bound(),
                other => panic!("op {other}"),
            };
            at += if holds { yes } else { no };
        }
        at == code.len()
    }

    /// What `inet_diag_bc_audit` asks of a program before it runs: jumps forward, in whole ops, at
    /// most one op beyond the end, and only onto ops that the chain of `yes` jumps passes.
    fn audit(code: &[u8]) -> Result<(), String> {
        if code.is_empty() || !code.len().is_multiple_of(4) {
            return Err(format!("{} bytes", code.len()));
        }
        let (mut at, mut starts, mut targets) = (0, vec![code.len()], Vec::new());
        while at < code.len() {
            starts.push(at);
            let left = code.len() - at;
            let (kind, yes, no) = op(code, at);
            let smallest = match kind {
                0 | 1 => 4,
                2..=5 => 8,
                other => return Err(format!("op {other} at {at}")),
            };
            let is_bad = |jump: usize| jump < smallest || jump > left + 4 || !jump.is_multiple_of(4);
            if left < smallest || is_bad(yes) || kind != 0 && is_bad(no) {
                return Err(format!("op {kind} at {at} of {}: yes {yes}, no {no}", code.len()));
            }
            if kind != 0 && no < left {
                targets.push(at + no);
            }
            at += yes;
        }
        if at != code.len() {
            return Err(format!("ends at {at} of {}", code.len()));
        }
        targets
            .iter()
            .find(|target| !starts.contains(target))
            .map_or(Ok(()), |target| Err(format!("jump into {target}")))
    }

    fn ports() -> impl Strategy<Value = Vec<u16>> {
        prop_oneof![
            prop::collection::vec(1u16..=65_535, 1..8),
            prop::collection::vec(1u16..=65_535, MOST_PORTS - 8..=MOST_PORTS),
            prop::collection::vec(65_530u16..=65_535, 1..5),
        ]
    }

    proptest! {
        #[test]
        fn bytecode_accepts_exactly_the_ports_asked_for(
            ports in ports(), nth: [prop::sample::Index; 2], other: [u16; 2], near in -1i32..=1,
        ) {
            let asked = nth.map(|nth| ports[nth.index(ports.len())]);
            let beside = asked.map(|port| port.wrapping_add(near as u16));
            for side in [Side::Server, Side::Client, Side::Both] {
                let code = bytecode(&ports, side);
                let without = bytecode_without(&ports, side);
                prop_assert_eq!((audit(&code), audit(&without)), (Ok(()), Ok(())));
                for (local, remote) in [
                    (asked[0], other[1]), (other[0], asked[1]), (asked[0], asked[1]), (other[0], other[1]),
                    (beside[0], other[1]), (other[0], beside[1]), (beside[0], beside[1]), (0, 0), (65_535, 65_535),
                ] {
                    let query = Query { states: StateSet::ALL, ports: &ports, side, times: false, listeners: false };
                    let wanted = query.wants(State::Listen, local, remote);
                    prop_assert_eq!(accepts(&code, local, remote), wanted, "{} {} {:?}", local, remote, side);
                    prop_assert_eq!(accepts(&without, local, remote), !wanted, "{} {} {:?}", local, remote, side);
                }
            }
        }
    }

    #[test]
    fn without_ports_the_kernel_filters_by_state_alone() {
        for side in [Side::Server, Side::Client, Side::Both] {
            let query = Query { states: StateSet::ALL, ports: &[], side, times: true, listeners: false };
            assert_eq!(request(COMBINED, Table::Tcp, 0, &query).len(), HEADER + 60, "no bytecode");
            assert!(query.wants(State::Listen, 1, 2));
        }
    }

    #[test]
    fn the_audit_refuses_what_the_kernel_refuses() {
        let code = bytecode(&[80, 443], Side::Both);
        assert_eq!(audit(&code), Ok(()));
        for (at, byte) in
            [(0, 9), (1, 4), (1, 6), (1, 255), (2, 21), (2, 4), (2, 12), (code.len() - 2, 12), (code.len() - 3, 8)]
        {
            let mut broken = code.clone();
            broken[at] = byte;
            assert!(audit(&broken).is_err(), "byte {at} as {byte}");
        }
        assert!(audit(&code[..code.len() - 8]).is_err());
        assert!(audit(&[]).is_err());
    }
}
