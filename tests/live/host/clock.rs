//! Clocks that jump: a time namespace moves the uptime, as a container restored elsewhere sees it.
//!
//! The wall clock can't be set for one process; what it does is shown on injected samples in `src/history.rs`
//! and `tests/trend.rs`.

use crate::lab::Lab;
use crate::lab::run::{GROWTH, Outcome, hold_to_contract, run};
use std::process::Command;

#[test]
fn an_uptime_that_jumps_forth_and_back_neither_alarms_nor_loses_the_history() {
    Lab::test(|lab| {
        let (_server, _client) = lab.connected("127.0.0.1:4242", 9);
        let state = tempfile::tempdir().unwrap();
        let look = |offset: &str| -> Outcome {
            let mut check = Command::new("unshare");
            check.args(["--time", "--fork", "--boottime", offset, GROWTH.0, "-p4242", "--limit=10", "--state-dir"]);
            run(check.arg(state.path()))
        };
        if let Outcome { code: 1, stderr, .. } = look("0") {
            return lab.skip(&format!("a time namespace is refused: {stderr}"));
        }
        for offset in ["0", "86400", "0", "31536000", "3600", "0", "-1", "0"] {
            let outcome = hold_to_contract(look(offset));
            assert_eq!((outcome.code, outcome.value("connections")), (0, 9.0), "{offset}: {outcome:?}");
            assert!(!outcome.text().contains("leak in") && !outcome.text().contains("anew"), "{offset}: {outcome:?}");
        }
        let outcome = GROWTH.run(&["-p4242", "--limit=10", "--state-dir", state.path().to_str().unwrap()]);
        assert!(outcome.code == 0 && outcome.value("opened") == 0.0, "it goes on: {outcome:?}");
    });
}
