//! The recordings of check_orphans_after_stop, and the labels of its perfdata.

use crate::Goldens;
use crate::suite;

pub const GOLDENS: Goldens = Goldens {
    program: suite::ORPHANS,
    cases: CASES,
    labels: |case| match case {
        "unknown_no_recording" | "unknown_command" | "unknown_baseline" => &[],
        _ => &["bound", "drained_after", "held", "kernel", "listen", "new", "orphans", "time_wait"],
    },
};

/// Nothing moves in a recording, so none of these waits.
const CASES: &[(&str, &str)] = &[
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
    ("critical_kernel", "-vv -p 11211 --side client --wait 0s --ignore none --replay tests/fixtures/calm/dump.nl"),
    (
        "ok_kernel",
        "-vv -p 11211 --side client --ignore TIME_WAIT --ignore ESTABLISHED --replay tests/fixtures/calm/dump.nl",
    ),
    ("critical_incomplete", "-p 11211 --replay tests/fixtures/no_ipv6/dump.nl"),
    ("unknown_one_family", "-p 9092 --replay tests/fixtures/no_ipv6/dump.nl"),
    ("unknown_whose", "-p 4711 --user 0 -c 7 --replay tests/fixtures/leak_no_listener/dump.nl"),
    ("unknown_no_recording", "-p 11211 --replay tests/fixtures/calm/missing.nl"),
    ("unknown_command", "-v -p 9092 --wait 0s --proc-root tests/fixtures/calm -- false"),
    ("unknown_baseline", "-p 11211 --baseline tests/fixtures/calm/missing.json"),
];
