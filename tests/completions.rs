//! Shell completions are made of what `--help` says: compared, and with BLESS=1 rewritten.

#[path = "support/help.rs"]
mod help;
#[path = "support/suite.rs"]
mod suite;

use argh::{CommandInfoWithArgs, FlagInfo, FlagInfoKind, Optionality, SubCommandInfo};
use argh_complete::Generator;
use argh_complete::bash::Bash;
use argh_complete::fish::Fish;
use argh_complete::zsh::Zsh;
use help::{help, options, subcommands};
use std::path::{Path, PathBuf};
use std::process::Command;

fn kept(text: &str) -> &'static str {
    text.to_owned().leak()
}

/// `-p, --port N[,N...]` and its description; `None`: no option but a file.
fn flag((synopsis, description): &(String, String)) -> Option<FlagInfo<'static>> {
    let mut words = synopsis.split(' ').peekable();
    let short = words.next_if(|word| !word.starts_with("--"));
    let short = short.and_then(|short| short.strip_prefix('-')?.chars().next());
    let long = kept(words.next().filter(|word| word.starts_with("--"))?);
    let kind = match words.next() {
        Some(arg_name) => FlagInfoKind::Option { arg_name: kept(arg_name) },
        None => FlagInfoKind::Switch,
    };
    let description = kept(description);
    Some(FlagInfo { kind, optionality: Optionality::Optional, long, short, description, hidden: false })
}

/// The table that the generators read.
fn table(name: &str, binary: &str, subcommand: Option<&str>, about: &str) -> CommandInfoWithArgs {
    let text = help(binary, subcommand);
    let below = |(name, about): &(String, String)| SubCommandInfo {
        name: kept(name),
        command: table(name, binary, Some(name), about),
    };
    CommandInfoWithArgs {
        name: kept(name),
        description: kept(about),
        flags: options(&text).iter().filter_map(flag).collect::<Vec<_>>().leak(),
        commands: subcommands(&text).iter().map(below).collect(),
        ..Default::default()
    }
}

fn place(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("completions").join(file)
}

#[test]
fn completions_know_the_options_of_help() {
    for (name, binary) in suite::programs() {
        let table = table(name, binary, None, "");
        let files = [
            (format!("{name}.bash"), Bash::generate(name, &table)),
            (format!("_{name}"), Zsh::generate(name, &table)),
            (format!("{name}.fish"), Fish::generate(name, &table)),
        ];
        for (file, wanted) in files {
            let path = place(&file);
            if std::env::var_os("BLESS").is_some() {
                std::fs::write(&path, wanted).unwrap();
            } else {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                assert_eq!(text, wanted, "completions/{file} differs: run BLESS=1 cargo test --test completions");
            }
        }
    }
}

/// What bash offers for a line.
fn offers(name: &str, words: &[&str]) -> Vec<String> {
    let script = format!(
        "source {}; COMP_WORDS=({}); COMP_CWORD={}; _{name}; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        place(&format!("{name}.bash")).display(),
        words.join(" "),
        words.len() - 1
    );
    let output = Command::new("bash").args(["--norc", "-c", &script]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().split_whitespace().map(str::to_owned).collect()
}

#[test]
fn bash_completes() {
    assert_eq!(offers("connleak", &["connleak", "wa"]), ["watch"]);
    assert_eq!(offers("connleak", &["connleak", "watch", "--int"]), ["--interval"]);
    assert_eq!(offers("connleak", &["connleak", "who", "--tr"]), ["--tree"]);
    assert_eq!(offers("connleak", &["connleak", "who", "--int"]), [""; 0]);
    assert_eq!(offers("check_closewait", &["check_closewait", "--min"]), ["--min-age"]);
}

/// Where the shell is there it reads its file without complaint.
#[test]
fn shells_can_read_them() {
    for (shell, extension) in [("bash", "NAME.bash"), ("zsh", "_NAME"), ("fish", "NAME.fish")] {
        for (name, _) in suite::programs() {
            let file = place(&extension.replace("NAME", name));
            match Command::new(shell).arg("-n").arg(&file).output() {
                Ok(read) => assert!(read.status.success() && read.stderr.is_empty(), "{read:?}"),
                Err(why) => {
                    assert!(std::env::var_os("REQUIRE_LIVE").is_none(), "{shell}: {why}");
                    println!("SKIP shells_can_read_them: {shell}: {why}");
                    break;
                }
            }
        }
    }
}
