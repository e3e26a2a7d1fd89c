//! check_conn_growth on leaking pools of a real memcached and a real PostgreSQL, beside healthy ones.

use crate::lab::run::{GROWTH, Outcome, PATIENCE, Started, as_nobody, poll};
use crate::lab::{ESTABLISHED, Lab};
use crate::postgres::Postgres;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Between two runs, and a minute of the rehearsed time.
const PACE: Duration = Duration::from_secs(1);
const LIMIT: f64 = 180.0;
/// Connections of each pool, and those that a leaking application loses a second.
const POOL: u32 = 6;
const LOST: u32 = 2;
/// Seconds before the leak begins, and in which it must be found.
const CALM: u32 = 8;
const ENOUGH: u32 = 85;

/// An application with a pool, all of whose members work each second; two a second are replaced. It
/// reads how many connections to lose, and says when the second's work is done.
const APPLICATION: &str = "
import socket, struct, sys
port, size = int(sys.argv[1]), int(sys.argv[2])

def connect():
    connection = socket.create_connection(('127.0.0.1', port))
    if port == 5432:
        options = b'user\\0postgres\\0database\\0postgres\\0\\0'
        connection.sendall(struct.pack('!ii', 8 + len(options), 196608) + options)
        until(connection, b'Z\\0\\0\\0\\5I')
    return connection

def until(connection, end):
    answer = b''
    while not answer.endswith(end):
        more = connection.recv(4096)
        assert more, answer
        answer += more

def work(connection):
    if port == 5432:
        query = b'SELECT 1\\0'
        connection.sendall(b'Q' + struct.pack('!i', 4 + len(query)) + query)
        until(connection, b'Z\\0\\0\\0\\5I')
    else:
        connection.sendall(b'get missing\\r\\n')
        until(connection, b'END\\r\\n')

pool, lost, turn = [connect() for _ in range(size)], [], 0
print('ready', flush=True)
for line in sys.stdin:
    for _ in range(int(line)):
        lost.append(connect())
        work(lost[-1])
    for _ in range(2):
        pool[turn % size].close()
        pool[turn % size] = connect()
        turn += 1
    for connection in pool:
        work(connection)
    print('done', flush=True)
";

/// It ends with its test, also where that fails.
struct Application {
    process: Started,
    answers: BufReader<std::process::ChildStdout>,
}

impl Application {
    fn start(port: u16) -> Application {
        let mut command = Command::new("python3");
        command.args(["-c", APPLICATION, &port.to_string(), &POOL.to_string()]);
        let mut child: Child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut application = Application { process: Started(child), answers };
        application.expect("ready");
        application
    }

    fn pid(&self) -> u32 {
        self.process.0.id()
    }

    fn second(&mut self, lose: u32) {
        writeln!(self.process.0.stdin.as_mut().unwrap(), "{lose}").unwrap();
        self.expect("done");
    }

    fn expect(&mut self, word: &str) {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), word);
    }
}

