//! The person's companion to the checks.

mod backtest;
mod from_history;
mod protocol;

use argh::FromArgs;
use std::process::ExitCode;

/// look instead of read: what the checks see, and would have seen
#[derive(FromArgs)]
struct Connleak {
    /// show the version
    #[argh(switch, short = 'V')]
    version: bool,

    #[argh(subcommand)]
    command: Option<Command>,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    Backtest(backtest::Backtest),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("connleak: {why}");
            ExitCode::from(3)
        }
    }
}

fn run() -> Result<(), String> {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    if words.first().is_some_and(|word| word == "backtest") && words.iter().any(|word| word == "--from-history") {
        print!("{}", from_history::run(words[1..].to_vec())?);
        return Ok(());
    }
    let words = words.into_iter().map(|word| {
        word.into_string().map_err(|word| format!("argument '{}' is not UTF-8; see --help", word.to_string_lossy()))
    });
    let words = words.collect::<Result<Vec<_>, _>>()?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let asked = match Connleak::from_args(&["connleak"], &words) {
        Ok(asked) => asked,
        Err(exit) if exit.status.is_ok() => {
            print!("{}", exit.output);
            return Ok(());
        }
        Err(exit) => return Err(format!("{}; see --help", exit.output.trim().replace('\n', " "))),
    };
    match asked.command {
        _ if asked.version => {
            println!("connleak {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        Some(Command::Backtest(backtest)) => backtest.run(),
        None => Err("what? connleak backtest; see --help".to_owned()),
    }
}
