//! What each stage costs for a receive's worth of sockets: `cargo bench`. The input is recorded.

use connleak::select::{Match, Selection};
use connleak::socket::{Side, Socket};
use connleak::source::diag::{self, Message};
use connleak::source::proc;
use connleak::tally::Tally;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use std::path::Path;

/// As much as the kernel sends at once.
const RECEIVED: usize = 32 * 1024;

fn main() {
    divan::main();
}

/// A recorded dump's socket messages, as often as they fit, without its ends.
fn dump() -> Vec<u8> {
    let recorded = include_bytes!("../tests/fixtures/leak/dump.nl");
    let (mut sockets, mut at) = (Vec::new(), 0);
    while let Some(length) = recorded.get(at..).and_then(diag::message_length) {
        let message = &recorded[at..at + length];
        if diag::messages(message).flatten().any(|framed| matches!(framed.message, Message::Socket(_))) {
            sockets.extend(message);
        }
        at += length.next_multiple_of(4);
    }
    sockets.repeat(RECEIVED / sockets.len())
}

fn sockets(dump: &[u8]) -> Vec<Socket> {
    let socket = |message| if let Message::Socket(socket) = message { Some(socket) } else { None };
    diag::messages(dump).flatten().filter_map(|framed| socket(framed.message)).collect()
}

#[divan::bench]
fn netlink_decoder(bencher: Bencher) {
    let dump = dump();
    let bencher = bencher.counter(ItemsCount::new(sockets(&dump).len())).counter(BytesCount::of_slice(&dump));
    bencher.bench(|| diag::messages(black_box(&dump)).flatten().count());
}

#[divan::bench]
fn proc_parser(bencher: Bencher) {
    let recorded = include_str!("../tests/fixtures/leak/net/tcp");
    let (header, rows) = recorded.split_once('\n').expect("a header line");
    let table = format!("{header}\n{}", rows.repeat(RECEIVED / rows.len()));
    let bencher = bencher.counter(ItemsCount::new(table.lines().count() - 1)).counter(BytesCount::of_str(&table));
    bencher.bench(|| proc::parse(black_box(table.as_bytes()), Path::new("tcp")));
}

#[divan::bench(args = [1, 16, 256])]
fn select_and_tally(bencher: Bencher, ports: u16) {
    let sockets = sockets(&dump());
    let selection = Selection {
        // The recorded service's port comes last.
        ports: (11212 - ports..=11211).collect(),
        side: Side::Both,
        peers: vec!["127.0.0.0/8".parse().expect("a range")],
        locals: vec![],
        uid: None,
        unit: None,
    };
    bencher.counter(ItemsCount::new(sockets.len())).bench(|| {
        let mut tally = Tally::default();
        for socket in black_box(&sockets) {
            if let Match::Yes(side) = selection.matches(socket) {
                tally.add(side, socket.state);
            }
        }
        tally
    });
}
