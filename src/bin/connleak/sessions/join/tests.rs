//! Each way to a connection, the order of preference, and what is not to be guessed.

use super::*;
use crate::sessions::session::Pooled;
use connleak::kernel::socket::{Socket, State};

fn end(text: &str) -> Endpoint {
    let address: std::net::SocketAddr = text.parse().unwrap();
    Endpoint::new(address.ip(), address.port())
}

fn socket(local: &str, remote: &str, pid: u32, fd: u32) -> Option<End> {
    let socket = Socket { inode: u64::from(fd), ..Socket::bare(State::Established, end(local), end(remote)) };
    Some(End { suspect: Suspect::new(&socket, None), pid: Some(pid), own_pid: None, fd: Some(fd) })
}

/// As the service's host sees it.
fn served(client: &str, pid: u32, fd: u32) -> Connection {
    Connection { server: socket("10.0.0.1:5432", client, pid, fd), client: None }
}

fn session(source: Source, client: Client, pid: Option<u32>, fd: Option<u32>) -> Session {
    Session {
        source,
        id: String::new(),
        pid,
        fd,
        client,
        user: None,
        database: None,
        application: None,
        state: None,
        state_age: None,
        in_transaction: false,
        transaction: None,
        query: None,
        pooled: None,
    }
}

fn at(text: &str) -> Client {
    Client::At(end(text))
}

fn joined(connections: &[Connection], sessions: &[Session]) -> Vec<Option<(usize, &'static str, bool)>> {
    let found = join(connections, &sessions.iter().collect::<Vec<_>>());
    found.iter().map(|found| found.map(|found| (found.connection, found.by.name(), found.agrees))).collect()
}

#[test]
fn a_backends_pid_comes_before_its_address() {
    let connections = [served("10.0.0.9:4000", 70, 7), served("10.0.0.9:4001", 71, 7)];
    let of = |client, pid| session(Source::Activity, client, Some(pid), None);
    let sessions = [of(at("10.0.0.9:4001"), 71), of(at("192.0.2.1:9"), 70)];
    assert_eq!(joined(&connections, &sessions), [Some((1, "pid", true)), Some((0, "pid", false))]);
    // Another pid's address is another connection of another moment.
    assert_eq!(joined(&connections, &[of(at("10.0.0.9:4001"), 99)]), [None]);
    // Where its process may not be read the address tells.
    let mut unread = connections.clone();
    unread[1].server.as_mut().unwrap().pid = None;
    assert_eq!(joined(&unread, &[of(at("10.0.0.9:4001"), 99)]), [Some((1, "address", true))]);
}

#[test]
fn a_container_calls_its_processes_by_other_pids() {
    let mut connections = [served("10.0.0.9:4000", 70_001, 7), served("10.0.0.9:4001", 70_002, 7)];
    for (connection, own) in connections.iter_mut().zip([31, 32]) {
        connection.server.as_mut().unwrap().own_pid = Some(own);
    }
    let of = |client, pid| session(Source::Activity, client, Some(pid), None);
    let sessions = [of(at("10.0.0.9:4001"), 32), of(at("192.0.2.1:9"), 31)];
    assert_eq!(joined(&connections, &sessions), [Some((1, "pid", true)), Some((0, "pid", false))]);
    assert_eq!(joined(&connections, &[of(at("10.0.0.9:4001"), 99)]), [None]);
    // Of two containers' processes 31 the address tells which.
    connections[1].server.as_mut().unwrap().own_pid = Some(31);
    assert_eq!(joined(&connections, &[of(at("10.0.0.9:4001"), 31)]), [Some((1, "pid", true))]);
    assert_eq!(joined(&connections, &[of(at("192.0.2.1:9"), 31)]), [None]);
}

