//! check_conn_growth on connections that are really made: time is rehearsed, the sockets are not.

use crate::lab::run::{GROWTH, Outcome, Started, run};
use crate::lab::{ESTABLISHED, Lab, Peer};
use connleak::history::{History, series};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Of the service that leaks.
const LIMIT: u32 = 120;
/// Between two runs: a minute of the rehearsed time.
pub const PACE: Duration = Duration::from_secs(1);
const ALWAYS: [&str; 7] = ["connections", "used", "limit", "growth", "left", "suspects", "idle_oldest"];

/// A server and its client with a small pool, whose members work and are replaced in turn.
pub struct Service {
    server: Peer,
    client: Peer,
    leaked: u32,
}

impl Service {
    pub fn start(lab: &Lab, port: u16, pool: u32) -> Service {
        let (mut server, mut client) = (lab.peer(), lab.peer());
        server.say(&format!("listen l 127.0.0.1:{port}"));
        client.say(&format!("connect first 127.0.0.1:{port} 1"));
        server.say("accept first l 1");
        let mut service = Service { server, client, leaked: 0 };
        (0..pool).for_each(|member| service.open(port, &format!("m{member}")));
        service
    }

    fn open(&mut self, port: u16, name: &str) {
        self.client.say(&format!("connect {name} 127.0.0.1:{port} 1"));
        self.server.say(&format!("accept {name} l 1"));
    }

    pub fn work(&mut self, port: u16, pool: u32, second: u32) {
        for member in 0..pool {
            self.client.say(&format!("send m{member}"));
        }
        for replaced in [2 * second, 2 * second + 1] {
            let member = format!("m{}", replaced % pool);
            self.client.say(&format!("close {member}"));
            self.server.say(&format!("close {member}"));
            self.open(port, &member);
        }
        self.client.say("send first");
    }

    pub fn leak(&mut self, port: u16, count: u32) {
        for _ in 0..count {
            self.open(port, "leaked");
        }
        self.leaked += count;
    }
}

pub fn look(state: &TempDir, port: u16, more: &[&str]) -> Outcome {
    let (port, dir) = (format!("-p{port}"), state.path().to_str().unwrap());
    GROWTH.run(&[&[&port, "--state-dir", dir], more].concat())
}

/// Labels in order, without those that come and go.
fn assert_labels(outcome: &Outcome, is_first: bool) {
    let mut labels: Vec<_> = ALWAYS.to_vec();
    if !is_first {
        labels.extend(["opened", "closed"]);
    }
    let output = outcome.output();
    let found: Vec<_> = output.metrics.iter().map(|metric| metric.label.as_str()).collect();
    assert_eq!(found, labels, "{outcome:?}");
}

#[test]
fn a_leak_is_told_from_load_and_from_its_end() {
    Lab::test(|lab| {
        let state = tempfile::tempdir().unwrap();
        let limit = LIMIT.to_string();
        let limit = ["--limit", &limit, "--rehearse", "60"];
        let (mut leaking, mut healthy) = (Service::start(lab, 4242, 4), Service::start(lab, 4243, 8));
        let (mut found, mut was_steady, mut leaks, mut told) = (None, false, None, Vec::new());
        let begun = Instant::now();
        for second in 0..56 {
            leaking.work(4242, 4, second);
            healthy.work(4243, 8, second);
            if second >= 8 {
                leaking.leak(4242, 2);
                leaks.get_or_insert_with(Instant::now);
            }
            let (bad, good) = (look(&state, 4242, &limit), look(&state, 4243, &limit));
            assert!(good.code == 0 && !good.text().contains("leak"), "second {second}: {good:?}");
            assert_labels(&good, second == 0);
            assert_labels(&bad, second == 0);
            if second < 4 {
                let learning = format!("4242: learning, {} sample", second + 1);
                assert!(bad.code == 0 && bad.text().contains(&learning), "{learning}: {bad:?}");
            }
            was_steady |= second >= 4 && bad.code == 0 && bad.text().contains(" steady, ");
            if bad.code != 0 {
                found = Some((second, bad));
                break;
            }
            told.push(bad.stdout);
            sleep((begun + PACE * (second + 1)).saturating_duration_since(Instant::now()));
        }
        let (second, bad) = found.unwrap_or_else(|| panic!("no leak is found: {told:?}"));
        assert!(was_steady && second > 8, "second {second}: {bad:?}");
        let text = bad.text();
        assert!(bad.code < 3 && text.contains(" leak in "), "{bad:?}");
        assert!(text.contains(&format!("held by peer[{}]", leaking.client.pid())), "{text}");
        assert!(bad.value("suspects") >= 4.0 && bad.value("suspects") <= f64::from(leaking.leaked), "{bad:?}");
        // The leak takes two in each round, however long that took, and the rest of the limit is left to it.
        let rate = f64::from(leaking.leaked - 2) / bad.started.duration_since(leaks.unwrap()).as_secs_f64();
        let left = (f64::from(LIMIT) - bad.value("connections")) / rate;
        assert!((bad.value("left") - left).abs() < 0.3 * left, "{left} s are left: {bad:?}");

        let Service { server, client, .. } = leaking;
        client.end();
        server.end();
        for _ in 0..2 {
            sleep(PACE);
            let after = look(&state, 4242, &limit);
            assert!(after.code == 0 && !after.text().contains("leak"), "{after:?}");
            assert_labels(&after, false);
        }
    });
}

