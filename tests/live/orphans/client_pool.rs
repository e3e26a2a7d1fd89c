//! A real Redis and a real client library's pool: a leaking one is caught, a closed one passes.

use crate::integrations::python::{prepare_python, python};
use crate::lab::Lab;
use crate::lab::run::{ORPHANS, Outcome, PATIENCE, Started, poll};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Redis on loopback, without persistence. It ends with its test.
pub struct Redis {
    process: Started,
    _dir: TempDir,
}

impl Redis {
    /// `None`: skipped.
    pub fn start(lab: &Lab) -> Option<Redis> {
        let dir = tempfile::tempdir().unwrap();
        let options = ["--bind", "127.0.0.1", "--port", "6379", "--save", "", "--appendonly", "no", "--dir"];
        let mut command = Command::new("redis-server");
        command.args(options).arg(dir.path()).stdin(Stdio::null()).stdout(Stdio::null());
        let process = match command.spawn() {
            Ok(child) => Started(child),
            Err(why) => {
                lab.skip(&format!("redis-server: {why}"));
                return None;
            }
        };
        assert!(poll(PATIENCE, || TcpStream::connect("127.0.0.1:6379").is_ok()), "redis listens");
        Some(Redis { process, _dir: dir })
    }

    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }
}

/// An application with redis-py's pool of 4 connections; `close` lets it disconnect them.
const APPLICATION: &str = "
import redis, sys
pool = redis.ConnectionPool(host='127.0.0.1', port=6379, max_connections=8)
used = [pool.get_connection() for _ in range(4)]
for connection in used:
    connection.send_command('PING')
    assert connection.read_response() in (b'PONG', 'PONG')
    pool.release(connection)
print('ready', flush=True)
for line in sys.stdin:
    pool.disconnect()
    print('closed', flush=True)
";

/// It ends with its test, also where that fails.
struct Application(Started);

impl Application {
    fn start(python: &Path) -> Application {
        let mut command = Command::new(python);
        command.args(["-c", APPLICATION]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut application = Application(Started(command.spawn().unwrap()));
        application.expect("ready");
        application
    }

    fn process(&mut self) -> &mut Child {
        &mut self.0.0
    }

    /// Its own patience bounds the wait: redis-py's, and the end of the process.
    fn expect(&mut self, word: &str) {
        let mut line = String::new();
        BufReader::new(self.process().stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), word);
    }

    fn close_pool(&mut self) {
        self.process().stdin.as_mut().unwrap().write_all(b"close\n").unwrap();
        self.expect("closed");
    }
}

fn stop(redis: &Redis) -> Outcome {
    let script = format!("kill {}", redis.pid());
    ORPHANS.run(&["-p6379", "--wait=1s", "--side=client", "--", "sh", "-c", &script])
}

#[test]
fn a_leaking_pool_is_caught_and_a_closed_one_passes() {
    prepare_python();
    Lab::test(|lab| {
        let Some(python) = python(lab) else { return };
        let Some(redis) = Redis::start(lab) else { return };
        let mut application = Application::start(&python);
        let pid = application.process().id();
        let leaking = stop(&redis);
        assert_eq!((leaking.code, leaking.value("held")), (2, 4.0), "{leaking:?}");
        let text = leaking.text();
        assert!(text.starts_with("redis:6379: 4 sockets left after 1s (critical 0), all held by python"), "{text}");
        assert!(text.contains(&format!("[{pid}]")) && text.contains(", a client on this host"), "{text}");
        drop((redis, application));

        let redis = Redis::start(lab).unwrap();
        let mut application = Application::start(&python);
        application.close_pool();
        let closed = stop(&redis);
        assert_eq!((closed.code, closed.value("orphans")), (0, 0.0), "{closed:?}");
    });
}
