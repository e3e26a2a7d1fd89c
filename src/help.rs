//! `--help` and the man pages' option lists, from the argument tables.

use crate::args::{self, Command};
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
    text.push_str(&format!("\nUsage: {program} -p PORT|-P PROFILE [OPTIONS]{}\n\n", A::REST.unwrap_or_default()));
    for note in info.notes {
        text.push_str(&wrapped(&one_line(note), 0));
    }
    text.push_str("\nOptions:\n");
    for (flag, _) in args::all::<A>() {
        text.push_str(&format!("  {}\n", synopsis(flag)));
        let repeated = if is_repeated(flag) { "; may be repeated" } else { "" };
        text.push_str(&wrapped(&(one_line(flag.description) + repeated), 10));
    }
    text.push_str(
        "\nRANGE is Nagios' [@][start:][end]: 10 alerts above 10 (and below 0), 5: below 5, ~:10 above 10, 5:10\n\
         outside, @5:10 inside. DURATION is seconds or 500ms, 60s, 20m, 2h, 1d.\n\
         Exit status: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN (also for this help).\n",
    );
    text.push_str(&format!("See 'man {program}' for examples, output and profiles.\n"));
    text
}

/// `-v` is counted rather than repeated.
fn is_repeated(flag: &FlagInfo) -> bool {
    matches!((&flag.kind, &flag.optionality), (FlagInfoKind::Option { .. }, Optionality::Repeating))
}

/// argh keeps a doc comment's line breaks.
fn one_line(description: &str) -> String {
    description.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn wrapped(text: &str, indent: usize) -> String {
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
