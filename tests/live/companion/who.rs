//! connleak who against a real memcached with a forgetful client, and a PostgreSQL pool that loses
//! connections on errors.

use crate::companion::run::{any, assert_golden, connleak, looks, wait_for_looks};
use crate::integrations::python::{prepare_python, python};
use crate::lab::run::{CONNLEAK, PATIENCE, Running, Started, as_nobody, finish, poll, public_copy, run, start};
use crate::lab::{CLOSE_WAIT, ESTABLISHED, Lab};
use crate::postgres::Postgres;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

const TIME_WAIT: u8 = 6;

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&connleak(&[&["who", "-ojson"], args].concat())).unwrap()
}

/// `None`: skipped.
fn memcached(lab: &Lab) -> Option<Started> {
    let arguments = ["-u", "nobody", "-l", "127.0.0.1", "-p", "11211", "-U", "0"];
    let memcached = match Command::new("memcached").args(arguments).stdin(Stdio::null()).spawn() {
        Ok(child) => Started(child),
        Err(why) => {
            lab.skip(&format!("memcached: {why}"));
            return None;
        }
    };
    assert!(poll(PATIENCE, || TcpStream::connect("127.0.0.1:11211").is_ok()));
    Some(memcached)
}

#[test]
fn a_client_that_forgets_its_sockets_is_the_worst_row() {
    Lab::test(|lab| {
        let Some(mut memcached) = memcached(lab) else { return };
        let (mut forgetful, mut good) = (lab.peer(), lab.peer());
        forgetful.say("connect forgotten 127.0.0.1:11211 6");
        good.say("connect used 127.0.0.1:11211 2");
        good.say(&format!("rename {}", "676f6f64"));
        // The test's own trial connection is gone, too.
        lab.wait_for(ESTABLISHED, 11211, 16);
        assert_golden(
            "who_memcached.txt",
            &connleak(&["who", "-p11211", "--side=client", "-v"])
                .replace(&crate::lab::example("peer").display().to_string(), "peer")
                .replace(&std::env::current_dir().unwrap().display().to_string(), "/here"),
        );
        kill_process(Pid::from_child(&memcached.0), Signal::TERM).unwrap();
        assert!(finish(&mut memcached.0, PATIENCE).is_some());
        good.say("close used");
        lab.wait_for(CLOSE_WAIT, 11211, 6);
        assert_golden("who_memcached_gone.txt", &connleak(&["who", "-p11211", "--side=client"]));
        let found = json(&["-p11211", "--side=client"]);
        let owner = &found["owners"][0];
        assert_eq!((&owner["pid"], &owner["states"]["CLOSE_WAIT"]), (&forgetful.pid().into(), &6.into()), "{found}");
        assert_eq!(
            (&owner["command"], &owner["port"], &owner["side"]),
            (&"peer".into(), &11211.into(), &"client".into())
        );
        assert!(owner["oldest_close_wait_seconds"].as_f64().is_some_and(|age| age < 60.0), "{owner}");
        assert!(owner["command_line"].as_str().is_some_and(|line| line.contains("peer")), "{owner}");
        // By process without a port: the same sockets.
        let by_pid = json(&["--pid", &forgetful.pid().to_string()]);
        assert_eq!((&by_pid["sockets"], &by_pid["service"]["ports"]), (&6.into(), &Value::Array(vec![])), "{by_pid}");
        forgetful.end();
        let gone = json(&["-p11211", "--side=client"]);
        assert_eq!(gone["states"]["CLOSE_WAIT"], 0, "{gone}");
    });
}

