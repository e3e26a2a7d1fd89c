//! Real client libraries that forget connections which their real server ends: after a moment, or at once, only
//! descriptors are left of them.

use crate::companion::run::connleak;
use crate::integrations::python::{prepare_python, python};
use crate::lab::run::{CLOSEWAIT, PATIENCE, Started, as_nobody, finish, poll};
use crate::lab::{CLOSE_WAIT, ESTABLISHED, Lab};
use crate::postgres::Postgres;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// More than any profile allows.
const FORGOTTEN: usize = 60;

/// It has one connection that it keeps; it reads how many to open and forget, or `drop` for the one. Keepalive comes
/// sooner than the libraries' defaults (redis-py 8: 30 s), and so do the servers' limits.
const APPLICATION: &str = "
import socket, sys
library, forgotten = sys.argv[1], []
probes = {socket.TCP_KEEPIDLE: 2, socket.TCP_KEEPINTVL: 1}
if library == 'psycopg2':
    import psycopg2
    login = dict(host='127.0.0.1', user='postgres', keepalives_idle=2, keepalives_interval=1)
    kept = psycopg2.connect(**login)
    forget = lambda: psycopg2.connect(options='-c idle_session_timeout=1s', **login)
elif library == 'redis':
    import redis
    pool = redis.Redis(socket_keepalive=True, socket_keepalive_options=probes)
    # The server's timeout isn't for subscribers.
    kept = pool.pubsub()
    kept.subscribe('a')
    forget = lambda: pool.connection_pool.get_connection()
else:
    import pymysql
    login = dict(host='127.0.0.1', user='root')
    kept = pymysql.connect(**login)
    forget = lambda: pymysql.connect(init_command='SET SESSION wait_timeout=1', **login)
print('ready', flush=True)
for line in sys.stdin:
    if line == 'drop\\n':
        kept.close()
    else:
        forgotten += [forget() for _ in range(int(line))]
    print('done', flush=True)
";

/// It ends with its test, also where that fails.
struct Application {
    process: Started,
    answers: BufReader<ChildStdout>,
}

impl Application {
    fn start(python: &Path, library: &str) -> Application {
        let mut command = Command::new(python);
        command.args(["-c", APPLICATION, library]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut application = Application { process: Started(child), answers };
        application.expect("ready");
        application
    }

    fn say(&mut self, command: &str) {
        writeln!(self.process.0.stdin.as_mut().unwrap(), "{command}").unwrap();
        self.expect("done");
    }

    fn expect(&mut self, word: &str) {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), word);
    }
}

fn listens(port: u16) {
    assert!(poll(PATIENCE, || TcpStream::connect(("127.0.0.1", port)).is_ok()), "nothing listens on {port}");
}

/// The leak is never OK, neither beside connections in use nor once its process has no other socket.
fn story(lab: &Lab, python: &Path, library: &str, port: u16) {
    // FIN_WAIT2 of the end that closed: as long as a minute by default.
    fs::write("/proc/sys/net/ipv4/tcp_fin_timeout", "3").unwrap();
    let (mut leaking, _healthy) = (Application::start(python, library), Application::start(python, library));
    lab.wait_for(ESTABLISHED, port, 4);
    let look = |more: &[&str]| CLOSEWAIT.run(&[&[format!("-p{port}").as_str()], more].concat());
    let before = look(&["-v"]);
    assert_eq!((before.code, before.value("ghosts")), (0, 0.0), "{before:?}");
    leaking.say(&FORGOTTEN.to_string());
    lab.wait_for(ESTABLISHED, port, 4);
    lab.wait_for(CLOSE_WAIT, port, 0);
    let pid = leaking.process.0.id();
    let found = look(&[]);
    assert_eq!((found.code, found.value("ghosts")), (2, FORGOTTEN as f64), "{found:?}");
    assert!(found.text().contains(&format!("[{pid}]")), "{found:?}");
    let who = connleak(&["who", &format!("-p{port}")]);
    assert!(who.contains(&format!("that no table shows: {FORGOTTEN} ({FORGOTTEN} python")), "{who}");
    assert!(who.contains(&format!("[{pid}])")), "{who}");
    leaking.say("drop");
    lab.wait_for(ESTABLISHED, port, 2);
    lab.wait_for(CLOSE_WAIT, port, 0);
    // Earlier runs met it.
    let silent = look(&[]);
    assert_eq!((silent.code, silent.value("ghosts")), (2, FORGOTTEN as f64), "{silent:?}");
    assert!(silent.text().contains(&pid.to_string()), "{silent:?}");
    let state = tempfile::tempdir().unwrap();
    let unmet = look(&["--state-dir", state.path().to_str().unwrap()]);
    assert!(unmet.code == 3 && unmet.text().contains(&pid.to_string()), "called as one that talks to it: {unmet:?}");
    let named = look(&["--user=0"]);
    assert!(named.code != 0, "{named:?}");
    drop(leaking);
    let after = look(&["-v"]);
    assert_eq!((after.code, after.value("ghosts")), (0, 0.0), "{after:?}");
}

#[test]
fn psycopg2_and_postgresqls_idle_session_timeout() {
    prepare_python();
    Lab::test(|lab| {
        let Some(python) = python(lab) else { return };
        let Some(_postgres) = Postgres::start(lab, 5432) else { return };
        story(lab, &python, "psycopg2", 5432);
    });
}

#[test]
fn redis_py_and_rediss_timeout() {
    prepare_python();
    Lab::test(|lab| {
        let Some(python) = python(lab) else { return };
        let mut command = as_nobody(Path::new("redis-server"));
        command.args(["--port", "6379", "--bind", "127.0.0.1", "--save", "", "--timeout", "1"]);
        if Command::new("redis-server").arg("-v").stdout(Stdio::null()).status().is_err() {
            return lab.skip("redis-server is not installed");
        }
        let _redis = Started(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
        listens(6379);
        story(lab, &python, "redis", 6379);
    });
}

/// MariaDB resets at once (SO_LINGER 0): no look ever shows a CLOSE_WAIT.
#[test]
fn pymysql_and_mariadbs_wait_timeout() {
    prepare_python();
    Lab::test(|lab| {
        let Some(python) = python(lab) else { return };
        let Some((_mariadb, _dir)) = mariadb() else { return lab.skip("mariadb-server is not installed") };
        listens(3306);
        story(lab, &python, "pymysql", 3306);
    });
}

/// Whoever connects is let in.
fn mariadb() -> Option<(Started, TempDir)> {
    let dir = tempfile::tempdir().unwrap();
    chown(dir.path(), Some(65534), Some(65534)).unwrap();
    let data = format!("--datadir={}", dir.path().join("data").display());
    let run = |program: &str, more: &[&str]| {
        let mut command = as_nobody(Path::new(program));
        command.args(["--no-defaults", &data]).args(more).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().ok().map(Started)
    };
    Command::new("mariadbd").arg("--version").stdout(Stdio::null()).status().ok()?;
    let mut made = run("mariadb-install-db", &["--skip-test-db"])?;
    let status = finish(&mut made.0, PATIENCE + Duration::from_secs(60));
    assert!(status.is_some_and(|status| status.success()), "mariadb-install-db: {status:?}");
    let socket = format!("--socket={}", dir.path().join("socket").display());
    let limits = ["--innodb-buffer-pool-size=16M", "--skip-grant-tables", "--bind-address=127.0.0.1"];
    let server = run("mariadbd", &[&limits[..], &["--port=3306", &socket]].concat())?;
    Some((server, dir))
}
