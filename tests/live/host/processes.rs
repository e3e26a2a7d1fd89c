//! Processes that come and go by the thousand, hide, or hold all they may: holders are found all the same.

use crate::host::unit::Service;
use crate::lab::run::{
    CHECK, CLOSEWAIT, Check, GROWTH, ORPHANS, Outcome, Started, as_nobody, check, hold_to_contract, public_copy, run,
};
use crate::lab::{CLOSE_WAIT, Lab, Peer, example};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const LOOK: [&str; 7] = ["-p11211", "--side=server", "--min-age=0s", "-w0", "-c100", "--ratio-min-count=1000", "-vv"];
/// So many processes come and go, under so many runs at least.
const FLOOD: u32 = 2_000;
const RUNS: u32 = 20;

/// A pid namespace with its own `/proc`, in the lab's network; all in it ends with it.
struct Host {
    /// Its first process, as seen from here.
    pid: String,
    _first: Started,
}

impl Host {
    /// With `options` for its `/proc`.
    fn start(options: &str) -> Result<Host, String> {
        let script = format!("mount -t proc -o {options} proc /proc && echo up && exec sleep 300");
        let mut unshare = Command::new("unshare");
        unshare.args(["--pid", "--fork", "--kill-child", "--mount", "sh", "-c", &script]);
        let first = unshare.stdout(Stdio::piped()).spawn().map_err(|why| format!("unshare: {why}"))?;
        let mut first = Started(first);
        let children = format!("/proc/{0}/task/{0}/children", first.0.id());
        let mut up = [0; 3];
        let said = std::io::Read::read_exact(first.0.stdout.as_mut().unwrap(), &mut up);
        said.map_err(|_| "a pid namespace with its own /proc is refused".to_owned())?;
        let pid = fs::read_to_string(children).map_err(|why| format!("children: {why}"))?.trim().to_owned();
        Ok(Host { pid, _first: first })
    }

