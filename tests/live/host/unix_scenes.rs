//! Every check that judges UNIX sockets in every scene: names and links, mount and network namespaces, very many connections.

use super::unix_sockets::Place;
use crate::lab::run::{CLOSEWAIT, GROWTH, ORPHANS, Outcome, STATES, TENANTS};
use crate::lab::{Lab, Peer, example};
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

/// What each check sees of `count` connections: its answers too, to be shown where that is something else.
fn see(place: &Place, of: &[&str]) -> ([f64; 5], Vec<Outcome>) {
    let state = place.at("state");
    let dir = ["--state-dir", state.as_str()];
    let looks = [
        (CLOSEWAIT, "established", &["--min-age=0s"][..]),
        (GROWTH, "connections", &["--limit=100000"]),
        (TENANTS, "connections", &["--key=user", "--limit=100000"]),
        (STATES, "established", &[]),
        (ORPHANS, "orphans", &["--wait=0s"]),
    ];
    let outcomes = looks.map(|(check, label, options)| {
        let outcome = check.run(&[of, options, if check == STATES { &[] } else { &dir }].concat());
        (outcome.value(label), outcome)
    });
    (outcomes.each_ref().map(|(value, _)| *value), outcomes.into_iter().map(|(_, outcome)| outcome).collect())
}

/// Both ends of each connection, but where a connection counts once; `listeners` are left after a stop, too.
fn assert_seen(place: &Place, of: &[&str], count: u32, listeners: u32) {
    let (count, listeners) = (f64::from(count), f64::from(listeners));
    let (seen, outcomes) = see(place, of);
    let wanted = [2.0 * count, count, count, 2.0 * count, 2.0 * count + listeners];
    assert_eq!(seen, wanted, "{of:?}: {outcomes:#?}");
}

#[test]
fn a_renamed_an_unlinked_and_an_abstract_name_lead_every_check_to_the_same() {
    Lab::test(|lab| {
        let place = Place::new();
        let [path, renamed, link] = ["x.sock", "y.sock", "link"].map(|name| place.at(name));
        let (_server, _client) = place.connected(lab, &path, 3);
        fs::rename(&path, &renamed).unwrap();
        symlink(&renamed, &link).unwrap();
        for known in [&path, &renamed, &link, &place.at("?.sock")] {
            assert_seen(&place, &["--unix", known], 3, 1);
        }
        fs::remove_file(&renamed).unwrap();
        assert_seen(&place, &["--unix", &path], 3, 1);
        let (_server, _client) = place.connected(lab, "@abstract", 4);
        for known in ["@abstract", "@abs*"] {
            assert_seen(&place, &["--unix", known], 4, 1);
        }
    });
}

/// As a container is: a `/run` of its own, and maybe a network of its own, with the host's names in them.
#[test]
fn a_container_is_told_from_the_host_by_every_check() {
    Lab::test(|lab| {
        let place = Place::new();
        let dir = place.at("run");
        fs::create_dir(&dir).unwrap();
        let path = format!("{dir}/x.sock");
        let (_server, _client) = place.connected(lab, &path, 1);
        let script = format!("mount -t tmpfs none {dir} && exec \"$0\"");
        let within = |more: &[&str], count: u32| -> Peer {
            let mut command = Command::new("unshare");
            command.arg("--mount").args(more).args(["sh", "-c", &script]).arg(example("peer"));
            let mut theirs = lab.peer_by(command);
            theirs.say(&format!("listen l {path}"));
            theirs.say(&format!("connect c {path} {count}"));
            theirs.say(&format!("accept s l {count}"));
            theirs
        };
        let _mounts = within(&[], 3);
        let apart = within(&["--net"], 2);
        let of = ["--unix", path.as_str()];
        assert_seen(&place, &of, 1, 1);
        let pid = apart.pid().to_string();
        assert_seen(&place, &[&of[..], &["--netns", &pid]].concat(), 2, 1);
        assert_seen(&place, &[&of[..], &["--netns=all"]].concat(), 6, 3);
    });
}

/// A connection is in the network namespace of who connected, its listener in that of the service.
#[test]
fn a_container_with_the_hosts_socket_is_seen_by_every_check() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("x.sock");
        let mut server = lab.peer();
        server.say(&format!("listen l {path}"));
        let mut command = Command::new("unshare");
        command.arg("--net").arg(example("peer"));
        let mut client = lab.peer_by(command);
        client.say(&format!("connect c {path} 3"));
        server.say("accept s l 3");
        let (of, pid) = (["--unix", path.as_str()], client.pid().to_string());
        assert_seen(&place, &of, 0, 1);
        assert_seen(&place, &[&of[..], &["--netns", &pid]].concat(), 3, 0);
        assert_seen(&place, &[&of[..], &["--netns=all"]].concat(), 3, 1);
        let there = TENANTS.run(&[&of[..], &["--key=user", "--netns", &pid]].concat());
        assert!(there.code == 0 && !there.text().contains("listens"), "{there:?}");
    });
}

#[test]
fn ten_thousand_connections_are_all_seen_by_every_check() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("x.sock");
        let (mut server, mut client) = place.crowded(lab, &path);
        assert_seen(&place, &["--unix", &path], 10_000, 1);
        client.say("close c");
        server.say("close s");
        assert_seen(&place, &["--unix", &path], 0, 1);
    });
}

/// A path with nothing, that is typed: no zero of it is health, and none is nothing but after a stop.
#[test]
fn a_path_that_is_not_there_is_unknown_and_says_who_listens() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("x.sock");
        let (_server, _client) = place.connected(lab, &path, 1);
        let (missing, state) = (place.at("y.sock"), place.at("state"));
        let words = format!("no such listener: {missing}; listening: {path}");
        let memory = ["--limit=9", "--state-dir", &state];
        for (check, more) in [(CLOSEWAIT, &[][..]), (GROWTH, &memory[..]), (TENANTS, &["--key=user"]), (STATES, &[])] {
            let outcome = check.run(&[&["--unix", missing.as_str()], more].concat());
            assert!(outcome.code == 3 && outcome.text().contains(&words), "{outcome:?}");
        }
        let stopped = ORPHANS.run(&["--unix", &missing, "--wait=0s"]);
        let words = format!("no socket file at {missing}");
        assert!(stopped.code == 0 && stopped.text().contains(&words), "{stopped:?}");
    });
}
