//! The step of `action.yml` that checks, around clean and leaking stops.

use crate::lab::Lab;
use crate::lab::run::{ORPHANS, run};
use std::path::Path;

#[path = "../../support/action.rs"]
mod runner;

use runner::Runner;

const LEFT: &str = "held by peer[";

/// A runner on which the check is installed.
fn runner(inputs: &[(&str, &str)]) -> Runner {
    let mut runner = Runner::new(inputs);
    runner.install(Path::new(ORPHANS.0).parent().unwrap());
    runner
}

#[test]
fn the_action_passes_where_nothing_is_left_and_names_who_keeps_sockets() {
    Lab::test(|lab| {
        for is_leaking in [false, true] {
            let (server, mut client) = lab.connected("127.0.0.1:11211", 3);
            if !is_leaking {
                client.say("close c");
            }
            let stop = format!("kill {}\necho stopped", server.pid());
            let inputs = [("inputs.port", "11211"), ("inputs.wait", "1s"), ("inputs.stop", &stop)];
            let runner = runner(&[&inputs[..], &[("inputs.junit", "orphans.xml")]].concat());
            let outcome = run(&mut runner.step("Check"));
            assert_eq!(outcome.code, if is_leaking { 2 } else { 0 }, "{outcome:?}");
            assert_eq!(
                outcome.stdout.contains("::error title=check_orphans_after_stop::ORPHANS_AFTER_STOP CRITICAL"),
                is_leaking
            );
            for file in ["GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT"] {
                let text = runner.written(file);
                assert!(text.lines().count() == 1 && !text.contains('|'), "{file}: {text}");
                assert_eq!(text.contains(LEFT), is_leaking, "{file}: {text}");
            }
            assert!(runner.written("GITHUB_OUTPUT").starts_with("line=ORPHANS_AFTER_STOP "), "{outcome:?}");
            assert!(runner.written("orphans.xml").contains("<testsuite"), "{outcome:?}");
            drop((server, client));
            lab.wait_for(crate::lab::CLOSE_WAIT, 11211, 0);
        }
    });
}

/// Stopped by an earlier step; a pool's own end; a stop that fails in its middle.
#[test]
fn the_actions_inputs_reach_the_check() {
    Lab::test(|lab| {
        let (_server, mut client) = lab.connected("127.0.0.1:11211", 2);
        let pool = [("inputs.profile", "memcached"), ("inputs.side", "client"), ("inputs.wait", "200ms")];
        let outcome = run(&mut runner(&pool).step("Check"));
        assert!(outcome.code == 2 && outcome.stdout.contains(LEFT), "{outcome:?}");
        let more = [&pool[..], &[("inputs.options", "--peer 192.0.2.1 -v")]].concat();
        let outcome = run(&mut runner(&more).step("Check"));
        assert_eq!(outcome.code, 0, "{outcome:?}");
        client.say("close c");
        let failing = [("inputs.port", "11211"), ("inputs.stop", "false | cat\ntouch went-on")];
        let stopped = runner(&failing);
        let outcome = run(&mut stopped.step("Check"));
        assert!(outcome.code == 3 && !stopped.dir.path().join("went-on").exists(), "{outcome:?}");
        // Nothing in an input is a command of the step.
        let planted = [("inputs.port", "11211; touch planted $(touch planted)")];
        let runner = runner(&planted);
        let outcome = run(&mut runner.step("Check"));
        assert_eq!(outcome.code, 3, "{outcome:?}");
        assert!(!runner.dir.path().join("planted").exists());
    });
}
