//! Connections over UNIX sockets: found by file and by name, both ends, in every state that the kernel tells.

use crate::lab::run::{Outcome, check, check_unprivileged, public_copy};
use crate::lab::{Lab, Peer, example};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

/// Where a test's sockets and memories are.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    pub fn at(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// With limits that tell each socket.
    pub fn check(&self, args: &[&str]) -> Outcome {
        check(
            &[&["--min-age=0s", "-w0", "-c100", "--ratio-min-count=100", "--state-dir", &self.at("state")], args]
                .concat(),
        )
    }

    /// A server that has accepted `count` connections of a client: names `s` and `c`.
    pub fn connected(&self, lab: &Lab, path: &str, count: u32) -> (Peer, Peer) {
        let (mut server, mut client) = (lab.peer(), lab.peer());
        server.say(&format!("listen l {path}"));
        client.say(&format!("connect c {path} {count}"));
        server.say(&format!("accept s l {count}"));
        (server, client)
    }

    /// The same of 10,000, which no backlog holds at once.
    pub fn crowded(&self, lab: &Lab, path: &str) -> (Peer, Peer) {
        let (mut server, mut client) = (lab.peer(), lab.peer());
        server.say(&format!("listen l {path}"));
        for _ in 0..10 {
            client.say(&format!("connect c {path} 1000"));
            server.say("accept s l 1000");
        }
        (server, client)
    }
}

fn counts(outcome: &Outcome) -> [f64; 2] {
    ["close_wait", "established"].map(|label| outcome.value(label))
}

/// The check's state, and what its first line must have.
pub fn says(outcome: &Outcome, code: i32, words: &[&str]) {
    let missing: Vec<_> = words.iter().filter(|words| !outcome.text().contains(**words)).collect();
    assert!(outcome.code == code && missing.is_empty(), "{code}, {missing:?}: {outcome:?}");
}

/// A client of another user, who may be told apart by that.
pub fn client_of(lab: &Lab, uid: u32) -> Peer {
    let (dir, copy) = public_copy(&example("peer"));
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &uid.to_string(), "--regid", &uid.to_string(), "--clear-groups"]).arg(copy);
    let peer = lab.peer_by(command);
    // Gone with the process: it runs already.
    std::mem::forget(dir);
    peer
}

#[test]
fn a_leak_is_found_cleared_and_found_again() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("x.sock");
        let (mut server, mut client) = place.connected(lab, &path, 5);
        let healthy = place.check(&["--unix", &path]);
        assert_eq!((healthy.code, counts(&healthy)), (0, [0.0, 10.0]), "{healthy:?}");
        for _ in 0..2 {
            client.say("close c");
            let leaking = place.check(&["--unix", &path]);
            assert_eq!((leaking.code, counts(&leaking)), (1, [5.0, 0.0]), "{leaking:?}");
            let by = format!("all held by peer[{}]", server.pid());
            assert!(leaking.text().contains(&by) && leaking.text().contains(&path), "{leaking:?}");
            let named = place.check(&["--unix", &path, "-vv"]);
            let line = format!("socket {path} from a closed end CLOSE_WAIT");
            assert!(named.stdout.contains(&line), "{named:?}");
            server.say("close s");
            let clear = place.check(&["--unix", &path]);
            assert_eq!((clear.code, counts(&clear)), (0, [0.0, 0.0]), "{clear:?}");
            client.say(&format!("connect c {path} 5"));
            server.say("accept s l 5");
        }
    });
}

