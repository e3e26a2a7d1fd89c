//! What is left after a stop, and who has it: one shot with a wait.

use crate::lab::run::{ORPHANS, Outcome};
use crate::lab::{CLOSE_WAIT, ESTABLISHED, Lab, Peer};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

const FIN_WAIT2: u8 = 5;
const LAST_ACK: u8 = 9;

fn look(more: &[&str]) -> Outcome {
    ORPHANS.run(&[&["-p11211"], more].concat())
}

/// Perfdata in the order of the contract, but for the time.
fn numbers(outcome: &Outcome) -> [f64; 6] {
    ["orphans", "held", "kernel", "listen", "time_wait", "new"].map(|label| outcome.value(label))
}

#[test]
fn a_clean_stop_is_ok_with_its_time() {
    Lab::test(|lab| {
        let (server, mut client) = lab.connected("[::1]:11211", 3);
        client.say("close c");
        server.end();
        for source in ["--source=netlink", "--source=proc"] {
            let outcome = look(&["--wait=1h", source]);
            assert_eq!((outcome.code, outcome.value("orphans")), (0, 0.0), "{outcome:?}");
            assert!(outcome.text().starts_with("memcached:11211: nothing left after "), "{outcome:?}");
        }
    });
}

#[test]
fn a_client_that_keeps_its_sockets_is_named() {
    Lab::test(|lab| {
        let (server, client) = lab.connected("127.0.0.1:11211", 3);
        server.end();
        lab.wait_for(CLOSE_WAIT, 11211, 3);
        for source in ["--source=netlink", "--source=proc"] {
            let outcome = look(&["--wait=300ms", "--side=client", source]);
            assert_eq!((outcome.code, numbers(&outcome)), (2, [3.0, 3.0, 0.0, 0.0, 0.0, 0.0]), "{outcome:?}");
            assert_eq!(outcome.value("drained_after"), 0.3);
            let text = outcome.text();
            assert!(text.starts_with("memcached:11211: 3 sockets left after 300ms (critical 0), all held by peer["));
            assert!(
                text.contains(&format!("[{}]", client.pid())) && text.contains(", a client on this host"),
                "{text}"
            );
        }
        let tolerant = look(&["--wait=0s", "--side=client", "-w2", "-c3"]);
        assert_eq!(tolerant.code, 1, "{tolerant:?}");
        let json = look(&["--wait=0s", "--side=client", "-ojson"]).json();
        assert_eq!(
            (&json["remaining"][0]["pid"], &json["remaining"][0]["role"]),
            (&client.pid().into(), &"client".into())
        );
        drop(client);
        assert_eq!(look(&["--wait=5s", "--side=client"]).code, 0);
    });
}

/// The wait alone is longer than the time limit: owners are looked for after it all the same.
#[test]
fn a_wait_longer_than_the_timeout_moves_the_deadline_and_names_the_holder() {
    Lab::test(|lab| {
        let (server, client) = lab.connected("127.0.0.1:11211", 2);
        server.end();
        let outcome = look(&["--wait=4s", "-t3s", "--side=client"]);
        assert_eq!(outcome.code, 2, "{outcome:?}");
        assert!(outcome.ended - outcome.started >= Duration::from_secs(4), "{outcome:?}");
        assert!(outcome.text().contains(&format!("held by peer[{}]", client.pid())), "{outcome:?}");
    });
}

#[test]
fn a_service_that_still_listens_is_named_as_itself() {
    Lab::test(|lab| {
        let (server, _client) = lab.connected("127.0.0.1:11211", 2);
        for source in ["--source=netlink", "--source=proc"] {
            let outcome = look(&["--wait=0s", "--side=server", source]);
            assert_eq!((outcome.code, numbers(&outcome)), (2, [3.0, 2.0, 0.0, 1.0, 0.0, 0.0]), "{outcome:?}");
            let text = outcome.text();
            let named = format!("port still bound by peer[{}]", server.pid());
            assert!(text.contains(&named) && text.contains(", the service itself, still running"), "{text}");
            assert!(text.contains(", all held by it too") && text.matches("peer[").count() == 1, "{text}");
        }
    });
}

