//! What a history is kept under: each host and network namespace has its own, and an older one is carried over.

use crate::lab::Lab;
use crate::lab::run::{GROWTH, Outcome};
use connleak::history::{History, Sample, series, state_dir};
use std::path::Path;
use std::time::Duration;

const PORT: &str = "-p27801";

fn look(dir: &Path, more: &[&str]) -> Outcome {
    GROWTH.run(&[&[PORT, "--limit=1000", "--state-dir", dir.to_str().unwrap()], more].concat())
}

/// What is recorded, with the number of runs.
fn runs(dir: &Path) -> Vec<(String, u64)> {
    let own = state_dir::open(Some(dir)).unwrap();
    let history = History::open(&own, Duration::from_secs(9)).unwrap().history;
    let runs = |key: String| (history.peek(&key).unwrap().runs, key);
    history.services().unwrap().into_iter().map(runs).map(|(runs, key)| (key, runs)).collect()
}

#[test]
fn two_namespaces_share_a_state_directory_and_no_history() {
    Lab::test(|lab| {
        let (_dir, server) = (tempfile::tempdir().unwrap(), lab.connected("127.0.0.1:27801", 3));
        let dir = _dir.path();
        assert!(look(dir, &[]).text().contains("learning, 1 sample"));
        let elsewhere = lab.outside(|| look(dir, &[]));
        assert!(elsewhere.text().contains("learning, 1 sample"), "{elsewhere:?}");
        // The same as without --netns.
        look(dir, &["--netns=self"]);
        let runs = runs(dir);
        assert!(runs.iter().all(|(key, _)| series::name(key) == "port 27801 both"), "{runs:?}");
        let mut counts: Vec<u64> = runs.iter().map(|(_, runs)| *runs).collect();
        counts.sort_unstable();
        assert_eq!(counts, [1, 2], "{runs:?}");
        drop(server);
    });
}

#[test]
fn the_history_of_an_earlier_version_is_carried_over_once() {
    Lab::test(|lab| {
        let (_dir, server) = (tempfile::tempdir().unwrap(), lab.connected("127.0.0.1:27801", 3));
        let dir = _dir.path();
        {
            let own = state_dir::open(Some(dir)).unwrap();
            let mut history = History::open(&own, Duration::from_secs(9)).unwrap().history;
            history.record("port 27801 both", &Sample::default(), b"", 0).unwrap();
        }
        look(dir, &[]);
        let runs = runs(dir);
        assert!(runs.len() == 1 && runs[0].0.starts_with("port 27801 both on host "), "{runs:?}");
        assert_eq!(runs[0].1, 2);
        drop(server);
    });
}

/// As a build left it whose detector's state this one can't read, after a run that told of a leak.
fn becomes_of_another_version(dir: &Path) {
    let own = state_dir::open(Some(dir)).unwrap();
    let mut history = History::open(&own, Duration::from_secs(9)).unwrap().history;
    let key = history.services().unwrap().remove(0);
    let last = history.samples(&key, Duration::ZERO).unwrap().remove(0).sample;
    history.record(&key, &Sample { leak: true, uptime: last.uptime + 1, ..last }, b"other", 1).unwrap();
}

#[test]
fn a_leak_that_another_version_told_of_is_open_until_it_was_given_back() {
    Lab::test(|lab| {
        let (_dir, mut ends) = (tempfile::tempdir().unwrap(), lab.connected("127.0.0.1:27801", 40));
        let dir = _dir.path();
        look(dir, &[]);
        becomes_of_another_version(dir);
        for _ in 0..3 {
            let seen = look(dir, &[]);
            assert_eq!(seen.code, 3, "{seen:?}");
            assert!(seen.text().contains("the leak that runs of another version told of may go on"), "{seen:?}");
        }
        ends.1.say("close c");
        ends.0.say("close s");
        let seen = look(dir, &[]);
        assert_eq!(seen.code, 0, "{seen:?}");
        assert_eq!(look(dir, &[]).code, 0);
    });
}
