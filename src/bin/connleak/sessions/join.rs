//! Which session is which connection: by the service's process or descriptor, which no proxy changes, else by the
//! client's address.

use super::session::{Client, Session, Source};
use connleak::kernel::socket::{Endpoint, Protocol};
use connleak::owners::blame::Suspect;
use std::collections::HashMap;

/// One end of a connection, as this host's kernel has it.
#[derive(Clone, Debug)]
pub struct End {
    pub suspect: Suspect,
    pub pid: Option<u32>,
    /// What the process calls itself: in a container it has another pid.
    pub own_pid: Option<u32>,
    pub fd: Option<u32>,
}

impl End {
    fn has_pid(&self, told: u32) -> bool {
        [self.pid, self.own_pid].contains(&Some(told))
    }
}

/// A connection by those of its ends that are here.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    pub server: Option<End>,
    pub client: Option<End>,
}

impl Connection {
    fn is_unix(&self) -> bool {
        [&self.client, &self.server].into_iter().flatten().any(|end| end.suspect.protocol == Protocol::Unix)
    }

    /// The client's end, as its host and as the service's see it: NAT makes them two.
    pub fn clients(&self) -> impl Iterator<Item = Endpoint> {
        let own = self.client.as_ref().map(|end| end.suspect.local);
        let seen = self.server.as_ref().map(|end| end.suspect.remote);
        own.into_iter().chain(seen.filter(|seen| Some(*seen) != own))
    }
}

/// By what a session found its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Pid,
    Descriptor,
    Address,
    /// The service told a name instead of an address.
    Port,
}

impl By {
    pub fn name(self) -> &'static str {
        match self {
            By::Pid => "pid",
            By::Descriptor => "fd",
            By::Address => "address",
            By::Port => "port",
        }
    }
}

/// A session's connection, and whether both agree on the client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub connection: usize,
    pub by: By,
    pub agrees: bool,
}

struct Index<'a> {
    connections: &'a [Connection],
    by_pid: HashMap<u32, Vec<usize>>,
    by_fd: HashMap<u32, Vec<usize>>,
    by_end: HashMap<Endpoint, Vec<usize>>,
    by_port: HashMap<u16, Vec<usize>>,
    is_taken: Vec<bool>,
}

/// For each session its connection. Those that are sure choose first; what may be one of several is none.
pub fn join(connections: &[Connection], sessions: &[&Session]) -> Vec<Option<Found>> {
    let mut index = Index::new(connections);
    let mut found: Vec<Option<Found>> = vec![None; sessions.len()];
    for pass in [Index::sure, Index::own, Index::address, Index::port] {
        for (session, found) in sessions.iter().zip(&mut found).filter(|(_, found)| found.is_none()) {
            *found = pass(&index, session);
            if let Some(found) = found {
                index.is_taken[found.connection] = true;
            }
        }
    }
    found
}

impl<'a> Index<'a> {
    fn new(connections: &'a [Connection]) -> Index<'a> {
        let is_taken = vec![false; connections.len()];
        let (by_pid, by_fd, by_end, by_port) = Default::default();
        let mut index = Index { connections, by_pid, by_fd, by_end, by_port, is_taken };
        for (at, connection) in connections.iter().enumerate() {
            if let Some(server) = &connection.server {
                for pid in server.pid.into_iter().chain(server.own_pid.filter(|own| Some(*own) != server.pid)) {
                    index.by_pid.entry(pid).or_default().push(at);
                }
                server.fd.into_iter().for_each(|fd| index.by_fd.entry(fd).or_default().push(at));
            }
            for end in connection.clients() {
                index.by_end.entry(end).or_default().push(at);
                let same_port = index.by_port.entry(end.port).or_default();
                if same_port.last() != Some(&at) {
                    same_port.push(at);
                }
            }
        }
        index
    }

    /// The connections that a session's process has, or its descriptor is.
    fn owned<'b>(&'b self, session: &'b Session) -> (By, impl Iterator<Item = usize> + 'b) {
        let of_pid = session.pid.and_then(|pid| self.by_pid.get(&pid));
        let by = if of_pid.is_some() { By::Pid } else { By::Descriptor };
        let all = of_pid.or_else(|| self.by_fd.get(&session.fd?)).into_iter().flatten().copied();
        let is_unix = session.client == Client::Unix;
        let is_it = move |at: usize| session.client == Client::Hidden || self.connections[at].is_unix() == is_unix;
        (by, all.filter(move |at| !self.is_taken[*at] && is_it(*at)))
    }

