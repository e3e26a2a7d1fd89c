//! Another root of processes and tables, and names that forge.

use crate::profiles::Files;
use crate::{all_refused, run, text};
use std::fs;
use std::path::Path;

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
        assert!(line.starts_with("CLOSEWAIT CRITICAL - ") && line.contains("all held by x/evil:1;;"), "{shown}");
        assert!(!line.split_once(" | ").unwrap().0.contains('='), "{shown}");
        assert!(!rest.lines().any(|line| line.starts_with("CLOSEWAIT")) && !rest.contains('='), "{shown}");
        assert!(!shown.contains('\u{1b}'), "{shown}");
    }
    let json = text(&run(&["-p11211", "-ojson", &root]));
    assert!(!json.contains('|') && json.lines().count() == 1, "{json}");
    assert!(json.contains("x\\u007cevil=1;;"), "{json}");
}
