//! Clients of a UNIX socket that keep their end when the service is gone: their ends have lost its name.

use crate::lab::run::{ORPHANS, Outcome};
use crate::lab::{Lab, Peer};
use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn socket(&self) -> String {
        self.0.path().join("x.sock").to_str().unwrap().to_owned()
    }

    fn pid_file(&self) -> PathBuf {
        self.0.path().join("x.pid")
    }

    /// A service with three connections of a client.
    fn connected(&self, lab: &Lab) -> (Peer, Peer) {
        let (mut server, mut client) = (lab.peer(), lab.peer());
        server.say(&format!("listen l {}", self.socket()));
        client.say(&format!("connect c {} 3", self.socket()));
        server.say("accept s l 3");
        fs::write(self.pid_file(), server.pid().to_string()).unwrap();
        (server, client)
    }

    fn look(&self, options: &[&str]) -> Outcome {
        ORPHANS.run(&[&["--unix", &self.socket()], options].concat())
    }

    fn regular(&self) -> Outcome {
        let (state, pid_file) = (self.0.path().join("state"), self.pid_file());
        let (state, pid_file) = (state.to_str().unwrap(), pid_file.to_str().unwrap());
        self.look(&["--wait=1s", "--state-dir", state, "--pid-file", pid_file])
    }
}

#[test]
fn the_regular_check_knows_them_from_when_the_service_ran() {
    Lab::test(|lab| {
        let place = Place::new();
        let (server, mut client) = place.connected(lab);
        let running = place.regular();
        assert!(running.code == 0 && running.text().contains("nothing to assert"), "{running:?}");
        server.end();
        let draining = place.regular();
        assert!(draining.code == 0 && draining.text().contains("3 sockets left"), "{draining:?}");
        sleep(Duration::from_millis(1050));
        for _ in 0..2 {
            let judged = place.regular();
            assert_eq!((judged.code, judged.value("orphans")), (2, 3.0), "{judged:?}");
            assert!(judged.text().contains(&format!("all held by peer[{}], a client", client.pid())), "{judged:?}");
        }
        client.say("close c");
        let gone = place.regular();
        assert!(gone.code == 0 && gone.text().contains("nothing left after 1s"), "{gone:?}");
    });
}

/// Once, after the stop, nothing tells whose they are: that is no absence.
#[test]
fn without_an_earlier_look_they_are_doubt() {
    Lab::test(|lab| {
        let place = Place::new();
        let (server, client) = place.connected(lab);
        server.end();
        let outcome = place.look(&["--wait=0s"]);
        let words = "3 closed ends of UNIX clients from before the first run, whose can't be told";
        let remedy =
            format!(", held by peer[{}] (user root): restart it to be sure, or leave clients out by", client.pid());
        assert!(outcome.code == 3 && outcome.text().contains(&format!("{words}{remedy}")), "{outcome:?}");
        let calm = place.look(&["--wait=0s", "-c3"]);
        assert!(calm.code == 0 && calm.text().contains(words) && !calm.text().contains("restart"), "{calm:?}");
        drop(client);
    });
}

#[test]
fn a_file_that_the_new_service_listens_on_is_not_left() {
    Lab::test(|lab| {
        let place = Place::new();
        let (server, client) = place.connected(lab);
        let baseline = place.0.path().join("baseline");
        let baseline = baseline.to_str().unwrap();
        assert_eq!(place.look(&["--save-baseline", baseline]).code, 0);
        drop(client);
        server.end();
        fs::remove_file(place.socket()).unwrap();
        let mut server = lab.peer();
        server.say(&format!("listen l {}", place.socket()));
        let after = place.look(&["--wait=0s", "--baseline", baseline]);
        assert!(after.code == 0 && !after.text().contains("nobody listens there"), "{after:?}");
        server.end();
        let silent = place.look(&["--wait=0s", "--baseline", baseline]);
        assert!(silent.code == 0 && silent.text().contains("nobody listens there"), "{silent:?}");
    });
}
