//! The check on real sockets, in network namespaces that the tests make. Root only; else skipped.

#[path = "../support/lab.rs"]
mod lab;

mod age;
mod churn;
mod closing;
mod ends;
mod holder;
mod hostile;
mod kernel;
mod namespace;
mod replay;
mod select;
mod unit;
mod unprivileged;
