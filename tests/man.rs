//! The man pages' option lists are what `--help` says: compared, and with BLESS=1 rewritten.

#[path = "support/help.rs"]
mod help;
#[path = "support/suite.rs"]
mod suite;

use help::{help, options, subcommands};
use std::path::{Path, PathBuf};
use std::process::Command;

fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("man").join(format!("{name}.1"))
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

/// Names that earlier versions and other checks have for options, below the list.
fn other_names(help: &str) -> String {
    let listed = help.lines().find_map(|line| line.strip_prefix("Also taken: "));
    let pair = |pair: &str| {
        let (theirs, ours) = pair.split_once(" for ").unwrap();
        let bold = |name: &str| format!("\\fB{}\\fR", name.replace('-', "\\-"));
        format!("{} for {}", bold(theirs), bold(ours))
    };
    listed.map_or(String::new(), |listed| {
        let pairs: Vec<_> = listed.split(", ").map(pair).collect();
        format!(".PP\nNames that earlier versions or other checks have are taken too: {}.\n", pairs.join(", "))
    })
}

/// The page with the list between the marks as help has it. A subcommand's marks carry its name.
fn with_options(text: &str, binary: &str, subcommand: Option<&str>) -> String {
    let of = subcommand.map_or(String::new(), |name| format!(" {name}"));
    let (begin, end) = (format!(".\\\" BEGIN OPTIONS{of}\n"), format!(".\\\" END OPTIONS{of}\n"));
    let marked = text.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    let (before, after) = marked.unwrap_or_else(|| panic!("{begin} ... {end} are missing for {binary}"));
    let help = help(binary, subcommand);
    format!("{before}{begin}{}{}{end}{after}", roff(&options(&help)), other_names(&help))
}

/// What readers of performance data make of them, the same in each check's page.
const PERFDATA: &str = r#"All performance data are on the first line, which stays below 1,023 bytes: the text is cut, and of very many or very long
data there are fewer, never a number that is cut.
A label whose value can't be known is left out, never
.BR U :
Icinga 2 drops the whole metric then.
Of a threshold Icinga 2 keeps a plain number alone: ranges as
.BR 10:20 ", " 5: ", " ~:5 " or " @5:10
are judged by the check as they stand, but in Icinga's metrics and graphs they are null, without a word.
Only the first line's data are read there, and units are
.BR s ", " B " and " %
alone, as it takes 5m for 300 seconds and 5k for kelvin.
"#;

/// The page with what it says of performance data between its marks.
fn with_perfdata(text: &str, name: &str) -> String {
    let (begin, end) = (".\\\" BEGIN PERFDATA\n", ".\\\" END PERFDATA\n");
    let (before, rest) = text.split_once(begin).unwrap_or_else(|| panic!("{begin} is missing in {name}"));
    let (_, after) = rest.split_once(end).unwrap_or_else(|| panic!("{end} is missing in {name}"));
    format!("{before}{begin}{PERFDATA}{end}{after}")
}

#[test]
fn man_pages_list_the_options_of_help() {
    for (name, binary) in suite::programs() {
        let path = page(name);
        let text = std::fs::read_to_string(&path).unwrap();
        let subcommands = subcommands(&help(binary, None));
        let wanted = match subcommands.is_empty() {
            true => with_perfdata(&with_options(&text, binary, None), name),
            false => subcommands.iter().fold(text.clone(), |text, (name, _)| with_options(&text, binary, Some(name))),
        };
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, wanted).unwrap();
        } else {
            assert_eq!(text, wanted, "{} differs from --help: run BLESS=1 cargo test --test man", path.display());
        }
    }
}

/// The lines of a page's SYNOPSIS as they are read.
fn synopsis(name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(page(name)).unwrap();
    let (_, rest) = text.split_once(".SH SYNOPSIS\n").unwrap();
    let (synopsis, _) = rest.split_once(".SH ").unwrap();
    let plain = |line: &str| {
        let words = line.split_once(' ').map_or("", |(macro_name, words)| if macro_name == ".br" { "" } else { words });
        ["\\fI", "\\fR", "\\", "\""].iter().fold(words.to_owned(), |words, sign| words.replace(sign, ""))
    };
    synopsis.split("\n.br\n").map(|one| one.lines().map(plain).collect::<Vec<_>>().join(" ")).collect()
}

/// Where an option chooses the service, the page's first lines and the usage line tell it, but for a check that refuses it.
#[test]
fn synopses_name_unix_sockets_where_they_are_taken() {
    for (name, binary) in suite::programs() {
        let of = |subcommand: Option<&str>, synopses: &[String]| {
            let help = help(binary, subcommand);
            let usage = help.lines().find(|line| line.starts_with("Usage: ")).unwrap();
            let is_taken = help.contains("--unix PATH\n") && name != "check_conn_idle";
            let told = format!("{name} {subcommand:?}: {synopses:?}, {usage}");
            assert_eq!(synopses.iter().any(|synopsis| synopsis.contains("--unix")), is_taken, "{told}");
            let names_services = usage.contains("-p PORT");
            assert!(!names_services || usage.contains("--unix PATH") == is_taken, "{told}");
        };
        let synopses = synopsis(name);
        match subcommands(&help(binary, None)) {
            none if none.is_empty() => of(None, &synopses),
            subcommands => subcommands.iter().for_each(|(subcommand, _)| {
                let its: Vec<String> = synopses
                    .iter()
                    .filter(|synopsis| synopsis.split_whitespace().nth(1) == Some(subcommand.as_str()))
                    .filter(|synopsis| !synopsis.contains("--from-history"))
                    .cloned()
                    .collect();
                of(Some(subcommand), &its);
            }),
        }
    }
}

#[test]
fn man_pages_name_this_version() {
    for (name, _) in suite::programs() {
        let text = std::fs::read_to_string(page(name)).unwrap();
        let version = format!("\"connleak {}\"", env!("CARGO_PKG_VERSION"));
        assert!(text.lines().next().unwrap().contains(&version), "man/{name}.1 is of another version");
    }
}

#[test]
fn man_pages_are_clean_roff() {
    for (name, _) in suite::programs() {
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
