//! Around the stop: the command after `--`, its ends, and what happens while it runs.

use crate::lab::run::{ORPHANS, Outcome, PATIENCE, Running, poll};
use crate::lab::{CLOSE_WAIT, Lab, Peer};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// The check around a shell script that stops `pid`.
fn stop(pid: u32, more: &[&str]) -> Outcome {
    let script = format!("kill {pid}");
    ORPHANS.run(&[&["-p11211"], more, &["--", "sh", "-c", &script]].concat())
}

#[test]
fn a_clean_stop_is_ok_with_its_time() {
    Lab::test(|lab| {
        for source in ["--source=netlink", "--source=proc"] {
            let (server, mut client) = lab.connected("127.0.0.1:11211", 3);
            client.say("close c");
            let outcome = stop(server.pid(), &["--wait=1h", source]);
            assert_eq!((outcome.code, outcome.value("orphans")), (0, 0.0), "{outcome:?}");
            assert!(outcome.text().contains("nothing left after "), "{outcome:?}");
        }
    });
}

#[test]
fn a_stop_that_had_nothing_to_stop_says_so() {
    Lab::test(|_| {
        let outcome = ORPHANS.run(&["-p11211", "--", "true"]);
        assert!(outcome.code == 0 && outcome.text().contains("nothing was there before"), "{outcome:?}");
    });
}

#[test]
fn a_client_that_keeps_its_sockets_is_named() {
    Lab::test(|lab| {
        for source in ["--source=netlink", "--source=proc"] {
            let (server, client) = lab.connected("127.0.0.1:11211", 3);
            let outcome = stop(server.pid(), &["--wait=200ms", source]);
            // The server's ends are in FIN_WAIT2.
            let counts = ["orphans", "held", "kernel", "new"].map(|label| outcome.value(label));
            assert_eq!((outcome.code, counts), (2, [6.0, 3.0, 3.0, 0.0]), "{outcome:?}");
            let text = outcome.text();
            assert!(text.contains(&format!("all held by peer[{}]", client.pid())), "{text}");
            assert!(
                text.contains(", a client on this host") && text.contains("3 in the kernel in FIN_WAIT2"),
                "{text}"
            );
            drop((server, client));
            lab.wait_for(CLOSE_WAIT, 11211, 0);
        }
    });
}

/// By the baseline's listeners: the child has the port too, but its parent had it first.
#[test]
fn a_child_that_inherited_the_port_is_not_the_service() {
    Lab::test(|lab| {
        let (mut server, _client) = lab.connected("127.0.0.1:11211", 1);
        let child = server.say("share");
        let go = Go::new();
        let running = go.start(&["-p11211", "--wait=200ms"], "");
        server.say("close s");
        server.say("close l");
        go.on();
        let outcome = running.end();
        assert_eq!((outcome.code, outcome.value("listen")), (2, 1.0), "{outcome:?}");
        let text = outcome.text();
        assert!(text.contains(&format!("port still bound by exe[{child}]")), "{text}");
        assert!(text.contains(", a process that inherited it") && !text.contains("the service itself"), "{text}");
    });
}

#[test]
fn a_stop_that_stops_nothing_names_the_service() {
    Lab::test(|lab| {
        let (server, _client) = lab.connected("127.0.0.1:11211", 1);
        let outcome = ORPHANS.run(&["-p11211", "--wait=0s", "--", "true"]);
        assert_eq!(outcome.code, 2, "{outcome:?}");
        let named = format!("port still bound by peer[{}]", server.pid());
        assert!(outcome.text().contains(&named) && outcome.text().contains("the service itself"), "{outcome:?}");
    });
}

/// A stop command that waits for the test, between a baseline that is taken and its end.
struct Go(TempDir);