/// The kernel tells of no ages: what an earlier run saw is old, all else may be.
#[test]
fn ages_are_those_of_earlier_looks() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("x.sock");
        let (mut server, mut client) = place.connected(lab, &path, 3);
        let old = |args: &[&str]| place.check(&[&["--unix", &path, "--min-age=1s"], args].concat());
        assert_eq!(old(&[]).code, 0);
        client.say("close c");
        let young = old(&[]);
        // It may have closed just after the look before.
        assert_eq!((young.value("close_wait"), young.value("close_wait_young")), (0.0, 3.0), "{young:?}");
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let stuck = old(&[]);
        assert_eq!((stuck.code, stuck.value("close_wait")), (1, 3.0), "{stuck:?}");
        assert!((1.1..30.0).contains(&stuck.value("close_wait_oldest")), "{stuck:?}");
        // Without a memory all count, and the line says so.
        let blind = old(&["--state-dir", &place.at("x.sock")]);
        assert_eq!((blind.code, blind.value("close_wait")), (1, 3.0), "{blind:?}");
        let words = ["ages unknown, all CLOSE_WAIT counted", "since when is not remembered: "];
        assert!(words.iter().all(|words| blind.text().contains(words)), "{blind:?}");
        server.say("close s");
        assert_eq!(old(&[]).code, 0);
    });
}

/// What the first run found may be older than any run knows: it counts until it has been seen for the minimal age. What came
/// between two runs is no older than the first of them.
#[test]
fn what_the_first_run_found_stays_of_unknown_age_until_it_is_old() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("x.sock");
        let (mut server, mut client) = place.connected(lab, &path, 3);
        client.say(&format!("connect d {path} 2"));
        server.say("accept t l 2");
        client.say("close c");
        // In its first second nobody can have looked a minute ago.
        let look = |min_age: &str| place.check(&["--unix", &path, "--min-age", min_age]);
        for run in 1..=3 {
            let counted = look("60s");
            let seen = (counted.code, counted.value("close_wait"), counted.output().value("close_wait_young"));
            assert_eq!(seen, (1, 3.0, None), "run {run}: {counted:?}");
            let words = "ages unknown until seen for 1m, all CLOSE_WAIT counted";
            assert!(counted.text().contains(words), "run {run}: {counted:?}");
        }
        client.say("close d");
        let both = look("60s");
        assert_eq!((both.code, both.value("close_wait")), (1, 3.0), "{both:?}");
        for words in ["2 younger", "ages of 3 unknown until seen for 1m, all of these counted"] {
            assert!(both.text().contains(words), "{both:?}");
        }
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let old = look("1s");
        assert_eq!((old.code, old.value("close_wait"), old.value("close_wait_young")), (1, 5.0, 0.0), "{old:?}");
        assert!((1.1..60.0).contains(&old.value("close_wait_oldest")), "{old:?}");
        assert!(old.text().contains("oldest at least 1") && !old.text().contains("ages"), "{old:?}");
    });
}

/// Nothing ties a client's end to its service any more once that has closed, but what was seen before.
#[test]
fn a_client_that_keeps_a_dead_connection_was_seen_before() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("x.sock");
        let (mut server, client) = place.connected(lab, &path, 4);
        assert_eq!(place.check(&["--unix", &path]).code, 0);
        server.say("close s");
        let first = place.check(&["--unix", &path]);
        assert_eq!((first.code, counts(&first)), (1, [4.0, 0.0]), "{first:?}");
        assert!(first.text().contains("4 client sockets"), "{first:?}");
        assert!(first.text().contains(&format!("all held by peer[{}]", client.pid())), "{first:?}");
        let again = place.check(&["--unix", &path]);
        assert_eq!((again.code, counts(&again)), (1, [4.0, 0.0]), "remembered by later runs too: {again:?}");
        client.end();
        assert_eq!(place.check(&["--unix", &path]).code, 0);
    });
}

