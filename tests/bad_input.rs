//! Bad input gets exit 3 and one line that names the bad token and the remedy; odd but good input
//! gets the right answer. Needs no root and no network namespace.

#[path = "support/suite.rs"]
mod suite;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use suite::{CLOSEWAIT, Check, GROWTH, IDLE, ORPHANS, STATES, TENANTS};
use tempfile::TempDir;

/// A calm host: 6 ESTABLISHED and 2 CLOSE_WAIT on 11211.
const CALM: &str = "--proc-root=tests/fixtures/calm";
const REPLAY: &str = "--replay=tests/fixtures/calm/dump.nl";

fn command<S: AsRef<OsStr>>(args: &[S]) -> Command {
    CLOSEWAIT.command(args)
}

fn run<S: AsRef<OsStr>>(args: &[S]) -> Output {
    command(args).output().expect("the binary starts")
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn flaw(output: &Output, says: &[&str]) -> Option<String> {
    CLOSEWAIT.flaw(output, says)
}

fn all_refused<S: AsRef<OsStr> + std::fmt::Debug>(cases: &[(Vec<S>, &[&str])]) {
    CLOSEWAIT.all_refused(cases);
}

impl Check {
    fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(self.0);
        command.current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("NAGIOS_CONFIG_PATH");
        command.args(args).stdin(Stdio::null());
        command
    }

    /// Why an output is not the one line of a refusal that says all of `says`; `None`: it is.
    fn flaw(&self, output: &Output, says: &[&str]) -> Option<String> {
        let stdout = String::from_utf8_lossy(&output.stdout);
        if output.status.code() != Some(3) {
            return Some(format!("exit {:?}", output.status));
        }
        if !output.stderr.is_empty() {
            return Some(format!("stderr: {}", String::from_utf8_lossy(&output.stderr)));
        }
        if !stdout.starts_with(&format!("{} UNKNOWN - ", self.short().to_uppercase()))
            || !stdout.ends_with('\n')
            || stdout.matches('\n').count() != 1
        {
            return Some("not one line of UNKNOWN".to_owned());
        }
        if stdout.len() > 901 {
            return Some(format!("{} bytes", stdout.len()));
        }
        // The machine-readable part may be missing, but never doubled.
        if stdout.matches('|').count() > 1
            || stdout.chars().any(|character| character.is_control() && character != '\n')
        {
            return Some("pipes or control characters".to_owned());
        }
        says.iter().find(|part| !stdout.contains(**part)).map(|part| format!("does not say '{part}'"))
    }

    /// Runs all cases and fails with all that are wrong, not only the first.
    fn all_refused<S: AsRef<OsStr> + std::fmt::Debug>(&self, cases: &[(Vec<S>, &[&str])]) {
        assert!(!cases.is_empty());
        let mut failures = Vec::new();
        for (args, says) in cases {
            let output = self.command(args).output().expect("the binary starts");
            if let Some(flaw) = self.flaw(&output, says) {
                failures.push(format!("{args:?}: {flaw}\n    {}", String::from_utf8_lossy(&output.stdout)));
            }
        }
        assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), cases.len(), failures.join("\n"));
    }
}

/// `&["-p 0"]` as words: split at blanks, `''` is the empty word.
fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(|word| if word == "''" { String::new() } else { word.to_owned() }).collect()
}

#[test]
fn the_checker_itself_refuses() {
    let output = |args: &[&str]| run(args);
    let usage = output(&["-p", "0"]);
    assert_eq!(flaw(&usage, &["'0'"]), None);
    assert!(flaw(&usage, &["no such words"]).is_some());
    assert!(flaw(&output(&["-p", "11211", CALM]), &[]).is_some(), "exit 0 passes");
    assert!(flaw(&output(&["-h"]), &[]).is_some(), "many lines pass");
    let mut noisy = usage;
    noisy.stderr.push(b'x');
    assert!(flaw(&noisy, &[]).is_some(), "stderr passes");
}

#[test]
fn ports_and_profiles() {
    let cases: &[(&str, &[&str])] = &[
        ("", &["which service?", "-p 11211", "-P memcached", "--help"]),
        ("-v", &["which service?"]),
        ("-p 0", &["--port", "'0'", "1 to 65535"]),
        ("-p 70000", &["--port", "'70000'", "1 to 65535"]),
        ("-p 65536", &["'65536'", "1 to 65535"]),
        ("-p ''", &["--port", "''", "1 to 65535"]),
        ("-p -1", &["--port", "'-1'", "1 to 65535"]),
        ("-p+5", &["--port", "'+5'", "1 to 65535"]),
        ("-p 1,,2", &["--port", "''", "several as 389,636"]),
        ("-p 80,", &["''", "several as 389,636"]),
        ("-p 11211-11213", &["'11211-11213'", "several as 389,636"]),
        ("-p http", &["'http'", "1 to 65535"]),
        ("-p ٣", &["'٣'", "1 to 65535"]),
        ("-p 11211 -p 0", &["'0'", "1 to 65535"]),
        ("-p 11211,6379", &["11211 (memcached)", "6379 (redis)", "check each by itself", "-P"]),
        ("-p 389 -p 443", &["389 (ldap)", "443 (http)"]),
        ("-P memcache", &["'memcache'", "known are cassandra, elasticsearch,", "memcached, mongodb", "or give a file"]),
        ("-P ''", &["unknown profile ''", "known are"]),
        ("-P generic", &["'generic'", "-p"]),
        ("-P .", &["'.'", "known are"]),
        ("-P tests/no_such.yaml", &["tests/no_such.yaml", "No such file"]),
    ];
    all_refused(&cases.iter().map(|(line, says)| (words(line), *says)).collect::<Vec<_>>());
    let many: Vec<String> = (1..=257).map(|port| format!("-p{}", 20_000 + port)).collect();
    all_refused(&[(many, &["257", "at most 256"][..])]);
}

