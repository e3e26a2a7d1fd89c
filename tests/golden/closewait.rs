//! The recordings of check_closewait, and the labels of its perfdata.

use crate::Goldens;
use crate::suite;

pub const GOLDENS: Goldens = Goldens {
    program: suite::CLOSEWAIT,
    cases: CASES,
    labels: |case| match case {
        case if case.ends_with("no_recording") => &[],
        case if case.ends_with("ages_unknown") || ["ok_without_ipv6", "unknown_oldest"].contains(&case) => {
            &["close_wait", "close_wait_ratio", "established", "spares"]
        }
        _ => &["close_wait", "close_wait_oldest", "close_wait_ratio", "close_wait_young", "established", "spares"],
    },
};

const CASES: &[(&str, &str)] = &[
    ("ok", "-p 11211 --replay tests/fixtures/calm/dump.nl"),
    ("ok_client_side", "-p 6379 --side client --replay tests/fixtures/calm/dump.nl"),
    ("ok_nothing_there", "-P kafka --replay tests/fixtures/calm/dump.nl"),
    ("ok_several_ports", "-P ldap -p 389,636,11211 --side server --replay tests/fixtures/calm/dump.nl"),
    ("ok_ages_unknown", "-p 11211 --proc-root tests/fixtures/calm"),
    ("ok_without_ipv6", "-p 4711 --proc-root tests/fixtures/no_ipv6"),
    ("warning", "-p 11211 --replay tests/fixtures/leak/dump.nl"),
    ("critical_server_side", "-v -p 11211 -c 6 --side server --replay tests/fixtures/leak/dump.nl"),
    ("warning_sockets", "-vv --top 3 -p 11211 --replay tests/fixtures/leak/dump.nl"),
    ("warning_ages_unknown", "-p 11211 --proc-root tests/fixtures/leak"),
    ("warning_one_peer", "-p 11211 --peer 127.0.0.2 -w 2 --ratio-min-count 9 --replay tests/fixtures/leak/dump.nl"),
    ("critical_unix_ages_unknown", "-vv --unix /run/mysqld/mysqld.sock -c 4 --replay tests/fixtures/unix/unix.nl"),
    ("ok_expected", "-v -p 11211 --expected 8 --replay tests/fixtures/leak/dump.nl"),
    ("warning_part_of_few", "-p 6379 --replay tests/fixtures/leak/dump.nl"),
    ("critical", "-p 6379 -c 20 --replay tests/fixtures/leak/dump.nl"),
    (
        "critical_all_reasons",
        "-p 11211 --min-age 0s -c 8 --ratio-critical 10 --oldest-critical 1m --replay tests/fixtures/leak/dump.nl",
    ),
    ("critical_both_sides", "-vv --top 20 -p 11211 -c 11 --by peer --replay tests/fixtures/both_sides/dump.nl"),
    ("critical_by_user", "-v -p 6379 -c 20 --by user --user 33 --replay tests/fixtures/leak/dump.nl"),
    ("critical_not_accepted", "-vv --top 10 -p 4711 -c 7 --replay tests/fixtures/leak/dump.nl"),
    ("critical_incomplete", "-p 11211 -c 5 --replay tests/fixtures/no_ipv6/dump.nl"),
    ("critical_ages_unknown", "-vv --top 2 -p 11211 -c 11 --by tenant --proc-root tests/fixtures/both_sides"),
    ("unknown_keepalive", "-p 11211 --replay tests/fixtures/keepalive/dump.nl"),
    (
        "unknown_whose",
        "-p 4711 --user 0 -w 7 --ratio-warning 200 --ratio-critical 200 --replay tests/fixtures/leak_no_listener/dump.nl",
    ),
    (
        "warning_listener_tells_whose",
        "-p 4711 --user 0 -w 7 --ratio-warning 200 --ratio-critical 200 --replay tests/fixtures/leak/dump.nl",
    ),
    ("unknown_one_family", "-p 6379 --replay tests/fixtures/no_ipv6/dump.nl"),
    ("unknown_oldest", "-p 11211 --oldest-warning 5m --proc-root tests/fixtures/calm"),
    ("unknown_no_recording", "-p 11211 --replay tests/fixtures/calm/missing.nl"),
];
