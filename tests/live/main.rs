//! The checks on real sockets, in network namespaces that the tests make. Root only; else skipped.

#[path = "../support/lab.rs"]
mod lab;
#[path = "../support/postgres.rs"]
mod postgres;
#[path = "../support/tmux.rs"]
mod tmux;

/// check_closewait.
mod closewait {
    pub mod ages;
    pub mod client_libraries;
    pub mod ghosts;
    pub mod go;
    pub mod holders;
    pub mod idle_pool;
    pub mod peer_has_closed;
    pub mod remembered;
    pub mod usual;
}

/// check_conn_growth.
mod growth {
    pub mod ghosts;
    pub mod holders_now;
    pub mod real_pools;
    pub mod rehearsed;
    pub mod rights;
    pub mod series;
    pub mod stands;
    pub mod stuck;
}

/// check_orphans_after_stop.
mod orphans {
    pub mod action;
    pub mod around_a_restart;
    pub mod bound;
    pub mod client_pool;
    pub mod junit;
    pub mod old_workers;
    pub mod one_shot;
    pub mod recipes;
    pub mod regular_check;
    pub mod reload;
    pub mod reloads;
    pub mod starts_again;
    pub mod stop_command;
    pub mod unix_clients;
    pub mod unix_paths;
    pub mod waiting;
}

/// check_conn_states.
mod states {
    pub mod rules;
}

/// check_conn_idle.
mod idle {
    pub mod rules;
    pub mod unread;
}

/// check_conn_tenants.
mod tenants {
    pub mod keys;
    pub mod pgbouncer;
    pub mod unix_keys;
    pub mod unix_verdicts;
}

/// connleak itself.
mod companion {
    pub mod demo;
    pub mod discover;
    pub mod doctor;
    pub mod graph_progress;
    pub mod run;
    pub mod sockets;
    pub mod watch;
    pub mod who;
}

/// connleak sessions, with each service that has a list.
mod sessions {
    pub mod keyed;
    pub mod mariadb;
    pub mod pasted;
    pub mod pooler;
    pub mod postgresql;
    pub mod watched;
}

/// Kernels, namespaces, rights, processes: what holds for every check.
mod host {
    pub mod absence;
    pub mod churn;
    pub mod clock;
    pub mod containers;
    pub mod crowd;
    pub mod doubt;
    pub mod ends;
    pub mod hostile_names;
    pub mod inherited;
    pub mod injected_errors;
    pub mod isolation;
    pub mod kernel_filters;
    pub mod mptcp;
    pub mod namespaces;
    pub mod nested_namespaces;
    pub mod own_namespaces;
    pub mod pid;
    pub mod processes;
    pub mod published;
    pub mod queues;
    pub mod replay;
    pub mod rights;
    pub mod scarce_resources;
    pub mod select;
    pub mod sides;
    pub mod soak;
    pub mod threads;
    pub mod unit;
    pub mod unix_checks;
    pub mod unix_churn;
    pub mod unix_kinds;
    pub mod unix_labels;
    pub mod unix_memory;
    pub mod unix_scenes;
    pub mod unix_servers;
    pub mod unix_sockets;
    pub mod unprivileged;
}

/// Real monitoring systems and other programs that run the checks.
mod integrations {
    pub mod agents;
    pub mod ansible;
    pub mod containers;
    pub mod daemon;
    pub mod database;
    pub mod director;
    pub mod icinga;
    pub mod icinga_cluster;
    pub mod machine;
    pub mod nagios;
    pub mod nrpe;
    pub mod prometheus;
    pub mod python;
    pub mod sudo;
    pub mod textfile;
    pub mod units;
    pub mod zabbix;
}
