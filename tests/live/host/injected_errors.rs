//! Only ENOENT and ESRCH mean gone: whichever call of a run fails in whatever other way, no check is OK where the
//! truth is not.

use crate::host::containers::child;
use crate::host::unit::Service;
use crate::lab::run::{CLOSEWAIT, Check, GROWTH, IDLE, ORPHANS, STATES, Started, TENANTS, finish};
use crate::lab::{CLOSE_WAIT, ESTABLISHED, Lab, Peer, example};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// Runs at a time: a look for ghosts waits more than it works.
const AT_ONCE: usize = 4;

/// What may fail for want of rights, memory or descriptors, or by a device.
const ERRORS: [&str; 4] = ["EMFILE", "ENOMEM", "EACCES", "EIO"];

/// What else may; with CONNLEAK_ALL_ERRORS=1.
const MORE_ERRORS: [&str; 9] =
    ["EPERM", "ENFILE", "EINTR", "EINVAL", "EAGAIN", "ENOBUFS", "ENOSYS", "EOPNOTSUPP", "EBUSY"];

/// Calls that read the kernel. Others (memory, threads, the clock, the answer) are not about what is seen.
const CALLS: [&str; 19] = [
    "openat",
    "open",
    "read",
    "pread64",
    "readlink",
    "readlinkat",
    "getdents64",
    "newfstatat",
    "statx",
    "fstat",
    "getxattr",
    "socket",
    "sendto",
    "recvmsg",
    "recvfrom",
    "setns",
    "getsockopt",
    "setsockopt",
    "bind",
];

/// So many of each call fail; with CONNLEAK_ALL_ERRORS=1 all of them.
const OF_EACH: usize = 12;

/// One run of a check under strace(1), in the PID namespace of process `target`.
struct Traced<'a> {
    target: &'a str,
    dir: &'a Path,
    check: Check,
    options: Vec<String>,
}

impl Traced<'_> {
    /// The exit code and the answer; `place` is a file name that no other run has meanwhile.
    fn run(&self, place: &str, trace: &[&str]) -> (Option<i32>, String) {
        let path = self.dir.join(place);
        let answer = fs::File::create(&path).unwrap();
        let mut command = Command::new("nsenter");
        command.args(["--target", self.target, "--pid", "--mount", "strace", "-qq", "-f"]).args(trace);
        command.arg(self.check.0).args(&self.options).stdin(Stdio::null()).stderr(Stdio::null()).stdout(answer);
        let mut child = command.spawn().unwrap();
        let status = finish(&mut child, PATIENCE);
        let status = status.unwrap_or_else(|| panic!("{:?} {trace:?}: no end", self.options));
        (status.code(), fs::read_to_string(path).unwrap())
    }

    /// How often each call is made; the most by one thread, as strace counts them apart. And which of them read mounts:
    /// few do, each of its own kind.
    fn calls(&self) -> (BTreeMap<String, usize>, BTreeSet<(String, usize)>) {
        let log = self.dir.join("log");
        let (code, answer) = self.run("answer", &["-o", log.to_str().unwrap()]);
        assert_eq!(code, Some(2), "the truth: {answer}");
        let (mut calls, mut of_mounts) = (BTreeMap::<(String, String), usize>::new(), BTreeSet::new());
        for line in fs::read_to_string(log).unwrap().lines() {
            let (thread, rest) = line.split_once(' ').unwrap_or_default();
            if let Some((call, _)) = rest.trim_start().split_once('(').filter(|(call, _)| CALLS.contains(call)) {
                let mut count = |call: &str| {
                    let count = calls.entry((call.to_owned(), thread.to_owned())).or_default();
                    *count += 1;
                    *count
                };
                let at = count(call);
                if rest.contains("mountinfo\"") {
                    let next_read = calls.get(&("read".to_owned(), thread.to_owned())).map_or(1, |count| count + 1);
                    of_mounts.extend([(call.to_owned(), at), ("read".to_owned(), next_read)]);
                }
            }
        }
        let mut most: BTreeMap<String, usize> = BTreeMap::new();
        for ((call, _), count) in calls {
            let known = most.entry(call).or_default();
            *known = count.max(*known);
        }
        (most, of_mounts)
    }
}