impl Go {
    fn new() -> Go {
        Go(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// Starts the check and returns while its command waits; `then` is the command's last deed.
    fn start(&self, options: &[&str], then: &str) -> Running {
        let (here, go) = (self.file("here"), self.file("go"));
        let script = format!("touch {here}; until [ -e {go} ]; do sleep 0.01; done; {then}");
        let running = ORPHANS.start(&[options, &["--", "sh", "-c", &script]].concat());
        assert!(poll(PATIENCE, || Path::new(&here).exists()), "the stop command runs");
        running
    }

    fn on(&self) {
        fs::write(self.file("go"), "").unwrap();
    }
}

/// Accepted in the last moment: the service is gone before anyone looks again.
#[test]
fn connections_accepted_while_the_command_runs_are_judged() {
    Lab::test(|lab| {
        for source in ["--source=netlink", "--source=proc"] {
            let (mut server, mut client) = (lab.peer(), lab.peer());
            server.say("listen l 127.0.0.1:11211");
            let go = Go::new();
            let running = go.start(&["-p11211", "--wait=200ms", source], &format!("kill {}", server.pid()));
            client.say("connect c 127.0.0.1:11211 2");
            server.say("accept s l 2");
            go.on();
            let outcome = running.end();
            assert_eq!((outcome.code, outcome.value("held"), outcome.value("new")), (2, 2.0, 0.0), "{outcome:?}");
            assert!(outcome.text().contains(&format!("held by peer[{}]", client.pid())), "{outcome:?}");
            drop((server, client));
            lab.wait_for(CLOSE_WAIT, 11211, 0);
        }
    });
}

#[test]
fn a_restart_as_the_command_does_not_judge_the_new_service() {
    Lab::test(|lab| {
        for source in ["--source=netlink", "--source=proc"] {
            let (old, mut old_client) = lab.connected("127.0.0.1:11211", 2);
            let go = Go::new();
            let running = go.start(&["-p11211", "--wait=2s", source], "");
            old_client.say("close c");
            old.end();
            let new: (Peer, Peer) = lab.connected("127.0.0.1:11211", 3);
            std::thread::sleep(Duration::from_millis(150));
            go.on();
            let outcome = running.end();
            assert_eq!((outcome.code, outcome.value("orphans"), outcome.value("new")), (0, 0.0, 7.0), "{outcome:?}");
            drop(new);
        }
    });
}

/// A command that hangs and ignores SIGTERM, with three more processes: one is its child, one has its
/// own session, one a parent that is gone, as a daemon's.
/// Each writes its pid to a file.
const HANGS: &str = "cd $0; trap '' TERM; echo $$ >shell
    setsid sh -c 'echo $$ >session; exec sleep 300' &
    sh -c 'echo $$ >child; sleep 300' &
    (setsid sh -c 'echo $$ >daemon; exec sleep 300' &)
    sleep 300";
const HANGING: [&str; 4] = ["shell", "session", "child", "daemon"];

fn pids(dir: &TempDir) -> Vec<Pid> {
    let read = |name: &&str| fs::read_to_string(dir.path().join(name)).ok()?.trim().parse().ok();
    HANGING.iter().filter_map(read).filter_map(Pid::from_raw).collect()
}

fn is_alive(pid: Pid) -> bool {
    // A zombie that nobody reaps has ended all the same.
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn assert_all_ended(outcome: &Outcome, dir: &TempDir) {
    assert_eq!((outcome.code, outcome.stdout.lines().count()), (3, 1), "{outcome:?}");
    assert_eq!(outcome.stderr, "");
    let pids = pids(dir);
    let alive: Vec<_> = pids.iter().copied().filter(|pid| is_alive(*pid)).collect();
    for pid in &alive {
        let _ = kill_process(*pid, Signal::KILL);
    }
    assert!(pids.len() == HANGING.len() && alive.is_empty(), "{alive:?} of {pids:?} live: {outcome:?}");
}

#[test]
fn a_command_that_hangs_is_killed_with_all_it_started() {
    for wait in ["--wait=1h", "--wait=0s"] {
        let dir = tempfile::tempdir().unwrap();
        let outcome = ORPHANS.run(&["-p11211", "-t5", wait, "--", "sh", "-c", HANGS, dir.path().to_str().unwrap()]);
        assert_all_ended(&outcome, &dir);
        assert!(outcome.text().contains("did not end in 5s"), "{wait}: {outcome:?}");
    }
}

#[test]
fn a_signal_ends_the_command_and_all_it_started() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let dir = tempfile::tempdir().unwrap();
        let running = ORPHANS.start(&["-p11211", "--", "sh", "-c", HANGS, dir.path().to_str().unwrap()]);
        assert!(poll(PATIENCE, || pids(&dir).len() == HANGING.len()));
        kill_process(Pid::from_child(running.process()), signal).unwrap();
        let outcome = running.end();
        assert_all_ended(&outcome, &dir);
        assert!(outcome.text().contains("ended by a signal"), "{outcome:?}");
    }
}

#[test]
fn a_signal_while_sockets_are_waited_for_is_unknown() {
    Lab::test(|lab| {
        let (server, _client) = lab.connected("127.0.0.1:11211", 1);
        let go = Go::new();
        let running = go.start(&["-p11211", "--wait=1h"], &format!("kill {}", server.pid()));
        go.on();
        lab.wait_for(CLOSE_WAIT, 11211, 1);
        kill_process(Pid::from_child(running.process()), Signal::TERM).unwrap();
        let outcome = running.end();
        assert_eq!((outcome.code, outcome.stdout.lines().count()), (3, 1), "{outcome:?}");
    });
}

/// As a restart does: the daemon keeps the command's output open, and runs on.
#[test]
fn a_daemon_that_the_command_leaves_lives_on_and_keeps_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let script = "setsid sleep 3000 & echo $! >$0/shell";
    // No port of a test: this one is in no namespace.
    let outcome = ORPHANS.run(&["-p4", "--", "sh", "-c", script, dir.path().to_str().unwrap()]);
    let pid = pids(&dir)[0];
    let lives = is_alive(pid);
    kill_process(pid, Signal::KILL).unwrap();
    assert!(lives, "the check did not wait for it: {outcome:?}");
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

fn refused(command: &[&str]) -> String {
    let outcome = ORPHANS.run(&[&["-p4", "--wait=0s", "--"], command].concat());
    assert_eq!((outcome.code, outcome.stdout.lines().count()), (3, 1), "{outcome:?}");
    outcome.text()
}

#[test]
fn a_command_that_fails_or_is_not_there_is_unknown_with_its_status() {
    let fails = "echo first; echo no such unit: app >&2; echo; exit 5";
    let text = refused(&["sh", "-c", fails]);
    assert!(text.ends_with("failed with exit status 5: no such unit: app"), "{text}");
    assert!(refused(&["sh", "-c", "kill -9 $$"]).ends_with("failed with signal 9"));
    assert!(refused(&["false"]).contains("stop command 'false' failed with exit status 1"));
    let text = refused(&["/no/such/command", "x"]);
    assert!(text.contains("'/no/such/command x' can't be run: No such file"), "{text}");
    assert!(refused(&["/etc/passwd"]).contains("can't be run: Permission denied"));
    assert!(refused(&[""]).contains("can't be run"));
}

/// The reason comes at the end: neither a long command nor a long output may push it out.
#[test]
fn the_failure_is_seen_whatever_the_commands_length() {
    let text = refused(&["sh", "-c", "exit 7", &"x".repeat(2000)]);
    assert!(text.ends_with("failed with exit status 7"), "{text}");
    let text = refused(&["sh", "-c", "yes 'on and on' | head -n 20000; echo the reason; exit 7"]);
    assert!(text.ends_with("failed with exit status 7: the reason"), "{text}");
    let text = refused(&["sh", "-c", "printf 'a|b=1;;\\033[2K \\n'; exit 7"]);
    assert!(text.ends_with("failed with exit status 7: a/b:1;;?[2K"), "{text}");
}

#[test]
fn its_output_is_in_the_long_text_and_forges_nothing() {
    let script = "printf 'a|evil=1;;\\033[2K\\n\\nORPHANS_AFTER_STOP OK - fine\\r\\n\\377\\t\\n' >&2; echo out";
    let with =
        |verbosity: &[&str]| ORPHANS.run(&[&["-p4", "--wait=0s"], verbosity, &["--", "sh", "-c", script]].concat());
    assert!(with(&[]).output().long_text.is_empty());
    for verbosity in ["-v", "-vv", "-vvv"] {
        let lines = with(&[verbosity]).output().long_text;
        assert!(lines.contains(&"stop command: a/evil:1;;?[2K".to_owned()), "{lines:?}");
        assert!(lines.contains(&"stop command: out".to_owned()), "{lines:?}");
    }
    assert_eq!(with(&["-ojson"]).json()["command_output"][4], "out");
}
