//! As a regular service check while the service starts again: it may listen before its pid file names it.

use crate::lab::run::{ORPHANS, Outcome};
use crate::lab::{Lab, Peer};
use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

/// A pid file, and where the stop is remembered.
struct Watch(tempfile::TempDir);

impl Watch {
    /// Of a service that just ended and whose stop has been judged.
    fn stopped(lab: &Lab, end: impl FnOnce(&Lab)) -> Watch {
        let watch = Watch(tempfile::tempdir().unwrap());
        let process = lab.peer();
        watch.name(&process);
        watch.assert_says(0, "nothing to assert");
        process.end();
        end(lab);
        watch.assert_says(0, "draining, seen stopped for ");
        watch.wait();
        watch
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("x.pid")
    }

    fn name(&self, process: &Peer) {
        fs::write(self.file(), process.pid().to_string()).unwrap();
    }

    /// For longer than `--wait`.
    fn wait(&self) {
        sleep(Duration::from_millis(1050));
    }

    fn look(&self, options: &[&str]) -> Outcome {
        let (file, dir) = (self.file(), self.0.path().to_str().unwrap().to_owned());
        let all = ["-p11211", "--wait=1s", "--state-dir", &dir, "--pid-file", file.to_str().unwrap()];
        ORPHANS.run(&[&all[..], options].concat())
    }

    fn assert_says(&self, code: i32, part: &str) -> Outcome {
        let outcome = self.look(&[]);
        assert!(outcome.code == code && outcome.text().contains(part), "wanted {code} '{part}': {outcome:?}");
        outcome
    }
}

#[test]
fn what_came_after_the_stop_has_the_services_own_wait() {
    Lab::test(|lab| {
        let watch = Watch::stopped(lab, |_| {});
        watch.assert_says(0, "nothing left after 1s");
        let (server, client) = lab.connected("127.0.0.1:11211", 2);
        let unprivileged = watch.look(&["--source=proc"]);
        assert_eq!((unprivileged.code, unprivileged.value("new")), (0, 5.0), "{unprivileged:?}");
        let starting = watch.assert_says(0, "maybe a start that --pid-file doesn't show yet");
        assert_eq!((starting.value("orphans"), starting.value("new")), (0.0, 5.0), "{starting:?}");
        watch.wait();
        let judged = watch.assert_says(2, &format!("port still bound by peer[{}]", server.pid()));
        assert!(judged.text().contains("5 new, first seen 1") && judged.value("orphans") == 5.0, "{judged:?}");
        watch.name(&server);
        watch.assert_says(0, "nothing to assert");
        drop(client);
    });
}

/// Each start has its own time, as a service that can't start for an hour is no leak.
#[test]
fn a_start_that_came_to_nothing_is_forgotten() {
    Lab::test(|lab| {
        let watch = Watch::stopped(lab, |_| {});
        for _ in 0..2 {
            let mut server = lab.peer();
            server.say("listen l 127.0.0.1:11211");
            watch.assert_says(0, "1 new, first seen 0s ago: maybe a start");
            server.end();
            watch.wait();
            watch.assert_says(0, "nothing left after 1s");
        }
    });
}

#[test]
fn what_was_left_before_is_judged_beside_a_start() {
    Lab::test(|lab| {
        let mut clients = Vec::new();
        let watch = Watch::stopped(lab, |lab| {
            let (server, client) = lab.connected("127.0.0.1:11211", 2);
            server.end();
            clients.push(client);
        });
        let mut server = lab.peer();
        server.say("listen l 127.0.0.1:11211");
        let judged = watch.assert_says(2, "2 sockets left after 1s (critical 0)");
        assert!(judged.text().contains("1 new, first seen 0s ago") && judged.value("new") == 1.0, "{judged:?}");
    });
}

/// It goes on with what it inherited: what it accepts since is no new start's.
#[test]
fn who_still_listens_is_judged_with_what_it_accepts_since() {
    Lab::test(|lab| {
        let mut heirs = Vec::new();
        let watch = Watch::stopped(lab, |lab| {
            let mut heir = lab.peer();
            heir.say("listen l 127.0.0.1:11211");
            heirs.push(heir);
        });
        let heir = &mut heirs[0];
        let mut client = lab.peer();
        client.say("connect c 127.0.0.1:11211 3");
        heir.say("accept a l 3");
        let judged = watch.assert_says(2, &format!("port still bound by peer[{}]", heir.pid()));
        assert_eq!((judged.value("orphans"), judged.value("new")), (7.0, 0.0), "{judged:?}");
    });
}
