//! What each stage costs for a receive's worth of sockets: `cargo bench`. The input is recorded.

use connleak::growth::detector::{self, Detector, Sample};
use connleak::kernel::listeners::Listeners;
use connleak::kernel::select::{Match, Selection};
use connleak::kernel::socket::{Side, Socket};
use connleak::kernel::source::diag::{self, Message, Table};
use connleak::kernel::source::proc;
use connleak::kernel::tally::Tally;
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
        if diag::messages(message, Table::Tcp).flatten().any(|framed| matches!(framed.message, Message::Socket(_))) {
            sockets.extend(message);
        }
        at += length.next_multiple_of(4);
    }
    sockets.repeat(RECEIVED / sockets.len())
}

fn sockets(dump: &[u8]) -> Vec<Socket> {
    let socket = |message| if let Message::Socket(socket) = message { Some(socket) } else { None };
    diag::messages(dump, Table::Tcp).flatten().filter_map(|framed| socket(framed.message)).collect()
}

#[divan::bench]
fn netlink_decoder(bencher: Bencher) {
    let dump = dump();
    let bencher = bencher.counter(ItemsCount::new(sockets(&dump).len())).counter(BytesCount::of_slice(&dump));
    bencher.bench(|| diag::messages(black_box(&dump), Table::Tcp).flatten().count());
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
        ..Selection::default()
    };
    let mut listeners = Listeners::default();
    sockets.iter().for_each(|socket| listeners.add(socket));
    bencher.counter(ItemsCount::new(sockets.len())).bench_local(|| {
        let mut tally = Tally::default();
        for socket in black_box(&sockets) {
            if let Match::Yes(side) = selection.matches(socket, &listeners) {
                tally.add(side, socket.state);
            }
        }
        tally
    });
}

/// One step of the detector after ten thousand samples of a pool of `size` busy connections.
#[divan::bench(args = [20, 400, 4000])]
fn trend_step(bencher: Bencher, size: u64) {
    let sample = |index: u64| Sample {
        wall: index as f64 * 60.0,
        uptime: index as f64 * 60.0,
        boot: 1,
        service: 1,
        established: size as u32,
        // A twentieth of the pool is replaced from each sample to the next.
        sockets: (0..size).map(|slot| pooled(slot, (index + slot) / 20)).collect(),
        ..Sample::default()
    };
    let mut detector = Detector::new(60.0, 2 * size as u32);
    for index in 0..10_000 {
        detector.step(&sample(index));
    }
    let next = sample(10_000);
    bencher.with_inputs(|| detector.clone()).bench_values(|mut detector| detector.step(black_box(&next)));
}

fn pooled(slot: u64, replaced: u64) -> detector::Socket {
    let idle = ((slot * 7 + replaced) % 50) as f64;
    detector::Socket { cookie: (slot << 32) + replaced + 1, group: 1, state: detector::State::Established, idle }
}
