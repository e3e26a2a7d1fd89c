//! Whole outputs of all renderers and states, from recordings, so that every byte is known.
//!
//! `BLESS=1 cargo test` rewrites tests/golden; otherwise a difference fails. Each golden is also read
//! back by strict parsers: what is written down must be valid, not only unchanged.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A check with its program and its cases: recording and options by the golden's name; each is run in
/// all three formats.
struct Check {
    name: &'static str,
    program: &'static str,
    binary: &'static str,
    cases: &'static [(&'static str, &'static str)],
    /// The labels of its perfdata in a case, sorted.
    labels: fn(&str) -> &'static [&'static str],
}

const CHECKS: [Check; 6] = [
    Check {
        name: "closewait",
        program: "check_closewait",
        binary: env!("CARGO_BIN_EXE_check_closewait"),
        cases: CLOSEWAIT,
        labels: |case| match case {
            case if case.ends_with("no_recording") => &[],
            case if case.ends_with("ages_unknown") || ["ok_without_ipv6", "unknown_oldest"].contains(&case) => {
                &["close_wait", "close_wait_ratio", "established"]
            }
            _ => &["close_wait", "close_wait_oldest", "close_wait_ratio", "close_wait_young", "established"],
        },
    },
    Check {
        name: "orphans_after_stop",
        program: "check_orphans_after_stop",
        binary: env!("CARGO_BIN_EXE_check_orphans_after_stop"),
        cases: ORPHANS,
        labels: |case| match case {
            "unknown_no_recording" | "unknown_command" | "unknown_baseline" => &[],
            _ => &["drained_after", "held", "kernel", "listen", "new", "orphans", "time_wait"],
        },
    },
    Check {
        name: "conn_states",
        program: "check_conn_states",
        binary: env!("CARGO_BIN_EXE_check_conn_states"),
        cases: STATES,
        labels: |case| match case {
            "unknown_no_recording" => &[],
            "ok_ages_unknown" | "unknown_age" => WITHOUT_AGES,
            "unknown_backlog" => WITHOUT_BACKLOG,
            _ => STATE_LABELS,
        },
    },
    Check {
        name: "conn_idle",
        program: "check_conn_idle",
        binary: env!("CARGO_BIN_EXE_check_conn_idle"),
        cases: IDLE,
        labels: |case| match case {
            "unknown_no_recording" => &[],
            case if case.ends_with("silence_unknown") => &["established"],
            _ => &["established", "idle", "idle_oldest", "idle_share", "never_used", "no_keepalive", "spares"],
        },
    },
    Check {
        name: "conn_growth",
        program: "check_conn_growth",
        binary: env!("CARGO_BIN_EXE_check_conn_growth"),
        cases: GROWTH,
        // Recorded tables of /proc tell no silences.
        labels: |case| match case {
            "unknown_no_limit" => &["closed", "connections", "growth", "opened", "suspects"],
            case if case.starts_with("unknown") => &[],
            case if case.contains("first_run") => &["connections", "growth", "limit", "suspects", "used"],
            _ => &["closed", "connections", "growth", "limit", "opened", "suspects", "used"],
        },
    },
    Check {
        name: "conn_tenants",
        program: "check_conn_tenants",
        binary: env!("CARGO_BIN_EXE_check_conn_tenants"),
        cases: TENANTS,
        labels: |case| match case {
            "unknown_no_recording" | "unknown_key" => &[],
            case if case.ends_with("ages_unknown") => &TENANT_LABELS_WITHOUT_IDLE,
            _ => &TENANT_LABELS,
        },
    },
];

/// Beside those of the tenants, which come and go with them.
const TENANT_LABELS: [&str; 11] = [
    "close_wait_max",
    "connections",
    "idle_max",
    "outliers",
    "pooled",
    "pooler_clients",
    "pooler_servers",
    "share_max",
    "share_other",
    "tenants",
    "unknown",
];

const TENANT_LABELS_WITHOUT_IDLE: [&str; 10] = [
    "close_wait_max",
    "connections",
    "outliers",
    "pooled",
    "pooler_clients",
    "pooler_servers",
    "share_max",
    "share_other",
    "tenants",
    "unknown",
];

