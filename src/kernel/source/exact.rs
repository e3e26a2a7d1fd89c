//! Ask for one socket alone: one look into the kernel's hash table, where a dump walks all of it.
//!
//! It only ever shows that a socket is there. That it isn't found proves nothing: of listeners that share a port the
//! kernel finds any, what is only bound it doesn't find at all.

use super::diag::{self, AF_INET, AF_INET6, BY_FAMILY, Message, Table};
use super::{netlink, unix};
use crate::kernel::netns;
use crate::kernel::socket::{Protocol, Socket};
use crate::kernel::world::{Netns, Source, World};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::net::IpAddr;
use std::num::NonZeroU64;

const NLM_F_REQUEST: u16 = 0x1;
const IPPROTO_TCP: u8 = 6;
/// One socket's message without attributes that were asked for, or an error with the request in it.
const LONGEST_ANSWER: usize = 4096;

/// The kernel of one's own network namespace.
#[derive(Debug)]
pub struct Asker(OwnedFd);

impl Asker {
    /// `None`: what is looked at is not what the kernel tells here, or /proc was chosen.
    pub fn here(world: &World) -> Option<Asker> {
        let is_here = world.replay.is_none() && world.netns != Netns::All && world.source != Source::Proc;
        let is_ours = is_here && netns::place(world).is_ok_and(|place| place.is_ours);
        is_ours.then(netlink::open).and_then(Result::ok).map(Asker)
    }

    /// The socket as it is now, if it can be found alone and is the same one.
    pub fn find(&self, socket: &Socket) -> Option<Socket> {
        self.ask(socket, false).ok().flatten()
    }

    /// As [`Asker::find`], with [`Socket::times`] if they are wanted. `None`: the kernel finds none, or another.
    ///
    /// # Errors
    /// Any other answer than that; [`Errno::NOTSUP`] where a socket can't be asked for alone.
    pub fn ask(&self, socket: &Socket, times: bool) -> Result<Option<Socket>, Errno> {
        let mut buffer = [0; LONGEST_ANSWER];
        let answer = self.answer(&request(socket, times).ok_or(Errno::NOTSUP)?, &mut buffer)?;
        let answer = diag::messages(answer, Table::Tcp).next();
        match answer.and_then(Result::ok).ok_or(Errno::BADMSG)?.message {
            Message::Socket(found) => Ok(Some(found).filter(|found| found.cookie == socket.cookie)),
            Message::Refused(errno) if -errno == Errno::NOENT.raw_os_error() => Ok(None),
            _ => Err(Errno::BADMSG),
        }
    }

    /// Whether a UNIX socket is there yet.
    ///
    /// # Errors
    /// As [`Asker::ask`].
    pub fn has_unix(&self, inode: u32, cookie: NonZeroU64) -> Result<bool, Errno> {
        let mut buffer = [0; LONGEST_ANSWER];
        let answer = self.answer(&unix::diag::request_one(inode, cookie), &mut buffer)?;
        let answer = unix::diag::messages(answer).next();
        match answer.and_then(Result::ok).ok_or(Errno::BADMSG)?.message {
            unix::diag::Message::Socket(_) => Ok(true),
            unix::diag::Message::Refused(errno)
                if [Errno::NOENT, Errno::STALE].contains(&Errno::from_raw_os_error(-errno)) =>
            {
                Ok(false)
            }
            _ => Err(Errno::BADMSG),
        }
    }

    fn answer<'a>(&self, request: &[u8], buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
        send(&self.0, request, SendFlags::empty())?;
        let filled = loop {
            match recv(&self.0, &mut *buffer, RecvFlags::TRUNC) {
                Err(Errno::INTR) => {}
                received => break received?.0,
            }
        };
        buffer.get(..filled).ok_or(Errno::BADMSG)
    }
}

