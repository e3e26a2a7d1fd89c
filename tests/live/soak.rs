//! Runs by the thousand under churn: no wrong verdict, nothing left behind, a history that stays small.
//!
//! A few seconds here; `tests/soak` gives it minutes.

use crate::lab::run::{CLOSEWAIT, Check, GROWTH, ORPHANS, hold_to_contract, run};
use crate::lab::{ESTABLISHED, Lab};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A run, its exit code, and one of its numbers.
type Expected<'a> = (Check, &'a [&'a str], i32, (&'a str, f64));

#[test]
fn runs_under_churn_stay_right_and_leave_nothing_behind() {
    Lab::test(|lab| {
        let seconds = std::env::var("SOAK_SECONDS").map_or(3, |seconds| seconds.parse().expect("SOAK_SECONDS"));
        let until = Instant::now() + Duration::from_secs(seconds);
        let _leaking = lab.leaking_server("127.0.0.1:11211", 5);
        let _connected = lab.connected("127.0.0.1:11212", 7);
        lab.wait_for(ESTABLISHED, 11212, 14);
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let (state, saved, metrics, temporary) = (path("state"), path("saved"), path("x.prom"), path("tmp"));
        fs::create_dir(&temporary).unwrap();
        let leaking = ["-p11211", "--min-age=0s", "--side=server", "-w0", "-c100", "--ratio-min-count=1000"];
        let expected: [Expected<'_>; 6] = [
            (CLOSEWAIT, &leaking, 1, ("close_wait", 5.0)),
            (CLOSEWAIT, &["-p11212", "--output-file", &metrics], 0, ("close_wait", 0.0)),
            (GROWTH, &["-p11212", "--limit=1000", "--state-dir", &state], 0, ("connections", 7.0)),
            (ORPHANS, &["-p11211", "--wait=0s", "--side=server"], 2, ("held", 5.0)),
            (ORPHANS, &["-p11213", "--wait=0s"], 0, ("orphans", 0.0)),
            (ORPHANS, &["-p11212", "--save-baseline", &saved], 0, ("orphans", 0.0)),
        ];
        let ended = AtomicBool::new(false);
        let (runs, churned) = thread::scope(|scope| {
            let churn = scope.spawn(|| churn(&ended));
            let _end = EndOnDrop(&ended);
            let mut runs = 0u32;
            while Instant::now() < until || runs == 0 {
                for (check, args, code, (label, value)) in expected {
                    let outcome = hold_to_contract(run(Command::new(check.0).args(args).env("TMPDIR", &temporary)));
                    assert_eq!(
                        (outcome.code, outcome.value(label)),
                        (code, value),
                        "run {runs}: {args:?}: {outcome:?}"
                    );
                    assert!(
                        !outcome.text().contains("anew") && !outcome.text().contains("not remembered"),
                        "{outcome:?}"
                    );
                }
                runs += 1;
            }
            ended.store(true, Ordering::SeqCst);
            (runs, churn.join().unwrap())
        });
        let history = size(Path::new(&state));
        println!(
            "{runs} rounds of {} runs, {churned} connections came and went, a history of {history} bytes",
            expected.len()
        );
        assert!(history < 2 << 20, "{history} bytes");
        assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0, "temporary files stay");
        assert_eq!(names(dir.path()), ["saved", "state", "tmp", "x.prom"]);
        let folder = fs::read_dir(&state).unwrap().next().unwrap().unwrap().path();
        assert_eq!(names(&folder), ["history.db", "history.db-shm", "history.db-wal"]);
    });
}

/// Lets the churn end also where the test fails.
struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Opens, uses and closes connections, some hundred a second, on a port of their own; returns how many.
fn churn(ended: &AtomicBool) -> u32 {
    let listener = TcpListener::bind("127.0.0.2:11311").unwrap();
    let mut made = 0;
    while !ended.load(Ordering::SeqCst) {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        // Either end may be the one that waits.
        if made % 2 == 0 {
            drop((client, server))
        } else {
            drop((server, client))
        }
        made += 1;
        // At most as many as the ports that TIME_WAIT leaves: 28,000 in 60 s.
        thread::sleep(Duration::from_millis(4));
    }
    made
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Bytes of all files below.
fn size(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| match entry.metadata().unwrap() {
            meta if meta.is_dir() => size(&entry.path()),
            meta => meta.len(),
        })
        .sum()
}