const TENANTS: &[(&str, &str)] = &[
    ("ok", "-p 11211 --key user --replay tests/fixtures/calm/dump.nl"),
    ("ok_peers", "-v -p 11211 --key peer/24,128 --side server --top 2 --replay tests/fixtures/calm/dump.nl"),
    ("ok_nothing_there", "-P kafka --key user --replay tests/fixtures/calm/dump.nl"),
    ("ok_ages_unknown", "-p 11211 --key peer --proc-root tests/fixtures/calm"),
    ("ok_map", "-v -p 6379 --key map:tests/fixtures/tenants.yaml --replay tests/fixtures/calm/dump.nl"),
    ("warning", "-v -p 11211 --key peer/8 --side server --close-wait-warning 4 --replay tests/fixtures/leak/dump.nl"),
    (
        "warning_ages_unknown",
        "-p 11211 --key peer/8 --side server --close-wait-warning 4 --proc-root tests/fixtures/both_sides",
    ),
    ("critical", "-p 6379 --key user --close-wait-critical 20 --replay tests/fixtures/leak/dump.nl"),
    ("critical_share", "-v -p 6379 --key user --limit 25 --min-age 1h --replay tests/fixtures/leak/dump.nl"),
    (
        "critical_map",
        "-vv --top 3 -p 6379 --close-wait-critical 20 --key map:tests/fixtures/tenants.yaml --replay tests/fixtures/leak/dump.nl",
    ),
    ("critical_incomplete", "-p 11211 --key peer/8 --limit 4 --replay tests/fixtures/no_ipv6/dump.nl"),
    ("unknown_tenants", "-p 11211 --side server --key user --replay tests/fixtures/leak/dump.nl"),
    ("unknown_ages_unknown", "-p 11211 --key peer/8 --idle-warning 2 --proc-root tests/fixtures/calm"),
    ("unknown_keepalive", "-p 11211 --key peer/8 --close-wait-warning 0 --replay tests/fixtures/keepalive/dump.nl"),
    ("unknown_key", "-p 11211 --key unit --replay tests/fixtures/calm/dump.nl"),
    ("unknown_no_recording", "-p 11211 --key user --replay tests/fixtures/calm/missing.nl"),
];

const CLOSEWAIT: &[(&str, &str)] = &[
    ("ok", "-p 11211 --replay tests/fixtures/calm/dump.nl"),
    ("ok_client_side", "-p 6379 --side client --replay tests/fixtures/calm/dump.nl"),
    ("ok_nothing_there", "-P kafka --replay tests/fixtures/calm/dump.nl"),
    ("ok_several_ports", "-P ldap -p 389,636,11211 --side server --replay tests/fixtures/calm/dump.nl"),
    ("ok_ages_unknown", "-p 11211 --proc-root tests/fixtures/calm"),
    ("ok_without_ipv6", "-p 4711 --proc-root tests/fixtures/no_ipv6"),
    ("warning", "-p 11211 --replay tests/fixtures/leak/dump.nl"),
    ("critical_server_side", "-v -p 11211 --side server --replay tests/fixtures/leak/dump.nl"),
    ("warning_sockets", "-vv --top 3 -p 11211 --replay tests/fixtures/leak/dump.nl"),
    ("warning_ages_unknown", "-p 11211 --proc-root tests/fixtures/leak"),
    ("warning_one_peer", "-p 11211 --peer 127.0.0.2 -w 2 --ratio-min-count 9 --replay tests/fixtures/leak/dump.nl"),
    ("critical", "-p 6379 --replay tests/fixtures/leak/dump.nl"),
    (
        "critical_all_reasons",
        "-p 11211 --min-age 0s -c 8 --ratio-critical 10 --oldest-critical 1m --replay tests/fixtures/leak/dump.nl",
    ),
    ("critical_both_sides", "-vv --top 20 -p 11211 --by peer --replay tests/fixtures/both_sides/dump.nl"),
    ("critical_by_user", "-v -p 6379 --by user --user 33 --replay tests/fixtures/leak/dump.nl"),
    ("critical_not_accepted", "-vv --top 10 -p 4711 --replay tests/fixtures/leak/dump.nl"),
    ("critical_incomplete", "-p 11211 --replay tests/fixtures/no_ipv6/dump.nl"),
    ("critical_ages_unknown", "-vv --top 2 -p 11211 --by tenant --proc-root tests/fixtures/both_sides"),
    ("unknown_keepalive", "-p 11211 --replay tests/fixtures/keepalive/dump.nl"),
    (
        "unknown_whose",
        "-p 4711 --user 0 -w 7 --ratio-warning 200 --ratio-critical 200 --replay tests/fixtures/leak/dump.nl",
    ),
    ("unknown_one_family", "-p 6379 --replay tests/fixtures/no_ipv6/dump.nl"),
    ("unknown_oldest", "-p 11211 --oldest-warning 5m --proc-root tests/fixtures/calm"),
    ("unknown_no_recording", "-p 11211 --replay tests/fixtures/calm/missing.nl"),
];

