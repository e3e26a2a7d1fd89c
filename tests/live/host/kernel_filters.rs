//! The kernel's filters against its plain text: every way of asking shows the same sockets.

use crate::lab::Lab;
use connleak::kernel::socket::{Endpoint, Side, Socket, State, StateSet};
use connleak::kernel::source::netlink::{self, Dump};
use connleak::kernel::source::{Coverage, Query, proc};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

/// One above and one below what 1, 2, 17 and 256 ports from 20000 on hold, and their ends.
const LISTENERS: [u16; 10] = [19999, 20000, 20001, 20002, 20015, 20016, 20017, 20254, 20255, 20256];

type Row = (Endpoint, Endpoint, State, u64);

fn rows(visit: impl FnOnce(&mut dyn FnMut(&Socket)) -> connleak::base::error::Result<Coverage>) -> BTreeSet<Row> {
    let mut rows = BTreeSet::new();
    let seen = visit(&mut |socket| {
        let row = (socket.local, socket.remote, socket.state, socket.inode);
        // Closed sockets keep their addresses but not their inodes.
        assert!(rows.insert(row) || socket.inode == 0, "{row:?} twice");
    });
    assert_eq!(seen.unwrap().missing, None);
    rows
}

#[test]
fn bytecode_and_both_dumps_show_what_proc_shows() {
    Lab::test(|lab| {
        let (mut server, mut client) = (lab.peer(), lab.peer());
        for port in LISTENERS {
            for address in ["127.0.0.1", "[::1]", "[::ffff:127.0.0.2]"] {
                server.say(&format!("listen l{port}{address} {address}:{port}"));
                client.say(&format!("connect c{port} {address}:{port} 2"));
                client.say(&format!("connect kept {address}:{port} 1"));
                server.say(&format!("accept s{port} l{port}{address} 2"));
            }
            if port % 2 == 0 {
                client.say(&format!("close c{port}"));
            }
        }
        for count in [1, 2, 17, 256] {
            let ports: Vec<u16> = (20000..20000 + count).collect();
            for side in [Side::Server, Side::Client, Side::Both] {
                let states = StateSet::of(&[State::Established, State::CloseWait, State::Listen]);
                let query = Query { states, ports: &ports, side, times: true, listeners: false };
                let wanted = rows(|each| proc::visit(Path::new("/proc/thread-self/net"), &query, each));
                assert!(!wanted.is_empty());
                for dump in [Dump::Combined, Dump::ByFamily] {
                    let found = rows(|each| netlink::visit_by(dump, &netlink::open()?, &query, each));
                    assert_eq!(found, wanted, "{dump:?}, {count} ports, {side:?}");
                }
                let all = Query { ports: &[], ..query };
                let all = rows(|each| proc::visit(Path::new("/proc/thread-self/net"), &all, each));
                let others = rows(|each| netlink::visit_without(&netlink::open()?, (&ports, side), states, each));
                assert_eq!(others, &all - &wanted, "beside {count} ports, {side:?}");
            }
        }
    });
}

#[test]
fn both_dumps_tell_the_same_identities() {
    Lab::test(|lab| {
        let _server = lab.leaking_server("[::1]:11211", 5);
        let states = StateSet::of(&[State::Listen, State::CloseWait]);
        let query = Query { states, ports: &[11211], side: Side::Both, times: true, listeners: false };
        let identities = |dump| {
            let mut found = BTreeSet::new();
            netlink::visit_by(dump, &netlink::open().unwrap(), &query, &mut |socket| {
                assert!(socket.times.is_some());
                found.insert((socket.cookie.expect("a cookie"), socket.cgroup, socket.uid, socket.inode));
            })
            .unwrap();
            found
        };
        assert_eq!(identities(Dump::Combined), identities(Dump::ByFamily));
        assert_eq!(identities(Dump::Combined).len(), 6, "a listener and five");
    });
}

/// What becomes of one connection.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Kept,
    NotAccepted,
    ClientCloses,
    ServerCloses,
    BothClose,
}

const FATES: [Fate; 5] = [Fate::Kept, Fate::NotAccepted, Fate::ClientCloses, Fate::ServerCloses, Fate::BothClose];
const ADDRESSES: [&str; 4] = ["127.0.0.1", "127.0.0.9", "[::1]", "[::]"];

/// Both ends of connections to one listener; the ends that were closed are gone.
type Ends = (TcpListener, Vec<TcpStream>);

fn service(address: &str, port: u16, fates: &[Fate]) -> Ends {
    let listener = TcpListener::bind(format!("{address}:{port}")).unwrap();
    let to: SocketAddr = format!("{}:{port}", if address == "[::]" { "127.0.0.1" } else { address }).parse().unwrap();
    let mut ends = Vec::new();
    // Those that nobody accepts come last in the queue.
    let (waiting, accepted): (Vec<Fate>, Vec<Fate>) = fates.iter().partition(|fate| **fate == Fate::NotAccepted);
    for fate in accepted {
        let client = TcpStream::connect(to).unwrap();
        let (server, _) = listener.accept().unwrap();
        match fate {
            Fate::ClientCloses => ends.push(server),
            Fate::ServerCloses => ends.push(client),
            Fate::BothClose => {}
            _ => ends.extend([server, client]),
        }
    }
    ends.extend(waiting.iter().map(|_| TcpStream::connect(to).unwrap()));
    (listener, ends)
}

/// Random tables, asked for random states, ports and sides.
#[test]
fn all_sources_agree_on_random_socket_tables() {
    Lab::test(|_| {
        let services = prop::collection::btree_map(
            20000..20040u16,
            (0..ADDRESSES.len(), prop::collection::vec(prop::sample::select(&FATES[..]), 0..6)),
            1..8,
        );
        let states = prop::sample::subsequence((0..State::NAMES.len()).collect::<Vec<_>>(), 1..=State::NAMES.len());
        let asked = (states, prop::collection::btree_set(20000..20040u16, 1..30), 0..3usize);
        let mut runner = TestRunner::new(Config { cases: 60, failure_persistence: None, ..Config::default() });
        let met = RefCell::new(BTreeSet::new());
        let all = runner.run(&(services, asked), |(services, (states, asked, side))| {
            let _ends: Vec<Ends> =
                services.iter().map(|(port, (at, fates))| service(ADDRESSES[*at], *port, fates)).collect();
            let states = states.iter().map(|state| State::from_kernel(*state as u8 + 1).unwrap()).collect::<Vec<_>>();
            let ports: Vec<u16> = asked.into_iter().chain(services.keys().copied().take(2)).collect();
            let side = [Side::Server, Side::Client, Side::Both][side];
            let query = Query { states: StateSet::of(&states), ports: &ports, side, times: true, listeners: false };
            let by_proc = || rows(|each| proc::visit(Path::new("/proc/thread-self/net"), &query, each));
            // What was closed goes on by itself: compared while the table stands still.
            for _ in 0..50 {
                let before = by_proc();
                let found = [Dump::Combined, Dump::ByFamily]
                    .map(|dump| rows(|each| netlink::visit_by(dump, &netlink::open()?, &query, each)));
                if before == by_proc() {
                    met.borrow_mut().extend(before.iter().map(|row| row.2));
                    prop_assert_eq!(&found[0], &before);
                    prop_assert_eq!(&found[1], &before);
                    return Ok(());
                }
            }
            Err(TestCaseError::fail("the table never stood still"))
        });
        all.unwrap();
        let met = met.into_inner();
        assert!(met.len() >= 5, "only {met:?} were met");
    });
}
