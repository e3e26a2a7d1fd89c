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
const SOCK_SEQPACKET: u8 = 5;
const ESTABLISHED: u8 = 1;
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

/// One stream socket that listens or was connected. What a source can't know is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    pub listens: bool,
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
    pub fn bare(listens: bool, inode: u32, name: &'a [u8]) -> Row<'a> {
        Row {
            listens,
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

    /// The clients that wait to be accepted: the inode of each; 0: it has closed meanwhile.
    pub fn waiting(&self) -> impl Iterator<Item = u32> + 'a {
        self.icons.chunks_exact(4).filter_map(|icon| u32_at(icon, 0))
    }
}

/// What one netlink message says.
#[derive(Debug, PartialEq, Eq)]
pub enum Message<'a> {
    Socket(Row<'a>),
    /// The dump's end; a negative number is the error that ended it.
    Done(i32),
    /// The request was refused with this negative errno.
    Refused(i32),
    /// Nothing about a UNIX stream that listens or was connected.
    Other,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Framed<'a> {
    pub message: Message<'a>,
    /// NLM_F_DUMP_INTR.
    pub interrupted: bool,
}

/// The messages of one receive, in order. A malformed one ends them with an error that says where.
pub fn messages(buffer: &[u8]) -> impl Iterator<Item = Result<Framed<'_>, String>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let here = at;
        let rest = buffer.get(here..).filter(|rest| !rest.is_empty())?;
        match framed(rest) {
            Some((length, message)) => {
                at += align(length);
                Some(Ok(message))
            }
            None => {
                at = buffer.len();
                Some(Err(malformed(here, buffer)))
            }
        }
    })
}

/// Shows the messages of one receive, in order, until `each` has seen enough. A malformed one is an error that says where.
/// As [`messages`], but in one place: there may be 20,000, and what is handed on is copied.
pub fn visit(buffer: &[u8], each: &mut dyn FnMut(&Framed) -> bool) -> Result<(), String> {
    let mut at = 0;
    while let Some(rest) = buffer.get(at..).filter(|rest| !rest.is_empty()) {
        let Some((length, message)) = framed(rest) else { return Err(malformed(at, buffer)) };
        if !each(&message) {
            break;
        }
        at += align(length);
    }
    Ok(())
}

fn malformed(at: usize, buffer: &[u8]) -> String {
    format!("malformed netlink message at byte {at} of {}", buffer.len())
}

#[inline(always)]
fn framed(bytes: &[u8]) -> Option<(usize, Framed<'_>)> {
    let [a, b, c, d, e, f, g, h, ..] = *bytes.first_chunk::<HEADER>()?;
    let length = u32::from_ne_bytes([a, b, c, d]) as usize;
    let payload = bytes.get(HEADER..length)?;
    let (kind, flags) = (u16::from_ne_bytes([e, f]), u16::from_ne_bytes([g, h]));
    let message = match kind {
        NLMSG_DONE if payload.is_empty() => Message::Done(0),
        NLMSG_DONE => Message::Done(u32_at(payload, 0)?.cast_signed()),
        NLMSG_ERROR => Message::Refused(u32_at(payload, 0)?.cast_signed()),
        BY_FAMILY if payload.first() == Some(&AF_UNIX) => row(payload)?.map_or(Message::Other, Message::Socket),
        _ => Message::Other,
    };
    Some((length, Framed { message, interrupted: flags & NLM_F_DUMP_INTR != 0 }))
}

/// `None`: malformed. `Some(None)`: well-formed, but no stream that listens or was connected.
#[inline(always)]
fn row(payload: &[u8]) -> Option<Option<Row<'_>>> {
    // Read as arrays, whose bounds are checked once: there may be 20,000, most of them somebody else's.
    let (fixed, mut rest) = payload.split_first_chunk::<UNIX_MSG>()?;
    if !matches!(fixed[1], SOCK_STREAM | SOCK_SEQPACKET) || !matches!(fixed[2], ESTABLISHED | LISTEN) {
        return Some(None);
    }
    let [_, _, _, _, a, b, c, d, cookie @ ..] = *fixed;
    let mut row = Row::bare(fixed[2] == LISTEN, u32::from_ne_bytes([a, b, c, d]), &[]);
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
            (RQLEN, _) if row.listens => {
                let (waiting, limit) = (u32_at(value, 0)?, u32_at(value, 4)?);
                row.queue = Some(AcceptQueue { waiting, limit: Some(limit) });
            }
            (SHUTDOWN, _) => row.shutdown = Some(*value.first()?),
            (UID, _) => row.uid = Some(u32_at(value, 0)?),
            _ => {}
        }
        rest = rest.get(align(length)..).unwrap_or_default();
    }
    Some(Some(row))
}

/// A path comes with the zero that ends it, an abstract name begins with one and may have others.
fn without_end(name: &[u8]) -> &[u8] {
    match name.split_last() {
        Some((0, path)) if !path.is_empty() && path[0] != 0 => path,
        _ => name,
    }
}