/// Nothing moves in a recording, so none of these waits.
const ORPHANS: &[(&str, &str)] = &[
    ("ok", "-P kafka --replay tests/fixtures/calm/dump.nl"),
    ("ok_proc", "-p 9092 --proc-root tests/fixtures/calm"),
    ("ok_command", "-v -p 9092 --wait 0s --proc-root tests/fixtures/calm -- echo stopped"),
    ("ok_within_ranges", "-p 11211 --side client -w 9 -c 20 --replay tests/fixtures/calm/dump.nl"),
    (
        "ok_states_ignored",
        "-vv -p 11211 --side client --ignore ESTABLISHED --ignore FIN_WAIT2 --ignore CLOSE_WAIT --replay tests/fixtures/leak/dump.nl",
    ),
    ("warning", "-p 11211 -w 2 -c 100 --replay tests/fixtures/calm/dump.nl"),
    ("critical", "-p 11211 --replay tests/fixtures/leak/dump.nl"),
    ("critical_sockets", "-vv --top 4 -p 4711 --replay tests/fixtures/leak/dump.nl"),
    ("critical_by_peer", "-v -p 11211 --side server --by peer --replay tests/fixtures/both_sides/dump.nl"),
    ("critical_proc", "-vv --top 3 -p 11211 --wait 0s --proc-root tests/fixtures/both_sides"),
    (
        "critical_kernel",
        "-vv -p 11211 --side client --wait 0s --ignore ESTABLISHED --replay tests/fixtures/calm/dump.nl",
    ),
    ("critical_incomplete", "-p 11211 --replay tests/fixtures/no_ipv6/dump.nl"),
    ("unknown_one_family", "-p 9092 --replay tests/fixtures/no_ipv6/dump.nl"),
    ("unknown_whose", "-p 4711 --user 0 -c 9 --replay tests/fixtures/leak/dump.nl"),
    ("unknown_no_recording", "-p 11211 --replay tests/fixtures/calm/missing.nl"),
    ("unknown_command", "-v -p 9092 --wait 0s --proc-root tests/fixtures/calm -- false"),
    ("unknown_baseline", "-p 11211 --baseline tests/fixtures/calm/missing.json"),
];

/// Of check_conn_states; a recording doesn't tell the ephemeral ports.
const STATE_LABELS: &[&str] = &[
    "accept_queue",
    "close",
    "close_wait",
    "closing",
    "established",
    "fin_wait1",
    "fin_wait2",
    "half_open",
    "last_ack",
    "listen",
    "new_syn_recv",
    "sockets",
    "stuck",
    "stuck_oldest",
    "syn_recv",
    "syn_sent",
    "time_wait",
    "time_wait_ratio",
];

const WITHOUT_AGES: &[&str] = &[
    "accept_queue",
    "close",
    "close_wait",
    "closing",
    "established",
    "fin_wait1",
    "fin_wait2",
    "half_open",
    "last_ack",
    "listen",
    "new_syn_recv",
    "sockets",
    "syn_recv",
    "syn_sent",
    "time_wait",
    "time_wait_ratio",
];

const WITHOUT_BACKLOG: &[&str] = &[
    "close",
    "close_wait",
    "closing",
    "established",
    "fin_wait1",
    "fin_wait2",
    "half_open",
    "last_ack",
    "listen",
    "new_syn_recv",
    "sockets",
    "stuck",
    "stuck_oldest",
    "syn_recv",
    "syn_sent",
    "time_wait",
    "time_wait_ratio",
];

