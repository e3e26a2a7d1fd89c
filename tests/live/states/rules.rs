//! The mix of states on connections that are really made: each rule fires, is cleared and fires again.

use crate::lab::run::{GROWTH, Outcome, PATIENCE, STATES, Started, finish, poll};
use crate::lab::{ESTABLISHED, Lab};
use connleak::history::{History, Sample};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

const SYN_RECV: u8 = 3;
const TIME_WAIT: u8 = 6;

fn look(more: &[&str]) -> Outcome {
    STATES.run(&[&["-p11211"], more].concat())
}

/// Looks until it ends so.
fn wait_for(code: i32, more: &[&str]) -> Outcome {
    let mut outcome = look(more);
    let reached = poll(PATIENCE, || {
        outcome = look(more);
        outcome.code == code
    });
    assert!(reached, "wanted {code}: {outcome:?}");
    outcome
}

fn says(outcome: &Outcome, words: &str) {
    assert!(outcome.text().contains(words), "not '{words}': {outcome:?}");
}

#[test]
fn counts_are_exact_in_every_state() {
    Lab::test(|lab| {
        let (mut server, mut client) = lab.connected("127.0.0.1:11211", 9);
        client.say("connect half 127.0.0.1:11211 3");
        client.say("connect gone 127.0.0.1:11211 4");
        server.say("accept h l 3");
        server.say("accept g l 4");
        client.say("shutdown half");
        client.say("close gone");
        lab.wait_for(8, 11211, 7);
        server.say("close g");
        lab.wait_for(TIME_WAIT, 11211, 4);
        let mix = look(&[]);
        let expected = [
            ("established", 18.0),
            ("syn_sent", 0.0),
            ("syn_recv", 0.0),
            ("fin_wait1", 0.0),
            ("fin_wait2", 3.0),
            ("time_wait", 4.0),
            ("close", 0.0),
            ("close_wait", 3.0),
            ("last_ack", 0.0),
            ("listen", 1.0),
            ("closing", 0.0),
            ("new_syn_recv", 0.0),
            ("sockets", 28.0),
        ];
        for (label, count) in expected {
            assert_eq!(mix.value(label), count, "{label}: {mix:?}");
        }
        assert_eq!(mix.code, 0, "{mix:?}");
        says(&mix, "28 sockets (server 12, client 16): 18 ESTABLISHED, 4 TIME_WAIT, 3 FIN_WAIT2");
        assert_eq!(look(&["--side=server"]).value("sockets"), 12.0);
        assert_eq!(look(&["-w28"]).code, 0);
        says(&look(&["-w27"]), "28 sockets (warning 27)");
        // From /proc the same.
        let proc = look(&["--source=proc"]);
        expected.iter().for_each(|(label, count)| assert_eq!(proc.value(label), *count, "{label}: {proc:?}"));
    });
}

#[test]
fn a_states_threshold_fires_clears_and_fires_again() {
    Lab::test(|lab| {
        let (mut server, mut client) = lab.connected("127.0.0.1:11211", 5);
        let limits = ["--side=client", "--state=estab:4:9", "--state", "TIME-WAIT::4"];
        let fired = look(&limits);
        assert_eq!(fired.code, 1, "{fired:?}");
        says(&fired, "5 ESTABLISHED (warning 4)");
        says(&fired, &format!("all held by peer[{}]", client.pid()));
        server.say("close s");
        client.say("close c");
        lab.wait_for(ESTABLISHED, 11211, 0);
        assert_eq!(look(&limits).code, 0);
        client.say("connect c 127.0.0.1:11211 5");
        server.say("accept s l 5");
        assert_eq!(look(&limits).code, 1);
        // Now the client closes first: its end keeps TIME_WAIT, and that is worse.
        client.say("close c");
        server.say("close s");
        lab.wait_for(TIME_WAIT, 11211, 10);
        let churn = look(&limits);
        assert_eq!(churn.code, 2, "{churn:?}");
        says(&churn, "memcached:11211: 5 TIME_WAIT (critical 4), all with peer 127.0.0.1");
        assert!(!churn.text().contains("owners partial"), "{churn:?}");
        let ratio = ["--side=client", "--ratio-warning=100", "--ratio-min-count=5"];
        says(&look(&ratio), "5 TIME_WAIT are 500% of 0 ESTABLISHED (warning 100)");
        assert_eq!(look(&["--side=client", "--ratio-warning=100", "--ratio-min-count=6"]).code, 0);
    });
}

