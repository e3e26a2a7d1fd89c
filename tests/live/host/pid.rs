//! `--pid`: what these processes hold, in every check that has `--unit`.

use crate::companion::run::connleak;
use crate::lab::run::{CLOSEWAIT, GROWTH, IDLE, Outcome, STATES, TENANTS};
use crate::lab::{CLOSE_WAIT, Lab};

const LOOK: [&str; 6] = ["-p27420", "--side=server", "--min-age=0s", "-w0", "-c100", "--ratio-min-count=1000"];

fn look(pid: &str, more: &[&str]) -> Outcome {
    CLOSEWAIT.run(&[&LOOK[..], &["--pid", pid], more].concat())
}

#[test]
fn only_what_the_processes_hold_is_counted_by_each_check() {
    Lab::test(|lab| {
        let ours = lab.leaking_server("127.0.0.1:27420", 3);
        let mut theirs = lab.peer();
        let mut client = lab.peer();
        theirs.say("listen l [::1]:27420");
        client.say("connect c [::1]:27420 4");
        theirs.say("accept s l 4");
        client.say("close c");
        lab.wait_for(CLOSE_WAIT, 27420, 7);
        client.say("connect open [::1]:27420 2");
        theirs.say("accept open l 2");
        let [our, their] = [&ours, &theirs].map(|peer| peer.pid().to_string());
        for (pid, count) in [(our.clone(), 3.0), (their.clone(), 4.0), (format!("{our},{their}"), 7.0)] {
            let outcome = look(&pid, &[]);
            assert_eq!((outcome.code, outcome.value("close_wait")), (1, count), "{outcome:?}");
        }
        let next = look(&our, &["-v"]);
        let command = format!("look: connleak who -p 27420 --side server --pid {our}");
        assert!(next.output().long_text.contains(&command), "{next:?}");
        let who = connleak(&["who", "-p27420", "--side=server", "--pid", &our]);
        assert!(who.contains(&format!("peer[{our}]")) && !who.contains(&their), "{who:?}");

        let state = tempfile::tempdir().unwrap();
        let state = format!("--state-dir={}", state.path().display());
        let server = ["-p27420", "--side=server", "--pid"];
        for (check, label, counts, more) in [
            (IDLE, "established", [0.0, 2.0], &["--min-age=0s"][..]),
            (STATES, "close_wait", [3.0, 4.0], &[]),
            (TENANTS, "connections", [3.0, 6.0], &["--key=user"]),
            (GROWTH, "connections", [3.0, 6.0], &[&state]),
        ] {
            for (pid, count) in [&our, &their].into_iter().zip(counts) {
                let outcome = check.run(&[&server[..], &[pid.as_str()], more].concat());
                assert_eq!(outcome.value(label), count, "{outcome:?}");
            }
        }

        theirs.end();
        let partly = look(&format!("{our},{their}"), &[]);
        assert!(partly.text().contains(&format!("process {their} (--pid) is gone")), "{partly:?}");
        let gone = look(&their, &[]);
        assert!(gone.code == 3 && gone.text().starts_with(&format!("no process {their} (--pid)")), "{gone:?}");
        let refused = CLOSEWAIT.unprivileged(&[&LOOK, &["--pid", our.as_str()][..]].concat());
        assert!(refused.code == 3 && refused.text().contains("--pid needs that user's rights"), "{refused:?}");
    });
}

/// A ghost has no port: those of processes that weren't chosen can't be the choice's.
#[test]
fn ghosts_are_the_chosen_processes_alone() {
    Lab::test(|lab| {
        let (mut server, mut client) = lab.connected("127.0.0.1:27420", 4);
        client.say("shutdown c");
        lab.wait_for(CLOSE_WAIT, 27420, 4);
        client.say("reset c");
        lab.wait_for(CLOSE_WAIT, 27420, 0);
        let other = lab.peer();
        let theirs = look(&server.pid().to_string(), &[]);
        assert_eq!((theirs.code, theirs.value("ghosts"), theirs.value("close_wait")), (1, 4.0, 4.0), "{theirs:?}");
        for asked in [&[][..], &["--ghosts"], &["-v"]] {
            let none = look(&other.pid().to_string(), asked);
            assert_eq!((none.code, none.value("close_wait")), (0, 0.0), "{none:?}");
        }
        server.say("close s");
        assert_eq!(look(&server.pid().to_string(), &[]).code, 0);
    });
}

#[test]
fn a_choice_of_processes_is_no_choice_of_a_unit_or_a_recording() {
    for (check, more) in [(CLOSEWAIT, "--unit=x"), (IDLE, "--replay=x.nl"), (STATES, "--unit=x"), (TENANTS, "--unit=x")]
    {
        let refused = check.run(&["-p27420", "--pid=1", more]);
        let says = "--pid names this machine's processes: leave out --unit and --replay";
        assert!(refused.code == 3 && refused.text().contains(says), "{refused:?}");
    }
}