const STATES: &[(&str, &str)] = &[
    ("ok", "-p 11211 --replay tests/fixtures/mixed/dump.nl"),
    ("ok_nothing_there", "-P kafka --replay tests/fixtures/mixed/dump.nl"),
    ("ok_client_side", "-v -p 11211 --side client --replay tests/fixtures/mixed/dump.nl"),
    ("ok_half_open", "-p 6379 --replay tests/fixtures/mixed/dump.nl"),
    ("ok_whose", "-p 11211 --user 33 --replay tests/fixtures/mixed/dump.nl"),
    ("ok_ages_unknown", "-p 11211 --proc-root tests/fixtures/mixed"),
    ("warning", "-p 11211 --state TIME_WAIT:10:30 --replay tests/fixtures/mixed/dump.nl"),
    ("warning_ratio", "-p 11211 --ratio-warning 90 --ratio-min-count 20 --replay tests/fixtures/mixed/dump.nl"),
    ("warning_main", "-vv --top 2 -p 11211 -w 49 -c 60 --by peer --replay tests/fixtures/mixed/dump.nl"),
    ("warning_stuck", "-vv --top 9 -p 11211 --stuck-warning 6 --replay tests/fixtures/mixed/dump.nl"),
    ("critical", "-p 4711 --replay tests/fixtures/mixed/dump.nl"),
    ("critical_one_peer", "-p 4711 --peer 127.0.0.1 --local 127.0.0.1 --replay tests/fixtures/mixed/dump.nl"),
    ("critical_half_open", "-vv -p 6379 --half-open-critical 2 --replay tests/fixtures/mixed/dump.nl"),
    (
        "critical_all_reasons",
        "-p 11211 -w 10 --state time-wait:5: --state fin-wait-1:0:2 --stuck-warning 5 --ratio-warning 50 --ratio-min-count 1 --replay tests/fixtures/mixed/dump.nl",
    ),
    ("critical_incomplete", "-p 11211 --state ESTAB:1:2 --replay tests/fixtures/no_ipv6/dump.nl"),
    ("unknown_backlog", "-p 4711 --proc-root tests/fixtures/mixed"),
    ("unknown_age", "-p 11211 --stuck-warning 2 --proc-root tests/fixtures/mixed"),
    ("unknown_whose", "-p 11211 --user 33 --state TIME_WAIT:19: --replay tests/fixtures/mixed/dump.nl"),
    ("unknown_one_family", "-p 11211 --replay tests/fixtures/no_ipv6/dump.nl"),
    ("unknown_no_recording", "-p 11211 --replay tests/fixtures/mixed/missing.nl"),
];

const IDLE: &[(&str, &str)] = &[
    ("ok", "-p 11211 --replay tests/fixtures/mixed/dump.nl"),
    ("ok_nothing_there", "-P kafka --replay tests/fixtures/mixed/dump.nl"),
    ("ok_silence_unknown", "-p 11211 --proc-root tests/fixtures/calm"),
    ("ok_spares", "-v -p 11211 --min-age 60s --expected 6 -w 7 --replay tests/fixtures/mixed/dump.nl"),
    ("warning", "-p 11211 --min-age 60s -w 5 --replay tests/fixtures/mixed/dump.nl"),
    ("warning_keepalive", "-vv --top 3 -p 11211 --min-age 60s -w 5 --keepalive --replay tests/fixtures/mixed/dump.nl"),
    (
        "warning_never_used",
        "-p 11211 --side client --min-age 60s --never-used-warning 2 --replay tests/fixtures/mixed/dump.nl",
    ),
    ("warning_not_accepted", "-vv -p 4711 --side server --min-age 60s -w 4 --replay tests/fixtures/mixed/dump.nl"),
    (
        "critical_all_reasons",
        "-p 11211 --min-age 60s -w 1 -c 10 --never-used-critical 5 --share-warning 50 --oldest-critical 70s --by peer --replay tests/fixtures/mixed/dump.nl",
    ),
    ("critical_incomplete", "-p 11211 --min-age 60s -c 3 --replay tests/fixtures/no_ipv6/dump.nl"),
    ("unknown_silence_unknown", "-p 11211 -w 5 --proc-root tests/fixtures/calm"),
    ("unknown_oldest_silence_unknown", "-p 11211 --oldest-warning 1d --proc-root tests/fixtures/calm"),
    ("unknown_whose", "-p 4711 --side server --min-age 60s --user 33 -w 4 --replay tests/fixtures/mixed/dump.nl"),
    ("unknown_one_family", "-p 11211 --replay tests/fixtures/no_ipv6/dump.nl"),
    ("unknown_no_recording", "-p 11211 --replay tests/fixtures/mixed/missing.nl"),
];

