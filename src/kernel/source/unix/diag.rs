//! The wire format of sock_diag for UNIX sockets: requests out, messages in. Pure bytes, no I/O.
//!
//! Layouts: include/uapi/linux/unix_diag.h. Integers are the host's. What the kernel tells, measured on 6.18: a
//! connected socket is ESTABLISHED for ever, its end is told by UNIX_DIAG_SHUTDOWN; an accepted one has its
//! listener's name and file, also after that file was renamed or unlinked.

use crate::kernel::socket::AcceptQueue;
use crate::kernel::source::diag::{BY_FAMILY, HEADER, align, u32_at};
use std::num::NonZeroU64;

pub const AF_UNIX: u8 = 1;
const SOCK_STREAM: u8 = 1;
const SOCK_DGRAM: u8 = 2;
const SOCK_SEQPACKET: u8 = 5;
const ESTABLISHED: u8 = 1;
const CLOSE: u8 = 7;
const LISTEN: u8 = 10;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_DUMP: u16 = 0x300;

/// `struct unix_diag_msg`.
const UNIX_MSG: usize = 16;

const NAME: u16 = 0;
const VFS: u16 = 1;
const PEER: u16 = 2;
const ICONS: u16 = 3;
const RQLEN: u16 = 4;
const SHUTDOWN: u16 = 6;
const UID: u16 = 7;

/// `sun_path` and the zero that the kernel adds to a path.
const LONGEST_NAME: usize = 109;

/// Data will no more come in (RCV_SHUTDOWN), or go out (SEND_SHUTDOWN).
pub const NO_MORE_IN: u8 = 1;
pub const NO_MORE_OUT: u8 = 2;
pub const BOTH: u8 = NO_MORE_IN | NO_MORE_OUT;

/// A file, as the kernel numbers it: `s_dev` and 32 bits of the inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct File {
    pub device: u32,
    pub inode: u32,
}

impl File {
    /// From what stat(2) tells: `s_dev` has 20 bits for the minor number.
    pub fn of_stat(major: u32, minor: u32, inode: u64) -> File {
        File { device: major << 20 | minor, inode: inode as u32 }
    }
}

/// What a socket does with connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A stream that listens, or of packets (SOCK_SEQPACKET).
    Listener,
    Connected,
    /// A stream that does neither.
    Idle,
    /// It has no connections at all.
    Datagram,
}

impl Kind {
    /// Whether it has to do with connections: the others are shown where they are asked for.
    pub fn is_of_connections(self) -> bool {
        matches!(self, Kind::Listener | Kind::Connected)
    }
}

/// One socket. What a source can't know is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    pub kind: Kind,
    pub inode: u32,
    /// /proc doesn't tell it.
    pub cookie: Option<NonZeroU64>,
    /// As bound: a path, maybe relative, or after a zero an abstract name. Empty: none.
    pub name: &'a [u8],
    /// The file that was bound, as long as the socket lives.
    pub file: Option<File>,
    /// The other end's inode, where it was asked for; 0: closed, or it has not accepted this one yet.
    pub peer: Option<u32>,
    /// UNIX_DIAG_ICONS: 32 bits for each connection in a listener's queue.
    pub icons: &'a [u8],
    /// A listener's queue.
    pub queue: Option<AcceptQueue>,
    /// [`NO_MORE_IN`], [`NO_MORE_OUT`].
    pub shutdown: Option<u8>,
    pub uid: Option<u32>,
}

impl<'a> Row<'a> {
    /// One of which no more is known.
    pub fn bare(kind: Kind, inode: u32, name: &'a [u8]) -> Row<'a> {
        Row {
            kind,
            inode,
            cookie: None,
            name,
            file: None,
            peer: None,
            icons: &[],
            queue: None,
            shutdown: None,
            uid: None,
        }
    }

    pub fn listens(&self) -> bool {
        self.kind == Kind::Listener
    }

    /// The clients that wait to be accepted: the inode of each; 0: it has closed meanwhile.
    pub fn waiting(&self) -> impl Iterator<Item = u32> + 'a {
        self.icons.chunks_exact(4).filter_map(|icon| u32_at(icon, 0))
    }
}

