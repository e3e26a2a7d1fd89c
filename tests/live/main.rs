//! The checks on real sockets, in network namespaces that the tests make. Root only; else skipped.

#[path = "../support/lab.rs"]
mod lab;

mod age;
mod churn;
mod clock;
mod closing;
mod ends;
mod growth;
mod holder;
mod hostile;
mod junit;
mod kernel;
mod left;
mod namespace;
mod pool;
mod processes;
mod python;
mod recipes;
mod regular;
mod replay;
mod restart;
mod rights;
mod scarce;
mod select;
mod soak;
mod stopping;
mod sudo;
mod unit;
mod unprivileged;
