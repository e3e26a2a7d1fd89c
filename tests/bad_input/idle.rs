//! check_conn_idle.

use crate::suite::IDLE;
use crate::{CALM, words};

#[test]
fn idle_options() {
    let cases: &[(&str, &[&str])] = &[
        ("--min-age ''", &["--min-age", "60s, 20m"]),
        ("--min-age 1000y", &["--min-age", "'1000y'"]),
        ("--expected -1", &["--expected", "'-1'", "--help"]),
        ("--expected x", &["--expected", "'x'", "--help"]),
        ("--never-used-warning x", &["--never-used-warning", "'x'", "not a number"]),
        ("--never-used-critical 2:1", &["--never-used-critical", "'2:1'"]),
        ("--share-warning 5%", &["--share-warning", "'5%'", "not a number"]),
        ("--share-critical ''", &["--share-critical", "empty"]),
        ("--share-min-count 1.5", &["--share-min-count", "'1.5'", "--help"]),
        ("--oldest-warning nan", &["--oldest-warning", "'nan'"]),
        ("--oldest-critical -5", &["--oldest-critical", "'-5'"]),
        ("--keepalive=yes", &["'--keepalive' takes no value"]),
        ("-w x", &["--warning", "'x'"]),
    ];
    let with_port = |line: &str| [words(line), words("-p 11211"), vec![CALM.to_owned()]].concat();
    IDLE.all_refused(&cases.iter().map(|(line, says)| (with_port(line), *says)).collect::<Vec<_>>());
    IDLE.all_refused(&[(words(""), &["which service?"][..])]);
}
