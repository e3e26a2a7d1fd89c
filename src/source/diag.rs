//! The wire format of NETLINK_SOCK_DIAG: requests out, messages in. Pure bytes, no I/O.
//!
//! Layouts: include/uapi/linux/{netlink,inet_diag,tcp}.h. Integers are the host's, ports and
//! addresses the network's.

use super::Query;
use crate::socket::{Endpoint, Side, Socket, State, Times};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU64;

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
/// `struct inet_diag_msg`.
const DIAG_MSG: usize = 72;
/// `struct inet_diag_sockid`.
const SOCK_ID: usize = 48;

const INET_DIAG_INFO: u16 = 2;
const INET_DIAG_CGROUP_ID: u16 = 21;
const REQ_BYTECODE: u16 = 1;
const TIMER_KEEPALIVE: u8 = 2;

/// What one netlink message says.
#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    Socket(Socket),
    /// The dump's end; a negative number is the error that ended it.
    Done(i32),
    /// The request was refused with this negative errno.
    Refused(i32),
    /// Nothing about a TCP socket in a state we know.
    Other,
}

/// A message with what its header says of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Framed {
    pub message: Message,
    pub kind: u16,
    /// NLM_F_DUMP_INTR: the kernel saw the table change under the dump.
    pub interrupted: bool,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn align(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// The messages of one receive, in order. A malformed one ends them with an error that says where.
pub fn messages(buffer: &[u8]) -> impl Iterator<Item = Result<Framed, String>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= buffer.len() {
            return None;
        }
        let here = at;
        match framed(&buffer[here..]) {
            Some((length, message)) => {
                at += align(length);
                Some(Ok(message))
            }
            None => {
                at = buffer.len();
                Some(Err(format!("malformed netlink message at byte {here} of {}", buffer.len())))
            }
        }
    })
}

/// The length that a message's header tells, if it can be one.
pub fn message_length(header: &[u8]) -> Option<usize> {
    let length = u32_at(header, 0)? as usize;
    (length >= HEADER).then_some(length)
}

fn framed(bytes: &[u8]) -> Option<(usize, Framed)> {
    let length = message_length(bytes)?;
    let payload = bytes.get(HEADER..length)?;
    let (kind, flags) = (u16_at(bytes, 4)?, u16_at(bytes, 6)?);
    let message = match kind {
        // A DONE without a number is as old as netlink and means success.
        NLMSG_DONE => Message::Done(u32_at(payload, 0).unwrap_or(0).cast_signed()),
        NLMSG_ERROR => Message::Refused(u32_at(payload, 0)?.cast_signed()),
        COMBINED | BY_FAMILY => socket(payload)?.map_or(Message::Other, Message::Socket),
        _ => Message::Other,
    };
    Some((length, Framed { message, kind, interrupted: flags & NLM_F_DUMP_INTR != 0 }))
}

/// `None`: malformed. `Some(None)`: well-formed, but no TCP socket in a known state.
fn socket(payload: &[u8]) -> Option<Option<Socket>> {
    let fixed = payload.get(..DIAG_MSG)?;
    let (Some(state), Some(local), Some(remote)) =
        (State::from_kernel(fixed[1]), address(fixed, 8), address(fixed, 24))
    else {
        return Some(None);
    };
    let mut socket = Socket {
        state,
        local: Endpoint::new(local, u16::from_be_bytes([fixed[4], fixed[5]])),
        remote: Endpoint::new(remote, u16::from_be_bytes([fixed[6], fixed[7]])),
        uid: u32_at(fixed, 64)?,
        inode: u64::from(u32_at(fixed, 68)?),
        cookie: NonZeroU64::new(u64_at(fixed, 44)?),
        cgroup: None,
        keepalive: fixed[2] == TIMER_KEEPALIVE,
        timer_rest: if fixed[2] == 0 { None } else { u32_at(fixed, 52) },
        times: None,
    };
    let mut rest = &payload[DIAG_MSG..];
    while rest.len() >= 4 {
        let length = usize::from(u16_at(rest, 0)?);
        let value = rest.get(4..length)?;
        match u16_at(rest, 2)? {
            INET_DIAG_INFO => socket.times = times(value),
            INET_DIAG_CGROUP_ID => socket.cgroup = NonZeroU64::new(u64_at(value, 0)?),
            _ => {}
        }
        rest = rest.get(align(length)..).unwrap_or_default();
    }
    Some(Some(socket))
}