/// Each on a history of its own, which is where the options say `@`; `N runs: ` are made before it.
const GROWTH: &[(&str, &str)] = &[
    ("ok_first_run", "-v -p 11211 --proc-root tests/fixtures/calm --state-dir @"),
    ("ok_learning", "2 runs: -p 11211 --limit 40 --proc-root tests/fixtures/leak --state-dir @ --rehearse 3600"),
    ("ok_steady", "4 runs: -vv -p 11211 --limit 40 --proc-root tests/fixtures/leak --state-dir @ --rehearse 3600"),
    ("ok_steady_full", "4 runs: -p 6379 --limit 25 --proc-root tests/fixtures/leak --state-dir @ --rehearse 3600"),
    ("unknown_no_limit", "4 runs: -p 4711 --proc-root tests/fixtures/leak --state-dir @ --rehearse 3600"),
    (
        "ok_usual_not_known",
        "4 runs: -p 11211 --limit 40 --baseline-warning 50 --proc-root tests/fixtures/leak --state-dir @ --rehearse 3600",
    ),
    (
        "warning_used",
        "4 runs: -p 11211 --limit 40 -w 40 -c 90 --proc-root tests/fixtures/leak --state-dir @ --rehearse 3600",
    ),
    (
        "critical_used",
        "4 runs: -p 11211 --side client --limit 10 -w 60 -c 90 --proc-root tests/fixtures/leak --state-dir @ --rehearse 3600",
    ),
    ("warning_first_run_near_its_limit", "-p 11211 --limit 10 --proc-root tests/fixtures/leak --state-dir @"),
    ("unknown_moment", "-p 11211 --replay tests/fixtures/calm/dump.nl --state-dir @"),
    ("unknown_process", "--pid 4194304 --state-dir @"),
    ("unknown_descriptors", "--pid 4194304 --metric fds --state-dir @"),
];

/// What a run put out, as the golden holds it.
struct Run {
    argv: String,
    exit: i32,
    stdout: String,
}

