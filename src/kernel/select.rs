//! Which sockets belong to the service that is checked.

use crate::kernel::listeners::Listeners;
use crate::kernel::members::Members;
use crate::kernel::socket::{Endpoint, Side, Socket, State};
use crate::kernel::unix_known::Known;
use crate::kernel::unix_target::UnixTarget;
use ipnet::{IpNet, Ipv4Net};
use std::cell::RefCell;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An address range: `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr(IpNet);

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.trunc().fmt(f)
    }
}

impl Cidr {
    /// As addresses are: a range of IPv4 addresses mapped into IPv6 is one of IPv4 addresses.
    fn canonical(net: IpNet) -> IpNet {
        let mapped = match net {
            IpNet::V6(net) if net.prefix_len() >= 96 => {
                net.addr().to_ipv4_mapped().zip(net.prefix_len().checked_sub(96))
            }
            _ => None,
        };
        mapped.and_then(|(ip, length)| Some(IpNet::V4(Ipv4Net::new(ip, length).ok()?))).unwrap_or(net)
    }

    pub fn has(self, ip: IpAddr) -> bool {
        self.0.contains(&ip)
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let one = || text.parse::<IpAddr>().map(|ip| IpNet::from(ip.to_canonical()));
        text.parse().or_else(|_| one()).map(Cidr::canonical).map(Cidr).map_err(|_| {
            format!("bad address range '{text}': write for example 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32")
        })
    }
}

/// All conditions must hold; an empty list holds for all.
#[derive(Debug, Default)]
pub struct Selection {
    /// None: whatever their ports, unless it is about UNIX sockets alone ([`Selection::has_tcp`]).
    pub ports: Vec<u16>,
    /// Listeners on UNIX sockets; none: only TCP.
    pub unix: Vec<UnixTarget>,
    /// What earlier looks, of this run too, told of them.
    pub unix_known: RefCell<Known>,
    /// Only states of UNIX sockets are wanted, no other end and no user: the kernel takes half of the time.
    pub is_brief: bool,
    pub side: Side,
    pub peers: Vec<Cidr>,
    pub locals: Vec<Cidr>,
    pub uid: Option<u32>,
    /// The uid that stands for many users: [`crate::kernel::user::unmapped`].
    pub unmapped: Option<u32>,
    /// Who belongs to `--unit`, or the processes of `--pid`.
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

impl Match {
    /// What a match becomes where it can't be told whether the socket is the service's at all.
    pub fn doubted(self) -> Match {
        if self == Match::No { Match::No } else { Match::Unsure }
    }
}

impl Selection {
    /// Whether TCP's sockets are meant, too.
    pub fn has_tcp(&self) -> bool {
        !self.ports.is_empty() || self.unix.is_empty()
    }

    /// Whether a UNIX socket was asked for by its path, not by a profile.
    pub fn asks_unix(&self) -> bool {
        self.unix.iter().any(|target| target.asked)
    }

    /// Whether more than ports narrows it: of others that listen or are connected nothing is said then.
    pub fn is_narrowed(&self) -> bool {
        self.uid.is_some() || self.unit.is_some() || !self.peers.is_empty() || !self.locals.is_empty()
    }

    /// Whether nothing narrows it to a service.
    pub fn is_any(&self) -> bool {
        self.ports.is_empty() && self.unix.is_empty()
    }

    /// Whether a UNIX socket is meant, whose name is known to be one of theirs: it has no address. `waits_at`: the
    /// listener in whose queue it is.
    pub fn matches_unix(&self, socket: &Socket, side: Side, waits_at: &[&Socket]) -> Match {
        let is_other = matches!((self.side, side), (Side::Server, Side::Client) | (Side::Client, Side::Server));
        if is_other || !self.peers.is_empty() || !self.locals.is_empty() {
            return Match::No;
        }
        self.whose(socket, side, waits_at)
    }

    /// `listeners`: of the socket's network namespace at least.
    pub fn matches(&self, socket: &Socket, listeners: &Listeners) -> Match {
        let side = self.side_of(socket, listeners);
        side.map_or(Match::No, |side| self.matches_as(socket, side, listeners))
    }

    /// How a socket matches whose side is known, whatever its ports.
    pub fn matches_as(&self, socket: &Socket, side: Side, listeners: &Listeners) -> Match {
        if !self.is_within(socket) {
            return Match::No;
        }
        match side {
            // Only where whose they are is asked: a queue may be long.
            Side::Server if socket.is_waiting() && self.asks_whose() => {
                self.whose(socket, side, &listeners.queues_of(socket))
            }
            _ => self.whose(socket, side, &[]),
        }
    }

    /// Whether a listener takes connections of the selection: it has no peer itself, and may listen on
    /// all addresses.
    pub fn matches_listener(&self, socket: &Socket) -> Match {
        let takes = |range: &Cidr| range.has(socket.local.ip);
        let is_here = self.locals.is_empty() || socket.local.ip.is_unspecified() || self.locals.iter().any(takes);
        let has_port = self.ports.is_empty() || (self.side != Side::Client && self.ports.contains(&socket.local.port));
        if is_here && has_port { self.whose(socket, Side::Server, &[]) } else { Match::No }
    }

    /// Whether a port's listeners are all selected, or none: what no process has is then told by them.
    pub fn port_is_theirs(&self, socket: &Socket, listeners: &Listeners) -> Option<bool> {
        let doors: Vec<&Socket> = listeners.on_port(socket.netns, socket.local.port).iter().collect();
        let told = |listener: &&Socket| match self.whose(listener, Side::Server, &[]) {
            Match::Unsure => None,
            matched => Some(matched != Match::No),
        };
        if socket.inode == 0 { agreed(&doors, told) } else { None }
    }

    pub fn asks_whose(&self) -> bool {
        self.uid.is_some() || self.unit.is_some()
    }

    fn is_within(&self, socket: &Socket) -> bool {
        let within = |ranges: &[Cidr], end: Endpoint| ranges.is_empty() || ranges.iter().any(|range| range.has(end.ip));
        within(&self.peers, socket.remote) && within(&self.locals, socket.local)
    }

    /// `waits_at`: the listeners in whose queue a socket may wait; they tell whose it is going to be.
    fn whose(&self, socket: &Socket, side: Side, waits_at: &[&Socket]) -> Match {
        let has_user = match self.uid {
            None => Some(true),
            // Not accepted yet, or orphaned: the kernel then tells uid 0 for want of a better.
            Some(uid) if socket.inode == 0 => agreed(waits_at, |listener| self.is_uid(uid, listener)),
            Some(uid) => self.is_uid(uid, socket),
        };
        let of_listener = |members: &Members| agreed(waits_at, |listener| members.has(listener));
        let in_unit = match &self.unit {
            None => Some(true),
            Some(members) => of_listener(members).or_else(|| members.has(socket)),
        };
        match (has_user, in_unit) {
            (Some(false), _) | (_, Some(false)) => Match::No,
            (Some(true), Some(true)) => Match::Yes(side),
            _ => Match::Unsure,
        }
    }

    /// `None`: the socket's number stands for many users.
    fn is_uid(&self, uid: u32, socket: &Socket) -> Option<bool> {
        (self.unmapped != Some(socket.uid)).then_some(socket.uid == uid)
    }

    /// A socket with the service's port at both ends counts once, as the server's. Listeners tell which
    /// end it is, port numbers only where those can't. Where no port is chosen one with a listener is
    /// a server's.
    pub fn side_of(&self, socket: &Socket, listeners: &Listeners) -> Option<Side> {
        if self.ports.is_empty() {
            let is_server = socket.state == State::Listen || listeners.has_port(socket.netns, socket.local.port);
            return Some(if is_server { Side::Server } else { Side::Client });
        }
        let is_server = self.side != Side::Client && self.ports.contains(&socket.local.port);
        let is_client = self.side != Side::Server && self.ports.contains(&socket.remote.port);
        if !is_server && !is_client {
            return None;
        }
        match listeners.end_of(socket) {
            Some(Side::Client) => is_client.then_some(Side::Client),
            Some(_) => is_server.then_some(Side::Server),
            None => Some(if is_server { Side::Server } else { Side::Client }),
        }
    }
}

/// What all `listeners` say; `None` where they differ, one can't tell, or there are none.
fn agreed(listeners: &[&Socket], tells: impl Fn(&&Socket) -> Option<bool>) -> Option<bool> {
    let first = tells(listeners.first()?)?;
    listeners.iter().all(|listener| tells(listener) == Some(first)).then_some(first)
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
        Selection { ports: vec![80, 443], side, ..Selection::default() }
    }

    #[test]
    fn sides_are_told_by_the_port() {
        let server = socket("10.0.0.1:443", "10.0.0.2:5000");
        let client = socket("10.0.0.2:5000", "10.0.0.1:443");
        let both_ends = socket("10.0.0.1:80", "10.0.0.1:443");
        assert_eq!(selection(Side::Both).matches(&server, &Listeners::default()), Match::Yes(Side::Server));
        assert_eq!(selection(Side::Both).matches(&client, &Listeners::default()), Match::Yes(Side::Client));
        assert_eq!(selection(Side::Both).matches(&both_ends, &Listeners::default()), Match::Yes(Side::Server));
        assert_eq!(selection(Side::Client).matches(&server, &Listeners::default()), Match::No);
        assert_eq!(selection(Side::Client).matches(&both_ends, &Listeners::default()), Match::Yes(Side::Client));
        assert_eq!(selection(Side::Server).matches(&client, &Listeners::default()), Match::No);
        assert_eq!(
            selection(Side::Both).matches(&socket("10.0.0.1:8", "10.0.0.1:9"), &Listeners::default()),
            Match::No
        );
    }

    #[test]
    fn without_ports_all_sockets_are_meant() {
        let chosen = Selection { ports: vec![], ..selection(Side::Both) };
        let mut any = socket("10.0.0.1:5000", "10.0.0.2:6000");
        assert_eq!(chosen.matches(&any, &Listeners::default()), Match::Yes(Side::Client));
        any.state = State::Listen;
        assert_eq!(chosen.matches(&any, &Listeners::default()), Match::Yes(Side::Server));
    }

    #[test]
    fn ranges_hold_for_mapped_addresses_too() {
        let mut chosen = selection(Side::Both);
        chosen.peers = vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        let peer = |remote| chosen.matches(&socket("[::1]:80", remote), &Listeners::default());
        assert_eq!(peer("[::ffff:10.9.9.9]:5"), Match::Yes(Side::Server));
        assert_eq!(peer("[2001:db8::7]:5"), Match::Yes(Side::Server));
        assert_eq!(peer("11.0.0.1:5"), Match::No);
        chosen.locals = vec!["127.0.0.1".parse().unwrap()];
        assert_eq!(
            chosen.matches(&socket("127.0.0.1:80", "10.0.0.1:5"), &Listeners::default()),
            Match::Yes(Side::Server)
        );
        assert_eq!(chosen.matches(&socket("127.0.0.2:80", "10.0.0.1:5"), &Listeners::default()), Match::No);
        let listener = |local| chosen.matches_listener(&socket(local, "0.0.0.0:0"));
        assert_eq!(listener("0.0.0.0:80"), Match::Yes(Side::Server));
        assert_eq!(listener("127.0.0.1:80"), Match::Yes(Side::Server));
        assert_eq!(listener("127.0.0.2:80"), Match::No);
        chosen = Selection { peers: vec!["::ffff:10.0.0.0/104".parse().unwrap()], ..selection(Side::Both) };
        assert_eq!(
            chosen.matches(&socket("[::1]:80", "[::ffff:10.9.9.9]:5"), &Listeners::default()),
            Match::Yes(Side::Server)
        );
        assert_eq!(chosen.matches(&socket("10.0.0.1:80", "11.0.0.1:5"), &Listeners::default()), Match::No);
        let has = |range: &str, ip: &str| range.parse::<Cidr>().unwrap().has(ip.parse().unwrap());
        assert!(!has("::/0", "10.9.9.9") && has("::/0", "2001:db8::7") && has("::ffff:0:0/96", "10.9.9.9"));
        assert!(!has("0.0.0.0/0", "2001:db8::7") && !has("2000::/3", "10.9.9.9"));
        assert_eq!("::ffff:192.0.2.9/120".parse::<Cidr>().unwrap().to_string(), "192.0.2.0/24");
        assert!("10.0.0.0/33".parse::<Cidr>().unwrap_err().contains("'10.0.0.0/33'"));
    }

    #[test]
    fn a_socket_without_process_has_no_user() {
        let mut chosen = selection(Side::Both);
        chosen.uid = Some(33);
        let mut held = socket("127.0.0.1:80", "127.0.0.1:5");
        assert_eq!(chosen.matches(&held, &Listeners::default()), Match::Yes(Side::Server));
        held.uid = 34;
        assert_eq!(chosen.matches(&held, &Listeners::default()), Match::No);
        (held.uid, held.inode) = (0, 0);
        assert_eq!(chosen.matches(&held, &Listeners::default()), Match::Unsure);
    }
}