/// Where all is well no peer is asked for that an earlier look knows. What came since, waits, or was shut down at both
/// ends counts as it does where all are asked.
#[test]
fn who_came_since_the_last_look_is_seen_too() {
    Lab::test(|lab| {
        let place = Place::new();
        let (path, other) = (place.at("x.sock"), place.at("y.sock"));
        let (mut server, mut client) = place.connected(lab, &path, 3);
        // Of another service: a client whose server has gone.
        let (gone, _stray) = place.connected(lab, &other, 1);
        gone.end();
        let both = |wanted: [f64; 2]| {
            for whole in [&[][..], &["-v"], &[]] {
                let seen = place.check(&[&["--unix", &path, "-w100"], whole].concat());
                assert_eq!((seen.code, counts(&seen)), (0, wanted), "{whole:?}: {seen:?}");
            }
        };
        both([0.0, 6.0]);
        client.say(&format!("connect d {path} 2"));
        server.say("accept t l 2");
        both([0.0, 10.0]);
        client.say(&format!("connect w {path} 1"));
        both([0.0, 12.0]);
        server.say("accept w l 1");
        both([0.0, 12.0]);
        client.say(&format!("connect e {path} 2"));
        server.say("accept e l 2");
        client.say("shutdown e");
        server.say("shutdown e");
        both([4.0, 12.0]);
        server.say("close t");
        both([6.0, 8.0]);
        client.say("close c");
        both([9.0, 2.0]);
    });
}

/// Where an earlier look told a listener's file, it isn't asked for again: what has come into its place since is seen as
/// it is where all is asked.
#[test]
fn what_was_told_of_files_is_no_longer_believed_once_another_listens() {
    Lab::test(|lab| {
        let place = Place::new();
        let [path, other, old] = ["x.sock", "y.sock", "old.sock"].map(|name| place.at(name));
        let (mut server, _client) = place.connected(lab, &path, 3);
        let both = |wanted: [f64; 2]| {
            for whole in [&[][..], &["-v"], &[]] {
                let seen = place.check(&[&["--unix", &path, "-w100"], whole].concat());
                assert_eq!((seen.code, counts(&seen)), (0, wanted), "{whole:?}: {seen:?}");
            }
        };
        both([0.0, 6.0]);
        // Another service's socket is put into its place; old connections of the name are on the same device.
        let (mut theirs, mut client) = place.connected(lab, &other, 2);
        client.say("close c");
        fs::rename(&other, &path).unwrap();
        both([2.0, 6.0]);
        theirs.say("close s");
        both([0.0, 6.0]);
        // A server that made its file anew, and still has what came by the old one.
        fs::rename(&path, &old).unwrap();
        server.say(&format!("listen m {path}"));
        client.say(&format!("connect d {path} 1"));
        server.say("accept t m 1");
        both([0.0, 8.0]);
        client.say("close d");
        both([1.0, 6.0]);
    });
}

/// The same name elsewhere in the same network namespace, after a look that told whose it was.
#[test]
fn a_namesake_that_comes_later_is_another_socket_too() {
    Lab::test(|lab| {
        let place = Place::new();
        let dir = place.at("run");
        fs::create_dir(&dir).unwrap();
        let path = format!("{dir}/x.sock");
        let (_server, _client) = place.connected(lab, &path, 1);
        let both = || {
            for whole in [&[][..], &["-v"], &[]] {
                let seen = place.check(&[&["--unix", &path, "-w100"], whole].concat());
                assert_eq!((seen.code, counts(&seen)), (0, [0.0, 2.0]), "{whole:?}: {seen:?}");
            }
        };
        both();
        let mut command = Command::new("unshare");
        let script = format!("mount -t tmpfs none {dir} && exec \"$0\"");
        command.args(["--mount", "sh", "-c", &script]).arg(crate::lab::example("peer"));
        let mut theirs = lab.peer_by(command);
        theirs.say(&format!("listen l {path}"));
        theirs.say(&format!("connect c {path} 3"));
        theirs.say("accept s l 3");
        theirs.say("close c");
        both();
    });
}

