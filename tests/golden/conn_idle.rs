//! The recordings of check_conn_idle, and the labels of its perfdata.

use crate::Goldens;
use crate::suite;

pub const GOLDENS: Goldens = Goldens {
    program: suite::IDLE,
    cases: CASES,
    labels: |case| match case {
        "unknown_no_recording" => &[],
        case if case.ends_with("silence_unknown") => &["established", "unread", "unsent"],
        _ => &[
            "established",
            "idle",
            "idle_oldest",
            "idle_share",
            "never_used",
            "no_keepalive",
            "spares",
            "unread",
            "unsent",
        ],
    },
};

const CASES: &[(&str, &str)] = &[
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
    (
        "unknown_whose",
        "-p 4711 --side server --min-age 60s --user 33 -w 4 --replay tests/fixtures/mixed_no_listener/dump.nl",
    ),
    (
        "ok_listener_tells_whose",
        "-p 4711 --side server --min-age 60s --user 33 -w 4 --replay tests/fixtures/mixed/dump.nl",
    ),
    ("unknown_one_family", "-p 11211 --replay tests/fixtures/no_ipv6/dump.nl"),
    ("unknown_no_recording", "-p 11211 --replay tests/fixtures/mixed/missing.nl"),
];
