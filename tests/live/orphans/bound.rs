//! Ports that are only bound after a stop, and who is named among several that hold something.

use crate::host::sides::listener;
use crate::lab::run::{ORPHANS, Outcome, run};
use crate::lab::{CLOSE_WAIT, Lab};
use std::process::Command;

fn look(more: &[&str]) -> Outcome {
    ORPHANS.run(&[&["-p27704", "--wait=0s"], more].concat())
}

fn counts(outcome: &Outcome) -> [f64; 4] {
    ["orphans", "held", "listen", "bound"].map(|label| outcome.value(label))
}

/// As haproxy pauses a proxy. Another program then can't listen there: EADDRINUSE.
#[test]
fn a_listener_that_was_shut_down_keeps_its_port() {
    Lab::test(|lab| {
        let mut server = listener(lab);
        server.say("listen l 127.0.0.1:27704");
        assert_eq!(counts(&look(&[])), [1.0, 0.0, 1.0, 0.0]);
        server.say("end l");
        let outcome = look(&["-vv"]);
        assert_eq!((outcome.code, counts(&outcome)), (2, [1.0, 0.0, 0.0, 1.0]), "{outcome:?}");
        let says = format!("1 bound without listening by python3[{}]: a restart may get EADDRINUSE", server.pid());
        assert!(outcome.text().contains(&says), "{outcome:?}");
        assert!(outcome.stdout.contains("bound 127.0.0.1:27704, held by python3["), "{outcome:?}");
        let json = look(&["-ojson"]).json();
        assert_eq!(json["remaining"][0]["class"], "bound", "{json}");
        assert_eq!(json["complete"]["owners"], true, "{json}");
        server.say("close l");
        assert_eq!((look(&[]).code, counts(&look(&[]))), (0, [0.0; 4]));
    });
}

#[test]
fn a_socket_that_never_listened_keeps_its_port() {
    Lab::test(|lab| {
        let mut server = lab.peer();
        server.say("bind b [::1]:27704");
        let outcome = look(&[]);
        assert_eq!((outcome.code, counts(&outcome)), (2, [1.0, 0.0, 0.0, 1.0]), "{outcome:?}");
        assert_eq!(counts(&look(&["--side=client"])), [0.0; 4]);
        server.say("close b");
        assert_eq!(look(&[]).code, 0);
    });
}

/// Nor can an old kernel: its answer is the same as where there are none.
#[test]
fn that_bound_ports_cant_be_seen_is_said() {
    Lab::test(|lab| {
        let mut server = lab.peer();
        server.say("bind b 127.0.0.1:27704");
        let says = |outcome: &Outcome, why: &str| {
            let why = format!("{why} show what is only bound");
            assert!(outcome.code == 0 && outcome.text().contains(&why), "{outcome:?}");
        };
        says(&look(&["--source=proc"]), "/proc doesn't");
        let mut old = Command::new("setarch");
        old.args(["--uname-2.6", ORPHANS.0, "-p27704", "--wait=0s", "--local=127.0.0.2"]);
        says(&run(&mut old), "Linux before 6.8 doesn't");
        server.say("close b");
        assert!(!look(&[]).text().contains("only bound"), "{:?}", look(&[]));
        assert!(!look(&["--source=proc", "--side=client"]).text().contains("only bound"));
    });
}

/// What was there before the stop is the old service's, also shut down; what came after isn't.
#[test]
fn a_baseline_knows_bound_ports() {
    Lab::test(|lab| {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("baseline.json");
        let file = file.to_str().unwrap();
        let mut server = listener(lab);
        server.say("listen l 127.0.0.1:27704");
        assert_eq!(look(&["--save-baseline", file]).code, 0);
        server.say("end l");
        let outcome = look(&["--baseline", file]);
        assert_eq!((outcome.code, counts(&outcome)), (2, [1.0, 0.0, 0.0, 1.0]), "{outcome:?}");
        server.say("close l");
        let mut new = lab.peer();
        new.say("bind b 127.0.0.1:27704");
        let outcome = look(&["--baseline", file]);
        assert_eq!((outcome.code, outcome.value("new")), (0, 1.0), "{outcome:?}");
    });
}

/// A slow request keeps the service running; its clients have more sockets than it.
#[test]
fn the_service_itself_is_named_before_its_clients() {
    Lab::test(|lab| {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("baseline.json");
        let file = file.to_str().unwrap();
        let (mut server, mut client) = (lab.peer(), lab.peer());
        server.say("listen l 127.0.0.1:27704");
        client.say("connect c 127.0.0.1:27704 10");
        server.say("accept slow l 2");
        server.say("accept s l 8");
        assert_eq!(look(&["--save-baseline", file]).code, 0);
        server.say("close l");
        server.say("close s");
        lab.wait_for(CLOSE_WAIT, 27704, 8);
        let outcome = look(&["--baseline", file]);
        let says = format!("2 of 12 held by peer[{}], the service itself, still running", server.pid());
        assert!(outcome.text().contains(&says), "{outcome:?}");
        let without = look(&[]);
        assert!(without.text().contains(&format!("2 of 12 held by peer[{}]", server.pid())), "{without:?}");
    });
}
