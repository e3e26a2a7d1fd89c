//! A MariaDB of the test's own, for programs that keep what they know in one.

use crate::integrations::daemon::{Daemon, tool};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub struct Database {
    dir: PathBuf,
    _server: Daemon,
}

impl Database {
    /// An empty one on 127.0.0.1:3306, in a directory that everyone may enter; `name` is its only database, and its user.
    pub fn start(dir: &Path, name: &str, charset: &str) -> Database {
        let data = dir.join("data");
        let install = ["--no-defaults", "--user=mysql", "--auth-root-authentication-method=normal", "--skip-test-db"];
        let mut command = Command::new("mariadb-install-db");
        tool(command.args(install).arg(format!("--datadir={}", data.display()))).unwrap_or_else(|why| panic!("{why}"));
        let mut server = Command::new("mariadbd");
        server.args(["--no-defaults", "--user=mysql", "--bind-address=127.0.0.1", "--innodb-buffer-pool-size=16M"]);
        // It is thrown away: nothing need be on the disk.
        server.args(["--innodb-flush-log-at-trx-commit=0", "--skip-innodb-doublewrite"]);
        server.arg(format!("--datadir={}", data.display())).arg(format!("--socket={}", data.join("socket").display()));
        server.arg(format!("--pid-file={}", data.join("pid").display()));
        let mut server = Daemon::start(&mut server, dir.join("database.log"));
        let socket = data.join("socket");
        server.until("database", || socket.exists().then_some(()));
        let database = Database { dir: dir.to_owned(), _server: server };
        database.query(&format!("create database {name} {charset}"));
        database.query(&format!("create user {name}@'%' identified by 'x'"));
        database.query(&format!("grant all on {name}.* to {name}@'%'"));
        database
    }

    fn client(&self) -> Command {
        let mut client = Command::new("mariadb");
        client.args(["--no-defaults", "-uroot", "-N", "-r"]);
        client.arg(format!("--socket={}", self.dir.join("data/socket").display()));
        client
    }

    pub fn query(&self, statement: &str) -> String {
        tool(self.client().args(["-e", statement])).unwrap_or_else(|why| panic!("{statement}: {why}"))
    }

    /// Runs what a shell command prints.
    pub fn load(&self, name: &str, printer: &str) {
        let mut printer = Command::new("sh").args(["-c", printer]).stdout(Stdio::piped()).spawn().unwrap();
        let output = self.client().arg(name).stdin(printer.stdout.take().unwrap()).output().unwrap();
        assert!(output.status.success() && printer.wait().unwrap().success(), "{output:?}");
    }
}
