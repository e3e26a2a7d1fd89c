//! check_orphans_after_stop.

use crate::profiles::Files;
use crate::suite::ORPHANS;
use crate::{CALM, REPLAY, text, words};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// `line` as a command line of check_orphans_after_stop on a calm host.
fn stopped(line: &str) -> Vec<String> {
    [vec![CALM.to_owned(), "-p11211".to_owned(), "--wait=0s".to_owned()], words(line)].concat()
}

#[test]
fn stops_options() {
    let cases: &[(&str, &[&str])] = &[
        ("--wait 5x", &["--wait", "'5x'", "60s, 20m"]),
        ("--wait -1", &["--wait", "'-1'", "60s, 20m"]),
        ("--wait", &["'--wait' needs a value", "DURATION"]),
        ("--ignore TIMEWAIT", &["--ignore", "'TIMEWAIT'", "TIME_WAIT"]),
        ("--ignore ''", &["--ignore", "''", "TIME_WAIT"]),
        ("--ignore TIME_WAIT,FIN_WAIT2", &["--ignore", "'TIME_WAIT,FIN_WAIT2'"]),
        ("-c 5:1", &["--critical", "'5:1'"]),
        ("--", &["no command after '--'", "--help"]),
        ("-- ''", &["stop command ''", "can't be run"]),
        ("-- no-such-program", &["stop command 'no-such-program'", "can't be run", "No such file"]),
        ("-- tests", &["stop command 'tests'", "can't be run"]),
        ("-- false -p 6379", &["stop command 'false -p 6379'", "exit status 1"]),
        ("true", &["unexpected argument 'true'", "--help"]),
        ("--baseline x -- true", &["--baseline and a stop command", "together", "--help"]),
        ("--save-baseline x -- true", &["--save-baseline and a stop command", "together"]),
        ("--save-baseline x --baseline x", &["--save-baseline and --baseline", "together"]),
        ("--unit x -- true", &["a stop command and --unit, --process or --pid-file", "together"]),
        ("--process x --baseline y", &["--baseline and --unit, --process or --pid-file", "together"]),
        ("--pid-file x --save-baseline y", &["--save-baseline and --unit, --process or --pid-file", "together"]),
    ];
    ORPHANS.all_refused(&cases.iter().map(|(line, says)| (stopped(line), *says)).collect::<Vec<_>>());
    let mixed = |line: &str| words(&format!("-p 11211 {REPLAY} {line}"));
    ORPHANS.all_refused(&[
        (words(""), &["which service?", "-p 11211", "--help"][..]),
        (mixed("-- true"), &["a stop command and --replay", "together"]),
        (mixed("--baseline x"), &["--baseline and --replay", "together"]),
        (mixed("--unit x"), &["--unit, --process or --pid-file and --replay", "together"]),
    ]);
}

