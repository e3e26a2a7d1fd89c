//! What the other tests here rely on: in its lab a test is alone, is really run, and leaves nobody behind.

use crate::lab::isolated::{is_inside, run_again};
use crate::lab::run::{PATIENCE, Started, poll};
use crate::lab::{Lab, skip_test, test_name_of};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where a test that never ends says that it runs.
const HELD: &str = "CONNLEAK_TEST_HELD";

/// The names of all processes that can be seen here, and of those that ended and nobody waited for.
fn processes() -> (BTreeSet<String>, BTreeSet<String>) {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let stats = all.filter(|entry| entry.file_name().to_str().unwrap().parse::<u32>().is_ok());
    let stats = stats.map(|entry| entry.path().join("stat"));
    let (mut alive, mut ended) = (BTreeSet::new(), BTreeSet::new());
    for stat in stats.filter_map(|path| fs::read_to_string(path).ok()) {
        let Some(((_, name), rest)) =
            stat.rsplit_once(") ").and_then(|(head, rest)| Some((head.split_once(" (")?, rest)))
        else {
            continue;
        };
        if rest.starts_with('Z') {
            ended.insert(name.to_owned())
        } else {
            alive.insert(name.to_owned())
        };
    }
    (alive, ended)
}

#[test]
fn a_lab_is_alone_and_reaps_whom_nobody_waits_for() {
    Lab::test(|lab| {
        let own = std::env::current_exe().unwrap();
        let own: String = own.file_name().unwrap().to_str().unwrap().chars().take(15).collect();
        assert_eq!(processes(), (BTreeSet::from(["sh".to_owned(), own]), BTreeSet::new()));
        let interfaces = || fs::read_to_string("/proc/thread-self/net/dev").unwrap();
        for seen in [interfaces(), lab.outside(interfaces)] {
            assert!(seen.lines().skip(2).all(|line| line.trim_start().starts_with("lo:")), "{seen}");
        }
        assert!(!fs::read_to_string("/proc/self/mountinfo").unwrap().contains(" - nsfs "));
        // A daemon, whose parent ends before it: until its input does.
        let mut parent = Command::new("sh");
        parent.args(["-c", "exec 3<&0; cat <&3 &"]).stdin(Stdio::piped());
        let mut parent = parent.spawn().unwrap();
        let input = parent.stdin.take();
        parent.wait().unwrap();
        assert!(poll(PATIENCE, || processes().0.contains("cat")));
        drop(input);
        assert!(poll(PATIENCE, || {
            let (alive, ended) = processes();
            !alive.contains("cat") && ended.is_empty()
        }));
    });
}

/// Of a test within its namespaces, run from here: that it fails, and says this.
fn assert_fails(test: fn(), name: &str, said: &str) {
    match std::panic::catch_unwind(|| run_again(name)) {
        Ok(Ok(())) => panic!("{name} passes"),
        Ok(Err(why)) => skip_test(test_name_of(&test), &why),
        Err(panic) => {
            let why = panic.downcast_ref::<String>().expect("a message with the output");
            assert!(why.contains(said), "{why}");
        }
    }
}

/// The harness itself calls that a success: no test failed.
#[test]
fn a_test_that_is_not_there_fails() {
    assert_fails(a_test_that_is_not_there_fails, "no_such_test", "exit status: 0");
}

#[test]
fn a_failure_within_is_one_outside() {
    assert_fails(a_failure_within_is_one_outside, test_name_of(&fails_within), "as it must");
}

/// For the test above.
#[test]
fn fails_within() {
    assert!(!is_inside(), "as it must");
}

/// For the test below.
#[test]
fn never_ends_where_it_is_told_so() {
    let Some(held) = std::env::var_os(HELD).map(PathBuf::from) else { return };
    Lab::test(|_| {
        let daemon = Command::new("setsid").args(["sleep", "3000"]).stdin(Stdio::null()).spawn().unwrap();
        fs::write(held.with_extension("new"), fs::read_link("/proc/self/ns/pid").unwrap().to_str().unwrap()).unwrap();
        fs::rename(held.with_extension("new"), &held).unwrap();
        Started(daemon).0.wait().unwrap();
    });
}

#[test]
fn a_test_ends_with_its_harness_and_with_all_that_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let held = dir.path().join("held");
    let mut harness = Command::new(std::env::current_exe().unwrap());
    let test = test_name_of(&never_ends_where_it_is_told_so);
    harness.args(["--exact", test, "--nocapture"]).env(HELD, &held);
    harness.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut harness = Started(harness.spawn().unwrap());
    assert!(poll(PATIENCE, || held.exists() || harness.0.try_wait().unwrap().is_some()));
    if !held.exists() {
        return skip_test(test_name_of(&a_test_ends_with_its_harness_and_with_all_that_it_started), "no namespaces");
    }
    let namespace = PathBuf::from(fs::read_to_string(&held).unwrap());
    let is_in = |process: PathBuf| fs::read_link(process.join("ns/pid")).is_ok_and(|pids| pids == namespace);
    let count = || fs::read_dir(Path::new("/proc")).unwrap().flatten().filter(|entry| is_in(entry.path())).count();
    assert!(count() >= 3, "a shell, the test, and what it started: {}", count());
    drop(harness);
    assert!(poll(PATIENCE, || count() == 0), "{} live on", count());
}
