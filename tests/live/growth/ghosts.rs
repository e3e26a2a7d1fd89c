//! What leaves the tables while its descriptor stays open is followed from run to run.

use crate::lab::run::{GROWTH, Outcome};
use crate::lab::{ESTABLISHED, Lab, example};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const ADDRESS: &str = "127.0.0.1:4250";

fn look(state: &TempDir, more: &[&str]) -> Outcome {
    GROWTH.run(&[&["-p4250", "--state-dir", state.path().to_str().unwrap()], more].concat())
}

/// As MariaDB's `wait_timeout` does it: a reset, so no row is left at once.
#[test]
fn a_leak_whose_rows_vanish_is_found() {
    /// A minute of the rehearsed time.
    const PACE: Duration = Duration::from_secs(1);
    Lab::test(|lab| {
        let state = tempfile::tempdir().unwrap();
        let (mut server, mut client) = lab.connected(ADDRESS, 4);
        let (begun, mut told) = (Instant::now(), Vec::new());
        for second in 0..58 {
            client.say("send c");
            if second >= 6 {
                client.say(&format!("connect leaked {ADDRESS} 2"));
                server.say("accept gone l 2");
                server.say("reset gone");
            }
            let outcome = look(&state, &["--limit=120", "--rehearse=60"]);
            if outcome.code != 0 {
                let text = outcome.text();
                assert!(
                    outcome.code < 3 && text.contains(" leak in ") && text.contains(" ghosts among them"),
                    "{text}"
                );
                assert!(text.contains(&format!("held by peer[{}]", client.pid())), "{text}");
                assert!(second > 8 && outcome.value("suspects") >= 4.0, "second {second}: {outcome:?}");
                return;
            }
            told.push(outcome.stdout);
            sleep((begun + PACE * (second + 1)).saturating_duration_since(Instant::now()));
        }
        panic!("no leak is found: {told:?}");
    });
}

/// A process that an earlier run met is the service's, also where nothing but ghosts of it is left, and it talks to
/// others.
#[test]
fn who_is_known_from_history_is_looked_at() {
    Lab::test(|lab| {
        let [state, new] = [(), ()].map(|()| tempfile::tempdir().unwrap());
        let (mut server, _used) = lab.connected(ADDRESS, 1);
        let mut leaker = lab.peer();
        leaker.say("listen other 127.0.0.1:4251");
        leaker.say(&format!("connect gone {ADDRESS} 6"));
        server.say("accept gone l 6");
        let limit = ["--limit=120", "--side=client"];
        let before = look(&state, &limit);
        assert_eq!((before.code, before.value("connections")), (0, 7.0), "{before:?}");
        let files = ["--metric=fds", "--side=client"];
        let with_all = look(&state, &files).value("fds");
        server.say("reset gone");
        lab.wait_for(ESTABLISHED, 4250, 2);
        let after = look(&state, &limit);
        assert_eq!((after.code, after.value("connections")), (0, 7.0), "{after:?}");
        assert!(after.text().contains("6 ghosts among them"), "{after:?}");
        assert_eq!(look(&state, &limit).value("connections"), 7.0, "it stays known");
        assert_eq!(look(&state, &files).value("fds"), with_all);
        let stranger = look(&new, &limit);
        assert_eq!((stranger.code, stranger.value("connections")), (0, 1.0), "{stranger:?}");
        assert!(stranger.text().contains("6 ghosts of processes with other sockets don't count"), "{stranger:?}");
        leaker.end();
        let ended = look(&state, &limit);
        assert_eq!((ended.code, ended.value("connections")), (0, 1.0), "{ended:?}");
        assert!(!ended.text().contains("ghost"), "{ended:?}");
    });
}

/// One that came later is known by its sockets of the last look: no run searches all processes again.
#[test]
fn a_client_that_came_later_is_known_by_its_sockets() {
    Lab::test(|lab| {
        let state = tempfile::tempdir().unwrap();
        let (mut server, _used) = lab.connected(ADDRESS, 1);
        let limit = ["--limit=120", "--side=client"];
        assert_eq!(look(&state, &limit).value("connections"), 1.0);
        let mut leaker = lab.peer();
        leaker.say("listen other 127.0.0.1:4251");
        leaker.say(&format!("connect gone {ADDRESS} 6"));
        server.say("accept gone l 6");
        assert_eq!(look(&state, &limit).value("connections"), 7.0);
        server.say("reset gone");
        lab.wait_for(ESTABLISHED, 4250, 2);
        for run in 0..2 {
            let after = look(&state, &limit);
            assert_eq!((after.code, after.value("connections")), (0, 7.0), "{run}: {after:?}");
            assert!(after.text().contains("6 ghosts among them"), "{run}: {after:?}");
        }
    });
}

/// They would be a doubt of every service of the host.
#[test]
fn sockets_that_a_stranger_made_ahead_are_no_doubt() {
    Lab::test(|lab| {
        let state = tempfile::tempdir().unwrap();
        let _service = lab.connected(ADDRESS, 1);
        let mut stranger = Command::new(example("peer"));
        stranger.arg("another");
        let mut stranger = lab.peer_by(stranger);
        stranger.say("socket ahead 8");
        for run in 0..2 {
            let outcome = look(&state, &["--limit=120"]);
            assert_eq!((outcome.code, outcome.value("connections")), (0, 1.0), "{run}: {outcome:?}");
        }
        stranger.say("socket more 8");
        let grown = look(&state, &["--limit=120"]);
        assert!(grown.code == 3 && grown.text().contains("up to 8 sockets may be reset"), "{grown:?}");
    });
}
