//! The programs of the suite, once for all tests; tests/suite.rs holds the list to the suite's own table.

#![allow(dead_code, reason = "each test file uses a part")]

/// A check, by the path of its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check(pub &'static str);

pub const CLOSEWAIT: Check = Check(env!("CARGO_BIN_EXE_check_closewait"));
pub const GROWTH: Check = Check(env!("CARGO_BIN_EXE_check_conn_growth"));
pub const IDLE: Check = Check(env!("CARGO_BIN_EXE_check_conn_idle"));
pub const STATES: Check = Check(env!("CARGO_BIN_EXE_check_conn_states"));
pub const TENANTS: Check = Check(env!("CARGO_BIN_EXE_check_conn_tenants"));
pub const ORPHANS: Check = Check(env!("CARGO_BIN_EXE_check_orphans_after_stop"));
pub const CHECKS: [Check; 6] = [CLOSEWAIT, GROWTH, IDLE, STATES, TENANTS, ORPHANS];

/// The companion, which keeps to another contract than the checks.
pub const CONNLEAK: &str = env!("CARGO_BIN_EXE_connleak");

/// Every program: its name and its path.
pub fn programs() -> impl Iterator<Item = (&'static str, &'static str)> {
    CHECKS.iter().map(|check| (check.name(), check.0)).chain([("connleak", CONNLEAK)])
}

impl Check {
    /// `check_closewait`.
    pub fn name(self) -> &'static str {
        self.0.rsplit_once('/').map_or(self.0, |(_, name)| name)
    }

    /// `closewait`.
    pub fn short(self) -> &'static str {
        self.name().trim_start_matches("check_")
    }
}
