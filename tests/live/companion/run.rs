//! Running the companion, and its outputs without what differs from run to run.

use crate::lab::run::{CONNLEAK, Outcome, PATIENCE, poll, run};
use connleak::base::duration::Span;
use std::path::Path;
use std::process::Command;

/// Runs it in the calling thread's namespace; it ends well and without a word on standard error.
pub fn connleak(args: &[&str]) -> String {
    let outcome = any(args);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
    outcome.stdout
}

pub fn any(args: &[&str]) -> Outcome {
    run(Command::new(CONNLEAK).args(args).env_remove("COLUMNS"))
}

/// Rows that a watch has written, without the header.
pub fn looks(csv: &Path) -> usize {
    std::fs::read_to_string(csv).unwrap_or_default().lines().count().saturating_sub(1)
}

pub fn wait_for_looks(csv: &Path, wanted: usize) {
    let reached = poll(PATIENCE, || looks(csv) >= wanted);
    assert!(reached, "not {wanted} looks in {}", csv.display());
}

/// Compares with a golden, or with BLESS=1 rewrites it.
pub fn assert_golden(name: &str, shown: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/connleak").join(name);
    let shown = masked(shown);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &shown).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(shown, golden, "{} differs; read it, then BLESS=1", path.display());
}

/// Process ids, ages and ports of clients as words; columns apart by two blanks. Units depend on the
/// host: their column is left out.
pub fn masked(text: &str) -> String {
    let mut unit = None;
    let mut lines = String::new();
    for line in text.lines() {
        let mut cells: Vec<&str> = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        if cells.first() == Some(&"OWNER") {
            unit = cells.iter().position(|cell| *cell == "UNIT");
        }
        if let Some(unit) = unit.filter(|unit| cells.len() > *unit) {
            cells.remove(unit);
        }
        let cells: Vec<String> =
            cells.iter().map(|cell| cell.split(' ').map(word).collect::<Vec<_>>().join(" ")).collect();
        lines.push_str(&(cells.join("  ") + "\n"));
    }
    lines
}

fn word(word: &str) -> String {
    let bare = word.trim_matches(['(', ')', ',', ';', '>', '=']);
    let is_age = bare.ends_with(|last: char| last.is_alphabetic()) && bare.parse::<Span>().is_ok();
    if is_age {
        return word.replace(bare, "AGE");
    }
    if let Some((name, rest)) = word.split_once('[')
        && let Some((pid, rest)) = rest.split_once(']')
        && pid.bytes().all(|byte| byte.is_ascii_digit())
    {
        return format!("{name}[PID]{rest}");
    }
    match bare.rsplit_once(':') {
        Some((_, port))
            if port.len() == 5 && bare.starts_with("127.") && port.parse::<u16>().is_ok_and(|port| port > 32_767) =>
        {
            word.replace(port, "PORT")
        }
        _ => word.to_owned(),
    }
}