/// Whose a client's end was whose server had closed before anybody looked nothing tells: it is no absence.
#[test]
fn closed_ends_from_before_the_first_run_are_doubt() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("x.sock");
        let (mut server, client) = place.connected(lab, &path, 4);
        server.say("close s");
        let look = |more: &[&str]| place.check(&[&["--unix", &path], more].concat());
        let words = "4 closed ends of UNIX clients from before the first run, whose can't be told";
        let profile = place.at("mine.yaml");
        fs::write(&profile, format!("service: mine\nports: [3306]\nunix: [{path}]\n")).unwrap();
        for _ in 0..2 {
            let outcome = look(&["-w3"]);
            let seen = (outcome.code, counts(&outcome), outcome.text().contains(words));
            assert_eq!(seen, (3, [0.0, 0.0], true), "{outcome:?}");
            let calm = look(&["-w4"]);
            assert_eq!((calm.code, calm.text().contains(words)), (0, true), "{calm:?}");
            let of_server = look(&["-w3", "--side=server"]);
            assert_eq!((of_server.code, of_server.text().contains("ends of")), (0, false), "{of_server:?}");
            // Of a profile's usual sockets it is only said.
            let of_profile = place.check(&["-P", &profile, "-w3"]);
            assert_eq!((of_profile.code, of_profile.text().contains(words)), (0, true), "{of_profile:?}");
        }
        // Another service's clients that lose their server later are not its.
        let (gone, _later) = place.connected(lab, &place.at("y.sock"), 7);
        gone.end();
        let later = look(&["-w3"]);
        assert_eq!((later.code, later.text().contains(words)), (3, true), "{later:?}");
        client.end();
        let clear = look(&["-w3"]);
        assert_eq!((clear.code, clear.text().contains("ends of")), (0, false), "{clear:?}");
    });
}

#[test]
fn half_closed_is_closed_at_one_end_only() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("x.sock");
        let (_server, mut client) = place.connected(lab, &path, 2);
        client.say("shutdown c");
        let outcome = place.check(&["--unix", &path]);
        assert_eq!(counts(&outcome), [2.0, 0.0], "{outcome:?}");
        assert!(outcome.text().contains("2 server sockets"), "{outcome:?}");
        let of_client = place.check(&["--unix", &path, "--side=client"]);
        assert_eq!(counts(&of_client), [0.0, 0.0], "its own end is FIN_WAIT2: {of_client:?}");
    });
}

/// Who closes before he is accepted leaves a dead connection in the queue, which no descriptor has.
#[test]
fn what_nobody_accepts_is_the_listeners() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("x.sock");
        let (mut server, mut client) = (lab.peer(), lab.peer());
        server.say(&format!("listen l {path}"));
        client.say(&format!("connect c {path} 3"));
        let waiting = place.check(&["--unix", &path]);
        assert_eq!(counts(&waiting), [0.0, 6.0], "both ends of each: {waiting:?}");
        client.say("close c");
        let outcome = place.check(&["--unix", &path]);
        assert_eq!(counts(&outcome), [3.0, 0.0], "{outcome:?}");
        let by = format!("all held by peer[{}]", server.pid());
        assert!(outcome.text().contains(&by) && outcome.text().contains("all not accepted yet"), "{outcome:?}");
    });
}

#[test]
fn a_name_stays_what_was_bound_and_a_path_is_its_file() {
    Lab::test(|lab| {
        let place = Place::new();
        let [path, renamed, link] = ["x.sock", "y.sock", "link"].map(|name| place.at(name));
        let (mut server, mut client) = place.connected(lab, &path, 2);
        client.say("close c");
        let sees = |path: &str| counts(&place.check(&["--unix", path]));
        fs::rename(&path, &renamed).unwrap();
        symlink(&renamed, &link).unwrap();
        for known in [&path, &renamed, &link, &place.at("*.sock"), &place.at("?.sock")] {
            assert_eq!(sees(known), [2.0, 0.0], "{known}");
        }
        // Another listener's file in the place of the first: the name alone leads to both, the file to the new one.
        let (_other, _its) = place.connected(lab, &path, 1);
        assert_eq!(sees(&renamed), [2.0, 0.0]);
        assert_eq!(sees(&path), [2.0, 2.0], "old connections of a server that made its file anew");
        fs::remove_file(&renamed).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(sees(&path), [2.0, 2.0], "unlinked");
        server.say("close s");
        assert_eq!(sees(&path), [0.0, 2.0]);
        let (_server, mut client) = place.connected(lab, "@abstract", 3);
        client.say("close c");
        assert_eq!((sees("@abstract"), sees("@abs*"), sees("@abstrac?")), ([3.0, 0.0], [3.0, 0.0], [3.0, 0.0]));
    });
}

