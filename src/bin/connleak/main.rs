//! The person's companion to the checks.

mod backtest;
mod cells;
mod demo;
mod discover;
mod doctor;
mod everyone;
mod from_history;
mod graph;
mod protocol;
mod screen;
mod sessions;
mod subcommand;
mod watch;
mod who;

use connleak::base::capabilities;
use connleak::program::inherited;
use std::process::ExitCode;
use subcommand::Entry;

/// In the order that help shows them.
const SUBCOMMANDS: [Entry; 8] = [
    Entry::of::<discover::Discover>("discover"),
    Entry::shared::<who::Who>("who"),
    Entry::shared::<watch::Watch>("watch"),
    Entry::shared::<sessions::Sessions>("sessions"),
    Entry::of::<graph::Graph>("graph"),
    Entry::of::<doctor::Doctor>("doctor"),
    Entry::of::<demo::Demo>("demo"),
    Entry { run: from_history::or_files, ..Entry::of::<backtest::Backtest>("backtest") },
];

fn main() -> ExitCode {
    inherited::reset();
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
        _ => match SUBCOMMANDS.iter().find(|entry| word == entry.name) {
            Some(entry) => (entry.run)(words.collect()),
            None => {
                let word = word.to_string_lossy();
                Err(format!("unknown command '{word}'; use one of {}; see --help", known()))
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
