//! What a subcommand is: the word after `connleak`, its options, and what it does with them.

use argh::{ArgsInfo, FlagInfo, FlagInfoKind, FromArgs};
use connleak::base::deadline::Deadline;
use connleak::base::duration::Span;
use connleak::base::word;
use connleak::kernel::world::World;
use connleak::options::args::{self, Args, Asked, Command};
use connleak::program::help;
use std::ffi::OsString;
use std::time::Duration;

use crate::screen;

/// A subcommand with options of its own only.
pub trait Plain: FromArgs + ArgsInfo {
    /// The line of help on the exit status.
    const STATUS: &'static str = "Exit status: 0, or 3 with one line on standard error.\n";

    fn run(self) -> Result<(), String>;
}

/// A subcommand that also has the options that the checks share.
pub trait Shared: Command {
    fn run(args: Args<Self>, world: World) -> Result<(), String>;
}

/// How `main` knows a subcommand.
#[derive(Clone, Copy)]
pub struct Entry {
    pub name: &'static str,
    pub about: fn() -> String,
    pub run: fn(Vec<OsString>) -> Result<(), String>,
}

impl Entry {
    pub const fn of<S: Plain>(name: &'static str) -> Entry {
        Entry { name, about: about::<S>, run: plain::<S> }
    }

    pub const fn shared<S: Shared>(name: &'static str) -> Entry {
        Entry { name, about: about::<S>, run: shared::<S> }
    }
}

fn about<S: ArgsInfo>() -> String {
    help::one_line(S::get_args_info().description)
}

/// As [`help::text`], for options of its own only.
fn text<S: Plain>(name: &str) -> String {
    let info = S::get_args_info();
    let files: String = info.positionals.iter().map(|file| format!(" [{}...]", file.name.to_uppercase())).collect();
    let described = info.positionals.iter().map(|file| {
        let description = help::wrapped(&help::one_line(file.description), 10);
        format!("  {}\n{description}", file.name.to_uppercase())
    });
    let described: String = described.collect();
    let own = info.flags.iter().filter(|flag| flag.long != "--help");
    let options = help::options(own.chain([&args::HELP]));
    let (version, about) = (env!("CARGO_PKG_VERSION"), help::one_line(info.description));
    format!(
        "connleak {name} {version} - {about}\n\nUsage: connleak {name} [OPTIONS]{files}\n\nOptions:\n{described}{options}\n\
         {}See 'man connleak' for examples.\n",
        S::STATUS
    )
}

/// Reads the words of a subcommand and runs it.
pub fn plain<S: Plain>(words: Vec<OsString>) -> Result<(), String> {
    let utf8 = |word: OsString| {
        word.into_string().map_err(|word| format!("argument '{}' is not UTF-8; see --help", word.to_string_lossy()))
    };
    let words = words.into_iter().map(utf8).collect::<Result<Vec<_>, _>>()?;
    let words = spread::<S>(words);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let name = S::get_args_info().name;
    match S::from_args(&["connleak", name], &words) {
        Ok(asked) => asked.run(),
        // It was asked for help, by 'help' too.
        Err(exit) if exit.status.is_ok() => screen::print(&text::<S>(name)),
        Err(exit) => Err(refusal::<S>(&exit.output, &words, name)),
    }
}

/// What argh refused, as the checks say it: the option, the bad word, the remedy.
fn refusal<S: ArgsInfo>(output: &str, words: &[&str], name: &str) -> String {
    if let Some(word) = output.trim().strip_prefix("Unrecognized argument: ").and_then(|word| word.lines().next()) {
        let (kind, bare) =
            if word.starts_with('-') { ("option", word.trim_start_matches('-')) } else { ("argument", word) };
        let known: Vec<&str> = S::get_args_info().flags.iter().map(|flag| flag.long.trim_start_matches('-')).collect();
        let meant = if kind == "option" { word::suggestion("--", bare, known.into_iter()) } else { String::new() };
        return format!("unknown {kind} '{word}'; {meant}see 'connleak {name} --help'");
    }
    let told = args::explain(output, words);
    format!("{}; see 'connleak {name} --help'", told.trim_end_matches("; see --help"))
}

/// getopt's `-p11211` and `--port=11211` as argh has them, in two words. Who asks for help gets it, whatever
/// else he says.
fn spread<S: ArgsInfo>(words: Vec<String>) -> Vec<String> {
    let flags = S::get_args_info().flags;
    let takes_value = |flag: &&FlagInfo| matches!(flag.kind, FlagInfoKind::Option { .. });
    let mut spread = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if ["-h", "--help"].contains(&word.as_str()) {
            return vec!["--help".to_owned()];
        }
        let mut letters = word.chars();
        let short = if letters.next() == Some('-') { letters.next() } else { None };
        let long = word.split_once('=').map_or(word.as_str(), |(long, _)| long);
        let flag =
            flags.iter().filter(takes_value).find(|flag| flag.long == long || (short.is_some() && flag.short == short));
        match (flag, word.split_once('='), letters.as_str()) {
            (Some(flag), Some((long, value)), _) if flag.long == long => {
                spread.extend([long.to_owned(), value.to_owned()])
            }
            (Some(flag), _, value) if flag.long != long && !value.is_empty() => {
                spread.extend([flag.long.to_owned(), value.to_owned()]);
            }
            // Its value is the next word, whatever that looks like.
            (Some(_), ..) => spread.extend([Some(word), words.next()].into_iter().flatten()),
            (None, ..) => spread.push(word),
        }
    }
    spread
}

fn shared<S: Shared>(words: Vec<OsString>) -> Result<(), String> {
    let args = match args::parse::<S>(words) {
        Ok(Asked::Run(args)) => *args,
        Ok(Asked::Help) => return screen::print(&help::text::<S>()),
        Ok(Asked::Version) => return screen::print(&format!("connleak {}\n", env!("CARGO_PKG_VERSION"))),
        Err(refused) => return Err(refused.why.to_string()),
    };
    let common = &args.common;
    let mut world = World::here(Deadline::after(common.timeout.unwrap_or_default().after.0));
    world.source = common.source.unwrap_or_default();
    world.netns = common.netns.clone().unwrap_or_default();
    world.replay.clone_from(&common.replay);
    if let Some(root) = &common.proc_root {
        world.proc_root.clone_from(root);
    }
    S::run(args, world)
}

/// Ends the process where a call into the kernel never returns.
pub fn guard(deadline: &Deadline) {
    let deadline = deadline.clone();
    std::thread::spawn(move || {
        while !deadline.left().is_zero() {
            std::thread::sleep(deadline.left().max(Duration::from_millis(1)));
        }
        eprintln!("connleak: timed out after {}; see --timeout", Span(deadline.budget()));
        std::process::exit(3);
    });
}