/// A container has a `/run` of its own, and its sockets the same names: they aren't the host's.
#[test]
fn another_mount_namespaces_namesake_is_another_socket() {
    Lab::test(|lab| {
        let place = Place::new();
        let dir = place.at("run");
        fs::create_dir(&dir).unwrap();
        let path = format!("{dir}/x.sock");
        let (_server, mut client) = place.connected(lab, &path, 1);
        client.say("close c");
        let script = format!("mount -t tmpfs none {dir} && exec \"$0\"");
        let within = |more: &[&str]| {
            let mut command = Command::new("unshare");
            command.arg("--mount").args(more).args(["sh", "-c", &script]).arg(crate::lab::example("peer"));
            lab.peer_by(command)
        };
        // In the same network namespace.
        let mut theirs = within(&[]);
        theirs.say(&format!("listen l {path}"));
        theirs.say(&format!("connect c {path} 3"));
        theirs.say("accept s l 3");
        theirs.say("close c");
        let ours = place.check(&["--unix", &path]);
        assert_eq!(counts(&ours), [1.0, 0.0], "{ours:?}");
        // Its connections outlive its listener, and are no more ours for that.
        theirs.say("close l");
        for _ in 0..2 {
            let ours = place.check(&["--unix", &path]);
            assert_eq!(counts(&ours), [1.0, 0.0], "{ours:?}");
        }
        // Of a network namespace of its own it is seen from there, by the path that it has there.
        let mut apart = within(&["--net"]);
        apart.say(&format!("listen l {path}"));
        apart.say(&format!("connect c {path} 2"));
        apart.say("accept s l 2");
        apart.say("close c");
        assert_eq!(counts(&place.check(&["--unix", &path])), [1.0, 0.0]);
        let pid = apart.pid().to_string();
        let there = place.check(&["--unix", &path, "--netns", &pid]);
        assert_eq!(counts(&there), [2.0, 0.0], "{there:?}");
        let all = place.check(&["--unix", &path, "--netns=all"]);
        assert_eq!(counts(&all), [6.0, 0.0], "the name, wherever: {all:?}");
    });
}

/// A connection is in the network namespace of who connected, at both ends.
#[test]
fn a_container_with_the_hosts_socket_is_seen_with_all_namespaces() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("x.sock");
        let mut server = lab.peer();
        server.say(&format!("listen l {path}"));
        let mut command = Command::new("unshare");
        command.arg("--net").arg(crate::lab::example("peer"));
        let mut client = lab.peer_by(command);
        client.say(&format!("connect c {path} 3"));
        server.say("accept s l 3");
        let here = place.check(&["--unix", &path]);
        assert_eq!(counts(&here), [0.0, 0.0], "{here:?}");
        let all = place.check(&["--unix", &path, "--netns=all"]);
        assert_eq!(counts(&all), [0.0, 6.0], "{all:?}");
        client.say("close c");
        let all = place.check(&["--unix", &path, "--netns=all"]);
        assert_eq!((all.code, counts(&all)), (1, [3.0, 0.0]), "{all:?}");
    });
}

