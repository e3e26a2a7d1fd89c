//! The core that all checks share. This page is its table of contents.
//!
//! ```text
//! kernel -> source -> select -> tally -------------+-> verdict -> report -> run (print, exit)
//!                          `-> pool -> trend ------'              ^
//!                              history -^ (sighting: all four)    |
//!            profile -> range -> service     owner, unit -> blame, remains
//! ```
//!
//! Arrows never turn back; `tests/layering.rs` holds them to it. A check in `checks/` is its options
//! and one function from them and a [`world::World`] to a [`report::Report`].

pub mod aftermath;
pub mod args;
pub mod baseline;
pub mod batch;
pub mod blame;
pub mod boot;
pub mod bounded;
pub mod cgroup;
pub mod confine;
pub mod deadline;
pub mod duration;
pub mod error;
pub mod extra_opts;
pub mod footprint;
pub mod ghosts;
pub mod growth;
pub mod help;
pub mod history;
pub mod holders;
pub mod idle;
pub mod lifecycle;
pub mod limit;
pub mod local_time;
pub mod memory;
pub mod mix;
pub mod netns;
pub mod owner;
pub mod pool;
pub mod profile;
pub mod range;
pub mod remains;
pub mod report;
pub mod rights;
pub mod run;
pub mod select;
pub mod service;
pub mod settle;
pub mod sighting;
pub mod socket;
pub mod source;
pub mod stat;
pub mod state_dir;
pub mod stop_command;
pub mod tally;
pub mod tenancy;
pub mod tenant;
pub mod trend;
pub mod understudy;
pub mod unit;
pub mod user;
pub mod verdict;
pub mod whole;
pub mod world;
