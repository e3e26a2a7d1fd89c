//! A PostgreSQL on loopback, as a user without rights and with data of its own. It ends with its test.

use crate::lab::Lab;
use crate::lab::run::{PATIENCE, Started, as_nobody, finish, poll};
use rustix::process::{Pid, Signal, kill_process};
use std::net::TcpStream;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

pub struct Postgres {
    process: Started,
    dir: TempDir,
}

impl Postgres {
    /// `None`: skipped. Whoever connects from here as `postgres` is let in.
    pub fn start(lab: &Lab, port: u16) -> Option<Postgres> {
        let Some(programs) = programs() else {
            lab.skip("postgresql is not installed");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        chown(dir.path(), Some(65534), Some(65534)).unwrap();
        let data = dir.path().join("data");
        let mut initdb = run(&programs.join("initdb"), &data);
        let made = Started(initdb.args(["-A", "trust", "-U", "postgres", "--no-sync", "--locale=C"]).spawn().unwrap());
        let mut made = made;
        let status = finish(&mut made.0, PATIENCE);
        assert!(status.is_some_and(|status| status.success()), "initdb: {status:?}");
        let mut server = run(&programs.join("postgres"), &data);
        server.args([
            "-h",
            "127.0.0.1",
            "-p",
            &port.to_string(),
            "-F",
            "-c",
            "shared_buffers=1MB",
            "-c",
            "max_connections=200",
        ]);
        server.arg("-k").arg(dir.path());
        let server = Postgres { process: Started(server.spawn().unwrap()), dir };
        let listens = poll(PATIENCE, || TcpStream::connect(("127.0.0.1", port)).is_ok());
        assert!(listens, "postgres doesn't listen");
        Some(server)
    }

    /// Where its UNIX socket is.
    pub fn socket_dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }
}

impl Drop for Postgres {
    /// A fast shutdown gives back its shared memory.
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.process.0), Signal::INT);
        finish(&mut self.process.0, Duration::from_secs(10));
    }
}

/// Where Debian keeps them, or the search path leads to.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok().into_iter().flatten().flatten();
    let installed = versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").exists());
    let paths = std::env::var_os("PATH").unwrap_or_default();
    installed.max().or_else(|| std::env::split_paths(&paths).find(|bin| bin.join("initdb").exists()))
}

fn run(program: &Path, data: &Path) -> Command {
    let mut command = as_nobody(program);
    command.arg("-D").arg(data).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.current_dir("/").env("HOME", "/");
    command
}