/// Without a limit each run looks for the holders of all connections: the longer, the more there are.
#[test]
fn runs_at_once_lose_nothing() {
    const AT_ONCE: u64 = 4;
    Lab::test(|lab| {
        let (state, _ends) = (tempfile::tempdir().unwrap(), lab.connected("127.0.0.1:4242", 3_000));
        let dir = state.path().to_str().unwrap();
        for round in 0..3 {
            let running =
                [(); AT_ONCE as usize].map(|()| GROWTH.start(&["-p4242", "--rehearse=3600", "--state-dir", dir]));
            let outcomes = running.map(|running| running.end());
            for outcome in &outcomes {
                assert!(outcome.code == 0 && !outcome.text().contains("not remembered"), "{outcome:?}");
            }
            for number in (AT_ONCE * round + 1..=AT_ONCE * (round + 1)).filter(|number| *number <= 4) {
                let known = format!("learning, {number} sample");
                let with = outcomes.iter().filter(|outcome| outcome.text().contains(&known)).count();
                assert_eq!(with, 1, "{known}: {outcomes:?}");
            }
        }
        let history = History::open(&state.path().join("0"), PACE).unwrap().history;
        let services = history.services().unwrap();
        assert_eq!(services.iter().map(|key| series::name(key)).collect::<Vec<_>>(), ["port 4242 both rehearsal 3600"]);
        assert_eq!(history.samples(&services[0], 60 * PACE).unwrap().len() as u64, 3 * AT_ONCE);
    });
}

#[test]
fn a_process_a_unit_or_a_user_needs_no_port() {
    Lab::test(|lab| {
        let state = tempfile::tempdir().unwrap();
        let (dir, (mut server, mut client)) = (state.path().to_str().unwrap(), lab.connected("127.0.0.1:4242", 3));
        let mut other = lab.peer_of_nobody();
        server.say("listen m 127.0.0.1:4343");
        client.say("connect d 127.0.0.1:4343 2");
        other.say("connect c 127.0.0.1:4343 4");
        lab.wait_for(ESTABLISHED, 4343, 12);
        let look = |options: &[&str]| GROWTH.run(&[options, &["--state-dir", dir]].concat());
        let counted = |options: &[&str]| {
            let seen = look(options);
            assert_eq!(seen.code, 0, "{seen:?}");
            (seen.text(), seen.value("connections"))
        };
        let (server_pid, client_pid) = (server.pid().to_string(), client.pid().to_string());
        // Nobody accepts on 4343: what waits there is the listener's.
        let (text, count) = counted(&["--pid", &server_pid]);
        assert!(count == 9.0 && text.starts_with(&format!("pid {server_pid}: learning, 1 sample")), "{count} {text}");
        assert_eq!(counted(&["--pid", &client_pid]).1, 5.0);
        assert_eq!(counted(&["--pid", &client_pid, "-p4343"]).1, 2.0);
        assert_eq!(counted(&["--pid", &client_pid, "--source=proc"]).1, 5.0);
        let (text, count) = counted(&["--pid", &format!("{client_pid},{server_pid}"), "--pid", &server_pid]);
        let pids: [&str; 2] =
            if client.pid() < server.pid() { [&client_pid, &server_pid] } else { [&server_pid, &client_pid] };
        assert!(count == 14.0 && text.starts_with(&format!("pid {}: ", pids.join(","))), "{count} {text}");
        let (text, count) = counted(&["--user", "65534"]);
        assert!(count == 4.0 && text.starts_with("user 65534: learning"), "{count} {text}");

        // One that has ended leaves a view that lacks it.
        let (ended, both) = (client_pid.clone(), format!("{client_pid},{server_pid}"));
        client.end();
        let partly = look(&["--pid", &both]);
        assert!(partly.code == 3 && partly.text().contains(&format!("process {ended} (--pid) is gone")), "{partly:?}");
        let gone = look(&["--pid", &ended]);
        assert!(gone.code == 3 && gone.text().starts_with(&format!("no process {ended} (--pid)")), "{gone:?}");
        let refused = GROWTH.unprivileged(&["--pid", &server_pid, "--state-dir", "/tmp"]);
        let why = "/fd: Permission denied; --pid needs that user's rights, or root's";
        assert!(refused.code == 3 && refused.text().contains(why), "{refused:?}");
        drop((server, other));
    });
}

