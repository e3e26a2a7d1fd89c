//! Redis and memcached: joined by the server's descriptor, with the least right that there is.

use super::pasted::{Application, Recipe, recipe, recipe_by_socket, rows, until_it_works};
use crate::integrations::python::{prepare_python, python};
use crate::lab::run::{Started, as_nobody};
use crate::lab::{ESTABLISHED, Lab};
use std::path::Path;
use std::process::{Command, Stdio};

/// Takes connections from redis-py's pool; after an error it doesn't give them back.
const REDIS: &str = "\
import redis, sys
pool = redis.ConnectionPool(host='127.0.0.1', port=6379, client_name='shop')
lost = []
print('ready', flush=True)
for line in sys.stdin:
    connection = pool.get_connection()
    try:
        connection.send_command(*line.split())
        connection.read_response()
        pool.release(connection)
    except redis.RedisError:
        lost.append(connection)
    print('done', flush=True)
";

/// A client that loses its connection where the answer is an error.
const MEMCACHED: &str = "\
import socket, sys
def connect():
    return socket.create_connection(('127.0.0.1', 11211))
pool = []
lost = []
print('ready', flush=True)
for line in sys.stdin:
    connection = pool.pop() if pool else connect()
    connection.sendall(line.strip().encode() + b'\\r\\n')
    (lost if b'ERROR' in connection.recv(4096) else pool).append(connection)
    print('done', flush=True)
";

fn server(lab: &Lab, program: &str, args: &[&str]) -> Option<Started> {
    let mut command = as_nobody(Path::new(program));
    let started = command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    if !Path::new(program).exists() {
        lab.skip(&format!("{program} is not installed"));
        return None;
    }
    Some(Started(started.unwrap()))
}

/// The connection that was lost, found by the server's descriptor.
fn assert_found(recipe: &Recipe, application: &Application, count: usize) {
    let found = recipe.json();
    let joined = rows(&found, &|row| row["client"] == application.name() && row["joined_by"] == "fd");
    assert_eq!(joined.len(), count, "{found:#}");
    for row in &joined {
        assert_eq!(
            (&row["server_socket"]["fd"], &row["addresses_agree"]),
            (&row["session"]["fd"], &true.into()),
            "{row:#}"
        );
    }
}

#[test]
fn redis_tells_the_last_commands_name() {
    prepare_python();
    Lab::test(|lab| {
        let Some(python) = python(lab) else { return };
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(dir.path(), Some(65534), Some(65534)).unwrap();
        let place = dir.path().to_str().unwrap();
        let socket = dir.path().join("redis.sock");
        let socket = socket.to_str().unwrap();
        let args = ["--port", "6379", "--bind", "127.0.0.1", "--save", "", "--dir", place, "--unixsocket", socket];
        let Some(_server) = server(lab, "/usr/bin/redis-server", &args) else { return };
        until_it_works("redis-cli", &["ping"]);
        let recipe = recipe(6379, 0);
        recipe.assert_version("redis-server");
        let right = recipe.right.replace("PASSWORD", "secret");
        until_it_works("redis-cli", &right.split(' ').collect::<Vec<_>>());
        let mut application = Application::start(&python, REDIS);
        application.tell("SET key value");
        application.tell("INCR key");
        application.tell("GET key");
        lab.wait_for(ESTABLISHED, 6379, 4);
        let recipe = Recipe { command: format!("export REDISCLI_AUTH=secret; {}", recipe.command), ..recipe };
        assert_found(&recipe, &application, 2);
        let table = recipe.table();
        let lost = table.lines().find(|line| line.trim_end().ends_with("incr")).unwrap_or_else(|| panic!("{table}"));
        assert!(lost.starts_with(&application.name()) && lost.contains("shop"), "{table}");
        // Over a UNIX socket only the descriptor tells.
        let class = format!("connection_class=redis.UnixDomainSocketConnection, path='{socket}'");
        let mut local = Application::start(&python, &REDIS.replace("host='127.0.0.1', port=6379", &class));
        local.tell("SET local value");
        local.tell("INCR local");
        let by_socket = recipe_by_socket("redis", socket);
        let found =
            Recipe { command: format!("export REDISCLI_AUTH=secret; {}", by_socket.command), ..by_socket }.json();
        let lost = rows(&found, &|row| row["client"] == local.name());
        assert_eq!(
            (lost.len(), &lost[0]["joined_by"], &lost[0]["session"]["statement"]),
            (1, &"fd".into(), &"incr".into())
        );
        // It is the least right: nothing else is allowed.
        let mut other = Command::new("redis-cli");
        other.args(["--user", "connleak", "get", "key"]).env("REDISCLI_AUTH", "secret");
        let other = other.output().unwrap();
        assert!(String::from_utf8_lossy(&other.stdout).contains("NOPERM"), "{other:?}");
    });
}

#[test]
fn memcached_tells_state_and_silence() {
    prepare_python();
    Lab::test(|lab| {
        let Some(python) = python(lab) else { return };
        let args = ["-l", "127.0.0.1", "-p", "11211", "-U", "0"];
        let Some(_server) = server(lab, "/usr/bin/memcached", &args) else { return };
        until_it_works("bash", &["-c", "exec 3<>/dev/tcp/127.0.0.1/11211"]);
        let mut application = Application::start(&python, MEMCACHED);
        application.tell("version");
        application.tell("no_such_command");
        application.tell("version");
        lab.wait_for(ESTABLISHED, 11211, 4);
        let recipe = recipe(11211, 0);
        recipe.assert_version("memcached");
        assert_eq!(recipe.right, "none is needed");
        assert_found(&recipe, &application, 2);
        let table = recipe.table();
        assert!(table.lines().filter(|line| line.contains("conn_read")).count() >= 2, "{table}");
    });
}

#[test]
fn memcached_is_asked_over_its_unix_socket() {
    prepare_python();
    Lab::test(|lab| {
        let Some(python) = python(lab) else { return };
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(dir.path(), Some(65534), Some(65534)).unwrap();
        let socket = dir.path().join("memcached.sock");
        let socket = socket.to_str().unwrap();
        let Some(_server) = server(lab, "/usr/bin/memcached", &["-s", socket, "-a", "777"]) else { return };
        until_it_works("socat", &["-u", "OPEN:/dev/null", &format!("UNIX-CONNECT:{socket}")]);
        let connect = format!("one = socket.socket(socket.AF_UNIX); one.connect('{socket}'); return one");
        let source = MEMCACHED.replace("return socket.create_connection(('127.0.0.1', 11211))", &connect);
        let mut application = Application::start(&python, &source);
        application.tell("no_such_command");
        assert_found(&recipe_by_socket("memcached", socket), &application, 1);
    });
}
