//! check_conn_growth.

use crate::suite::GROWTH;
use crate::words;
use std::fs;

#[test]
fn growth_options() {
    let dir = tempfile::tempdir().unwrap();
    let state = format!("--state-dir={}", dir.path().display());
    let cases: &[(&str, &[&str])] = &[
        ("", &["which service?", "-p 11211", "--pid, --unit or --user"]),
        ("--peer ::1", &["which service?", "--pid, --unit or --user"]),
        ("--pid x", &["--pid", "'x'", "several as 17,4711"]),
        ("--pid 1,", &["--pid", "''", "several as 17,4711"]),
        ("--pid 0", &["--pid", "'0'"]),
        ("--pid -1", &["--pid", "'-1'"]),
        ("--pid 4194305", &["--pid", "'4194305'"]),
        ("--pid 4194304", &["no process 4194304 (--pid)", "--unit or --user"]),
        ("-p 4 --pid 4194304", &["no process 4194304 (--pid)"]),
        ("--pid 1 --unit x", &["--pid", "leave out --unit"]),
        ("--pid 1 --side server", &["--side", "-p or -P"]),
        ("--unit no-such", &["'no-such'", "systemctl status"]),
        ("--user no-such", &["'no-such'", "/etc/passwd"]),
        ("-p 4 --limit 0", &["--limit", "'0'", "a number of connections, bytes as 512M or 2G, or auto"]),
        ("-p 4 --limit x", &["--limit", "'x'", "or auto"]),
        ("-p 4 --limit -1", &["--limit", "'-1'", "or auto"]),
        ("-p 4 --limit 4294967296", &["--limit", "'4294967296'", "--metric rss"]),
        ("-p 4 --limit 2G", &["--limit", "too many connections", "--metric rss"]),
        ("-p 4 --metric fds --limit 512K", &["--limit", "too many fds", "--metric rss"]),
        ("-p 4 --metric rss --limit 1.5G", &["--limit", "'1.5G'", "512M or 2G"]),
        ("-p 4 --metric rss --limit 2X", &["--limit", "'2X'", "512M or 2G"]),
        ("-p 4 --metric memory", &["--metric", "'memory'", "connections, fds or rss"]),
        ("-p 4 --metric", &["--metric"]),
        ("--metric fds", &["which service?", "--pid, --unit or --user"]),
        ("--metric fds --unit x --peer ::1", &["--metric fds", "leave out --peer and --local"]),
        ("--metric rss --pid 1 --local ::1", &["--metric rss", "leave out --peer and --local"]),
        ("-p 4 --baseline-warning x", &["--baseline-warning", "'x'", "1 to 100000"]),
        ("-p 4 --baseline-warning 0", &["--baseline-warning", "'0'", "1 to 100000"]),
        ("-p 4 --baseline-warning -5", &["--baseline-warning", "'-5'"]),
        ("-p 4 --baseline-warning 50:", &["--baseline-warning", "'50:'"]),
        ("-p 4 --baseline-warning 100001", &["--baseline-warning", "'100001'"]),
        ("-p 4 --rehearse x", &["--rehearse", "'x'", "1 to 3600"]),
        ("-p 4 --rehearse 0", &["--rehearse", "'0'", "1 to 3600"]),
        ("-p 4 --rehearse 3601", &["--rehearse", "'3601'", "1 to 3600"]),
        ("-p 4 --left-warning x", &["--left-warning", "'x'", "20m"]),
        ("-p 4 --left-critical -5", &["--left-critical", "'-5'", "20m"]),
        ("-p 4 --left-critical 5,5", &["--left-critical", "'5,5'", "20m"]),
        ("-p 4 --limit", &["--limit"]),
        ("-p 4 --leak", &["--leak"]),
        ("-p 11211 --replay tests/fixtures/calm/dump.nl", &["--replay", "connleak backtest"]),
        ("-p 11211 --replay no/such", &["--replay", "connleak backtest"]),
    ];
    let with_state = |line: &str| [words(line), vec![state.clone()]].concat();
    GROWTH.all_refused(&cases.iter().map(|(line, says)| (with_state(line), *says)).collect::<Vec<_>>());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "what is refused leaves no trace");
    GROWTH.all_refused(&[(words("-p 4 --state-dir ''"), &["--state-dir has no name"][..])]);
    let gone: &[(&str, &[&str])] = &[
        ("--metric rss --unit no-such", &["no process of unit 'no-such'", "systemctl status"]),
        ("--metric fds --pid 4194304", &["process 4194304 (--pid) is gone"]),
    ];
    GROWTH.all_refused(&gone.iter().map(|(line, says)| (with_state(line), *says)).collect::<Vec<_>>());
}
