//! What a parent may leave behind in a check: one line and the right exit code, whatever it is.

use crate::lab::Lab;
use crate::lab::run::{CLOSEWAIT, Check, GROWTH, IDLE, ORPHANS, Outcome, STATES, Started, TENANTS, poll, run};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// Ways to start a program with something left behind, as words before it.
const IGNORED: &[&str] = &["env", "--ignore-signal=CHLD"];
const BLOCKED: &[&str] = &["env", "--block-signal=TERM", "--block-signal=CHLD", "--block-signal=INT"];
const LIMITED: &[&str] = &["prlimit", "--as=268435456"];

fn by(words: &[&[&str]], check: Check, args: &[&str]) -> Command {
    let words = words.concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(check.0).args(args);
    command
}

fn one_line(outcome: Outcome) -> Outcome {
    assert_eq!((outcome.stdout.lines().count(), outcome.stderr.as_str()), (1, ""), "{outcome:?}");
    outcome
}

#[test]
fn a_stop_command_runs_once_whatever_becomes_of_children() {
    Lab::test(|_| {
        for words in [&[IGNORED][..], &[LIMITED], &[IGNORED, LIMITED], &[BLOCKED], &[BLOCKED, IGNORED, LIMITED]] {
            let dir = tempfile::tempdir().unwrap();
            let ran = dir.path().join("ran");
            let script = format!("echo x >>{}; exit $0", ran.display());
            let stop = |code| by(words, ORPHANS, &["-p4711", "--wait=0s", "--", "sh", "-c", &script, code]);
            let outcome = one_line(run(&mut stop("0")));
            assert_eq!(outcome.code, 0, "{words:?}: {outcome:?}");
            assert_eq!(fs::read_to_string(&ran).unwrap(), "x\n", "{words:?}");
            let outcome = one_line(run(&mut stop("5")));
            assert!(
                outcome.code == 3 && outcome.text().contains("failed with exit status 5"),
                "{words:?}: {outcome:?}"
            );
            assert_eq!(fs::read_to_string(&ran).unwrap(), "x\nx\n", "{words:?}");
        }
    });
}

/// A scheduler's SIGTERM comes through, and the stop command has none of what was left to us.
#[test]
fn blocked_signals_are_blocked_no_more() {
    for words in [&[BLOCKED][..], &[BLOCKED, LIMITED]] {
        let dir = tempfile::tempdir().unwrap();
        let status = dir.path().join("status");
        let script = format!("cat /proc/self/status >{0}.new; mv {0}.new {0}; exec sleep 300", status.display());
        let mut command = by(words, ORPHANS, &["-p4", "-t60", "--", "sh", "-c", &script]);
        let mut check = Started(command.stdout(Stdio::null()).spawn().unwrap());
        assert!(poll(PATIENCE, || status.exists()), "the stop command runs");
        let told = fs::read_to_string(&status).unwrap();
        assert!(told.contains("SigBlk:\t0000000000000000"), "{told}");
        kill_process(Pid::from_child(&check.0), Signal::TERM).unwrap();
        assert!(poll(PATIENCE, || check.0.try_wait().unwrap().is_some()), "{words:?}: SIGTERM ends it");
    }
}

#[test]
fn a_file_is_for_its_readers_whatever_the_umask() {
    Lab::test(|_| {
        let dir = tempfile::tempdir().unwrap();
        let (prom, junit) = (dir.path().join("x.prom"), dir.path().join("x.xml"));
        let args = ["-p4711", "-oprometheus", "--wait=0s", "--output-file", prom.to_str().unwrap()];
        let args = [&args[..], &["--junit", junit.to_str().unwrap()]].concat();
        let outcome = one_line(run(&mut by(&[&["sh", "-c", "umask 077; exec \"$0\" \"$@\""]], ORPHANS, &args)));
        assert_eq!(outcome.code, 0, "{outcome:?}");
        for file in [&prom, &junit] {
            assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o644, "{file:?}");
        }
    });
}

