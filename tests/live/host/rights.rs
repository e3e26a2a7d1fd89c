//! Rights given to the program's file, or handed on by who starts it: they name processes, and no more.

use crate::host::namespaces::Name;
use crate::lab::run::{
    CLOSEWAIT, CONNLEAK, Check, GROWTH, ORPHANS, Outcome, PATIENCE, TENANTS, as_nobody, hold_to_contract, poll,
    public_copy, run,
};
use crate::lab::{Lab, Peer};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const LOOK: [&str; 5] = ["-p11211", "--side=server", "--min-age=0s", "-w0", "-c100"];

/// A program of the suite that a user without rights may start, with rights of its own.
struct Given {
    dir: TempDir,
    program: PathBuf,
}

impl Given {
    /// `None`: this place gives none to files.
    fn capabilities(check: Check, names: &str) -> Option<Given> {
        let given = Given::new(check);
        let set = Command::new("setcap").arg(format!("{names}+ep")).arg(&given.program).status();
        set.is_ok_and(|status| status.success()).then_some(given)
    }

    fn setuid(check: Check) -> Given {
        let given = Given::new(check);
        fs::set_permissions(&given.program, Permissions::from_mode(0o4755)).unwrap();
        given
    }

    fn new(check: Check) -> Given {
        let (dir, program) = public_copy(Path::new(check.0));
        Given { dir, program }
    }

    /// Runs it as nobody.
    fn run(&self, args: &[&str]) -> Outcome {
        hold_to_contract(run(as_nobody(&self.program).args(args)))
    }

    /// The same where `/proc` hides others' processes.
    fn under_hidepid(&self, args: &[&str]) -> Outcome {
        let nobody = as_nobody(&self.program);
        let script = "mount -t proc -o hidepid=2 proc /proc && exec \"$0\" \"$@\"";
        let mut command = Command::new("unshare");
        run(command.args(["--mount", "sh", "-c", script]).arg(nobody.get_program()).args(nobody.get_args()).args(args))
    }

    /// A file beside it that only root may read.
    fn secret(&self, name: &str, content: &str) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// Rights that a program's file may have, and whether other namespaces can be entered with them.
const SETS: [(&str, bool); 3] = [
    ("cap_sys_ptrace,cap_dac_read_search", false),
    ("cap_sys_admin", false),
    ("cap_sys_ptrace,cap_dac_read_search,cap_sys_admin", true),
];

/// Each way of giving rights.
fn each_way(lab: &Lab, check: Check, show: impl Fn(&Given)) {
    match Given::capabilities(check, SETS[0].0) {
        Some(given) => show(&given),
        None => lab.skip("setcap is missing or refused"),
    }
    show(&Given::setuid(check));
}

fn open_to_all() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
    dir
}

fn names(outcome: &Outcome, holder: &Peer) -> bool {
    let text = outcome.text();
    text.contains(&format!("all held by peer[{}]", holder.pid())) && !text.contains("partial")
}

#[test]
fn a_program_with_rights_names_the_processes_of_others() {
    Lab::test(|lab| {
        let server = lab.leaking_server("127.0.0.1:11211", 4);
        assert!(!names(&CLOSEWAIT.unprivileged(&LOOK), &server), "without rights");
        each_way(lab, CLOSEWAIT, |given| {
            let outcome = given.run(&LOOK);
            assert!(names(&outcome, &server), "{outcome:?}");
        });
    });
}

/// What a process has on its command line and where it works is its user's: with rights of the program's
/// file a caller reads what he could read without, also where `/proc` is hidden from him.
#[test]
fn borrowed_rights_show_no_directories_and_no_hidden_command_lines() {
    Lab::test(|lab| {
        let mut command = Command::new(crate::lab::example("peer"));
        let dir = tempfile::tempdir().unwrap();
        // Whose connection it is, is told by the end that asked for it.
        command.arg("--password=geheim").current_dir(dir.path());
        let (mut server, mut client) = (lab.peer(), lab.peer_by(command));
        server.say("listen l 127.0.0.1:11211");
        client.say("connect c 127.0.0.1:11211 2");
        server.say("accept s l 2");
        let here = dir.path().display().to_string();
        let tenants = ["-p11211", "--side=server", "--key=cwd:(.+)", "-v"];
        let hidden = ["-p11211", "--side=server", "--key=cmd:--password:?.(.+)", "-v"];
        let shows = |outcome: &Outcome, text: &str| outcome.stdout.contains(text);
        let (cwd, cmd) = (TENANTS.run(&tenants), TENANTS.run(&hidden));
        assert!(shows(&cwd, &here) && shows(&cmd, "geheim"), "root: {cwd:?} {cmd:?}");
        each_way(lab, TENANTS, |given| {
            let outcome = given.run(&tenants);
            assert!(!shows(&outcome, &here), "{outcome:?}");
            // As ps shows it to everyone.
            assert!(shows(&given.run(&hidden), "geheim"));
            let outcome = given.under_hidepid(&hidden);
            assert!(!shows(&outcome, "geheim"), "{outcome:?}");
        });
        each_way(lab, Check(CONNLEAK), |given| {
            let who = ["who", "-p11211", "--side=client", "-v"];
            let seen = run(as_nobody(&given.program).args(who));
            assert!(shows(&seen, "peer[") && !shows(&seen, &format!("cwd {here}")), "{seen:?}");
            let hidden = given.under_hidepid(&who);
            assert!(shows(&hidden, "peer[") && !shows(&hidden, "geheim"), "{hidden:?}");
            assert!(shows(&hidden, "cmd (ended meanwhile, or hidden by /proc's hidepid)"), "{hidden:?}");
        });
    });
}