#[test]
fn baselines() {
    let files = Files::new();
    let path = files.path("good.json").to_str().unwrap().to_owned();
    let saved = ORPHANS.command(&["-p11211", CALM, "--save-baseline", &path]).output().unwrap();
    assert_eq!(saved.status.code(), Some(0), "{}", text(&saved));
    let judged = ORPHANS.command(&stopped(&format!("--baseline {path}"))).output().unwrap();
    assert_eq!(judged.status.code(), Some(2), "the saved one is good: {}", text(&judged));
    let good = fs::read_to_string(&path).unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    const REMEDY: &str = "take a new one with --save-baseline";
    let noise = vec![0xff; 64];
    let mut cases: Vec<(&str, Vec<u8>, &[&str])> = vec![
        ("empty", vec![], &["cut short", REMEDY]),
        ("text", b"11211\n".to_vec(), &["not a baseline of connleak", REMEDY]),
        ("json", b"{\"schema\": 1}".to_vec(), &["not a baseline of connleak", REMEDY]),
        ("list", b"[1]".to_vec(), &["not a baseline of connleak", REMEDY]),
        ("noise", noise, &["not UTF-8 at byte 0", "right file?"]),
        ("boot", good.replace(boot.trim(), "0").into(), &["from another boot", REMEDY]),
        ("netns", good.replace("\"netns\":", "\"netns\":1").into(), &["another network namespace", REMEDY]),
        (
            "format",
            good.replace("_baseline\":1", "_baseline\":2").into(),
            &["a baseline of format 2, this is 1", REMEDY],
        ),
        ("service", good.replace("[11211]", "[6379]").into(), &["of ports [6379], not 11211", REMEDY]),
        ("key", good.replacen('{', "{\"x\":1,", 1).into(), &["not a baseline of connleak", REMEDY]),
        ("address", good.replace("127.0.0.1", "127.0.0.x").into(), &["not a baseline of connleak", REMEDY]),
    ];
    // Wherever it is cut: never a baseline with fewer sockets. The last two bytes are the brace and the newline.
    for end in (1..good.len() - 1).step_by(good.len() / 40) {
        cases.push(("cut", good.as_bytes()[..end].to_vec(), &["cut short", REMEDY]));
    }
    for (name, content, says) in cases {
        let path = files.put(&format!("{name}.json"), &content);
        let file = format!("{name}.json: ");
        ORPHANS.all_refused(&[(stopped(&format!("--baseline {path}")), &[&[file.as_str()], says].concat()[..])]);
    }
    let missing = files.path("missing.json");
    ORPHANS.all_refused(&[
        (stopped(&format!("--baseline {}", missing.display())), &["missing.json", "No such file"][..]),
        (stopped("--baseline tests/"), &["tests/", "directory"]),
        (stopped("--baseline ''"), &["can't read"]),
        (stopped(&format!("--save-baseline {}/x", missing.display())), &["can't write", "missing.json/x"]),
        (stopped("--save-baseline tests/"), &["can't write tests/"]),
        (stopped(&format!("--save-baseline {path} --proc-root tests/no_such")), &["tests/no_such"]),
    ]);
    assert_eq!(fs::read_to_string(&path).unwrap(), good, "a refused save leaves the old one");
}

#[test]
fn watched_services() {
    let files = Files::new();
    let state = files.path("state").to_str().unwrap().to_owned();
    let here = |line: &str| words(&format!("-p 4 --state-dir {state} {line}"));
    let pid_file = |name: &str, content: &[u8]| here(&format!("--pid-file {}", files.put(name, content)));
    let nothing = ORPHANS.command(&here("--pid-file /no/such.pid")).output().unwrap();
    assert_eq!(nothing.status.code(), Some(0), "no file, no service: {}", text(&nothing));
    let file = files.put("file", "");
    let blocked = files.put("blocked/0", "");
    let blocked = Path::new(&blocked).parent().unwrap().display().to_string();
    let mut cases: Vec<(Vec<String>, &[&str])> = vec![
        (pid_file("empty.pid", b""), &["empty.pid", "''", "not a process id"]),
        (pid_file("word.pid", b"nginx\n"), &["word.pid", "'nginx'", "not a process id"]),
        (pid_file("two.pid", b"17 18\n"), &["two.pid", "'17 18'", "not a process id"]),
        (pid_file("lines.pid", b"17|x=1\n18\n"), &["lines.pid", "'17/x:1'", "not a process id"]),
        (pid_file("zero.pid", b"0"), &["'0'", "not a process id"]),
        (pid_file("negative.pid", b"-1"), &["'-1'", "not a process id"]),
        (pid_file("huge.pid", b"99999999999999999999"), &["'99999999999999999999'", "not a process id"]),
        (pid_file("latin1.pid", b"\xe9"), &["latin1.pid", "not UTF-8"]),
        (pid_file("large.pid", &[b'1'; 5000]), &["large.pid", "over 4 KiB"]),
        (here("--pid-file ''"), &["--pid-file has no name", "--help"]),
        (here("--process ''"), &["--process has no name", "--help"]),
        (here("--unit ''"), &["--unit has no name", "--help"]),
        (here("--unit / --process x"), &["--unit has no name", "--help"]),
        (here("--pid-file tests/"), &["tests/", "directory"]),
        (words(&format!("-p 4 --process x --state-dir {file}")), &["can't make the state directory", "file"]),
        (words("-p 4 --process x --state-dir ''"), &["--state-dir has no name"]),
        (words(&format!("-p 4 --process x {CALM} --state-dir {state}")), &["tests/fixtures/calm", "as root"]),
    ];
    if fs::metadata(&state).unwrap().uid() == 0 {
        cases.push((words(&format!("-p 4 --process x --state-dir {blocked}")), &["can't make the state directory"]));
    }
    ORPHANS.all_refused(&cases);
}