#[test]
fn a_full_accept_queue_names_its_listener() {
    Lab::test(|lab| {
        let (mut server, mut client) = (lab.peer(), lab.peer());
        server.say("listen l 127.0.0.1:11211 4");
        client.say("connect c 127.0.0.1:11211 3");
        lab.wait_for(ESTABLISHED, 11211, 6);
        let fired = look(&[]);
        assert_eq!((fired.code, fired.value("accept_queue")), (1, 75.0), "{fired:?}");
        says(&fired, "accept queue of 127.0.0.1:11211 at 3 of 4, 75% (warning 50)");
        says(&fired, &format!("all held by peer[{}]", server.pid()));
        // A listener has no peer: it is seen with --peer too.
        assert_eq!(look(&["--peer=127.0.0.1"]).value("accept_queue"), 75.0);
        client.say("connect c 127.0.0.1:11211 2");
        lab.wait_for(ESTABLISHED, 11211, 10);
        let full = look(&[]);
        assert_eq!((full.code, full.value("accept_queue")), (2, 125.0), "{full:?}");
        // /proc doesn't tell the backlog: never OK with something in the queue.
        assert_eq!(look(&["--source=proc"]).code, 3);
        server.say("accept s l 5");
        let cleared = look(&[]);
        assert_eq!((cleared.code, cleared.value("accept_queue")), (0, 0.0), "{cleared:?}");
        assert_eq!(look(&["--source=proc"]).code, 0);
        client.say("connect c 127.0.0.1:11211 4");
        lab.wait_for(ESTABLISHED, 11211, 18);
        assert_eq!(look(&[]).code, 2);
    });
}

/// With TCP_DEFER_ACCEPT a connection stays half-open until its client sends.
const DEFERRING: &str = "import socket, sys
listener = socket.socket()
listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 60)
listener.bind(('127.0.0.1', 11211))
listener.listen(8)
print('listening', flush=True)
sys.stdin.read()";