#[test]
fn tcp_and_unix_count_together_and_are_told_apart() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("x.sock");
        let _tcp = lab.leaking_server("127.0.0.1:3306", 2);
        let (_server, mut client) = place.connected(lab, &path, 3);
        let labels = |args: &[&str]| {
            let metrics = place.check(args).output().metrics;
            metrics.into_iter().map(|metric| metric.label).collect::<Vec<_>>()
        };
        assert_eq!(labels(&["-p3306"]), labels(&["-p3306", "--unix", &path]), "one set of labels");
        client.say("close c");
        let both = place.check(&["-p3306", "--unix", &path]);
        assert_eq!(both.value("close_wait"), 5.0, "{both:?}");
        assert!(both.text().contains(&format!("3 over {path}")), "{both:?}");
        assert!(both.text().contains(&format!("mysql:{path} and port 3306: ")), "{both:?}");
        // A profile's usual sockets, unless what is meant is typed.
        let profile = place.at("mine.yaml");
        fs::write(&profile, format!("service: mine\nports: [3306]\nunix: [{path}]\n")).unwrap();
        let of = |args: &[&str]| place.check(&[&["-P", &profile], args].concat()).value("close_wait");
        assert_eq!((of(&[]), of(&["-p3306"]), of(&["--unix", &path])), (5.0, 2.0, 3.0));
        assert_eq!(of(&["--peer=127.0.0.0/8"]), 2.0, "which have no addresses");
    });
}

/// What hides when a peer closed is told of the kind of socket that it may change the verdict of.
#[test]
fn why_an_age_is_unknown_fits_the_kind_of_socket() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("x.sock");
        let _tcp = lab.connected("127.0.0.1:3306", 2);
        let (_server, mut client) = place.connected(lab, &path, 3);
        let look = || place.check(&["-p3306", "--unix", &path, "--min-age=1s"]);
        assert_eq!(look().code, 0);
        std::thread::sleep(std::time::Duration::from_millis(1100));
        client.say("close c");
        let late = look();
        let words = ["3 younger may be 1.", "as the peer closed some time before the run that first saw it: "];
        assert!(late.code == 3 && words.iter().all(|words| late.text().contains(words)), "{late:?}");
        assert!(!late.text().contains("keepalive"), "{late:?}");
    });
}

/// `/proc` doesn't tell what was shut down.
#[test]
fn proc_alone_is_never_ok_where_there_are_connections() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("x.sock");
        let (mut server, mut client) = place.connected(lab, &path, 2);
        let proc = || place.check(&["--unix", &path, "--source=proc"]);
        let words = "/proc doesn't tell which of 2 UNIX connections their peer has closed";
        for _ in 0..2 {
            let outcome = proc();
            assert_eq!((outcome.code, outcome.text().contains(words)), (3, true), "{outcome:?}");
            client.say("close c");
            client.say(&format!("connect c {path} 1"));
        }
        server.say("close s");
        assert_eq!(proc().code, 0, "none of them was accepted");
    });
}

#[test]
fn what_is_no_listener_is_unknown_and_says_who_listens() {
    Lab::test(|lab| {
        let place = Place::new();
        let (path, left) = (place.at("x.sock"), place.at("left.sock"));
        let mut server = lab.peer();
        server.say(&format!("listen l {path}"));
        drop(std::os::unix::net::UnixListener::bind(&left).unwrap());
        assert_eq!(place.check(&["--unix", &path]).code, 0);
        let unknown = |args: &[&str], words: &[&str]| {
            let outcome = place.check(args);
            let said = words.iter().all(|words| outcome.text().contains(words));
            assert_eq!((outcome.code, said), (3, true), "{args:?}: {outcome:?}");
        };
        let listening = format!("listening: {path}");
        unknown(&["--unix", &place.at("y.sock")], &["no such listener: ", "/y.sock; ", &listening]);
        unknown(&["--unix", &left], &["(its file is there, nobody listens on it)", &listening]);
        unknown(&["--unix", &place.at("nothing/*")], &["no such listener: "]);
        unknown(&["--unix", "@nobody"], &["no such listener: @nobody; ", &listening]);
        unknown(&["--unix", "x.sock"], &["bad UNIX socket 'x.sock': give its whole path"]);
        unknown(&["--unix", "/etc/passwd"], &["--unix /etc/passwd: that is a file and no socket"]);
        unknown(&["--unix", "/etc"], &["that is a directory and no socket"]);
        unknown(&["--unix", &format!("/{}", "x".repeat(107))], &["108 bytes, no socket's name has more than 107"]);
        unknown(&["--unix", &path, "--peer=10.0.0.0/8"], &["have no addresses; leave out --peer and --local"]);
        // One of several that is wrong is no less so while another is connected.
        let mut client = lab.peer();
        client.say(&format!("connect c {path} 1"));
        unknown(&["--unix", &path, "--unix", &left], &["no such listener: "]);
        let required = check(&["--unix", &left, "--require-listener=critical"]);
        assert_eq!(required.code, 2, "{required:?}");
    });
}

