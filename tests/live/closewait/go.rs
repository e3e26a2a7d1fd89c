//! A real Go server with Go's defaults: its listener is MPTCP's, and keepalive turns what it forgets into ghosts.

use crate::companion::run::connleak;
use crate::integrations::python::{prepare_python, python, venv};
use crate::lab::Lab;
use crate::lab::isolated::is_inside;
use crate::lab::run::{CLOSEWAIT, Started, finish};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// For the compiler, with a cold cache, beside other tests.
const PATIENCE: Duration = Duration::from_secs(600);
const FORGOTTEN: u32 = 30;

fn program() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("goserver")
}

/// Builds it outside of the lab, where the package index can be reached.
fn prepare() {
    static PREPARED: Once = Once::new();
    prepare_python();
    if !is_inside() {
        PREPARED.call_once(build);
    }
}

fn build() {
    let mut go = Command::new(venv().join("bin/go"));
    go.args(["build", "-o"]).arg(program()).arg(".");
    go.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/goserver"));
    for (name, value) in [("GOTOOLCHAIN", "local"), ("CGO_ENABLED", "0"), ("GOFLAGS", "-buildvcs=false")] {
        go.env(name, value);
    }
    for name in ["GOCACHE", "GOPATH"] {
        go.env(name, Path::new(env!("CARGO_TARGET_TMPDIR")).join(name.to_lowercase()));
    }
    if let Ok(mut child) = go.stdin(Stdio::null()).spawn() {
        finish(&mut child, PATIENCE);
    }
}

/// A server of which `FORGOTTEN` clients have closed their connections; another one keeps his.
struct Served {
    server: Started,
    closed: Instant,
    _kept: TcpStream,
}

impl Served {
    fn new(port: u16, how: &str) -> Served {
        let mut command = Command::new(program());
        command.args([&format!("127.0.0.1:{port}"), how]).stdout(Stdio::piped());
        let mut server = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "listens\n");
        let server = Started(server);
        let connect = || {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.write_all(b"x").unwrap();
            stream
        };
        let clients: Vec<TcpStream> = (0..FORGOTTEN).map(|_| connect()).collect();
        let kept = connect();
        sleep(Duration::from_millis(300));
        drop(clients);
        Served { server, closed: Instant::now(), _kept: kept }
    }
}

fn never_ok_again(lab: &Lab, until: Duration) {
    if python(lab).is_none() {
        return;
    }
    if !program().exists() {
        return lab.skip("no Go toolchain");
    }
    let (leaky, _healthy) = (Served::new(27411, "forgets"), Served::new(27412, "closes"));
    let pid = leaky.server.0.id();
    loop {
        let fine = CLOSEWAIT.run(&["-p27412"]);
        assert_eq!((fine.code, fine.value("close_wait")), (0, 0.0), "those of the other one don't count: {fine:?}");
        let found = CLOSEWAIT.run(&["-p27411"]);
        let age = found.started - leaky.closed;
        println!("{age:.0?}: {}", found.stdout.trim());
        assert!(age.as_secs() < 60 || found.code != 0, "after {age:?}: {found:?}");
        if age.as_secs() >= 90 {
            assert_eq!((found.code, found.value("close_wait")), (2, f64::from(FORGOTTEN)), "after {age:?}: {found:?}");
            assert!(found.text().contains(&format!("all held by goserver[{pid}]")), "after {age:?}: {found:?}");
        }
        if age > until {
            assert_eq!(found.value("ghosts"), f64::from(FORGOTTEN), "{found:?}");
            break;
        }
        sleep(Duration::from_secs(3));
    }
    let who = connleak(&["who", "-p27411"]);
    let told = format!("ghosts, descriptors of sockets that no table shows: 30 (30 goserver[{pid}])");
    assert!(who.contains(&told), "{who}");
    let who = connleak(&["who", "-p27412"]);
    assert!(!who.contains("ghosts, descriptors"), "{who}");
}

#[test]
fn what_a_go_server_forgets_is_never_ok_after_a_minute() {
    prepare();
    Lab::test(|lab| never_ok_again(lab, Duration::from_secs(100)));
}

/// By hand: `cargo test --test live -- --ignored --nocapture for_ten_minutes`.
#[test]
#[ignore = "takes ten minutes"]
fn what_a_go_server_forgets_stays_critical_for_ten_minutes() {
    prepare();
    Lab::test(|lab| never_ok_again(lab, Duration::from_secs(690)));
}
