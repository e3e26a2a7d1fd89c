//! Connections that carry nothing: found, used again, found again; whose, and what isn't known of them.

use crate::lab::run::{IDLE, Outcome, PATIENCE, poll};
use crate::lab::{Lab, Peer};

fn look(more: &[&str]) -> Outcome {
    IDLE.run(&[&["-p11211", "--side=client", "--min-age=1s", "-w2", "-c100"], more].concat())
}

/// Looks until so many are idle.
fn wait_for(idle: f64, more: &[&str]) -> Outcome {
    let mut outcome = look(more);
    let reached = poll(PATIENCE, || {
        outcome = look(more);
        outcome.value("idle") == idle
    });
    assert!(reached, "wanted {idle}: {outcome:?}");
    outcome
}

/// Sends on all of a name, of either end, until no client's end is idle at the same time.
fn use_all(sender: &mut Peer, name: &str) -> Outcome {
    let mut outcome = None;
    let cleared = poll(PATIENCE, || {
        sender.say(&format!("send {name}"));
        outcome.insert(look(&[])).value("idle") == 0.0
    });
    assert!(cleared, "{outcome:?}");
    outcome.unwrap()
}

#[test]
fn silence_is_found_ends_with_a_byte_and_is_found_again() {
    Lab::test(|lab| {
        let (_server, mut client) = lab.connected("127.0.0.1:11211", 5);
        let found = wait_for(5.0, &[]);
        assert_eq!((found.code, found.value("never_used"), found.value("established")), (1, 5.0, 5.0), "{found:?}");
        assert_eq!(found.value("idle_share"), 100.0);
        let holder = format!("all held by peer[{}]", client.pid());
        assert!(found.text().contains("5 connections without data for 1s or more (warning 2), oldest "), "{found:?}");
        assert!(
            found.text().contains(&holder)
                && found.text().contains(", 5 never used")
                && found.text().contains("all with peer 127.0.0.1"),
            "{found:?}"
        );
        let used = use_all(&mut client, "c");
        assert_eq!((used.code, used.value("never_used"), used.value("idle_oldest")), (0, 0.0, 0.0), "{used:?}");
        let again = wait_for(5.0, &[]);
        assert_eq!((again.code, again.value("never_used")), (1, 0.0), "{again:?}");
        assert!(again.value("idle_oldest") >= 1.0, "{again:?}");
        client.say("close c");
        assert_eq!(look(&[]).code, 0);
    });
}

#[test]
fn a_byte_in_either_direction_is_use() {
    Lab::test(|lab| {
        let (mut server, mut client) = lab.connected("[::1]:11211", 2);
        wait_for(2.0, &[]);
        use_all(&mut server, "s");
        client.say("connect other [::1]:11211 1");
        server.say("accept s l 1");
        client.say("send other");
        let all = IDLE.run(&["-p11211", "--min-age=0s", "-w99", "-c99", "--side=both"]);
        assert_eq!((all.value("idle"), all.value("never_used")), (6.0, 0.0), "{all:?}");
        assert!(all.text().contains("3 at the server's end, 3 at the client's"), "{all:?}");
    });
}

#[test]
fn those_without_keepalive_are_told_and_probes_are_no_use() {
    Lab::test(|lab| {
        let (mut server, mut client) = lab.connected("127.0.0.1:11211", 2);
        client.say("keepalive c 1");
        client.say("connect bare 127.0.0.1:11211 3");
        server.say("accept s l 3");
        let outcome = wait_for(5.0, &["--keepalive"]);
        assert_eq!(outcome.value("no_keepalive"), 3.0, "{outcome:?}");
        let said = format!("3 without keepalive, 3 held by peer[{}]", client.pid());
        assert!(outcome.text().contains(&said), "{outcome:?}");
        // Long after the first probe: were that a use, two would never be silent for as long.
        wait_for(5.0, &["--min-age=2500ms"]);
        let json = look(&["--keepalive", "-ojson"]).json();
        assert_eq!(json["without_keepalive"]["sockets"], 3);
        client.say("keepalive bare 9");
        assert_eq!(look(&["--keepalive"]).value("no_keepalive"), 0.0);
    });
}

#[test]
fn what_nobody_accepted_is_the_listeners_fault_and_no_spare() {
    Lab::test(|lab| {
        let (mut server, mut client) = (lab.peer(), lab.peer());
        server.say("listen l 127.0.0.1:11211");
        client.say("connect c 127.0.0.1:11211 4");
        server.say("accept s l 1");
        client.say("send c");
        let looks = ["-p11211", "--side=server", "--min-age=0s", "-w2", "-c100", "--expected=9"];
        let outcome = IDLE.run(&looks);
        assert_eq!((outcome.value("idle"), outcome.value("spares"), outcome.code), (3.0, 1.0, 1), "{outcome:?}");
        let holder = format!("all held by peer[{}]", server.pid());
        assert!(outcome.text().contains(&holder) && outcome.text().contains("all not accepted yet"), "{outcome:?}");
        server.say("accept s l 3");
        let accepted = IDLE.run(&looks);
        assert_eq!((accepted.value("idle"), accepted.value("spares"), accepted.code), (0.0, 4.0, 0), "{accepted:?}");
    });
}

#[test]
fn each_pool_keeps_its_expected_spares() {
    Lab::test(|lab| {
        let (mut server, mut client) = (lab.peer(), lab.peer());
        server.say("listen l 127.0.0.1:11211");
        // Two client hosts, six connections each.
        client.say("connect c 127.0.0.1:11211 12 2");
        server.say("accept s l 12");
        client.say("send c");
        let look = |expected: &str| {
            IDLE.run(&["-p11211", "--side=server", "--min-age=0s", "-w0", "-c99", "--expected", expected])
        };
        let some = look("4");
        assert_eq!((some.value("idle"), some.value("spares"), some.code), (4.0, 8.0, 1), "{some:?}");
        assert!(some.text().contains("beyond 8 spares"), "{some:?}");
        assert_eq!((look("6").code, look("6").value("idle")), (0, 0.0));
    });
}

#[test]
fn proc_tells_no_silence_and_that_is_never_ok_where_it_matters() {
    Lab::test(|lab| {
        let (_server, _client) = lab.connected("127.0.0.1:11211", 3);
        let unknown = look(&["--source=proc"]);
        assert_eq!(unknown.code, 3, "{unknown:?}");
        assert!(unknown.text().contains("silences unknown: any ESTABLISHED may be idle"), "{unknown:?}");
        assert_eq!(look(&["--source=proc", "-w3"]).code, 0, "even if all were");
        assert_eq!(look(&["--source=proc", "-w3", "--never-used-warning=2"]).code, 3);
        assert_eq!(look(&["--source=proc", "-w3", "--share-warning=90", "--share-min-count=1"]).code, 3);
    });
}

#[test]
fn anyone_sees_all_and_names_his_own() {
    Lab::test(|lab| {
        let (_server, _client) = lab.connected("127.0.0.1:11211", 3);
        let outcome = IDLE.unprivileged(&["-p11211", "--min-age=0s", "-w1", "-c99"]);
        assert_eq!((outcome.code, outcome.value("idle")), (1, 6.0), "{outcome:?}");
        assert!(outcome.text().contains("owners partial: none known"), "{outcome:?}");
    });
}
