//! The house rules that the compiler doesn't hold: arrows never turn back, the core does no I/O,
//! files stay small, nothing from outside is unwrapped, nothing is unsafe.

use std::fs;
use std::path::Path;

/// Every module of src/, from the ground up: each may use those before it. Files below a module's
/// folder belong to it.
const LAYERS: [&str; 54] = [
    "error",
    "deadline",
    "rights",
    "confine",
    "understudy",
    "settle",
    "stat",
    "bounded",
    "whole",
    "boot",
    "state_dir",
    "duration",
    "history",
    "stop_command",
    "range",
    "local_time",
    "socket",
    "verdict",
    "user",
    "cgroup",
    "world",
    "netns",
    "source",
    "limit",
    "owner",
    "unit",
    "lifecycle",
    "select",
    "trend",
    "pool",
    "memory",
    "footprint",
    "tally",
    "tenant",
    "profile",
    "report",
    "batch",
    "baseline",
    "extra_opts",
    "args",
    "blame",
    "idle",
    "mix",
    "growth",
    "service",
    "sighting",
    "holders",
    "ghosts",
    "tenancy",
    "remains",
    "aftermath",
    "help",
    "run",
    "lib",
];

/// Files that do no I/O and read no clock.
const PURE: [&str; 45] = [
    "src/socket.rs",
    "src/stat.rs",
    "src/history/sample.rs",
    "src/trend.rs",
    "src/trend/alarm.rs",
    "src/trend/backstop.rs",
    "src/trend/clock.rs",
    "src/trend/cohort.rs",
    "src/trend/forecast.rs",
    "src/trend/habits.rs",
    "src/trend/histogram.rs",
    "src/trend/sample.rs",
    "src/trend/scene.rs",
    "src/trend/series.rs",
    "src/trend/survivors.rs",
    "src/trend/table.rs",
    "src/memory.rs",
    "src/growth.rs",
    "src/select.rs",
    "src/tally.rs",
    "src/tenancy/census.rs",
    "src/tenancy/label.rs",
    "src/tenancy/outlier.rs",
    "src/tenancy/whose.rs",
    "src/mix.rs",
    "src/mix/found.rs",
    "src/mix/judge.rs",
    "src/range.rs",
    "src/duration.rs",
    "src/verdict.rs",
    "src/batch.rs",
    "src/blame.rs",
    "src/blame/share.rs",
    "src/blame/suspect.rs",
    "src/idle.rs",
    "src/idle/spares.rs",
    "src/profile/states.rs",
    "src/report.rs",
    "src/report/nagios.rs",
    "src/report/json.rs",
    "src/report/junit.rs",
    "src/report/prometheus.rs",
    "src/remains.rs",
    "src/settle.rs",
    "src/source/diag.rs",
];

/// What touches the world.
const WORLDLY: [&str; 19] = [
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::os",
    "std::io",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "ToSocketAddrs",
    "Instant",
    "SystemTime",
    "rustix",
    "procfs",
    "libc",
    "tempfile",
    "print!",
    "println!",
];

const LONGEST_FILE: usize = 330;

/// A source file: its path from the package root, and its lines without tests and comments.
struct Source {
    path: String,
    /// With their numbers.
    code: Vec<(usize, String)>,
    /// Lines before the tests, comments too.
    length: usize,
    whole: String,
}

impl Source {
    fn new(path: &str, whole: &str) -> Source {
        let lines: Vec<_> = whole.lines().collect();
        let begins = |pair: &[&str]| pair[0].trim() == "#[cfg(test)]" && pair[1] != "mod tests;";
        let is_tests = path.ends_with("/tests.rs");
        let tests = if is_tests { Some(0) } else { lines.windows(2).position(begins) };
        let length = tests.unwrap_or(lines.len());
        let code = |(index, line): (usize, &&str)| (index + 1, line.split("//").next().unwrap_or("").to_owned());
        let code = lines.iter().take(length).enumerate().map(code).collect();
        Source { path: path.to_owned(), code, length, whole: whole.to_owned() }
    }

    /// The module of src/ that the file belongs to: its name, or its folder's.
    fn module(&self) -> &str {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path);
        below.split('/').next().unwrap_or(below).trim_end_matches(".rs")
    }

    /// The lines where a word stands by itself.
    fn lines_with<'a>(&'a self, word: &'a str) -> impl Iterator<Item = &'a (usize, String)> {
        self.code.iter().filter(move |(_, line)| has_word(line, word))
    }
}