/// What the client does before the check looks.
enum End {
    /// Some checks are about connections that are open.
    None,
    Close,
    /// Nothing but descriptors is left: ghosts.
    Reset,
    /// The same, and nothing listens on the port any more; its process has a listener of another service.
    Gone,
}

impl End {
    fn come(&self, lab: &Lab, server: &mut Peer, client: &mut Peer) {
        match self {
            End::None => {}
            End::Close => {
                client.say("close c");
                lab.wait_for(CLOSE_WAIT, 27760, 5);
            }
            End::Reset | End::Gone => {
                client.say("reset c");
                lab.wait_for(ESTABLISHED, 27760, 0);
                if matches!(self, End::Gone) {
                    server.say("close l");
                    server.say("listen other 127.0.0.1:27761");
                }
            }
        }
    }
}

/// The first two places of `count`, on which all else rests, and so many, evenly spread.
fn spread(count: usize, most: usize) -> BTreeSet<usize> {
    let taken = count.min(most);
    (1..=count.min(2)).chain((0..taken).map(|index| 1 + index * count / taken)).collect()
}

/// What strace(1) is to inject: a call fails once, with one of the errors.
fn injections((calls, of_mounts): (BTreeMap<String, usize>, BTreeSet<(String, usize)>)) -> Vec<String> {
    let all = std::env::var_os("CONNLEAK_ALL_ERRORS").is_some();
    let of_call = |(call, count): (&String, &usize)| -> Vec<String> {
        let errors = |at: usize| {
            let every = all || of_mounts.contains(&(call.clone(), at));
            let some = ERRORS.iter().enumerate();
            let some = some.filter(move |(index, _)| every || at <= 2 || *index == at % ERRORS.len());
            some.map(|(_, error)| *error).chain(MORE_ERRORS.into_iter().filter(move |_| every))
        };
        let marked = of_mounts.iter().filter(|(name, _)| name == call).map(|(_, at)| *at);
        let each = spread(*count, if all { *count } else { OF_EACH })
            .into_iter()
            .chain(marked)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .flat_map(|at| errors(at).map(move |error| (at, error)));
        each.map(|(at, error)| format!("inject={call}:error={error}:when={at}")).collect()
    };
    calls.iter().flat_map(of_call).collect()
}

/// Whose network namespace the service is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Where {
    /// The check's.
    Here,
    /// The same, where MPTCP listens elsewhere: then its table is looked at too.
    BesideMptcp,
    /// The same as the first; it listens on a UNIX socket.
    HereByFile,
    /// One of its own.
    Elsewhere,
    /// One that nobody is in any more; a mount in a mount namespace of its own keeps it.
    Mounted,
    /// The same; a descriptor keeps it.
    Opened,
}

/// Starts in a network namespace of its own, from which descriptor 9 leads back.
const IN_ITS_OWN: &str = "exec 9</proc/self/ns/net; exec unshare --net sh -c 'ip link set lo up && exec \"$0\"' \"$0\"";

