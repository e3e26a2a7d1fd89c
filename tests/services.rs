//! docs/services.md and docs/clients.md against the profiles, the recipes that measured them, and findings/README.md.

use serde_yaml::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What lies in tests/services and measures no row.
const NOT_ROWS: [&str; 1] = ["renew"];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|why| panic!("{name}: {why}"))
}

/// The cells of the table under a heading, without its head.
fn table(document: &str, heading: &str) -> Vec<Vec<String>> {
    let text = read(document);
    let (_, rest) = text.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("{document}: {heading}"));
    let lines = rest.split("\n## ").next().unwrap().lines().filter(|line| line.starts_with('|'));
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    lines.skip(2).map(cells).collect()
}

/// The rows by their names. Two of one name would hide each other.
fn by_name(document: &str, heading: &str) -> BTreeMap<String, Vec<String>> {
    let rows = table(document, heading);
    let width = rows[0].len();
    let mut named = BTreeMap::new();
    for row in rows {
        assert_eq!(row.len(), width, "{document}, {heading}: {row:?}");
        assert!(row.iter().all(|cell| !cell.is_empty()), "{document}, {heading}: an empty cell in {row:?}");
        assert!(named.insert(row[0].clone(), row).is_none(), "{document}, {heading}: twice the same name");
    }
    named
}

fn files(folder: &str, is_wanted: impl Fn(&Path) -> bool) -> BTreeSet<String> {
    let entries = fs::read_dir(path(folder)).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|file| is_wanted(file)).map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

fn is_program(file: &Path) -> bool {
    file.is_file() && file.metadata().unwrap().permissions().mode() & 0o111 != 0
}

fn recipes() -> BTreeSet<String> {
    let mut found = files("tests/services", is_program);
    NOT_ROWS.iter().for_each(|name| assert!(found.remove(*name), "{name}"));
    found
}

fn is_documented(row: &[String]) -> bool {
    row[1].contains("documented")
}

/// A number or word of a profile, as the table has it.
fn told(profile: &Value, keys: &[&str]) -> String {
    let value = keys.iter().try_fold(profile, |value, key| value.get(*key));
    match value {
        Some(Value::Sequence(all)) => {
            all.iter().map(|one| one.as_u64().unwrap().to_string()).collect::<Vec<_>>().join(", ")
        }
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::String(text)) => text.clone(),
        None => String::new(),
        other => panic!("{keys:?}: {other:?}"),
    }
}

fn or_none(text: String) -> String {
    if text.is_empty() { "none".to_owned() } else { text }
}

#[test]
fn profiles_have_the_numbers_of_the_page_and_it_has_every_profile() {
    let rows = by_name("docs/services.md", "Profiles");
    let names = files("thresholds", |file| file.extension().is_some_and(|end| end == "yaml"));
    assert_eq!(rows.keys().cloned().collect::<BTreeSet<_>>(), names);
    for (name, row) in rows {
        let profile: Value = serde_yaml::from_str(&read(&format!("thresholds/{name}.yaml"))).unwrap();
        let keys: [&[&str]; 5] =
            [&["ports"], &["limit"], &["close_wait", "min_age"], &["orphans", "wait"], &["idle", "min_age"]];
        let expected: Vec<_> = keys.iter().map(|keys| or_none(told(&profile, keys))).collect();
        assert_eq!(row[1..6], expected, "docs/services.md, Profiles, {name}");
    }
}

#[test]
fn profiles_rest_on_rows_that_are_there() {
    let known: BTreeSet<_> = by_name("docs/services.md", "Limits").into_keys().collect();
    for (name, row) in by_name("docs/services.md", "Profiles") {
        let rests_on: Vec<_> = row[6].split(", ").collect();
        assert!(rests_on.iter().all(|one| known.contains(*one)), "{name}: {rests_on:?}");
        let text = read(&format!("thresholds/{name}.yaml"));
        for (_, after) in text.match_indices("docs/services.md, ").map(|(at, mark)| text[at..].split_at(mark.len())) {
            let told = after.lines().next().unwrap().split([')', '.', ';']).next().unwrap();
            let told = told.split(" and ").map(str::trim);
            assert!(told.clone().all(|one| rests_on.contains(&one)), "{name}.yaml: {:?}", told.collect::<Vec<_>>());
        }
    }
}

#[test]
fn measured_rows_have_their_recipe_and_recipes_their_rows() {
    let mut measured = BTreeSet::new();
    let limits = by_name("docs/services.md", "Limits");
    for heading in ["Sockets", "What remains"] {
        let names: BTreeSet<_> = by_name("docs/services.md", heading).into_keys().collect();
        let of_limits = limits.iter().filter(|(_, row)| !is_documented(row)).map(|(name, _)| name.clone());
        assert_eq!(names, of_limits.collect(), "{heading}: its rows are the measured ones of Limits");
        measured.extend(names);
    }
    let clients = by_name("docs/clients.md", "Clients");
    measured.extend(clients.iter().filter(|(_, row)| !is_documented(row)).map(|(name, _)| name.clone()));
    assert_eq!(measured, recipes());
    for row in table("docs/clients.md", "An hour under every check") {
        assert!(clients.contains_key(&row[0]), "{row:?}");
    }
}

/// Versions in a recipe: each package with one, so that a row can be measured again.
#[test]
fn recipes_name_their_versions() {
    for name in recipes() {
        let text = read(&format!("tests/services/{name}"));
        let pins = text.contains("VERSION = \"") || text.contains("==") || text.contains('@') || text.contains("NODE");
        assert!(pins, "tests/services/{name}: no version");
        assert!(!text.contains("http://") || text.contains("127.0.0.1"), "tests/services/{name}: not loopback");
    }
}

#[test]
fn findings_are_listed_and_say_what_they_ran_on() {
    let found = files("findings", |file| file.extension().is_some_and(|end| end == "sh") && is_program(file));
    let listed: BTreeSet<_> = by_name("findings/README.md", "The findings").into_keys().collect();
    assert_eq!(listed, found);
    assert!(found.len() >= 15, "{}", found.len());
    for name in found {
        let text = read(&format!("findings/{name}.sh"));
        let comment: Vec<_> = text.lines().skip(1).take_while(|line| line.starts_with("# ")).collect();
        assert!(comment.len() >= 3 && comment.iter().any(|line| line.contains("Seen")), "{name}: what was seen");
        let packages =
            text.lines().filter(|line| ["DEBIAN=", "PYPI=", "NPM="].iter().any(|word| line.starts_with(word)));
        assert!(packages.count() > 0, "{name}: on which packages");
        assert!(text.trim_end().ends_with("done_") && text.contains("\nseen "), "{name}: it can't fail");
    }
}
