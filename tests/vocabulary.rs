//! One vocabulary of options over all checks, with each default told, and the names that earlier versions had.

#[path = "support/help.rs"]
mod help;
#[path = "support/suite.rs"]
mod suite;

use help::{help, options};
use std::process::{Command, Stdio};
use suite::{CHECKS, CLOSEWAIT, Check, GROWTH, IDLE, ORPHANS, STATES, TENANTS};

/// Options that take a value, with what they say of it.
fn valued(check: Check) -> impl Iterator<Item = (String, String, String)> {
    options(&help(check.0, None)).into_iter().filter_map(|(synopsis, description)| {
        let long = synopsis.split(' ').find(|word| word.starts_with("--"))?.to_owned();
        let value = synopsis.rsplit(' ').next().filter(|value| !value.starts_with('-'))?.to_owned();
        Some((long, value, description))
    })
}

/// What is not typed has a value all the same, and who reads the help learns which, or that the profile has it.
#[test]
fn each_amount_tells_its_default() {
    for check in CHECKS {
        for (long, value, description) in valued(check) {
            let is_amount =
                ["RANGE", "DURATION", "N", "N|auto", "PERCENT", "SECONDS[:STATE]", "FORMAT", "SOURCE", "SIDE", "KEY"]
                    .contains(&value.as_str());
            assert!(!is_amount || description.contains("default"), "{} {long} {value}: {description}", check.name());
        }
    }
}

#[test]
fn a_word_means_the_same_in_each_check() {
    for check in CHECKS {
        let names: Vec<String> = valued(check).map(|(long, ..)| long).collect();
        let has = |name: &str| names.iter().any(|long| long == name);
        assert!(!names.iter().any(|long| long.contains("share")), "percent of something is --ratio: {names:?}");
        // What was there before the stop; what is usual at this hour is --usual.
        assert!(check == ORPHANS || !names.iter().any(|long| long.contains("baseline")), "{names:?}");
        // There --unit is the service that is watched, not a choice of sockets.
        assert!(check == ORPHANS || has("--pid") == has("--unit"), "{names:?}");
        // Without the name of a rule an age or count is that of the main number.
        let main_has_age = [CLOSEWAIT, IDLE].contains(&check);
        assert_eq!(has("--min-age"), main_has_age, "{}: {names:?}", check.name());
        for long in &names {
            for ending in ["-age", "-min-count"] {
                let Some(rule) = long.strip_suffix(ending).filter(|rule| *rule != "--min") else { continue };
                assert!(has(&format!("{rule}-warning")), "{} {long} is of no rule", check.name());
            }
        }
    }
}

fn said(check: Check, words: &[&str]) -> String {
    let dump = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/leak/dump.nl");
    let output = Command::new(check.0)
        .args(["-p11211", "--replay", dump])
        .args(words)
        .stdin(Stdio::null())
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The name of now, that of before, and a value that shows in the answer.
const RENAMED: [(Check, &str, &str, &str); 16] = [
    (CLOSEWAIT, "--ratio-warning", "--share-warning", "1"),
    (CLOSEWAIT, "--ratio-min-count", "--share-min-count", "1"),
    (CLOSEWAIT, "--min-age", "--close-wait-age", "1h"),
    (IDLE, "--ratio-warning", "--share-warning", "0"),
    (IDLE, "--ratio-critical", "--share-critical", "0"),
    (IDLE, "--ratio-min-count", "--share-min-count", "100"),
    (IDLE, "--min-age", "--idle-age", "0s"),
    (STATES, "--ratio-warning", "--share-warning", "1"),
    (STATES, "--stuck-age", "--min-age", "0s"),
    (STATES, "--usual", "--baseline", "auto"),
    (STATES, "--usual", "--baseline", "none"),
    (STATES, "--usual-warning", "--baseline-warning", "7"),
    (STATES, "--usual-critical", "--baseline-critical", "7"),
    (TENANTS, "--close-wait-age", "--min-age", "0s"),
    (TENANTS, "--outliers-min-count", "--min-count", "1"),
    (GROWTH, "--usual-warning", "--baseline-warning", "50"),
];

#[test]
fn names_of_before_are_taken_and_told() {
    for (check, now, before, value) in RENAMED {
        let [now, told] = [now, before].map(|name| (said(check, &[name, value]), said(check, &[name, "x y"])));
        assert!(!now.0.contains("unknown option") && now.0.contains(" - "), "{now:?}");
        assert_eq!(now.0, told.0, "{} {before}", check.name());
        // What is wrong is told by the name that was written.
        let written = |(_, refused): &(String, String)| refused.contains(&format!(" - {before}: "));
        assert!(written(&told) && !written(&now), "{told:?}");
        let stem = before.trim_end_matches("warning").trim_end_matches("critical").trim_end_matches("min-count");
        let help = help(check.0, None);
        let told = help.lines().skip_while(|line| !line.starts_with("Also taken: ")).take(2).collect::<String>();
        assert!(told.contains(stem.trim_end_matches('-')), "{} {before}: {help}", check.name());
    }
}

#[test]
fn a_profile_may_say_share_for_ratio() {
    let dir = tempfile::tempdir().unwrap();
    let with = |key: &str| {
        let file = dir.path().join(format!("{key}.yaml"));
        let text =
            format!("service: x\nports: [11211]\nidle: {{min_age: 0s, {key}: {{warning: \"0\", min_count: 1}}}}\n");
        std::fs::write(&file, text).unwrap();
        said(IDLE, &["-P", file.to_str().unwrap()])
    };
    assert_eq!(with("ratio"), with("share"));
    assert!(with("ratio").contains("idle_share=100%;0;"), "{}", with("ratio"));
}

/// A number may be another process's once the service has stopped.
#[test]
fn a_stop_is_watched_by_a_file_not_by_a_number() {
    let answer = said(ORPHANS, &["--pid", "1"]);
    assert!(answer.contains("unknown option '--pid'; did you mean --pid-file?"), "{answer}");
}
