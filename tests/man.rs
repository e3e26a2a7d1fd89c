//! The man pages' option lists are what `--help` says: compared, and with BLESS=1 rewritten.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Every binary with its man page.
const PAGES: [(&str, &str); 5] = [
    ("check_closewait", env!("CARGO_BIN_EXE_check_closewait")),
    ("check_conn_growth", env!("CARGO_BIN_EXE_check_conn_growth")),
    ("check_conn_idle", env!("CARGO_BIN_EXE_check_conn_idle")),
    ("check_conn_states", env!("CARGO_BIN_EXE_check_conn_states")),
    ("check_orphans_after_stop", env!("CARGO_BIN_EXE_check_orphans_after_stop")),
];

const BEGIN: &str = ".\\\" BEGIN OPTIONS\n";
const END: &str = ".\\\" END OPTIONS\n";

fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("man").join(format!("{name}.1"))
}

fn help(binary: &str) -> String {
    let output = Command::new(binary).arg("--help").output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    String::from_utf8(output.stdout).unwrap()
}

/// Options of a help text: the synopsis and the description of each.
fn options(help: &str) -> Vec<(String, String)> {
    let list = help.split("\nOptions:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let mut options: Vec<(String, String)> = Vec::new();
    for line in list.lines() {
        match line.strip_prefix("          ") {
            Some(more) => {
                let (_, description) = options.last_mut().unwrap();
                description.push_str(if description.is_empty() { "" } else { " " });
                description.push_str(more);
            }
            None => options.push((line.trim().to_owned(), String::new())),
        }
    }
    options
}

/// As `.TP` entries: options bold, their values in italics.
fn roff(options: &[(String, String)]) -> String {
    let escaped = |text: &str| text.replace('\\', "\\e").replace('-', "\\-");
    let entry = |(synopsis, description): &(String, String)| {
        let words: Vec<_> = synopsis.splitn(3, ' ').collect();
        let is_option = |word: &&str| word.starts_with('-');
        let (flags, values): (Vec<_>, Vec<_>) = words.into_iter().partition(is_option);
        let flags: Vec<_> =
            flags.iter().map(|flag| format!("\\fB{}\\fR", escaped(flag.trim_end_matches(',')))).collect();
        let values: String = values.iter().map(|value| format!(" \\fI{}\\fR", escaped(value))).collect();
        format!(".TP\n{}{values}\n{}\n", flags.join(", "), escaped(description))
    };
    options.iter().map(entry).collect()
}

#[test]
fn man_pages_list_the_options_of_help() {
    for (name, binary) in PAGES {
        let path = page(name);
        let text = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = text.split_once(BEGIN).unwrap();
        let (_, after) = rest.split_once(END).unwrap();
        let options = options(&help(binary));
        assert!(options.len() > 20, "{options:?}");
        let wanted = format!("{before}{BEGIN}{}{END}{after}", roff(&options));
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, wanted).unwrap();
        } else {
            assert_eq!(text, wanted, "{} differs from --help: run BLESS=1 cargo test --test man", path.display());
        }
    }
}

#[test]
fn man_pages_name_this_version() {
    for (name, _) in PAGES {
        let text = std::fs::read_to_string(page(name)).unwrap();
        let version = format!("\"connleak {}\"", env!("CARGO_PKG_VERSION"));
        assert!(text.lines().next().unwrap().contains(&version), "man/{name}.1 is of another version");
    }
}

#[test]
fn man_pages_are_clean_roff() {
    for (name, _) in PAGES {
        let lint = match Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(page(name)).output() {
            Ok(lint) => lint,
            Err(why) => {
                assert!(std::env::var_os("REQUIRE_LIVE").is_none(), "mandoc: {why}");
                println!("SKIP man_pages_are_clean_roff: mandoc: {why}");
                return;
            }
        };
        assert!(lint.status.success(), "{}", String::from_utf8_lossy(&lint.stdout));
    }
}
