//! Where the answer goes.

use crate::profiles::Files;
use crate::{CALM, all_refused, command, run, text};
use std::fs;
use std::process::Command;
use std::process::Stdio;

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
