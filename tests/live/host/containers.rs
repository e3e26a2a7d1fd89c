//! `--netns all`: containers imitated by namespaces of their own, each with the same addresses.

use crate::host::unit::Service;
use crate::lab::run::{CLOSEWAIT, Check, GROWTH, ORPHANS, Outcome, PATIENCE, STATES, TENANTS, poll, run, unique};
use crate::lab::{CLOSE_WAIT, Lab, Peer, example};
use rustix::thread::gettid;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A process that listens on an address that other containers have too, in network, process and mount
/// namespaces of its own and in a cgroup named as Docker names a container's.
struct Container {
    peer: Peer,
    /// As the host sees its process 1.
    pid: u32,
    id: String,
    cgroup: Option<Service>,
}

impl Container {
    fn start(lab: &Lab, number: u32, port: u16) -> Option<Container> {
        let mut program = Command::new("unshare");
        let inside = "ip link set lo up && exec \"$0\"";
        program.args(["--net", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc", "sh", "-c", inside]);
        let mut peer = Peer::start(
            {
                program.arg(example("peer"));
                program
            },
            None,
        );
        let pid = child(peer.pid())?;
        // Its first twelve digits are what is shown of it.
        let id = format!("{number:012x}{:0>20}{:032x}", unique(), 0xabcdef0123456789_u64);
        let cgroup = Service::named(lab, &format!("docker-{id}.scope"));
        cgroup.as_ref().inspect(|cgroup| cgroup.take_process(pid));
        peer.say(&format!("listen l 127.0.0.1:{port}"));
        Some(Container { peer, pid, id, cgroup })
    }

    /// Connections whose client has closed: accepted ones, and such that wait to be.
    fn leak(&mut self, port: u16, accepted: u32, waiting: u32) {
        self.peer.say(&format!("connect c 127.0.0.1:{port} {}", accepted + waiting));
        self.peer.say(&format!("accept s l {accepted}"));
        self.peer.say("close c");
        let tables = format!("/proc/{}/net/tcp", self.pid);
        let is_closed = |line: &&str| line.split_whitespace().nth(3) == Some("08");
        let count = || fs::read_to_string(&tables).unwrap().lines().filter(is_closed).count();
        assert!(poll(PATIENCE, || count() == (accepted + waiting) as usize), "{}", count());
    }
}

/// The process that `unshare --fork` started, once it is the one that was asked for.
pub fn child(parent: u32) -> Option<u32> {
    let mut found = None;
    let is_child = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
        stat.contains("(peer)") && after.split_whitespace().nth(1) == Some(parent.to_string().as_str())
    };
    poll(PATIENCE, || {
        let pids = fs::read_dir("/proc").unwrap().flatten();
        found = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(|pid| is_child(*pid));
        found.is_some()
    });
    found
}

/// Three containers, or a skip.
fn containers(lab: &Lab, port: u16) -> Option<Vec<Container>> {
    let start = |number| Container::start(lab, u32::from(port) * 10 + number, port);
    let containers: Option<Vec<_>> = (1..=3).map(start).collect();
    if containers.is_none() {
        lab.skip("unshare makes no process here");
    }
    containers
}

fn look(check: Check, options: &str, more: &[&str]) -> Outcome {
    let options: Vec<&str> = options.split_whitespace().chain(more.iter().copied()).collect();
    check.run(&options)
}

#[test]
fn the_one_that_leaks_is_named_and_no_other() {
    Lab::test(|lab| {
        let Some(mut containers) = containers(lab, 27411) else { return };
        let options = "-p27411 --side=server --netns=all --min-age=0s -w0 -c100 --ratio-min-count=1000";
        let calm = look(CLOSEWAIT, options, &[]);
        assert_eq!((calm.code, calm.value("close_wait")), (0, 0.0), "{calm:?}");
        for container in &mut containers {
            container.peer.say("connect used 127.0.0.1:27411 2");
            container.peer.say("accept used l 2");
        }
        containers[1].leak(27411, 3, 2);
        let outcome = lab.outside(|| look(CLOSEWAIT, options, &[]));
        let established = outcome.value("established");
        assert_eq!((outcome.code, outcome.value("close_wait"), established), (1, 5.0, 6.0), "{outcome:?}");
        let text = outcome.text();
        let [first, leaking, third] = &containers[..] else { unreachable!() };
        assert!(text.contains(&format!("all held by peer[{}]", leaking.pid)), "{text}");
        assert!(text.contains("2 not accepted yet") && text.contains("network namespaces seen"), "{text}");
        if leaking.cgroup.is_some() {
            assert!(text.contains(&leaking.id), "{text}");
            assert!(!text.contains(&first.id) && !text.contains(&third.id), "{text}");
        }
        let json = look(CLOSEWAIT, options, &["-ojson"]).json();
        assert_eq!(json["complete"]["namespaces"], 5, "three, the lab's and the one outside of it: {json}");
        assert_eq!((&json["complete"]["namespaces_refused"], &json["complete"]["sockets"]), (&0.into(), &true.into()));
        if leaking.cgroup.is_some() {
            assert_eq!(json["owners"][0]["container"], leaking.id[..12], "{json}");
        }
        containers[1].peer.say("accept s l 2");
        containers[1].peer.say("close s");
        assert_eq!(look(CLOSEWAIT, options, &[]).code, 0, "cleared");
        containers[2].leak(27411, 1, 0);
        let again = look(CLOSEWAIT, options, &[]);
        assert!(again.code == 1 && again.text().contains(&format!("held by peer[{}]", containers[2].pid)));
        let gone = containers.pop().unwrap();
        gone.peer.end();
        assert_eq!(look(CLOSEWAIT, options, &[]).value("established"), 4.0, "the namespace is gone");
    });
}

/// What may not be entered is read from /proc, without ages; what has no process can't be.
#[test]
fn without_rights_nothing_is_missed_in_silence() {
    Lab::test(|lab| {
        let Some(mut containers) = containers(lab, 27412) else { return };
        containers[0].leak(27412, 2, 0);
        let options =
            ["-p27412", "--side=server", "--netns=all", "--min-age=1h", "-w0", "-c100", "--ratio-min-count=1000"];
        let outcome = lab.outside(|| CLOSEWAIT.unprivileged(&options));
        assert_eq!((outcome.code, outcome.value("close_wait")), (1, 2.0), "{outcome:?}");
        assert!(outcome.text().contains("ages unknown, all CLOSE_WAIT counted"), "{outcome:?}");
        assert_eq!(look(CLOSEWAIT, "", &options).value("close_wait_young"), 2.0, "entered, so with ages");
        let refused = CLOSEWAIT.unprivileged(&[&options[..], &["--source=netlink"]].concat());
        assert_eq!(refused.code, 3, "{refused:?}");
        assert!(refused.text().contains("network namespaces may not be looked into"), "{refused:?}");
        let json = CLOSEWAIT.unprivileged(&[&options[..], &["--source=netlink", "-ojson"]].concat()).json();
        assert_eq!(json["complete"]["namespaces_refused"], 3, "the one outside is seen to be empty: {json}");
        assert_eq!(json["complete"]["sockets"], false, "{json}");
    });
}

/// The one that leaks is among the hidden.
#[test]
fn hidden_processes_may_be_in_further_namespaces() {
    Lab::test(|lab| {
        let Some(mut containers) = containers(lab, 27417) else { return };
        containers[0].leak(27417, 2, 0);
        let options = ["-p27417", "--side=server", "--netns=all", "-w0", "-c100", "--ratio-min-count=1000"];
        let look = |hide| lab.outside(|| CLOSEWAIT.under_hidepid(hide, &options));
        let shown = look(0);
        if !shown.stderr.is_empty() {
            return lab.skip(&format!("mount: {}", shown.stderr));
        }
        assert_eq!((shown.code, shown.value("close_wait")), (1, 2.0), "{shown:?}");
        for hide in [1, 2] {
            let hidden = look(hide);
            assert_eq!((hidden.code, hidden.value("close_wait")), (3, 0.0), "{hidden:?}");
            assert!(hidden.text().contains("/proc hides processes (hidepid), so maybe more namespaces"), "{hidden:?}");
        }
    });
}

/// Those that no process is in are found among the mounts only.
#[test]
fn where_mounts_cant_be_read_there_may_be_more_namespaces() {
    Lab::test(|_| {
        let root = tempfile::tempdir().unwrap();
        let (first, root) = (root.path().join("1"), root.path().to_str().unwrap());
        fs::create_dir(&first).unwrap();
        fs::write(first.join("stat"), "1 (init) S 0 1 1 0\n").unwrap();
        std::os::unix::fs::symlink(format!("/proc/{}/task/{}/net", std::process::id(), gettid()), first.join("net"))
            .unwrap();
        let look = || look(CLOSEWAIT, "-p27418 --netns=all --proc-root", &[root]);
        let unread = look();
        assert!(unread.code == 3 && unread.text().contains("1/mountinfo: No such file"), "{unread:?}");
        // A mount's name may be no text.
        fs::write(first.join("mountinfo"), b"29 1 0:4 / /srv/\xff rw - ext4 /dev/vda rw\n").unwrap();
        assert_eq!(look().code, 0, "{:?}", look());
        fs::write(first.join("mountinfo"), b"29 1 0:4 net:[7] /srv/\xff rw - nsfs nsfs rw\n").unwrap();
        assert!(look().text().contains("1 of 2 network namespaces may not be looked into"), "{:?}", look());
    });
}

#[test]
fn time_that_is_over_is_said() {
    Lab::test(|lab| {
        let Some(_containers) = containers(lab, 27413) else { return };
        let late = look(CLOSEWAIT, "-p27413 --netns=all -t 1ms", &[]);
        assert_eq!(late.code, 3, "{late:?}");
    });
}

/// Here nothing bounds ghosts, so that they are looked for; each walk is one of the host's whole table.
#[test]
fn one_walk_of_each_namespace_shows_the_service_and_who_has_no_ghosts() {
    Lab::test(|lab| {
        let Some(mut containers) = containers(lab, 27419) else { return };
        if !lab.traces() {
            return;
        }
        containers[1].leak(27419, 2, 0);
        let (_server, _client) = lab.connected("127.0.0.1:27420", 3);
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-e", "trace=sendto", "-o"]).arg(log.path());
        strace.arg(CLOSEWAIT.0).args(["-p27419", "--netns=all", "--min-age=0s", "-w1", "-v"]);
        let outcome = run(&mut strace);
        assert_eq!((outcome.code, outcome.value("close_wait"), outcome.value("ghosts")), (1, 2.0, 0.0), "{outcome:?}");
        assert!(outcome.text().contains(&format!("all held by peer[{}]", containers[1].pid)), "{outcome:?}");
        let text = fs::read_to_string(log.path()).unwrap();
        let dumps = text.lines().filter(|line| line.contains("|0x300") || line.contains("NLM_F_DUMP")).count();
        // Listeners have a small table of their own, the others one of all namespaces.
        assert_eq!(dumps, 2 * 4, "{text}");
    });
}

/// Descriptors are read before the tables there. What comes and goes meanwhile is no reason to walk all once more.
#[test]
fn what_is_opened_while_all_namespaces_are_looked_at_has_a_holder() {
    Lab::test(|lab| {
        if !lab.traces() {
            return;
        }
        let (mut server, mut client) = lab.connected("127.0.0.1:27421", 1);
        let (mut other, mut other_client) = lab.connected("127.0.0.1:27422", 5);
        let log = tempfile::NamedTempFile::new().unwrap();
        let late = || {
            let mut strace = Command::new("strace");
            strace.args(["-f", "-qq", "-e", "trace=sendto", "-o"]).arg(log.path());
            strace.args(["-e", "inject=sendto:delay_exit=1200000:when=1+1"]);
            strace.arg(CLOSEWAIT.0).args(["-p27421", "--side=server", "--netns=all", "--min-age=0s", "-w0", "-c100"]);
            run(strace.args(["--ratio-min-count=1000", "-v"]))
        };
        let pause = |millis| std::thread::sleep(std::time::Duration::from_millis(millis));
        let outcome = std::thread::scope(|scope| {
            let late = scope.spawn(late);
            // The listeners have been shown, then all others.
            pause(700);
            other_client.say("close c");
            other.say("close s");
            client.say("connect more 127.0.0.1:27421 3");
            server.say("accept more l 3");
            client.say("close more");
            pause(1200);
            other_client.say("connect again 127.0.0.1:27422 5");
            other.say("accept again l 5");
            late.join().unwrap()
        });
        assert_eq!((outcome.code, outcome.value("close_wait"), outcome.value("ghosts")), (1, 3.0, 0.0), "{outcome:?}");
        assert!(outcome.text().contains(&format!("all held by peer[{}]", server.pid())), "{outcome:?}");
        assert_eq!(fs::read_to_string(log.path()).unwrap().lines().count(), 2, "{outcome:?}");
    });
}

/// A file that a namespace is mounted on.
struct Mount(PathBuf);

impl Mount {
    /// That of the calling thread.
    fn new(path: &Path) -> Option<Mount> {
        fs::write(path, "").unwrap();
        let here = format!("/proc/{}/task/{}/ns/net", std::process::id(), gettid());
        let mounted = Command::new("mount").arg("--bind").arg(here).arg(path).status();
        mounted.is_ok_and(|status| status.success()).then(|| Mount(path.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// One that only a mount keeps, as `ip netns add` leaves it, and that no process is in.
#[test]
fn a_namespace_without_a_process_is_seen_too() {
    Lab::test(|lab| {
        let options = "-p27414 --side=server --netns=all --min-age=0s -w0 -c100 --ratio-min-count=1000";
        let dir = tempfile::tempdir().unwrap();
        let (mount, _sockets) = lab.in_another(|lab| {
            let listener = TcpListener::bind("127.0.0.1:27414").unwrap();
            let client = TcpStream::connect("127.0.0.1:27414").unwrap();
            let forgotten = listener.accept().unwrap();
            drop(client);
            lab.wait_for(CLOSE_WAIT, 27414, 1);
            (Mount::new(&dir.path().join("a name")), (listener, forgotten))
        });
        let Some(mount) = mount else { return lab.skip("a bind mount is refused") };
        lab.outside(|| {
            let outcome = look(CLOSEWAIT, options, &[]);
            assert_eq!((outcome.code, outcome.value("close_wait")), (1, 1.0), "{outcome:?}");
            let refused = CLOSEWAIT.unprivileged(&options.split(' ').collect::<Vec<_>>());
            assert_eq!(refused.code, 3, "{refused:?}");
            assert!(refused.text().contains("network namespaces may not be looked into"), "{refused:?}");
            drop(mount);
            assert_eq!(look(CLOSEWAIT, options, &[]).value("close_wait"), 0.0, "neither process nor mount");
        });
    });
}

/// The end that is left in one container is not the other end of the same addresses in another.
#[test]
fn equal_addresses_of_two_namespaces_are_not_mixed() {
    Lab::test(|lab| {
        let Some(mut containers) = containers(lab, 27415) else { return };
        let (state, options) = (tempfile::tempdir().unwrap(), "-p27415 --netns=all --limit=100 --state-dir");
        let state = state.path().to_str().unwrap();
        for container in &mut containers {
            container.peer.say("connect_from c 127.0.0.1:27425 127.0.0.1:27415");
            container.peer.say("accept s l 1");
        }
        let growth = look(GROWTH, options, &[state]);
        assert_eq!((growth.code, growth.value("connections")), (0, 3.0), "{growth:?}");
        containers[0].peer.say("close c");
        let growth = look(GROWTH, options, &[state]);
        assert_eq!(growth.value("connections"), 3.0, "{growth:?}");
    });
}

/// The baseline knows a socket by its namespace too.
#[test]
fn a_restart_of_one_container_is_judged_among_others() {
    Lab::test(|lab| {
        let Some(mut containers) = containers(lab, 27416) else { return };
        for container in &mut containers {
            container.peer.say("connect c 127.0.0.1:27416 2");
            container.peer.say("accept s l 2");
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("before");
        let file = file.to_str().unwrap();
        let left = |more: &[&str]| look(ORPHANS, "-p27416 --netns=all --wait=0s", more);
        assert_eq!(left(&["--save-baseline", file]).code, 0);
        let kept = left(&["--baseline", file]);
        assert_eq!((kept.code, kept.value("orphans")), (2, 15.0), "three listeners, 12 ends: {kept:?}");
        let other = lab.outside(|| ORPHANS.run(&["-p27416", "--wait=0s", "--baseline", file]));
        assert!(other.code == 3 && other.text().contains("another network namespace"), "{other:?}");
        containers.drain(..2).for_each(|container| container.peer.end());
        let one = left(&["--baseline", file]);
        assert_eq!((one.code, one.value("orphans")), (2, 5.0), "{one:?}");
        assert!(one.text().contains(&format!("port still bound by peer[{}]", containers[0].pid)), "{one:?}");
        let Some(new) = Container::start(lab, 274164, 27416) else { return };
        let among = left(&["--baseline", file]);
        assert_eq!((among.value("orphans"), among.value("new")), (5.0, 1.0), "{among:?}");
        drop((containers, new));
        let cleared = left(&["--baseline", file]);
        assert_eq!((cleared.code, cleared.value("orphans")), (0, 0.0), "{cleared:?}");
    });
}

/// Nor are they joined to tell a tenant: what one container's client has closed stays its server's.
#[test]
fn tenants_of_equal_addresses_are_told_apart() {
    Lab::test(|lab| {
        let Some(mut containers) = containers(lab, 27431) else { return };
        for container in &mut containers {
            container.peer.say("connect_from c 127.0.0.1:27427 127.0.0.1:27431");
            container.peer.say("accept s l 1");
        }
        let options = "-p27431 --netns=all --limit=100 --key=container -ojson";
        let of = |side: &str| look(TENANTS, options, &["--side", side]).json();
        if containers.iter().any(|container| container.cgroup.is_none()) {
            return lab.skip("no cgroups to name containers by");
        }
        for side in ["server", "client", "both"] {
            let json = of(side);
            let names: Vec<_> = json["tenants"].as_array().unwrap().iter().map(|tenant| &tenant["name"]).collect();
            let wanted: Vec<_> = containers.iter().map(|container| &container.id[..12]).collect();
            assert_eq!(names, wanted, "{side}: {json}");
        }
        containers[0].peer.say("close c");
        for side in ["server", "both"] {
            let total = look(TENANTS, &options.replace(" -ojson", ""), &["--side", side]).value("connections");
            assert_eq!(total, 3.0, "{side}: {}", of(side));
        }
    });
}

/// Nor is a full accept queue lost among roomy ones at its address.
#[test]
fn a_full_accept_queue_is_told_from_those_of_equal_addresses() {
    Lab::test(|lab| {
        let Some(mut containers) = containers(lab, 27432) else { return };
        for (container, backlog) in containers.iter_mut().zip(["", " 4", ""]) {
            container.peer.say(&format!("listen q 127.0.0.1:27442{backlog}"));
            container.peer.say("connect c 127.0.0.1:27442 5");
        }
        let options = "-p27442 --side=server --netns=all";
        let full = look(STATES, options, &[]);
        let text = full.text();
        assert_eq!((full.code, full.value("accept_queue")), (2, 125.0), "{full:?}");
        assert!(text.contains("127.0.0.1:27442 at 5 of 4, 125%"), "{text}");
        assert!(text.contains(&format!("all held by peer[{}]", containers[1].pid)), "{text}");
        containers[1].peer.say("accept s q 5");
        assert_eq!(look(STATES, options, &[]).code, 0, "cleared");
        containers[1].peer.say("connect again 127.0.0.1:27442 5");
        assert_eq!(look(STATES, options, &[]).code, 2, "again");
    });
}
