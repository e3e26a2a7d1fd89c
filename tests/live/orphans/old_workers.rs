//! As a regular service check while the service runs, and beside it an old worker that listens by SO_REUSEPORT.

use crate::host::sides::listener;
use crate::host::unit::Service;
use crate::lab::run::{Check, ORPHANS, Outcome, PATIENCE, poll, unique};
use crate::lab::{Lab, Peer};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

const LISTEN: &str = "listen l 127.0.0.1:27706 reuseport";

/// A service's restart with a wait of a second.
struct Restart {
    dir: tempfile::TempDir,
    old: Peer,
    new: Peer,
}

impl Restart {
    /// `old` has run for longer than that when the new service starts.
    fn new(lab: &Lab, mut old: Peer, unit: Option<&Service>) -> Restart {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
        old.say(LISTEN);
        sleep(Duration::from_millis(1100));
        let mut new = listener(lab);
        unit.inspect(|unit| unit.take(&new));
        new.say(LISTEN);
        fs::write(dir.path().join("pid"), new.pid().to_string()).unwrap();
        Restart { dir, old, new }
    }

    fn look(&self, wait: &str, run: impl Fn(Check, &[&str]) -> Outcome) -> Outcome {
        let (dir, file) = (self.dir.path().to_str().unwrap(), self.dir.path().join("pid"));
        let file = file.to_str().unwrap();
        run(ORPHANS, &["-p27706", "--wait", wait, "--state-dir", dir, "--pid-file", file])
    }

    fn assert_says(&self, wait: &str, code: i32, part: &str) -> Outcome {
        let outcome = self.look(wait, Check::run);
        assert!(outcome.code == code && outcome.text().contains(part), "wanted {code} '{part}': {outcome:?}");
        outcome
    }

    fn assert_is_fine(&self, wait: &str) {
        self.assert_says(wait, 0, &format!("running as python3[{}], nothing to assert", self.new.pid()));
    }
}

/// A listener whose parent has gone, and its pid.
fn orphan(lab: &Lab) -> (Peer, u32) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let mut command = Command::new("sh");
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/listener.py");
    command.args(["-c", "exec 3<&0; python3 \"$0\" <&3 3<&- & echo $! >\"$1\""]).arg(program).arg(&file);
    let peer = lab.peer_by(command);
    let mut pid = None;
    assert!(poll(PATIENCE, || {
        pid = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok());
        pid.is_some()
    }));
    let pid = pid.unwrap();
    let stat = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    assert!(poll(PATIENCE, || stat().rsplit_once(')').unwrap().1.split_whitespace().nth(1) == Some("1")));
    (peer, pid)
}

#[test]
fn what_the_unit_had_before_its_start_and_still_listens_is_left() {
    Lab::test(|lab| {
        let Some(unit) = Service::new(lab) else { return };
        let (old, pid) = orphan(lab);
        unit.take_process(pid);
        let mut restart = Restart::new(lab, old, Some(&unit));
        restart.assert_is_fine("1h");
        sleep(Duration::from_millis(1050));
        let says = format!("1 socket left after 1s (critical 0), port still bound by python3[{pid}]");
        let left = restart.assert_says("1s", 2, &says);
        let says = [", an old worker that still serves", &format!("beside the running python3[{}]", restart.new.pid())];
        assert!(says.iter().all(|says| left.text().contains(says)) && left.value("listen") == 1.0, "{left:?}");
        restart.old.say("close l");
        restart.assert_is_fine("1s");
    });
}

#[test]
fn where_no_unit_tells_whose_it_is_that_is_unknown() {
    Lab::test(|lab| {
        let Some(scope) = Service::named(lab, &format!("connleak-test-{}.scope", unique())) else { return };
        let (old, pid) = orphan(lab);
        scope.take_process(pid);
        let restart = Restart::new(lab, old, Some(&scope));
        sleep(Duration::from_millis(1050));
        restart.assert_says("1s", 3, &format!("1 of python3[{pid}], which listens there too, is nobody's child"));
    });
}

/// Each instance is a unit of its own, or has a parent that started it: SO_REUSEPORT lets them share the port.
#[test]
fn other_instances_of_the_service_are_no_old_workers() {
    Lab::test(|lab| {
        let [Some(one), Some(other)] = [(); 2].map(|()| Service::new(lab)) else { return };
        let (old, pid) = orphan(lab);
        other.take_process(pid);
        let restart = Restart::new(lab, old, Some(&one));
        sleep(Duration::from_millis(1050));
        restart.assert_is_fine("1s");
        drop(restart);
        let sibling = listener(lab);
        one.take(&sibling);
        let restart = Restart::new(lab, sibling, Some(&one));
        sleep(Duration::from_millis(1050));
        restart.assert_is_fine("1s");
    });
}

#[test]
fn listeners_of_whom_it_cant_be_told_may_be_old_workers() {
    Lab::test(|lab| {
        let restart = Restart::new(lab, listener(lab), None);
        sleep(Duration::from_millis(1050));
        let outcome = restart.look("1s", Check::unprivileged);
        let says = "2 of 2 listeners on one address may be old workers'";
        assert!(outcome.code == 3 && outcome.text().contains(says), "{outcome:?}");
    });
}
