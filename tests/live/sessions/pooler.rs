//! PgBouncer: from the client's process through the pooler to the backend's statement, in two steps.

use super::pasted::{Application, Recipe, recipe, rows, until_it_works};
use crate::integrations::python::{prepare_python, python};
use crate::lab::run::{Started, as_nobody};
use crate::lab::{ESTABLISHED, Lab};
use crate::postgres::Postgres;
use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Stdio;
use tempfile::TempDir;

const APPLICATION: &str = "\
import psycopg2.pool, sys
pool = psycopg2.pool.ThreadedConnectionPool(1, 20, host='127.0.0.1', port=6432, user='shop', dbname='shop')
print('ready', flush=True)
for line in sys.stdin:
    connection = pool.getconn()
    try:
        connection.cursor().execute(line)
        connection.rollback()
        pool.putconn(connection)
    except psycopg2.Error:
        pass
    print('done', flush=True)
";

/// `None`: skipped.
fn pgbouncer(lab: &Lab) -> Option<(Started, TempDir)> {
    let program = Path::new("/usr/sbin/pgbouncer");
    if !program.exists() {
        lab.skip("pgbouncer is not installed");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    chown(dir.path(), Some(65534), Some(65534)).unwrap();
    let (ini, users) = (dir.path().join("pgbouncer.ini"), dir.path().join("users.txt"));
    fs::write(&users, "\"shop\" \"\"\n\"connleak\" \"\"\n").unwrap();
    let settings = format!(
        "[databases]\nshop = host=127.0.0.1 port=5432 dbname=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
         listen_port = 6432\nauth_type = trust\nauth_file = {}\nunix_socket_dir =\npool_mode = session\n\
         stats_users = connleak\n",
        users.display()
    );
    fs::write(&ini, settings).unwrap();
    let mut command = as_nobody(program);
    command.arg(&ini).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Some((Started(command.spawn().unwrap()), dir))
}

#[test]
fn the_backends_statement_is_the_pooled_clients() {
    prepare_python();
    Lab::test(|lab| {
        let Some(python) = python(lab) else { return };
        let Some(_server) = Postgres::start(lab, 5432) else { return };
        let recipe = recipe(6432, 0);
        recipe.assert_version("/usr/sbin/pgbouncer");
        let psql = |sql: &str| until_it_works("psql", &["-h", "127.0.0.1", "-U", "postgres", "-qXc", sql]);
        psql("CREATE ROLE shop LOGIN");
        psql(recipe.right.split_once(": ").unwrap().1);
        let Some(_pooler) = pgbouncer(lab) else { return };
        until_it_works("psql", &["-h", "127.0.0.1", "-p", "6432", "-U", "shop", "-qXc", "SELECT 1", "shop"]);
        let mut application = Application::start(&python, APPLICATION);
        application.tell("SELECT 1/0 AS pooled");
        application.tell("SELECT 'good work'");
        lab.wait_for(ESTABLISHED, 6432, 4);
        let found = recipe.json();
        let aborted = rows(&found, &|row| row["behind"]["in_transaction"] == true);
        assert_eq!(aborted.len(), 1, "{found:#}");
        let row = aborted[0];
        assert_eq!((&row["client"], &row["joined_by"]), (&application.name().into(), &"address".into()), "{row:#}");
        assert_eq!((&row["session"]["database"], &row["behind"]["database"]), (&"shop".into(), &"postgres".into()));
        assert_eq!(row["behind"]["statement"].as_str().map(str::trim), Some("SELECT 1/0 AS pooled"), "{row:#}");
        let table = recipe.table();
        let first = table.lines().nth(2).unwrap();
        assert!(first.starts_with(&application.name()) && first.ends_with("SELECT 1/0 AS pooled"), "{table}");
        // Without PostgreSQL's list the pooler's own half is told, and what is missing.
        let (clients, _) = recipe.command.split_once(" <(psql -h 127.0.0.1 -p 5432").unwrap();
        let half = Recipe { command: clients.to_owned(), ..recipe };
        let table = half.table();
        assert!(table.contains("pooler: active"), "{table}");
        assert!(table.contains("note: 2 clients have a server whose statement is PostgreSQL's to tell"), "{table}");
    });
}
