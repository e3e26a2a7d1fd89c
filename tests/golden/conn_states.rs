//! The recordings of check_conn_states, and the labels of its perfdata.

use crate::Goldens;
use crate::suite;

pub const GOLDENS: Goldens = Goldens {
    program: suite::STATES,
    cases: CASES,
    labels: |case| match case {
        "unknown_no_recording" => &[],
        "ok_ages_unknown" | "unknown_age" => WITHOUT_AGES,
        "unknown_backlog" => WITHOUT_BACKLOG,
        _ => STATE_LABELS,
    },
};

const CASES: &[(&str, &str)] = &[
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
