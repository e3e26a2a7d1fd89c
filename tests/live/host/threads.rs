//! A process is more than its first thread: other threads' descriptors, io_uring's files, what is in flight.

use crate::host::unit::Service;
use crate::lab::run::{CLOSEWAIT, GROWTH, ORPHANS, Outcome, Started};
use crate::lab::{CLOSE_WAIT, Lab, Peer};
use rustix::fs::{CWD, Mode, mkfifoat};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

const LISTEN: u8 = 10;
const LOOK: [&str; 6] = ["-p27740", "--side=server", "--min-age=0s", "-w0", "-c100", "--ratio-min-count=1000"];

/// tests/support/holder.c, compiled once; `None`: there is no compiler.
fn program() -> Option<&'static PathBuf> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let build = || {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/holder.c");
        let all = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let own = tempfile::tempdir_in(all).unwrap();
        let (new, program) = (own.path().join("holder"), all.join("holder"));
        let built = Command::new("gcc").args(["-O1", "-pthread", "-o"]).arg(&new).arg(source).status();
        // Other tests, each in a process of its own, run and replace it too.
        built.is_ok_and(|status| status.success()).then(|| fs::rename(new, &program).map(|()| program).unwrap())
    };
    BUILT.get_or_init(build).as_ref()
}

/// Five sockets in CLOSE_WAIT of port 27740, held in one of holder.c's ways.
pub struct Holder(Started);

impl Holder {
    /// `None`: skipped.
    pub fn start(lab: &Lab, mode: &str) -> Option<Holder> {
        let holder = Holder::start_as(lab, &[mode, "27740"])?;
        lab.wait_for(CLOSE_WAIT, 27740, 5);
        Some(holder)
    }

    /// Five whose other ends have reset them.
    fn haunted(lab: &Lab, mode: &str) -> Option<Holder> {
        let holder = Holder::start_as(lab, &[mode, "27740", "reset"])?;
        lab.wait_for(CLOSE_WAIT, 27740, 0);
        Some(holder)
    }

