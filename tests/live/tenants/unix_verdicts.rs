//! What check_conn_tenants judges over UNIX sockets: nothing that the kernel doesn't tell of them, and who has no listener.

use crate::host::unix_sockets::{Place, says};
use crate::lab::Lab;
use crate::lab::run::TENANTS;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

/// A profile of a service by TCP and by this path, with idle thresholds that any connection would break.
fn profile(place: &Place, path: &str) -> String {
    let file = place.at("mine.yaml");
    let idle = "idle: {min_age: 0s, warning: \"0\", critical: \"0\"}";
    fs::write(&file, format!("service: mine\nports: [3306]\nunix: [{path}]\nlimit: 100\n{idle}\n")).unwrap();
    file
}

/// No UNIX socket has an idle time, so none is missing; since when peers are gone is between two looks.
#[test]
fn times_that_unix_sockets_have_not_are_no_doubt() {
    Lab::test(|lab| {
        let place = Place::new();
        let (path, state) = (place.at("x.sock"), place.at("state"));
        let profile = profile(&place, &path);
        let (_server, mut client) = place.connected(lab, &path, 12);
        let alone = ["-P", &profile, "--unix", &path];
        let both = ["-P", &profile];
        let look = |of: &[&str], more: &[&str]| {
            let dir = format!("{state}{}", of.len());
            let ages = ["--key=user", "--close-wait-age=1s", "--state-dir", &dir];
            TENANTS.run(&[of, &ages, more].concat())
        };
        says(&look(&alone, &[]), 0, &["12 connections"]);
        says(&look(&both, &[]), 0, &["12 connections", "12 over UNIX sockets"]);
        sleep(Duration::from_millis(1100));
        client.say("shutdown c");
        for of in [&alone[..], &both] {
            let why = "maybe tenant root: 12 in CLOSE_WAIT for 1s or more (warning 5), as peers closed at some time since the last run";
            let closed = look(of, &[]);
            says(&closed, 3, &[why]);
            assert!(!closed.text().contains("idle") && !closed.text().contains("keepalive"), "{closed:?}");
            says(&look(of, &["--close-wait-warning=~:", "--close-wait-critical=~:"]), 0, &[]);
        }
    });
}

#[test]
fn idle_times_that_are_asked_for_can_not_be_judged() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("x.sock");
        let profile = profile(&place, &path);
        let (_server, _client) = place.connected(lab, &path, 2);
        for option in ["--idle-age=5s", "--idle-warning=5", "--idle-critical=9", "--idle-expected=3"] {
            let name = option.split('=').next().unwrap();
            let untold = ["doesn't tell when a UNIX socket last carried data", "check_conn_growth --unix", name];
            says(&TENANTS.run(&["--unix", &path, option]), 3, &untold);
            let said = "idle times of 2 connections over UNIX sockets aren't known";
            says(&TENANTS.run(&["-P", &profile, "--key=user", option]), 0, &[said]);
        }
        says(&TENANTS.run(&["--unix", &path, "--key=peer/24"]), 3, &["UNIX sockets have no addresses; use user, unit"]);
        let unasked = TENANTS.run(&["-P", &profile, "--key=user"]);
        assert!(unasked.code == 0 && !unasked.text().contains("idle"), "{unasked:?}");
        // None of them is told to be none, either.
        let alone = TENANTS.run(&["--unix", &path, "--key=user", "-v"]);
        assert!(alone.stdout.contains("tenant root: 2 connections") && !alone.stdout.contains("idle"), "{alone:?}");
        let json = TENANTS.run(&["--unix", &path, "--key=user", "-ojson"]).json();
        assert!(json["tenants"][0]["idle"].is_null() && json["unknown"]["idle"].is_null(), "{json}");
    });
}

/// Clients that keep their ends are remembered when the service has gone: a number that looks like one that is served.
#[test]
fn a_listener_that_is_gone_is_told_while_its_clients_remember_it() {
    Lab::test(|lab| {
        let place = Place::new();
        let (path, other, state) = (place.at("x.sock"), place.at("y.sock"), place.at("state"));
        let profile = profile(&place, &path);
        let look = |of: &[&str]| TENANTS.run(&[of, &["--key=user", "--limit=100", "--state-dir", &state]].concat());
        let gone = format!("nobody listens at {path} any more");
        let ways = [&["--unix", path.as_str()][..], &["-P", &profile], &["--unix", &path, "--unix", &other]];
        let mut next = lab.peer();
        next.say(&format!("listen l {other}"));
        for _ in 0..2 {
            let (server, client) = place.connected(lab, &path, 4);
            for of in ways {
                let served = look(of);
                says(&served, 0, &["4 connections"]);
                assert!(!served.text().contains("listen"), "{served:?}");
            }
            server.end();
            for of in ways {
                let left = look(of);
                says(&left, 0, &[&gone, "4 connections"]);
                assert_eq!(left.text().matches("listens at").count(), 1, "told once: {left:?}");
            }
            client.end();
            says(&look(ways[0]), 3, &["no such listener", "nobody listens on it"]);
            fs::remove_file(&path).unwrap();
        }
    });
}
