//! Ways to end: stuck inputs, and outputs that nobody reads. These need no namespace.

use crate::lab::run::{CHECK, Outcome, PATIENCE, Started, check, finish, run};
use crate::lab::{skip_test, test_name_of};
use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The table of a host without a socket: the check's own answer is OK.
fn quiet_host() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("net")).unwrap();
    let header = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
    std::fs::write(root.path().join("net/tcp"), header).unwrap();
    root
}

fn ok_command(root: &tempfile::TempDir) -> Command {
    let mut command = Command::new(CHECK);
    command.args(["-p11211", "--proc-root"]).arg(root.path()).stdin(Stdio::null());
    command
}

fn fifo(dir: &tempfile::TempDir) -> PathBuf {
    let path = dir.path().join("fifo.yaml");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}

fn assert_timed_out(outcome: &Outcome, code: i32) {
    let took = outcome.ended - outcome.started;
    assert!(took >= Duration::from_millis(900), "{took:?} {outcome:?}");
    assert_eq!((outcome.code, outcome.stdout.lines().count()), (code, 1), "{outcome:?}");
    assert!(outcome.text().starts_with("timed out after 1s"), "{outcome:?}");
}

#[test]
fn stuck_on_a_replay_ends_at_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = fifo(&dir);
    let replay = fifo.to_str().unwrap();
    assert_timed_out(&check(&["-p11211", "-t1", "--replay", replay]), 3);
    assert_timed_out(&check(&["-p11211", "-t", "1:critical", "--replay", replay]), 2);
}

#[test]
fn stuck_on_a_profile_ends_at_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    assert_timed_out(&check(&["-t", "1:warning", "-P", fifo(&dir).to_str().unwrap()]), 1);
}

#[test]
fn a_full_stdout_is_unknown() {
    let root = quiet_host();
    assert_eq!(run(&mut ok_command(&root)).code, 0, "OK while it is heard");
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut child = ok_command(&root).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let status = finish(&mut child, PATIENCE);
    assert_eq!(status.and_then(|status| status.code()), Some(3));
    assert_eq!(all_of(child.stderr.take()), "");
}

#[test]
fn a_closed_stdout_is_no_panic() {
    let root = quiet_host();
    for closed in [">&-", "2>&-", ">&- 2>&-", "<&-"] {
        let script = format!("exec \"$@\" {closed}");
        let mut sh = Command::new("sh");
        sh.args(["-c", &script, "sh", CHECK, "-p11211", "--proc-root"]).arg(root.path());
        let outcome = run(&mut sh);
        assert!(matches!(outcome.code, 0 | 3), "{closed}: {outcome:?}");
        assert_eq!(outcome.stderr, "", "{closed}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_panic() {
    let root = quiet_host();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut child = ok_command(&root).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let status = finish(&mut child, PATIENCE);
    assert_eq!(status.and_then(|status| status.code()), Some(3));
    assert_eq!(all_of(child.stderr.take()), "");
}

#[test]
fn a_reader_that_never_reads_ends_at_the_deadline() {
    let root = quiet_host();
    let (_reader, mut writer) = std::io::pipe().unwrap();
    // A pipe holds 64 KiB unless it is told otherwise.
    writer.write_all(&[b'x'; 64 * 1024]).unwrap();
    let stdout = writer.try_clone().unwrap();
    let mut patient = Started(ok_command(&root).arg("-t1h").stdout(stdout).spawn().unwrap());
    let mut child = ok_command(&root).arg("-t1").stdout(writer).spawn().unwrap();
    let status = finish(&mut child, PATIENCE);
    assert_eq!(status.and_then(|status| status.code()), Some(3));
    assert!(patient.0.try_wait().unwrap().is_none(), "its own deadline ended it, and nothing else");
}

/// On a crowded machine the reader has the CPU before the check that woke it: the deadline came between its line and its exit.
#[test]
fn the_code_is_that_of_the_line_that_was_printed() {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null"]);
    if !strace.arg("true").status().is_ok_and(|done| done.success()) {
        return skip_test(
            test_name_of(&the_code_is_that_of_the_line_that_was_printed),
            "no strace, or it may not trace",
        );
    }
    let root = quiet_host();
    let mut late = Command::new("strace");
    late.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=write", "-e", "inject=write:delay_exit=1700000", CHECK]);
    late.args(["-p11211", "-t1", "--proc-root"]).arg(root.path());
    let outcome = run(&mut late);
    assert!(outcome.code == 0 && outcome.stdout.starts_with("CLOSEWAIT OK"), "{outcome:?}");
}

fn all_of(stream: Option<impl Read>) -> String {
    let mut text = String::new();
    stream.unwrap().read_to_string(&mut text).unwrap();
    text
}