    /// By process or descriptor, and the address says the same.
    fn sure(&self, session: &Session) -> Option<Found> {
        let same_client = match &session.client {
            Client::At(end) => self.by_end.get(end)?,
            Client::Named(_, port) => self.by_port.get(port)?,
            // It has no address that could disagree.
            Client::Unix => return self.own(session).map(|found| Found { agrees: true, ..found }),
            Client::Nowhere | Client::Hidden => return None,
        };
        let is_owned = |at: &&usize| {
            let is = |server: &End| {
                session.pid.is_some_and(|pid| server.has_pid(pid)) || (session.fd.is_some() && session.fd == server.fd)
            };
            !self.is_taken[**at] && self.connections[**at].server.as_ref().is_some_and(is)
        };
        let connection = *same_client.iter().find(is_owned)?;
        let by = if session.pid.is_some() { By::Pid } else { By::Descriptor };
        Some(Found { connection, by, agrees: true })
    }

    /// By process or descriptor alone: a proxy told the service another address (PROXY protocol). Redis and
    /// memcached ask the kernel for it: where theirs differs, the list is older than the descriptor.
    fn own(&self, session: &Session) -> Option<Found> {
        let (by, mut owned) = self.owned(session);
        let has_address = session.client != Client::Unix;
        let is_told_by_kernel = has_address && matches!(session.source, Source::ClientList | Source::Conns);
        match (owned.next(), owned.next()) {
            (Some(connection), None) if !is_told_by_kernel => Some(Found { connection, by, agrees: false }),
            _ => None,
        }
    }

    fn only(&self, among: Option<&Vec<usize>>, by: By) -> Option<Found> {
        let mut free = among?.iter().copied().filter(|at| !self.is_taken[*at]);
        match (free.next(), free.next()) {
            (Some(connection), None) => Some(Found { connection, by, agrees: true }),
            _ => None,
        }
    }

    /// By the client's address: where the service's own end is not here, or its process may not be read.
    fn address(&self, session: &Session) -> Option<Found> {
        let found = self.only(self.by_end.get(&session.endpoint()?), By::Address)?;
        // A descriptor that is known and another one tells two connections of one address apart.
        let server = self.connections[found.connection].server.as_ref();
        let is_other = server.is_some_and(|end| {
            let other_pid = session.pid.is_some_and(|pid| end.pid.is_some() && !end.has_pid(pid));
            other_pid || session.fd.zip(end.fd).is_some_and(|(told, seen)| told != seen)
        });
        (!is_other).then_some(found)
    }

    fn port(&self, session: &Session) -> Option<Found> {
        let Client::Named(_, port) = &session.client else { return None };
        self.only(self.by_port.get(port), By::Port)
    }
}

/// The session behind a pooler's client: by `link` to the pooler's server, by that one's backend.
pub fn behind(client: &Session, sessions: &[Session], backends: &Backends) -> Option<usize> {
    let link = client.pooled.as_ref()?.link.as_ref()?;
    let server = sessions[*backends.servers.get(link)?].pooled.as_ref()?;
    let by_pid = server.remote_pid.and_then(|pid| backends.by_pid.get(&pid));
    let by_end = || if let Client::At(end) = &server.local { backends.by_end.get(end) } else { None };
    by_pid.or_else(by_end).copied()
}

/// The pooler's servers by their own, the backends by pid and by the pooler's end.
#[derive(Default)]
pub struct Backends {
    servers: HashMap<String, usize>,
    by_pid: HashMap<u32, usize>,
    by_end: HashMap<Endpoint, usize>,
}

impl Backends {
    pub fn new(sessions: &[Session]) -> Backends {
        let mut backends = Backends::default();
        for (at, session) in sessions.iter().enumerate() {
            match &session.pooled {
                Some(pooled) if pooled.is_server => backends.servers.extend([(pooled.own.clone(), at)]),
                Some(_) => {}
                None => {
                    backends.by_pid.extend(session.pid.map(|pid| (pid, at)));
                    backends.by_end.extend(session.endpoint().map(|end| (end, at)));
                }
            }
        }
        backends
    }
}

#[cfg(test)]
mod tests;