/// Applications of one service: a healthy one, of another user, and a leaking one.
fn story(port: u16, name: &str) {
    let state = tempfile::tempdir().unwrap();
    let (dir, port_option, limit) = (state.path().to_str().unwrap(), format!("-p{port}"), LIMIT.to_string());
    let (mut leaking, mut healthy) = (Application::start(port), Application::start(port));
    let (sick, well) = (leaking.pid().to_string(), healthy.pid().to_string());
    let look = |pid: &str| -> Outcome {
        let options = [&port_option, "--side=client", "--pid", pid, "--limit", &limit, "--rehearse=60", "-v"];
        GROWTH.run(&[&options[..], &["--state-dir", dir]].concat())
    };
    let (begun, mut was_steady, mut found, mut told) = (Instant::now(), false, None, Vec::new());
    for second in 0..ENOUGH {
        healthy.second(0);
        leaking.second(if second >= CALM { LOST } else { 0 });
        let (good, bad) = (look(&well), look(&sick));
        assert!(good.code == 0 && !good.text().contains("leak"), "second {second}: {good:?}");
        if second < 4 {
            assert!(bad.code == 0 && bad.text().contains(&format!(" learning, {} sample", second + 1)), "{bad:?}");
        }
        was_steady |= bad.code == 0 && bad.text().contains(" steady, ");
        if bad.code != 0 {
            found = Some((bad, begun.elapsed()));
            break;
        }
        told.push(bad.stdout);
        sleep((begun + PACE * (second + 1)).saturating_duration_since(Instant::now()));
    }
    let (bad, took) = found.unwrap_or_else(|| panic!("no leak is found: {told:?}"));
    let text = bad.text();
    assert!(was_steady && bad.code < 3 && text.starts_with(&format!("{name}:{port}: leak in ")), "{bad:?}");
    assert!(text.contains(&format!("[{sick}] (")), "{text}");
    let onset = bad.stdout.lines().find(|line| line.starts_with("evidence: ")).unwrap_or_default();
    assert!(onset.contains(" silent survivors since "), "{bad:?}");
    // The rate is that of real time, however slow the machine makes it.
    let calm = PACE * CALM;
    let rate = (bad.value("connections") - f64::from(POOL)) / (took - calm).as_secs_f64();
    let left = (LIMIT - bad.value("connections")) / rate;
    assert!((bad.value("left") - left).abs() < 0.3 * left + 1.0, "{left} s are left: {bad:?}");
    let since = json_onset(&look_json(&port_option, &sick, &limit, dir));
    let onset = (begun.elapsed() - calm).as_secs_f64();
    assert!((since - onset).abs() < 0.3 * onset + 1.0, "began {onset} s ago, told {since}");

    // The fix: it is started anew.
    drop(leaking);
    let mut fixed = Application::start(port);
    let sick = fixed.pid().to_string();
    for _ in 0..3 {
        fixed.second(0);
        let after = look(&sick);
        assert!(after.code == 0 && !after.text().contains("leak"), "{after:?}");
        sleep(PACE);
    }
}

fn look_json(port: &str, pid: &str, limit: &str, dir: &str) -> serde_json::Value {
    let options = [port, "--side=client", "--pid", pid, "--limit", limit, "--rehearse=60", "-o", "json"];
    GROWTH.run(&[&options[..], &["--state-dir", dir]].concat()).json()
}

fn json_onset(report: &serde_json::Value) -> f64 {
    report["leak"]["onset_seconds"].as_f64().unwrap_or_else(|| panic!("{report}"))
}

#[test]
fn a_leaking_pool_of_memcached_is_found_beside_a_healthy_one() {
    Lab::test(|lab| {
        let Ok(_) = Command::new("memcached").arg("-h").stdout(Stdio::null()).status() else {
            return lab.skip("no memcached");
        };
        let mut command = as_nobody(Path::new("memcached"));
        command.args(["-l", "127.0.0.1", "-p", "11211", "-U", "0"]).stdin(Stdio::null()).stdout(Stdio::null());
        let _memcached = Started(command.spawn().unwrap());
        assert!(poll(PATIENCE, || TcpStream::connect("127.0.0.1:11211").is_ok()), "memcached listens");
        lab.wait_for(ESTABLISHED, 11211, 0);
        story(11211, "memcached");
    });
}

#[test]
fn a_leaking_pool_of_postgresql_is_found_beside_a_healthy_one() {
    Lab::test(|lab| {
        let Some(postgres) = Postgres::start(lab, 5432) else { return };
        story(5432, "postgresql");
        let (state, pid) = (tempfile::tempdir().unwrap(), postgres.pid().to_string());
        for metric in ["--metric=fds", "--metric=rss"] {
            let fine = GROWTH.run(&["--pid", &pid, metric, "--state-dir", state.path().to_str().unwrap()]);
            assert!(fine.code == 0 && fine.output().metrics[0].value > 3.0, "{fine:?}");
        }
    });
}