/// Keeps the network namespace of process 1 by a mount on a file which it alone sees.
fn mounted(target: &str, file: &Path) -> Option<Started> {
    let script = "mount --bind /proc/1/ns/net \"$0\" && echo kept && exec cat";
    let mut command = Command::new("nsenter");
    command.args(["--target", target, "--pid", "--mount"]);
    command.args(["unshare", "--mount", "--propagation=private", "sh", "-c", script]).arg(file);
    let mut keeper = Started(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(keeper.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (line == "kept\n").then_some(keeper)
}

/// [`never_ok_of`], of a service that is where the check is.
fn never_ok(lab: &Lab, check: Check, end: End, options: &[&str]) {
    never_ok_of(lab, check, Where::Here, end, options);
}

/// Some of each call fail, once each, with one of the errors; with CONNLEAK_ALL_ERRORS=1 all, with each of them.
fn never_ok_of(lab: &Lab, check: Check, place: Where, end: End, options: &[&str]) {
    if !Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
        return lab.skip("no strace");
    }
    let Some(service) = Service::new(lab) else { return };
    let mut program = Command::new("unshare");
    program.args(["--pid", "--mount", "--fork", "--kill-child", "--mount-proc"]);
    if !matches!(place, Where::Here | Where::BesideMptcp | Where::HereByFile) {
        program.args(["sh", "-c", IN_ITS_OWN]);
    }
    program.arg(example("peer"));
    let mut server = lab.peer_by(program);
    let Some(pid) = child(server.pid()) else { return lab.skip("unshare makes no process here") };
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().to_str().unwrap();
    let address = if place == Where::HereByFile { format!("{own}/s") } else { "127.0.0.1:27760".to_owned() };
    // Made outside of the unit: only who holds them tells whose they are.
    server.say(&format!("listen l {address}"));
    let mut client = lab.peer();
    match place {
        Where::HereByFile => {
            client.say(&format!("connect c {address} 5"));
            server.say("accept s l 5");
            if matches!(end, End::Close) {
                client.say("close c");
            }
        }
        Where::Here | Where::BesideMptcp => {
            if place == Where::BesideMptcp {
                server.say("mptcp");
                server.say("listen m 127.0.0.1:27762");
            }
            client.say("connect c 127.0.0.1:27760 5");
            server.say("accept s l 5");
            end.come(lab, &mut server, &mut client);
        }
        Where::Elsewhere | Where::Mounted | Where::Opened => {
            server.say("connect c 127.0.0.1:27760 5");
            server.say("accept s l 5");
            if matches!(end, End::Close) {
                server.say("close c");
            }
        }
    }
    service.take_process(pid);
    let given = |option: &&str| option.replace("UNIT", service.name()).replace("STATE", own);
    let target = pid.to_string();
    let mut keeper = None;
    match place {
        Where::Here | Where::BesideMptcp | Where::HereByFile | Where::Elsewhere => {}
        Where::Mounted => {
            let file = dir.path().join("kept");
            fs::write(&file, "").unwrap();
            keeper = mounted(&target, &file);
            if keeper.is_none() {
                return lab.skip("a bind mount is refused");
            }
            server.say("enter /proc/self/fd/9");
        }
        Where::Opened => {
            server.say("open n /proc/self/ns/net 1");
            server.say("enter /proc/self/fd/9");
        }
    }
    let options = options.iter().map(given).collect();
    let traced = Traced { target: &target, dir: dir.path(), check, options };
    // A history is written by one run after the other.
    let at_once = if traced.options.iter().any(|option| option.contains("--state-dir")) { 1 } else { AT_ONCE };
    let injections = injections(traced.calls());
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for worker in 0..at_once {
            let (injections, traced, next, wrong) = (&injections, &traced, &next, &wrong);
            scope.spawn(move || {
                while let Some(inject) = injections.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (code, answer) = traced.run(&format!("answer{worker}"), &["-e", inject, "-o", "/dev/null"]);
                    if code == Some(0) {
                        wrong.lock().unwrap().push(format!("{inject}: {answer}"));
                    }
                }
            });
        }
    });
    drop(keeper);
    let (tried, wrong) = (injections.len(), wrong.into_inner().unwrap());
    assert!(tried > 30, "only {tried} calls");
    assert!(wrong.is_empty(), "{} of {tried}:\n{}", wrong.len(), wrong.join(""));
}

const PORT: &str = "-p27760";

#[test]
fn check_closewait_of_a_unit() {
    Lab::test(|lab| {
        never_ok(lab, CLOSEWAIT, End::Close, &[PORT, "--side=server", "--min-age=0s", "-c0", "--unit=UNIT"])
    });
}

