//! PostgreSQL's sessions, by the least right: joined by the backend's pid.

use super::pasted::{Application, Recipe, listed, recipe, recipe_by_socket, rows, until_it_works};
use crate::companion::run::any;
use crate::integrations::python::{prepare_python, python};
use crate::lab::run::{PATIENCE, poll};
use crate::lab::{CLOSE_WAIT, ESTABLISHED, Lab, example};
use crate::postgres::Postgres;
use serde_json::Value;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Checks connections out of a pool; after an error it doesn't give them back.
const APPLICATION: &str = "\
import psycopg2.pool, sys
pool = psycopg2.pool.ThreadedConnectionPool(1, 20, host=sys.argv[1] if len(sys.argv) > 1 else '127.0.0.1',
    user='shop', dbname='postgres', application_name='shop web')
print('ready', flush=True)
for line in sys.stdin:
    connection = pool.getconn()
    try:
        connection.cursor().execute(line)
        if 'bad total' in line:
            raise ValueError('the application has an error of its own')
        connection.rollback()
        pool.putconn(connection)
    except (psycopg2.Error, ValueError):
        pass
    print('done', flush=True)
";

fn psql(sql: &str) {
    until_it_works("psql", &["-h", "127.0.0.1", "-U", "postgres", "-qXc", sql]);
}

/// A server with the application's role and ours, which has the least right.
fn server(lab: &Lab) -> Option<(Postgres, Recipe)> {
    let server = Postgres::start(lab, 5432)?;
    let recipe = recipe(5432, 0);
    recipe.assert_version("psql");
    psql("CREATE ROLE shop LOGIN");
    psql(&recipe.right);
    Some((server, recipe))
}

#[test]
fn the_last_statement_of_a_connection_that_was_not_given_back() {
    prepare_python();
    Lab::test(|lab| {
        let Some(python) = python(lab) else { return };
        let Some((server, recipe)) = server(lab) else { return };
        let mut application = Application::start(&python, APPLICATION);
        application.tell("SELECT 'good work'");
        application.tell("SELECT 1/0 AS order_total");
        application.tell("SELECT 'bad total' AS order_total");
        // What begins another and is given back is used again.
        application.tell("SELECT 'more good work'");
        // A client that never sends a startup packet.
        let silent = TcpStream::connect("127.0.0.1:5432").unwrap();
        lab.wait_for(ESTABLISHED, 5432, 8);
        let found = recipe.json();
        let forgotten = rows(&found, &|row| row["session"]["in_transaction"] == true);
        assert_eq!(forgotten.len(), 2, "{found:#}");
        let statements: Vec<_> =
            forgotten.iter().map(|row| row["session"]["statement"].as_str().unwrap().trim()).collect();
        assert!(statements.contains(&"SELECT 1/0 AS order_total"), "{statements:?}");
        assert!(statements.contains(&"SELECT 'bad total' AS order_total"), "{statements:?}");
        for row in &forgotten {
            assert_eq!((&row["joined_by"], &row["addresses_agree"]), (&"pid".into(), &true.into()), "{row:#}");
            assert_eq!(
                (&row["client"], &row["client_socket"]["pid"]),
                (&application.name().into(), &application.pid().into())
            );
            assert_eq!(row["server_socket"]["pid"], row["session"]["pid"], "{row:#}");
            let session = &row["session"];
            assert_eq!(
                (&session["user"], &session["database"], &session["application"], &session["in_transaction"]),
                (&"shop".into(), &"postgres".into(), &"shop web".into(), &true.into())
            );
            // Of one that failed PostgreSQL has forgotten when it began.
            let is_aborted = row["session_state"] == "idle in transaction (aborted)";
            assert!(is_aborted || row["session_state"] == "idle in transaction", "{row:#}");
            assert_eq!(session["transaction_seconds"].is_null(), is_aborted, "{row:#}");
            assert!(session["state_seconds"].as_u64().is_some_and(|age| age < 120), "{row:#}");
        }
        // What was given back shows what its pool does with it then.
        let idle = rows(&found, &|row| row["session_state"] == "idle");
        assert_eq!((idle.len(), &idle[0]["session"]["statement"]), (1, &"ROLLBACK".into()), "{found:#}");
        let unknown = rows(&found, &|row| row["session"].is_null());
        assert_eq!((unknown.len(), &unknown[0]["session_state"]), (1, &"none: not logged in".into()), "{found:#}");
        // The client that read the list before is still in it until its backend has ended.
        lab.wait_for(CLOSE_WAIT, 5432, 0);
        let table = recipe.table();
        let first = table.lines().nth(2).unwrap();
        assert!(first.contains(&application.name()) && first.contains("idle in transaction"), "{table}");
        assert!(table.starts_with("postgresql:5432, both sides: 4 connections, 3 with a session\n"), "{table}");
        drop(silent);
        // The service goes first: what is left at the client has no session any more, and the table says so.
        without_the_service(lab, &recipe, server, &application);
    });
}

