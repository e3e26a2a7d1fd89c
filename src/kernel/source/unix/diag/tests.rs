//! What the kernel sends, read back; and what it never would.

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
    (row.listens(), row.inode, row.cookie) == (sent.listens, sent.inode, NonZeroU64::new(sent.cookie))
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
            Message::Socket(row) => Message::Socket(row.kind),
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
    for other in [body(2, 1, 1), body(AF_UNIX, 3, 1), body(AF_UNIX, SOCK_STREAM, 2), body(AF_UNIX, SOCK_DGRAM, 10)] {
        assert_eq!(one(BY_FAMILY, &other), Ok(Message::Other), "{other:?}");
    }
    for (of, state, kind) in [
        (SOCK_SEQPACKET, LISTEN, Kind::Listener),
        (SOCK_SEQPACKET, ESTABLISHED, Kind::Connected),
        (SOCK_STREAM, CLOSE, Kind::Idle),
        (SOCK_DGRAM, CLOSE, Kind::Datagram),
        (SOCK_DGRAM, ESTABLISHED, Kind::Datagram),
    ] {
        assert_eq!(one(BY_FAMILY, &body(AF_UNIX, of, state)), Ok(Message::Socket(kind)));
    }
    assert!(one(BY_FAMILY, &[AF_UNIX, SOCK_STREAM, LISTEN]).is_err());
    let whole = request(Query::ALL);
    assert_eq!(message_length(&whole), Some(whole.len()));
}
