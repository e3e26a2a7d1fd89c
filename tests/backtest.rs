//! `connleak backtest`: recorded series through the detector that ships, and what it refuses.

#[path = "support/help.rs"]
mod help;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

const LIMIT: usize = 100;
const STEADY: usize = 20;

fn backtest(args: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_connleak"));
    command.arg("backtest").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    let (mut pipe, input) = (child.stdin.take().unwrap(), input.to_owned());
    // Who refuses an input needs not read it to its end.
    let writer = std::thread::spawn(move || drop(pipe.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// Minutes of a service with a pool that works, rests and replaces its oldest, and leaked sockets
/// that fall silent the minute they are opened.
struct Series {
    text: String,
    minute: usize,
    /// Cookie and the minute of its last data.
    pool: Vec<(usize, usize)>,
    leaked: Vec<(usize, usize)>,
    cookies: usize,
}

impl Series {
    fn new() -> Series {
        let pool = (0..STEADY).map(|cookie| (cookie + 1, 0)).collect();
        Series { text: format!("H test 60 {LIMIT}\n"), minute: 0, pool, leaked: Vec::new(), cookies: STEADY }
    }

    /// One sample; `leaks` sockets are opened for good.
    fn minute(&mut self, leaks: usize) {
        self.minute += 1;
        let now = self.minute;
        for (at, member) in self.pool.iter_mut().enumerate() {
            // Each works nine minutes of ten, and is replaced every hour.
            if (now * 7 + at).is_multiple_of(60) {
                self.cookies += 1;
                *member = (self.cookies, now);
            } else if !(now + at).is_multiple_of(10) {
                member.1 = now;
            }
        }
        for _ in 0..leaks {
            self.cookies += 1;
            self.leaked.push((self.cookies, now));
        }
        let (sockets, text) = (self.pool.len() + self.leaked.len(), &mut self.text);
        let (wall, uptime) = (1_700_000_000 + now * 60, 5_000 + now * 60);
        writeln!(text, "S {now} {wall} {uptime} 1 9 {sockets} 0 3 0 {sockets}").unwrap();
        for (cookie, last) in self.pool.iter().chain(&self.leaked) {
            writeln!(text, "K {cookie} 5 E {}", (now - last) * 60).unwrap();
        }
        text.push_str(".\n");
    }
}

/// One answer for each sample, in order: code, and the seconds left: likely, at the earliest and at the latest.
fn answers(series: &Series) -> Vec<(u8, Option<[f64; 3]>)> {
    let output = backtest(&["--stream"], &series.text);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let answer = |(index, line): (usize, &str)| {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[0], (index + 1).to_string(), "{line}");
        let left = (words.len() > 2).then(|| [2, 3, 4].map(|field| words[field].parse().unwrap()));
        (words[1].parse().unwrap(), left)
    };
    let answers: Vec<_> = text.lines().enumerate().map(answer).collect();
    assert_eq!(answers.len(), series.minute, "one answer for each sample");
    answers
}

#[test]
fn a_healthy_pool_is_never_an_alarm() {
    let mut series = Series::new();
    (0..300).for_each(|_| series.minute(0));
    assert!(answers(&series).iter().all(|answer| *answer == (0, None)));
}

#[test]
fn a_silent_leak_is_told_before_the_limit() {
    let mut series = Series::new();
    let onset = 120;
    (0..onset).for_each(|_| series.minute(0));
    // One socket in two minutes: the 80 that are free last for 160.
    (0..150).for_each(|minute| series.minute(minute % 2));
    let answers = answers(&series);
    let first = answers.iter().position(|(code, _)| *code > 0).expect("an alarm");
    assert!((onset..onset + 80).contains(&first), "minute {first}");
    let near = answers.iter().position(|(code, _)| *code == 2).expect("20 minutes before the limit");
    assert!((onset + 90..=onset + 140).contains(&near), "minute {near}");
    for (at, (code, left)) in answers.iter().enumerate().skip(first) {
        let [likely, earliest, latest] = left.expect("a forecast");
        assert!(earliest <= likely && likely <= latest, "minute {at}: {left:?}");
        assert_eq!((*code, earliest < 1200.0), if at < near { (1, false) } else { (2, true) }, "minute {at}");
    }
    let (at, [half, earliest, latest]) = (onset + 80, answers[onset + 80].1.unwrap());
    let left = ((onset + 160 - at) * 60) as f64;
    assert!((half - left).abs() < 0.3 * left, "{half} s, wanted {left}");
    assert!(earliest < left && left < latest, "{earliest} to {latest} s, wanted {left}");
}

#[test]
fn the_same_leak_that_is_mended_ends_the_alarm() {
    let mut series = Series::new();
    (0..100).for_each(|_| series.minute(0));
    (0..60).for_each(|_| series.minute(1));
    series.leaked.clear();
    (0..30).for_each(|_| series.minute(0));
    let answers = answers(&series);
    assert_eq!(answers[159].0, 2);
    assert!(answers[161..].iter().all(|(code, _)| *code == 0), "{:?}", &answers[158..]);
}

#[test]
fn files_tell_their_story_in_lines() {
    let mut series = Series::new();
    (0..100).for_each(|_| series.minute(0));
    (0..60).for_each(|_| series.minute(1));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &series.text).unwrap();
    let output = backtest(&[file.path().to_str().unwrap()], "");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{text}");
    let name = file.path().display();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], format!("{name}: sample 1, 20 connections: learning"));
    assert_eq!(lines[1], format!("{name}: sample 5, 20 connections: steady"));
    let last = lines.last().unwrap();
    assert!(last.contains(" connections: leak in group 5 since ") && last.contains(" suspects, full in "), "{text}");
}

