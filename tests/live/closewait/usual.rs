//! What check_conn_growth has seen come and go of a pool's CLOSE_WAIT is no alarm; what a leak leaves is.

use crate::integrations::python::{prepare_python, python};
use crate::lab::run::{CLOSEWAIT, Check, GROWTH, Outcome, PATIENCE, Started, TENANTS, as_nobody, poll};
use crate::lab::{CLOSE_WAIT, Lab, Peer, example};
use crate::sessions::pasted::Application;
use std::fs::{self, Permissions};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;
use tempfile::TempDir;

const PORT: u16 = 27424;
const ADDRESS: &str = "127.0.0.1:27424";

fn with<'a>(state: &'a TempDir, more: &[&'a str]) -> Vec<&'a str> {
    [&["-p27424", "--state-dir", state.path().to_str().unwrap()], more].concat()
}

fn look(state: &TempDir, more: &[&str]) -> Outcome {
    CLOSEWAIT.run(&[&with(state, &["--min-age=0s"]), more].concat())
}

fn grows(state: &TempDir) {
    let seen = GROWTH.run(&with(state, &[]));
    assert_eq!(seen.code, 0, "{seen:?}");
}

/// Connections that the server closes while the client keeps them.
fn close_idle(lab: &Lab, server: &mut Peer, client: &mut Peer, (name, count, all): (&str, u32, usize)) {
    client.say(&format!("connect {name} {ADDRESS} {count}"));
    server.say(&format!("accept {name} l {count}"));
    server.say(&format!("close {name}"));
    lab.wait_for(CLOSE_WAIT, PORT, all);
}

/// Long enough in CLOSE_WAIT for two looks at it.
fn are_seen(state: &TempDir) {
    for _ in 0..2 {
        sleep(Duration::from_millis(1100));
        grows(state);
    }
}

/// A pool's six that its server closed, an alarm as long as that isn't usual, and then closed by their process, which lives on.
fn comes_and_goes(lab: &Lab, state: &TempDir, (server, client): (&mut Peer, &mut Peer), round: u32) {
    close_idle(lab, server, client, ("pool", 6, 6));
    let found = look(state, &[]);
    assert_eq!((found.code, found.value("close_wait")), (1, 6.0), "{round}: {found:?}");
    are_seen(state);
    client.say("close pool");
    lab.wait_for(CLOSE_WAIT, PORT, 0);
    grows(state);
    grows(state);
}

fn files(state: &TempDir) -> Vec<PathBuf> {
    let dir = fs::read_dir(state.path()).unwrap().next().unwrap().unwrap().path();
    let files = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|extension| extension == "bin")).collect()
}