/// What one netlink message says.
#[derive(Debug, PartialEq, Eq)]
pub enum Message<Row> {
    Socket(Row),
    /// The dump's end; a negative number is the error that ended it.
    Done(i32),
    /// The request was refused with this negative errno.
    Refused(i32),
    /// Nothing about a UNIX socket of a kind that is known.
    Other,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Framed<Row> {
    pub message: Message<Row>,
    /// NLM_F_DUMP_INTR.
    pub interrupted: bool,
}

/// The messages of one receive, in order. A malformed one ends them with an error that says where.
pub struct Messages<'a> {
    buffer: &'a [u8],
    at: usize,
    /// What the last socket's message told: in one place for all 20,000, as a copy takes as long as reading it.
    pub row: Row<'a>,
}

impl<'a> Messages<'a> {
    pub fn new(buffer: &'a [u8]) -> Messages<'a> {
        Messages { buffer, at: 0, row: Row::bare(Kind::Idle, 0, &[]) }
    }

    /// Puts a socket into [`Messages::row`].
    #[expect(clippy::should_implement_trait, reason = "an iterator can't lend its row")]
    #[inline(always)]
    pub fn next(&mut self) -> Option<Result<Framed<()>, String>> {
        let rest = self.buffer.get(self.at..).filter(|rest| !rest.is_empty())?;
        match framed(rest, &mut self.row) {
            Some((length, message)) => {
                self.at += align(length);
                Some(Ok(message))
            }
            None => {
                let here = std::mem::replace(&mut self.at, self.buffer.len());
                Some(Err(format!("malformed netlink message at byte {here} of {}", self.buffer.len())))
            }
        }
    }
}

/// The same, each with its socket.
pub fn messages(buffer: &[u8]) -> impl Iterator<Item = Result<Framed<Row<'_>>, String>> {
    let mut messages = Messages::new(buffer);
    std::iter::from_fn(move || {
        let framed = messages.next()?;
        Some(framed.map(|Framed { message, interrupted }| {
            let message = match message {
                Message::Socket(()) => Message::Socket(messages.row),
                Message::Done(errno) => Message::Done(errno),
                Message::Refused(errno) => Message::Refused(errno),
                Message::Other => Message::Other,
            };
            Framed { message, interrupted }
        }))
    })
}

#[inline(always)]
fn framed<'a>(bytes: &'a [u8], into: &mut Row<'a>) -> Option<(usize, Framed<()>)> {
    let [a, b, c, d, e, f, g, h, ..] = *bytes.first_chunk::<HEADER>()?;
    let length = u32::from_ne_bytes([a, b, c, d]) as usize;
    let payload = bytes.get(HEADER..length)?;
    let (kind, flags) = (u16::from_ne_bytes([e, f]), u16::from_ne_bytes([g, h]));
    let message = match kind {
        NLMSG_DONE if payload.is_empty() => Message::Done(0),
        NLMSG_DONE => Message::Done(u32_at(payload, 0)?.cast_signed()),
        NLMSG_ERROR => Message::Refused(u32_at(payload, 0)?.cast_signed()),
        BY_FAMILY if payload.first() == Some(&AF_UNIX) => {
            if read_row(payload, into)? {
                Message::Socket(())
            } else {
                Message::Other
            }
        }
        _ => Message::Other,
    };
    Some((length, Framed { message, interrupted: flags & NLM_F_DUMP_INTR != 0 }))
}

