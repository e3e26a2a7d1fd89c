//! Bad input gets exit 3 and one line that names the bad token and the remedy; odd but good input
//! gets the right answer. Needs no root and no network namespace.

#[path = "../support/suite.rs"]
mod suite;

mod extra_opts;
mod growth;
mod idle;
mod options;
mod orphans;
mod output;
mod proc_roots;
mod profiles;
mod replays;
mod states;
mod tenants;
mod unix;

use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};
use suite::{CLOSEWAIT, Check};

/// A calm host: 6 ESTABLISHED and 2 CLOSE_WAIT on 11211.
const CALM: &str = "--proc-root=tests/fixtures/calm";
const REPLAY: &str = "--replay=tests/fixtures/calm/dump.nl";

fn command<S: AsRef<OsStr>>(args: &[S]) -> Command {
    CLOSEWAIT.command(args)
}

fn run<S: AsRef<OsStr>>(args: &[S]) -> Output {
    command(args).output().expect("the binary starts")
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn flaw(output: &Output, says: &[&str]) -> Option<String> {
    CLOSEWAIT.flaw(output, says)
}

fn all_refused<S: AsRef<OsStr> + std::fmt::Debug>(cases: &[(Vec<S>, &[&str])]) {
    CLOSEWAIT.all_refused(cases);
}

impl Check {
    fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(self.0);
        command.current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("NAGIOS_CONFIG_PATH");
        command.args(args).stdin(Stdio::null());
        command
    }

    /// Why an output is not the one line of a refusal that says all of `says`; `None`: it is.
    fn flaw(&self, output: &Output, says: &[&str]) -> Option<String> {
        let stdout = String::from_utf8_lossy(&output.stdout);
        if output.status.code() != Some(3) {
            return Some(format!("exit {:?}", output.status));
        }
        if !output.stderr.is_empty() {
            return Some(format!("stderr: {}", String::from_utf8_lossy(&output.stderr)));
        }
        if !stdout.starts_with(&format!("{} UNKNOWN - ", self.short().to_uppercase()))
            || !stdout.ends_with('\n')
            || stdout.matches('\n').count() != 1
        {
            return Some("not one line of UNKNOWN".to_owned());
        }
        if stdout.len() > 901 {
            return Some(format!("{} bytes", stdout.len()));
        }
        // The machine-readable part may be missing, but never doubled.
        if stdout.matches('|').count() > 1
            || stdout.chars().any(|character| character.is_control() && character != '\n')
        {
            return Some("pipes or control characters".to_owned());
        }
        says.iter().find(|part| !stdout.contains(**part)).map(|part| format!("does not say '{part}'"))
    }

    /// Runs all cases and fails with all that are wrong, not only the first.
    fn all_refused<S: AsRef<OsStr> + std::fmt::Debug>(&self, cases: &[(Vec<S>, &[&str])]) {
        assert!(!cases.is_empty());
        let mut failures = Vec::new();
        for (args, says) in cases {
            let output = self.command(args).output().expect("the binary starts");
            if let Some(flaw) = self.flaw(&output, says) {
                failures.push(format!("{args:?}: {flaw}\n    {}", String::from_utf8_lossy(&output.stdout)));
            }
        }
        assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), cases.len(), failures.join("\n"));
    }
}

/// `&["-p 0"]` as words: split at blanks, `''` is the empty word.
fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(|word| if word == "''" { String::new() } else { word.to_owned() }).collect()
}

#[test]
fn the_checker_itself_refuses() {
    let output = |args: &[&str]| run(args);
    let usage = output(&["-p", "0"]);
    assert_eq!(flaw(&usage, &["'0'"]), None);
    assert!(flaw(&usage, &["no such words"]).is_some());
    assert!(flaw(&output(&["-p", "11211", CALM]), &[]).is_some(), "exit 0 passes");
    assert!(flaw(&output(&["-h"]), &[]).is_some(), "many lines pass");
    let mut noisy = usage;
    noisy.stderr.push(b'x');
    assert!(flaw(&noisy, &[]).is_some(), "stderr passes");
}
