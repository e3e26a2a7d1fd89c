//! Which two sockets are the ends of one connection, where both are on this host.

pub mod one_end;

use crate::kernel::socket::{Endpoint, Side, Socket, scope};
use std::collections::HashMap;
use std::net::IpAddr;

/// The addresses of a connection, as one of its ends sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ends {
    scope: u32,
    client: Endpoint,
    server: Endpoint,
    /// Where the client's own address holds: NAT may lead from loopback to elsewhere.
    client_scope: u32,
}

impl Ends {
    pub fn new(side: Side, netns: u32, local: Endpoint, remote: Endpoint) -> Ends {
        let (client, server) = if side == Side::Client { (local, remote) } else { (remote, local) };
        Ends { scope: scope(netns, local, remote), client, server, client_scope: scope(netns, client, client) }
    }

    pub fn client(&self) -> Endpoint {
        self.client
    }

    pub fn server(&self) -> Endpoint {
        self.server
    }

    pub fn of(socket: &Socket, side: Side) -> Ends {
        Ends::new(side, socket.netns, socket.local, socket.remote)
    }

    /// Whether they see each other as the ends of one connection.
    pub fn see_the_same(&self, other: &Ends) -> bool {
        (self.scope, self.client, self.server) == (other.scope, other.client, other.server)
    }

    /// What both ends see, spread over 64 bits. Who doesn't know the `secret`, an odd number, can't choose addresses that share
    /// one, and by chance one pair in 2^64 does.
    pub fn number(&self, secret: u64) -> u64 {
        let mut hash = secret.rotate_left(32) ^ u64::from(self.scope);
        let mut add = |value: u64| {
            let product = u128::from(hash ^ value) * u128::from(secret);
            hash = product as u64 ^ (product >> 64) as u64;
        };
        for Endpoint { ip, port } in [self.client, self.server] {
            let bits = match ip {
                IpAddr::V4(ip) => u128::from(ip.to_bits()),
                IpAddr::V6(ip) => ip.to_bits(),
            };
            add((bits >> 64) as u64);
            add(bits as u64);
            add(u64::from(port));
        }
        hash
    }
}

/// For each of `servers` the index of its other end among `clients`.
///
/// Both see the same addresses, but for NAT (DNAT, REDIRECT): that gives the server's end another one,
/// and leaves the client's own. As one client's port may lead to several servers, equal ends find each
/// other first.
pub fn join(clients: &[Ends], servers: &[Ends]) -> Vec<Option<usize>> {
    join_more(clients, vec![false; clients.len()], servers)
}

/// [`join`]. `is_joined`: of each client whether another server's equal end is known already.
pub fn join_more(clients: &[Ends], mut is_joined: Vec<bool>, servers: &[Ends]) -> Vec<Option<usize>> {
    let exact = ByBothEnds::new(clients);
    let mut joined: Vec<Option<usize>> = servers.iter().map(|ends| exact.get(clients, ends)).collect();
    if clients.is_empty() || joined.iter().all(Option::is_some) {
        return joined;
    }
    joined.iter().flatten().for_each(|index| is_joined[*index] = true);
    let own = |ends: &Ends| (ends.client_scope, ends.client);
    let mut single: HashMap<_, Vec<usize>> = HashMap::new();
    for (index, ends) in clients.iter().enumerate().filter(|(index, _)| !is_joined[*index]) {
        single.entry(own(ends)).or_default().push(index);
    }
    for (ends, joined) in servers.iter().zip(&mut joined).filter(|(_, joined)| joined.is_none()) {
        *joined = single.get_mut(&own(ends)).and_then(Vec::pop);
    }
    joined
}

/// No secret, as equal numbers are looked at there.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Where connections are by what both of their ends see: sorted, as a hash table of as many takes several times the
/// memory and the time.
struct ByBothEnds(Vec<(u64, u32)>);

impl ByBothEnds {
    fn new(all: &[Ends]) -> ByBothEnds {
        let mut sorted: Vec<(u64, u32)> =
            all.iter().zip(0..).map(|(ends, index)| (ends.number(SPREAD), index)).collect();
        sorted.sort_unstable();
        ByBothEnds(sorted)
    }

    /// The last of those that are equal.
    fn get(&self, all: &[Ends], wanted: &Ends) -> Option<usize> {
        let hash = wanted.number(SPREAD);
        let from = self.0.partition_point(|(known, _)| *known < hash);
        let alike = self.0[from..].iter().take_while(|(known, _)| *known == hash).map(|(_, index)| *index as usize);
        alike.filter(|index| all[*index].see_the_same(wanted)).last()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(text: &str) -> Endpoint {
        let address: std::net::SocketAddr = text.parse().unwrap();
        Endpoint::new(address.ip(), address.port())
    }

    fn client(netns: u32, local: &str, remote: &str) -> Ends {
        Ends::new(Side::Client, netns, end(local), end(remote))
    }

    fn server(netns: u32, local: &str, remote: &str) -> Ends {
        Ends::new(Side::Server, netns, end(local), end(remote))
    }

    #[test]
    fn ends_find_each_other_through_nat_too() {
        let clients = [
            client(0, "10.0.0.1:5000", "10.0.0.9:3306"),
            client(0, "10.0.0.1:5000", "10.0.0.1:13306"),
            client(0, "10.0.0.1:5001", "10.0.0.1:3306"),
        ];
        let servers = [
            server(0, "127.0.0.1:3306", "10.0.0.1:5000"),
            server(0, "10.0.0.1:3306", "10.0.0.1:5001"),
            server(0, "10.0.0.1:3306", "10.0.0.7:5001"),
            server(0, "10.0.0.9:3306", "10.0.0.1:5000"),
        ];
        assert_eq!(join(&clients, &servers), [Some(1), Some(2), None, Some(0)]);
        assert_eq!(join(&clients[..1], &servers[..1]), [Some(0)]);
        assert_eq!(join(&[], &servers[..1]), [None]);
    }

    #[test]
    fn each_namespace_has_its_own_loopback() {
        let here = [client(1, "127.0.0.1:5000", "127.0.0.1:80")];
        assert_eq!(join(&here, &[server(2, "127.0.0.1:8080", "127.0.0.1:5000")]), [None]);
        assert_eq!(join(&here, &[server(1, "127.0.0.1:8080", "127.0.0.1:5000")]), [Some(0)]);
        let to_container = [client(1, "172.17.0.1:5000", "10.0.0.1:80")];
        assert_eq!(join(&to_container, &[server(2, "172.17.0.2:80", "172.17.0.1:5000")]), [Some(0)]);
    }
}