#[test]
fn rows_by_unit_user_peer_and_csv() {
    Lab::test(|lab| {
        let (mut server, mut client) = lab.connected("127.0.0.1:11211", 3);
        client.say("connect more 127.0.0.1:11211 2 3");
        server.say("accept more l 2");
        assert_golden("who_by_peer.txt", &connleak(&["who", "-p11211", "--by=peer"]));
        assert_golden("who_by_user.txt", &connleak(&["who", "-p11211", "--by", "user"]));
        assert_eq!(json(&["-p11211", "--by=unit", "--side=client"])["sockets"], 5);
        let csv = connleak(&["who", "-p11211", "-o", "csv"]);
        let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
        assert_eq!((lines.len(), lines[0][0], lines[0].len()), (3, "owner", lines[1].len()), "{csv}");
        let value =
            |line: &[&str], head: &str| line[lines[0].iter().position(|name| *name == head).unwrap()].to_owned();
        let client_line = lines.iter().find(|line| value(line, "side") == "client").unwrap();
        assert_eq!(
            (value(client_line, "established").as_str(), value(client_line, "pid")),
            ("5", client.pid().to_string())
        );
    });
}

/// Nobody has an address there: those who listen are told from their connections all the same.
#[test]
fn rows_by_peer_over_unix_sockets() {
    Lab::test(|lab| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sock").display().to_string();
        let (mut server, mut client) = (lab.peer(), lab.peer());
        server.say(&format!("listen l {path}"));
        client.say(&format!("connect c {path} 3"));
        server.say("accept s l 2");
        // The end of one that is gone is called as a listener's other one.
        client.say(&format!("connect gone {path} 1"));
        server.say("accept s l 2");
        client.say("close gone");
        let found = json(&["--unix", &path, "--by=peer"]);
        let row = |row: &Value| ["owner", "side", "sockets", "waiting"].map(|key| row[key].to_string()).join(" ");
        let mut rows: Vec<String> = found["owners"].as_array().unwrap().iter().map(row).collect();
        rows.sort();
        let expected =
            ["\"(UNIX socket)\" \"client\" 3 0", "\"(UNIX socket)\" \"server\" 4 0", "\"(listening)\" \"server\" 1 0"];
        assert_eq!(rows, expected, "{found}");
    });
}

/// What waits in the accept queue is the listener's.
#[test]
fn what_is_not_accepted_yet_is_told_apart() {
    Lab::test(|lab| {
        let (mut server, mut client) = (lab.peer(), lab.peer());
        server.say("listen l 127.0.0.1:11211");
        client.say("connect c 127.0.0.1:11211 4");
        let found = json(&["-p11211", "--side=server"]);
        let owner = &found["owners"][0];
        assert_eq!((&owner["pid"], &owner["waiting"]), (&server.pid().into(), &4.into()), "{found}");
        // Each listener's are its own, whether all sockets are shown or not.
        let mut other = lab.peer();
        other.say("listen l 127.0.0.2:11211");
        client.say("connect d 127.0.0.2:11211 3");
        other.say("accept s l 1");
        for options in [&["-p11211", "--side=server"][..], &["-p11211", "--side=server", "-vv"]] {
            let found = json(options);
            let of = |pid: u32| found["owners"].as_array().unwrap().iter().find(|owner| owner["pid"] == pid).unwrap();
            let told = [server.pid(), other.pid()].map(|pid| (of(pid)["waiting"].clone(), of(pid)["sockets"].clone()));
            assert_eq!(told, [(4.into(), 5.into()), (2.into(), 4.into())], "{found}");
        }
        // Also where it is chosen by its process, which doesn't hold them yet.
        let by_pid = json(&["--pid", &server.pid().to_string()]);
        let owner = &by_pid["owners"][0];
        assert_eq!(
            (&owner["waiting"], &owner["side"], &by_pid["missing"]),
            (&4.into(), &"server".into(), &Value::Array(vec![])),
            "{by_pid}"
        );
    });
}

/// Whole host: sides are told by who listens.
#[test]
fn without_a_choice_it_shows_every_service() {
    Lab::test(|lab| {
        let (_first, _second) = (lab.connected("127.0.0.1:11211", 3), lab.connected("[::1]:4711", 5));
        assert_golden("who_all.txt", &connleak(&["who"]));
    });
}

