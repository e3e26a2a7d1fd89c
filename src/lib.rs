//! The core that all checks share. Its rooms are its layers: each uses those above it in this list, never those below.
//!
//! | room | answers |
//! | --- | --- |
//! | [`base`] | what every room stands on: errors, durations, files, deadlines, capabilities |
//! | [`kernel`] | what does the kernel know: sockets, their owners, namespaces, limits |
//! | [`history`] | what was seen in earlier runs |
//! | [`report`] | what does a check say, in which state: model, ranges, verdict, renderers |
//! | [`service`] | what is meant: profile, ports, choice of sockets |
//! | [`owners`] | whose are they, and who is to be named |
//! | [`growth`] | do connections leak toward a limit |
//! | [`options`] | what did the caller type |
//! | [`program`] | a check as a process: start, time limit, output, exit |
//!
//! ```text
//! kernel (source, owner) -> select -> tally ------------+-> verdict -> report -> program (print, exit)
//!                                  `-> history -> growth -'           ^
//!            options, service (profile, range) ----------^   owners (blame) -'
//! ```
//!
//! `tests/layering.rs` holds them to it. A check in `checks/` is its options and one function from them and a
//! [`kernel::world::World`] to a [`report::Report`]; what only one check uses lives beside it.

pub mod base;
pub mod growth;
pub mod history;
pub mod kernel;
pub mod options;
pub mod owners;
pub mod program;
pub mod report;
pub mod service;