impl Run {
    fn new(check: &Check, options: &str, format: &str) -> Run {
        // What follows a stop command is the command's own.
        let (options, command) = options.split_at(options.find(" -- ").unwrap_or(options.len()));
        let (before, options) = options.split_once(" runs: ").unwrap_or(("0", options));
        let argv = format!("{} {options} -o {format}{command}", check.program);
        let state = tempfile::tempdir().unwrap();
        let words = argv.split(' ').skip(1).map(|word| match word {
            "@" => state.path().to_str().unwrap(),
            word => word,
        });
        let run = || {
            Command::new(check.binary)
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

    fn text(&self) -> String {
        format!("$ {}\nexit {}\n{}", self.argv, self.exit, self.stdout)
    }
}

fn golden(check: &Check, name: &str, format: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(check.name);
    folder.join(format!("{name}.{format}.txt"))
}

/// Every case: its check, its name and its options.
fn cases() -> impl Iterator<Item = (&'static Check, &'static str, &'static str)> {
    CHECKS.iter().flat_map(|check| check.cases.iter().map(move |(name, options)| (check, *name, *options)))
}

/// Runs every case in one format; `each` also sees what nagios is told in the same case.
fn each_case(format: &str, mut each: impl FnMut(&Check, &str, &Run, &Nagios) -> Result<(), String>) {
    let mut failures = Vec::new();
    for (check, name, options) in cases() {
        let run = Run::new(check, options, format);
        let plain = Run::new(check, options, "nagios");
        let told = nagios(check, &plain.stdout).and_then(|told| match plain.exit == run.exit {
            true => each(check, name, &run, &told),
            false => Err(format!("nagios exits {}", plain.exit)),
        });
        if let Err(why) = told {
            failures.push(format!("{}/{name}.{format}: {why}\n{}", check.name, run.text()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn outputs_are_as_written_down() {
    let bless = std::env::var_os("BLESS").is_some_and(|value| value == "1");
    let mut failures = Vec::new();
    let mut wanted = BTreeSet::new();
    for format in ["nagios", "json", "prometheus"] {
        for (check, name, options) in cases() {
            let path = golden(check, name, format);
            let now = Run::new(check, options, format).text();
            if bless {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, &now).unwrap();
            }
            let before = fs::read_to_string(&path).unwrap_or_default();
            if before != now {
                failures.push(format!("{}/{name}.{format}.txt\n{}", check.name, difference(&before, &now)));
            }
            wanted.insert(path);
        }
    }
    // A golden that no case makes is one that no test reads.
    let folders = CHECKS.iter().map(|check| golden(check, "x", "x").parent().unwrap().to_owned());
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

/// One metric as perfdata tells it.
#[derive(Clone, Debug, PartialEq)]
struct Perf {
    value: f64,
    unit: String,
    /// Warning and critical range; empty: none.
    limits: [String; 2],
}

/// What a nagios output says, read by the strictest reading of the guideline.
#[derive(Debug, PartialEq)]
struct Nagios {
    state: String,
    text: String,
    perfdata: BTreeMap<String, Perf>,
}

fn is_number(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    digits(whole) && digits(fraction)
}

/// A range in its shortest form.
fn is_range(text: &str) -> bool {
    let body = text.strip_prefix('@').unwrap_or(text);
    let signed = |part: &str| is_number(part.strip_prefix('-').unwrap_or(part));
    match body.split_once(':') {
        Some(("0", end)) => end.is_empty(),
        Some((start, end)) => (start == "~" || signed(start)) && (end.is_empty() || signed(end)),
        None => signed(body),
    }
}

fn nagios(check: &Check, output: &str) -> Result<Nagios, String> {
    let (first, rest) = output.split_once('\n').ok_or("no newline")?;
    if !output.ends_with('\n') {
        return Err("the last line is not ended".into());
    }
    if first.len() > 900 {
        return Err(format!("the first line has {} bytes", first.len()));
    }
    let text_and_state = first.strip_prefix(&format!("{} ", check.name.to_uppercase())).ok_or("no name")?;
    let (state, text) = text_and_state.split_once(" - ").ok_or("no state")?;
    if !["OK", "WARNING", "CRITICAL", "UNKNOWN"].contains(&state) {
        return Err(format!("'{state}' is no state"));
    }
    let (text, perfdata) = match output.matches('|').count() {
        // Only a check that saw nothing has nothing to say in numbers.
        0 if state == "UNKNOWN" => (text, ""),
        1 => text.split_once(" | ").ok_or("the pipe is not on the first line")?,
        pipes => return Err(format!("{pipes} pipes")),
    };
    for line in [text].into_iter().chain(rest.lines()) {
        if line.is_empty() || line.chars().any(|character| character == '=' || character.is_control()) {
            return Err(format!("text that may be taken for something else: '{line}'"));
        }
    }
    if perfdata.is_empty() && first.contains('|') {
        return Err("nothing after the pipe".into());
    }
    let mut metrics = BTreeMap::new();
    for field in perfdata.split(' ').filter(|_| !perfdata.is_empty()) {
        let (label, metric) = perf(field).map_err(|why| format!("'{field}': {why}"))?;
        if metrics.insert(label, metric).is_some() {
            return Err(format!("'{field}': doubled label"));
        }
    }
    Ok(Nagios { state: state.to_owned(), text: text.to_owned(), perfdata: metrics })
}

fn perf(field: &str) -> Result<(String, Perf), String> {
    let (label, data) = field.split_once('=').ok_or("no equals sign")?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if label.is_empty() || !label.bytes().all(plain) {
        return Err("the label needs quotes".into());
    }
    let fields: Vec<_> = data.split(';').collect();
    let [measured, warning, critical, min, max] = fields[..] else {
        return Err(format!("{} semicolons, not 4", fields.len() - 1));
    };
    let end =
        measured.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(measured.len());
    let (value, unit) = measured.split_at(end);
    if !is_number(value) || !["", "s", "B", "%"].contains(&unit) {
        return Err(format!("'{measured}' is no number with a unit"));
    }
    if let Some(bad) = [warning, critical].into_iter().find(|range| !range.is_empty() && !is_range(range)) {
        return Err(format!("'{bad}' is no range"));
    }
    if min != "0" || !max.is_empty() {
        return Err("min is 0, max is open".into());
    }
    let limits = [warning, critical].map(str::to_owned);
    Ok((label.to_owned(), Perf { value: value.parse().map_err(|_| "no number")?, unit: unit.to_owned(), limits }))
}

#[test]
fn the_perfdata_parser_is_strict() {
    let nagios = |output: &str| nagios(&CHECKS[0], output);
    let reads = |perfdata: &str| nagios(&format!("CLOSEWAIT OK - fine | {perfdata}\n"));
    for good in ["a=1;;;0;", "a_1=1.5s;~:10;@5:6;0; b=0%;5;10:;0;", "a=7B;-5:5;0:;0;"] {
        assert!(reads(good).is_ok(), "{good}: {:?}", reads(good));
    }
    for bad in [
        "a=1",
        "a=1;;;0",
        "a=1;;;0;;",
        "a=1;;;;",
        "a=1;;;0;9",
        "'a'=1;;;0;",
        "A=1;;;0;",
        "a b=1;;;0;",
        "=1;;;0;",
        "a=;;;0;",
        "a=1e5;;;0;",
        "a=-1;;;0;",
        "a=1c;;;0;",
        "a=1.;;;0;",
        "a=nan;;;0;",
        "a=1ms;;;0;",
        "a=1;0:10;;0;",
        "a=1;x;;0;",
        "a=1;5:1:2;;0;",
        "a=1;;;0; a=1;;;0;",
        "a=1;;;0;  b=1;;;0;",
        "a=1;;;0; ",
        "a=1;;;0; | b=1;;;0;",
        "",
    ] {
        assert!(reads(bad).is_err(), "{bad}");
    }
    for bad in [
        "CLOSEWAIT OK - fine | a=1;;;0;",
        "CLOSEWAIT OK - x=1 | a=1;;;0;\n",
        "CLOSEWAIT FINE - x | a=1;;;0;\n",
        "CLOSEWAIT OK - x\n",
        "CLOSEWAIT OK - x\nlong | a=1;;;0;\n",
        "OK - x | a=1;;;0;\n",
        "CLOSEWAIT OK - x | a=1;;;0;\n\nlong\n",
        "CLOSEWAIT OK x | a=1;;;0;\n",
        "CLOSEWAIT OK - \u{1b}[2K | a=1;;;0;\n",
    ] {
        assert!(nagios(bad).is_err(), "{bad}");
    }
    assert!(nagios(&format!("CLOSEWAIT OK - {} | a=1;;;0;\n", "x".repeat(900))).is_err());
}

fn exit_code(state: &str) -> i32 {
    ["OK", "WARNING", "CRITICAL", "UNKNOWN"].iter().position(|known| *known == state).map_or(-1, |code| code as i32)
}

#[test]
fn nagios_outputs_read_back() {
    let mut states = BTreeSet::new();
    each_case("nagios", |check, name, run, read| {
        if exit_code(&read.state) != run.exit || !name.starts_with(&read.state.to_lowercase()) {
            return Err(format!("state {} and exit {} don't agree", read.state, run.exit));
        }
        states.insert((check.name, read.state.clone()));
        let labels = read.perfdata.keys().map(String::as_str);
        let labels: Vec<_> = labels.filter(|label| !label.starts_with("tenant_")).collect();
        if labels == (check.labels)(name) { Ok(()) } else { Err(format!("labels {labels:?}")) }
    });
    assert_eq!(states.len(), 4 * CHECKS.len(), "{states:?}");
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
        if json["schema"] != 1 || json["check"] != check.name || json["exit_code"] != run.exit {
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
        if let (Some(group), Some(metric)) = (oldest(&json["groups"]), metrics.get("close_wait_oldest"))
            && group != metric.value
        {
            return Err(format!("the oldest group has {group} s"));
        }
        if metrics == told.perfdata { Ok(()) } else { Err(format!("nagios says {:?}", told.perfdata)) }
    });
}

fn metrics(json: &Value) -> Result<BTreeMap<String, Perf>, String> {
    let mut metrics = BTreeMap::new();
    for metric in json["metrics"].as_array().ok_or("no metrics")? {
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
        let limits = [limit("warning")?, limit("critical")?];
        if metrics.insert(text("name")?, Perf { value, unit: text("unit")?, limits }).is_some() {
            return Err(format!("doubled metric {metric}"));
        }
    }
    Ok(metrics)
}

/// A sample's labels and value by its name; of a tenant, with that.
type Samples = BTreeMap<String, (BTreeMap<String, String>, f64)>;

/// The text format: HELP, TYPE and sample of each family in this order, each family once. Only that of
/// the tenants has several samples, or none.
fn prometheus(output: &str) -> Result<Samples, String> {
    if !output.ends_with('\n') {
        return Err("the last line is not ended".into());
    }
    let mut lines = output.lines().peekable();
    let mut samples = BTreeMap::new();
    while let Some(help) = lines.next() {
        let kind = lines.next().ok_or("no TYPE")?;
        let family: Vec<_> = std::iter::from_fn(|| lines.next_if(|line| !line.starts_with('#'))).collect();
        let help = help.strip_prefix("# HELP ").ok_or(format!("no HELP: {help}"))?;
        let (name, words) = help.split_once(' ').ok_or(format!("no words: {help}"))?;
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if words.trim().is_empty() || !name.strip_prefix("connleak_").is_some_and(|rest| rest.bytes().all(plain)) {
            return Err(format!("HELP {help}"));
        }
        if kind != format!("# TYPE {name} gauge") {
            return Err(format!("TYPE of {name}: {kind}"));
        }
        if family.len() != 1 && name != "connleak_tenant_share" {
            return Err(format!("{} samples of {name}", family.len()));
        }
        for sample in family {
            let rest = sample.strip_prefix(name).and_then(|rest| rest.strip_prefix('{'));
            let (labels, value) = rest.and_then(|rest| rest.split_once("} ")).ok_or(format!("sample {sample}"))?;
            if !is_number(value) {
                return Err(format!("'{value}' is no plain number"));
            }
            let value = value.parse().map_err(|_| format!("value {value}"))?;
            let mut labels = labels_of(labels)?;
            let tenant = labels.remove("tenant").map_or(String::new(), |tenant| format!(" {tenant}"));
            if samples.insert(format!("{name}{tenant}"), (labels, value)).is_some() {
                return Err(format!("family {name} twice"));
            }
        }
    }
    Ok(samples)
}

fn labels_of(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").ok_or(format!("labels {text}"))?;
        // None of our labels needs an escape; one would be a surprise worth a failure.
        let (value, after) = after.split_once('"').ok_or(format!("labels {text}"))?;
        if !name.bytes().all(|byte| byte.is_ascii_lowercase()) || value.contains('\\') {
            return Err(format!("label {name}"));
        }
        if labels.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(format!("label {name} twice"));
        }
        rest = match after.strip_prefix(',') {
            Some(more) if !more.is_empty() => more,
            None if after.is_empty() => "",
            _ => return Err(format!("labels {text}")),
        };
    }
    Ok(labels)
}

#[test]
fn the_prometheus_parser_is_strict() {
    let family = |sample: &str| format!("# HELP connleak_a Words.\n# TYPE connleak_a gauge\n{sample}\n");
    let good = family("connleak_a{check=\"x\",port=\"1,2\"} 5.5");
    assert_eq!(prometheus(&good).unwrap()["connleak_a"].0["port"], "1,2");
    assert!(prometheus(&good.repeat(2)).is_err(), "a family twice");
    assert!(prometheus(good.trim_end()).is_err(), "no last newline");
    assert!(prometheus(&good.replace(" gauge", " counter")).is_err());
    assert!(prometheus(&good.replace(" Words.", "")).is_err());
    for bad in [
        "connleak_a{check=\"x\"} NaN",
        "connleak_a{check=\"x\"} 1e5",
        "connleak_a{check=\"x\"}5",
        "connleak_b{check=\"x\"} 5",
        "connleak_a 5",
        "connleak_a{check=\"x\",} 5",
        "connleak_a{check=\"x\",check=\"y\"} 5",
        "connleak_a{check=x} 5",
        "connleak_a{check=\"x} 5",
        "connleak_a{check=\"x\"} 5 123",
    ] {
        assert!(prometheus(&family(bad)).is_err(), "{bad}");
    }
}

#[test]
fn prometheus_outputs_agree_with_nagios() {
    each_case("prometheus", |_, _, run, told| {
        let mut samples = prometheus(&run.stdout)?;
        let (labels, state) = samples.remove("connleak_state").ok_or("no connleak_state")?;
        if state != f64::from(run.exit) || run.exit != exit_code(&told.state) {
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
        let is_nobodys = told.perfdata.is_empty() && names == ["check"];
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
        let mut perfdata: Vec<_> = told.perfdata.iter().map(|(name, perf)| named(name, perf.value)).collect();
        values.sort();
        perfdata.sort();
        if values == perfdata { Ok(()) } else { Err(format!("nagios says {perfdata:?}")) }
    });
}