/// One line on standard error that says all of `says`, and exit 3.
#[track_caller]
fn assert_refused(args: &[&str], input: &str, says: &[&str]) {
    let output = backtest(args, input);
    let stderr = String::from_utf8(output.stderr).unwrap();
    let is_line = stderr.starts_with("connleak: ") && stderr.ends_with('\n') && stderr.matches('\n').count() == 1;
    assert!(output.status.code() == Some(3) && is_line, "{args:?} {input:?}: {stderr}");
    for part in says {
        assert!(stderr.contains(part), "{args:?} {input:?}: no {part:?} in {stderr}");
    }
}

#[test]
fn what_is_no_input_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    std::fs::write(file.path(), "H a 60 9\nS 1 1 1 1 1 1 1 1 1 0\n.\nrubbish\n").unwrap();
    assert_refused(&[], "", &["files, or --stream", "--help"]);
    assert_refused(&["no/such"], "", &["can't read no/such: No such file or directory\n"]);
    assert_refused(&["tests"], "", &["tests: line 1: Is a directory\n"]);
    assert_refused(&["--stream", path], "", &["files, or --stream", "--help"]);
    assert_refused(&["--steam"], "", &["--steam", "--help"]);
    assert_refused(&[path], "", &[path, "line 4: expected 'S', found 'rubbish'"]);
}

#[test]
fn a_broken_line_is_named_with_its_number() {
    let header = "H a 60 9\n";
    let sample = "S 1 1 1 1 1 1 1 1 1 1\n";
    for (input, says) in [
        ("", "line 1: expected 'H id interval limit', found the end"),
        ("S 1\n", "line 1: expected 'H', found 'S'"),
        ("H\n", "line 1: id is missing"),
        ("H a x 9\n", "line 1: interval 'x' is no valid number"),
        ("H a nan 9\n", "line 1: interval 'nan' is no valid number"),
        ("H a inf 9\n", "line 1: interval 'inf' is no valid number"),
        ("H a -60 9\n", "line 1: interval '-60' is no valid number"),
        ("H a 0 9\n", "line 1: interval and limit must be above 0"),
        ("H a 60 0\n", "line 1: interval and limit must be above 0"),
        ("H a 60 -9\n", "line 1: limit '-9' is no valid number"),
        (&format!("{header}S 1 1 nan 1 1 1 1 1 1 1\n"), "line 2: uptime 'nan' is no valid number"),
        (&format!("{header}S 1 1 1\n"), "line 2: boot is missing"),
        (&format!("{header}{sample}.\n"), "line 3: sample 1 announced 1 sockets and has 0"),
        (&format!("{header}{sample}K 1 1 E 1\n"), "line 4: sample 1 ends without its '.'"),
        (&format!("{header}{sample}K 1 1 X 1\n.\n"), "line 3: state 'X' is neither E nor W"),
        (&format!("{header}{sample}K 1 1 E inf\n.\n"), "line 3: idle 'inf' is no valid number"),
        (&format!("{header}{sample}K 1 1 E -1\n.\n"), "line 3: idle '-1' is no valid number"),
    ] {
        assert_refused(&["--stream"], input, &[says]);
    }
}

fn stdout(output: &Output) -> String {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{text} {output:?}");
    text
}

