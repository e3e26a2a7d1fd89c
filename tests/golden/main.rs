//! Whole outputs of all renderers and states, from recordings, so that every byte is known.
//!
//! `BLESS=1 cargo test --test golden` rewrites the folders beside this file; otherwise a difference fails. Each
//! output is also read back by strict parsers: what is written down must be valid, not only unchanged.

mod closewait;
mod conn_growth;
mod conn_idle;
mod conn_states;
mod conn_tenants;
#[path = "../support/essence.rs"]
mod essence;
mod orphans_after_stop;
#[path = "../support/perfdata.rs"]
mod perfdata;
#[path = "../support/suite.rs"]
mod suite;
#[path = "../support/textfile.rs"]
mod textfile;

use perfdata::{Metric, Output};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A check with its cases: recording and options by the golden's name.
struct Goldens {
    program: suite::Check,
    cases: &'static [(&'static str, &'static str)],
    /// The labels of its perfdata in a case, sorted.
    labels: fn(&str) -> &'static [&'static str],
}

const GOLDENS: &[Goldens] = &[
    closewait::GOLDENS,
    orphans_after_stop::GOLDENS,
    conn_states::GOLDENS,
    conn_idle::GOLDENS,
    conn_growth::GOLDENS,
    conn_tenants::GOLDENS,
];

/// The formats in which a case is written down: all three for the first case of each state, which show each
/// key once; that the others agree is tested without a golden.
fn formats(check: &Goldens, name: &str) -> &'static [&'static str] {
    let state = |name: &str| name.split('_').next().map(str::to_owned);
    let first = check.cases.iter().find(|(other, _)| state(other) == state(name));
    if first.is_some_and(|(first, _)| *first == name) { &["nagios", "json", "prometheus"] } else { &["nagios"] }
}

/// What a run put out, as the golden holds it.
struct Run {
    argv: String,
    exit: i32,
    stdout: String,
}

impl Run {
    fn new(check: &Goldens, options: &str, format: &str) -> Run {
        // What follows a stop command is the command's own.
        let (options, command) = options.split_at(options.find(" -- ").unwrap_or(options.len()));
        let (before, options) = options.split_once(" runs: ").unwrap_or(("0", options));
        let argv = format!("{} {options} -o {format}{command}", check.program.name());
        let state = tempfile::tempdir().unwrap();
        let words = argv.split(' ').skip(1).map(|word| match word {
            "@" => state.path().to_str().unwrap(),
            word => word,
        });
        let run = || {
            Command::new(check.program.0)
                // Relative paths in the options: no golden names a path of this machine.
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .args(words.clone())
                .stdin(Stdio::null())
                .output()
                .expect("the binary starts")
        };
        (0..before.parse().unwrap()).for_each(|_: u32| drop(run()));
        let output = run();
        assert!(output.stderr.is_empty(), "{argv}: {}", String::from_utf8_lossy(&output.stderr));
        let exit = output.status.code().unwrap_or_else(|| panic!("{argv}: {:?}", output.status));
        Run { argv, exit, stdout: String::from_utf8(output.stdout).expect("UTF-8") }
    }

    /// As the golden holds it: JSON, which is one line, with a line for each value.
    fn text(&self) -> String {
        let indented = serde_json::from_str::<Value>(&self.stdout).ok().filter(Value::is_object);
        let output = indented.map_or(self.stdout.clone(), |json| format!("{json:#}\n"));
        format!("$ {}\nexit {}\n{output}", self.argv, self.exit)
    }
}

fn golden(check: &Goldens, name: &str, format: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(check.program.short());
    folder.join(format!("{name}.{format}.txt"))
}

/// By the one strict reader; a check that saw nothing has nothing to say in numbers.
fn read_back(check: &Goldens, output: &str) -> Result<Output, String> {
    let read = if output.contains('|') { perfdata::parse(output)? } else { perfdata::parse_bare(output)? };
    if read.name.to_lowercase() != check.program.short() {
        return Err(format!("name {}", read.name));
    }
    if read.metrics.is_empty() && read.state != "UNKNOWN" {
        return Err("no perfdata".into());
    }
    match read.metrics.iter().find(|metric| metric.min != "0") {
        Some(metric) => Err(format!("min of {} is not 0", metric.label)),
        None => Ok(read),
    }
}

/// Every case: its check, its name and its options.
fn cases() -> impl Iterator<Item = (&'static Goldens, &'static str, &'static str)> {
    GOLDENS.iter().flat_map(|check| check.cases.iter().map(move |(name, options)| (check, *name, *options)))
}