/// The kernel keeps rights by thread, and one of their own enters the namespaces: with too few rights
/// they are read from `/proc`, without ages, or it is said that they are not.
#[test]
fn a_program_with_rights_sees_other_namespaces_or_says_what_it_lacks() {
    Lab::test(|lab| {
        let server = lab.leaking_server("127.0.0.1:27419", 4);
        let pid = server.pid().to_string();
        let Some(name) = Name::new(server.pid()) else { return lab.skip("a bind mount in /run/netns is refused") };
        let look = |given: &Given, netns: &str, more: &[&str]| {
            let options = [
                "-p27419",
                "--side=server",
                "--min-age=1h",
                "-w0",
                "-c100",
                "--ratio-min-count=1000",
                "--netns",
                netns,
            ];
            lab.outside(|| given.run(&[&options[..], more].concat()))
        };
        let seen = |outcome: &Outcome| (outcome.code, outcome.value("close_wait"));
        let hold = |given: &Given, may_enter: bool| {
            for netns in ["all", &pid] {
                let outcome = look(given, netns, &[]);
                if may_enter {
                    assert_eq!((seen(&outcome), outcome.value("close_wait_young")), ((0, 0.0), 4.0), "{outcome:?}");
                } else {
                    assert_eq!(seen(&outcome), (1, 4.0), "{outcome:?}");
                    assert!(outcome.text().contains("ages unknown, all CLOSE_WAIT counted"), "{outcome:?}");
                    let refused = look(given, netns, &["--source=netlink"]);
                    assert_eq!(refused.code, 3, "{refused:?}");
                }
            }
            // Nothing is kept of a mount's place: what matters is the right to enter.
            let named = look(given, &name.0, &["--min-age=0s"]);
            match named.code {
                3 => assert!(!may_enter && named.text().contains("can't enter /run/netns/"), "{named:?}"),
                _ => assert_eq!(seen(&named), (1, 4.0), "{named:?}"),
            }
        };
        for (names, may_enter) in SETS {
            match Given::capabilities(CLOSEWAIT, names) {
                Some(given) => hold(&given, may_enter),
                None => lab.skip("setcap is missing or refused"),
            }
        }
        hold(&Given::setuid(CLOSEWAIT), true);
    });
}

/// What the caller may not read stays unread, whatever option names it; also what errors would quote.
#[test]
fn borrowed_rights_read_no_files_for_the_caller() {
    Lab::test(|lab| {
        let _server = lab.leaking_server("127.0.0.1:11211", 4);
        each_way(lab, CLOSEWAIT, |given| {
            let profile = given.secret("secret.yaml", "SECRET: word\n");
            let ini = given.secret("secret.ini", "[check_closewait]\nSECRET=word\n");
            let dump = given.secret("secret.dump", "SECRET word");
            let cases: [&[&str]; 3] = [
                &["-P", &profile],
                &["-p11211", &format!("--extra-opts=check_closewait@{ini}")],
                &["-p11211", "--replay", &dump],
            ];
            for case in cases {
                let outcome = given.run(case);
                assert_eq!(outcome.code, 3, "{outcome:?}");
                assert!(!outcome.stdout.contains("SECRET") && outcome.stdout.contains("ermission"), "{outcome:?}");
            }
            // A process root of the caller's own, whose names lead to what he may not read.
            let root = given.dir.path().join("proc");
            fs::create_dir_all(root.join("7/fd")).unwrap();
            let inode = fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
            let inodes = inode.lines().skip(1).filter_map(|line| line.split_whitespace().nth(9));
            let held = format!("socket:[{}]", inodes.filter(|inode| *inode != "0").last().unwrap());
            std::os::unix::fs::symlink(held, root.join("7/fd/3")).unwrap();
            std::os::unix::fs::symlink(&dump, root.join("7/comm")).unwrap();
            fs::create_dir_all(root.join("1")).unwrap();
            std::os::unix::fs::symlink("/proc/self/net", root.join("1/net")).unwrap();
            let outcome = given.run(&[&LOOK[..], &["--proc-root", root.to_str().unwrap(), "-v"]].concat());
            assert!(!outcome.stdout.contains("SECRET"), "{outcome:?}");
        });
    });
}

