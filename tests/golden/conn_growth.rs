//! The recordings of check_conn_growth, and the labels of its perfdata.

use crate::Goldens;
use crate::suite;

pub const GOLDENS: Goldens = Goldens {
    program: suite::GROWTH,
    cases: CASES,
    // Recorded tables of /proc tell no silences.
    labels: |case| match case {
        "unknown_no_limit" => &["closed", "connections", "growth", "opened", "suspects"],
        case if case.starts_with("unknown") => &[],
        case if case.contains("first_run") => &["connections", "growth", "left", "limit", "suspects", "used"],
        _ => &["closed", "connections", "growth", "left", "limit", "opened", "suspects", "used"],
    },
};

/// Each on a history of its own, which is where the options say `@`; `N runs: ` are made before it.
const CASES: &[(&str, &str)] = &[
    ("ok_first_run", "-v -p 11211 --proc-root tests/fixtures/calm --state-dir @"),
    ("ok_learning", "2 runs: -p 11211 --limit 40 --proc-root tests/fixtures/leak --state-dir @ --rehearse 3600"),
    ("ok_steady", "4 runs: -vv -p 11211 --limit 40 --proc-root tests/fixtures/leak --state-dir @ --rehearse 3600"),
    (
        "ok_steady_full",
        "4 runs: -p 6379 --side client --limit 25 --proc-root tests/fixtures/leak --state-dir @ --rehearse 3600",
    ),
    ("warning_full", "4 runs: -p 6379 --limit 25 --proc-root tests/fixtures/leak --state-dir @ --rehearse 3600"),
    (
        "ok_usual_not_known",
        "4 runs: -p 11211 --limit 40 --usual-warning 50 --proc-root tests/fixtures/leak --state-dir @ --rehearse 3600",
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
    ("unknown_no_limit", "4 runs: -p 4711 --proc-root tests/fixtures/leak --state-dir @ --rehearse 3600"),
    ("unknown_process", "--pid 4194304 --state-dir @"),
    ("unknown_descriptors", "--pid 4194304 --metric fds --state-dir @"),
];
