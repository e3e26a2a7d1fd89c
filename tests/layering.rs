//! The house rules that the compiler doesn't hold: arrows never turn back, the core does no I/O,
//! files stay small, nothing from outside is unwrapped, nothing is unsafe.

use std::fs;
use std::path::Path;

/// The rooms of src/, from the ground up: each may use itself and those before it.
const ROOMS: [&str; 9] = ["base", "kernel", "history", "report", "service", "owners", "growth", "options", "program"];

/// Modules that do no I/O and read no clock, each with all below its folder.
const PURE: [&str; 27] = [
    "src/base/backoff",
    "src/base/duration",
    "src/kernel/proc_stat",
    "src/kernel/select",
    "src/kernel/socket",
    "src/kernel/source/diag",
    "src/kernel/source/mptcp",
    "src/kernel/tally",
    "src/history/sample",
    "src/report",
    "src/service/profile/states",
    "src/owners/blame",
    "src/owners/sockets",
    "src/bin/connleak/sessions/join",
    "src/bin/connleak/sessions/printed",
    "src/bin/connleak/sessions/session",
    "src/growth/detector",
    "src/growth/detector_state",
    "src/growth/outcome",
    "checks/check_closewait/judge",
    "checks/check_conn_idle/idle",
    "checks/check_conn_states/state_counts",
    "checks/check_conn_tenants/tenancy/census",
    "checks/check_conn_tenants/tenancy/label",
    "checks/check_conn_tenants/tenancy/outlier",
    "checks/check_conn_tenants/tenancy/whose",
    "checks/check_orphans_after_stop/leftover",
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

    /// The room of src/ that the file stands in; `None`: it is a program's, or the map.
    fn room(&self) -> Option<&str> {
        let below = self.path.strip_prefix("src/")?;
        let (room, _) = below.split_once('/').unwrap_or((below, ""));
        (room != "bin" && room != "lib.rs").then_some(room)
    }

    fn is_below(&self, module: &str) -> bool {
        self.path.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
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
    let Some(room) = source.room() else { return found };
    let Some(own) = ROOMS.iter().position(|name| *name == room) else {
        return vec![format!("{}: '{room}' is no room of ROOMS", source.path)];
    };
    for (number, line) in &source.code {
        for (at, _) in line.match_indices("crate::") {
            let path = &line[at + "crate::".len()..];
            let name: String =
                path.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect();
            let place = ROOMS.iter().position(|room| *room == name);
            if place.is_none_or(|place| place > own) {
                found.push(format!("{}:{number}: {room} may not use '{name}': {}", source.path, line.trim()));
            }
        }
        // `super::` within a folder is its module's own matter; beyond it, say crate::.
        if line.contains("super::super") {
            found.push(format!("{}:{number}: say crate:: instead: {}", source.path, line.trim()));
        }
    }
    found
}

/// The module path of a file within its program or the library: `kernel/source/diag`; its crate's folder before it.
fn module_of(path: &str) -> (&str, &str) {
    let crates = [
        "src/bin/connleak/",
        "checks/check_closewait/",
        "checks/check_conn_idle/",
        "checks/check_conn_states/",
        "checks/check_conn_tenants/",
    ];
    let root = crates.into_iter().chain(["checks/check_orphans_after_stop/", "src/", "checks/"]);
    let root = root.into_iter().find(|root| path.starts_with(root)).unwrap_or("");
    (root, path[root.len()..].trim_end_matches(".rs").trim_end_matches("/mod"))
}

/// Files that use each other in a circle. A module and its own submodules are one thing.
fn circles(sources: &[Source]) -> Vec<String> {
    let modules: Vec<_> = sources.iter().map(|source| module_of(&source.path)).collect();
    let used_by = |index: usize| {
        let (root, own) = modules[index];
        let parent = own.rsplit_once('/').map_or("", |(parent, _)| parent);
        let mut used = Vec::new();
        for (_, line) in &sources[index].code {
            for (prefix, base) in [("crate::", ""), ("super::", parent)] {
                for (at, _) in line.match_indices(prefix) {
                    let rest = line[at + prefix.len()..].replace("::", "/");
                    let path = if base.is_empty() { rest } else { format!("{base}/{rest}") };
                    let is_named = |name: &str| {
                        path.strip_prefix(name)
                            .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
                    };
                    let named = (0..modules.len()).filter(|at| modules[*at].0 == root && is_named(modules[*at].1));
                    used.extend(named.max_by_key(|at| modules[*at].1.len()));
                }
            }
        }
        let is_other = |at: &usize| {
            let other = modules[*at].1;
            !own.starts_with(&format!("{other}/")) && !other.starts_with(&format!("{own}/")) && *at != index
        };
        used.retain(is_other);
        used
    };
    let edges: Vec<Vec<usize>> = (0..modules.len()).map(used_by).collect();
    let reaches = |from: usize, to: usize| {
        let (mut seen, mut open) = (vec![false; edges.len()], edges[from].clone());
        while let Some(at) = open.pop() {
            if !std::mem::replace(&mut seen[at], true) {
                open.extend(&edges[at]);
            }
        }
        seen[to]
    };
    let turned = |at: &usize| reaches(*at, *at);
    (0..edges.len()).filter(turned).map(|at| format!("{} uses itself in a circle", sources[at].path)).collect()
}

fn worldly_where_pure(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    if PURE.iter().any(|module| source.is_below(module)) {
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

/// `Of the whole the fastest` needs the line above it, or reading twice.
fn docs_without_subject(source: &Source) -> Vec<String> {
    let lines = source.whole.lines().enumerate();
    let docs = lines.filter_map(|(index, line)| Some((index, line.trim_start().strip_prefix("///")?.trim_start())));
    let mut before = None;
    let mut found = Vec::new();
    for (index, text) in docs {
        let begins = before != Some(index);
        before = Some(index + 1);
        if begins && (text.starts_with("Of ") || text.starts_with("The same ")) {
            found.push(format!("{}:{}: name the subject", source.path, index + 1));
        }
    }
    found
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
fn no_files_use_each_other_in_a_circle() {
    assert_eq!(circles(&sources()), [""; 0]);
    let turned = [
        Source::new("src/history/place.rs", "use super::trouble::obstacle;"),
        Source::new("src/history/trouble.rs", "use crate::history::place::Place;"),
        Source::new("src/history/mod.rs", "use place::Place;"),
    ];
    assert_eq!(circles(&turned).len(), 2);
}

#[test]
fn pure_modules_do_no_io_and_read_no_clock() {
    hold(worldly_where_pure);
    let sources = sources();
    for module in PURE {
        assert!(sources.iter().any(|source| source.is_below(module)), "{module} is gone: correct PURE");
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

#[test]
fn docs_say_their_subject() {
    hold(docs_without_subject);
}

/// Each rule finds what it is there for, and names file and line.
#[test]
fn the_rules_can_fail() {
    let finds = |rule: Rule, path: &str, text: &str| rule(&Source::new(path, text));
    let cases: &[(Rule, &str, &str, &str)] = &[
        (
            docs_without_subject,
            "src/report/range.rs",
            "/// A bound\n/// Of the range.\n\n/// Of the other.\n",
            "src/report/range.rs:4: name the subject",
        ),
        (
            arrows_turned_back,
            "src/report/range.rs",
            "\nuse crate::service::profile;\n",
            "src/report/range.rs:2: report may not use 'service'",
        ),
        (
            arrows_turned_back,
            "src/kernel/source/proc.rs",
            "fn x() { crate::program::run::main() }",
            "src/kernel/source/proc.rs:1: kernel may not use 'program'",
        ),
        (arrows_turned_back, "src/base/error.rs", "use crate::{report, program};", "src/base/error.rs:1:"),
        (arrows_turned_back, "src/report/json.rs", "use super::super::program;", "src/report/json.rs:1:"),
        (arrows_turned_back, "src/novel.rs", "", "src/novel.rs: 'novel.rs' is no room"),
        (arrows_turned_back, "src/novel/mod.rs", "", "src/novel/mod.rs: 'novel' is no room"),
        (worldly_where_pure, "src/report/range.rs", "//! x\nuse std::fs;", "src/report/range.rs:2: 'std::fs'"),
        (
            worldly_where_pure,
            "src/kernel/source/diag.rs",
            "let now = Instant::now();",
            "src/kernel/source/diag.rs:1: 'Instant'",
        ),
        (worldly_where_pure, "src/growth/detector/alarm.rs", "println!(\"x\");", "src/growth/detector/alarm.rs:1:"),
        (too_long, "src/report/range.rs", &"\n".repeat(331), "src/report/range.rs: 331 lines"),
        (unwraps, "checks/check_x.rs", "let x = y.unwrap();", "checks/check_x.rs:1:"),
        (unwraps, "src/report/range.rs", "let x = y\n    .expect(\"z\");", "src/report/range.rs:2:"),
        (unsafety, "src/report/range.rs", "#[cfg(test)]\nmod tests {\nunsafe { x() }\n}", "src/report/range.rs:3:"),
        (code_after_tests, "src/report/range.rs", "#[cfg(test)]\nmod tests {\n}\nfn x() {}", "src/report/range.rs:1:"),
        (code_after_tests, "src/report/range.rs", "#[cfg(test)]\nuse x;\nfn y() {}", "src/report/range.rs:1:"),
    ];
    for (rule, path, text, says) in cases {
        let found = finds(*rule, path, text);
        assert!(found.iter().any(|line| line.starts_with(says)), "{path} {text:?}: {found:?}");
    }
    // Tests in a file of their own end nothing.
    let apart = "#[cfg(test)]\nmod tests;\nuse std::fs;\n";
    assert!(!finds(worldly_where_pure, "src/report/range.rs", apart).is_empty());
    assert!(finds(code_after_tests, "src/growth/detector.rs", apart).is_empty());
    assert!(finds(unwraps, "src/growth/detector/tests.rs", "y.unwrap();").is_empty());
    let good = "//! std::fs\nuse crate::base::error::Error;\nfn x() {} // unsafe .unwrap()\n\n#[cfg(test)]\nmod tests {\n    y.unwrap();\n}\n";
    for rule in [arrows_turned_back, worldly_where_pure, too_long, unwraps, unsafety, code_after_tests] {
        assert_eq!(finds(rule, "src/report/range.rs", good), [""; 0]);
    }
    assert!(finds(worldly_where_pure, "src/kernel/owner.rs", "use std::fs;").is_empty());
    assert!(finds(arrows_turned_back, "src/program/run.rs", "use crate::report::Report;").is_empty());
}