#[test]
fn ten_thousand_connections_are_all_seen() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("x.sock");
        let (_server, mut client) = place.crowded(lab, &path);
        let healthy = place.check(&["--unix", &path]);
        assert_eq!((healthy.code, counts(&healthy)), (0, [0.0, 20_000.0]), "{healthy:?}");
        client.say("close c");
        let leaking = place.check(&["--unix", &path]);
        assert_eq!((leaking.code, counts(&leaking)), (2, [10_000.0, 0.0]), "{leaking:?}");
    });
}

/// Without any rights the counts are the same; only other users' processes have no names.
#[test]
fn whoever_asks_sees_the_same() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("x.sock");
        let (_server, mut client) = place.connected(lab, &path, 3);
        client.say("close c");
        let outcome = check_unprivileged(&["--unix", &path, "--min-age=0s", "-w0"]);
        assert_eq!((outcome.code, counts(&outcome)), (1, [3.0, 0.0]), "{outcome:?}");
        let of_root = check_unprivileged(&["--unix", &path, "--min-age=0s", "--user=0"]);
        assert_eq!(counts(&of_root), [3.0, 0.0], "{of_root:?}");
        let of_nobody = check_unprivileged(&["--unix", &path, "--min-age=0s", "--user=65534"]);
        assert_eq!(counts(&of_nobody), [0.0, 0.0], "{of_nobody:?}");
    });
}

/// A recording: what sock_diag sends, as it comes.
#[test]
fn a_recording_is_judged_by_names() {
    Lab::test(|lab| {
        let place = Place::new();
        let (path, file) = (place.at("x.sock"), place.at("dump"));
        let (_server, mut client) = place.connected(lab, &path, 3);
        client.say("close c");
        let whole = record();
        let replay = |bytes: &[u8], path: &str| {
            fs::write(&file, bytes).unwrap();
            check(&["--unix", path, "-w0", "-c100", "--ratio-min-count=100", "--replay", &file])
        };
        let outcome = replay(&whole, &path);
        assert_eq!((outcome.code, counts(&outcome)), (1, [3.0, 0.0]), "{outcome:?}");
        assert_eq!(replay(&whole, "/nobody.sock").code, 0);
        for cut in [whole.len() - 1, whole.len() - 20, 100, 16, 0] {
            let outcome = replay(&whole[..cut], "/nobody.sock");
            assert_eq!(outcome.code, 3, "{cut}: {outcome:?}");
        }
        // A recording of TCP's sockets alone has nothing to say of a profile's UNIX sockets.
        let profile = Path::new(&place.at("mine.yaml")).to_owned();
        fs::write(&profile, format!("service: mine\nports: [3306]\nunix: [{path}]\n")).unwrap();
        if Command::new("ss").args(["-tanie", "-D", &file]).status().is_ok_and(|status| status.success()) {
            let tcp = check(&["-P", profile.to_str().unwrap(), "--replay", &file]);
            assert_eq!(tcp.code, 0, "{tcp:?}");
        }
    });
}

/// All UNIX sockets of the calling thread's namespace, by the library's own request.
fn record() -> Vec<u8> {
    use connleak::kernel::source::unix::diag;
    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};
    let kind = Some(netlink::SOCK_DIAG);
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, kind).unwrap();
    send(&socket, &diag::request(diag::Query::ALL), SendFlags::empty()).unwrap();
    let (mut all, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        let (length, _) = recv(&socket, &mut buffer[..], RecvFlags::empty()).unwrap();
        all.extend(&buffer[..length]);
        if buffer[4..6] == [3, 0] {
            return all;
        }
    }
}
