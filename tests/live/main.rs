//! The checks on real sockets, in network namespaces that the tests make. Root only; else skipped.

#[path = "../support/lab.rs"]
mod lab;
#[path = "../support/postgres.rs"]
mod postgres;
#[path = "../support/tmux.rs"]
mod tmux;

mod age;
mod churn;
mod clock;
mod closing;
mod companion;
mod containers;
mod crowd;
mod daemon;
mod demo;
mod director;
mod ends;
mod ghosts;
mod growth;
mod holder;
mod hostile;
mod icinga;
mod icinga_cluster;
mod idle;
mod inherited;
mod junit;
mod kernel;
mod leak;
mod left;
mod machine;
mod nagios;
mod namespace;
mod nested;
mod nrpe;
mod pgbouncer;
mod pool;
mod processes;
mod progress;
mod prometheus;
mod python;
mod recipes;
mod regular;
mod replay;
mod restart;
mod rights;
mod scarce;
mod select;
mod soak;
mod states;
mod stopping;
mod sudo;
mod tenants;
mod textfile;
mod unit;
mod units;
mod unprivileged;
mod watch;
mod who;
