//! The first line as schedulers keep it: below 1,023 bytes with whole performance data, the same labels whatever the
//! thresholds, and none that man pages don't tell.

#[path = "support/suite.rs"]
mod suite;

use std::path::Path;
use std::process::{Command, Stdio};
use suite::{CLOSEWAIT, Check, GROWTH, IDLE, ORPHANS, STATES, TENANTS};

/// What NRPE version 2 carries.
const LONGEST: usize = 1023;

fn first_line(check: Check, words: &str) -> String {
    let output = Command::new(check.0)
        .args(words.split_whitespace())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().lines().next().unwrap().to_owned()
}

/// The labels, each with a value and four fields.
fn labels(line: &str) -> Vec<String> {
    let Some((_, data)) = line.split_once(" | ") else { return Vec::new() };
    let whole = |metric: &str| {
        let (label, value) = metric.split_once('=').unwrap_or_else(|| panic!("{metric}: {line}"));
        assert_eq!(value.matches(';').count(), 4, "{metric} is cut: {line}");
        label.to_owned()
    };
    data.split(' ').map(whole).collect()
}

/// Of each check all options that take a range, and a look at much.
fn looks(dir: &Path) -> [(Check, String, &'static str); 6] {
    let state = dir.display();
    [
        (
            CLOSEWAIT,
            "-p 11211 --replay tests/fixtures/leak/dump.nl".into(),
            "-w RANGE -c RANGE --ratio-warning RANGE --ratio-critical RANGE",
        ),
        (
            GROWTH,
            format!("-p 11211 --limit 40 --proc-root tests/fixtures/leak --state-dir {state}"),
            "-w RANGE -c RANGE",
        ),
        (
            IDLE,
            "-p 11211 --min-age 1s --replay tests/fixtures/mixed/dump.nl".into(),
            "-w RANGE -c RANGE --never-used-warning RANGE --never-used-critical RANGE --ratio-warning RANGE --ratio-critical RANGE \
             --unread-warning RANGE --unread-critical RANGE --unsent-warning RANGE --unsent-critical RANGE",
        ),
        (
            STATES,
            "-p 11211 --replay tests/fixtures/mixed/dump.nl".into(),
            "-w RANGE -c RANGE --state ESTAB,RANGE,RANGE --state TIME_WAIT,RANGE,RANGE --state CLOSE_WAIT,RANGE,RANGE \
             --state FIN_WAIT1,RANGE,RANGE --state SYN_RECV,RANGE,RANGE --stuck-warning RANGE --queue-warning RANGE",
        ),
        (
            TENANTS,
            "-p 11211 --key peer/32 --top 0 -vvv --replay tests/fixtures/leak/dump.nl".into(),
            "-w RANGE -c RANGE --close-wait-warning RANGE --close-wait-critical RANGE --idle-warning RANGE --idle-critical RANGE",
        ),
        (ORPHANS, "-p 11211 --wait 0s --top 0 -vv --replay tests/fixtures/leak/dump.nl".into(), "-w RANGE -c RANGE"),
    ]
}

#[test]
fn labels_are_the_same_in_every_state_and_fit() {
    let dir = tempfile::tempdir().unwrap();
    for (check, look, options) in looks(dir.path()) {
        // The second run of a history knows what has changed since the first, half a second before.
        first_line(check, &look);
        if check == GROWTH {
            std::thread::sleep(std::time::Duration::from_millis(600));
        }
        let lines: Vec<String> = ["~:", "0:0", "1000000", "@0:1000000", "@0.125:123456789.5", "~:99999999999999"]
            .map(|range| first_line(check, &format!("{look} {}", options.replace("RANGE", range))))
            .into();
        let states = ["OK", "WARNING", "CRITICAL"];
        let seen = states.map(|state| lines.iter().any(|line| line.contains(&format!(" {state} - "))));
        assert!(seen.iter().filter(|seen| **seen).count() >= 2, "{lines:#?}");
        for line in &lines {
            assert!(line.len() < LONGEST, "{}: {line}", line.len());
            assert_eq!(labels(line), labels(&lines[0]), "{line}");
        }
    }
}

/// Where nothing else helps there are fewer labels, not cut ones.
#[test]
fn the_longest_thresholds_cut_no_number() {
    let dir = tempfile::tempdir().unwrap();
    let nines = "9".repeat(300);
    for (check, look, options) in looks(dir.path()) {
        let line = first_line(check, &format!("{look} {}", options.replace("RANGE", &nines)));
        assert!(line.len() < LONGEST, "{}: {line}", line.len());
        assert!(!labels(&line).is_empty(), "{line}");
    }
}

/// Each label stands in the page; what is missing where the kernel tells less is said there to be left out.
#[test]
fn man_pages_tell_each_label_and_which_may_be_left_out() {
    let dir = tempfile::tempdir().unwrap();
    for (check, look, _) in looks(dir.path()) {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("man/{}.1", check.name()));
        let page = std::fs::read_to_string(page).unwrap();
        let output = &page[page.find(".SH OUTPUT").unwrap()..];
        let all = labels(&first_line(check, &look));
        let said = |label: &str| {
            output.split(|sign: char| !sign.is_ascii_alphanumeric() && sign != '_').any(|word| word == label)
        };
        for label in all.iter().filter(|label| !label.starts_with("tenant_")) {
            assert!(said(label), "{}: {label} is told nowhere", check.name());
        }
        let least = match check {
            CLOSEWAIT | TENANTS | ORPHANS => look.replace("--replay", "--proc-root").replace("/dump.nl", ""),
            GROWTH => look.replace("--limit 40", "").replace("-p 11211", "-p 4711"),
            _ => look.replace("--replay", "--proc-root").replace("/dump.nl", ""),
        };
        let line = first_line(check, &least);
        let lacks: Vec<_> = all.iter().filter(|label| !labels(&line).contains(label)).collect();
        assert!(lacks.is_empty() || output.contains("left out"), "{}: {lacks:?}", check.name());
    }
}
