//! check_conn_tenants.

use crate::suite::TENANTS;
use crate::{CALM, REPLAY, words};
use std::fs;

#[test]
fn tenants_options() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let cases: &[(&str, &[&str])] = &[
        ("--key tenant", &["--key", "'tenant'", "peer/24, cwd:REGEX"]),
        ("--key ''", &["--key", "''", "unit, user"]),
        ("--key unit:x", &["'unit:x'"]),
        ("--key cgroup", &["'cgroup'", "cgroup:DEPTH"]),
        ("--key cgroup:0", &["'0'", "1 to 64", "cgroup:2"]),
        ("--key cgroup:99999999999999999999", &["'99999999999999999999'", "1 to 64"]),
        ("--key peer/33", &["'33'", "0 to 32", "peer/24"]),
        ("--key peer/64", &["'64'", "peer/24,64"]),
        ("--key peer/24,129", &["'129'", "0 to 128"]),
        ("--key peer:24", &["'peer:24'"]),
        ("--key cwd:", &["'cwd:'"]),
        ("--key cwd:(", &["'cwd:('", "group", "regex"]),
        ("--key cmd:[z-a]", &["'cmd:[z-a]'", "range"]),
        ("--key cmd:a{9999999}", &["'cmd:a{9999999}'"]),
        ("--key map:", &["'map:'"]),
        ("--key map:tests/no_such.yaml", &["tests/no_such.yaml", "No such file"]),
        ("--key map:tests", &["can't read tests"]),
        ("--key map:/dev/zero", &["/dev/zero", "over 2048 KiB", "right file"]),
        ("--limit 0", &["--limit", "'0'"]),
        ("--limit -1", &["--limit", "'-1'"]),
        ("--limit auto", &["--limit", "'auto'"]),
        ("--min-count x", &["--min-count", "'x'"]),
        ("--min-age 5x", &["--min-age", "'5x'", "60s, 20m"]),
        ("--idle-age ''", &["--idle-age", "''"]),
        ("--close-wait-warning x", &["--close-wait-warning", "'x'"]),
        ("--idle-critical 9:1", &["--idle-critical", "'9:1'"]),
        ("--outliers-warning nan", &["--outliers-warning", "'nan'"]),
    ];
    let with_port = |line: &str| [words(line), words("-p 11211"), vec![CALM.to_owned()]].concat();
    TENANTS.all_refused(&cases.iter().map(|(line, says)| (with_port(line), *says)).collect::<Vec<_>>());
    // A recording has no processes.
    let paths = file("paths.yaml", b"a: {users: [a], paths: [/home/a]}\n");
    for key in ["unit", "container", "cgroup:1", "cwd:x", "cmd:x", &format!("map:{paths}")] {
        let args = [words("-p 11211 --key"), vec![key.to_owned(), REPLAY.to_owned()]].concat();
        TENANTS.all_refused(&[(args, &[key, "--replay", "--key user, peer/24"][..])]);
    }
    let maps: &[(&[u8], &[&str])] = &[
        (b"", &["names no tenant", "Tenants by file"]),
        (b"\xff\xfe", &["not UTF-8 at byte 0"]),
        (b"a: [", &["line"]),
        (b"a: {users: [x]}\na: {users: [y]}\n", &["line 2", "duplicate tenant 'a'"]),
        (b"a:\n  users: [x]\n  nets: [10.0.0.0/8]\n", &["line 3", "nets", "cidrs"]),
        (b"a: {cidrs: [10.0.0.0/33]}\n", &["line 1", "'10.0.0.0/33'"]),
        (b"a: {users: [5000000000]}\n", &["line 1", "5000000000"]),
        (b"a: {users: [{x: 1}]}\n", &["line 1", "a user's name or uid"]),
        (b"b: {users: [x]}\na: {paths: [home]}\n", &["line 2", "'home'", "begin with /"]),
        (b"a: {}\n", &["line 1", "tenant 'a'", "give it cidrs"]),
    ];
    for (content, says) in maps {
        let map = file("map.yaml", content);
        let args = [words("-p 11211 --key"), vec![format!("map:{map}"), CALM.to_owned()]].concat();
        TENANTS.all_refused(&[(args, &[says, &["map.yaml"][..]].concat()[..])]);
    }
    let profiles: &[(&str, &[&str])] = &[
        ("key: tenant", &["line 3", "'tenant'", "cgroup:DEPTH"]),
        ("key: peer/40", &["line 3", "'40'"]),
        ("kye: unit", &["line 3", "kye", "min_count"]),
        ("min_count: -1", &["line 3"]),
        ("share: {warning: 50}", &["line 3", "quote ranges"]),
    ];
    for (line, says) in profiles {
        let profile = file("p.yaml", format!("service: p\nports: [11211]\ntenants: {{{line}}}\n").as_bytes());
        TENANTS
            .all_refused(&[(vec!["-P".to_owned(), profile, CALM.to_owned()], &[says, &["p.yaml"][..]].concat()[..])]);
    }
}