/// `struct inet_diag_req_v2` for exactly one. `None`: it has no cookie to be known by, or isn't plain TCP's.
fn request(socket: &Socket, times: bool) -> Option<Vec<u8>> {
    let cookie = socket.cookie.filter(|_| socket.protocol == Protocol::Tcp)?;
    // A mapped address is held as the IPv4 address, and so hashed by the kernel too.
    let family = if socket.local.ip.is_ipv4() && socket.remote.ip.is_ipv4() { AF_INET } else { AF_INET6 };
    let mut message = Vec::with_capacity(diag::HEADER + 56);
    message.extend((diag::HEADER as u32 + 56).to_ne_bytes());
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend([1, 0, 0, 0, 0, 0, 0, 0]); // sequence, port id
    message.extend([family, IPPROTO_TCP, diag::extensions(times), 0]);
    message.extend(u32::MAX.to_ne_bytes()); // states
    message.extend(socket.local.port.to_be_bytes());
    message.extend(socket.remote.port.to_be_bytes());
    for end in [socket.local, socket.remote] {
        match end.ip {
            IpAddr::V4(ip) if family == AF_INET => {
                message.extend(ip.octets());
                message.extend([0; 12]);
            }
            IpAddr::V4(ip) => message.extend(ip.to_ipv6_mapped().octets()),
            IpAddr::V6(ip) => message.extend(ip.octets()),
        }
    }
    message.extend(socket.interface.to_ne_bytes());
    message.extend(cookie.get().to_ne_bytes());
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::deadline::Deadline;
    use crate::kernel::socket::{Side, StateSet};
    use crate::kernel::source::{Query, visit};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    fn on_port(world: &World, port: u16) -> Vec<Socket> {
        let (states, side) = (StateSet::ALL, Side::Both);
        let mut found = Vec::new();
        let query = Query { states, ports: &[port], side, times: false, listeners: false };
        visit(world, &query, &mut |socket| found.push(*socket)).unwrap();
        found
    }

    #[test]
    fn what_is_there_is_found_alone_and_a_later_one_on_its_ports_is_not_it() {
        let world = World::here(Deadline::after(Duration::from_secs(10)));
        let asker = Asker::here(&world).unwrap();
        for (listens, connects) in [("127.0.0.1:0", "127.0.0.1"), ("[::]:0", "127.0.0.1"), ("[::]:0", "::1")] {
            let listener = TcpListener::bind(listens).unwrap();
            let port = listener.local_addr().unwrap().port();
            let client = TcpStream::connect((connects, port)).unwrap();
            let server = listener.accept().unwrap();
            let found = on_port(&world, port);
            assert_eq!(found.len(), 3, "{found:?}");
            for socket in &found {
                let now = asker.find(socket).unwrap();
                assert_eq!((now.state, now.inode, now.uid), (socket.state, socket.inode, socket.uid));
                let other = Socket { cookie: socket.cookie.map(|cookie| cookie.saturating_add(1)), ..*socket };
                assert_eq!(asker.find(&other), None);
                assert_eq!(asker.find(&Socket { cookie: None, ..*socket }), None);
            }
            drop((client, server, listener));
            let open = found.iter().filter_map(|socket| asker.find(socket)).filter(|socket| socket.inode != 0);
            assert_eq!(open.count(), 0);
        }
    }

    #[test]
    fn a_unix_socket_is_there_until_it_is_closed() {
        let asker = Asker::here(&World::here(Deadline::after(Duration::from_secs(10)))).unwrap();
        let (one, other) = UnixStream::pair().unwrap();
        let inode = rustix::fs::fstat(&one).unwrap().st_ino as u32;
        let cookie = NonZeroU64::new(rustix::net::sockopt::socket_cookie(&one).unwrap()).unwrap();
        assert_eq!(asker.has_unix(inode, cookie), Ok(true));
        assert_eq!(asker.has_unix(inode, cookie.saturating_add(1)), Ok(false), "another has its inode");
        drop(other);
        assert_eq!(asker.has_unix(inode, cookie), Ok(true));
        drop(one);
        assert_eq!(asker.has_unix(inode, cookie), Ok(false));
    }
}
