//! The checks and their options, as `--help` tells them from the argument tables.

#[path = "help.rs"]
mod help;
#[path = "suite.rs"]
mod suite;

use connleak::program::suite::SUITE;

pub use suite::{CHECKS, Check};

/// What a check is run with beside a profile, as [`SUITE`] has it.
pub fn regularly(check: Check) -> &'static str {
    SUITE.iter().find(|program| program.name == check.name()).unwrap().regularly
}

/// The options of a check.
pub fn of(check: Check) -> Vec<Opt> {
    let listed = help::options(&help::help(check.0, None)).into_iter();
    let options: Vec<_> = listed.map(|(synopsis, description)| Opt { synopsis, description }).collect();
    assert!(options.len() > 20, "{}: {} options", check.name(), options.len());
    options
}

/// One option of a help text.
#[derive(Debug, PartialEq)]
pub struct Opt {
    /// `-p, --port N[,N...]`.
    pub synopsis: String,
    pub description: String,
}

impl Opt {
    /// `--port`.
    pub fn long(&self) -> &str {
        self.synopsis.split(' ').find(|word| word.starts_with("--")).unwrap()
    }

    pub fn is_switch(&self) -> bool {
        self.synopsis.ends_with(self.long())
    }

    pub fn is_repeated(&self) -> bool {
        self.description.ends_with("; may be repeated")
    }
}
