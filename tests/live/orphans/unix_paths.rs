//! check_orphans_after_stop at a path that isn't there: gone with its service, or never right.

use crate::host::unix_sockets::{Place, says};
use crate::lab::Lab;
use crate::lab::run::ORPHANS;
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_path_without_a_socket_is_told() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("x.sock");
        let look = |path: &str, more: &[&str]| ORPHANS.run(&[&["--unix", path, "--wait=0s"], more].concat());
        let (mut server, client) = place.connected(lab, &path, 2);
        assert!(!look(&path, &[]).text().contains("no socket file"));
        let [other, pattern] = ["y.sock", "y*"].map(|name| place.at(name));
        says(&look(&other, &[]), 0, &[&format!("no socket file at {other}")]);
        says(&look(&pattern, &[]), 0, &[&format!("no socket file at {pattern}")]);
        says(&look("@nobody", &[]), 0, &["no socket is called @nobody"]);
        // A profile's usual paths need not be there.
        assert!(!ORPHANS.run(&["-P", "mysql", "--wait=0s"]).text().contains("no socket file"));
        // What was seen before needs no word.
        let pid = server.pid().to_string();
        server.say("close l");
        fs::remove_file(&path).unwrap();
        drop(client);
        let stopped = look(&path, &["--wait=60s", "--", "kill", &pid]);
        assert!(stopped.code == 0 && !stopped.text().contains("no socket file"), "{stopped:?}");
        says(&look(&path, &[]), 0, &["nothing left", &format!("no socket file at {path}")]);
        says(&look(&path, &["--", "true"]), 0, &["nothing was there before: is it the right path?"]);
        // What may not be looked at is no absence.
        let hidden = place.at("hidden");
        fs::create_dir(&hidden).unwrap();
        fs::set_permissions(&hidden, PermissionsExt::from_mode(0o700)).unwrap();
        fs::set_permissions(place.at("."), PermissionsExt::from_mode(0o755)).unwrap();
        let unseen = format!("{hidden}/x.sock");
        let blind = ORPHANS.unprivileged(&["--unix", &unseen, "--wait=0s"]);
        says(&blind, 0, &[&format!("maybe a socket file: can't read {unseen}: ")]);
    });
}

/// Asked again and again: where no socket ever was while the service ran, its absence proves nothing.
#[test]
fn a_path_that_never_had_a_socket_is_doubt() {
    Lab::test(|lab| {
        let place = Place::new();
        let (path, wrong, state) = (place.at("x.sock"), place.at("mistyped.sock"), place.at("state"));
        let pid_file = place.at("pid");
        let look = |of: &[&str]| {
            let regular = ["--wait=0s", "--state-dir", &state, "--pid-file", &pid_file];
            ORPHANS.run(&[of, &regular].concat())
        };
        let (right, wrong) = (["--unix", path.as_str()], ["--unix", wrong.as_str()]);
        let doubt = format!("no socket was ever seen at {}: is it the right path?", wrong[1]);
        for _ in 0..2 {
            let mut server = lab.peer();
            fs::write(&pid_file, server.pid().to_string()).unwrap();
            says(&look(&wrong), 3, &["running as peer", &doubt, "listening: "]);
            server.say(&format!("listen l {path}"));
            says(&look(&wrong), 3, &["running as peer", &doubt, &format!("listening: {path}")]);
            says(&look(&[&right[..], &wrong].concat()), 3, &["running as peer", &doubt]);
            let running = look(&right);
            says(&running, 0, &["running as peer", "nothing to assert"]);
            assert!(!running.text().contains("path"), "{running:?}");
            server.end();
            says(&look(&wrong), 3, &["nothing left", &doubt]);
            says(&look(&right), 0, &["nothing left", &format!("the file {path} is left")]);
            fs::remove_file(&path).unwrap();
            says(&look(&right), 0, &["nothing left", &format!("no socket file at {path}")]);
            // As it starts: it was seen before.
            let starting = lab.peer();
            fs::write(&pid_file, starting.pid().to_string()).unwrap();
            says(&look(&right), 0, &["running as peer", "nothing to assert"]);
        }
    });
}

/// What is remembered of it may be gone, no text, or not to be written.
#[test]
fn a_memory_of_paths_that_is_none_makes_no_path_right() {
    Lab::test(|lab| {
        let place = Place::new();
        let (path, state, pid_file) = (place.at("x.sock"), place.at("state"), place.at("pid"));
        let mut server = lab.peer();
        fs::write(&pid_file, server.pid().to_string()).unwrap();
        let of = ["--unix", path.as_str(), "--wait=0s", "--state-dir", &state, "--pid-file", &pid_file];
        let look = || ORPHANS.run(&of);
        let doubt = "no socket was ever seen at";
        server.say(&format!("listen l {path}"));
        says(&look(), 0, &["nothing to assert"]);
        let memory = || {
            let dir = fs::read_dir(place.at("state/0")).unwrap();
            dir.map(|file| file.unwrap().path()).find(|file| file.to_str().unwrap().ends_with(".paths.txt")).unwrap()
        };
        server.say("close l");
        fs::remove_file(&path).unwrap();
        says(&look(), 0, &["nothing to assert"]);
        let file = memory();
        for text in ["", "x", "/run/another.sock\n", "\0\n\n"] {
            fs::write(&file, text).unwrap();
            says(&look(), 3, &[doubt]);
        }
        fs::write(&file, [0xff, 0xfe]).unwrap();
        says(&look(), 3, &[doubt]);
        server.say(&format!("listen l {path}"));
        says(&look(), 0, &["nothing to assert"]);
        server.say("close l");
        fs::remove_file(&path).unwrap();
        says(&look(), 0, &["nothing to assert"]);
        fs::remove_file(&file).unwrap();
        says(&look(), 3, &[doubt]);
        // Seen, but not remembered: said, as the next run would doubt it.
        fs::create_dir(&file).unwrap();
        server.say(&format!("listen l {path}"));
        let unkept = look();
        assert!(unkept.code == 3 && unkept.text().contains("paths.txt"), "{unkept:?}");
    });
}

/// A port's number is never there nor absent: it is told as by the other checks.
#[test]
fn a_port_that_nobody_listens_on_while_the_service_runs_is_told() {
    Lab::test(|lab| {
        let place = Place::new();
        let (pid_file, state) = (place.at("pid"), place.at("state"));
        let mut server = lab.peer();
        fs::write(&pid_file, server.pid().to_string()).unwrap();
        let look = || ORPHANS.run(&["-p4242", "--wait=0s", "--state-dir", &state, "--pid-file", &pid_file]);
        let words = "nothing listens on port 4242 here, and nobody is connected";
        for _ in 0..2 {
            says(&look(), 0, &["nothing to assert", words]);
            server.say("listen l 127.0.0.1:4242");
            let running = look();
            assert!(running.code == 0 && !running.text().contains("listens"), "{running:?}");
            server.say("close l");
        }
    });
}