#[test]
fn borrowed_rights_write_no_files_for_the_caller() {
    Lab::test(|lab| {
        let _server = lab.leaking_server("127.0.0.1:11211", 4);
        each_way(lab, GROWTH, |given| {
            let kept = given.dir.path().join("kept");
            fs::create_dir(&kept).unwrap();
            fs::set_permissions(&kept, Permissions::from_mode(0o700)).unwrap();
            let (state, file) = (kept.join("state"), kept.join("out.prom"));
            let outcome = given.run(&["-p11211", "--state-dir", state.to_str().unwrap()]);
            assert!(outcome.code == 3 && outcome.stdout.contains("ermission"), "{outcome:?}");
            let own = open_to_all();
            let state = own.path().join("state");
            let args = ["-p11211", "--state-dir", state.to_str().unwrap(), "--output-file", file.to_str().unwrap()];
            let outcome = given.run(&args);
            assert!(outcome.code == 3 && outcome.stdout.contains("ermission"), "{outcome:?}");
            assert_eq!(fs::read_dir(&kept).unwrap().count(), 0, "nothing was made");
            // What is made is the caller's.
            assert_eq!(fs::metadata(state.join("65534")).unwrap().uid(), 65534);
        });
    });
}

/// The environment is the caller's: it doesn't say where a program with rights keeps its state.
#[test]
fn borrowed_rights_ignore_the_environment() {
    Lab::test(|lab| {
        let follows = |given: &Given| {
            let own = open_to_all();
            run(as_nobody(&given.program).arg("-p11211").env("MP_STATE_PATH", own.path()));
            fs::read_dir(own.path()).unwrap().count() > 0
        };
        assert!(follows(&Given::new(GROWTH)), "without rights");
        each_way(lab, GROWTH, |given| assert!(!follows(given)));
    });
}

#[test]
fn a_stop_command_gets_no_rights() {
    Lab::test(|lab| {
        each_way(lab, ORPHANS, |given| {
            let script = "id -u; id -g; grep -E 'Cap|Seccomp:' /proc/self/status";
            let args = ["-p11211", "--wait=0s", "-vv", "--", "sh", "-c", script];
            let outcome = given.run(&args);
            assert_eq!(outcome.code, 0, "{outcome:?}");
            for line in
                ["65534\n", "CapInh:\t0000000000000000", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000"]
            {
                let screened = line.replace('\t', "?");
                assert!(outcome.stdout.contains(line) || outcome.stdout.contains(&screened), "{line:?}: {outcome:?}");
            }
        });
    });
}

/// As a systemd unit with AmbientCapabilities= starts it.
#[test]
fn capabilities_that_the_caller_hands_on_name_processes_too() {
    Lab::test(|lab| {
        let server = lab.leaking_server("127.0.0.1:11211", 4);
        let (_dir, copy) = public_copy(Path::new(CLOSEWAIT.0));
        let ambient = "+sys_ptrace,+dac_read_search";
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.args([format!("--inh-caps={ambient}"), format!("--ambient-caps={ambient}")]);
        let outcome = hold_to_contract(run(command.arg(copy).args(LOOK)));
        assert!(names(&outcome, &server), "{outcome:?}");
    });
}

/// Once its command line is read a check can start nothing.
#[test]
fn a_running_check_is_confined() {
    Lab::test(|lab| {
        let (mut server, mut client) = lab.connected("127.0.0.1:6379", 1);
        let running = ORPHANS.start(&["-p6379", "--wait=1h"]);
        let status = format!("/proc/{}/status", running.process().id());
        let is_confined = || fs::read_to_string(&status).is_ok_and(|status| status.contains("Seccomp:\t2"));
        assert!(poll(PATIENCE, is_confined));
        ["l", "s"].into_iter().for_each(|name| drop(server.say(&format!("close {name}"))));
        client.say("close c");
        assert_eq!(running.end().code, 0);
    });
}
