//! Runs the built check as a scheduler does, in bounded time, and holds every answer to the contract.

#![allow(dead_code, reason = "each test file uses a part")]

#[path = "perfdata.rs"]
pub mod perfdata;
#[path = "suite.rs"]
pub mod suite;

use perfdata::Output;
use serde_json::Value;
use std::fs::{File, Permissions};
use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Seek};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};
#[allow(unused_imports, reason = "each test file uses a part")]
pub use suite::{CLOSEWAIT, CONNLEAK, Check, GROWTH, IDLE, ORPHANS, STATES, TENANTS};

pub const CHECK: &str = CLOSEWAIT.0;

/// For what must come, however slow the machine: that it doesn't fails a test, when it does proves nothing.
pub const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub started: Instant,
    pub ended: Instant,
}

impl Outcome {
    /// The answer read strictly; its state is the exit code.
    pub fn output(&self) -> Output {
        let parse = if self.stdout.contains('|') { perfdata::parse } else { perfdata::parse_bare };
        let output = parse(&self.stdout).unwrap_or_else(|why| panic!("{why}: {self:?}"));
        assert_eq!(output.exit_code(), self.code, "{self:?}");
        output
    }

    /// The first line's text.
    pub fn text(&self) -> String {
        self.output().text
    }

    pub fn value(&self, label: &str) -> f64 {
        self.output().value(label).unwrap_or_else(|| panic!("no {label}: {self:?}"))
    }

    pub fn json(&self) -> Value {
        let json: Value = serde_json::from_str(&self.stdout).unwrap_or_else(|why| panic!("{why}: {self:?}"));
        assert_eq!(json["exit_code"], self.code, "{self:?}");
        json
    }
}

impl Check {
    /// Runs it in the calling thread's namespace.
    pub fn run(self, args: &[&str]) -> Outcome {
        hold_to_contract(run(Command::new(self.0).args(args)))
    }

    /// The same as a user without any rights.
    pub fn unprivileged(self, args: &[&str]) -> Outcome {
        // Nobody may enter the directories that lead to the built binary.
        let (_dir, copy) = public_copy(Path::new(self.0));
        hold_to_contract(run(as_nobody(&copy).args(args)))
    }

    /// The same where `/proc` hides what is in others' folders (1) or the folders too (2), or shows all (0).
    pub fn under_hidepid(self, hidepid: u8, args: &[&str]) -> Outcome {
        let (_dir, copy) = public_copy(Path::new(self.0));
        let nobody = as_nobody(&copy);
        let script = format!("mount -t proc -o hidepid={hidepid} proc /proc && exec \"$0\" \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]).arg(nobody.get_program()).args(nobody.get_args()).args(args);
        run(&mut command)
    }

    /// For a test that acts while it runs.
    pub fn start(self, args: &[&str]) -> Running {
        start(Command::new(self.0).args(args))
    }
}

/// Runs check_closewait in the calling thread's namespace.
pub fn check(args: &[&str]) -> Outcome {
    CLOSEWAIT.run(args)
}

/// The same as a user without any rights.
pub fn check_unprivileged(args: &[&str]) -> Outcome {
    CLOSEWAIT.unprivileged(args)
}

/// Runs a program without rights, in the process that the caller starts.
pub fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(program);
    command
}

/// Twelve digits for a name of the host's, as a cgroup's: the pids of two tests may be the same.
pub fn unique() -> String {
    format!("{:012x}", RandomState::new().hash_one(0) >> 16)
}

/// A copy that every user may run, gone with its directory.
pub fn public_copy(program: &Path) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap();
    let copy = dir.path().join(program.file_name().unwrap());
    // By another process: a child that another test starts meanwhile would inherit our descriptor, and
    // a file that is open for writing can't be run.
    assert!(Command::new("cp").args([program, &copy]).status().unwrap().success());
    (dir, copy)
}

pub fn hold_to_contract(outcome: Outcome) -> Outcome {
    assert_eq!(outcome.stderr, "", "{outcome:?}");
    match outcome.stdout.starts_with('{') {
        true => drop(outcome.json()),
        false => drop(outcome.output()),
    }
    outcome
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Outcome {
    start(command).end()
}

/// Starts a program. Files take its output, as a full pipe would stop it.
pub fn start(command: &mut Command) -> Running {
    let (stdout, stderr) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    command.stdin(Stdio::null()).stdout(stdout.try_clone().unwrap()).stderr(stderr.try_clone().unwrap());
    let started = Instant::now();
    let child = command.spawn().unwrap_or_else(|why| panic!("{command:?}: {why}"));
    Running { called: format!("{command:?}"), process: Started(child), stdout, stderr, started }
}

/// A program on its way; it ends with its test, also where that fails.
pub struct Running {
    called: String,
    process: Started,
    stdout: File,
    stderr: File,
    started: Instant,
}

impl Running {
    pub fn process(&self) -> &Child {
        &self.process.0
    }

    /// Waits for its end.
    pub fn end(mut self) -> Outcome {
        let status = finish(&mut self.process.0, PATIENCE);
        let status = status.unwrap_or_else(|| panic!("{}: no end in {PATIENCE:?}", self.called));
        let ended = Instant::now();
        let code = status.code().unwrap_or_else(|| panic!("{}: {status}", self.called));
        let (stdout, stderr) = (content(&mut self.stdout), content(&mut self.stderr));
        Outcome { code, stdout, stderr, started: self.started, ended }
    }
}

/// Waits for the end of a process that the caller started; kills it where that takes too long.
pub fn finish(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let mut status = None;
    let ended = poll(patience, || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    if !ended {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    status
}

/// A process that ends with its test, also where that fails.
pub struct Started(pub Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether `done` becomes true in time.
pub fn poll(patience: Duration, mut done: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + patience;
    loop {
        if done() {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
        thread::sleep(Duration::from_millis(3));
    }
}

fn content(file: &mut File) -> String {
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}
