//! The checks and their options, as `--help` tells them from the argument tables.

#![allow(dead_code, reason = "each test file uses a part")]

use std::process::Command;

/// A check that is shipped. A new one is a line in [`CHECKS`].
pub struct Check {
    pub name: &'static str,
    pub binary: &'static str,
    /// What it needs beside a profile where a scheduler runs it regularly.
    pub regularly: &'static str,
}

pub const CHECKS: [Check; 3] = [
    Check { name: "check_closewait", binary: env!("CARGO_BIN_EXE_check_closewait"), regularly: "" },
    Check { name: "check_conn_growth", binary: env!("CARGO_BIN_EXE_check_conn_growth"), regularly: "" },
    Check {
        name: "check_orphans_after_stop",
        binary: env!("CARGO_BIN_EXE_check_orphans_after_stop"),
        regularly: " --unit memcached.service",
    },
];

impl Check {
    /// `closewait`.
    pub fn short(&self) -> &'static str {
        self.name.strip_prefix("check_").unwrap()
    }

    pub fn help(&self) -> String {
        let output = Command::new(self.binary).arg("--help").output().unwrap();
        assert_eq!(output.status.code(), Some(3));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn options(&self) -> Vec<Opt> {
        let options = read(&self.help());
        assert!(options.len() > 20, "{}: {} options", self.name, options.len());
        options
    }
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

fn read(help: &str) -> Vec<Opt> {
    let list = help.split("\nOptions:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let mut options: Vec<Opt> = Vec::new();
    for line in list.lines() {
        match line.strip_prefix("          ") {
            Some(more) => {
                let description = &mut options.last_mut().unwrap().description;
                description.push_str(if description.is_empty() { "" } else { " " });
                description.push_str(more);
            }
            None => options.push(Opt { synopsis: line.trim().to_owned(), description: String::new() }),
        }
    }
    options
}