/// Runs every case in one format; `each` also sees what nagios is told in the same case.
fn each_case(format: &str, mut each: impl FnMut(&Goldens, &str, &Run, &Output) -> Result<(), String>) {
    let mut failures = Vec::new();
    for (check, name, options) in cases() {
        let run = Run::new(check, options, format);
        let plain = Run::new(check, options, "nagios");
        let told = read_back(check, &plain.stdout).and_then(|told| match plain.exit == run.exit {
            true => each(check, name, &run, &told),
            false => Err(format!("nagios exits {}", plain.exit)),
        });
        if let Err(why) = told {
            failures.push(format!("{}/{name}.{format}: {why}\n{}", check.program.short(), run.text()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn outputs_are_as_written_down() {
    let bless = std::env::var_os("BLESS").is_some_and(|value| value == "1");
    let mut failures = Vec::new();
    let mut wanted = BTreeSet::new();
    for (check, name, options) in cases() {
        for format in formats(check, name) {
            let path = golden(check, name, format);
            let now = Run::new(check, options, format).text();
            if bless {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, &now).unwrap();
            }
            let before = fs::read_to_string(&path).unwrap_or_default();
            if before != now {
                failures.push(format!("{}/{name}.{format}.txt\n{}", check.program.short(), difference(&before, &now)));
            }
            wanted.insert(path);
        }
    }
    // A golden that no case makes is one that no test reads.
    let folders = GOLDENS.iter().map(|check| golden(check, "x", "x").parent().unwrap().to_owned());
    for entry in folders.flat_map(|folder| fs::read_dir(folder).expect("the goldens").flatten()) {
        if !wanted.contains(&entry.path()) {
            failures.push(format!("{}: no case makes this golden", entry.path().display()));
        }
    }
    assert!(failures.is_empty(), "{}\nIf this is meant: BLESS=1 cargo test --test golden", failures.join("\n"));
}

/// Lines that differ, with the column where they begin to.
fn difference(before: &str, now: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (before.lines().collect(), now.lines().collect());
    let mut shown = String::new();
    for index in 0..old.len().max(new.len()) {
        let (old, new) = (old.get(index), new.get(index));
        if old == new {
            continue;
        }
        let same = |(old, new): (&&str, &&str)| old.chars().zip(new.chars()).take_while(|(a, b)| a == b).count();
        let column = old.zip(new).map_or(0, same) + 1;
        shown.push_str(&format!("  line {} from column {column} on:\n", index + 1));
        for (sign, line) in [('-', old), ('+', new)] {
            shown.extend(line.map(|line| format!("  {sign} {line}\n")));
        }
    }
    if shown.is_empty() { "  only the last newline differs\n".to_owned() } else { shown }
}

#[test]
fn a_difference_is_shown_where_it_is() {
    assert_eq!(
        difference("a\nbcd\n", "a\nbxd\ne\n"),
        "  line 2 from column 2 on:\n  - bcd\n  + bxd\n  line 3 from column 1 on:\n  + e\n"
    );
    assert_eq!(difference("a", "a\n"), "  only the last newline differs\n");
}

#[test]
fn nagios_outputs_read_back() {
    let mut states = BTreeSet::new();
    each_case("nagios", |check, name, run, read| {
        if read.exit_code() != run.exit || !name.starts_with(&read.state.to_lowercase()) {
            return Err(format!("state {} and exit {} don't agree", read.state, run.exit));
        }
        states.insert((check.program.short(), read.state.clone()));
        let labels = read.metrics.iter().map(|metric| metric.label.as_str());
        let mut labels: Vec<_> = labels.filter(|label| !label.starts_with("tenant_")).collect();
        labels.sort_unstable();
        if labels == (check.labels)(name) { Ok(()) } else { Err(format!("labels {labels:?}")) }
    });
    assert_eq!(states.len(), 4 * GOLDENS.len(), "{states:?}");
}

/// The three outputs come from one report: they must not disagree.
#[test]
fn json_outputs_agree_with_nagios() {
    each_case("json", |check, _, run, told| {
        if run.stdout.lines().count() != 1 || run.stdout.contains('|') {
            return Err("more than one line, or a pipe".into());
        }
        let json: Value = serde_json::from_str(&run.stdout).map_err(|error| error.to_string())?;
        let keys =
            ["schema", "check", "state", "exit_code", "summary", "service", "metrics", "reasons", "owners", "complete"];
        if let Some(key) = keys.iter().find(|key| json.get(**key).is_none()) {
            return Err(format!("no key {key}"));
        }
        if json["schema"] != 1 || json["check"] != check.program.short() || json["exit_code"] != run.exit {
            return Err("schema, check or exit code".into());
        }
        // JSON always looks for owners, so its summary may say that they are partial.
        let summary = json["summary"].as_str().ok_or("no summary")?;
        let without_owners =
            |text: &str| text.split("; ").filter(|part| !part.starts_with("owners")).collect::<Vec<_>>().join("; ");
        if json["state"] != told.state.as_str() || without_owners(&told.text) != without_owners(summary) {
            return Err(format!("nagios says {} {}", told.state, told.text));
        }
        // Groups hold every socket in question: their oldest is the metric, to the digit.
        let oldest = |list: &Value| {
            let ages = list.as_array().into_iter().flatten().filter_map(|entry| entry["oldest_seconds"].as_f64());
            ages.reduce(f64::max)
        };
        let metrics = metrics(&json)?;
        let metric = metrics.iter().find(|metric| metric.label == "close_wait_oldest");
        if let (Some(group), Some(metric)) = (oldest(&json["groups"]), metric)
            && group != metric.value
        {
            return Err(format!("the oldest group has {group} s"));
        }
        if metrics == told.metrics { Ok(()) } else { Err(format!("nagios says {:?}", told.metrics)) }
    });
}

/// In their order.
fn metrics(json: &Value) -> Result<Vec<Metric>, String> {
    let metric = |metric: &Value| {
        let text = |key: &str| metric[key].as_str().map(str::to_owned).ok_or(format!("no {key} in {metric}"));
        let limit = |key: &str| match &metric[key] {
            Value::Null => Ok(String::new()),
            Value::String(range) => Ok(range.clone()),
            other => Err(format!("{key} is {other}")),
        };
        if metric["min"] != 0 || metric.get("max").is_none_or(|max| !max.is_null()) {
            return Err(format!("min or max in {metric}"));
        }
        let value = metric["value"].as_f64().ok_or(format!("no value in {metric}"))?;
        let (label, unit, min) = (text("name")?, text("unit")?, "0".to_owned());
        Ok(Metric { label, value, unit, warning: limit("warning")?, critical: limit("critical")?, min })
    };
    json["metrics"].as_array().ok_or("no metrics")?.iter().map(metric).collect()
}

#[test]
fn prometheus_outputs_agree_with_nagios() {
    each_case("prometheus", |_, _, run, told| {
        let mut samples = textfile::read(&run.stdout)?;
        let (labels, state) = samples.remove("connleak_state").ok_or("no connleak_state")?;
        if state != f64::from(run.exit) || run.exit != told.exit_code() {
            return Err(format!("state {state}"));
        }
        let names: Vec<_> = labels.keys().map(String::as_str).collect();
        if let Some((mut owned, _)) = samples.remove("connleak_owner_sockets") {
            // Without processes, as in a replay, all are others'.
            if owned.remove("owner").as_deref() != Some("other") || owned != labels {
                return Err(format!("owner's labels {owned:?}"));
            }
        }
        // Where not even the service could be told.
        let is_nobodys = told.metrics.is_empty() && names == ["check"];
        if names != ["check", "port", "service", "side"] && !is_nobodys
            || samples.values().any(|(other, _)| *other != labels)
        {
            return Err(format!("labels {names:?}"));
        }
        // A tenant's name and its label differ.
        let named = |name: &str, value: f64| match name.strip_prefix("tenant_") {
            Some(_) => ("tenant".to_owned(), value.to_string()),
            None => (name.to_owned(), value.to_string()),
        };
        let mut values: Vec<_> =
            samples.iter().map(|(name, (_, value))| named(name.trim_start_matches("connleak_"), *value)).collect();
        let mut perfdata: Vec<_> = told.metrics.iter().map(|metric| named(&metric.label, metric.value)).collect();
        values.sort();
        perfdata.sort();
        if values == perfdata { Ok(()) } else { Err(format!("nagios says {perfdata:?}")) }
    });
}

/// An SMS has 160 characters, and numbers side by side are read as one.
#[test]
fn first_lines_begin_with_the_service_and_what_is_wrong() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut problems = 0;
    for check in GOLDENS {
        for (name, _) in check.cases {
            let path = folder.join(check.program.short()).join(format!("{name}.nagios.txt"));
            let golden = fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
            let line = golden.lines().find(|line| line.contains(" - ")).unwrap_or_else(|| panic!("{golden}"));
            let Some((text, _)) = line.split_once(" | ") else { continue };
            assert_eq!(essence::complaints(text), [""; 0], "{name}: {text}");
            let (head, text) = text.split_once(" - ").unwrap();
            let service = text.split_once(": ").map_or("", |(service, _)| service);
            assert!(service.contains(':') || service.starts_with("port "), "{name}: {text}");
            // What is missing comes behind.
            let text = text.split("; ").next().unwrap();
            let words: Vec<_> = text.split([' ', ',']).collect();
            let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
            let twice = words.windows(3).find(|of| of[0] == of[2] && of[1] == "of" && is_number(of[0]));
            assert!(twice.is_none() || text.contains("100%") || text.contains("steady"), "{name}: {text}");
            assert!(!words.windows(2).any(|two| is_number(two[0]) && is_number(two[1])), "{name}: {text}");
            problems += u32::from(head.ends_with("WARNING") || head.ends_with("CRITICAL"));
        }
    }
    assert!(problems > 30, "{problems}");
}