/// Who only has the connections is no service, whoever it descends from.
#[test]
fn a_child_with_the_servers_sockets_is_named_and_not_taken_for_the_service() {
    Lab::test(|lab| {
        let (mut server, mut client) = (lab.peer(), lab.peer());
        server.say("listen l 127.0.0.1:11211");
        client.say("connect c 127.0.0.1:11211 2");
        server.say("accept s l 2");
        server.say("close l");
        let child = server.say("share");
        server.say("close s");
        client.say("close c");
        lab.wait_for(CLOSE_WAIT, 11211, 2);
        for source in ["--source=netlink", "--source=proc"] {
            let outcome = look(&["--wait=0s", "--side=server", source]);
            assert_eq!((outcome.code, outcome.value("held")), (2, 2.0), "{outcome:?}");
            let text = outcome.text();
            assert!(text.contains(&format!("all held by exe[{child}]")), "{text}");
            assert!(text.contains(", the service or a process that inherited it"), "{text}");
        }
    });
}

const FIN_WAIT2_GONE: &str = "2 in the kernel in FIN_WAIT2, gone in ";

/// The outcome says what becomes of the kernel's sockets, and when.
fn assert_fate(outcome: &Outcome, fate: &str) {
    let text = outcome.text();
    let (_, rest) = text.split_once(fate).unwrap_or_else(|| panic!("no '{fate}' in {text}"));
    assert!(rest.starts_with(|first: char| first.is_ascii_digit()), "{text}");
}

/// Two sockets at the server that only the kernel has: told, and judged where all is. Our reader of /proc/net doesn't tell timers.
fn assert_kernels(fate: &str) {
    for source in ["--source=netlink", "--source=proc"] {
        let outcome = look(&["--wait=0s", "--side=server", source]);
        assert_eq!((outcome.code, numbers(&outcome)), (0, [0.0, 0.0, 2.0, 0.0, 0.0, 0.0]), "{outcome:?}");
        assert!(outcome.text().contains("nothing left after 0s, 2 in the kernel in "), "{outcome:?}");
        let judged = look(&["--wait=0s", "--side=server", "--ignore=none", source]);
        assert_eq!((judged.code, numbers(&judged)), (2, [2.0, 0.0, 2.0, 0.0, 0.0, 0.0]), "{judged:?}");
        for outcome in [outcome, judged] {
            match source {
                "--source=netlink" => assert_fate(&outcome, fate),
                _ => assert!(outcome.text().contains(fate.split_once(',').unwrap().0), "{outcome:?}"),
            }
        }
    }
}

/// A client that doesn't close leaves the server's end to the kernel, for a minute.
#[test]
fn fin_wait2_is_the_kernels_and_says_when_it_ends() {
    Lab::test(|lab| {
        let (server, _client) = lab.connected("127.0.0.1:11211", 2);
        server.end();
        lab.wait_for(FIN_WAIT2, 11211, 2);
        assert_kernels(FIN_WAIT2_GONE);
        let ignored = look(&["--wait=0s", "--side=server", "--ignore=FIN_WAIT2"]);
        assert_eq!(ignored.code, 0, "{ignored:?}");
    });
}

/// A FIN that nobody acknowledges: here as the network is down.
#[test]
fn last_ack_is_the_kernels_and_says_when_it_is_tried_again() {
    Lab::test(|lab| {
        let (mut server, mut client) = lab.connected("127.0.0.1:11211", 2);
        client.say("shutdown c");
        lab.wait_for(CLOSE_WAIT, 11211, 2);
        assert!(Command::new("ip").args(["link", "set", "lo", "down"]).status().unwrap().success());
        server.say("close s");
        server.say("close l");
        lab.wait_for(LAST_ACK, 11211, 2);
        assert_kernels("2 in the kernel in LAST_ACK, tried again in ");
    });
}