/// A history as check_conn_growth leaves it: `connections(minute)` of a limit of 100.
fn recorded(minutes: u64, connections: impl Fn(u64) -> u64) -> tempfile::TempDir {
    use connleak::history::{Group, History, Sample};
    let state = tempfile::tempdir().unwrap();
    let dir = connleak::history::state_dir::open(Some(state.path())).unwrap();
    let mut history = History::open(&dir, std::time::Duration::from_secs(30)).unwrap().history;
    for minute in 0..minutes {
        let mut sample = Sample {
            wall: 1_700_000_000_000 + minute as i64 * 60_000,
            uptime: 9_000_000 + minute * 60_000,
            boot: "b".into(),
            limit: Some(100),
            groups: vec![Group { name: "app.service".into(), count: connections(minute) }],
            ..Sample::default()
        };
        sample.counts[0] = connections(minute);
        history.record("port 4242 both", &sample, b"", 0).unwrap();
    }
    state
}

fn from_history(state: &tempfile::TempDir, more: &[&str]) -> Output {
    backtest(&[&["--from-history", "--state-dir", state.path().to_str().unwrap()], more].concat(), "")
}

#[test]
fn the_own_history_tells_when_it_would_have_paged() {
    let state = recorded(300, |minute| 20 + minute % 3 + minute.saturating_sub(60) / 4);
    let text = stdout(&from_history(&state, &["-p4242"]));
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].contains(" OK - port 4242: learning, 1 sample, 20 of 100"), "{text}");
    let leak = lines.iter().find(|line| line.contains(" leak in app.service: ")).expect(&text);
    assert!(leak.contains(" WARNING - ") || leak.contains(" CRITICAL - "), "{leak}");
    assert!(leak.contains("/min since ") && leak.contains(", full in ") && leak.contains(" of 100"), "{leak}");
    let last = lines.last().unwrap();
    assert!(last.starts_with("300 samples since ") && last.contains("it would have paged"), "{last}");
    assert!(!last.contains("paged 0 times") && last.ends_with(", by counts alone"), "{last}");
    // By other thresholds, without a leak.
    let ranges = stdout(&from_history(&state, &["-p4242", "--limit", "200", "-c", "35"]));
    assert!(
        ranges.contains(" CRITICAL - ")
            && ranges.contains(" of 200 connections, ")
            && ranges.contains("% (critical 35)"),
        "{ranges}"
    );
}

/// They name the history: without one of them that of another look would be replayed, or none.
#[test]
fn its_options_are_the_checks() {
    let synopses = |text: &str| help::options(text).into_iter().map(|(synopsis, _)| synopsis).collect::<BTreeSet<_>>();
    let here = synopses(&stdout(&backtest(&["--from-history", "--help"], "")));
    let of_check = synopses(&help::help(env!("CARGO_BIN_EXE_check_conn_growth"), None));
    assert!(here.len() > 20, "{here:?}");
    let apart: Vec<_> = here.symmetric_difference(&of_check).collect();
    // What was usual is not judged again.
    assert_eq!(apart, ["--usual-warning PERCENT"]);
}

#[test]
fn a_steady_history_would_not_have_paged() {
    let state = recorded(200, |minute| 40 + minute % 7);
    let text = stdout(&from_history(&state, &["-p", "4242"]));
    assert!(text.contains(" OK - port 4242: steady, ") && text.contains("it would have paged 0 times"), "{text}");
}

#[test]
fn a_history_that_is_not_there_is_said() {
    let state = recorded(3, |_| 4);
    for (options, says) in [
        (&["-p4243"][..], "no history of 'port 4243 both'; known are 'port 4242 both'"),
        (&["-p4242", "--side=client"], "no history of 'port 4242 client'"),
        (&[], "which service?"),
        (&["-p4242", "--limit=x"], "'x'"),
        (&["-p4242", "--bad"], "'--bad'"),
    ] {
        let args = [&["--from-history", "--state-dir", state.path().to_str().unwrap()], options].concat();
        assert_refused(&args, "", &[says]);
    }
}

/// Only the check makes a history, or puts one aside.
#[test]
fn who_reads_a_history_leaves_it_as_it_is() {
    let state = tempfile::tempdir().unwrap();
    let args = ["--from-history", "--state-dir", state.path().to_str().unwrap(), "-p4242"];
    assert_refused(&args, "", &["no history of 'port 4242 both'", "recorded nothing there", "--state-dir"]);
    assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 0);
    let dir = connleak::history::state_dir::open(Some(state.path())).unwrap();
    assert_refused(&args, "", &["recorded nothing there"]);
    std::fs::write(dir.join("history.db"), "no history").unwrap();
    assert_refused(&args, "", &["the history is not a database; remove it to begin anew"]);
    let left: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(
        (left, std::fs::read(dir.join("history.db")).unwrap()),
        (vec!["history.db".into()], b"no history".to_vec())
    );
}
