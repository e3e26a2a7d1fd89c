//! Real servers and client libraries, recorded for half an hour each, through the verdicts that ship: no alarm of a
//! healthy pair, and each leak found, its process named. README.md tells the format and how to record anew.

mod dump;
mod known;
mod reading;
mod verdicts;

use known::{FALSE_ALARMS, MISSED};
use reading::Recording;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use verdicts::Alarm;

/// By name.
fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded/series");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|file| file.extension().is_some_and(|end| end == "gz")).collect();
    files.sort();
    files
}

/// The recordings with what the checks say of each.
fn all(is_leaking: bool) -> Vec<(Recording, Vec<Alarm>)> {
    let (queue, done) = (Mutex::new(files()), Mutex::new(Vec::new()));
    let work = || {
        while let Some(file) = { queue.lock().unwrap().pop() } {
            let recording = Recording::read(&file);
            if recording.is_leaking() == is_leaking {
                let alarms = verdicts::alarms(&recording);
                done.lock().unwrap().push((recording, alarms));
            }
        }
    };
    std::thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(work))));
    let mut done = done.into_inner().unwrap();
    done.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
    done
}

/// Fails where `found` and what is known to fail are not the same, each with its reason.
#[track_caller]
fn assert_known(found: &BTreeSet<String>, known: &BTreeSet<String>, details: &str) {
    let anew: Vec<_> = found.difference(known).collect();
    let mended: Vec<_> = known.difference(found).collect();
    assert!(anew.is_empty(), "{anew:?}:\n{details}");
    assert!(mended.is_empty(), "no longer so, take them out of known.rs: {mended:?}\n{details}");
}

#[test]
fn healthy_pairs_give_no_alarm() {
    let pairs = all(false);
    assert!(pairs.len() >= 12, "{}", pairs.len());
    let each = pairs.iter().flat_map(|(pair, alarms)| alarms.iter().map(move |alarm| (pair, alarm)));
    let found = each.clone().map(|(pair, alarm)| format!("{} {}", pair.name, alarm.check)).collect();
    let details: Vec<_> = each.map(|(pair, alarm)| format!("{}: {alarm}", pair.name)).collect();
    let known = FALSE_ALARMS.iter().map(|(pair, check, _)| format!("{pair} {check}")).collect();
    assert_known(&found, &known, &details.join("\n"));
}

#[test]
fn each_leak_is_found_and_its_process_named() {
    let pairs = all(true);
    assert!(pairs.len() >= 12, "{}", pairs.len());
    let (mut missed, mut details) = (BTreeSet::new(), Vec::new());
    for (pair, alarms) in &pairs {
        let onset: i64 = pair.head["onset"].parse().unwrap();
        details.extend(alarms.iter().map(|alarm| format!("{}: {alarm}", pair.name)));
        let early = alarms.iter().find(|alarm| alarm.at < onset);
        assert!(early.is_none(), "{} before its leak: {}", pair.name, early.unwrap());
        if !alarms.iter().any(|alarm| alarm.state < 3 && alarm.names_culprit) {
            missed.insert(pair.name.clone());
        }
    }
    let known = MISSED.iter().map(|(pair, _)| (*pair).to_owned()).collect();
    assert_known(&missed, &known, &details.join("\n"));
}

#[test]
fn the_page_has_every_recording() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("docs/clients.md")).unwrap();
    let (_, table) = text.split_once("\n## Recorded\n").unwrap();
    let told: Vec<_> = table.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()).collect();
    let mut files: Vec<_> = files().iter().map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    files.sort();
    assert_eq!(told[..2], ["pair", "---"]);
    assert_eq!(told[2..], files);
}
