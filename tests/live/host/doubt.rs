//! One rule for what can't be known, in every check: where it can't change the verdict it is mentioned, else UNKNOWN.

use super::sides::listener;
use crate::lab::run::{CLOSEWAIT, Check, IDLE, ORPHANS, STATES, TENANTS};
use crate::lab::{CLOSE_WAIT, ESTABLISHED, Lab};

const PORT: &str = "-p27701";

/// A check with thresholds that the doubt can't reach, and with some that it can.
type Case = (Check, &'static [&'static str], &'static [&'static str]);

const CASES: [Case; 5] = [
    (CLOSEWAIT, &["--min-age=0s", "-w50", "-c100"], &["--min-age=0s", "-w0", "-c100"]),
    (ORPHANS, &["--wait=0s", "-w50", "-c100"], &["--wait=0s", "-w1", "-c100"]),
    (TENANTS, &["--key=user", "--limit=100", "-w50", "-c80"], &["--key=user", "--limit=2", "-w50", "-c80"]),
    (STATES, &["-w50", "-c100"], &["-w1", "-c100"]),
    (IDLE, &["--min-age=0s", "-w50", "-c100"], &["--min-age=0s", "-w0", "-c100"]),
];

fn holds(choice: &[&str], says: &str) {
    for (check, harmless, decisive) in CASES {
        let run = |rules: &[&str]| check.run(&[&[PORT], choice, rules].concat());
        let outcome = run(harmless);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        assert!(outcome.text().contains(says), "no '{says}': {outcome:?}");
        let outcome = run(decisive);
        assert_eq!(outcome.code, 3, "{outcome:?}");
        assert!(outcome.text().contains(says), "no '{says}': {outcome:?}");
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
        holds(&["--side=server", "--user=0"], "can't be told whose they are");
    });
}
