//! What a service knows of one of its connections.

use connleak::kernel::socket::Endpoint;
use std::net::{IpAddr, SocketAddr};

/// Which list a session was in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Activity,
    Processlist,
    PerformanceSchema,
    ClientList,
    Conns,
    Pooler,
}

impl Source {
    /// As its service calls it.
    pub fn name(self) -> &'static str {
        match self {
            Source::Activity => "pg_stat_activity",
            Source::Processlist => "processlist",
            Source::PerformanceSchema => "performance_schema",
            Source::ClientList => "CLIENT LIST",
            Source::Conns => "stats conns",
            Source::Pooler => "SHOW CLIENTS and SHOW SERVERS",
        }
    }

    /// The profiles of the services that have it; a pooler's sessions lead to those behind it.
    pub fn services(self) -> &'static [&'static str] {
        match self {
            Source::Activity => &["postgresql", "pgbouncer"],
            Source::Processlist | Source::PerformanceSchema => &["mysql", "proxysql", "mysql-router"],
            Source::ClientList => &["redis"],
            Source::Conns => &["memcached"],
            Source::Pooler => &["pgbouncer", "postgresql"],
        }
    }
}

/// Where the service sees its client.
#[derive(Clone, Debug, PartialEq)]
pub enum Client {
    /// Inside the service: it has no connection.
    Nowhere,
    Unix,
    /// The list's reader may not see it.
    Hidden,
    At(Endpoint),
    /// A name, for which the service asked its resolver: only the port is the connection's.
    Named(String, u16),
}

/// What only a pooler knows: how its two sides belong together.
#[derive(Clone, Debug, PartialEq)]
pub struct Pooled {
    pub is_server: bool,
    pub own: String,
    /// The other side's `own`.
    pub link: Option<String>,
    /// The backend's pid; of a client over a UNIX socket the client's.
    pub remote_pid: Option<u32>,
    /// The pooler's own end.
    pub local: Client,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    pub source: Source,
    /// By what its service knows it, and would end it.
    pub id: String,
    /// The service's process of its own for this session.
    pub pid: Option<u32>,
    /// The service's descriptor.
    pub fd: Option<u32>,
    pub client: Client,
    pub user: Option<String>,
    pub database: Option<String>,
    pub application: Option<String>,
    pub state: Option<String>,
    /// Seconds in that state, or since the last command.
    pub state_age: Option<u64>,
    /// Whether a transaction is open.
    pub in_transaction: bool,
    /// Seconds since it began.
    pub transaction: Option<u64>,
    /// The statement that runs, else the last one.
    pub query: Option<String>,
    pub pooled: Option<Pooled>,
}

impl Session {
    /// The client's end by its address, where that is one.
    pub fn endpoint(&self) -> Option<Endpoint> {
        if let Client::At(end) = self.client { Some(end) } else { None }
    }

    /// Whether it waits for its client with a transaction open.
    pub fn holds_transaction(&self) -> bool {
        let is_running = self.state.as_ref().is_some_and(|state| state == "active" || state.starts_with("Query"));
        self.in_transaction && !is_running
    }
}

impl Client {
    /// `10.0.0.1:5000`, `[::1]:5000`, `/run/x.sock:0`, `unix:/run/x.sock`, `tcp:10.0.0.1:5000`. memcached's
    /// `?:<AF 0>` is a client over its UNIX socket, which has no name (1.6.18).
    pub fn of_address(text: &str) -> Option<Client> {
        if text.starts_with(['/', '@']) || text.starts_with("unix") || text == "?:<AF 0>" {
            return Some(Client::Unix);
        }
        let address = text.strip_prefix("tcp6:").or(text.strip_prefix("tcp:")).unwrap_or(text);
        let address: SocketAddr = address.parse().ok()?;
        Some(Client::At(Endpoint::new(address.ip(), address.port())))
    }

    /// An address and a port apart; without an address a UNIX socket.
    pub fn of_parts(ip: Option<&str>, port: Option<&str>) -> Option<Client> {
        let Some(ip) = ip.filter(|ip| *ip != "unix") else { return Some(Client::Unix) };
        let ip: IpAddr = ip.split('%').next()?.parse().ok()?;
        Some(Client::At(Endpoint::new(ip, port?.parse().ok()?)))
    }

    /// MySQL's HOST: what is behind the last colon is the port; without one it is a UNIX socket.
    pub fn of_host(host: &str) -> Client {
        let port = host.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse::<u16>().ok()?)));
        match port {
            None => Client::Unix,
            Some((name, port)) => match name.parse::<IpAddr>() {
                Ok(ip) => Client::At(Endpoint::new(ip, port)),
                Err(_) => Client::Named(name.to_owned(), port),
            },
        }
    }

    pub fn text(&self) -> String {
        match self {
            Client::Nowhere => "(internal)".to_owned(),
            Client::Unix => "(UNIX socket)".to_owned(),
            Client::Hidden => "(hidden)".to_owned(),
            Client::At(end) => end.to_string(),
            Client::Named(name, port) => format!("{name}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Client {
        let address: SocketAddr = text.parse().unwrap();
        Client::At(Endpoint::new(address.ip(), address.port()))
    }

    #[test]
    fn each_service_writes_addresses_in_its_own_way() {
        assert_eq!(Client::of_host("10.0.0.1:5000"), at("10.0.0.1:5000"));
        assert_eq!(Client::of_host("::1:5000"), at("[::1]:5000"));
        assert_eq!(Client::of_host("2001:db8::7:5000"), at("[2001:db8::7]:5000"));
        assert_eq!(Client::of_host("db.example.com:5000"), Client::Named("db.example.com".into(), 5000));
        assert_eq!(Client::of_host("localhost"), Client::Unix);
        assert_eq!(Client::of_address("[::ffff:10.0.0.1]:5000"), Some(at("10.0.0.1:5000")));
        assert_eq!(Client::of_address("tcp6:[::1]:5000"), Some(at("[::1]:5000")));
        assert_eq!(Client::of_address("/run/redis.sock:0"), Some(Client::Unix));
        assert_eq!(Client::of_address("?:<AF 0>"), Some(Client::Unix));
        assert_eq!(Client::of_address("?:0"), None);
        assert_eq!(Client::of_parts(Some("::ffff:10.0.0.1"), Some("5000")), Some(at("10.0.0.1:5000")));
        assert_eq!(Client::of_parts(None, Some("-1")), Some(Client::Unix));
        assert_eq!(Client::of_parts(Some("unix"), Some("6432")), Some(Client::Unix));
    }
}
