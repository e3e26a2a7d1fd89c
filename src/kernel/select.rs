//! Which sockets belong to the service that is checked.

use crate::kernel::members::Members;
use crate::kernel::socket::{Endpoint, Side, Socket, State};
use ipnet::IpNet;
use std::net::IpAddr;
use std::str::FromStr;

/// An address range: `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr(IpNet);

impl Cidr {
    pub fn has(self, ip: IpAddr) -> bool {
        self.0.contains(&ip)
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let one = || text.parse::<IpAddr>().map(|ip| IpNet::from(ip.to_canonical()));
        text.parse().or_else(|_| one()).map(Cidr).map_err(|_| {
            format!("bad address range '{text}': write for example 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32")
        })
    }
}

/// All conditions must hold; an empty list holds for all.
#[derive(Debug)]
pub struct Selection {
    /// None: whatever their ports.
    pub ports: Vec<u16>,
    pub side: Side,
    pub peers: Vec<Cidr>,
    pub locals: Vec<Cidr>,
    pub uid: Option<u32>,
    /// The uid that stands for many users: [`crate::kernel::user::unmapped`].
    pub unmapped: Option<u32>,
    /// Of `--unit`, or the processes of `--pid`.
    pub unit: Option<Members>,
}

/// Whether a socket is selected, and as which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    No,
    Yes(Side),
    /// Ports and addresses match, but whose it is can't be told.
    Unsure,
}

impl Selection {
    pub fn matches(&self, socket: &Socket) -> Match {
        let Some(side) = self.side_of(socket) else { return Match::No };
        let within = |ranges: &[Cidr], end: Endpoint| ranges.is_empty() || ranges.iter().any(|range| range.has(end.ip));
        if !within(&self.peers, socket.remote) || !within(&self.locals, socket.local) {
            return Match::No;
        }
        self.whose(socket, side)
    }

    /// Whether a listener takes connections of the selection: it has no peer itself, and may listen on
    /// all addresses.
    pub fn matches_listener(&self, socket: &Socket) -> Match {
        let takes = |range: &Cidr| range.has(socket.local.ip);
        let is_here = self.locals.is_empty() || socket.local.ip.is_unspecified() || self.locals.iter().any(takes);
        match self.side_of(socket) {
            Some(side) if is_here => self.whose(socket, side),
            _ => Match::No,
        }
    }

    fn whose(&self, socket: &Socket, side: Side) -> Match {
        let has_user = match self.uid {
            None => Some(true),
            // Not accepted yet, or orphaned: the kernel then tells uid 0 for want of a better.
            Some(_) if socket.inode == 0 || self.unmapped == Some(socket.uid) => None,
            Some(uid) => Some(socket.uid == uid),
        };
        let in_unit = self.unit.as_ref().map_or(Some(true), |members| members.has(socket));
        match (has_user, in_unit) {
            (Some(false), _) | (_, Some(false)) => Match::No,
            (Some(true), Some(true)) => Match::Yes(side),
            _ => Match::Unsure,
        }
    }

    /// A socket with the service's port at both ends counts once, as the server's. Where no port tells,
    /// what doesn't listen passes as a client's: who sees all listeners can tell more.
    pub fn side_of(&self, socket: &Socket) -> Option<Side> {
        if self.ports.is_empty() {
            return Some(if socket.state == State::Listen { Side::Server } else { Side::Client });
        }
        if self.side != Side::Client && self.ports.contains(&socket.local.port) {
            Some(Side::Server)
        } else if self.side != Side::Server && self.ports.contains(&socket.remote.port) {
            Some(Side::Client)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn socket(local: &str, remote: &str) -> Socket {
        let end = |text: &str| {
            let address: std::net::SocketAddr = text.parse().unwrap();
            Endpoint::new(address.ip(), address.port())
        };
        Socket { uid: 33, inode: 7, ..Socket::bare(State::CloseWait, end(local), end(remote)) }
    }

    fn selection(side: Side) -> Selection {
        Selection { ports: vec![80, 443], side, peers: vec![], locals: vec![], uid: None, unmapped: None, unit: None }
    }

    #[test]
    fn sides_are_told_by_the_port() {
        let server = socket("10.0.0.1:443", "10.0.0.2:5000");
        let client = socket("10.0.0.2:5000", "10.0.0.1:443");
        let both_ends = socket("10.0.0.1:80", "10.0.0.1:443");
        assert_eq!(selection(Side::Both).matches(&server), Match::Yes(Side::Server));
        assert_eq!(selection(Side::Both).matches(&client), Match::Yes(Side::Client));
        assert_eq!(selection(Side::Both).matches(&both_ends), Match::Yes(Side::Server));
        assert_eq!(selection(Side::Client).matches(&server), Match::No);
        assert_eq!(selection(Side::Client).matches(&both_ends), Match::Yes(Side::Client));
        assert_eq!(selection(Side::Server).matches(&client), Match::No);
        assert_eq!(selection(Side::Both).matches(&socket("10.0.0.1:8", "10.0.0.1:9")), Match::No);
    }

    #[test]
    fn without_ports_all_sockets_are_meant() {
        let chosen = Selection { ports: vec![], ..selection(Side::Both) };
        let mut any = socket("10.0.0.1:5000", "10.0.0.2:6000");
        assert_eq!(chosen.matches(&any), Match::Yes(Side::Client));
        any.state = State::Listen;
        assert_eq!(chosen.matches(&any), Match::Yes(Side::Server));
    }

    #[test]
    fn ranges_hold_for_mapped_addresses_too() {
        let mut chosen = selection(Side::Both);
        chosen.peers = vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        let peer = |remote| chosen.matches(&socket("[::1]:80", remote));
        assert_eq!(peer("[::ffff:10.9.9.9]:5"), Match::Yes(Side::Server));
        assert_eq!(peer("[2001:db8::7]:5"), Match::Yes(Side::Server));
        assert_eq!(peer("11.0.0.1:5"), Match::No);
        chosen.locals = vec!["127.0.0.1".parse().unwrap()];
        assert_eq!(chosen.matches(&socket("127.0.0.1:80", "10.0.0.1:5")), Match::Yes(Side::Server));
        assert_eq!(chosen.matches(&socket("127.0.0.2:80", "10.0.0.1:5")), Match::No);
        let listener = |local| chosen.matches_listener(&socket(local, "0.0.0.0:0"));
        assert_eq!(listener("0.0.0.0:80"), Match::Yes(Side::Server));
        assert_eq!(listener("127.0.0.1:80"), Match::Yes(Side::Server));
        assert_eq!(listener("127.0.0.2:80"), Match::No);
        assert!("10.0.0.0/33".parse::<Cidr>().unwrap_err().contains("'10.0.0.0/33'"));
    }

    #[test]
    fn a_socket_without_process_has_no_user() {
        let mut chosen = selection(Side::Both);
        chosen.uid = Some(33);
        let mut held = socket("127.0.0.1:80", "127.0.0.1:5");
        assert_eq!(chosen.matches(&held), Match::Yes(Side::Server));
        held.uid = 34;
        assert_eq!(chosen.matches(&held), Match::No);
        (held.uid, held.inode) = (0, 0);
        assert_eq!(chosen.matches(&held), Match::Unsure);
    }
}