/// What a service leaves when it stops must not bury the others: not a row for each client's port.
#[test]
fn without_a_choice_what_is_left_of_gone_services_is_summed() {
    Lab::test(|lab| {
        // One on a port of its own, one on a port as clients get them; both have stopped listening.
        let mut ends = [("127.0.0.1:3306", 3), ("127.0.0.1:47111", 4)].map(|(at, count)| lab.connected(at, count));
        let (server, client) = &mut ends[0];
        client.say("connect kept 127.0.0.1:3306 2");
        server.say("accept kept l 2");
        for (server, client) in &mut ends {
            ["close s", "close l"].iter().for_each(|word| drop(server.say(word)));
            client.say("close c");
        }
        lab.wait_for(TIME_WAIT, 3306, 3);
        lab.wait_for(TIME_WAIT, 47111, 4);
        assert_golden("who_gone.txt", &connleak(&["who"]));
        let found = json(&[]);
        let summed = found["owners"].as_array().unwrap().iter().find(|row| row["port"].is_null()).unwrap();
        assert_eq!((&summed["sockets"], &summed["side"], &found["sockets"]), (&4.into(), &"both".into(), &11.into()));
        let csv = any(&["who", "-ocsv", "--top=3"]);
        assert!(csv.code == 0 && csv.stdout.contains("\n(kernel),,,,,both,,4,"), "{csv:?}");
        let notes = "connleak: note: 4 closed ones between clients' ports are in one row: their service can't be told\n\
            connleak: note: 1 more rows; see --top\n";
        assert_eq!(csv.stderr, notes);
        // Asked for, it is a service like any other.
        let rows = json(&["-p47111"])["owners"].clone();
        assert_eq!((&rows[0]["port"], &rows[0]["sockets"], &rows[1]), (&47111.into(), &4.into(), &Value::Null));
        let narrow = run(Command::new(CONNLEAK).arg("who").env("COLUMNS", "40"));
        assert!(narrow.stdout.contains("no known service: 4 TIME_WAIT"), "{narrow:?}");
    });
}

#[test]
fn a_hostile_name_is_shown_and_not_obeyed() {
    Lab::test(|lab| {
        let mut server = lab.leaking_server("127.0.0.1:11211", 2);
        server.say("rename 1b5b324a0a226578e280ae");
        for args in [&["who", "-p11211"][..], &["who", "-p11211", "--tree", "-vv"], &["who", "-p11211", "-ocsv"]] {
            let shown = connleak(args);
            assert!(!shown.contains(['\u{1b}', '\u{202e}']) && shown.contains("\\u{1b}[2J\\n"), "{shown}");
        }
        let shown = connleak(&["who", "-p11211", "-ojson"]);
        assert!(!shown.contains(['\u{1b}', '\u{202e}']) && shown.lines().count() == 1, "{shown}");
        assert_eq!(json(&["-p11211"])["owners"][0]["command"], "\u{1b}[2J\n\"ex\u{202e}");
        server.end();
    });
}

#[test]
fn forty_columns_get_cards_and_no_line_is_longer() {
    Lab::test(|lab| {
        let _server = lab.leaking_server("127.0.0.1:11211", 2);
        let narrow = run(Command::new(CONNLEAK).args(["who", "-p11211", "--side=server"]).env("COLUMNS", "40"));
        assert_eq!(narrow.code, 0, "{narrow:?}");
        assert!(narrow.stdout.lines().all(|line| line.chars().count() <= 40), "{narrow:?}");
        assert!(narrow.stdout.contains("server side of 11211: 2 CLOSE_WAIT"), "{narrow:?}");
    });
}

