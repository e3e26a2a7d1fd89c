//! The checks on real sockets, in network namespaces that the tests make. Root only; else skipped.

#[path = "../support/lab.rs"]
mod lab;

mod age;
mod churn;
mod closing;
mod crowd;
mod daemon;
mod ends;
mod growth;
mod holder;
mod hostile;
mod icinga;
mod icinga_cluster;
mod junit;
mod kernel;
mod left;
mod nagios;
mod namespace;
mod nrpe;
mod pool;
mod prometheus;
mod python;
mod recipes;
mod regular;
mod replay;
mod restart;
mod rights;
mod select;
mod stopping;
mod sudo;
mod unit;
mod unprivileged;
