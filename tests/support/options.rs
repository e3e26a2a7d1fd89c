//! The checks and their options, as `--help` tells them from the argument tables.

#[path = "help.rs"]
mod help;

/// A check that is shipped. A new one is a line in [`CHECKS`].
pub struct Check {
    pub name: &'static str,
    pub binary: &'static str,
    /// What it needs beside a profile where a scheduler runs it regularly.
    pub regularly: &'static str,
}

pub const CHECKS: [Check; 6] = [
    Check { name: "check_closewait", binary: env!("CARGO_BIN_EXE_check_closewait"), regularly: "" },
    Check { name: "check_conn_growth", binary: env!("CARGO_BIN_EXE_check_conn_growth"), regularly: "" },
    Check { name: "check_conn_idle", binary: env!("CARGO_BIN_EXE_check_conn_idle"), regularly: "" },
    Check { name: "check_conn_states", binary: env!("CARGO_BIN_EXE_check_conn_states"), regularly: "" },
    Check { name: "check_conn_tenants", binary: env!("CARGO_BIN_EXE_check_conn_tenants"), regularly: "" },
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

    pub fn options(&self) -> Vec<Opt> {
        let listed = help::options(&help::help(self.binary, None)).into_iter();
        let options: Vec<_> = listed.map(|(synopsis, description)| Opt { synopsis, description }).collect();
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