fn without_the_service(lab: &Lab, recipe: &Recipe, server: Postgres, application: &Application) {
    let before = recipe.run("> /dev/null");
    assert_eq!(before.code, 0, "{before:?}");
    drop(server);
    lab.wait_for(CLOSE_WAIT, 5432, 3);
    let header = "pid,client_addr,client_port,usename,state,query\n1,10.0.0.1,4000,x,idle,select 1\n";
    let after = listed(&["-p5432", "--side=client"], header);
    assert!(after.stdout.contains("none any more: the service has closed it"), "{after:?}");
    assert!(after.stdout.contains(&application.name()), "{after:?}");
    assert!(
        after
            .stdout
            .contains("note: 3 connections in CLOSE_WAIT without a session any more: 'connleak watch --sessions'"),
        "{after:?}"
    );
    assert!(after.stdout.contains("note: 1 session of other hosts' clients left out"), "{after:?}");
}

#[test]
fn over_a_unix_socket_the_session_is_told_and_the_missing_right_is_said() {
    prepare_python();
    Lab::test(|lab| {
        let Some(python) = python(lab) else { return };
        let Some((server, recipe)) = server(lab) else { return };
        let source = APPLICATION.replace("'127.0.0.1'", &format!("'{}'", server.socket_dir().display()));
        let mut application = Application::start(&python, &source);
        application.tell("SELECT 1/0 AS by_socket");
        let found = recipe.json();
        let aborted = rows(&found, &|row| row["session"]["in_transaction"] == true);
        assert_eq!(aborted.len(), 1, "{found:#}");
        assert_eq!((&aborted[0]["client"], &aborted[0]["joined_by"]), (&"(UNIX socket)".into(), &Value::Null));
        assert_eq!(aborted[0]["session"]["statement"].as_str().map(str::trim), Some("SELECT 1/0 AS by_socket"));
        // With its path the kernel's side is known: by the backend's pid.
        let path = server.socket_dir().join(".s.PGSQL.5432");
        let found = recipe_by_socket("postgresql", path.to_str().unwrap()).json();
        let aborted = rows(&found, &|row| row["session"]["in_transaction"] == true);
        assert_eq!((aborted.len(), &aborted[0]["joined_by"]), (1, &"pid".into()), "{found:#}");
        assert_eq!((&aborted[0]["client"], &aborted[0]["addresses_agree"]), (&application.name().into(), &true.into()));
        psql("REVOKE pg_read_all_stats FROM connleak");
        let table = recipe.table();
        assert!(
            table.contains("statements may not be read by the list's user: 'connleak sessions --how -p 5432'"),
            "{table}"
        );
        assert!(!table.contains("by_socket"), "{table}");
    });
}

/// Whoever reads the list closes its own connection as it ends, and the service takes a moment to do the same.
#[test]
fn what_the_service_is_about_to_close_is_no_row() {
    Lab::test(|lab| {
        let list = "pid,client_addr,client_port,usename,state,query\n";
        let (mut server, mut client) = lab.connected("127.0.0.1:5432", 1);
        let done = poll(PATIENCE, || {
            client.say("connect reader 127.0.0.1:5432 1");
            server.say("accept served l 1");
            client.say("close reader");
            lab.wait_for(CLOSE_WAIT, 5432, 1);
            let closed = Instant::now();
            let (found, took) = std::thread::scope(|scope| {
                let found = scope.spawn(|| listed(&["-p5432", "-ojson"], list));
                std::thread::sleep(Duration::from_millis(250));
                server.say("close served");
                let took = closed.elapsed();
                (found.join().unwrap(), took)
            });
            // A machine that was busy with something else for as long shows nothing.
            if took > Duration::from_millis(500) {
                return false;
            }
            let found: Value = serde_json::from_str(&found.stdout).unwrap();
            assert_eq!(found["rows"].as_array().unwrap().len(), 1, "{found:#}");
            true
        });
        assert!(done);
        client.say("close c");
        lab.wait_for(CLOSE_WAIT, 5432, 1);
        let found = listed(&["-p5432", "-ojson"], list);
        let found: Value = serde_json::from_str(&found.stdout).unwrap();
        assert_eq!(found["rows"][0]["server_socket"]["state"], "CLOSE_WAIT", "what it keeps is shown: {found:#}");
    });
}

