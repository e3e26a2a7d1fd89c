//! As a regular service check: running, draining, judged, running again.

use crate::host::unit::Service;
use crate::lab::run::{ORPHANS, Outcome};
use crate::lab::{CLOSE_WAIT, Lab, Peer};
use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

fn assert_says(outcome: &Outcome, code: i32, part: &str) {
    assert!(outcome.code == code && outcome.text().contains(part), "wanted {code} '{part}': {outcome:?}");
}

/// Leads a service through its life; `mark` makes a started server the one that is watched.
fn life(lab: &Lab, watch: &[&str], mark: &dyn Fn(&mut Peer)) {
    let state = tempfile::tempdir().unwrap();
    let look = |wait: &str| {
        let state = ["-p11211", "--side=client", "--state-dir", state.path().to_str().unwrap(), "--wait", wait];
        ORPHANS.run(&[&state, watch].concat())
    };
    for round in 0..2 {
        let (mut server, mut client) = lab.connected("127.0.0.1:11211", 2);
        mark(&mut server);
        let running = look("1s");
        assert_says(&running, 0, &format!("[{}], nothing to assert", server.pid()));
        assert_eq!(running.value("orphans"), 0.0, "{running:?}");
        drop(server);
        lab.wait_for(CLOSE_WAIT, 11211, 2);
        // The stop of the first round is forgotten: this one drains anew.
        assert_says(&look("1s"), 0, "draining, seen stopped for ");
        if round > 0 {
            continue;
        }
        sleep(Duration::from_millis(1050));
        let judged = look("1s");
        assert_says(&judged, 2, &format!("2 sockets left after 1s (critical 0), all held by peer[{}]", client.pid()));
        assert_says(&look("1h"), 0, "draining, seen stopped for ");
        client.say("close c");
        assert_says(&look("1s"), 0, "nothing left after 1s");
    }
}

#[test]
fn by_pid_file() {
    Lab::test(|lab| {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.pid");
        let write = |server: &mut Peer| fs::write(&file, format!("{}\n", server.pid())).unwrap();
        life(lab, &["--pid-file", file.to_str().unwrap()], &write);
    });
}

#[test]
fn by_process_name() {
    Lab::test(|lab| {
        // 15 bytes are all that the kernel keeps of it.
        let name = "service-of-a-long-name";
        let hex: String = name.bytes().take(15).map(|byte| format!("{byte:02x}")).collect();
        life(lab, &["--process", name], &|server| drop(server.say(&format!("rename {hex}"))));
    });
}

#[test]
fn by_unit() {
    Lab::test(|lab| {
        let Some(service) = Service::new(lab) else { return };
        life(lab, &["--unit", service.name()], &|server| service.take(server));
    });
}

#[test]
fn of_several_all_must_hold() {
    Lab::test(|lab| {
        let (dir, server) = (tempfile::tempdir().unwrap(), lab.peer());
        let file = dir.path().join("x.pid");
        fs::write(&file, server.pid().to_string()).unwrap();
        let look = |name: &str| {
            let dir = dir.path().to_str().unwrap();
            ORPHANS.run(&["-p11211", "--state-dir", dir, "--pid-file", file.to_str().unwrap(), "--process", name])
        };
        assert_says(&look("peer"), 0, "nothing to assert");
        // As when the number is another process' now.
        assert_says(&look("not-peer"), 0, "draining");
    });
}

#[test]
fn a_state_that_cant_be_kept_is_unknown() {
    Lab::test(|_| {
        let dir = tempfile::tempdir().unwrap();
        let look = ["-p11211", "--process=no-such-one", "--wait=0s", "--state-dir"];
        let mine = dir.path().to_str().unwrap();
        assert_eq!(ORPHANS.run(&[&look[..], &[mine]].concat()).code, 0);
        let outcome = ORPHANS.unprivileged(&[&look[..], &[mine]].concat());
        assert_says(&outcome, 3, "no permission to make the state directory; once as root 'install -d -m 700");
        // Made, but full or read-only since.
        let full = ORPHANS.run(&[&look[..], &["/proc/self"]].concat());
        assert_says(&full, 3, "can't make the state directory /proc/self/");
    });
}

/// Nothing is to be forgotten then; what a stop left there would be.
#[test]
fn a_read_only_state_matters_from_the_stop_on() {
    Lab::test(|lab| {
        let (mut server, dir) = (lab.peer(), tempfile::tempdir().unwrap());
        server.say("listen l 127.0.0.1:11211");
        let mine = dir.path().to_str().unwrap();
        let mount = |options: &str| Command::new("mount").args(["-t", "tmpfs", "-o", options, "none", mine]).status();
        if !mount("mode=700").is_ok_and(|done| done.success()) {
            return lab.skip("no tmpfs");
        }
        let look = |process: &str| {
            ORPHANS.run(&["-p11211", "--wait=0s", "--state-dir", mine, &format!("--process={process}")])
        };
        look("no-such-one");
        assert!(mount("remount,ro").unwrap().success());
        assert_says(&look("peer"), 0, &format!("running as peer[{}], nothing to assert", server.pid()));
        fs::write("/proc/self/comm", "no-such-one").unwrap();
        assert_says(&look("no-such-one"), 3, "can't remove ");
        Command::new("umount").arg(mine).status().unwrap();
    });
}

/// postmaster.pid and sendmail's have more lines; a number that is another process's by now is no service.
#[test]
fn a_pid_file_is_read_as_it_is_written() {
    Lab::test(|lab| {
        let (mut server, dir) = (lab.peer(), tempfile::tempdir().unwrap());
        server.say("listen l 127.0.0.1:11211");
        let file = dir.path().join("x.pid");
        fs::write(&file, format!("{}\n/var/lib/postgresql/17/main\n1764313122\n", server.pid())).unwrap();
        let look = || {
            let (file, dir) = (file.to_str().unwrap(), dir.path().to_str().unwrap());
            ORPHANS.run(&["-p11211", "--wait=0s", "--state-dir", dir, "--pid-file", file])
        };
        assert_says(&look(), 0, &format!("running as peer[{}], nothing to assert", server.pid()));
        let past = std::time::SystemTime::now() - Duration::from_secs(3600);
        fs::File::options().write(true).open(&file).unwrap().set_modified(past).unwrap();
        let recycled = look();
        assert_says(&recycled, 2, "1 socket left");
        assert_says(&recycled, 2, &format!("the pid file is older than peer[{}]", server.pid()));
    });
}

/// Who may not see other users' processes can't tell whether they run.
#[test]
fn hidden_processes_are_unknown_not_stopped() {
    Lab::test(|lab| {
        let (server, dir) = (lab.peer(), tempfile::tempdir().unwrap());
        fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let pid_file = dir.path().join("x.pid");
        fs::write(&pid_file, server.pid().to_string()).unwrap();
        let (pid_file, dir) = (pid_file.to_str().unwrap(), dir.path().to_str().unwrap());
        let look = |hide| ORPHANS.under_hidepid(hide, &["-p11211", "--pid-file", pid_file, "--state-dir", dir]);
        let open = look(0);
        if !open.stderr.is_empty() {
            return lab.skip(&format!("mount: {}", open.stderr));
        }
        assert_says(&open, 0, "nothing to assert");
        for hide in [1, 2] {
            assert_says(&look(hide), 3, "hides other users' processes (hidepid)");
        }
    });
}