fn has_word(line: &str, word: &str) -> bool {
    let is_name =
        |character: Option<char>| character.is_some_and(|character| character.is_alphanumeric() || character == '_');
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (line[..at].chars().next_back(), line[at + word.len()..].chars().next());
        !is_name(before) && (!is_name(after) || word.ends_with(['!', '(']))
    })
}

fn sources() -> Vec<Source> {
    fn read(dir: &Path, into: &mut Vec<Source>) {
        for entry in fs::read_dir(dir).expect("a folder of sources").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                read(&entry, into);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&entry).expect("UTF-8");
                into.push(Source::new(entry.to_str().expect("a plain name"), &text));
            }
        }
    }
    std::env::set_current_dir(env!("CARGO_MANIFEST_DIR")).expect("the package root");
    let mut sources = Vec::new();
    read(Path::new("src"), &mut sources);
    read(Path::new("checks"), &mut sources);
    assert!(sources.len() > 20, "only {} sources found", sources.len());
    sources
}

type Rule = fn(&Source) -> Vec<String>;

/// Uses of `crate::…` that don't lead down.
fn arrows_turned_back(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    // A program may use the whole core; its own modules are its `crate::`.
    if !source.path.starts_with("src/") || source.path.starts_with("src/bin/") {
        return found;
    }
    let Some(own) = LAYERS.iter().position(|layer| *layer == source.module()) else {
        return vec![format!("{}: give its module a place in LAYERS", source.path)];
    };
    for (number, line) in &source.code {
        for (at, _) in line.match_indices("crate::") {
            let path = &line[at + "crate::".len()..];
            let name: String =
                path.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect();
            let place = LAYERS.iter().position(|layer| *layer == name);
            if place.is_none_or(|place| place > own) {
                found.push(format!(
                    "{}:{number}: {} may not use '{name}': {}",
                    source.path,
                    source.module(),
                    line.trim()
                ));
            }
        }
        // `super::` within a folder is its module's own matter; beyond it, say crate::.
        if line.contains("super::super") {
            found.push(format!("{}:{number}: say crate:: instead: {}", source.path, line.trim()));
        }
    }
    found
}

fn worldly_where_pure(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    if PURE.contains(&source.path.as_str()) {
        for word in WORLDLY {
            found.extend(
                source.lines_with(word).map(|(number, line)| {
                    format!("{}:{number}: '{word}' in a pure module: {}", source.path, line.trim())
                }),
            );
        }
    }
    found
}

fn too_long(source: &Source) -> Vec<String> {
    let is_long = source.length > LONGEST_FILE;
    is_long.then(|| format!("{}: {} lines, at most {LONGEST_FILE}", source.path, source.length)).into_iter().collect()
}

fn unwraps(source: &Source) -> Vec<String> {
    let says = |(number, line): &(usize, String)| format!("{}:{number}: {}", source.path, line.trim());
    let words = ["unwrap()", "expect(", "unwrap_unchecked", "unwrap_err()", "expect_err("];
    let found = source.code.iter().filter(|(_, line)| words.iter().any(|word| line.contains(&format!(".{word}"))));
    found.map(says).collect()
}

/// Also in tests, and in comments that would switch it on.
fn unsafety(source: &Source) -> Vec<String> {
    let lines = source.whole.lines().enumerate();
    let found = lines.filter(|(_, line)| has_word(line.split("//").next().unwrap_or(""), "unsafe"));
    found.map(|(index, line)| format!("{}:{}: {}", source.path, index + 1, line.trim())).collect()
}

/// Tests stand at a file's end, in one module: nothing after them escapes the other rules.
fn code_after_tests(source: &Source) -> Vec<String> {
    let mut rest = source.whole.lines().skip(source.length);
    if source.path.ends_with("/tests.rs") {
        return Vec::new();
    }
    if rest.next().is_none() {
        return Vec::new();
    }
    let begins = rest.next().is_some_and(|line| line.starts_with("mod ") && line.ends_with('{'));
    let closes = rest.clone().position(|line| line == "}");
    let after = closes.map_or(0, |at| rest.skip(at + 1).filter(|line| !line.trim().is_empty()).count());
    let good = begins && closes.is_some() && after == 0;
    (!good)
        .then(|| format!("{}:{}: '#[cfg(test)] mod tests' is not the file's end", source.path, source.length + 1))
        .into_iter()
        .collect()
}