    fn start_as(lab: &Lab, arguments: &[&str]) -> Option<Holder> {
        let Some(program) = program() else {
            lab.skip("no gcc");
            return None;
        };
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = Holder(Started(command.spawn().unwrap()));
        let mut line = String::new();
        BufReader::new(holder.0.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line != "ready\n" {
            lab.skip(&format!("holder {}: refused here", arguments[0]));
            return None;
        }
        Some(holder)
    }

    pub fn pid(&self) -> u32 {
        self.0.0.id()
    }

    pub fn go(&mut self) {
        self.0.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }
}

fn names(outcome: &Outcome, pid: u32) -> bool {
    outcome.text().contains(&format!("all held by holder[{pid}]"))
}

#[test]
fn its_owner_is_named_wherever_it_holds_them() {
    Lab::test(|lab| {
        for mode in ["files", "alike", "first", "ring"] {
            let Some(holder) = Holder::start(lab, mode) else { return };
            let outcome = CLOSEWAIT.run(&LOOK);
            assert_eq!((outcome.code, outcome.value("close_wait")), (1, 5.0), "{mode}: {outcome:?}");
            assert!(names(&outcome, holder.pid()), "{mode}: {outcome:?}");
            drop(holder);
            lab.wait_for(CLOSE_WAIT, 27740, 0);
        }
    });
}

#[test]
fn its_ghosts_are_found_wherever_it_holds_them() {
    Lab::test(|lab| {
        for mode in ["files", "alike", "first"] {
            let Some(holder) = Holder::haunted(lab, mode) else { return };
            for asked in [&[][..], &["--ghosts"]] {
                let outcome = CLOSEWAIT.run(&[&LOOK[..], asked].concat());
                assert_eq!((outcome.code, outcome.value("ghosts")), (1, 5.0), "{mode}: {outcome:?}");
                assert!(names(&outcome, holder.pid()), "{mode}: {outcome:?}");
            }
            drop(holder);
            lab.wait_for(LISTEN, 27740, 0);
        }
    });
}

/// The kernel doesn't tell the protocol of a ring's files.
#[test]
fn ghosts_in_a_ring_are_a_doubt() {
    Lab::test(|lab| {
        let Some(holder) = Holder::haunted(lab, "ring") else { return };
        for asked in [&[][..], &["--ghosts"]] {
            let outcome = CLOSEWAIT.run(&[&LOOK[..], asked].concat());
            let says = "the kernel doesn't tell the protocol of 5 sockets";
            assert!(outcome.code == 3 && outcome.text().contains(says), "{outcome:?}");
        }
        drop(holder);
        lab.wait_for(LISTEN, 27740, 0);
        assert_eq!(CLOSEWAIT.run(&LOOK).code, 0);
    });
}

#[test]
fn a_chosen_process_has_them() {
    Lab::test(|lab| {
        for mode in ["files", "first", "ring"] {
            let Some(holder) = Holder::start(lab, mode) else { return };
            let (pid, state) = (holder.pid().to_string(), tempfile::tempdir().unwrap());
            let look = |more: &[&str]| {
                GROWTH.run(&[&["--pid", &pid, "--state-dir", state.path().to_str().unwrap()], more].concat())
            };
            for port in [&["-p27740"][..], &[]] {
                let outcome = look(port);
                assert_eq!((outcome.code, outcome.value("connections")), (0, 5.0), "{mode}: {outcome:?}");
            }
            assert!(look(&["--metric=fds"]).value("fds") >= 6.0, "{mode}");
            let files = look(&["-p27740", "-ojson"]).json()["headrooms"].to_string();
            assert!(mode == "ring" || !files.contains("\"used\":0,"), "{mode}: {files}");
            assert!(look(&["--metric=rss"]).value("rss") > 0.0, "{mode}");
            drop(holder);
            lab.wait_for(CLOSE_WAIT, 27740, 0);
        }
    });
}

/// No process shows them: which they are the chosen one's, and which not, can't be told.
#[test]
fn sockets_in_flight_are_a_doubt() {
    Lab::test(|lab| {
        let Some(holder) = Holder::start(lab, "flight") else { return };
        let outcome = CLOSEWAIT.run(&LOOK);
        let text = outcome.text();
        // A test has a PID namespace of its own; and on some hosts even root may not read every process.
        let says = ["no process visible here has them", "may not be read"];
        assert!(outcome.code == 1 && says.iter().any(|says| text.contains(says)), "{outcome:?}");
        let (pid, state) = (holder.pid().to_string(), tempfile::tempdir().unwrap());
        let state = state.path().to_str().unwrap();
        let chosen = GROWTH.run(&["--pid", &pid, "-p27740", "--state-dir", state]);
        assert!(chosen.code == 3 && chosen.text().contains("5 more, but whose they are can't be told"), "{chosen:?}");
        let Some(service) = Service::new(lab) else { return };
        service.take_process(holder.pid());
        let unit = CLOSEWAIT.run(&[&LOOK[..], &["--unit", service.name()]].concat());
        assert!(unit.code == 3 && unit.text().contains("5 more in CLOSE_WAIT, but whose"), "{unit:?}");
    });
}

#[test]
fn what_runs_on_without_its_first_thread_is_not_stopped() {
    Lab::test(|lab| {
        let Some(holder) = Holder::start(lab, "first") else { return };
        let state = tempfile::tempdir().unwrap();
        let pid_file = state.path().join("x.pid");
        fs::write(&pid_file, holder.pid().to_string()).unwrap();
        // Other tests have holders too.
        let by_number = format!("holder[{}]", holder.pid());
        let watched = [["--process", "holder"], ["--pid-file", pid_file.to_str().unwrap()]];
        for (watched, says) in watched.into_iter().zip(["holder[", &by_number]) {
            let look = ["-p27740", "--state-dir", state.path().to_str().unwrap()];
            let outcome = ORPHANS.run(&[&look[..], &watched].concat());
            let text = outcome.text();
            assert!(outcome.code == 0 && text.contains(&format!("running as {says}")), "{outcome:?}");
            assert!(text.contains("], nothing to assert"), "{outcome:?}");
        }
    });
}

#[test]
fn a_stop_command_without_its_first_thread_is_ended() {
    Lab::test(|lab| {
        let Some(program) = program() else { return lab.skip("no gcc") };
        // It ends with its input, which is ours.
        let dir = tempfile::tempdir().unwrap();
        let input = dir.path().join("input");
        mkfifoat(CWD, &input, Mode::RWXU).unwrap();
        let _open = fs::File::options().read(true).write(true).open(&input).unwrap();
        let script = format!("exec {} first 27741 < {}", program.display(), input.display());
        let outcome = ORPHANS.run(&["-p27740", "-t1", "--wait=0s", "--", "sh", "-c", &script]);
        assert!(outcome.code == 3 && outcome.text().contains("killed, with all it started"), "{outcome:?}");
        lab.wait_for(LISTEN, 27741, 0);
    });
}

/// Node calls its first thread so.
#[test]
fn a_program_is_known_by_its_executable_too() {
    Lab::test(|lab| {
        let mut server = lab.leaking_server("127.0.0.1:27740", 5);
        server.say("rename 4d61696e546872656164");
        let outcome = CLOSEWAIT.run(&LOOK);
        assert!(outcome.text().contains(&format!("all held by peer[{}]", server.pid())), "{outcome:?}");
        let state = tempfile::tempdir().unwrap();
        let look = |name: &str| {
            let state = state.path().to_str().unwrap();
            ORPHANS.run(&["-p27740", "--state-dir", state, "--process", name])
        };
        assert!(look("peer").text().contains("nothing to assert"), "{:?}", look("peer"));
        assert!(look("MainThread").text().contains("nothing to assert"), "{:?}", look("MainThread"));
        assert!(!look("peers").text().contains("nothing to assert"));
    });
}

/// The process that is listed has ended when it is read, and its child has the sockets.
#[test]
fn a_unit_whose_holder_forks_and_exits_keeps_its_sockets() {
    Lab::test(|lab| {
        let Some(mut holder) = Holder::start(lab, "chain") else { return };
        let Some(service) = Service::new(lab) else { return };
        service.take_process(holder.pid());
        holder.go();
        for _ in 0..20 {
            let outcome = CLOSEWAIT.run(&[&LOOK[..], &["--unit", service.name()]].concat());
            assert_ne!(outcome.code, 0, "{outcome:?}");
        }
    });
}

/// Two services on one port, in namespaces without cgroups that tell: the holders do.
#[test]
fn who_else_holds_a_socket_is_looked_for_too() {
    Lab::test(|lab| {
        let Some(holder) = Holder::start(lab, "files") else { return };
        let mut other: Peer = lab.peer();
        other.say("listen l 127.0.0.2:27740");
        let (pid, state) = (other.pid().to_string(), tempfile::tempdir().unwrap());
        let outcome = GROWTH.run(&["--pid", &pid, "-p27740", "--state-dir", state.path().to_str().unwrap()]);
        assert_eq!((outcome.code, outcome.value("connections")), (0, 0.0), "not of {}: {outcome:?}", holder.pid());
    });
}