#[test]
fn what_comes_and_goes_is_usual_and_a_leak_beside_it_is_not() {
    Lab::test(|lab| {
        let state = tempfile::tempdir().unwrap();
        let (mut server, mut client) = lab.connected(ADDRESS, 5);
        (0..3).for_each(|round| comes_and_goes(lab, &state, (&mut server, &mut client), round));
        close_idle(lab, &mut server, &mut client, ("pool", 6, 6));
        let learned = look(&state, &["-v"]);
        let value = |label| learned.value(label);
        assert_eq!((learned.code, value("close_wait"), value("spares")), (0, 0.0, 6.0), "{learned:?}");
        assert!(learned.text().contains("0 sockets in CLOSE_WAIT beyond 6 usual ones"), "{learned:?}");
        assert!(learned.stdout.contains("usual: 6 in CLOSE_WAIT at once for up to "), "{learned:?}");
        assert_eq!(look(&state, &["--expected=0"]).code, 1, "what is typed counts");
        let tenants =
            |more: &[&str]| TENANTS.run(&[&with(&state, &["--key=user", "--close-wait-age=0s"]), more].concat());
        let [learned, typed] = [tenants(&[]), tenants(&["--expected=0"])];
        assert_eq!((learned.code, learned.value("close_wait_max")), (0, 0.0), "{learned:?}");
        assert_eq!((typed.code, typed.value("close_wait_max")), (1, 6.0), "{typed:?}");
        // Of another program of the same user and cgroup, while the pool has its own there and while it hasn't.
        let mut other = Command::new(example("peer"));
        other.arg("another");
        let mut other = lab.peer_by(other);
        close_idle(lab, &mut server, &mut other, ("others", 6, 12));
        for spared in [6.0, 0.0] {
            let [leaks, of_user] = [look(&state, &[]), tenants(&[])];
            assert_eq!((leaks.code, leaks.value("close_wait"), leaks.value("spares")), (1, 6.0, spared), "{leaks:?}");
            assert!(leaks.text().contains(&format!("held by peer[{}]", other.pid())), "{leaks:?}");
            assert_eq!((of_user.code, of_user.value("close_wait_max")), (1, 6.0), "{of_user:?}");
            if spared > 0.0 {
                client.say("close pool");
                lab.wait_for(CLOSE_WAIT, PORT, 6);
            }
        }
        other.say("close others");
        // A restart makes no other program of it.
        let mut client = lab.peer();
        close_idle(lab, &mut server, &mut client, ("pool", 6, 6));
        let restarted = look(&state, &[]);
        assert_eq!((restarted.code, restarted.value("spares")), (0, 6.0), "{restarted:?}");
        // Of the same process.
        close_idle(lab, &mut server, &mut client, ("leak", 30, 36));
        let leaks = look(&state, &[]);
        assert_eq!((leaks.code, leaks.value("close_wait"), leaks.value("spares")), (2, 30.0, 6.0), "{leaks:?}");
        client.say("close leak");
        lab.wait_for(CLOSE_WAIT, PORT, 6);
        for path in files(&state) {
            fs::write(path, "x").unwrap();
        }
        let broken = look(&state, &[]);
        assert_eq!((broken.code, broken.value("close_wait")), (1, 6.0), "{broken:?}");
        assert!(broken.text().contains("what check_conn_growth learned of CLOSE_WAIT is not used: "), "{broken:?}");
    });
}

#[test]
fn what_lasts_longer_than_it_ever_did_counts() {
    Lab::test(|lab| {
        let state = tempfile::tempdir().unwrap();
        let (mut server, mut client) = lab.connected(ADDRESS, 5);
        (0..3).for_each(|round| comes_and_goes(lab, &state, (&mut server, &mut client), round));
        close_idle(lab, &mut server, &mut client, ("pool", 6, 6));
        assert_eq!(look(&state, &[]).code, 0);
        // They lasted for hardly more than two seconds, and may for twice as long.
        assert!(poll(Duration::from_secs(60), || look(&state, &[]).code == 1));
    });
}

/// What is learned is one program's: of sockets whose process may not be read nothing tells which.
#[test]
fn what_may_be_another_programs_is_not_spared() {
    Lab::test(|lab| {
        let state = tempfile::tempdir().unwrap();
        fs::set_permissions(&state, Permissions::from_mode(0o777)).unwrap();
        let (mut server, mut other) = lab.connected(ADDRESS, 5);
        let mut client = lab.peer_of_nobody();
        let grow = || (0..2).for_each(|_| assert_eq!(GROWTH.unprivileged(&with(&state, &["--limit=100"])).code, 0));
        let look = || CLOSEWAIT.unprivileged(&with(&state, &["--min-age=0s"]));
        for _ in 0..3 {
            close_idle(lab, &mut server, &mut client, ("pool", 6, 6));
            sleep(Duration::from_millis(1100));
            grow();
            client.say("close pool");
            lab.wait_for(CLOSE_WAIT, PORT, 0);
            grow();
        }
        close_idle(lab, &mut server, &mut client, ("pool", 6, 6));
        let learned = look();
        assert_eq!((learned.code, learned.value("spares")), (0, 6.0), "{learned:?}");
        close_idle(lab, &mut server, &mut other, ("leak", 6, 12));
        let leaks = look();
        assert_eq!((leaks.code, leaks.value("close_wait"), leaks.value("spares")), (1, 6.0, 6.0), "{leaks:?}");
        let said = "none of 6 in CLOSE_WAIT is spared as usual, as their process is unknown: ";
        assert!(leaks.text().contains(said), "{leaks:?}");
    });
}

