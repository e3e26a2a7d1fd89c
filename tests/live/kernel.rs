//! The kernel's filters against its plain text: every way of asking shows the same sockets.

use crate::lab::Lab;
use connleak::socket::{Endpoint, Side, Socket, State, StateSet};
use connleak::source::netlink::{self, Dump};
use connleak::source::{Query, Seen, proc};
use std::collections::BTreeSet;
use std::path::Path;

/// One above and one below what 1, 2, 17 and 256 ports from 20000 on hold, and their ends.
const LISTENERS: [u16; 10] = [19999, 20000, 20001, 20002, 20015, 20016, 20017, 20254, 20255, 20256];

type Row = (Endpoint, Endpoint, State, u64);

fn rows(visit: impl FnOnce(&mut dyn FnMut(&Socket)) -> connleak::error::Result<Seen>) -> BTreeSet<Row> {
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
                let query = Query { states, ports: &ports, side, times: true };
                let wanted = rows(|each| proc::visit(Path::new("/proc/thread-self/net"), &query, each));
                assert!(!wanted.is_empty());
                for dump in [Dump::Combined, Dump::ByFamily] {
                    let found = rows(|each| netlink::visit_by(dump, &netlink::open()?, &query, each));
                    assert_eq!(found, wanted, "{dump:?}, {count} ports, {side:?}");
                }
            }
        }
    });
}

#[test]
fn both_dumps_tell_the_same_identities() {
    Lab::test(|lab| {
        let _server = lab.leaking_server("[::1]:11211", 5);
        let states = StateSet::of(&[State::Listen, State::CloseWait]);
        let query = Query { states, ports: &[11211], side: Side::Both, times: true };
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
