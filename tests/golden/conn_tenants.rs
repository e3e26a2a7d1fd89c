//! The recordings of check_conn_tenants, and the labels of its perfdata.

use crate::Goldens;
use crate::suite;

pub const GOLDENS: Goldens = Goldens {
    program: suite::TENANTS,
    cases: CASES,
    labels: |case| match case {
        "unknown_no_recording" | "unknown_key" => &[],
        case if case.ends_with("ages_unknown") => &TENANT_LABELS_WITHOUT_IDLE,
        _ => &TENANT_LABELS,
    },
};

const CASES: &[(&str, &str)] = &[
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
    ("critical_incomplete", "-p 11211 --key user --limit 4 --replay tests/fixtures/no_ipv6/dump.nl"),
    ("unknown_tenants", "-p 11211 --side server --key user --replay tests/fixtures/leak/dump.nl"),
    ("unknown_ages_unknown", "-p 11211 --key peer/8 --idle-warning 2 --proc-root tests/fixtures/calm"),
    ("unknown_keepalive", "-p 11211 --key peer/8 --close-wait-warning 0 --replay tests/fixtures/keepalive/dump.nl"),
    ("unknown_key", "-p 11211 --key unit --replay tests/fixtures/calm/dump.nl"),
    ("unknown_no_recording", "-p 11211 --key user --replay tests/fixtures/calm/missing.nl"),
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
