//! Runs by the thousand under churn: no wrong verdict, nothing left behind, a history that stays small.
//!
//! A few rounds here; `tests/soak` gives it 20,000, with the checks as they are shipped.

use crate::host::churn::{EndOnDrop, come_and_go};
use crate::lab::run::{CLOSEWAIT, Check, GROWTH, IDLE, ORPHANS, STATES, TENANTS, hold_to_contract, run};
use crate::lab::{ESTABLISHED, Lab};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// At once; each waits most of its time for its child's end.
const WORKERS: usize = 4;

/// What a run is given, its exit code, and one of its numbers.
type Case<'a> = (&'a [&'a str], i32, (&'a str, f64));

#[test]
fn runs_under_churn_stay_right_and_leave_nothing_behind() {
    Lab::test(|lab| {
        let rounds = number("SOAK_ROUNDS").unwrap_or(25).div_ceil(WORKERS);
        let until = Instant::now() + Duration::from_secs(number("SOAK_SECONDS").unwrap_or(60) as u64);
        let _leaking = lab.leaking_server("127.0.0.1:11211", 5);
        let _connected = lab.connected("127.0.0.1:11212", 7);
        lab.wait_for(ESTABLISHED, 11212, 14);
        let dir = tempfile::tempdir().unwrap();
        let folders: Vec<_> = (0..WORKERS).map(|worker| dir.path().join(worker.to_string())).collect();
        let ended = AtomicBool::new(false);
        let goes_on = |round| round < rounds && Instant::now() < until;
        let (done, churned) = thread::scope(|scope| {
            let churn = scope.spawn(|| churn(&ended));
            let _end = EndOnDrop(&ended);
            let workers: Vec<_> = folders.iter().map(|folder| scope.spawn(|| work(folder, goes_on))).collect();
            let done: usize = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
            ended.store(true, Ordering::SeqCst);
            (done, churn.join().unwrap())
        });
        let histories: Vec<_> = folders.iter().map(|folder| bytes(&folder.join("state"))).collect();
        println!("{done} runs of each check, {churned} connections came and went, histories of {histories:?} bytes");
        assert!(histories.iter().all(|history| *history < 2 << 20), "{histories:?}");
        for folder in folders {
            assert_eq!(names(&folder), ["saved", "state", "tmp", "x.prom"]);
            assert_eq!(fs::read_dir(folder.join("tmp")).unwrap().count(), 0, "temporary files stay");
            let state = fs::read_dir(folder.join("state")).unwrap().next().unwrap().unwrap().path();
            // Beside the history the processes that check_conn_growth met.
            let (processes, history): (Vec<_>, Vec<_>) =
                names(&state).into_iter().partition(|name| name.ends_with(".bin"));
            assert_eq!(history, ["history.db", "history.db-shm", "history.db-wal"]);
            assert_eq!(processes.len(), 1, "{processes:?}");
        }
    });
}

/// Rounds, each of which runs every check once, with one of its cases in turn: until each case was run, and
/// then as long as it `goes_on`. Returns how many.
fn work(folder: &Path, goes_on: impl Fn(usize) -> bool) -> usize {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (state, saved, metrics, temporary) = (path("state"), path("saved"), path("x.prom"), path("tmp"));
    fs::create_dir_all(&temporary).unwrap();
    let leaking = ["-p11211", "--min-age=0s", "--side=server", "-w0", "-c100", "--ratio-min-count=1000"];
    let by_share = ["-p11212", "--side=server", "--key=user", "--limit=10", "-w50", "-c80"];
    let checks: [(Check, &[Case<'_>]); 6] = [
        (
            CLOSEWAIT,
            &[(&leaking, 1, ("close_wait", 5.0)), (&["-p11212", "--output-file", &metrics], 0, ("close_wait", 0.0))],
        ),
        (GROWTH, &[(&["-p11212", "--limit=1000", "--state-dir", &state], 0, ("connections", 7.0))]),
        (
            ORPHANS,
            &[
                (&["-p11211", "--wait=0s", "--side=server"], 2, ("held", 5.0)),
                (&["-p11213", "--wait=0s"], 0, ("orphans", 0.0)),
                (&["-p11212", "--save-baseline", &saved], 0, ("orphans", 0.0)),
            ],
        ),
        (
            STATES,
            &[
                (&["-p11211", "--side=server", "--state=close_wait:4:"], 1, ("close_wait", 5.0)),
                (&["-p11212", "--side=server"], 0, ("established", 7.0)),
            ],
        ),
        (
            IDLE,
            &[
                (&["-p11212", "--side=server", "--min-age=0s", "-w0", "-c6"], 2, ("idle", 7.0)),
                (&["-p11212", "--side=server"], 0, ("idle", 0.0)),
            ],
        ),
        (TENANTS, &[(&by_share, 1, ("share_max", 70.0))]),
    ];
    let cases = checks.iter().map(|(_, cases)| cases.len()).max().unwrap();
    let mut round = 0;
    while round < cases || goes_on(round) {
        for (check, cases) in checks {
            let (args, code, (label, value)) = cases[round % cases.len()];
            let outcome = hold_to_contract(run(Command::new(shipped(check)).args(args).env("TMPDIR", &temporary)));
            assert_eq!((outcome.code, outcome.value(label)), (code, value), "round {round}: {args:?}: {outcome:?}");
            let text = outcome.text();
            assert!(!text.contains("anew") && !text.contains("not remembered"), "{outcome:?}");
        }
        round += 1;
    }
    round
}

/// The check in the folder `SOAK_CHECKS`, where that is given.
fn shipped(check: Check) -> PathBuf {
    let built = Path::new(check.0);
    std::env::var_os("SOAK_CHECKS").map_or(built.to_owned(), |dir| Path::new(&dir).join(built.file_name().unwrap()))
}

fn number(name: &str) -> Option<usize> {
    std::env::var(name).ok().map(|number| number.parse().unwrap_or_else(|_| panic!("{name}: {number}")))
}

/// Opens, uses and closes connections, some hundred a second, on a port of their own; returns how many.
fn churn(ended: &AtomicBool) -> u32 {
    let listener = TcpListener::bind("127.0.0.2:11311").unwrap();
    let mut made = 0;
    while !ended.load(Ordering::SeqCst) {
        come_and_go(&listener, made);
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
fn bytes(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| match entry.metadata().unwrap() {
            meta if meta.is_dir() => bytes(&entry.path()),
            meta => meta.len(),
        })
        .sum()
}