#[test]
fn without_rights_it_says_what_it_could_not_see() {
    Lab::test(|lab| {
        let _ends = lab.connected("127.0.0.1:11211", 3);
        let (_dir, copy) = public_copy(Path::new(CONNLEAK));
        let outcome = run(as_nobody(&copy).args(["who", "-p11211"]));
        assert_eq!(outcome.code, 0, "{outcome:?}");
        assert!(outcome.stdout.contains("note: owners of 7 of 7 sockets unknown: "), "{outcome:?}");
        assert!(outcome.stdout.contains("processes may not be read; run as root to see all"), "{outcome:?}");
        // The kernel tells their user all the same.
        assert!(outcome.stdout.contains("(unknown)") && outcome.stdout.contains("root"), "{outcome:?}");
    });
}

#[test]
fn a_process_that_is_gone_is_an_error() {
    Lab::test(|_| {
        let outcome = any(&["who", "--pid", "4194304"]);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (3, ""), "{outcome:?}");
        assert!(outcome.stderr.starts_with("connleak: no process 4194304 (--pid)"), "{outcome:?}");
    });
}

/// Checks connections out of a pool; after an error it doesn't give them back.
const APPLICATION: &str = "\
import psycopg2.pool, sys
pool = psycopg2.pool.ThreadedConnectionPool(1, 20, host='127.0.0.1', user='postgres', dbname='postgres')
print('ready', flush=True)
for line in sys.stdin:
    connection = pool.getconn()
    try:
        connection.cursor().execute('SELECT 1/0' if line.strip() == 'fail' else 'SELECT 1')
        connection.rollback()
        pool.putconn(connection)
    except psycopg2.Error:
        connection.rollback()
    print('done', flush=True)
";

/// A watch that has looked once, and where its history and its rows are.
fn watch_postgres() -> (TempDir, Running) {
    let state = tempfile::tempdir().unwrap();
    let csv = state.path().join("watch.csv");
    let (csv_text, dir) = (csv.to_str().unwrap(), state.path().to_str().unwrap());
    let options = ["watch", "-p5432", "--interval=200ms", "--csv", csv_text, "--state-dir", dir];
    let watch = start(Command::new(CONNLEAK).args(options));
    wait_for_looks(&csv, 1);
    (state, watch)
}

#[test]
fn a_pool_that_loses_connections_on_errors_is_seen_from_both_ends() {
    prepare_python();
    Lab::test(|lab| {
        let Some(python) = python(lab) else { return };
        let Some(postgres) = Postgres::start(lab, 5432) else { return };
        let mut command = Command::new(python);
        command.args(["-c", APPLICATION]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut application = Started(command.spawn().unwrap());
        let pid = application.0.id();
        let mut input = application.0.stdin.take().unwrap();
        let mut answers = BufReader::new(application.0.stdout.take().unwrap()).lines();
        let mut expect = |word: &str| assert_eq!(answers.next().unwrap().unwrap(), word);
        expect("ready");
        for _ in 0..3 {
            writeln!(input, "work").unwrap();
            expect("done");
        }
        let connections = || json(&["-p5432", "--pid", &pid.to_string()])["owners"][0]["states"]["ESTABLISHED"].clone();
        assert_eq!(connections(), 1, "the pool's one connection is enough for good work");
        let (csv, watch) = watch_postgres();
        for _ in 0..5 {
            writeln!(input, "fail").unwrap();
            expect("done");
        }
        assert_eq!(connections(), 5);
        wait_for_looks(&csv.path().join("watch.csv"), looks(&csv.path().join("watch.csv")) + 2);
        kill_process(Pid::from_child(watch.process()), Signal::TERM).unwrap();
        let watched = watch.end();
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
        let summary = watched.stdout.lines().last().unwrap();
        assert!(summary.starts_with("postgresql:5432, both sides: grew 4 in "), "{watched:?}");
        assert!(summary.contains(&format!(", all by {}; opened ", name.trim())), "{watched:?}");
        lab.wait_for(ESTABLISHED, 5432, 10);
        let tree = connleak(&["who", "-p5432", "--side=server", "--tree"]);
        assert!(tree.contains(&format!("postgres[{}]", postgres.pid())), "{tree}");
        assert_eq!(tree.matches("postgres[").count(), 6, "{tree}");
    });
}