#[test]
fn check_conn_growth_of_a_port() {
    Lab::test(|lab| never_ok(lab, GROWTH, End::Close, &[PORT, "--limit=5", "-c50", "--state-dir=STATE"]));
}

#[test]
fn check_conn_tenants_of_a_port() {
    Lab::test(|lab| never_ok(lab, TENANTS, End::None, &[PORT, "--key=user", "--limit=5", "-c50"]));
}

fn never_ok_by_file(lab: &Lab, check: Check, end: End, options: &[&str]) {
    never_ok_of(lab, check, Where::HereByFile, end, &[&["--unix=STATE/s"], options].concat());
}

#[test]
fn check_closewait_of_a_unix_socket() {
    let options = ["--side=server", "--min-age=0s", "-c0", "--state-dir=STATE"];
    Lab::test(|lab| never_ok_by_file(lab, CLOSEWAIT, End::Close, &options));
}

#[test]
fn check_conn_growth_of_a_unix_socket() {
    Lab::test(|lab| never_ok_by_file(lab, GROWTH, End::None, &["--limit=5", "-c50", "--state-dir=STATE"]));
}

#[test]
fn check_conn_states_of_a_unix_socket() {
    Lab::test(|lab| never_ok_by_file(lab, STATES, End::None, &["--side=server", "-c0"]));
}

#[test]
fn check_conn_tenants_of_a_unix_socket() {
    Lab::test(|lab| never_ok_by_file(lab, TENANTS, End::None, &["--key=user", "--limit=5", "-c50"]));
}

#[test]
fn check_orphans_after_stop_of_a_unix_socket() {
    Lab::test(|lab| never_ok_by_file(lab, ORPHANS, End::None, &["--wait=0s"]));
}

#[test]
fn check_closewait_of_a_port() {
    Lab::test(|lab| never_ok(lab, CLOSEWAIT, End::Close, &[PORT, "--side=server", "--min-age=0s", "-c0"]));
}

#[test]
fn check_closewait_of_ghosts() {
    Lab::test(|lab| never_ok(lab, CLOSEWAIT, End::Reset, &[PORT, "--side=server", "-c0"]));
}

#[test]
fn check_conn_growth_of_a_process() {
    Lab::test(|lab| never_ok(lab, GROWTH, End::Close, &[PORT, "--pid=1", "--limit=5", "-c50", "--state-dir=STATE"]));
}

#[test]
fn check_conn_growth_of_a_unit() {
    Lab::test(|lab| {
        never_ok(lab, GROWTH, End::Close, &[PORT, "--unit=UNIT", "--limit=5", "-c50", "--state-dir=STATE"])
    });
}

#[test]
fn check_conn_growth_of_a_units_descriptors() {
    Lab::test(|lab| {
        never_ok(lab, GROWTH, End::Close, &["--unit=UNIT", "--metric=fds", "--limit=6", "-c50", "--state-dir=STATE"])
    });
}

#[test]
fn check_conn_idle_of_a_unit() {
    Lab::test(|lab| never_ok(lab, IDLE, End::None, &[PORT, "--side=server", "--min-age=0s", "-c0", "--unit=UNIT"]));
}

#[test]
fn check_conn_states_of_a_unit() {
    Lab::test(|lab| {
        never_ok(lab, STATES, End::Close, &[PORT, "--side=server", "--state=CLOSE_WAIT::0", "--unit=UNIT"])
    });
}

#[test]
fn check_conn_tenants_of_a_unit() {
    Lab::test(|lab| never_ok(lab, TENANTS, End::None, &[PORT, "--key=user", "--limit=5", "-c50", "--unit=UNIT"]));
}

#[test]
fn check_orphans_after_stop() {
    Lab::test(|lab| never_ok(lab, ORPHANS, End::Close, &[PORT, "--wait=0s"]));
}

