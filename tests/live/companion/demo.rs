//! connleak demo: the newcomer's first command, as anyone.

use crate::companion::run::masked;
use crate::lab::Lab;
use crate::lab::run::{CONNLEAK, as_nobody, public_copy, run};
use std::path::Path;
use std::process::Command;

/// The verdicts in the order they are shown.
fn assert_story(text: &str) {
    let verdicts: Vec<_> =
        text.lines().filter_map(|line| line.split_once(" - ")).map(|(verdict, _)| verdict.trim()).collect();
    let closewait = ["OK", "WARNING", "CRITICAL", "OK"].map(|state| format!("CLOSEWAIT {state}"));
    assert_eq!(verdicts[..4], closewait, "{text}");
    assert_eq!(verdicts[4..], ["ORPHANS_AFTER_STOP OK"], "{text}");
    assert!(!text.contains(['\u{1b}', '\r']), "{text}");
}

#[test]
fn it_shows_ok_warning_critical_ok_to_anyone_and_leaves_nothing() {
    Lab::test(|_| {
        let (_dir, copy) = public_copy(Path::new(CONNLEAK));
        for mut command in [Command::new(CONNLEAK), as_nobody(&copy)] {
            let outcome = run(command.arg("demo"));
            assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
            assert_story(&outcome.stdout);
            // Folded anywhere.
            let words = outcome.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(words.contains("all held by connleak["), "{outcome:?}");
            assert!(words.contains("5 ESTABLISHED, 12 CLOSE_WAIT (oldest "), "{outcome:?}");
            // What is closed well waits in TIME_WAIT (06); nothing else is left.
            let rest = std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
            let left = rest.lines().skip(1).filter(|line| line.split_whitespace().nth(3) != Some("06"));
            assert_eq!(left.count(), 0, "{rest}");
        }
    });
}

/// Its words in one line, wherever they were folded: without ages, pids, the port and this host's unit.
fn told(text: &str) -> String {
    let masked = masked(text);
    let is_port = |word: &str| word.len() == 5 && word.parse::<u16>().is_ok_and(|port| port > 32_767);
    let words: Vec<_> = masked
        .split_whitespace()
        .map(|word| if is_port(word.trim_end_matches([',', ':'])) { "PORT" } else { word })
        .collect();
    let told = words.join(" ");
    let in_unit = |part: &str| part.split_once(", user ").map_or("", |(_, rest)| rest).to_owned();
    let mut parts = told.split("(unit ");
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |told, part| format!("{told}(user {}", in_unit(part)))
}

#[test]
fn its_document_shows_what_it_shows() {
    Lab::test(|_| {
        let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/look.md")).unwrap();
        let excerpt = told(page.split_once("```text\n").unwrap().1.split_once("```\n").unwrap().0);
        let shown = told(&run(Command::new(CONNLEAK).arg("demo").env_remove("COLUMNS")).stdout);
        assert!(excerpt.starts_with("2. Now and then ") && excerpt.contains("CLOSEWAIT CRITICAL"), "{excerpt}");
        assert!(shown.contains(&excerpt), "docs/look.md has\n{excerpt}\nwhich is not in\n{shown}");
    });
}

#[test]
fn without_loopback_it_says_so() {
    Lab::test(|_| {
        let down = Command::new("ip").args(["link", "set", "lo", "down"]).status().unwrap();
        assert!(down.success());
        let outcome = run(Command::new(CONNLEAK).arg("demo"));
        assert_eq!((outcome.code, outcome.stdout.as_str()), (3, ""), "{outcome:?}");
        assert!(outcome.stderr.contains("is the loopback interface up"), "{outcome:?}");
    });
}

/// A host without IPv6, as a container may be.
#[test]
fn without_ipv6_it_plays_all_the_same() {
    Lab::test(|_| {
        let off = Path::new("/proc/sys/net/ipv6/conf/lo/disable_ipv6");
        if off.exists() {
            std::fs::write(off, "1").unwrap();
        }
        let outcome = run(Command::new(CONNLEAK).arg("demo"));
        assert_eq!(outcome.code, 0, "{outcome:?}");
        assert_story(&outcome.stdout);
    });
}
