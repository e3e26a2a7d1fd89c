//! The suite's one table: a fact about a program stands here once, and tests hold all else to it.

/// A program that is shipped.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    pub name: &'static str,
    /// The question that it answers, as README and the packages put it.
    pub question: &'static str,
    /// Bytes that the release build must stay below; `None`: it links SQLite or draws pages.
    pub largest: Option<u64>,
    /// What it needs beside a profile where a scheduler runs it regularly.
    pub regularly: &'static str,
}

/// What a check without a history should stay below.
const MIB: u64 = 1 << 20;

pub const SUITE: [Program; 7] = [
    Program {
        name: "check_closewait",
        question: "Does anyone hold sockets whose peer has already closed, for how long, and who?",
        // UNIX sockets, MPTCP, redirected ports and ghosts, what it remembers of them, and what check_conn_growth has learned.
        largest: Some(MIB + MIB / 4),
        regularly: "",
    },
    Program {
        name: "check_conn_growth",
        question: "Are connections leaking toward a limit, since when, by whom, and when does it run out?",
        largest: None,
        regularly: "",
    },
    Program {
        name: "check_conn_idle",
        question: "Which connections have carried no data for long, how many were never used, and whose are they?",
        // UNIX sockets' kinds, clients whose server has closed, who only has a port bound and what keeps namespaces, which all
        // checks tell, came on top of a MiB.
        largest: Some(MIB + MIB / 16),
        regularly: "",
    },
    Program {
        name: "check_conn_states",
        question: "Are accept queues, half-open and stuck connections, ephemeral ports and counts by TCP state healthy?",
        largest: None,
        regularly: "",
    },
    Program {
        name: "check_conn_tenants",
        question: "Does one tenant (user, unit, container, directory, network) take a shared pool's connections?",
        // A regex engine and maps of tenants beside the rest, and what is remembered of UNIX sockets.
        largest: Some(MIB + MIB / 4),
        regularly: "",
    },
    Program {
        name: "check_orphans_after_stop",
        question: "Is nothing left N seconds after a service was stopped, and if so, who has it?",
        // It runs commands and follows their processes, asks for single sockets while it waits, and remembers a service's
        // UNIX clients and paths.
        largest: Some(MIB + 3 * MIB / 16),
        regularly: " --unit memcached.service",
    },
    Program { name: "connleak", question: "", largest: None, regularly: "" },
];