fn address(fixed: &[u8], at: usize) -> Option<IpAddr> {
    match fixed[0] {
        AF_INET => <[u8; 4]>::try_from(&fixed[at..at + 4]).ok().map(|octets| Ipv4Addr::from(octets).into()),
        AF_INET6 => <[u8; 16]>::try_from(&fixed[at..at + 16]).ok().map(|octets| Ipv6Addr::from(octets).into()),
        _ => None,
    }
}

/// `struct tcp_info` grows at its end with the kernel's version: the front is read, more is ignored.
fn times(info: &[u8]) -> Option<Times> {
    Some(Times { data_sent: u32_at(info, 44)?, data_recv: u32_at(info, 52)?, ack_recv: u32_at(info, 56)? })
}

/// A dump request for [`COMBINED`] (`family` 0) or [`BY_FAMILY`].
///
/// The filters go from cheap to dear: the states' mask, then one port on one side in the socket
/// id, else bytecode. The kernel's filter only saves work: [`crate::select`] judges every row.
pub fn request(kind: u16, family: u8, query: &Query) -> Vec<u8> {
    let extensions = u8::from(query.times) << (INET_DIAG_INFO - 1);
    let mut id = [0u8; SOCK_ID];
    let mut code = Vec::new();
    match (query.ports, query.side) {
        ([port], Side::Server) => id[..2].copy_from_slice(&port.to_be_bytes()),
        ([port], Side::Client) => id[2..4].copy_from_slice(&port.to_be_bytes()),
        (ports, side) => code = bytecode(ports, side),
    }
    let mut body = Vec::with_capacity(128 + code.len());
    if kind == COMBINED {
        // struct inet_diag_req
        body.extend([family, 0, 0, extensions]);
        body.extend(id);
        body.extend(query.states.mask().to_ne_bytes());
        body.extend(0u32.to_ne_bytes());
    } else {
        // struct inet_diag_req_v2
        body.extend([family, 6 /* IPPROTO_TCP */, extensions, 0]);
        body.extend(query.states.mask().to_ne_bytes());
        body.extend(id);
    }
    if !code.is_empty() {
        body.extend(u16::to_ne_bytes(4 + code.len() as u16));
        body.extend(REQ_BYTECODE.to_ne_bytes());
        body.extend(code);
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

/// Kernel filter bytecode: accept where a port of `side` is one of `ports`.
///
/// For each alternative `GE p, LE p, JMP accept`, then one jump out of the program, which rejects.
/// `struct inet_diag_bc_op` is {code: u8, yes: u8, no: u16}, a port rides in the next op's `no`;
/// "equal" ops exist only since Linux 5.x, so both bounds are tested.
fn bytecode(ports: &[u16], side: Side) -> Vec<u8> {
    const JMP: u8 = 1;
    let (s_ge, s_le, d_ge, d_le) = (2, 3, 4, 5);
    const BLOCK: usize = 20;
    let bounds: &[(u8, u8)] = match side {
        Side::Server => &[(s_ge, s_le)],
        Side::Client => &[(d_ge, d_le)],
        Side::Both => &[(s_ge, s_le), (d_ge, d_le)],
    };
    let tests: Vec<_> = ports.iter().flat_map(|port| bounds.iter().map(move |bound| (*port, *bound))).collect();
    let mut code = Vec::with_capacity(tests.len() * BLOCK + 4);
    let mut op = |kind: u8, yes: u8, no: u16| {
        code.extend([kind, yes]);
        code.extend(no.to_ne_bytes());
    };
    for (index, (port, (at_least, at_most))) in tests.iter().enumerate() {
        let to_accept = (tests.len() - index - 1) * BLOCK + 4 + 4;
        op(*at_least, 8, 20);
        op(0, 0, *port);
        op(*at_most, 8, 12);
        op(0, 0, *port);
        op(JMP, 4, to_accept as u16);
    }
    op(JMP, 4, 8);
    code
}
