//! watch --sessions: what a CLOSE_WAIT was, told after its service has forgotten it.

use super::pasted::{Application, recipe, until_it_works};
use crate::companion::run::{looks, wait_for_looks};
use crate::integrations::python::{prepare_python, python};
use crate::lab::run::{CONNLEAK, start};
use crate::lab::{CLOSE_WAIT, ESTABLISHED, Lab};
use crate::postgres::Postgres;
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::process::Command;

/// Takes a connection for each line and keeps it.
const APPLICATION: &str = "\
import psycopg2, sys
kept = []
print('ready', flush=True)
for line in sys.stdin:
    kept.append(psycopg2.connect(host='127.0.0.1', user='shop', dbname='postgres', application_name='shop web'))
    kept[-1].cursor().execute(line)
    print('done', flush=True)
";

fn watch(dir: &Path, command: &str) -> (std::path::PathBuf, Command) {
    let csv = dir.join("watch.csv");
    let mut watch = Command::new(CONNLEAK);
    watch.args(["watch", "-p5432", "--interval=300ms", "--csv"]).arg(&csv);
    watch.arg("--state-dir").arg(dir).args(["--sessions", command]);
    (csv, watch)
}

#[test]
fn the_last_statement_outlives_its_session() {
    prepare_python();
    Lab::test(|lab| {
        let Some(python) = python(lab) else { return };
        let Some(server) = Postgres::start(lab, 5432) else { return };
        let recipe = recipe(5432, 0);
        let psql = |sql: &str| until_it_works("psql", &["-h", "127.0.0.1", "-U", "postgres", "-qXc", sql]);
        psql("CREATE ROLE shop LOGIN");
        psql(&recipe.right);
        let mut application = Application::start(&python, APPLICATION);
        application.tell("SELECT 4711 AS forgotten");
        application.tell("SELECT 4712 AS forgotten");
        lab.wait_for(ESTABLISHED, 5432, 4);
        let dir = tempfile::tempdir().unwrap();
        // What --how prints, up to the pipe.
        let command = recipe.command.split_once(" | ").unwrap().0;
        let (csv, mut watch) = watch(dir.path(), command);
        let watch = start(&mut watch);
        wait_for_looks(&csv, 3);
        drop(server);
        lab.wait_for(CLOSE_WAIT, 5432, 2);
        wait_for_looks(&csv, looks(&csv) + 3);
        kill_process(Pid::from_child(watch.process()), Signal::TERM).unwrap();
        let shown = watch.end();
        assert_eq!((shown.code, shown.stderr.as_str()), (0, ""), "{shown:?}");
        for number in ["4711", "4712"] {
            let says = format!(
                "shop@postgres, 'shop web', idle in transaction, last statement SELECT {number} AS forgotten ("
            );
            let told = |begin: &str| {
                let is_it =
                    |line: &&str| line.contains(begin) && line.contains(&says) && line.contains(&application.name());
                shown.stdout.lines().filter(is_it).count()
            };
            assert_eq!(told("note: closed by the service and not here: "), 1, "{shown:?}");
            assert_eq!(told("left in CLOSE_WAIT: "), 1, "{shown:?}");
        }
        // Once the server is gone its client fails, and that is said.
        assert!(shown.stdout.contains("failed with exit status 2"), "{shown:?}");
    });
}

#[test]
fn a_command_that_hangs_is_ended_and_the_watch_goes_on() {
    Lab::test(|lab| {
        let _ends = lab.connected("127.0.0.1:5432", 3);
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("pid");
        let (csv, mut command) = watch(dir.path(), &format!("echo $$ > {}; sleep 600", mark.display()));
        let watching = start(command.args(["-t", "2"]));
        wait_for_looks(&csv, 2);
        kill_process(Pid::from_child(watching.process()), Signal::TERM).unwrap();
        let shown = watching.end();
        assert_eq!(shown.code, 0, "{shown:?}");
        assert!(shown.stdout.contains("did not end in ") && shown.stdout.contains(" ESTABLISHED 3 "), "{shown:?}");
        // Nothing of it is left, also of the one that ran when the watch ended.
        let pid = std::fs::read_to_string(mark).unwrap();
        let is_gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        };
        assert!(crate::lab::run::poll(crate::lab::run::PATIENCE, is_gone));
    });
}
