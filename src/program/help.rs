//! `--help` and the man pages' option lists, from the argument tables.

use crate::options::args::{self, Command};
use argh::{FlagInfo, FlagInfoKind, Optionality};

/// `-p, --port N[,N...]`.
fn synopsis(flag: &FlagInfo) -> String {
    let short = flag.short.map_or(String::from("    "), |short| format!("-{short}, "));
    match flag.kind {
        FlagInfoKind::Switch => format!("{short}{}", flag.long),
        FlagInfoKind::Option { arg_name } => format!("{short}{} {arg_name}", flag.long),
    }
}

pub fn text<A: Command>() -> String {
    let info = A::get_args_info();
    let program = A::PROGRAM;
    let mut text = format!("{program} {} - {}\n", env!("CARGO_PKG_VERSION"), one_line(info.description));
    text.push_str(&format!("\nUsage: {program} {}{}\n\n", A::USAGE, A::REST.unwrap_or_default()));
    for note in info.notes {
        text.push_str(&wrapped(&one_line(note), 0));
    }
    text.push_str("\nOptions:\n");
    text.push_str(&options(args::all::<A>().map(|(flag, _)| flag)));
    text.push_str(&format!("\n{}{}", other_names(A::ALSO), A::CLOSING));
    // A subcommand is in its program's page.
    let page = program.split(' ').next().unwrap_or(program);
    text.push_str(&format!("See 'man {page}' for examples, output and profiles.\n"));
    text
}

/// By which earlier versions and other checks know its options.
fn other_names(also: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (theirs, ours) in also {
        text += if text.is_empty() { "Also taken: " } else { ", " };
        let all = if theirs.ends_with('-') { "*" } else { "" };
        for part in ["--", theirs, all, " for --", ours, all] {
            text += part;
        }
    }
    text + if also.is_empty() { "" } else { "\n" }
}

/// The list of options, as the man pages have it too.
pub fn options<'a>(flags: impl Iterator<Item = &'a FlagInfo<'a>>) -> String {
    let entry = |flag| {
        let repeated = if is_repeated(flag) { "; may be repeated" } else { "" };
        format!("  {}\n{}", synopsis(flag), wrapped(&(one_line(flag.description) + repeated), 10))
    };
    flags.map(entry).collect()
}

/// `-v` is counted rather than repeated.
fn is_repeated(flag: &FlagInfo) -> bool {
    matches!((&flag.kind, &flag.optionality), (FlagInfoKind::Option { .. }, Optionality::Repeating))
}

/// argh keeps a doc comment's line breaks.
pub fn one_line(description: &str) -> String {
    description.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub fn wrapped(text: &str, indent: usize) -> String {
    const WIDTH: usize = 90;
    let mut lines = String::new();
    let mut line = " ".repeat(indent);
    for word in text.split(' ') {
        if line.len() + 1 + word.len() > WIDTH {
            lines.push_str(line.trim_end());
            lines.push('\n');
            line = " ".repeat(indent);
        }
        line.push_str(word);
        line.push(' ');
    }
    lines.push_str(line.trim_end());
    lines.push('\n');
    lines
}
