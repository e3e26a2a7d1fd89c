//! What earlier runs saw tells whose a descriptor is whose socket has left the tables.

use crate::lab::run::{CLOSEWAIT, CONNLEAK, Check, GROWTH, Outcome, run};
use crate::lab::{ESTABLISHED, Lab, Peer, example};
use crate::sessions::pasted::Application;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const ADDRESS: &str = "127.0.0.1:27421";

fn look(state: &TempDir, more: &[&str]) -> Outcome {
    CLOSEWAIT.run(&[&["-p27421", "--state-dir", state.path().to_str().unwrap()], more].concat())
}

/// One that is called otherwise than all who talk to the service.
fn stranger(lab: &Lab) -> Peer {
    let mut command = Command::new(example("peer"));
    command.arg("another");
    lab.peer_by(command)
}

/// The service `t`, a client of its own, and a stranger with a socket of another service and 30 connections, `gone`.
fn with_a_stranger(lab: &Lab) -> (Peer, Peer, Peer) {
    let (mut server, used) = lab.connected(ADDRESS, 1);
    let mut leaker = stranger(lab);
    leaker.say("listen other 127.0.0.1:27422");
    leaker.say(&format!("connect gone {ADDRESS} 30"));
    server.say("accept t l 30");
    (server, used, leaker)
}

/// MariaDB's `wait_timeout` resets at once: of a client that has connections to others nothing else tells.
#[test]
fn a_connection_that_was_seen_is_the_services_after_its_reset() {
    Lab::test(|lab| {
        let state = tempfile::tempdir().unwrap();
        let (mut server, _used, mut leaker) = with_a_stranger(lab);
        let healthy = look(&state, &[]);
        assert_eq!((healthy.code, healthy.value("established")), (0, 62.0), "{healthy:?}");
        server.say("reset t");
        lab.wait_for(ESTABLISHED, 27421, 2);
        // Known by its sockets, then by itself.
        for run in 0..3 {
            let found = look(&state, &[]);
            assert_eq!((found.code, found.value("ghosts")), (2, 30.0), "{run}: {found:?}");
            assert!(found.text().contains(&format!("all held by peer[{}]", leaker.pid())), "{run}: {found:?}");
        }
        let narrowed = look(&state, &["--peer=10.0.0.0/8"]);
        assert_eq!((narrowed.code, narrowed.value("close_wait")), (0, 0.0), "another choice's memory: {narrowed:?}");
        leaker.say("close gone");
        assert_eq!(look(&state, &[]).code, 0);
    });
}

/// Sockets that a program makes ahead look the same as those that were reset, but neither grow nor are of who talks
/// to the service.
#[test]
fn sockets_made_ahead_by_a_stranger_are_no_alarm() {
    Lab::test(|lab| {
        let state = tempfile::tempdir().unwrap();
        let _service = lab.connected(ADDRESS, 1);
        let mut other = stranger(lab);
        other.say("socket ahead 8");
        for run in 0..2 {
            let outcome = look(&state, &[]);
            assert_eq!((outcome.code, outcome.value("close_wait")), (0, 0.0), "{run}: {outcome:?}");
            let said = format!("8 ghosts of processes not known to talk to it don't count (peer[{}])", other.pid());
            assert!(outcome.text().contains(&said), "{run}: {outcome:?}");
        }
        other.say("socket more 8");
        for run in 0..2 {
            let grown = look(&state, &[]);
            assert_eq!(grown.code, 3, "{run}: {grown:?}");
            let said = format!(
                "up to 8 sockets may be reset and not closed here, ghosts of processes without any socket may be the service's, most of peer[{}]",
                other.pid()
            );
            assert!(grown.text().contains(&said), "{run}: {grown:?}");
        }
        other.say("close more");
        assert_eq!(look(&state, &[]).code, 0);
        // One that ran at an earlier look without any has them since.
        let mut later = stranger(lab);
        assert_eq!(look(&TempDir::new().unwrap(), &[]).code, 0);
        let fresh = tempfile::tempdir().unwrap();
        assert_eq!(look(&fresh, &[]).code, 0);
        later.say("socket ahead 8");
        assert_eq!(look(&fresh, &[]).code, 3);
    });
}

#[test]
fn without_a_memory_ghosts_of_processes_with_other_sockets_are_doubt() {
    Lab::test(|lab| {
        let (mut server, _used, mut leaker) = with_a_stranger(lab);
        server.say("reset t");
        lab.wait_for(ESTABLISHED, 27421, 2);
        let file = tempfile::NamedTempFile::new().unwrap();
        let blind = CLOSEWAIT.run(&["-p27421", "--state-dir", file.path().to_str().unwrap()]);
        assert_eq!(blind.code, 3, "{blind:?}");
        assert!(blind.text().contains("what talked to it is not remembered: "), "{blind:?}");
        assert!(blind.text().contains(&format!("peer[{}]", leaker.pid())), "{blind:?}");
        leaker.say("close gone");
        let healthy = CLOSEWAIT.run(&["-p27421", "--state-dir", file.path().to_str().unwrap()]);
        assert_eq!(healthy.code, 0, "nothing is missed: {healthy:?}");
    });
}

