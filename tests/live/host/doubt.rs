//! One rule for what can't be known, in every check: where it can't change the verdict it is mentioned, else UNKNOWN.

use super::sides::listener;
use crate::lab::run::suite::CHECKS;
use crate::lab::run::{CLOSEWAIT, Check, GROWTH, IDLE, ORPHANS, Outcome, STATES, TENANTS};
use crate::lab::{CLOSE_WAIT, ESTABLISHED, Lab};
use std::fs;
use std::path::Path;

const PORT: &str = "-p27701";

/// A check with thresholds that the doubt can't reach, and with some that it can.
type Case = (Check, &'static [&'static str], &'static [&'static str]);

fn assert_says(outcome: &Outcome, code: i32, says: &str) {
    assert_eq!(outcome.code, code, "{outcome:?}");
    assert!(outcome.text().contains(says), "no '{says}': {outcome:?}");
}

/// For root and nobody.
fn state_dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(dir.path(), Some(65534), None).unwrap();
    dir
}

/// Runs each on a state directory of its own: `as_whom` is told the check and its options.
fn holds(cases: &[Case], as_whom: impl Fn(Check, &[&str]) -> Outcome, choice: &[&str], says: &str) {
    for (check, harmless, decisive) in cases {
        for (rules, code) in [(harmless, 0), (decisive, 3)] {
            let state = state_dir();
            let dir = ["--state-dir", state.path().to_str().unwrap()];
            let state = if *check == GROWTH { &dir[..] } else { &[] };
            let outcome = as_whom(*check, &[&[PORT], choice, rules, state].concat());
            assert_says(&outcome, code, says);
        }
    }
}

/// Where nobody can tell how much is hidden no threshold is out of its reach: all checks, with mild ones.
fn is_never_ok(as_whom: impl Fn(Check, &[&str]) -> Outcome, choice: &[&str], says: &str) {
    for check in CHECKS {
        let state = state_dir();
        let dir = ["--state-dir", state.path().to_str().unwrap()];
        let own: &[&str] = match check {
            ORPHANS => &["--wait=0s", "-w5000", "-c5000"],
            GROWTH => &dir,
            TENANTS => &["--key=user", "--limit=5000"],
            _ => &["-w5000", "-c5000"],
        };
        assert_says(&as_whom(check, &[&[PORT], choice, own].concat()), 3, says);
    }
}

/// Connections that nobody accepted are their listener's: of two that share a port, and are of different
/// users, it can't be told which.
#[test]
fn sockets_of_which_it_is_not_known_whose_they_are() {
    Lab::test(|lab| {
        let (mut of_root, mut of_nobody, mut client) = (listener(lab), listener(lab), lab.peer());
        of_root.say("listen l 127.0.0.1:27701 reuseport");
        of_nobody.say("listen l 127.0.0.1:27701 reuseport uid=65534");
        client.say("connect stays 127.0.0.1:27701 16");
        client.say("connect goes 127.0.0.1:27701 1");
        client.say("close goes");
        lab.wait_for(CLOSE_WAIT, 27701, 1);
        lab.wait_for(ESTABLISHED, 27701, 32);
        let cases: [Case; 5] = [
            (CLOSEWAIT, &["--min-age=0s", "-w50", "-c100"], &["--min-age=0s", "-w0", "-c100"]),
            (ORPHANS, &["--wait=0s", "-w50", "-c100"], &["--wait=0s", "-w1", "-c100"]),
            (TENANTS, &["--key=user", "--limit=100", "-w50", "-c80"], &["--key=user", "--limit=2", "-w50", "-c80"]),
            (STATES, &["-w50", "-c100"], &["-w1", "-c100"]),
            (IDLE, &["--min-age=0s", "-w50", "-c100"], &["--min-age=0s", "-w0", "-c100"]),
        ];
        let choice = ["--side=server", "--user=0"];
        holds(&cases, Check::run, &choice, "but whose they are can't be told");
        // As many as a leak needs, of which no number tells; fewer of them are a unit test of the outcome.
        let state = state_dir();
        let dir = state.path().to_str().unwrap();
        let options = [&[PORT, "--limit=100", "-w50", "--state-dir", dir], &choice[..]].concat();
        assert_says(&GROWTH.run(&options), 3, "17 more, but whose they are can't be told");
    });
}

/// `/proc/net` has none.
#[test]
fn ages_that_are_hidden() {
    Lab::test(|lab| {
        let (mut server, mut client) = lab.connected("127.0.0.1:27701", 3);
        client.say("connect goes 127.0.0.1:27701 1");
        server.say("accept s l 1");
        client.say("close goes");
        // Half closed: in FIN_WAIT2, which has no timer as long as a process has it.
        client.say("connect half 127.0.0.1:27701 1");
        server.say("accept h l 1");
        server.say("shutdown h");
        lab.wait_for(CLOSE_WAIT, 27701, 2);
        let cases: [Case; 4] = [
            (CLOSEWAIT, &["-w50", "-c100"], &["-w50", "-c100", "--oldest-warning=1h"]),
            (IDLE, &["-w50", "-c100"], &["-w0", "-c100"]),
            (
                TENANTS,
                &["--key=user", "--limit=100", "--close-wait-warning=9", "--idle-warning=50"],
                &["--key=user", "--limit=100", "--close-wait-warning=9", "--idle-warning=0"],
            ),
            (STATES, &["--stuck-warning=50"], &["--stuck-warning=0"]),
        ];
        holds(&cases, Check::run, &["--source=proc", "--side=server"], "unknown");
    });
}

/// Half of the tables is there.
#[test]
fn tables_that_are_incomplete() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("net")).unwrap();
    let calm = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/calm/net/tcp");
    fs::copy(calm, root.path().join("net/tcp")).unwrap();
    // Not absent, as on a host without IPv6: it can't be read.
    fs::create_dir(root.path().join("net/tcp6")).unwrap();
    let root = format!("--proc-root={}", root.path().display());
    is_never_ok(Check::run, &["-p11211", &root, "--source=proc"], "tcp6");
}

/// Hidden processes may have any.
#[test]
fn namespaces_that_can_t_be_looked_for() {
    Lab::test(|_| {
        is_never_ok(|check, args| check.under_hidepid(2, args), &["--netns=all"], "maybe more namespaces");
    });
}

/// What another user's process has may not be read.
#[test]
fn processes_that_may_not_be_read() {
    Lab::test(|lab| {
        let (_server, _client) = lab.connected("127.0.0.1:27701", 3);
        let cases: [Case; 1] =
            [(TENANTS, &["--key=unit", "--limit=100", "-w50"], &["--key=unit", "--limit=4", "-w50"])];
        holds(&cases, Check::unprivileged, &["--side=server"], "of unknown tenants");
        let state = state_dir();
        let dir = state.path().to_str().unwrap();
        let outcome = GROWTH.unprivileged(&[PORT, "--metric=fds", "--state-dir", dir]);
        assert_says(&outcome, 3, "may not be read");
    });
}
