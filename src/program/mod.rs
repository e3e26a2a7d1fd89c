//! A check as a process: it starts, is bounded and confined, prints and exits.

pub mod child;
pub mod help;
pub mod inherited;
pub mod next;
pub mod panics;
pub mod run;
pub mod seccomp;
pub mod suite;
