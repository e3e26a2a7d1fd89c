//! Around a restart: what is judged is what was there before.

use crate::lab::run::{ORPHANS, Outcome};
use crate::lab::{CLOSE_WAIT, Lab};
use rustix::fd::OwnedFd;
use rustix::net::sockopt::{set_socket_linger, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

const SOURCES: [&str; 2] = ["--source=netlink", "--source=proc"];

struct File(tempfile::TempDir);

impl File {
    fn new() -> File {
        File(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> String {
        self.0.path().join("baseline").to_str().unwrap().to_owned()
    }

    fn save(&self, source: &str) {
        let outcome = ORPHANS.run(&["-p11211", source, "--save-baseline", &self.path()]);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        assert!(outcome.text().contains(" sockets saved to "), "{outcome:?}");
    }

    fn look(&self, source: &str) -> Outcome {
        ORPHANS.run(&["-p11211", "--wait=300ms", source, "--baseline", &self.path()])
    }
}

#[test]
fn the_new_processes_sockets_are_new_and_not_judged() {
    Lab::test(|lab| {
        for source in SOURCES {
            let (file, (old, mut client)) = (File::new(), lab.connected("127.0.0.1:11211", 2));
            file.save(source);
            client.say("close c");
            old.end();
            let (new, _new_client) = lab.connected("127.0.0.1:11211", 4);
            let outcome = file.look(source);
            assert_eq!((outcome.code, outcome.value("orphans"), outcome.value("new")), (0, 0.0, 9.0), "{outcome:?}");
            assert!(outcome.text().contains(", 9 new"), "{outcome:?}");
            let unasked = ORPHANS.run(&["-p11211", "--wait=0s", source]);
            assert_eq!((unasked.code, unasked.value("orphans")), (2, 9.0), "without the baseline: {unasked:?}");
            drop(new);
        }
    });
}

#[test]
fn what_the_old_process_left_is_judged_beside_the_new_ones() {
    Lab::test(|lab| {
        for source in SOURCES {
            let (file, (old, client)) = (File::new(), lab.connected("127.0.0.1:11211", 2));
            file.save(source);
            old.end();
            lab.wait_for(CLOSE_WAIT, 11211, 2);
            let new = lab.connected("127.0.0.1:11211", 4);
            let outcome = file.look(source);
            // Two at the client, two of the old server in FIN_WAIT2.
            assert_eq!((outcome.code, outcome.value("orphans"), outcome.value("new")), (2, 4.0, 9.0), "{outcome:?}");
            assert_eq!((outcome.value("held"), outcome.value("kernel")), (2.0, 2.0), "{outcome:?}");
            assert!(outcome.text().contains(&format!("all held by peer[{}]", client.pid())), "{outcome:?}");
            drop((new, client));
            lab.wait_for(CLOSE_WAIT, 11211, 0);
        }
    });
}

/// Several processes may listen on the same address; each socket is one of its own.
#[test]
fn every_listener_of_one_address_is_known() {
    Lab::test(|_| {
        for source in SOURCES {
            let (file, address) = (File::new(), SocketAddr::from((Ipv4Addr::LOCALHOST, 11211)));
            let listen = || {
                let socket = new_socket();
                rustix::net::sockopt::set_socket_reuseport(&socket, true).unwrap();
                bind(&socket, &address).unwrap();
                rustix::net::listen(&socket, 8).unwrap();
                socket
            };
            let both = [listen(), listen()];
            file.save(source);
            for kept in both {
                let outcome = file.look(source);
                assert!(outcome.code == 2 && outcome.value("new") == 0.0, "{outcome:?}");
                drop(kept);
            }
            assert_eq!(file.look(source).code, 0);
        }
    });
}

/// What waits to be accepted has no inode yet; `/proc` tells it by its addresses.
#[test]
fn what_was_accepted_since_is_known() {
    Lab::test(|lab| {
        for source in SOURCES {
            let (file, mut server, mut client) = (File::new(), lab.peer(), lab.peer());
            server.say("listen l 127.0.0.1:11211");
            client.say("connect c 127.0.0.1:11211 2");
            file.save(source);
            server.say("accept s l 2");
            let outcome = file.look(source);
            assert_eq!((outcome.value("orphans"), outcome.value("new")), (5.0, 0.0), "{outcome:?}");
        }
    });
}

fn new_socket() -> OwnedFd {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    set_socket_reuseaddr(&socket, true).unwrap();
    socket
}

/// A connection from a port of our choice that ends without any TIME_WAIT.
fn connect_from(port: u16) -> OwnedFd {
    let socket = new_socket();
    set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
    bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, port))).unwrap();
    connect(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 11211))).unwrap();
    socket
}

#[test]
fn a_new_socket_with_the_same_four_addresses_is_no_orphan() {
    Lab::test(|lab| {
        for source in SOURCES {
            let (file, mut old) = (File::new(), lab.peer());
            old.say("listen l 127.0.0.1:11211");
            let first = connect_from(40_000);
            old.say("accept s l 1");
            file.save(source);
            let judged = file.look(source);
            assert_eq!((judged.code, judged.value("orphans")), (2, 3.0), "{judged:?}");
            drop(first);
            old.end();
            let mut new = lab.peer();
            new.say("listen l 127.0.0.1:11211");
            let _second = connect_from(40_000);
            new.say("accept s l 1");
            let outcome = file.look(source);
            assert_eq!((outcome.code, outcome.value("orphans"), outcome.value("new")), (0, 0.0, 3.0), "{outcome:?}");
        }
    });
}

#[test]
fn a_baseline_of_another_namespace_is_refused() {
    Lab::test(|lab| {
        let (file, _server) = (File::new(), lab.connected("127.0.0.1:11211", 1));
        file.save("--source=netlink");
        let outcome = lab.outside(|| file.look("--source=netlink"));
        assert_eq!(outcome.code, 3, "{outcome:?}");
        assert!(outcome.text().contains("from another network namespace"), "{outcome:?}");
    });
}