#[test]
fn ranges_numbers_and_choices() {
    let cases: &[(&str, &[&str])] = &[
        ("-w 20:10", &["--warning", "'20:10'", "start is above its end", "5:10"]),
        ("-w nan", &["--warning", "'nan'", "not a number", "5:10"]),
        ("-w inf", &["'inf'", "not a number"]),
        ("-w ''", &["--warning", "''", "empty", "5:10"]),
        ("-w 1e5", &["--warning", "'1e5'", "not a number"]),
        ("-c 1,5", &["--critical", "'1,5'", "not a number"]),
        ("-c @", &["--critical", "'@'", "empty"]),
        ("-c 5%", &["--critical", "'5%'", "not a number"]),
        ("--ratio-warning x", &["--ratio-warning", "'x'", "not a number"]),
        ("--ratio-critical 9:1", &["--ratio-critical", "'9:1'"]),
        ("--ratio-min-count -1", &["--ratio-min-count", "'-1'", "--help"]),
        ("--ratio-min-count x", &["--ratio-min-count", "'x'", "--help"]),
        ("--min-age 5x", &["--min-age", "'5x'", "60s, 20m"]),
        ("--min-age -5", &["--min-age", "'-5'", "60s, 20m"]),
        ("--min-age 1000y", &["--min-age", "'1000y'", "60s, 20m"]),
        ("--oldest-warning ''", &["--oldest-warning", "''", "60s, 20m"]),
        ("--oldest-critical nan", &["--oldest-critical", "'nan'", "60s, 20m"]),
        ("-t 0", &["--timeout", "'0'", "10:critical"]),
        ("-t x", &["--timeout", "'x'", "10:critical"]),
        ("-t 5:bad", &["--timeout", "'5:bad'", "10:critical"]),
        ("-t -1", &["--timeout", "'-1'"]),
        ("-t 99999999999999999999", &["--timeout", "'99999999999999999999'"]),
        ("--top 10001", &["--top", "'10001'", "1 to 10000"]),
        ("--top 99999999999999999999", &["--top", "1 to 10000"]),
        ("--side left", &["--side", "'left'", "server, client or both"]),
        ("--peer 10.0.0.0/33", &["--peer", "'10.0.0.0/33'", "10.0.0.0/8"]),
        ("--local localhost", &["--local", "'localhost'", "192.0.2.7"]),
        ("--by pid", &["--by", "'pid'", "owner, unit, user, peer or tenant"]),
        ("--source ss", &["--source", "'ss'", "auto, netlink or proc"]),
        ("-o xml", &["--output", "'xml'", "nagios, json or prometheus"]),
        ("--user nosuchuser", &["'nosuchuser'", "/etc/passwd", "numeric uid"]),
        ("--user -1", &["'-1'", "numeric uid"]),
        ("--user 4294967296", &["'4294967296'", "numeric uid"]),
        ("--unit no-such-unit", &["'no-such-unit'", "systemctl status"]),
        ("--netns ../x", &["--netns", "'../x'", "ip netns list"]),
        ("--netns ''", &["--netns", "''", "self, all, a pid", "ip netns list"]),
        ("--netns All/x", &["--netns", "'All/x'", "self, all, a pid"]),
    ];
    let with_port = |line: &str| [words(line), words("-p 11211"), vec![CALM.to_owned()]].concat();
    all_refused(&cases.iter().map(|(line, says)| (with_port(line), *says)).collect::<Vec<_>>());
    // Above Linux' largest pid, 4194304.
    all_refused(&[
        (words("-p 11211 --netns 4194305"), &["/proc/4194305", "No such file"][..]),
        (words("-p 11211 --netns no-such-name"), &["/run/netns/no-such-name"]),
        (words("-p 11211 --netns all --proc-root tests/fixtures"), &["tests/fixtures", "no process", "--proc-root"]),
        (words("-p 11211 --netns all --proc-root /no/such/proc"), &["/no/such/proc", "No such file"]),
        (words(&format!("-p 11211 --ghosts {REPLAY}")), &["--ghosts", "--replay"]),
        (words("-p 11211 --ghosts=yes"), &["--ghosts"]),
        (words(&format!("-p 11211 --unit x {REPLAY}")), &["--unit", "--replay"]),
        (
            words(&format!("-p 11211 --source netlink {CALM}")),
            &["--source netlink", "tests/fixtures/calm", "--source proc"],
        ),
    ]);
}

