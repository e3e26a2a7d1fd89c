//! The person's companion to the checks.

mod backtest;
mod cells;
mod demo;
mod discover;
mod doctor;
mod every;
mod everyone;
mod from_history;
mod graph;
mod host;
mod protocol;
mod screen;
mod sessions;
mod subcommand;
mod watch;
mod who;

use connleak::base::{capabilities, word};
use connleak::program::{inherited, panics};
use std::process::ExitCode;
use subcommand::Entry;

const WHO: Entry = Entry::shared::<who::Who>("who");

/// In the order that help shows them.
const SUBCOMMANDS: [Entry; 9] = [
    Entry::of::<discover::Discover>("discover"),
    WHO,
    Entry::shared::<watch::Watch>("watch"),
    Entry::shared::<sessions::Sessions>("sessions"),
    Entry::of::<graph::Graph>("graph"),
    Entry::of::<doctor::Doctor>("doctor"),
    Entry { run: every::run, ..Entry::of::<every::Every>("every") },
    Entry::of::<demo::Demo>("demo"),
    Entry { run: from_history::or_files, ..Entry::of::<backtest::Backtest>("backtest") },
];

fn main() -> ExitCode {
    inherited::reset();
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("connleak: {}", screen::visible(&panics::words(panic)));
        std::process::exit(3)
    }));
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("connleak: {}", screen::visible(&why));
            ExitCode::from(3)
        }
    }
}

fn run() -> Result<(), String> {
    capabilities::lower().map_err(|why| why.to_string())?;
    let mut words = std::env::args_os().skip(1);
    let known = || SUBCOMMANDS.map(|entry| entry.name).join(", ");
    let Some(word) = words.next() else {
        return Err(format!("what? one of {}; see --help", known()));
    };
    match word.to_str() {
        Some("-h" | "--help" | "help") => screen::print(&help()),
        Some("-V" | "--version") => screen::print(&format!("connleak {}\n", env!("CARGO_PKG_VERSION"))),
        // Options alone are those of the look that is meant most often.
        Some(option) if option.len() > 1 && option.starts_with('-') => {
            (WHO.run)(std::iter::once(word).chain(words).collect())
        }
        _ => match SUBCOMMANDS.iter().find(|entry| word == entry.name) {
            Some(entry) => (entry.run)(words.collect()),
            None => {
                let word = word.to_string_lossy();
                let meant = word::suggestion("", &word, SUBCOMMANDS.iter().map(|entry| entry.name));
                Err(format!("unknown command '{word}'; {meant}use one of {}; see --help", known()))
            }
        },
    }
}

fn help() -> String {
    let mut text = format!(
        "connleak {} - look instead of read: what the checks see, since when, and who\n\n\
         Usage: connleak COMMAND [OPTIONS]\n\nCommands:\n",
        env!("CARGO_PKG_VERSION")
    );
    for entry in &SUBCOMMANDS {
        text.push_str(&format!("  {:<10}{}\n", entry.name, (entry.about)()));
    }
    text.push_str(
        "\nOptions:\n  -h, --help\n          show this help; after a command, that command's\n  -V, --version\n          \
         show the version\n\nExit status: 0, or 3 with one line on standard error; 1 by doctor where answers would be partial.\nSee 'man connleak' for examples.\n",
    );
    text
}
