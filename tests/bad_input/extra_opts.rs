//! Options from an INI file.

use crate::profiles::Files;
use crate::profiles::megabytes;
use crate::{CALM, all_refused, command, flaw, text};
use std::process::Command;
use std::process::Stdio;

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
