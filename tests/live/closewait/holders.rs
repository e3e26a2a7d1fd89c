//! Who holds them: forks, accept queues, listeners of other addresses, a real memcached's client.

use crate::lab::run::{PATIENCE, Started, check, finish, poll};
use crate::lab::{CLOSE_WAIT, ESTABLISHED, Lab};
use rustix::process::{Pid, Signal, kill_process};
use std::net::TcpStream;
use std::process::{Command, Stdio};

const LOOK: [&str; 5] = ["-p11211", "--min-age=0s", "-w0", "-c100", "--ratio-min-count=1000"];

fn look(more: &[&str]) -> crate::lab::run::Outcome {
    check(&[&LOOK, more].concat())
}

#[test]
fn a_socket_held_by_two_processes_names_both() {
    Lab::test(|lab| {
        let mut server = lab.leaking_server("127.0.0.1:11211", 1);
        let sharer = server.say("share");
        let output = look(&["-vv"]).output();
        let line = output.long_text.iter().find(|line| line.starts_with("socket 127.0.0.1:11211")).unwrap();
        for pid in [server.pid().to_string(), sharer] {
            assert!(line.contains(&format!("[{pid}]")), "{line}, not {pid}");
        }
        assert_eq!(output.value("close_wait"), Some(1.0));
    });
}

#[test]
fn a_socket_stays_found_while_a_fork_of_its_holder_lives() {
    Lab::test(|lab| {
        let mut server = lab.leaking_server("127.0.0.1:11211", 1);
        let sharer = server.say("share");
        server.say("close s");
        let outcome = look(&[]);
        assert_eq!(outcome.code, 1, "{outcome:?}");
        assert!(outcome.text().contains(&format!("[{sharer}]")), "{outcome:?}");
        server.end();
        assert_eq!(look(&[]).code, 0);
    });
}

#[test]
fn sockets_in_the_accept_queue_are_found_and_the_listeners_owner_named() {
    Lab::test(|lab| {
        let (mut server, mut client) = (lab.peer(), lab.peer());
        server.say("listen l [::1]:11211");
        client.say("connect c [::1]:11211 4");
        client.say("close c");
        lab.wait_for(CLOSE_WAIT, 11211, 4);
        let outcome = look(&["-vv"]);
        assert_eq!((outcome.code, outcome.value("close_wait")), (1, 4.0), "{outcome:?}");
        let text = outcome.text();
        assert!(text.contains(&format!("all held by peer[{}]", server.pid())), "{text}");
        assert!(text.contains("all not accepted yet"), "{text}");
        let json = look(&["-ojson"]).json();
        assert_eq!((&json["waiting"], &json["complete"]["owners"]), (&4.into(), &true.into()), "{json}");
        server.say("accept s l 4");
        assert!(!look(&[]).text().contains("not accepted"));
    });
}

#[test]
fn a_waiting_socket_is_its_own_listeners_and_no_other_ones() {
    Lab::test(|lab| {
        let (mut v4, mut v6, mut client) = (lab.peer(), lab.peer(), lab.peer());
        v4.say("listen l 127.0.0.1:11211");
        v6.say("listen l [::1]:11211");
        client.say("connect c 127.0.0.1:11211 2");
        client.say("connect c [::1]:11211 3");
        client.say("close c");
        lab.wait_for(CLOSE_WAIT, 11211, 5);
        let json = look(&["-ojson"]).json();
        let owners: Vec<_> = json["owners"].as_array().unwrap().iter().map(|o| (&o["pid"], &o["sockets"])).collect();
        assert_eq!(owners, [(&v6.pid().into(), &3.into()), (&v4.pid().into(), &2.into())], "{json}");
    });
}

#[test]
fn a_waiting_socket_is_the_listeners_of_all_addresses_too() {
    Lab::test(|lab| {
        for (listens_on, reached_at) in [("0.0.0.0", "127.0.0.1"), ("[::]", "[::1]"), ("[::]", "127.0.0.1")] {
            let (mut server, mut client) = (lab.peer(), lab.peer());
            server.say(&format!("listen l {listens_on}:11211"));
            client.say(&format!("connect c {reached_at}:11211 2"));
            client.say("close c");
            lab.wait_for(CLOSE_WAIT, 11211, 2);
            let outcome = look(&[]);
            assert!(outcome.text().contains(&format!("all held by peer[{}]", server.pid())), "{outcome:?}");
        }
    });
}

/// Point 3 of the first issue.
#[test]
fn a_client_that_forgets_its_sockets_after_memcached_stopped_is_named() {
    Lab::test(|lab| {
        let arguments = ["-u", "nobody", "-l", "127.0.0.1", "-p", "11211", "-U", "0"];
        let started = Command::new("memcached").args(arguments).stdin(Stdio::null()).spawn();
        let mut memcached = match started {
            Ok(child) => Started(child),
            Err(why) => return lab.skip(&format!("memcached: {why}")),
        };
        let listens = poll(PATIENCE, || TcpStream::connect("127.0.0.1:11211").is_ok());
        let mut client = lab.peer();
        if listens {
            client.say("connect forgotten 127.0.0.1:11211 6");
            lab.wait_for(ESTABLISHED, 11211, 12);
            assert_eq!(look(&[]).code, 0, "nothing leaks yet");
        }
        kill_process(Pid::from_child(&memcached.0), Signal::TERM).unwrap();
        let stopped = finish(&mut memcached.0, PATIENCE);
        assert!(listens && stopped.is_some(), "memcached listens: {listens}, stopped: {stopped:?}");
        lab.wait_for(CLOSE_WAIT, 11211, 6);
        let outcome = look(&["--side=client"]);
        assert_eq!((outcome.code, outcome.value("close_wait")), (1, 6.0), "{outcome:?}");
        assert!(outcome.text().contains(&format!("all held by peer[{}]", client.pid())), "{outcome:?}");
        assert!(outcome.text().contains("all with peer 127.0.0.1"), "{outcome:?}");
        client.end();
        let gone = look(&[]);
        assert_eq!((gone.code, gone.value("close_wait")), (0, 0.0), "{gone:?}");
    });
}