/// Where probes are answered by a reset, as redis-py's are, what its server closed leaves the tables before the pool takes it again.
#[test]
fn a_pools_ghosts_are_usual_and_a_leaks_are_not() {
    Lab::test(|lab| {
        let state = tempfile::tempdir().unwrap();
        let (mut server, mut client) = lab.connected(ADDRESS, 5);
        let mut reset = |client: &mut Peer, name: &str, count: u32, all: usize| {
            client.say(&format!("connect {name} {ADDRESS} {count}"));
            server.say(&format!("accept {name} l {count}"));
            server.say(&format!("shutdown {name}"));
            lab.wait_for(CLOSE_WAIT, PORT, all);
            sleep(Duration::from_millis(1100));
            grows(&state);
            server.say(&format!("reset {name}"));
            lab.wait_for(CLOSE_WAIT, PORT, 0);
        };
        for round in 0..3 {
            reset(&mut client, "pool", 6, 6);
            let found = look(&state, &[]);
            assert_eq!((found.code, found.value("ghosts")), (1, 6.0), "{round}: {found:?}");
            grows(&state);
            client.say("close pool");
            grows(&state);
            grows(&state);
        }
        reset(&mut client, "pool", 6, 6);
        let learned = look(&state, &[]);
        assert_eq!((learned.code, learned.value("close_wait"), learned.value("spares")), (0, 0.0, 6.0), "{learned:?}");
        reset(&mut client, "leak", 30, 30);
        let leaks = look(&state, &[]);
        assert_eq!((leaks.code, leaks.value("ghosts"), leaks.value("spares")), (2, 30.0, 6.0), "{leaks:?}");
    });
}

/// Over a UNIX socket nothing but an earlier look tells whose the end is that a pool keeps once its server has closed.
#[test]
fn over_unix_what_comes_and_goes_is_usual_and_a_leak_beside_it_is_not() {
    Lab::test(|lab| {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("x.sock").display().to_string();
        let with = |more: &[&'static str]| {
            let common = ["--unix", &path, "--state-dir", state.path().to_str().unwrap()];
            common.into_iter().chain(more.iter().copied()).map(str::to_owned).collect::<Vec<_>>()
        };
        let run = |check: Check, more| check.run(&with(more).iter().map(String::as_str).collect::<Vec<_>>());
        let look = || run(CLOSEWAIT, &["--min-age=0s"]);
        let grows = |connections: f64| {
            let seen = run(GROWTH, &["--limit=200"]);
            assert_eq!((seen.code, seen.value("connections")), (0, connections), "{seen:?}");
        };
        let (mut server, mut client) = lab.connected(&path, 5);
        let connect = |server: &mut Peer, client: &mut Peer, name: &str, count: u32, all: f64| {
            client.say(&format!("connect {name} {path} {count}"));
            server.say(&format!("accept {name} l {count}"));
            grows(all);
            server.say(&format!("close {name}"));
        };
        for round in 0..3 {
            connect(&mut server, &mut client, "pool", 6, 11.0);
            let found = look();
            assert_eq!((found.code, found.value("close_wait")), (1, 6.0), "{round}: {found:?}");
            (0..2).for_each(|_| {
                sleep(Duration::from_millis(1100));
                grows(11.0);
            });
            client.say("close pool");
            (0..2).for_each(|_| grows(5.0));
        }
        connect(&mut server, &mut client, "pool", 6, 11.0);
        let learned = look();
        assert_eq!((learned.code, learned.value("spares")), (0, 6.0), "{learned:?}");
        let tenants = run(TENANTS, &["--key=user", "--close-wait-age=0s"]);
        assert_eq!((tenants.code, tenants.value("close_wait_max")), (0, 0.0), "{tenants:?}");
        let mut other = Command::new(example("peer"));
        other.arg("another");
        let mut other = lab.peer_by(other);
        connect(&mut server, &mut other, "others", 6, 17.0);
        for spared in [6.0, 0.0] {
            let leaks = look();
            assert_eq!((leaks.code, leaks.value("close_wait"), leaks.value("spares")), (1, 6.0, spared), "{leaks:?}");
            assert!(leaks.text().contains(&format!("held by peer[{}]", other.pid())), "{leaks:?}");
            if spared > 0.0 {
                client.say("close pool");
            }
        }
        other.say("close others");
        connect(&mut server, &mut client, "pool", 36, 41.0);
        let leaks = look();
        assert_eq!((leaks.code, leaks.value("close_wait"), leaks.value("spares")), (2, 30.0, 6.0), "{leaks:?}");
    });
}