/// `None`: malformed. `false`: well-formed, but of no kind that is known.
#[inline(always)]
fn read_row<'a>(payload: &'a [u8], row: &mut Row<'a>) -> Option<bool> {
    // Read as arrays, whose bounds are checked once: there may be 20,000, most of them somebody else's.
    let (fixed, mut rest) = payload.split_first_chunk::<UNIX_MSG>()?;
    let [_, socket_type, state, _, a, b, c, d, cookie @ ..] = *fixed;
    let kind = match (socket_type, state) {
        (SOCK_STREAM | SOCK_SEQPACKET, ESTABLISHED) => Kind::Connected,
        (SOCK_STREAM | SOCK_SEQPACKET, LISTEN) => Kind::Listener,
        (SOCK_STREAM | SOCK_SEQPACKET, CLOSE) => Kind::Idle,
        (SOCK_DGRAM, ESTABLISHED | CLOSE) => Kind::Datagram,
        _ => return Some(false),
    };
    *row = Row::bare(kind, u32::from_ne_bytes([a, b, c, d]), &[]);
    row.cookie = NonZeroU64::new(u64::from_ne_bytes(cookie));
    while let Some([a, b, c, d]) = rest.first_chunk() {
        let length = usize::from(u16::from_ne_bytes([*a, *b]));
        let value = rest.get(4..length)?;
        match (u16::from_ne_bytes([*c, *d]), value.len()) {
            (NAME, 0..=LONGEST_NAME) => row.name = without_end(value),
            (NAME, _) => return None,
            (VFS, _) => row.file = Some(File { inode: u32_at(value, 0)?, device: u32_at(value, 4)? }),
            (PEER, _) => row.peer = Some(u32_at(value, 0)?),
            (ICONS, length) if length.is_multiple_of(4) => row.icons = value,
            (ICONS, _) => return None,
            (RQLEN, _) if row.listens() => {
                let (waiting, limit) = (u32_at(value, 0)?, u32_at(value, 4)?);
                row.queue = Some(AcceptQueue { waiting, limit: Some(limit) });
            }
            (SHUTDOWN, _) => row.shutdown = Some(*value.first()?),
            (UID, _) => row.uid = Some(u32_at(value, 0)?),
            _ => {}
        }
        rest = rest.get(align(length)..).unwrap_or_default();
    }
    Some(true)
}

/// A path comes with the zero that ends it, an abstract name begins with one and may have others.
fn without_end(name: &[u8]) -> &[u8] {
    match name.split_last() {
        Some((0, path)) if !path.is_empty() && path[0] != 0 => path,
        _ => name,
    }
}

/// Which sockets a dump is of, and what of each beside its name, what was shut down and who waits. Each costs the kernel
/// time, so that nothing is asked for that isn't used: of 20,000 sockets 5.0 ms bare, 5.5 so, 7.0 with files, 10.5 with
/// peers too, 12.4 with all (6.18, where nothing of them is in a cache). A walk that shows none takes 3 ms: rather one dump
/// of more than two of less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// Connected sockets too, or listeners alone.
    pub connected: bool,
    /// What is bound and has no connections ([`Kind::is_of_connections`]), too.
    pub idle: bool,
    pub files: bool,
    pub peers: bool,
    pub queues: bool,
    pub uids: bool,
}

impl Query {
    /// All of those that have to do with connections.
    pub const ALL: Query = Query { connected: true, idle: false, files: true, peers: true, queues: true, uids: true };
    /// What tells states.
    pub const BRIEF: Query = Query { peers: false, queues: false, uids: false, ..Query::ALL };
    pub const LISTENERS: Query = Query { connected: false, ..Query::BRIEF };
}

pub fn request(query: Query) -> Vec<u8> {
    // UDIAG_SHOW_UID is no attribute's number; Linux 5.3, an older kernel leaves it out.
    let asked = [(1 << VFS, query.files), (1 << PEER, query.peers), (1 << RQLEN, query.queues), (0x40, query.uids)];
    let asked = asked.iter().filter(|(_, is_asked)| *is_asked);
    let show = asked.fold(1u32 << NAME | 1 << ICONS, |show, (what, _)| show | what);
    let states = u32::from(query.connected) << ESTABLISHED | u32::from(query.idle) << CLOSE | 1 << LISTEN;
    message(NLM_F_REQUEST | NLM_F_DUMP, states, show, (0, 0))
}

/// For one socket alone, with no more than that it is there. The kernel walks its table for the inode, and tells nothing
/// if what has it by now has another cookie.
pub fn request_one(inode: u32, cookie: NonZeroU64) -> Vec<u8> {
    message(NLM_F_REQUEST, u32::MAX, 0, (inode, cookie.get()))
}

/// `struct unix_diag_req`; inode and cookie 0: any.
fn message(flags: u16, states: u32, show: u32, (inode, cookie): (u32, u64)) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER + 24);
    message.extend((HEADER as u32 + 24).to_ne_bytes());
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([1, 0, 0, 0, 0, 0, 0, 0]); // sequence, port id
    message.extend([AF_UNIX, 0, 0, 0]);
    message.extend(states.to_ne_bytes());
    message.extend(inode.to_ne_bytes());
    message.extend(show.to_ne_bytes());
    message.extend(cookie.to_ne_bytes());
    message
}

#[cfg(test)]
mod tests;
