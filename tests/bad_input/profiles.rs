//! Files that are named on the command line, profiles above all.

use crate::{CALM, all_refused, run, text, words};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// A folder of files as the cases want them.
pub struct Files(pub TempDir);

impl Files {
    pub fn new() -> Files {
        Files(tempfile::tempdir().expect("a temporary directory"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file, also below folders that don't exist yet, and returns its path as text.
    pub fn put(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(&path, content).expect("a file");
        path.to_str().expect("a plain path").to_owned()
    }
}

pub fn megabytes(line: &str) -> Vec<u8> {
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
        ("list", b"- a\n- b\n".to_vec(), &["line 1", "invalid type: a list, expected keys with values"]),
        ("scalar", b"memcached\n".to_vec(), &["line 1", "invalid type: string"]),
        ("binary", b"\x7fELF\x02\x01\x01\x00".to_vec(), &["line 1", "man page"]),
        ("latin1", b"service: caf\xe9\n".to_vec(), &["not UTF-8 at byte 12", "right file?"]),
        ("nul", b"service: x\0\nports: []\n".to_vec(), &["line 1"]),
        ("bomb", bomb(), &["man page"]),
        ("deep", "[".repeat(20_000).into_bytes(), &["man page"]),
        ("unclosed", b"service: [x\n".to_vec(), &["line ", "man page"]),
        ("two-documents", with("---\nservice: y\n").into(), &["more than one document"]),
        ("no-service", b"ports: [1]\n".to_vec(), &["missing key `service`"]),
        ("no-ports", b"service: x\n".to_vec(), &["missing key `ports`"]),
        ("large-port", b"service: x\nports: [99999]\n".to_vec(), &["`99999`, expected a port, 1 to 65535"]),
        ("word-for-limit", b"service: x\nports: [1]\nlimit: many\n".to_vec(), &["expected a number, 0 or more"]),
        ("one-port", b"service: x\nports: 1\n".to_vec(), &["expected a list: [a, b]"]),
        ("bad-service", b"service: \"x|evil=1\"\nports: [1]\n".to_vec(), &["service:", "a-z, 0-9"]),
        ("null-service", b"service:\nports: [1]\n".to_vec(), &["service"]),
        ("port-0", b"service: x\nports: [0]\n".to_vec(), &["ports:", "port 0", "1 to 65535"]),
        ("port-70000", b"service: x\nports: [70000]\n".to_vec(), &["line 2", "ports", "70000"]),
        ("port-text", b"service: x\nports: [http]\n".to_vec(), &["line 2", "ports", "http"]),
        (
            "port-alone",
            b"service: x\nports: 11211\n".to_vec(),
            &["line 2", "ports", "11211", "expected a list: [a, b]"],
        ),
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
pub fn bomb() -> Vec<u8> {
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