#[test]
fn a_state_that_cant_be_kept_is_unknown() {
    Lab::test(|_| {
        let state = tempfile::tempdir().unwrap();
        let dir = state.path().to_str().unwrap();
        for refused in
            [GROWTH.unprivileged(&["-p4242", "--state-dir", dir]), GROWTH.run(&["-p4242", "--state-dir=/proc/self"])]
        {
            let text = refused.text();
            assert!(refused.code == 3 && text.contains(" make the state directory"), "{refused:?}");
        }
    });
}

#[test]
fn a_corrupt_history_is_put_aside() {
    Lab::test(|_| {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(look(&state, 4242, &[]).code, 0);
        let folder = state.path().join("0");
        let name = "history.db";
        let names = || fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        fs::write(folder.join(name), "no history").unwrap();
        let again = look(&state, 4242, &[]);
        let text = again.text();
        assert!(again.code == 0 && text.contains("learning, 1 sample"), "{again:?}");
        assert!(text.contains("history begun anew, the old one is kept as "), "{text}");
        let kept: Vec<_> = names().filter(|other| fs::read(folder.join(other)).unwrap() == b"no history").collect();
        assert!(kept.len() == 1 && kept[0] != name && text.contains(&kept[0]), "{kept:?}: {text}");
        assert!(!look(&state, 4242, &[]).text().contains("anew"));
    });
}

#[test]
fn without_sock_diag_it_says_that_it_sees_less() {
    Lab::test(|lab| {
        let state = tempfile::tempdir().unwrap();
        let (_ends, less) = (lab.connected("127.0.0.1:4242", 3), "no idle times without sock_diag: ");
        let by_proc = look(&state, 4242, &["--source", "proc"]);
        assert!(by_proc.code == 0 && by_proc.text().contains(less), "{by_proc:?}");
        assert!(by_proc.output().value("idle_oldest").is_none(), "{by_proc:?}");
        assert!(!look(&state, 4242, &["--source", "netlink"]).text().contains(less));
    });
}

/// A dump that breaks off after its first message: what the rest had would pass for closed.
#[test]
fn a_broken_dump_teaches_nothing() {
    Lab::test(|lab| {
        let (state, _ends) = (tempfile::tempdir().unwrap(), lab.connected("127.0.0.1:4242", 1_000));
        let traces = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status();
        if !traces.is_ok_and(|done| done.success()) {
            return lab.skip("no strace, or it may not trace");
        }
        let options = ["-p4242", "--limit=2000", "--rehearse=3600", "--state-dir", state.path().to_str().unwrap()];
        assert_eq!(GROWTH.run(&options).code, 0);
        let left = || {
            let history = History::open(&state.path().join("0"), PACE).unwrap().history;
            history.peek(&history.services().unwrap()[0]).unwrap()
        };
        let before = left();
        let mut strace = Command::new("strace");
        strace.args([
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "trace=recvfrom",
            "-e",
            "inject=recvfrom:error=ENOBUFS:when=2",
        ]);
        let broken = run(strace.arg(GROWTH.0).args(options));
        assert!(broken.code == 3 && broken.text().contains("the dump broke off"), "{broken:?}");
        let after = left();
        assert!(after.state == before.state && after.runs == 2, "recorded, and nothing learned");
        let whole = GROWTH.run(&options);
        assert!(whole.code == 0 && whole.text().contains("learning, 2 samples"), "{whole:?}");
        assert_eq!((whole.value("opened"), whole.value("closed")), (0.0, 0.0));
    });
}

