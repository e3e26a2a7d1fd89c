//! MariaDB's sessions, by the least right: processlist by the client's port, performance_schema by descriptor.

use super::pasted::{Application, Recipe, recipe, recipe_by_socket, rows, until_it_works};
use crate::integrations::python::{prepare_python, python};
use crate::lab::run::{PATIENCE, Started, as_nobody, finish, run};
use crate::lab::{ESTABLISHED, Lab};
use rustix::process::{Pid, Signal, kill_process};
use std::net::TcpStream;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Takes connections from a pool; after an error it doesn't give them back, and its transaction stays open.
const APPLICATION: &str = "\
import pymysql, socket, sys
pool = []
lost = []
def connect():
    return pymysql.connect(host='127.0.0.1', user='shop', database='shop')
def through_a_proxy():
    through = socket.create_connection(('127.0.0.1', 3306))
    through.sendall(b'PROXY TCP4 192.0.2.7 127.0.0.1 40000 3306\\r\\n')
    connection = pymysql.connect(host='127.0.0.1', user='shop', database='shop', defer_connect=True)
    connection.connect(through)
    return connection
print('ready', flush=True)
for line in sys.stdin:
    if line.startswith('SELECT proxied'):
        connection = through_a_proxy()
    else:
        connection = pool.pop() if pool else connect()
    try:
        cursor = connection.cursor()
        for statement in line.split(';'):
            cursor.execute(statement)
        connection.rollback()
        pool.append(connection)
    except pymysql.Error:
        lost.append(connection)
    print('done', flush=True)
";

struct Mariadb {
    process: Started,
    dir: TempDir,
}

impl Mariadb {
    /// `None`: skipped.
    fn start(lab: &Lab, options: &[&str]) -> Option<Mariadb> {
        let dir = tempfile::tempdir().unwrap();
        chown(dir.path(), Some(65534), Some(65534)).unwrap();
        let data = format!("--datadir={}", dir.path().join("data").display());
        // Its temporary tables are named after the pid, which another test's server has too.
        let temporary = format!("--tmpdir={}", dir.path().display());
        let quiet = |command: &mut Command| {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/").spawn()
        };
        let mut install = Command::new("mariadb-install-db");
        install.args([
            "--no-defaults",
            "--user=nobody",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            // Its rings count against the memory that all users of the host may lock.
            "--innodb-use-native-aio=0",
            &data,
            &temporary,
        ]);
        if !Path::new("/usr/sbin/mariadbd").exists() {
            lab.skip("mariadb-server is not installed");
            return None;
        }
        let installed = run(install.current_dir("/"));
        assert_eq!(installed.code, 0, "{installed:?}");
        let mut server = as_nobody(Path::new("/usr/sbin/mariadbd"));
        server.args([
            "--no-defaults",
            &data,
            &temporary,
            "--port=3306",
            "--bind-address=127.0.0.1",
            "--innodb-buffer-pool-size=8M",
            "--innodb-use-native-aio=0",
        ]);
        server.arg(format!("--socket={}", dir.path().join("sock").display())).args(options);
        let server = Mariadb { process: Started(quiet(&mut server).unwrap()), dir };
        server.sql("CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY) ENGINE=InnoDB");
        server.sql("CREATE USER shop@'%'; GRANT ALL ON shop.* TO shop@'%'");
        Some(server)
    }

    /// As its root, over its UNIX socket.
    fn sql(&self, text: &str) {
        let socket = format!("--socket={}", self.dir.path().join("sock").display());
        until_it_works("mariadb", &["--no-defaults", "-uroot", &socket, "-e", text]);
    }
}

impl Drop for Mariadb {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.process.0), Signal::TERM);
        finish(&mut self.process.0, PATIENCE);
    }
}

fn recipe_of_processlist() -> Recipe {
    recipe(3306, 0)
}

const FORGETS: &str = "INSERT INTO orders VALUES (1);SELECT total FROM orders";

