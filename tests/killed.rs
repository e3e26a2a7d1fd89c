//! Checks ended by force at any point: what was said is kept, what is kept is whole.

#[path = "support/dice.rs"]
mod dice;
#[path = "support/run.rs"]
mod run;

use connleak::history::History;
use connleak::service::baseline::Content;
use dice::Dice;
use run::{GROWTH, ORPHANS, PATIENCE, finish};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

const KILLS: u32 = 500;
const ALL: Duration = Duration::from_secs(1_000_000);

/// Ends runs at random points.
struct Killer {
    dice: Dice,
    /// About twice what a run takes: it follows how busy the machine is.
    longest: Duration,
}

impl Killer {
    fn new() -> Killer {
        let seed = u64::from(std::process::id());
        println!("seed {seed}");
        Killer { dice: Dice(seed), longest: Duration::from_millis(20) }
    }

    /// Starts a run and kills it; returns what it had said, if anything.
    fn kill(&mut self, command: &mut Command) -> Option<String> {
        let said = tempfile::NamedTempFile::new().unwrap();
        let mut child = command.stdout(said.reopen().unwrap()).stderr(Stdio::null()).spawn().unwrap();
        sleep(self.longest * (self.dice.roll() % 100) as u32 / 100);
        // As the kernel does when short of memory, or a scheduler out of patience.
        let signal = if self.dice.roll().is_multiple_of(4) { Signal::TERM } else { Signal::KILL };
        let _ = kill_process(Pid::from_child(&child), signal);
        assert!(finish(&mut child, PATIENCE).is_some());
        let said = fs::read_to_string(said.path()).ok().filter(|text| !text.is_empty());
        self.longest = self.longest * if said.is_some() { 95 } else { 105 } / 100;
        said
    }
}

/// What a scheduler starts each minute.
fn growth(state: &Path) -> Command {
    let mut command = Command::new(GROWTH.0);
    command.args(["-p11211", "--proc-root=tests/fixtures/calm", "--state-dir"]).arg(state);
    command
}

/// Runs in the history that a scheduler's check keeps.
fn runs(state: &Path) -> u64 {
    let Ok(opened) = History::open(&state.join(geteuid().as_raw().to_string()), PATIENCE) else { return 0 };
    assert_eq!(opened.aside, None);
    let services = opened.history.services().unwrap();
    let of = |service: &String| opened.history.samples(service, ALL).unwrap().len() as u64;
    services.iter().map(of).sum()
}

#[test]
fn five_hundred_kills_lose_no_run_of_the_history_that_was_told() {
    let (mut killer, mut told, mut untold) = (Killer::new(), 0, 0);
    // A new history now and then: kills hit its making too.
    for _ in 0..KILLS / 50 {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path();
        let mut check = growth(state);
        let mut before = 0;
        for _ in 0..50 {
            let said = killer.kill(&mut check);
            let now = runs(state);
            match said {
                Some(line) => {
                    assert!(line.ends_with('\n') && !line.contains("not remembered"), "{line}");
                    assert_eq!(now, before + 1, "{line}");
                    told += 1;
                }
                None => {
                    assert!(now == before || now == before + 1, "{now} after {before}");
                    untold += now - before;
                }
            }
            before = now;
        }
        let outcome = run::run(&mut check);
        assert_eq!((outcome.code, runs(state)), (0, before + 1), "{outcome:?}");
    }
    println!("{told} told, {untold} stored but not told");
    assert!((50..450).contains(&told), "{told}: the kills came too early or too late to show anything");
}

#[test]
fn five_hundred_kills_leave_a_whole_baseline() {
    let (mut killer, dir) = (Killer::new(), tempfile::tempdir().unwrap());
    let path = dir.path().join("baseline");
    let mut check = Command::new(ORPHANS.0);
    check.args(["-p11211", "--proc-root=tests/fixtures/calm", "--save-baseline"]).arg(&path);
    assert_eq!(run::run(&mut check).code, 0);
    // By the file that has the name: what it holds is the same each time.
    let identity = || fs::metadata(&path).unwrap().ino();
    let (mut told, mut before) = (0, identity());
    for _ in 0..KILLS {
        let said = killer.kill(&mut check);
        let content = Content::parse(&fs::read_to_string(&path).unwrap());
        assert!(content.is_ok(), "{content:?}");
        if let Some(line) = said {
            assert!(line.contains("saved to") && identity() != before, "{line}");
            told += 1;
        }
        before = identity();
    }
    println!("{told} told");
    assert!((50..450).contains(&told), "{told}: the kills came too early or too late to show anything");
    let left = fs::read_dir(dir.path()).unwrap().count() - 1;
    assert!(left < 50, "{left} temporary files");
    let judged =
        ORPHANS.run(&["-p11211", "--proc-root=tests/fixtures/calm", "--wait=0s", "--baseline", path.to_str().unwrap()]);
    assert_eq!((judged.code, judged.value("new")), (2, 0.0), "{judged:?}");
}