#[test]
fn a_descriptor_tells_through_a_proxy_but_not_after_it_was_used_again() {
    let connections = [served("10.0.0.9:4000", 70, 7), served("10.0.0.9:4001", 70, 8)];
    let of = |source, client, fd| session(source, client, None, Some(fd));
    let proxied = [of(Source::PerformanceSchema, at("192.0.2.1:9"), 8)];
    assert_eq!(joined(&connections, &proxied), [Some((1, "fd", false))]);
    let stale = [of(Source::ClientList, at("10.0.0.9:3000"), 8)];
    assert_eq!(joined(&connections, &stale), [None]);
    let unix = [of(Source::PerformanceSchema, Client::Unix, 8)];
    assert_eq!(joined(&connections, &unix), [None]);
    // Two servers with the same descriptor: the address tells which.
    let two = [served("10.0.0.9:4000", 70, 7), served("10.0.0.9:4001", 71, 7)];
    assert_eq!(joined(&two, &[of(Source::Conns, at("10.0.0.9:4001"), 7)]), [Some((1, "fd", true))]);
    assert_eq!(joined(&two, &[of(Source::PerformanceSchema, at("192.0.2.1:9"), 7)]), [None]);
}

#[test]
fn the_sure_ones_choose_first() {
    let connections = [served("10.0.0.9:4000", 70, 7)];
    let of = |client, fd| session(Source::PerformanceSchema, client, None, Some(fd));
    let sessions = [of(at("192.0.2.1:9"), 7), of(at("10.0.0.9:4000"), 7)];
    assert_eq!(joined(&connections, &sessions), [None, Some((0, "fd", true))]);
}

#[test]
fn from_the_clients_host_the_address_tells_and_of_a_name_the_port() {
    let client = |local, fd| Connection { client: socket(local, "10.0.0.1:3306", 500, fd), server: None };
    let connections = [client("10.0.0.9:4000", 3), client("10.0.0.9:4001", 4), client("10.0.0.8:4001", 5)];
    let of = |client| session(Source::Processlist, client, None, None);
    assert_eq!(joined(&connections, &[of(at("10.0.0.9:4001"))]), [Some((1, "address", true))]);
    assert_eq!(joined(&connections, &[of(Client::Named("app1".into(), 4000))]), [Some((0, "port", true))]);
    assert_eq!(joined(&connections, &[of(Client::Named("app1".into(), 4001))]), [None], "one of two");
    // Which of two it is is known once the other one is taken.
    let both = [of(Client::Named("app1".into(), 4001)), of(at("10.0.0.8:4001"))];
    assert_eq!(joined(&connections, &both), [Some((1, "port", true)), Some((2, "address", true))]);
    // The service's descriptor 4 is not the client's.
    assert_eq!(joined(&connections, &[session(Source::ClientList, at("1.1.1.1:1"), None, Some(4))]), [None]);
}

#[test]
fn nat_gives_a_connection_two_addresses() {
    let mut connection = served("172.17.0.1:4000", 70, 7);
    connection.client = socket("127.0.0.1:4000", "127.0.0.1:5432", 500, 3);
    for told in ["172.17.0.1:4000", "127.0.0.1:4000"] {
        let found = joined(&[connection.clone()], &[session(Source::Processlist, at(told), None, None)]);
        assert_eq!(found, [Some((0, "address", true))], "{told}");
    }
}

#[test]
fn a_pooler_leads_to_its_backend() {
    let pooled = |is_server, own: &str, link: Option<&str>, remote_pid, local| Pooled {
        is_server,
        own: own.to_owned(),
        link: link.map(str::to_owned),
        remote_pid,
        local,
    };
    let of = |pooled, client| Session { pooled: Some(pooled), ..session(Source::Pooler, client, None, None) };
    let sessions = [
        of(pooled(false, "0xa", Some("0xb"), None, at("10.0.0.1:6432")), at("10.0.0.9:4000")),
        of(pooled(false, "0xc", None, None, at("10.0.0.1:6432")), at("10.0.0.9:4001")),
        of(pooled(true, "0xb", Some("0xa"), Some(67), at("10.0.0.1:7000")), at("10.0.0.2:5432")),
        of(pooled(false, "0xd", Some("0xe"), None, at("10.0.0.1:6432")), at("10.0.0.9:4002")),
        of(pooled(true, "0xe", Some("0xd"), None, at("10.0.0.1:7001")), at("10.0.0.2:5432")),
        session(Source::Activity, at("10.0.0.1:7001"), Some(68), None),
        session(Source::Activity, at("10.0.0.1:7000"), Some(67), None),
    ];
    let backends = Backends::new(&sessions);
    let behind = |at: usize| behind(&sessions[at], &sessions, &backends);
    assert_eq!([behind(0), behind(1), behind(3)], [Some(6), None, Some(5)]);
}