/// What was cut is not what nobody wrote: what it told is a doubt.
#[test]
fn a_memory_that_is_damaged_makes_others_ghosts_a_doubt() {
    Lab::test(|lab| {
        let (mut server, _used, _leaker) = with_a_stranger(lab);
        let states = [(); 4].map(|()| tempfile::tempdir().unwrap());
        states.iter().for_each(|state| assert_eq!(look(state, &[]).code, 0));
        server.say("reset t");
        lab.wait_for(ESTABLISHED, 27421, 2);
        for (state, keeps) in states.iter().zip([0.0, 0.1, 0.9, 1.0]) {
            let file = files(state.path()).pop().unwrap();
            let whole = std::fs::read(&file).unwrap();
            // The last one by a whole number of its numbers.
            let length = if keeps == 1.0 { whole.len() - 8 } else { (whole.len() as f64 * keeps) as usize };
            std::fs::write(&file, &whole[..length]).unwrap();
            let found = look(state, &[]);
            assert_eq!(found.code, 3, "{length} of {}: {found:?}", whole.len());
            let said = format!("{}: damaged", file.display());
            assert!(found.text().contains(&said), "{found:?}");
            let again = look(state, &[]);
            assert!(!again.text().contains("damaged"), "written anew: {again:?}");
        }
    });
}

/// All files below.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// What a check recorded in the state directory any other knows, at its first run too.
#[test]
fn what_one_check_met_is_the_services_for_all_others() {
    let with = |check: Check, state: &TempDir, more: &[&str]| {
        check.run(&[&["-p27421", "--state-dir", state.path().to_str().unwrap()], more].concat())
    };
    Lab::test(|lab| {
        let (mut server, _used, mut leaker) = with_a_stranger(lab);
        let [by_growth, by_closewait, by_nobody] = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let limit = ["--limit=120", "--side=client"];
        // One run knows processes, the other sockets alone.
        assert_eq!(with(GROWTH, &by_growth, &["--limit=120"]).code, 0);
        assert_eq!(with(CLOSEWAIT, &by_closewait, &["--side=client"]).code, 0);
        server.say("reset t");
        lab.wait_for(ESTABLISHED, 27421, 2);
        let found = look(&by_growth, &[]);
        assert_eq!((found.code, found.value("ghosts")), (2, 30.0), "{found:?}");
        assert!(found.text().contains(&format!("all held by peer[{}]", leaker.pid())), "{found:?}");
        let files = |state: &TempDir| with(GROWTH, state, &["--metric=fds"]).value("fds");
        assert_eq!(files(&by_growth), files(&by_nobody), "of who listens alone");
        let grown = with(GROWTH, &by_closewait, &limit);
        assert_eq!((grown.code, grown.value("connections")), (0, 31.0), "{grown:?}");
        assert!(grown.text().contains("30 ghosts among them"), "{grown:?}");
        for (state, is_known) in [(&by_growth, true), (&by_nobody, false)] {
            let who = run(Command::new(CONNLEAK).args(["who", "-p27421", "--state-dir"]).arg(state.path()));
            let said = format!("ghosts, descriptors of sockets that no table shows: 30 (30 peer[{}])", leaker.pid());
            assert_eq!((who.code, who.stdout.contains(&said)), (0, is_known), "{who:?}");
        }
        let unknown = look(&by_nobody, &[]);
        assert_eq!((unknown.code, unknown.value("ghosts")), (0, 0.0), "{unknown:?}");
        // What can't be read may tell.
        for path in std::fs::read_dir(by_growth.path().join("0")).unwrap().map(|file| file.unwrap().path()) {
            std::fs::remove_file(&path).unwrap();
            std::fs::create_dir(&path).unwrap();
        }
        let unread = look(&by_growth, &[]);
        assert_eq!(unread.code, 3, "{unread:?}");
        leaker.say("close gone");
        assert_eq!(look(&by_closewait, &[]).code, 0);
    });
}

/// Opens connections, and becomes another program by execve(2), which closes them.
const BECOMES_ANOTHER: &str = "
import os, socket, sys
kept = []
print((sys.argv[1:] or ['ready'])[0], flush=True)
for line in sys.stdin:
    word, port, count = line.split()
    if word == 'exec':
        os.execv(sys.executable, sys.orig_argv[:3] + ['done'])
    kept += [socket.create_connection(('127.0.0.1', int(port))) for _ in range(int(count))]
    print('done', flush=True)
";

#[test]
fn who_has_become_another_program_is_not_the_services() {
    Lab::test(|lab| {
        let state = tempfile::tempdir().unwrap();
        let (mut server, _used) = lab.connected(ADDRESS, 1);
        server.say("listen others 127.0.0.1:27422");
        let mut application = Application::start(Path::new("python3"), BECOMES_ANOTHER);
        application.tell("open 27421 3");
        server.say("accept t l 3");
        let grows = || GROWTH.run(&["-p27421", "--limit=120", "--state-dir", state.path().to_str().unwrap()]);
        assert_eq!(grows().code, 0);
        application.tell("exec 0 0");
        server.say("close t");
        application.tell("open 27422 31");
        server.say("accept u others 31");
        // Once they have been reset nothing tells whose they were.
        for _ in 0..2 {
            assert_eq!(grows().code, 0);
        }
        application.tell("open 27422 1");
        server.say("accept kept others 1");
        server.say("reset u");
        let healthy = look(&state, &[]);
        assert_eq!((healthy.code, healthy.value("ghosts")), (0, 0.0), "{healthy:?}");
        assert!(healthy.text().contains("31 ghosts of processes with other sockets don't count"), "{healthy:?}");
    });
}