#[test]
fn processlist_tells_the_transaction_that_was_left_open() {
    prepare_python();
    Lab::test(|lab| {
        let Some(python) = python(lab) else { return };
        let Some(server) = Mariadb::start(lab, &[]) else { return };
        let recipe = recipe_of_processlist();
        recipe.assert_version("mariadbd");
        server.sql(&recipe.right);
        let mut application = Application::start(&python, APPLICATION);
        application.tell("SELECT 'good work'");
        application.tell(FORGETS);
        application.tell("SELECT 'more good work'");
        let silent = TcpStream::connect("127.0.0.1:3306").unwrap();
        lab.wait_for(ESTABLISHED, 3306, 6);
        let found = recipe.json();
        let open = rows(&found, &|row| row["session"]["in_transaction"] == true);
        assert_eq!(open.len(), 1, "{found:#}");
        // Names are resolved: only the port is the connection's.
        assert_eq!(
            (&open[0]["joined_by"], &open[0]["client"]),
            (&"port".into(), &application.name().into()),
            "{found:#}"
        );
        assert!(open[0]["session"]["client"].as_str().unwrap().starts_with("localhost:"), "{found:#}");
        assert_eq!((&open[0]["session_state"], open[0]["session"]["statement"].is_null()), (&"Sleep".into(), true));
        assert!(open[0]["session"]["transaction_seconds"].as_u64().is_some_and(|age| age < 120), "{found:#}");
        let strangers = rows(&found, &|row| row["session"]["user"] == "unauthenticated user");
        assert_eq!((strangers.len(), found["joined"].as_u64()), (1, Some(3)), "{found:#}");
        let table = recipe.table();
        let first = table.lines().nth(2).unwrap();
        assert!(first.starts_with(&application.name()) && first.contains("shop"), "{table}");
        assert!(table.contains("2 sleep, of which processlist tells no statement: performance_schema does"), "{table}");
        drop(silent);
    });
}

#[test]
fn performance_schema_tells_the_last_statement_of_a_sleeping_session() {
    prepare_python();
    Lab::test(|lab| {
        let Some(python) = python(lab) else { return };
        let options = [
            "--performance-schema=ON",
            "--performance-schema-instrument=wait/io/socket/%=ON",
            "--performance-schema-consumer-events-statements-current=ON",
            // Who comes through it tells the client's address himself.
            "--proxy-protocol-networks=127.0.0.1",
            "--skip-name-resolve",
        ];
        let Some(server) = Mariadb::start(lab, &options) else { return };
        let recipe = recipe(3306, 1);
        recipe.assert_version("mariadbd");
        server.sql(&recipe.right);
        let mut application = Application::start(&python, APPLICATION);
        application.tell(FORGETS);
        application.tell("SELECT 'more good work'");
        application.tell("SELECT proxied");
        lab.wait_for(ESTABLISHED, 3306, 6);
        let found = recipe.json();
        let forgotten = rows(&found, &|row| row["session"]["statement"] == "SELECT total FROM orders");
        assert_eq!(forgotten.len(), 1, "{found:#}");
        assert_eq!(
            (&forgotten[0]["joined_by"], &forgotten[0]["session_state"]),
            (&"fd".into(), &"Sleep".into()),
            "{found:#}"
        );
        assert_eq!(forgotten[0]["client"], application.name());
        assert_eq!(forgotten[0]["session"]["fd"], forgotten[0]["server_socket"]["fd"]);
        // Over a UNIX socket only the descriptor tells.
        let socket = server.dir.path().join("sock");
        let place = format!("unix_socket='{}', user", socket.display());
        let mut local = Application::start(&python, &APPLICATION.replacen("host='127.0.0.1', user", &place, 1));
        local.tell("SELECT broken");
        let by_socket = recipe_by_socket("mysql", socket.to_str().unwrap());
        server.sql(&by_socket.right);
        let by_socket = by_socket.json();
        let lost = rows(&by_socket, &|row| row["client"] == local.name());
        assert_eq!((lost.len(), &lost[0]["joined_by"]), (1, &"fd".into()), "{by_socket:#}");
        assert!(lost[0]["session"]["statement"].as_str().is_some_and(|text| text.starts_with("SELECT broken")));
        // It asks the kernel for the address, whatever a proxy told the server.
        let proxied = rows(&found, &|row| row["session"]["statement"] == "SELECT proxied");
        assert_eq!((proxied.len(), &proxied[0]["joined_by"]), (1, &"fd".into()), "{found:#}");
        // processlist has the address that the proxy told, and no descriptor: that is said, not guessed.
        let (listed, right) = (recipe_of_processlist(), "GRANT PROCESS ON *.* TO connleak@'127.0.0.1'");
        server.sql(right);
        let found = listed.json();
        let proxied = rows(&found, &|row| row["client"] == "192.0.2.7:40000");
        assert_eq!((proxied.len(), &proxied[0]["joined_by"]), (1, &serde_json::Value::Null), "{found:#}");
        assert_eq!(proxied[0]["session_state"], "Sleep, its client is gone or behind a proxy", "{found:#}");
    });
}