    fn inside(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.pid, "--pid", "--mount"]).arg(program);
        command
    }

    fn peer(&self) -> Peer {
        Peer::start(self.inside(&example("peer")), None)
    }

    /// A server in it with three sockets in CLOSE_WAIT.
    fn leaking_server(&self, lab: &Lab) -> Peer {
        let (mut server, mut client) = (self.peer(), lab.peer());
        server.say("listen l 127.0.0.1:11211");
        client.say("connect c 127.0.0.1:11211 3");
        server.say("accept s l 3");
        client.say("close c");
        lab.wait_for(CLOSE_WAIT, 11211, 3);
        server
    }

    /// Lets the next process have the pid after `last`, where the kernel can do so.
    fn set_last_pid(&self, last: u32) {
        let script = format!("echo {last} >/proc/sys/kernel/ns_last_pid");
        self.inside(Path::new("sh")).args(["-c", &script]).stderr(Stdio::null()).status().unwrap();
    }

    /// The pid that a new process gets: how many there were.
    fn next_pid(&self) -> u32 {
        let output = self.inside(Path::new("sh")).args(["-c", "echo $$"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    }
}

fn assert_held_by_peer(outcome: &Outcome) {
    assert_eq!((outcome.code, outcome.value("close_wait")), (1, 3.0), "{outcome:?}");
    assert!(outcome.text().contains("all held by peer["), "{outcome:?}");
    assert!(!outcome.text().contains("partial"), "{outcome:?}");
}

#[test]
fn thousands_of_short_lived_processes_hide_nobody() {
    Lab::test(|lab| {
        let host = match Host::start("rw") {
            Ok(host) => host,
            Err(why) => return lab.skip(&why),
        };
        // The holder is the last in the list: all that come and go are read before it.
        host.set_last_pid(30_000);
        let _server = host.leaking_server(lab);
        host.set_last_pid(100);
        // Each ends at once; a few live for a moment and rename themselves meanwhile.
        let script = "while :; do (:)& (:)& (:)& (:)& (echo a >/proc/self/comm; echo b >/proc/self/comm)& wait; done";
        // They end with their host.
        let flood = || Started(host.inside(Path::new("sh")).args(["-c", script]).stdin(Stdio::null()).spawn().unwrap());
        let (before, mut runs) = (host.next_pid(), 0);
        let _floods = [flood(), flood()];
        while runs < RUNS || host.next_pid() - before < FLOOD {
            assert_held_by_peer(&hold_to_contract(run(host.inside(Path::new(CHECK)).args(LOOK))));
            runs += 1;
        }
    });
}

#[test]
fn where_processes_are_hidden_the_line_says_partial() {
    Lab::test(|lab| {
        let host = match Host::start("hidepid=2") {
            Ok(host) => host,
            Err(why) => return lab.skip(&why),
        };
        let _server = host.leaking_server(lab);
        assert_held_by_peer(&hold_to_contract(run(host.inside(Path::new(CHECK)).args(LOOK))));
        let (_copies, copy) = public_copy(Path::new(CHECK));
        let nobody = as_nobody(&copy);
        let mut hidden = host.inside(Path::new(nobody.get_program()));
        let outcome = hold_to_contract(run(hidden.args(nobody.get_args()).args(LOOK)));
        assert_eq!((outcome.code, outcome.value("close_wait")), (1, 3.0), "{outcome:?}");
        assert!(outcome.text().contains("owners partial: none known"), "{outcome:?}");
    });
}

#[test]
fn a_holder_of_all_the_descriptors_it_may_have_is_found() {
    Lab::test(|lab| {
        let mut server = lab.leaking_server("127.0.0.1:11211", 3);
        let limits = fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
        let limit = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let limit: u32 = limit.split_whitespace().nth(3).unwrap().parse().unwrap();
        // Not a million, where that is allowed.
        server.say(&format!("open n /dev/null {}", limit.min(100_000) - 20));
        assert_held_by_peer(&check(&LOOK));
    });
}

/// Who is missing in the part of `/proc` that was read would pass for stopped, gone or another service's.
#[test]
fn a_list_of_processes_that_breaks_off_is_unknown() {
    Lab::test(|lab| {
        let broken = |check: Check, options: &[&str], at: u32| {
            let mut strace = Command::new("strace");
            strace.args(["-f", "-qq", "-o", "/dev/null", "-P", "/proc", "-e", "trace=getdents64", "-e"]);
            strace.arg(format!("inject=getdents64:error=EIO:when={at}")).arg(check.0).args(options);
            run(&mut strace)
        };
        if !Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status().is_ok_and(|done| done.success()) {
            return lab.skip("no strace, or it may not trace");
        }
        let Some(service) = Service::new(lab) else { return };
        // Handed over, as systemd does: only what its processes hold tells that these are the unit's.
        let server = lab.leaking_server("127.0.0.1:11211", 3);
        service.take(&server);
        let (state, pid_file) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
        let pid = server.pid().to_string();
        fs::write(pid_file.path(), &pid).unwrap();
        let (dir, pid_file) = (state.path().to_str().unwrap(), pid_file.path().to_str().unwrap());
        let of_unit = [&LOOK[..], &["--unit", service.name()]].concat();
        let cases: [(Check, &[&str], &str); 4] = [
            (CLOSEWAIT, &of_unit, "but whose they are can't be told"),
            (
                CLOSEWAIT,
                &["-p4", "--ghosts", "--user", "0"],
                "ghosts unknown: processes of the service may not be read",
            ),
            (ORPHANS, &["-p11211", "--pid-file", pid_file, "--state-dir", dir], "/proc: its processes can't be listed"),
            (GROWTH, &["--metric=fds", "--pid", &pid, "--state-dir", dir], "/proc: its processes can't be listed"),
        ];
        // Before anything is listed, and after as much as one call gives.
        for ((check, options, says), at) in cases.into_iter().flat_map(|case| [(case, 1), (case, 2)]) {
            let outcome = hold_to_contract(broken(check, options, at));
            assert!(outcome.code == 3 && outcome.text().contains(says), "call {at}, {says}: {outcome:?}");
        }
    });
}