#[test]
fn options_that_are_none() {
    let cases: &[(&str, &[&str])] = &[
        ("--prot=11211", &["'--prot'", "--help"]),
        ("--por 11211", &["'--por'", "--help"]),
        ("-x", &["'-x'", "--help"]),
        ("-vx", &["'-x' in '-vx'", "--help"]),
        ("-ä", &["'-ä'", "--help"]),
        ("--port", &["'--port' needs a value", "N[,N...]"]),
        ("-p", &["'--port' needs a value", "N[,N...]"]),
        ("-p 11211 -w", &["'--warning' needs a value", "RANGE"]),
        ("-p 11211 -vw", &["'--warning' needs a value", "RANGE"]),
        ("--verbose=3", &["'--verbose' takes no value"]),
        ("--help=all", &["'--help' takes no value"]),
        ("--version=", &["'--version' takes no value"]),
        ("-p 11211 6379", &["'6379'", "--help"]),
        ("-p 11211 -", &["'-'", "--help"]),
        ("-p 11211 --", &["'--'", "--help"]),
        ("''", &["''", "--help"]),
        ("--=5", &["'--'", "--help"]),
    ];
    all_refused(&cases.iter().map(|(line, says)| (words(line), *says)).collect::<Vec<_>>());
}

#[test]
fn bytes_that_are_no_text() {
    let bytes = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    all_refused(&[
        (vec![bytes(b"-p\xff")], &["-p\u{fffd}", "not UTF-8", "--help"][..]),
        (vec![bytes(b"-p"), bytes(b"112\xc3\x28")], &["not UTF-8"]),
        (vec![bytes(b"--\xfe=1")], &["not UTF-8"]),
        (vec![bytes(b"-p"), bytes(b"x|evil=1;;\nCLOSEWAIT OK - fine\x1b[2K")], &["x/evil:1;;?CLOSEWAIT OK - fine?[2K"]),
        (vec![bytes(b"-P"), bytes("\u{202e}x".as_bytes())], &["'?x'"]),
        // The line is cut; what is left of it is still one.
        (vec![bytes(b"-P"), OsString::from_vec(vec![b'x'; 100_000])], &["xxxxxxxx", "..."]),
        (vec![bytes("-pä".repeat(20_000).as_bytes())], &["bad port"]),
    ]);
}

/// A folder of files as the cases want them.
struct Files(TempDir);