/// What is between the list and the look: the session's process, but not its socket.
#[test]
fn a_session_without_a_socket_is_told_apart() {
    Lab::test(|lab| {
        let (_server, _client) = lab.connected("127.0.0.1:5432", 1);
        let list =
            "pid,client_addr,client_port,usename,state,query\n4194303,10.9.9.9,4000,shop,active,select pg_sleep(9)\n";
        let outcome = listed(&["-p5432"], list);
        assert!(outcome.stdout.contains("; 1 session without a connection here\n"), "{outcome:?}");
        let line = outcome.stdout.lines().find(|line| line.starts_with("10.9.9.9:4000")).unwrap();
        assert!(line.contains("active, its client is gone") && line.ends_with("select pg_sleep(9)"), "{outcome:?}");
    });
}

/// A backend in a container: its list has the pid of there, and a proxy before it another address.
#[test]
fn a_backend_in_a_container_is_found_by_its_own_pid() {
    Lab::test(|lab| {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork"]).arg(example("peer"));
        let (mut server, mut client) = (lab.peer_by(command), lab.peer());
        server.say("listen l 127.0.0.1:5432");
        client.say("connect c 127.0.0.1:5432 1");
        server.say("accept s l 1");
        let list = "pid,client_addr,client_port,usename,state,query\n1,192.0.2.7,4000,shop,idle,select 1\n";
        let outcome = listed(&["-p5432", "-ojson"], list);
        let found: Value = serde_json::from_str(&outcome.stdout).unwrap();
        let row = &found["rows"][0];
        assert_eq!((&row["joined_by"], &row["addresses_agree"]), (&"pid".into(), &false.into()), "{found:#}");
        assert_eq!((&row["client"], &row["session"]["pid"]), (&format!("peer[{}]", client.pid()).into(), &1.into()));
        assert!(row["server_socket"]["pid"].as_u64().is_some_and(|pid| pid > 1), "{found:#}");
        assert!(found["missing"][0].as_str().unwrap().contains("1 joined by process or descriptor where"), "{found:#}");
    });
}

#[test]
fn a_list_that_can_t_be_read_is_one_line() {
    Lab::test(|_| {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, content).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sessions");
        let recorded = |name: &str| fixtures.join(name).to_str().unwrap().to_owned();
        let activity = recorded("postgresql_csv.txt");
        let cases: &[(&str, Vec<String>, &str)] = &[
            (
                "-p5432",
                vec![recorded("redis.txt")],
                "this is CLIENT LIST of redis, not a list of postgresql: name its port with -p",
            ),
            ("-p6379", vec![activity.clone()], "pg_stat_activity of postgresql, not a list of redis"),
            ("-p5432", vec![activity.clone(), activity.clone()], "is named twice"),
            ("-p5432", vec![activity, recorded("postgresql_jsonl.txt")], "pg_stat_activity is given twice"),
            ("-p5432", vec![file("binary", b"\x7fELF\0\xff\xfe")], "line 1: a control character"),
            ("-p5432", vec![file("empty", b"")], "empty: no list came; did the client fail?"),
            (
                "-p5432",
                vec![file("table", b"Name,Size\na,1\n")],
                "columns 'name, size' ... are of no list that is known",
            ),
            ("-p5432", vec!["/nonexistent".to_owned()], "can't read /nonexistent: No such file"),
            (
                "-p6432",
                vec![recorded("postgresql_csv.txt")],
                "PgBouncer's clients are in SHOW CLIENTS and SHOW SERVERS",
            ),
            ("-p5432", vec![recorded("pgbouncer_csv.txt")], "PgBouncer's lists are of its own port"),
            ("-p5432", vec![], "'connleak sessions --how -p 5432' prints the client's command"),
            ("-p9092", vec!["--how".to_owned()], "no session list of kafka is known"),
        ];
        for (port, lists, says) in cases {
            let args: Vec<&str> = ["sessions", port].into_iter().chain(lists.iter().map(String::as_str)).collect();
            let outcome = any(&args);
            assert_eq!(
                (outcome.code, outcome.stdout.as_str(), outcome.stderr.lines().count()),
                (3, "", 1),
                "{outcome:?}"
            );
            assert!(outcome.stderr.contains(says), "{outcome:?}, not '{says}'");
        }
        // A list that never comes ends with the time.
        let pipe = dir.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let late = any(&["sessions", "-p5432", "-t1", pipe.to_str().unwrap()]);
        assert_eq!((late.code, late.stderr.as_str()), (3, "connleak: timed out after 1s; see --timeout\n"), "{late:?}");
    });
}