/// What can't be written is said; where standard output is such a file only the exit code can say it.
#[test]
fn a_limit_of_file_sizes_ends_no_check_without_a_line() {
    Lab::test(|_| {
        let dir = tempfile::tempdir().unwrap();
        let (prom, state) = (dir.path().join("x.prom"), dir.path().join("state"));
        let file = |check, args: &[&str], words: &[&str]| {
            let output = by(&[&["prlimit", "--fsize=0"], words], check, args).output().unwrap();
            assert!(output.status.signal().is_none() && output.stderr.is_empty(), "{args:?}: {output:?}");
            (output.status.code(), String::from_utf8(output.stdout).unwrap())
        };
        for words in [&[][..], LIMITED] {
            let args = ["-p4711", "-oprometheus", "--output-file", prom.to_str().unwrap()];
            let (code, told) = file(CLOSEWAIT, &args, words);
            assert!(code == Some(3) && told.lines().count() == 1 && told.contains("File too large"), "{told}");
            assert!(!prom.exists());
            let args = ["-p4711", "--limit=9", "--state-dir", state.to_str().unwrap()];
            let (code, told) = file(GROWTH, &args, words);
            assert!(
                told.lines().count() == 1 && told.contains("history: files may have 0 bytes; raise that (ulimit -f)"),
                "{code:?}: {told}"
            );
            let (code, told) = file(ORPHANS, &["-p4711", "--wait=0s", "--", "true"], words);
            assert!(code == Some(0) && told.lines().count() == 1, "{told}");
            let stdout = fs::File::create(dir.path().join("stdout")).unwrap();
            let mut full = by(&[&["prlimit", "--fsize=0"], words], CLOSEWAIT, &["-p4711"]);
            assert_eq!(full.stdout(stdout).status().unwrap().code(), Some(3));
        }
    });
}

/// The kernel takes back all the time that is left by such a signal.
#[test]
fn a_check_out_of_cpu_time_is_spoken_for() {
    Lab::test(|lab| {
        let (_server, _client) = lab.connected("127.0.0.1:4711", 1);
        let mut limited = by(&[&["prlimit", "--cpu=300"]], ORPHANS, &["-p4711", "--wait=50s", "-t60"]);
        let mut check = Started(limited.stdout(Stdio::piped()).spawn().unwrap());
        let pid = check.0.id();
        let children = format!("/proc/{pid}/task/{pid}/children");
        let child = || fs::read_to_string(&children).ok()?.trim().parse().ok().and_then(Pid::from_raw);
        // prlimit becomes the check.
        assert!(poll(PATIENCE, || child().is_some()), "the check has a guardian");
        kill_process(child().unwrap(), Signal::XCPU).unwrap();
        assert!(poll(PATIENCE, || check.0.try_wait().unwrap().is_some()));
        let mut told = String::new();
        check.0.stdout.take().unwrap().read_to_string(&mut told).unwrap();
        assert_eq!(check.0.wait().unwrap().code(), Some(3), "{told}");
        let wanted = "ended by signal 24: its CPU time is used up, of which it may have 300 s; raise that (ulimit -t)";
        assert!(told.lines().count() == 1 && told.contains(wanted), "{told}");
    });
}

#[test]
fn a_small_stack_is_enough() {
    Lab::test(|_| {
        let state = tempfile::tempdir().unwrap();
        let dir = ["--state-dir", state.path().to_str().unwrap()];
        let cases: [(Check, &[&str]); 6] = [
            (CLOSEWAIT, &[]),
            (GROWTH, &dir),
            (IDLE, &[]),
            (STATES, &["--baseline=auto", dir[0], dir[1]]),
            (TENANTS, &["--key=user"]),
            (ORPHANS, &["--wait=0s", "--", "true"]),
        ];
        for (check, args) in cases {
            let usual = check.run(&[&["-p4711"], args].concat()).code;
            for limit in ["65536:", "65536:65536", "32768:", "32768:32768"] {
                let stack = format!("--stack={limit}");
                let outcome = one_line(run(&mut by(&[&["prlimit", &stack]], check, &[&["-p4711"], args].concat())));
                assert_eq!(outcome.code, usual, "{limit}: {outcome:?}");
                let refused = one_line(run(&mut by(&[&["prlimit", &stack]], check, &["--rubbish"])));
                assert_eq!(refused.code, 3, "{limit}: {refused:?}");
            }
        }
    });
}

/// Closed streams of a check that has a child: nothing is written into what was opened in their place.
#[test]
fn closed_streams_under_a_memory_limit() {
    Lab::test(|_| {
        let dir = tempfile::tempdir().unwrap();
        let junit = dir.path().join("x.xml");
        for closed in ["<&-", "2>&-", "<&- 2>&-", ">&-", "<&- >&- 2>&-"] {
            let script = format!("exec {closed}; exec \"$0\" \"$@\"");
            let args =
                ["-p4711", "--wait=0s", "--junit", junit.to_str().unwrap(), "--", "sh", "-c", "echo a; echo b >&2"];
            let outcome = run(&mut by(&[&["sh", "-c", &script], LIMITED], ORPHANS, &args));
            assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{closed}: {outcome:?}");
            let lines = if closed.split(' ').any(|stream| stream == ">&-") { 0 } else { 1 };
            assert_eq!(outcome.stdout.lines().count().min(1), lines, "{closed}: {outcome:?}");
            assert!(fs::read_to_string(&junit).unwrap().ends_with("</testsuites>\n"), "{closed}");
        }
    });
}
