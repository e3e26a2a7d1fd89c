//! The man pages' option lists are what `--help` says: compared, and with BLESS=1 rewritten.

use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "support/options.rs"]
mod options;

use options::{CHECKS, Opt};
const BEGIN: &str = ".\\\" BEGIN OPTIONS\n";
const END: &str = ".\\\" END OPTIONS\n";

fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("man").join(format!("{name}.1"))
}

/// As `.TP` entries: options bold, their values in italics.
fn roff(options: &[Opt]) -> String {
    let escaped = |text: &str| text.replace('\\', "\\e").replace('-', "\\-");
    let entry = |Opt { synopsis, description }: &Opt| {
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
    for check in CHECKS {
        let path = page(check.name);
        let text = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = text.split_once(BEGIN).unwrap();
        let (_, after) = rest.split_once(END).unwrap();
        let wanted = format!("{before}{BEGIN}{}{END}{after}", roff(&check.options()));
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, wanted).unwrap();
        } else {
            assert_eq!(text, wanted, "{} differs from --help: run BLESS=1 cargo test --test man", path.display());
        }
    }
}

#[test]
fn man_pages_name_this_version() {
    for name in CHECKS.map(|check| check.name) {
        let text = std::fs::read_to_string(page(name)).unwrap();
        let version = format!("\"connleak {}\"", env!("CARGO_PKG_VERSION"));
        assert!(text.lines().next().unwrap().contains(&version), "man/{name}.1 is of another version");
    }
}

#[test]
fn man_pages_are_clean_roff() {
    for name in CHECKS.map(|check| check.name) {
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
