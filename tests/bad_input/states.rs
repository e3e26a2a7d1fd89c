//! check_conn_states.

use crate::suite::STATES;
use crate::words;

#[test]
fn thresholds_by_state() {
    let cases: &[(&str, &[&str])] = &[
        ("--state ''", &["--state", "''", "TIME_WAIT:5000:20000"]),
        ("--state TIME_WAIT", &["--state", "'TIME_WAIT'", "STATE:WARN:CRIT"]),
        ("--state TIME_WAIT::", &["--state", "neither WARN nor CRIT"]),
        ("--state TIMEWAIT:5:10", &["--state", "'TIMEWAIT'", "TIME_WAIT"]),
        ("--state :5:10", &["--state", "''", "ESTABLISHED"]),
        ("--state 0D:5:10", &["--state", "'0D'", "ESTABLISHED"]),
        ("--state TIME_WAIT:x:10", &["--state", "'x'", "not a number"]),
        ("--state TIME_WAIT:5:10:", &["--state", "'TIME_WAIT:5:10:'", "ranges with a colon"]),
        ("--state TIME_WAIT,5:1,", &["--state", "'5:1'", "start is above its end"]),
        ("--ratio-warning x", &["--ratio-warning", "'x'", "not a number"]),
        ("--ratio-min-count -1", &["--ratio-min-count", "'-1'"]),
        ("--queue-critical 9:1", &["--queue-critical", "'9:1'"]),
        ("--half-open-warning %", &["--half-open-warning", "'%'"]),
        ("--ports-warning ''", &["--ports-warning", "empty"]),
        ("--stuck-warning 1e3", &["--stuck-warning", "'1e3'"]),
        ("--min-age 5x", &["--min-age", "'5x'", "60s, 20m"]),
        ("--baseline always", &["--baseline", "'always'", "auto or none"]),
        ("--baseline-warning x", &["--baseline-warning", "'x'"]),
        ("--usual auto --replay tests/fixtures/mixed/dump.nl", &["--usual", "--replay"]),
        ("--baseline auto --state-dir ''", &["--state-dir has no name"]),
        ("--side left", &["--side", "'left'"]),
    ];
    let with_port = |line: &str| [words(line), words("-p 11211")].concat();
    STATES.all_refused(&cases.iter().map(|(line, says)| (with_port(line), *says)).collect::<Vec<_>>());
    STATES.all_refused(&[(words(""), &["which service?"][..])]);
}