fn hold(rule: Rule) {
    let found: Vec<_> = sources().iter().flat_map(rule).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn arrows_never_turn_back() {
    hold(arrows_turned_back);
}

#[test]
fn pure_modules_do_no_io_and_read_no_clock() {
    hold(worldly_where_pure);
    let sources = sources();
    for path in PURE {
        assert!(sources.iter().any(|source| source.path == path), "{path} is gone: correct PURE");
    }
}

#[test]
fn files_stay_small() {
    hold(too_long);
}

#[test]
fn nothing_is_unwrapped_outside_tests() {
    hold(unwraps);
}

#[test]
fn nothing_is_unsafe() {
    hold(unsafety);
}

#[test]
fn tests_end_their_file() {
    hold(code_after_tests);
}

/// Each rule finds what it is there for, and names file and line.
#[test]
fn the_rules_can_fail() {
    let finds = |rule: Rule, path: &str, text: &str| rule(&Source::new(path, text));
    let cases: &[(Rule, &str, &str, &str)] = &[
        (
            arrows_turned_back,
            "src/range.rs",
            "\nuse crate::report::Metric;\n",
            "src/range.rs:2: range may not use 'report'",
        ),
        (
            arrows_turned_back,
            "src/source/proc.rs",
            "fn x() { crate::run::main() }",
            "src/source/proc.rs:1: source may not use 'run'",
        ),
        (arrows_turned_back, "src/range.rs", "use crate::{report, run};", "src/range.rs:1:"),
        (arrows_turned_back, "src/report/json.rs", "use super::super::run;", "src/report/json.rs:1:"),
        (arrows_turned_back, "src/novel.rs", "", "src/novel.rs: give its module a place"),
        (worldly_where_pure, "src/range.rs", "//! x\nuse std::fs;", "src/range.rs:2: 'std::fs'"),
        (worldly_where_pure, "src/source/diag.rs", "let now = Instant::now();", "src/source/diag.rs:1: 'Instant'"),
        (worldly_where_pure, "src/report/json.rs", "println!(\"x\");", "src/report/json.rs:1: 'println!'"),
        (too_long, "src/range.rs", &"\n".repeat(331), "src/range.rs: 331 lines"),
        (unwraps, "checks/check_x.rs", "let x = y.unwrap();", "checks/check_x.rs:1:"),
        (unwraps, "src/range.rs", "let x = y\n    .expect(\"z\");", "src/range.rs:2:"),
        (unsafety, "src/range.rs", "#[cfg(test)]\nmod tests {\nunsafe { x() }\n}", "src/range.rs:3:"),
        (code_after_tests, "src/range.rs", "#[cfg(test)]\nmod tests {\n}\nfn x() {}", "src/range.rs:1:"),
        (code_after_tests, "src/range.rs", "#[cfg(test)]\nuse x;\nfn y() {}", "src/range.rs:1:"),
    ];
    for (rule, path, text, says) in cases {
        let found = finds(*rule, path, text);
        assert!(found.iter().any(|line| line.starts_with(says)), "{path} {text:?}: {found:?}");
    }
    // Tests in a file of their own end nothing.
    let apart = "#[cfg(test)]\nmod tests;\nuse std::fs;\n";
    assert!(!finds(worldly_where_pure, "src/range.rs", apart).is_empty());
    assert!(finds(code_after_tests, "src/trend.rs", apart).is_empty());
    assert!(finds(unwraps, "src/trend/tests.rs", "y.unwrap();").is_empty());
    let good = "//! std::fs\nuse crate::error::Error;\nfn x() {} // unsafe .unwrap()\n\n#[cfg(test)]\nmod tests {\n    y.unwrap();\n}\n";
    for rule in [arrows_turned_back, worldly_where_pure, too_long, unwraps, unsafety, code_after_tests] {
        assert_eq!(finds(rule, "src/range.rs", good), [""; 0]);
    }
    assert!(finds(worldly_where_pure, "src/owner.rs", "use std::fs;").is_empty());
    assert!(finds(arrows_turned_back, "src/run.rs", "use crate::report::Report;").is_empty());
}