/// Five minutes of the rehearsed time in a tenth of a second: a leak of descriptors, or of memory.
fn first_alarm(state: &TempDir, options: &[&str], mut leak: impl FnMut(u32)) -> (Outcome, u32) {
    for round in 0..60 {
        leak(round);
        let seen = GROWTH.run(&[options, &["--rehearse=3000", "--state-dir", state.path().to_str().unwrap()]].concat());
        if seen.code != 0 {
            return (seen, round);
        }
        sleep(Duration::from_millis(100));
    }
    panic!("no alarm");
}

#[test]
fn descriptors_that_pile_up_are_a_leak_of_their_process() {
    Lab::test(|lab| {
        let (state, (_server, mut client)) = (tempfile::tempdir().unwrap(), lab.connected("127.0.0.1:4242", 3));
        let mut steady = lab.peer();
        steady.say("listen l 127.0.0.1:4343");
        let healthy = [&format!("--pid={}", steady.pid()), "--metric=fds", "--limit=200"];
        let pid = client.pid();
        let options = [&format!("--pid={pid}"), "--metric=fds", "--limit=200", "-v"];
        let (found, round) = first_alarm(&state, &options, |round| {
            if round >= 6 {
                client.say("connect leaked 127.0.0.1:4242 4");
            }
            let fine = look(&state, 4343, &[&healthy[..], &["--rehearse=3000"]].concat());
            assert!(fine.code == 0 && !fine.text().contains("leak"), "{fine:?}");
        });
        let text = found.text();
        assert!(found.code < 3 && text.contains(&format!("pid {pid}: descriptors leak in peer[{pid}] (")), "{found:?}");
        assert!(round > 10 && found.value("fds") > 60.0 && found.value("limit") == 200.0, "{round}: {found:?}");
        assert!(
            found.stdout.contains("\nevidence: ") && found.stdout.contains(" descriptors taken since "),
            "{found:?}"
        );
        assert_eq!(found.value("used"), found.value("fds") / 2.0);
    });
}

/// A descriptor stays the same one when its connection leaves the tables.
#[test]
fn ghosts_that_pile_up_are_a_leak_of_their_process() {
    Lab::test(|lab| {
        let (state, (mut server, mut client)) = (tempfile::tempdir().unwrap(), lab.connected("127.0.0.1:4242", 3));
        let pid = client.pid();
        let options = [&format!("--pid={pid}"), "--metric=fds", "--limit=200", "-v"];
        let mut all = 0;
        let (found, round) = first_alarm(&state, &options, |round| {
            if round >= 6 {
                client.say("connect leaked 127.0.0.1:4242 4");
                server.say("accept gone l 4");
                server.say("reset gone");
                lab.wait_for(ESTABLISHED, 4242, 6);
                all += 4;
            }
        });
        let text = found.text();
        assert!(found.code < 3 && text.contains(&format!("pid {pid}: descriptors leak in peer[{pid}] (")), "{found:?}");
        assert!(round > 10 && found.value("fds") > f64::from(all), "{round}: {found:?}");
        let connections = look(&state, 4242, &["--side=client"]);
        assert_eq!(connections.value("connections"), f64::from(3 + all), "{connections:?}");
    });
}

/// Takes 4 MiB a line that it reads.
const HUNGRY: &str = "import sys\nheld = []\nfor line in sys.stdin:\n    held.append(bytearray(4 << 20))\n    print(len(held), flush=True)";

#[test]
fn memory_that_is_never_given_back_is_a_leak() {
    Lab::test(|lab| {
        let mut command = Command::new("python3");
        command.args(["-c", HUNGRY]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let Ok(child) = command.spawn() else { return lab.skip("no python3") };
        let (state, mut hungry) = (tempfile::tempdir().unwrap(), Started(child));
        let mut answers = BufReader::new(hungry.0.stdout.take().unwrap());
        let pid = hungry.0.id();
        let options = [&format!("--pid={pid}"), "--metric=rss", "--limit=160M"];
        let (found, _) = first_alarm(&state, &options, |round| {
            if round >= 4 {
                hungry.0.stdin.as_mut().unwrap().write_all(b"more\n").unwrap();
                answers.read_line(&mut String::new()).unwrap();
            }
        });
        let text = found.text();
        assert!(found.code < 3 && text.contains(&format!("pid {pid}: memory leak in python3[{pid}] (")), "{found:?}");
        assert!(
            text.contains(" MiB/min since ") && text.contains(", full in ") && text.contains(" MiB of 160 MiB"),
            "{text}"
        );
        assert!(found.value("rss") > 1e8 && found.value("limit") == 167_772_160.0, "{found:?}");
    });
}
