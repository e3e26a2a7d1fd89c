//! Little memory, few descriptors, closed streams: a right verdict or UNKNOWN, never a wrong one or none.

use crate::lab::run::{CLOSEWAIT, Check, GROWTH, ORPHANS, Outcome, PATIENCE, Started, hold_to_contract, poll, run};
use crate::lab::{CLOSE_WAIT, Lab, Peer};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::process::{Command, Stdio};

/// A process may have 20,000 descriptors on a careful host: several hold 100,000 sockets.
const CROWDS: usize = 6;
const CROWD: usize = 8_500;

/// Servers whose clients have closed, both ends held.
fn crowd(lab: &Lab) -> Vec<(Peer, Peer)> {
    let crowd = |host: usize| {
        let (mut server, mut client) = (lab.peer(), lab.peer());
        let address = format!("127.0.0.{host}:11211");
        server.say(&format!("listen l {address}"));
        for _ in 0..CROWD / 500 {
            client.say(&format!("connect c {address} 500"));
            server.say("accept s l 500");
        }
        client.say("shutdown c");
        (server, client)
    };
    let peers = (1..=CROWDS).map(crowd).collect();
    lab.wait_for(CLOSE_WAIT, 11211, CROWDS * CROWD);
    peers
}

/// A right answer, or one that says what was lacking.
#[test]
fn sixteen_mebibytes_at_a_hundred_thousand_sockets_end_in_a_line() {
    Lab::test(|lab| {
        let _peers = crowd(lab);
        let files = tempfile::tempdir().unwrap();
        let (state, saved) = (files.path().to_str().unwrap(), files.path().join("saved"));
        let save = format!("--save-baseline={}", saved.display());
        let cases: [(Check, &[&str], &[i32]); 6] = [
            (CLOSEWAIT, &["-p11211", "--min-age=0s"], &[2, 3]),
            (CLOSEWAIT, &["-p11211", "--min-age=0s", "--source=proc"], &[2, 3]),
            (GROWTH, &["-p11211", "--state-dir", state], &[0, 1, 2, 3]),
            (ORPHANS, &["-p11211", "--wait=0s"], &[2, 3]),
            (ORPHANS, &["-p11211", &save], &[0, 3]),
            (ORPHANS, &["-p11211", "--wait=0s", "-ojson"], &[2, 3]),
        ];
        for (check, args, codes) in cases {
            let outcome = hold_to_contract(run(Command::new("prlimit").arg("--as=16777216").arg(check.0).args(args)));
            assert!(codes.contains(&outcome.code), "{args:?}: {outcome:?}");
            let is_whole = |label| outcome.value(label) == (CROWDS * CROWD) as f64;
            match (check.0, outcome.code) {
                (_, 3) => assert!(outcome.stdout.contains("memory"), "{outcome:?}"),
                (program, _) if program == CLOSEWAIT.0 => assert!(is_whole("close_wait"), "{outcome:?}"),
                (program, _) if program == GROWTH.0 => assert!(is_whole("connections"), "{outcome:?}"),
                _ => {}
            }
        }
        assert!(!saved.exists() || saved.metadata().unwrap().len() > 1 << 20, "half a baseline");
    });
}

/// There the check is a child, which a scheduler doesn't know.
#[test]
fn under_a_memory_limit_a_signal_still_ends_the_stop_command() {
    let dir = tempfile::tempdir().unwrap();
    let pid_file = dir.path().join("pid");
    let script = format!("echo $$ >{0}.new; mv {0}.new {0}; exec sleep 300", pid_file.display());
    let mut limited = Command::new("prlimit");
    limited.args(["--as=268435456", ORPHANS.0, "-p4", "-t60", "--", "sh", "-c", &script]);
    let check = Started(limited.stdout(Stdio::null()).spawn().unwrap());
    assert!(poll(PATIENCE, || pid_file.exists()), "the stop command runs");
    let pid = fs::read_to_string(&pid_file).unwrap();
    kill_process(Pid::from_child(&check.0), Signal::TERM).unwrap();
    let stat = format!("/proc/{}/stat", pid.trim());
    let is_gone = || fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
    assert!(poll(PATIENCE, is_gone), "{pid} runs on");
}

/// Each check on a server with three sockets in CLOSE_WAIT, and what is right.
fn each_check(show: impl Fn(Check, &[&str], i32)) {
    let state = tempfile::tempdir().unwrap();
    let state = state.path().to_str().unwrap();
    show(CLOSEWAIT, &["-p11211", "--min-age=0s", "-w0", "-c100", "--ratio-min-count=1000"], 1);
    show(ORPHANS, &["-p11211", "--wait=0s"], 2);
    show(GROWTH, &["-p11211", "--state-dir", state], 0);
}

/// Runs it by a shell that first does something to itself.
fn after(deed: &str, check: Check, args: &[&str]) -> Outcome {
    run(Command::new("sh").args(["-c", &format!("{deed}\nshift; exec \"$0\" \"$@\""), check.0, ""]).args(args))
}

#[test]
fn sixteen_descriptors_are_enough() {
    Lab::test(|lab| {
        let server = lab.leaking_server("127.0.0.1:11211", 3);
        each_check(|check, args, code| {
            let outcome = hold_to_contract(after("ulimit -n 16", check, args));
            assert_eq!(outcome.code, code, "{outcome:?}");
            let text = outcome.text();
            assert!(code == 0 || text.contains(&format!("peer[{}]", server.pid())), "{text}");
            assert!(!text.contains("partial") && !text.contains("not remembered"), "{text}");
        });
    });
}

/// Three tell nothing wrong either, though there is hardly a file that can be opened.
#[test]
fn with_too_few_descriptors_nothing_is_ok() {
    Lab::test(|lab| {
        let _server = lab.leaking_server("127.0.0.1:11211", 3);
        for most in 3..9 {
            each_check(|check, args, code| {
                let outcome = after(&format!("ulimit -n {most}"), check, args);
                // Below, the program itself isn't loaded.
                assert!([code, 3, 127].contains(&outcome.code), "{most}: {outcome:?}");
                assert!(outcome.code == 127 || outcome.stderr.is_empty(), "{most}: {outcome:?}");
            });
        }
    });
}

/// Nothing is written into what was opened in a stream's place.
#[test]
fn closed_streams_change_no_verdict() {
    Lab::test(|lab| {
        let _server = lab.leaking_server("127.0.0.1:11211", 3);
        for closed in ["<&-", ">&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- >&- 2>&-"] {
            each_check(|check, args, code| {
                let outcome = after(&format!("exec {closed}"), check, args);
                assert_eq!((outcome.code, outcome.stderr.as_str()), (code, ""), "{closed}: {outcome:?}");
                let is_closed = closed.split(' ').any(|stream| stream == ">&-");
                assert_eq!(outcome.stdout.is_empty(), is_closed, "{closed}: {outcome:?}");
                let again = check.run(args);
                assert_eq!(again.code, code, "{closed}: {again:?}");
                assert!(!again.text().contains("anew"), "{closed}: {again:?}");
            });
        }
    });
}

#[test]
fn a_reader_that_is_gone_makes_it_unknown() {
    Lab::test(|lab| {
        let _server = lab.leaking_server("127.0.0.1:11211", 3);
        each_check(|check, args, _| {
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let output = Command::new(check.0).args(args).stdout(writer).output().unwrap();
            assert_eq!((output.status.code(), output.stderr.len()), (Some(3), 0), "{args:?}: {output:?}");
        });
    });
}