impl Files {
    fn new() -> Files {
        Files(tempfile::tempdir().expect("a temporary directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file, also below folders that don't exist yet, and returns its path as text.
    fn put(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(&path, content).expect("a file");
        path.to_str().expect("a plain path").to_owned()
    }
}

fn megabytes(line: &str) -> Vec<u8> {
    line.repeat(10 * 1024 * 1024 / line.len() + 1).into_bytes()
}

#[test]
fn profile_files() {
    const HEAD: &str = "service: x\nports: [11211]\n";
    let with = |rest: &str| format!("{HEAD}{rest}");
    let cases: Vec<(&str, Vec<u8>, &[&str])> = vec![
        ("empty", b"".to_vec(), &["the file is empty", "man page"]),
        ("blank", b"\n \n".to_vec(), &["the file is empty"]),
        ("comment", b"# nothing\n".to_vec(), &["man page"]),
        ("10mb", megabytes("# a comment that goes on and on\n"), &["over 64 KiB", "right file?"]),
        ("list", b"- a\n- b\n".to_vec(), &["line 1", "invalid type: sequence"]),
        ("scalar", b"memcached\n".to_vec(), &["line 1", "invalid type: string"]),
        ("binary", b"\x7fELF\x02\x01\x01\x00".to_vec(), &["line 1", "man page"]),
        ("latin1", b"service: caf\xe9\n".to_vec(), &["not UTF-8 at byte 12", "right file?"]),
        ("nul", b"service: x\0\nports: []\n".to_vec(), &["line 1"]),
        ("bomb", bomb(), &["man page"]),
        ("deep", "[".repeat(20_000).into_bytes(), &["man page"]),
        ("unclosed", b"service: [x\n".to_vec(), &["line ", "man page"]),
        ("two-documents", with("---\nservice: y\n").into(), &["more than one document"]),
        ("no-service", b"ports: [1]\n".to_vec(), &["missing field `service`"]),
        ("no-ports", b"service: x\n".to_vec(), &["missing field `ports`"]),
        ("bad-service", b"service: \"x|evil=1\"\nports: [1]\n".to_vec(), &["service:", "a-z, 0-9"]),
        ("null-service", b"service:\nports: [1]\n".to_vec(), &["service"]),
        ("port-0", b"service: x\nports: [0]\n".to_vec(), &["ports:", "port 0", "1 to 65535"]),
        ("port-70000", b"service: x\nports: [70000]\n".to_vec(), &["line 2", "ports", "70000"]),
        ("port-text", b"service: x\nports: [http]\n".to_vec(), &["line 2", "ports", "http"]),
        ("port-alone", b"service: x\nports: 11211\n".to_vec(), &["line 2", "ports", "11211", "sequence"]),
        ("limit-0", with("limit: 0\n").into(), &["limit", "leave the key out"]),
        ("limit-text", with("limit: many\n").into(), &["line 3", "limit", "many"]),
        ("limit-negative", with("limit: -5\n").into(), &["line 3", "limit", "-5"]),
        ("side", with("side: left\n").into(), &["line 3", "side", "left", "server"]),
        (
            "typo",
            with("close_wiat: {warning: \"5\"}\n").into(),
            &["line 3", "close_wiat", "expected one of", "close_wait"],
        ),
        (
            "nested-typo",
            with("close_wait:\n  warnign: \"5\"\n").into(),
            &["line 4", "warnign", "expected one of", "warning"],
        ),
        ("doubled", with("ports: [1]\n").into(), &["line ", "duplicate", "ports"]),
        (
            "doubled-nested",
            with("close_wait:\n  warning: \"5\"\n  warning: \"6\"\n").into(),
            &["line 4", "close_wait: duplicate", "warning"],
        ),
        (
            "doubled-state",
            with("states:\n  TIME_WAIT: {warning: \"5\"}\n  TIME_WAIT: {warning: \"6\"}\n").into(),
            &["states", "duplicate", "TIME_WAIT"],
        ),
        ("unknown-state", with("states: {TIMEWAIT: {warning: \"5\"}}\n").into(), &["'TIMEWAIT'", "TIME_WAIT"]),
        (
            "doubled-alias",
            with("states: {TIME_WAIT: {}, time-wait: {}}\n").into(),
            &["states", "duplicate", "TIME_WAIT"],
        ),
        (
            "doubled-queue",
            with("states: {accept_queue: {}, accept_queue: {}}\n").into(),
            &["duplicate", "accept_queue"],
        ),
        ("unknown-queue", with("states: {accept: {}}\n").into(), &["'accept'", "TIME_WAIT", "accept_queue, stuck"]),
        ("stuck-key", with("states: {stuck: {age: 60s}}\n").into(), &["line 3", "age", "min_age"]),
        ("idle-key", with("idle: {spares: 5}\n").into(), &["line 3", "spares", "expected"]),
        ("idle-expected", with("idle: {expected: -1}\n").into(), &["line 3", "expected"]),
        ("state-typo", with("states: {TIME_WAIT: {warn: \"5\"}}\n").into(), &["line 3", "warn", "warning"]),
        ("unquoted", with("close_wait:\n  warning: 5\n").into(), &["line 4", "close_wait.warning", "quote"]),
        ("unquoted-float", with("close_wait:\n  critical: 5.5\n").into(), &["line 4", "close_wait.critical", "quote"]),
        ("sexagesimal", with("close_wait:\n  warning: 10:20\n  critical: 5\n").into(), &["line 5", "quote"]),
        (
            "bad-range",
            with("close_wait:\n  warning: \"20:10\"\n").into(),
            &["line 4", "'20:10'", "start is above its end"],
        ),
        (
            "wrong-unit",
            with("close_wait:\n  min_age: 60x\n").into(),
            &["line 4", "close_wait.min_age", "'60x'", "60s, 20m"],
        ),
        ("no-duration", with("close_wait:\n  min_age: [60s]\n").into(), &["line 4", "close_wait.min_age", "60s"]),
        (
            "negative-duration",
            with("growth: {warning: -5}\n").into(),
            &["line 3", "growth.warning", "'-5'", "60s, 20m"],
        ),
        ("no-map", with("close_wait: 5\n").into(), &["line 3", "close_wait", "5"]),
        ("tenant", with("tenants: {key: team}\n").into(), &["line 3", "team", "unit"]),
        ("merge", with("<<: {limit: 5}\n").into(), &["line 3", "<<"]),
        ("tabs", b"service: x\n\tports: [1]\n".to_vec(), &["line 2", "man page"]),
    ];
    let files = Files::new();
    let table: Vec<_> = cases
        .iter()
        .map(|(name, content, says)| {
            let path = files.put(&format!("{name}.yaml"), content);
            let file = format!("{name}.yaml");
            (vec!["-P".to_owned(), path, CALM.to_owned()], [&[file.leak() as &str], *says].concat())
        })
        .collect();
    all_refused(&table.iter().map(|(args, says)| (args.clone(), says.as_slice())).collect::<Vec<_>>());
}

/// Aliases that would grow to a billion nodes.
fn bomb() -> Vec<u8> {
    let mut yaml = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..10 {
        let before = format!("*a{}", level - 1);
        yaml.push_str(&format!("a{level}: &a{level} [{}]\n", vec![before; 10].join(",")));
    }
    yaml.push_str("service: x\nports: *a9\n");
    yaml.into_bytes()
}

#[test]
fn files_that_are_none() {
    let files = Files::new();
    fs::create_dir(files.path("folder.yaml")).unwrap();
    let folder = files.path("folder.yaml").to_str().unwrap().to_owned();
    let locked = files.put("locked.yaml", "service: x\nports: [11211]\n");
    fs::set_permissions(&locked, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    let looped = files.path("loop.yaml");
    std::os::unix::fs::symlink(&looped, &looped).unwrap();
    let looped = looped.to_str().unwrap().to_owned();
    let is_refused = fs::File::open(&locked).is_err();
    let args = |line: &str| words(line);
    let mut cases: Vec<(Vec<String>, &[&str])> = vec![
        (args(&format!("-P {folder}")), &["folder.yaml", "directory"]),
        (args("-P tests/"), &["tests/", "directory"]),
        (args("-P /dev/zero"), &["/dev/zero", "over 64 KiB"]),
        (args("-P /dev/null"), &["/dev/null", "empty"]),
        (args(&format!("-P {looped}")), &["loop.yaml", "symbolic links"]),
        (args(&format!("-P {locked}/x.yaml")), &["x.yaml", "Not a directory"]),
        (args(&format!("-p 11211 --replay {folder}")), &["folder.yaml", "directory"]),
        (args("-p 11211 --replay /dev/zero"), &["/dev/zero", "not a netlink dump", "ss -tanie -D"]),
        (args("-p 11211 --proc-root /dev/null"), &["/dev/null/net/tcp", "Not a directory"]),
        (args("-p 11211 --extra-opts @tests/"), &["tests/", "directory"]),
        (args("-p 11211 --extra-opts @/dev/zero"), &["/dev/zero", "over 64 KiB"]),
    ];
    // Root can't be refused; the folders above then stand for what can't be read.
    if is_refused {
        cases.push((args(&format!("-P {locked}")), &["locked.yaml", "Permission denied"]));
        cases.push((args(&format!("-p 11211 --replay {locked}")), &["locked.yaml", "Permission denied"]));
    }
    all_refused(&cases);
}

#[test]
fn a_pipe_that_nobody_writes_to_ends_at_the_deadline() {
    let files = Files::new();
    let fifo = files.path("fifo.yaml");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
    let fifo = fifo.to_str().unwrap();
    for line in [format!("-t 300ms -P {fifo}"), format!("-t 300ms -p 11211 --replay {fifo}")] {
        all_refused(&[(words(&line), &["timed out after 300ms"][..])]);
    }
    let output = run(&words(&format!("-t 300ms:critical -P {fifo}")));
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output), "CLOSEWAIT CRITICAL - timed out after 300ms\n");
}

/// The deadline's own value may stand in the file: until it is read, the default holds.
#[test]
fn extra_opts_that_never_come_end_at_the_default_deadline() {
    let files = Files::new();
    let fifo = files.path("fifo.ini");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
    let mut child = command(&[format!("--extra-opts=@{}", fifo.display())]).stdout(Stdio::piped()).spawn().unwrap();
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(120);
    while child.try_wait().unwrap().is_none() {
        if std::time::Instant::now() > patience {
            child.kill().unwrap();
            panic!("no end after 120 s");
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(flaw(&output, &["timed out after 10s"]), None, "{}", text(&output));
}

#[test]
fn replays() {
    let files = Files::new();
    let whole = fs::read("tests/fixtures/leak/dump.nl").expect("the recording");
    let mut noise = Vec::new();
    fs::File::open("/dev/urandom").unwrap().take(1 << 20).read_to_end(&mut noise).unwrap();
    // A length that can't be one, so that the case never depends on luck.
    noise[..4].copy_from_slice(&7u32.to_ne_bytes());
    let text: &[u8] = b"State Recv-Q Send-Q Local Address:Port Peer Address:Port\n";
    let mut huge_length = whole.clone();
    huge_length[..4].copy_from_slice(&u32::MAX.to_ne_bytes());
    let cases: Vec<(&str, &[u8], &[&str])> = vec![
        ("empty.nl", b"", &["cut short"]),
        ("header.nl", &whole[..10], &["cut short"]),
        ("text.nl", text, &["not a netlink dump", "ss -tanie -D"]),
        ("noise.nl", &noise, &["not a netlink dump", "ss -tanie -D"]),
        ("huge.nl", &huge_length, &["not a netlink dump", "ss -tanie -D"]),
    ];
    let mut table = Vec::new();
    for (name, content, says) in &cases {
        let path = files.put(name, content);
        table.push((vec!["-p11211".to_owned(), format!("--replay={path}")], [&[*name], *says].concat()));
    }
    let zeros = files.put("zeros.nl", vec![0; 10 << 20]);
    table.push((vec!["-p11211".to_owned(), format!("--replay={zeros}")], vec!["zeros.nl", "not a netlink dump"]));
    let missing = format!("--replay={}", files.path("missing.nl").display());
    table.push((vec!["-p11211".to_owned(), missing], vec!["missing.nl", "No such file"]));
    all_refused(&table.iter().map(|(args, says)| (args.clone(), says.as_slice())).collect::<Vec<_>>());
}

/// Never a false OK: wherever a recording is cut, the answer is not OK.
#[test]
fn a_replay_cut_anywhere_is_never_ok() {
    let files = Files::new();
    let whole = fs::read("tests/fixtures/calm/dump.nl").expect("the recording");
    assert_eq!(run(&["-p11211", REPLAY]).status.code(), Some(0), "the whole recording is OK");
    let mut ends: Vec<usize> = (0..whole.len()).step_by(whole.len() / 60).collect();
    ends.extend((1..=24).map(|back| whole.len() - back));
    for end in ends {
        let path = files.put("cut.nl", &whole[..end]);
        let output = run(&["-p11211", &format!("--replay={path}")]);
        assert_eq!(
            flaw(&output, &["cut.nl", "replayed dump"]),
            None,
            "cut at {end} of {}: {}",
            whole.len(),
            text(&output)
        );
    }
}

#[test]
fn a_problem_in_a_cut_replay_stays_a_problem() {
    let files = Files::new();
    let whole = fs::read("tests/fixtures/leak/dump.nl").expect("the recording");
    let path = files.put("cut.nl", &whole[..whole.len() - 20]);
    let output = run(&["-p11211", &format!("--replay={path}")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).starts_with("CLOSEWAIT WARNING - memcached:11211 "), "{}", text(&output));
    assert!(text(&output).contains("; sockets incomplete: the replayed dump "), "{}", text(&output));
}

#[test]
fn proc_roots() {
    let files = Files::new();
    let tcp = fs::read("tests/fixtures/calm/net/tcp").expect("the recording");
    let root = |name: &str| format!("--proc-root={}", files.path(name).display());
    fs::create_dir(files.path("none")).unwrap();
    files.put("only-tcp6/net/tcp6", &tcp);
    files.put("garbage/net/tcp", "what is\nthis?\n");
    files.put("binary/net/tcp", [0xff; 4096]);
    let header = String::from_utf8(tcp.clone()).unwrap().lines().next().unwrap().to_owned();
    let row = "   0: \u{20ac}\u{20ac}ab:2BCB 0100007F:1F90 08 00000000:00000000 00:00000000 00000000 0 0 1";
    files.put("multibyte/net/tcp", format!("{header}\n{row}\n"));
    files.put("headless/net/tcp", tcp.splitn(2, |byte| *byte == b'\n').nth(1).unwrap());
    fs::create_dir_all(files.path("zero/net")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", files.path("zero/net/tcp")).unwrap();
    files.put("garbage6/net/tcp", &tcp);
    files.put("garbage6/net/tcp6", "what is\nthis?\n");
    let mut cut = tcp.clone();
    cut.truncate(tcp.len() - 120);
    files.put("cut/net/tcp", cut);
    files.put("folder6/net/tcp", &tcp);
    fs::create_dir(files.path("folder6/net/tcp6")).unwrap();
    files.put("empty/net/tcp", "");
    files.put("empty6/net/tcp", &tcp);
    files.put("empty6/net/tcp6", "");
    let cases: &[(&str, &[&str])] = &[
        ("missing", &["missing/net/tcp", "No such file"]),
        ("none", &["none/net/tcp", "No such file"]),
        ("only-tcp6", &["only-tcp6/net/tcp", "No such file"]),
        ("garbage", &["garbage/net/tcp", "not a socket table"]),
        ("binary", &["binary/net/tcp", "not a socket table"]),
        ("multibyte", &["multibyte/net/tcp", "not a socket table"]),
        ("headless", &["headless/net/tcp", "not a socket table"]),
        ("zero", &["zero/net/tcp", "not a socket table"]),
        ("garbage6", &["garbage6/net/tcp6", "not a socket table"]),
        ("cut", &["cut/net/tcp", "not a socket table"]),
        ("folder6", &["folder6/net/tcp6", "directory"]),
        ("empty", &["empty/net/tcp", "not a socket table"]),
        ("empty6", &["empty6/net/tcp6", "not a socket table"]),
    ];
    all_refused(&cases.iter().map(|(name, says)| (vec!["-p11211".to_owned(), root(name)], *says)).collect::<Vec<_>>());
}

#[test]
fn a_host_without_ipv6_is_no_error() {
    let output = run(&["-p11211", "-w10", "--proc-root=tests/fixtures/no_ipv6"]);
    assert!(!Path::new("tests/fixtures/no_ipv6/net/tcp6").exists());
    assert!(text(&output).contains("close_wait=6;10;20;0;"), "{}", text(&output));
}

#[test]
fn extra_opts_files() {
    let files = Files::new();
    let spec = |name: &str, content: &str| format!("--extra-opts=check_closewait@{}", files.put(name, content));
    let cases: Vec<(String, &[&str])> = vec![
        (spec("section.ini", "[other]\nport=11211\n"), &["section.ini", "[check_closewait]", "SECTION@FILE"]),
        (spec("key.ini", "[check_closewait]\nprot=11211\n"), &["'prot'", "key.ini [check_closewait]", "--help"]),
        (spec("recursive.ini", "[check_closewait]\nextra-opts=@x\n"), &["'extra-opts'", "recursive.ini"]),
        (spec("help.ini", "[check_closewait]\nhelp=\n"), &["'help'", "help.ini"]),
        (spec("broken.ini", "[check_closewait\nport=11211\n"), &["broken.ini", "line "]),
        (spec("line.ini", "[check_closewait]\njust words\n"), &["line.ini", "'just words'"]),
        (spec("empty.ini", ""), &["empty.ini", "no section [check_closewait]"]),
        (
            spec("switch.ini", "[check_closewait]\nport=1\nverbose=yes\n"),
            &["'verbose'", "switch.ini", "'true'", "'yes'"],
        ),
        (spec("value.ini", "[check_closewait]\nport=11211\nwarning=20:10\n"), &["--warning", "'20:10'"]),
        (spec("port.ini", "[check_closewait]\nport=0\n"), &["--port", "'0'"]),
        (
            spec("10mb.ini", &String::from_utf8(megabytes("; a comment that goes on and on\n")).unwrap()),
            &["10mb.ini", "over 64 KiB"],
        ),
        (format!("--extra-opts=@{}", files.path("missing.ini").display()), &["missing.ini", "No such file"]),
    ];
    all_refused(&cases.iter().map(|(option, says)| (vec![option.clone(), CALM.to_owned()], *says)).collect::<Vec<_>>());
    let latin1 = files.put("latin1.ini", b"[check_closewait]\nunit=caf\xe9\n");
    all_refused(&[(vec![format!("--extra-opts=@{latin1}")], &["latin1.ini", "not UTF-8 at byte"][..])]);
}

#[test]
fn output_files() {
    let files = Files::new();
    fs::create_dir(files.path("folder")).unwrap();
    let file = |name: &str| format!("--output-file={}", files.path(name).display());
    all_refused(&[
        (vec!["-p11211".to_owned(), CALM.to_owned(), file("missing/x.prom")], &["can't write", "missing/x.prom"][..]),
        (vec!["-p11211".to_owned(), CALM.to_owned(), file("folder")], &["can't write", "folder", "directory"]),
        (vec!["-p11211".to_owned(), CALM.to_owned(), "--output-file=".to_owned()], &["can't write"]),
        (vec!["-p11211".to_owned(), CALM.to_owned(), "--output-file=/".to_owned()], &["can't write /"]),
    ]);
    let left: Vec<_> = fs::read_dir(files.0.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["folder"], "no temporary file stays");
    // What is known to be bad stays bad.
    let leak = run(&["-p11211", "--proc-root=tests/fixtures/leak", &file("missing/x.prom")]);
    assert_eq!(leak.status.code(), Some(1), "{}", text(&leak));
    assert!(text(&leak).contains("can't write"));
    let good = run(&["-p11211", CALM, "-oprometheus", &file("x.prom")]);
    assert_eq!(good.status.code(), Some(0));
    assert!(text(&good).starts_with("CLOSEWAIT OK - "));
    assert!(fs::read_to_string(files.path("x.prom")).unwrap().starts_with("# HELP connleak_state "));
}

#[test]
fn an_answer_that_nobody_can_read_is_unknown() {
    for args in [&["-p11211", CALM][..], &["-p11211", "--proc-root=tests/fixtures/leak"], &["-h"], &["-V"], &["-p0"]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = command(args).stdout(full).stderr(Stdio::piped()).output().unwrap();
        assert_eq!((output.status.code(), output.stderr.len()), (Some(3), 0), "full: {args:?}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command(args).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!((output.status.code(), output.stderr.len()), (Some(3), 0), "closed pipe: {args:?}");
    }
    // A descriptor closed from the start: Rust's runtime puts /dev/null there, so the state is told.
    let script =
        format!("exec '{}' -p11211 --proc-root=tests/fixtures/leak >&-", env!("CARGO_BIN_EXE_check_closewait"));
    let output =
        Command::new("sh").args(["-c", &script]).current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("a shell");
    assert!(matches!(output.status.code(), Some(1 | 3)), "{:?}", output.status);
    assert!(output.stderr.is_empty());
}

/// A process may call itself anything; here through a made `/proc` with one process in it.
#[test]
fn strips_perfdata_forgery_of_a_process_name() {
    let files = Files::new();
    let tcp = fs::read_to_string("tests/fixtures/leak/net/tcp").unwrap();
    files.put("net/tcp", &tcp);
    // The inodes of what is in CLOSE_WAIT (08) on 11211 (2BCB).
    let stuck = tcp.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let inodes: Vec<_> =
        stuck.filter(|row| row[1].ends_with(":2BCB") && row[3] == "08").map(|row| row[9].to_owned()).collect();
    assert_eq!(inodes.len(), 5, "rows of net/tcp");
    for (index, inode) in inodes.iter().enumerate() {
        fs::create_dir_all(files.path("4711/fd")).unwrap();
        std::os::unix::fs::symlink(format!("socket:[{inode}]"), files.path(&format!("4711/fd/{index}"))).unwrap();
    }
    files.put("4711/comm", "x|evil=1;;\nCLOSEWAIT OK\x1b[2K\n");
    files.put("4711/cgroup", "0::/system.slice/a|b=1.service\n");
    let root = format!("--proc-root={}", files.0.path().display());
    for more in ["", "-v", "-vv"] {
        let args: Vec<_> = ["-p11211", "-c3", &root, more].into_iter().filter(|word| !word.is_empty()).collect();
        let output = run(&args);
        let shown = text(&output);
        assert_eq!(output.status.code(), Some(2), "{shown}");
        assert_eq!(shown.matches('|').count(), 1, "{shown}");
        let (line, rest) = shown.split_once('\n').unwrap();
        assert!(line.starts_with("CLOSEWAIT CRITICAL - ") && line.contains("5 of 5 held by x/evil:1;;"), "{shown}");
        assert!(!line.split_once(" | ").unwrap().0.contains('='), "{shown}");
        assert!(!rest.lines().any(|line| line.starts_with("CLOSEWAIT")) && !rest.contains('='), "{shown}");
        assert!(!shown.contains('\u{1b}'), "{shown}");
    }
    let json = text(&run(&["-p11211", "-ojson", &root]));
    assert!(!json.contains('|') && json.lines().count() == 1, "{json}");
    assert!(json.contains("x\\u007cevil=1;;"), "{json}");
}

#[test]
fn getopt_habits() {
    let calm = |line: &str| run(&[words(line), vec![CALM.to_owned()]].concat());
    let plain = calm("-p 11211");
    assert_eq!(plain.status.code(), Some(0), "{}", text(&plain));
    assert!(text(&plain).contains(" memcached:11211 2 sockets (server 2, client 0) in CLOSE_WAIT"), "{}", text(&plain));
    for same in
        ["-p11211", "--port=11211", "--port 11211", "-p 11211 -p 11211", "-p 011211", "-P memcached", "-Pmemcached"]
    {
        assert_eq!(calm(same), plain, "{same}");
    }
    let cases: &[(&str, i32, &str)] = &[
        ("-p 11211,11212 -p 11213", 0, " memcached:11211,11212,11213 "),
        ("-p11211 -w~:10", 0, " close_wait=2;~:10;20;0; "),
        ("-p11211 -w ~:10", 0, " close_wait=2;~:10;20;0; "),
        ("-p11211 --warning=~:10", 0, " close_wait=2;~:10;20;0; "),
        ("-p11211 -w -5:5", 0, " close_wait=2;-5:5;20;0; "),
        ("-p11211 -w-5:5", 0, " close_wait=2;-5:5;20;0; "),
        ("-p11211 -w 1 -w 9", 0, " close_wait=2;9;20;0; "),
        ("-w1 -p11211 --warning=0 -w 8 -c 7 -c1", 2, " close_wait=2;8;1;0; "),
        ("-p11211 -w @2:2", 1, " close_wait=2;@2:2;20;0; "),
        ("-vvv -p11211", 0, "\nowners: "),
        ("-vvp11211 -v", 0, "\nowners: "),
        ("-vp11211", 0, " memcached:11211 2 sockets"),
        ("-p11211 --side=client", 0, " close_wait=0;5;20;0; "),
        ("-p4711", 0, " port 4711 2 sockets"),
        ("-p 80 -p 12345", 0, " http:80,12345 0 sockets"),
        ("-p11211 --user 4294967295", 0, " close_wait=0;5;20;0; "),
    ];
    for (line, exit, part) in cases {
        let output = calm(line);
        assert!(output.stderr.is_empty());
        assert_eq!(output.status.code(), Some(*exit), "{line}: {}", text(&output));
        assert!(text(&output).contains(part), "{line}: no '{part}' in {}", text(&output));
        assert_eq!(text(&output).matches('|').count(), 1, "{line}: {}", text(&output));
    }
}

#[test]
fn precedence_is_command_line_ini_profile_file_embedded() {
    let files = Files::new();
    let profile =
        files.put("mine.yaml", "service: mine\nports: [11211]\nclose_wait: {warning: \"7\", critical: \"70\"}\n");
    let ini = files.put("x.ini", format!("[check_closewait]\nwarning=9\nprofile={profile}\nport=11212\n[w]\nw = 8\n"));
    let limits = |line: &str| {
        let output = run(&[words(line), vec![CALM.to_owned()]].concat());
        let shown = text(&output);
        let value = shown.split_once(" | close_wait=").and_then(|(_, rest)| rest.split(' ').next());
        value.unwrap_or_else(|| panic!("{line}: {shown}")).split_once(';').unwrap().1.to_owned()
    };
    assert_eq!(limits("-p11211"), "5;20;0;");
    assert_eq!(limits(&format!("-P {profile}")), "7;70;0;");
    assert_eq!(limits(&format!("-P {profile} -c 60")), "7;60;0;");
    assert_eq!(limits(&format!("-P {profile} --extra-opts=w@{ini}")), "8;70;0;");
    assert_eq!(limits(&format!("--extra-opts=@{ini}")), "9;70;0;");
    assert_eq!(limits(&format!("-w11 --extra-opts=@{ini}")), "11;70;0;");
    assert_eq!(limits(&format!("--extra-opts=@{ini} -w11 -Pmemcached")), "11;20;0;");
    // Also for options that may be repeated: -p replaces the file's, it doesn't join them.
    let output = run(&["-p11211", &format!("--extra-opts=@{ini}"), CALM]);
    assert!(text(&output).contains(" mine:11211 "), "{}", text(&output));
}

#[test]
fn a_bare_extra_opts_reads_plugins_ini() {
    let files = Files::new();
    files.put("plugins.ini", "[check_closewait]\nport=11211\nwarning=@9:9\nverbose=\n");
    for args in [&["--extra-opts", CALM][..], &[CALM, "--extra-opts"], &["--extra-opts", "check_closewait", CALM]] {
        let output = command(args).env("NAGIOS_CONFIG_PATH", files.0.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        assert!(text(&output).contains(" close_wait=2;@9:9;20;0; "), "{}", text(&output));
    }
    let nowhere = command(&["--extra-opts", CALM]).env("NAGIOS_CONFIG_PATH", files.path("no")).output().unwrap();
    assert_eq!(flaw(&nowhere, &["no plugins.ini", "SECTION@FILE"]), None, "{}", text(&nowhere));
}

#[test]
fn help_and_version_are_no_verdict() {
    for line in ["-h", "--help", "-p 11211 -vh", "-w nan --help", "-hV"] {
        let output = run(&words(line));
        assert_eq!((output.status.code(), output.stderr.len()), (Some(3), 0), "{line}");
        assert!(text(&output).contains("\nUsage: check_closewait -p PORT"), "{line}: {}", text(&output));
    }
    for line in ["-V", "--version", "-vV"] {
        let output = run(&words(line));
        assert_eq!((output.status.code(), output.stderr.len()), (Some(3), 0), "{line}");
        assert_eq!(text(&output), format!("check_closewait {}\n", env!("CARGO_PKG_VERSION")));
    }
}

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
        (pid_file("lines.pid", b"17\n18|x=1\n"), &["lines.pid", "'17?18/x:1'", "not a process id"]),
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
        ("--baseline auto --replay tests/fixtures/mixed/dump.nl", &["--baseline", "--replay"]),
        ("--baseline auto --state-dir ''", &["--state-dir has no name"]),
        ("--side left", &["--side", "'left'"]),
    ];
    let with_port = |line: &str| [words(line), words("-p 11211")].concat();
    STATES.all_refused(&cases.iter().map(|(line, says)| (with_port(line), *says)).collect::<Vec<_>>());
    STATES.all_refused(&[(words(""), &["which service?"][..])]);
}

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