#[test]
fn check_closewait_of_ghosts_that_only_their_unit_tells() {
    Lab::test(|lab| never_ok(lab, CLOSEWAIT, End::Gone, &[PORT, "--min-age=0s", "-c0", "--unit=UNIT"]));
}

#[test]
fn check_conn_idle_of_a_port() {
    Lab::test(|lab| never_ok(lab, IDLE, End::None, &[PORT, "--side=server", "--min-age=0s", "-c0"]));
}

#[test]
fn check_conn_states_of_a_port() {
    Lab::test(|lab| never_ok(lab, STATES, End::Close, &[PORT, "--side=server", "--state=CLOSE_WAIT::0"]));
}

#[test]
fn check_conn_states_beside_mptcp() {
    let options = [PORT, "--side=server", "--state=CLOSE_WAIT::0"];
    Lab::test(|lab| never_ok_of(lab, STATES, Where::BesideMptcp, End::Close, &options));
}

/// None of these runs: nothing may make them seem to, or their stop seem to be a moment ago.
#[test]
fn check_orphans_after_stop_of_a_process() {
    Lab::test(|lab| {
        never_ok(lab, ORPHANS, End::Close, &[PORT, "--wait=0s", "--process=nobody-runs-it", "--state-dir=STATE"])
    });
}

#[test]
fn check_orphans_after_stop_of_a_pid_file() {
    Lab::test(|lab| {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        fs::write(&file, "4194000\n").unwrap();
        let pid_file = format!("--pid-file={}", file.display());
        never_ok(lab, ORPHANS, End::Close, &[PORT, "--wait=0s", &pid_file, "--state-dir=STATE"])
    });
}

#[test]
fn check_conn_states_of_a_namespace_that_a_mount_keeps() {
    let rule = [PORT, "--netns=all", "--side=server", "--state=CLOSE_WAIT::0"];
    Lab::test(|lab| never_ok_of(lab, STATES, Where::Mounted, End::Close, &rule));
}

#[test]
fn check_conn_states_of_a_namespace_that_a_descriptor_keeps() {
    let rule = [PORT, "--netns=all", "--side=server", "--state=CLOSE_WAIT::0"];
    Lab::test(|lab| never_ok_of(lab, STATES, Where::Opened, End::Close, &rule));
}

fn never_ok_in_all(lab: &Lab, check: Check, end: End, options: &[&str]) {
    never_ok_of(lab, check, Where::Elsewhere, end, &[&[PORT, "--netns=all"], options].concat());
}

#[test]
fn check_closewait_of_all_namespaces() {
    Lab::test(|lab| never_ok_in_all(lab, CLOSEWAIT, End::Close, &["--side=server", "--min-age=0s", "-c0"]));
}

#[test]
fn check_conn_growth_of_all_namespaces() {
    Lab::test(|lab| never_ok_in_all(lab, GROWTH, End::Close, &["--limit=5", "-c50", "--state-dir=STATE"]));
}

#[test]
fn check_conn_idle_of_all_namespaces() {
    Lab::test(|lab| never_ok_in_all(lab, IDLE, End::None, &["--side=server", "--min-age=0s", "-c0"]));
}

#[test]
fn check_conn_states_of_all_namespaces() {
    Lab::test(|lab| never_ok_in_all(lab, STATES, End::Close, &["--side=server", "--state=CLOSE_WAIT::0"]));
}

#[test]
fn check_conn_tenants_of_all_namespaces() {
    Lab::test(|lab| never_ok_in_all(lab, TENANTS, End::None, &["--key=user", "--limit=5", "-c50"]));
}

#[test]
fn check_orphans_after_stop_of_all_namespaces() {
    Lab::test(|lab| never_ok_in_all(lab, ORPHANS, End::Close, &["--wait=0s"]));
}

#[test]
fn check_conn_tenants_of_all_namespaces_by_unit() {
    Lab::test(|lab| never_ok_in_all(lab, TENANTS, End::None, &["--key=unit", "--limit=5", "-c50"]));
}