#[test]
fn a_leak_from_the_beginning_stays_an_alarm() {
    Lab::test(|lab| {
        let state = tempfile::tempdir().unwrap();
        let (mut server, _others) = lab.connected(ADDRESS, 5);
        // Each time its process ends, all of it is gone.
        for round in 0..4 {
            let mut client = lab.peer();
            close_idle(lab, &mut server, &mut client, ("leak", 30, 30));
            are_seen(&state);
            let found = look(&state, &[]);
            assert_eq!((found.code, found.value("close_wait")), (2, 30.0), "{round}: {found:?}");
            client.end();
            lab.wait_for(CLOSE_WAIT, PORT, 0);
            grows(&state);
            grows(&state);
        }
    });
}

/// Forgets its connections by execve(2), which closes them, or leaves them to a child that it forks and ends.
const FORGETS: &str = "
import os, signal, socket, sys
print((sys.argv[1:] or ['ready'])[0], flush=True)
while word := sys.stdin.readline().strip():
    if word == 'open':
        kept = [socket.create_connection(('127.0.0.1', 27424)) for _ in range(6)]
    if word == 'fork':
        child = os.fork()
        if child == 0:
            signal.pause()
        [one.close() for one in kept]
    if word == 'kill':
        os.kill(child, 9), os.waitpid(child, 0)
    if word == 'exec':
        os.execv(sys.executable, sys.orig_argv[:3] + ['done'])
    print('done', flush=True)
";

#[test]
fn what_ends_by_exec_or_with_a_child_is_not_learned() {
    for ways in [&["exec"][..], &["fork", "kill"]] {
        Lab::test(|lab| {
            let state = tempfile::tempdir().unwrap();
            let (mut server, _others) = lab.connected(ADDRESS, 5);
            let mut application = Application::start(Path::new("python3"), FORGETS);
            for round in 0..5 {
                application.tell("open");
                server.say("accept leak l 6");
                server.say("close leak");
                lab.wait_for(CLOSE_WAIT, PORT, 6);
                are_seen(&state);
                let found = look(&state, &[]);
                assert_eq!((found.code, found.value("close_wait")), (1, 6.0), "{ways:?} {round}: {found:?}");
                for way in ways {
                    application.tell(way);
                    grows(&state);
                    grows(&state);
                }
                lab.wait_for(CLOSE_WAIT, PORT, 0);
            }
        });
    }
}

/// A pool that is used in bursts, and a client for each request that is kept.
const APPLICATION: &str = "
import redis, sys
pool, kept = redis.ConnectionPool(), []
print('ready', flush=True)
for line in sys.stdin:
    word, count = line.split()
    if word == 'leak':
        kept += [redis.Redis(single_connection_client=True) for _ in range(int(count))]
    taken = [pool.get_connection() for _ in range(int(count) if word == 'burst' else 0)]
    for one in taken:
        one.send_command('PING'), one.read_response(), pool.release(one)
    print('done', flush=True)