#[test]
fn time_wait_is_counted_and_judged_only_where_asked() {
    Lab::test(|lab| {
        let (server, mut client) = lab.connected("127.0.0.1:11211", 3);
        client.say("close c");
        server.end();
        lab.wait_for(6, 11211, 3);
        let ignored = look(&["--wait=0s"]);
        assert_eq!((ignored.code, ignored.value("time_wait")), (0, 3.0), "{ignored:?}");
        assert!(ignored.text().contains("3 in TIME_WAIT ignored"), "{ignored:?}");
        let judged = look(&["--wait=0s", "--ignore=none"]);
        assert_eq!((judged.code, judged.value("kernel"), judged.value("time_wait")), (2, 3.0, 3.0), "{judged:?}");
        assert_fate(&judged, "3 in the kernel in TIME_WAIT, gone in ");
    });
}

#[test]
fn what_closes_during_the_wait_is_ok_then_and_not_after_the_wait() {
    Lab::test(|lab| {
        let (server, mut client): (Peer, Peer) = lab.connected("127.0.0.1:11211", 3);
        server.end();
        let running = ORPHANS.start(&["-p11211", "--wait=1h"]);
        sleep(Duration::from_secs(2));
        client.say("close c");
        let closed = Instant::now();
        let outcome = running.end();
        assert_eq!((outcome.code, outcome.value("orphans")), (0, 0.0), "{outcome:?}");
        assert!(outcome.ended > closed, "it waited for them: {outcome:?}");
    });
}

/// While one of the first sockets is there the check asks for it alone: what comes, goes or changes beside it is seen
/// by the last look.
#[test]
fn what_comes_during_the_wait_is_found_at_its_end() {
    Lab::test(|lab| {
        let (mut server, mut client) = lab.connected("127.0.0.1:11211", 2);
        let running = ORPHANS.start(&["-p11211", "--wait=4s", "--side=client"]);
        sleep(Duration::from_secs(1));
        client.say("connect d 127.0.0.1:11211 3");
        server.say("accept d l 3");
        let outcome = running.end();
        assert_eq!((outcome.code, numbers(&outcome)), (2, [5.0, 5.0, 0.0, 0.0, 0.0, 0.0]), "{outcome:?}");
        // All of the first go: those that came meanwhile are waited for in their turn.
        let running = ORPHANS.start(&["-p11211", "--wait=1h", "--side=client"]);
        sleep(Duration::from_millis(500));
        client.say("connect e 127.0.0.1:11211 1");
        server.say("accept e l 1");
        for (ours, theirs) in [("close s", "close c"), ("close d", "close d"), ("close e", "close e")] {
            sleep(Duration::from_millis(700));
            server.say(ours);
            client.say(theirs);
        }
        let closed = Instant::now();
        let outcome = running.end();
        assert_eq!((outcome.code, outcome.value("orphans")), (0, 0.0), "{outcome:?}");
        assert!(outcome.ended > closed, "it waited for them: {outcome:?}");
    });
}

/// The same socket, but no longer what was left: a state that is ignored.
#[test]
fn a_socket_that_goes_into_an_ignored_state_is_not_waited_for() {
    Lab::test(|lab| {
        let (mut server, mut client) = lab.connected("127.0.0.1:11211", 2);
        let running = ORPHANS.start(&["-p11211", "--wait=1h", "--side=client", "--ignore=CLOSE_WAIT"]);
        sleep(Duration::from_secs(1));
        server.say("shutdown s");
        lab.wait_for(CLOSE_WAIT, 11211, 2);
        let outcome = running.end();
        assert_eq!((outcome.code, outcome.value("orphans")), (0, 0.0), "{outcome:?}");
        client.say("close c");
    });
}

#[test]
fn detects_clears_and_detects_again() {
    Lab::test(|lab| {
        let (mut server, mut client) = lab.connected("127.0.0.1:11211", 1);
        let looks = || look(&["--wait=0s", "--side=client"]).code;
        assert_eq!(looks(), 2);
        // A client's end that closes first would wait for the server's.
        server.say("close s");
        client.say("close c");
        assert_eq!(looks(), 0);
        client.say("connect c 127.0.0.1:11211 1");
        server.say("accept s l 1");
        lab.wait_for(ESTABLISHED, 11211, 2);
        assert_eq!(looks(), 2);
    });
}
