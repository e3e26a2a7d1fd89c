//! The ends of UNIX sockets as endpoints: so that their connections are rows as those of TCP are, in one table
//! and under the same rules.
//!
//! Addresses of the dummy prefix 100:0:0:1::/64, which no network carries (RFC 9780), hold the number of a name
//! and the socket's inode. The kernel numbers sockets with 32 bits (`get_next_ino`).

use super::{Endpoint, Socket};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};

const DUMMY: [u16; 4] = [0x100, 0, 0, 1];

/// What names a listener, as the caller wrote it: a path, or `@name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixName(NonZeroU32);

/// Few: those that a command line or a profile names.
static NAMES: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn names() -> MutexGuard<'static, Vec<String>> {
    NAMES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl UnixName {
    /// Equal texts are the same name.
    pub fn new(text: &str) -> UnixName {
        let mut names = names();
        let known = names.iter().position(|name| name == text);
        let at = known.unwrap_or_else(|| {
            names.push(text.to_owned());
            names.len() - 1
        });
        UnixName(NonZeroU32::MIN.saturating_add(at as u32))
    }

    pub fn text(self) -> String {
        names().get(self.0.get() as usize - 1).cloned().unwrap_or_default()
    }
}

/// What an endpoint of a UNIX socket holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnixEnd {
    /// `None`: a client's end, which seldom has a name.
    pub name: Option<UnixName>,
    /// 0: it is gone, or waits to be accepted.
    pub inode: u32,
}

impl UnixEnd {
    pub fn endpoint(self) -> Endpoint {
        let number = self.name.map_or(0, |name| name.0.get());
        let [a, b, c, d] = DUMMY;
        let half = |value: u32| [(value >> 16) as u16, value as u16];
        let ([e, f], [g, h]) = (half(number), half(self.inode));
        Endpoint { ip: Ipv6Addr::new(a, b, c, d, e, f, g, h).into(), port: 0 }
    }

    pub fn text(self) -> String {
        match (self.name, self.inode) {
            (Some(name), _) => name.text(),
            (None, 0) => "a closed end".to_owned(),
            (None, inode) => format!("inode {inode}"),
        }
    }
}

impl Endpoint {
    /// `None`: it is TCP's.
    pub fn unix(&self) -> Option<UnixEnd> {
        let IpAddr::V6(ip) = self.ip else { return None };
        let [a, b, c, d, e, f, g, h] = ip.segments();
        let whole = |high: u16, low: u16| u32::from(high) << 16 | u32::from(low);
        let is_unix = self.port == 0 && [a, b, c, d] == DUMMY;
        is_unix.then(|| UnixEnd { name: NonZeroU32::new(whole(e, f)).map(UnixName), inode: whole(g, h) })
    }
}

impl Socket {
    pub fn is_unix(&self) -> bool {
        self.local.unix().is_some()
    }

    /// What its UNIX listener is called, whichever end it is; `None`: it is TCP's.
    pub fn unix_name(&self) -> Option<UnixName> {
        self.local.unix()?.name.or_else(|| self.remote.unix()?.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_read_back_and_are_no_address_of_a_network() {
        let name = UnixName::new("/run/x.sock");
        assert_eq!((UnixName::new("/run/x.sock"), UnixName::new("@x") == name), (name, false));
        for end in [
            UnixEnd { name: Some(name), inode: u32::MAX },
            UnixEnd { name: None, inode: 7 },
            UnixEnd { name: None, inode: 0 },
        ] {
            assert_eq!(end.endpoint().unix(), Some(end));
            assert_eq!(Endpoint::new(end.endpoint().ip, 1).unix(), None, "TCP has a port");
        }
        let texts = [(Some(name), 5), (None, 5), (None, 0)];
        let texts = texts.map(|(name, inode)| UnixEnd { name, inode }.endpoint().to_string());
        assert_eq!(texts, ["/run/x.sock", "inode 5", "a closed end"]);
        for tcp in ["0.0.0.0", "::", "100::1", "100:0:0:2::", "::ffff:1.2.3.4"] {
            assert_eq!(Endpoint::new(tcp.parse().unwrap(), 0).unix(), None, "{tcp}");
        }
    }
}