";

#[test]
fn redis_pys_pool_at_a_server_with_a_timeout_is_learned_and_its_leak_is_not() {
    prepare_python();
    Lab::test(|lab| {
        let Some(python) = python(lab) else { return };
        if Command::new("redis-server").arg("-v").stdout(Stdio::null()).status().is_err() {
            return lab.skip("redis-server is not installed");
        }
        let mut command = as_nobody(Path::new("redis-server"));
        command.args(["--port", "27424", "--bind", "127.0.0.1", "--save", "", "--timeout", "1"]);
        let _redis = Started(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
        assert!(poll(PATIENCE, || TcpStream::connect(ADDRESS).is_ok()), "redis-server listens");
        let source = APPLICATION.replace("Redis(", "Redis(port=27424, ").replace("Pool()", "Pool(port=27424)");
        let mut application = Application::start(&python, &source);
        let state = tempfile::tempdir().unwrap();
        for round in 0..4 {
            // Takes those that Redis has closed since, and closes them.
            application.tell("burst 8");
            grows(&state);
            grows(&state);
            lab.wait_for(CLOSE_WAIT, PORT, 8);
            let found = look(&state, &[]);
            let (code, stuck) = if round < 3 { (1, 8.0) } else { (0, 0.0) };
            assert_eq!((found.code, found.value("close_wait")), (code, stuck), "{round}: {found:?}");
            are_seen(&state);
        }
        application.tell("leak 30");
        lab.wait_for(CLOSE_WAIT, PORT, 38);
        let leaks = look(&state, &[]);
        assert_eq!((leaks.code, leaks.value("close_wait"), leaks.value("spares")), (2, 30.0, 8.0), "{leaks:?}");
    });
}

/// The same over Redis' UNIX socket.
#[test]
fn redis_pys_pool_over_a_unix_socket_is_learned_and_its_leak_is_not() {
    prepare_python();
    Lab::test(|lab| {
        let Some(python) = python(lab) else { return };
        if Command::new("redis-server").arg("-v").stdout(Stdio::null()).status().is_err() {
            return lab.skip("redis-server is not installed");
        }
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("r.sock").display().to_string();
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--unixsocket", &path, "--save", "", "--timeout", "1"]);
        let _redis = Started(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
        assert!(poll(PATIENCE, || UnixStream::connect(&path).is_ok()), "redis-server listens");
        let of_pool = format!("Pool(connection_class=redis.UnixDomainSocketConnection, path='{path}')");
        let one = format!("Redis(unix_socket_path='{path}', ");
        let mut application =
            Application::start(&python, &APPLICATION.replace("Redis(", &one).replace("Pool()", &of_pool));
        let common = ["--unix", &path, "--state-dir", state.path().to_str().unwrap()];
        let grows = || {
            let seen = GROWTH.run(&common);
            assert_eq!(seen.code, 0, "{seen:?}");
        };
        let look = || CLOSEWAIT.run(&[&common[..], &["--min-age=0s", "--side=both"]].concat());
        let closed = |count: f64| {
            let all = |found: Outcome| found.value("close_wait") + found.value("spares") == count;
            assert!(poll(PATIENCE, || all(look())), "{count}: {:?}", look());
        };
        for round in 0..4 {
            application.tell("burst 8");
            grows();
            grows();
            closed(8.0);
            let found = look();
            let (code, stuck) = if round < 3 { (1, 8.0) } else { (0, 0.0) };
            assert_eq!((found.code, found.value("close_wait")), (code, stuck), "{round}: {found:?}");
            (0..2).for_each(|_| {
                sleep(Duration::from_millis(1100));
                grows();
            });
        }
        application.tell("leak 30");
        grows();
        closed(38.0);
        let leaks = look();
        assert_eq!((leaks.code, leaks.value("close_wait"), leaks.value("spares")), (2, 30.0, 8.0), "{leaks:?}");
    });
}