/// Which sockets a dump is of, and what of each beside its name, what was shut down and who waits. Each costs the kernel
/// time, so that nothing is asked for that isn't used: of 20,000 sockets 5.0 ms bare, 5.5 so, 7.0 with files, 10.5 with peers too,
/// 12.4 with all (6.18, where nothing of them is in a cache). A walk that shows none takes 3 ms: rather one dump of more than two of less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// Connected sockets too, or listeners alone.
    pub connected: bool,
    pub files: bool,
    pub peers: bool,
    pub queues: bool,
    pub uids: bool,
}

impl Query {
    pub const ALL: Query = Query { connected: true, files: true, peers: true, queues: true, uids: true };
    /// What tells states.
    pub const BRIEF: Query = Query { connected: true, files: true, peers: false, queues: false, uids: false };
    pub const LISTENERS: Query = Query { connected: false, ..Query::BRIEF };
}

pub fn request(query: Query) -> Vec<u8> {
    // UDIAG_SHOW_UID is no attribute's number; Linux 5.3, an older kernel leaves it out.
    let asked = [(1 << VFS, query.files), (1 << PEER, query.peers), (1 << RQLEN, query.queues), (0x40, query.uids)];
    let asked = asked.iter().filter(|(_, is_asked)| *is_asked);
    let show = asked.fold(1u32 << NAME | 1 << ICONS, |show, (what, _)| show | what);
    let states = u32::from(query.connected) << ESTABLISHED | 1 << LISTEN;
    let mut message = Vec::with_capacity(HEADER + 24);
    message.extend((HEADER as u32 + 24).to_ne_bytes());
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    message.extend([1, 0, 0, 0, 0, 0, 0, 0]); // sequence, port id
    message.extend([AF_UNIX, 0, 0, 0]);
    message.extend(states.to_ne_bytes());
    message.extend(0u32.to_ne_bytes()); // any inode
    message.extend(show.to_ne_bytes());
    message.extend([0; 8]); // any cookie
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::source::diag::message_length;
    use proptest::prelude::*;

    #[derive(Clone, Debug, Default)]
    struct Sent {
        listens: bool,
        inode: u32,
        cookie: u64,
        name: Vec<u8>,
        file: Option<(u32, u32)>,
        peer: Option<u32>,
        icons: Vec<u32>,
        queue: (u32, u32),
        shutdown: Option<u8>,
        uid: Option<u32>,
        other: usize,
    }

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = [&(4 + value.len() as u16).to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
        bytes.resize(align(bytes.len()), 0);
        bytes
    }

    fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let length = (HEADER + body.len()) as u32;
        [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 8], body].concat()
    }

    fn words(all: &[u32]) -> Vec<u8> {
        all.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    fn encode(sent: &Sent) -> Vec<u8> {
        let mut body = vec![AF_UNIX, SOCK_STREAM, if sent.listens { LISTEN } else { ESTABLISHED }, 0];
        body.extend(sent.inode.to_ne_bytes());
        body.extend(sent.cookie.to_ne_bytes());
        let mut name = sent.name.clone();
        if name.first().is_some_and(|first| *first != 0) {
            name.push(0);
        }
        if !name.is_empty() {
            body.extend(attribute(NAME, &name));
        }
        body.extend(sent.file.iter().flat_map(|(device, inode)| attribute(VFS, &words(&[*inode, *device]))));
        body.extend(sent.peer.iter().flat_map(|peer| attribute(PEER, &words(&[*peer]))));
        if sent.listens {
            body.extend(attribute(ICONS, &words(&sent.icons)));
        }
        body.extend(attribute(RQLEN, &words(&[sent.queue.0, sent.queue.1])));
        body.extend(attribute(99, &vec![7; sent.other]));
        body.extend(sent.shutdown.iter().flat_map(|bits| attribute(SHUTDOWN, &[*bits])));
        body.extend(sent.uid.iter().flat_map(|uid| attribute(UID, &words(&[*uid]))));
        message(BY_FAMILY, 0, &body)
    }

    fn sent() -> impl Strategy<Value = Sent> {
        let name = prop_oneof![
            Just(Vec::new()),
            "/[a-z /.]{1,60}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 1..108).prop_map(|rest| [vec![0], rest].concat()),
        ];
        let first = (any::<bool>(), any::<u32>(), any::<u64>(), name, any::<Option<(u32, u32)>>());
        let then = (any::<Option<u32>>(), prop::collection::vec(any::<u32>(), 0..9), any::<(u32, u32)>());
        (first, then, any::<Option<u8>>(), any::<Option<u32>>(), 0usize..9).prop_map(
            |((listens, inode, cookie, name, file), (peer, icons, queue), shutdown, uid, other)| Sent {
                listens,
                inode,
                cookie,
                name,
                file,
                peer,
                icons,
                queue,
                shutdown,
                uid,
                other,
            },
        )
    }

    fn is_as_sent(row: &Row, sent: &Sent) -> bool {
        let icons: Vec<u32> = row.waiting().collect();
        let file = row.file.map(|file| (file.device, file.inode));
        let queue = row.queue.map(|queue| (queue.waiting, queue.limit.unwrap()));
        (row.listens, row.inode, row.cookie) == (sent.listens, sent.inode, NonZeroU64::new(sent.cookie))
            && (row.name, file, row.peer) == (&sent.name, sent.file, sent.peer)
            && icons == (if sent.listens { &sent.icons[..] } else { &[] })
            && queue == sent.listens.then_some(sent.queue)
            && (row.shutdown, row.uid) == (sent.shutdown, sent.uid)
    }

    proptest! {
        #[test]
        fn reads_what_the_kernel_sends(all in prop::collection::vec(sent(), 1..6)) {
            let bytes: Vec<u8> = all.iter().flat_map(encode).collect();
            let read: Vec<_> = messages(&bytes).collect();
            prop_assert_eq!(read.len(), all.len());
            for (framed, sent) in read.into_iter().zip(&all) {
                let Ok(Framed { message: Message::Socket(row), .. }) = framed else { panic!("{framed:?}") };
                prop_assert!(is_as_sent(&row, sent), "{:?} {:?}", row, sent);
            }
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
            let seen: Vec<_> = messages(&bytes[..cut]).collect();
            let mut visited = 0;
            let end = visit(&bytes[..cut], &mut |framed| {
                visited += usize::from(matches!(framed.message, Message::Socket(_)));
                true
            });
            prop_assert_eq!((visited, end.is_ok()), (before, is_clean));
            prop_assert_eq!(seen.len(), before + usize::from(!is_clean));
            prop_assert!(seen[..before].iter().all(Result::is_ok) && seen[before..].iter().all(Result::is_err));
        }

        #[test]
        fn flipped_bytes_never_panic(all in prop::collection::vec(sent(), 1..4), flips: Vec<(prop::sample::Index, u8)>) {
            let mut bytes: Vec<u8> = all.iter().flat_map(encode).collect();
            for (at, flip) in flips {
                let at = at.index(bytes.len());
                bytes[at] ^= flip;
            }
            prop_assert!(messages(&bytes).count() <= bytes.len() / HEADER + 1);
        }
    }

    #[test]
    fn attributes_that_are_none_are_malformed() {
        let with = |attribute: Vec<u8>| {
            let body = [&[AF_UNIX, SOCK_STREAM, LISTEN, 0][..], &[0; 12], &attribute].concat();
            messages(&message(BY_FAMILY, 0, &body)).all(|framed| framed.is_ok())
        };
        assert!(with(attribute(NAME, &[b'x'; 109])) && !with(attribute(NAME, &[b'x'; 110])));
        assert!(with(attribute(ICONS, &[])) && !with(attribute(ICONS, &[0; 6])));
        assert!(!with(attribute(VFS, &[0; 7])) && !with(attribute(PEER, &[0; 3])) && !with(attribute(RQLEN, &[0; 7])));
        assert!(!with(attribute(SHUTDOWN, &[])) && !with(attribute(UID, &[0; 3])));
        assert!(!with(vec![3, 0, 99, 0]) && !with(vec![0; 4]), "shorter than its own header");
    }

    #[test]
    fn other_sockets_and_messages_are_what_they_say() {
        let one = |kind, body: &[u8]| {
            let bytes = message(kind, 0, body);
            messages(&bytes).next().unwrap().map(|framed| match framed.message {
                Message::Socket(_) => Message::Socket(Row::bare(false, 0, &[])),
                Message::Done(errno) => Message::Done(errno),
                Message::Refused(errno) => Message::Refused(errno),
                Message::Other => Message::Other,
            })
        };
        assert_eq!(one(NLMSG_DONE, &[]), Ok(Message::Done(0)));
        assert_eq!(one(NLMSG_DONE, &(-105i32).to_ne_bytes()), Ok(Message::Done(-105)));
        assert_eq!(one(NLMSG_ERROR, &(-2i32).to_ne_bytes()), Ok(Message::Refused(-2)));
        assert!(one(NLMSG_ERROR, &[]).is_err());
        let body = |family, kind, state| [&[family, kind, state, 0][..], &[0; 12]].concat();
        for other in [body(2, 1, 1), body(AF_UNIX, 2, 1), body(AF_UNIX, SOCK_STREAM, 7)] {
            assert_eq!(one(BY_FAMILY, &other), Ok(Message::Other), "{other:?}");
        }
        assert!(matches!(one(BY_FAMILY, &body(AF_UNIX, SOCK_SEQPACKET, LISTEN)), Ok(Message::Socket(_))));
        assert!(one(BY_FAMILY, &[AF_UNIX, SOCK_STREAM, LISTEN]).is_err());
        let whole = request(Query::ALL);
        assert_eq!(message_length(&whole), Some(whole.len()));
    }
}