#[test]
fn half_open_connections_are_judged_by_the_backlog() {
    Lab::test(|lab| {
        let mut python = Command::new("python3");
        python.args(["-c", DEFERRING]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut listener = match python.spawn() {
            Ok(child) => Started(child),
            Err(why) => return lab.skip(&format!("python3: {why}")),
        };
        let mut line = String::new();
        BufReader::new(listener.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "listening\n");
        let mut client = lab.peer();
        client.say("connect c 127.0.0.1:11211 5");
        lab.wait_for(SYN_RECV, 11211, 5);
        let judged = ["--side=server", "--queue-warning=~:", "--queue-critical=~:"];
        let fired = look(&judged);
        assert_eq!((fired.code, fired.value("half_open")), (1, 62.5), "{fired:?}");
        assert_eq!((fired.value("syn_recv"), fired.value("new_syn_recv")), (5.0, 5.0));
        says(&fired, "half-open connections to 127.0.0.1:11211 at 5 of 8, 62.5% (warning 50)");
        says(&fired, &format!("all held by python3[{}]", listener.0.id()));
        // Its first byte makes each a connection.
        client.say("send c");
        lab.wait_for(SYN_RECV, 11211, 0);
        let cleared = look(&judged);
        assert_eq!((cleared.code, cleared.value("half_open")), (0, 0.0), "{cleared:?}");
        client.say("connect d 127.0.0.1:11211 5");
        lab.wait_for(SYN_RECV, 11211, 5);
        assert_eq!(look(&judged).code, 1);
        drop(listener.0.stdin.take());
        finish(&mut listener.0, PATIENCE);
    });
}

#[test]
fn closings_that_nobody_answers_are_stuck() {
    Lab::test(|lab| {
        let limits = ["--min-age=1s", "--stuck-warning=2"];
        let (server, mut client) = lab.connected("127.0.0.1:11211", 3);
        // The server doesn't read: what the client queued stands before its FIN.
        client.say("fill c");
        client.say("shutdown c");
        lab.wait_for(4, 11211, 3);
        let fired = wait_for(1, &limits);
        assert_eq!((fired.value("stuck"), fired.value("fin_wait1")), (3.0, 3.0), "{fired:?}");
        assert!(fired.value("stuck_oldest") >= 1.0, "{fired:?}");
        says(&fired, "3 closing for 1s or more (warning 2), oldest ");
        says(&fired, " in FIN_WAIT1, ");
        let verbose = look(&["--min-age=1s", "--stuck-warning=2", "-v"]);
        assert!(verbose.stdout.contains("\nstuck: 3 FIN_WAIT1\n"), "{verbose:?}");
        says(&fired, &format!("all held by peer[{}]", client.pid()));
        assert_eq!(look(&["--min-age=1h", "--stuck-warning=2"]).value("stuck"), 0.0);
        // /proc tells no ages.
        assert_eq!(look(&["--source=proc", "--min-age=1h", "--stuck-warning=2"]).code, 3);
        server.end();
        assert_eq!(wait_for(0, &limits).value("stuck"), 0.0);
        // Half-closed, and the other end never closes: FIN_WAIT2 of a process, then of none.
        let (_server, mut client) = lab.connected("127.0.0.2:11211", 3);
        client.say("shutdown c");
        let held = wait_for(1, &limits);
        says(&held, "3 closing for 1s or more (warning 2), oldest ");
        says(&held, " in FIN_WAIT2, ");
        client.say("close c");
        let orphaned = wait_for(1, &limits);
        assert_eq!(orphaned.value("fin_wait2"), 3.0, "{orphaned:?}");
        assert!(!orphaned.text().contains("held by"), "{orphaned:?}");
    });
}

#[test]
fn a_lost_last_ack_is_stuck() {
    Lab::test(|lab| {
        let (mut server, mut client) = lab.connected("127.0.0.1:11211", 2);
        server.say("fill s");
        client.say("shutdown c");
        server.say("close s");
        lab.wait_for(9, 11211, 2);
        let fired = wait_for(1, &["--side=server", "--min-age=1s", "--stuck-warning=1"]);
        says(&fired, "2 closing for 1s or more (warning 1), oldest ");
        says(&fired, " in LAST_ACK, ");
        client.end();
        wait_for(0, &["--side=server", "--min-age=1s", "--stuck-warning=1"]);
    });
}

#[test]
fn ephemeral_ports_run_out_for_each_server_by_itself() {
    Lab::test(|lab| {
        let set = |name: &str, value: &str| std::fs::write(format!("/proc/sys/net/ipv4/{name}"), value).unwrap();
        let (mut server, mut client) = (lab.peer(), lab.peer());
        server.say("listen a 127.0.0.1:11211");
        server.say("listen b 127.0.0.2:11211");
        set("ip_local_port_range", "40000 40011");
        set("ip_local_reserved_ports", "40010-40011,50000");
        client.say("connect a 127.0.0.1:11211 6");
        client.say("connect b 127.0.0.2:11211 8");
        server.say("accept a a 6");
        server.say("accept b b 8");
        let fired = look(&[]);
        assert_eq!((fired.code, fired.value("ephemeral_ports")), (1, 80.0), "{fired:?}");
        says(&fired, "ephemeral ports from 127.0.0.1 to 127.0.0.2:11211 at 8 of 10, 80% (warning 70)");
        says(&fired, &format!("all held by peer[{}]", client.pid()));
        assert_eq!(look(&["--side=server"]).value("ephemeral_ports"), 0.0, "it is the client's problem");
        set("ip_local_port_range", "40000 40099");
        let cleared = look(&[]);
        assert_eq!((cleared.code, cleared.value("ephemeral_ports")), (0, 8.16), "{cleared:?}");
        set("ip_local_port_range", "40000 40011");
        // TIME_WAIT keeps its port.
        client.say("close b");
        server.say("close b");
        lab.wait_for(TIME_WAIT, 11211, 8);
        let churn = look(&["--ports-critical=75"]);
        assert_eq!((churn.code, churn.value("ephemeral_ports")), (2, 80.0), "{churn:?}");
    });
}

#[test]
fn more_than_usual_at_this_hour_is_told_where_a_history_has_it() {
    Lab::test(|lab| {
        let (mut server, mut client) = lab.connected("127.0.0.1:11211", 70);
        let dir = tempfile::tempdir().unwrap();
        let folder = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let compare =
            |name: &str, more: &[&str]| look(&[&["--baseline=auto", "--state-dir", &folder(name)], more].concat());
        let without = compare("none", &[]);
        assert_eq!(without.code, 0, "{without:?}");
        says(&without, "no history yet");
        assert!(!dir.path().join("none").exists(), "a comparison makes nothing");
        std::fs::write(folder("file"), "").unwrap();
        let unreadable = compare("file", &[]);
        assert_eq!(unreadable.code, 3, "{unreadable:?}");
        says(&unreadable, "not compared with the usual: can't read");
        // What the growth check calls the service.
        assert_eq!(GROWTH.run(&["-p11211", "--state-dir", &folder("growth")]).code, 0);
        let young = compare("growth", &[]);
        assert_eq!(young.code, 0, "{young:?}");
        says(&young, "no history yet");
        let uid = rustix::process::geteuid().as_raw().to_string();
        let names = History::open(&dir.path().join("growth").join(&uid), PATIENCE).unwrap().history.services().unwrap();
        let known = dir.path().join("known").join(&uid);
        std::fs::create_dir_all(&known).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
        let mut history = History::open(&known, PATIENCE).unwrap().history;
        for hours_ago in (0..=96).rev() {
            let hour = 3_600_000;
            let mut sample = Sample { wall: now - hours_ago * hour, boot: "b".into(), ..Sample::default() };
            sample.uptime = ((100 - hours_ago) * hour) as u64;
            sample.counts[0] = 10;
            history.record(&names[0], &sample, b"", 1).unwrap();
        }
        drop(history);
        let unusual = compare("known", &[]);
        assert_eq!(unusual.code, 1, "{unusual:?}");
        // Each connection once, as the history has it, though both its ends are here.
        says(&unusual, "70 ESTABLISHED, 600% more than the usual 10 at this hour (warning 200)");
        assert_eq!(compare("known", &["--baseline-critical=500"]).code, 2);
        assert_eq!(compare("known", &["--baseline-warning=600"]).code, 0);
        assert_eq!(look(&["--state-dir", &folder("known")]).code, 0, "only where it is asked for");
        client.say("close c");
        server.say("close s");
        let quiet = compare("known", &["--baseline-warning=99999"]);
        assert_eq!(quiet.code, 0, "{quiet:?}");
        std::fs::write(known.join("history.db"), "rubbish").unwrap();
        let broken = compare("known", &[]);
        assert_eq!(broken.code, 3, "{broken:?}");
        says(&broken, "not compared with the usual");
    });
}

#[test]
fn anyone_sees_all_counts_and_queues() {
    Lab::test(|lab| {
        let (mut server, mut client) = (lab.peer(), lab.peer());
        server.say("listen l 127.0.0.1:11211 4");
        client.say("connect c 127.0.0.1:11211 4");
        lab.wait_for(ESTABLISHED, 11211, 8);
        let nobody = STATES.unprivileged(&["-p11211"]);
        assert_eq!((nobody.code, nobody.value("accept_queue")), (2, 100.0), "{nobody:?}");
        says(&nobody, "owners partial: none known");
    });
}
