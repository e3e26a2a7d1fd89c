//! What tells tenants apart: the key of `--key` and of a profile's `tenants`.

use crate::kernel::cgroup::{self, container};
use serde::de::{Deserialize, Deserializer, Error as _};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// A key that addresses, users and cgroups answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plain {
    Unit,
    User,
    Container,
    /// The first so many directories of the cgroup path.
    Cgroup(usize),
    Peer(Prefixes),
}

/// How much of a peer's address names the tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefixes {
    pub v4: u8,
    pub v6: u8,
}

impl Prefixes {
    /// `10.1.2.0/24`; the address alone where all of it counts.
    pub fn name(self, peer: IpAddr) -> String {
        let length = if peer.is_ipv4() { self.v4 } else { self.v6 };
        match ipnet::IpNet::new(peer, length) {
            Ok(net) if length < net.max_prefix_len() => net.trunc().to_string(),
            _ => peer.to_string(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    Plain(Plain),
    /// A pattern on the working directory.
    Cwd(String),
    /// A pattern on the command line.
    Cmd(String),
    /// A file of tenants.
    Map(PathBuf),
}

impl Plain {
    pub fn name(self, peer: IpAddr, user: Option<&str>, cgroup: Option<&str>) -> Option<String> {
        match self {
            Plain::Unit => cgroup.map(cgroup::unit_name),
            Plain::User => user.map(str::to_owned),
            Plain::Container => container::name(cgroup?),
            Plain::Cgroup(depth) => Some(prefix(cgroup?, depth).to_owned()),
            Plain::Peer(prefixes) => Some(prefixes.name(peer)),
        }
    }
}

fn prefix(path: &str, depth: usize) -> &str {
    let end = path.match_indices('/').nth(depth).map_or(path.len(), |(at, _)| at);
    &path[..end]
}

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Key, String> {
        let (word, value) = text.split_once([':', '/']).map_or((text, None), |(word, value)| (word, Some(value)));
        let is_peer = |key: &Key| matches!(key, Key::Plain(Plain::Peer(_)));
        let key = match (word, value) {
            ("unit", None) => Key::Plain(Plain::Unit),
            ("user", None) => Key::Plain(Plain::User),
            ("container", None) => Key::Plain(Plain::Container),
            ("cgroup", Some(depth)) => Key::Plain(Plain::Cgroup(within(depth, 1..=64, "depth")?)),
            ("peer", None) => Key::Plain(Plain::Peer(Prefixes { v4: 32, v6: 128 })),
            ("peer", Some(lengths)) => {
                let (v4, v6) = lengths.split_once(',').unwrap_or((lengths, "64"));
                let (v4, v6) = (within(v4, 0..=32, "IPv4 prefix")?, within(v6, 0..=128, "IPv6 prefix")?);
                Key::Plain(Plain::Peer(Prefixes { v4: v4 as u8, v6: v6 as u8 }))
            }
            ("cwd", Some(pattern)) if !pattern.is_empty() => Key::Cwd(pattern.to_owned()),
            ("cmd", Some(pattern)) if !pattern.is_empty() => Key::Cmd(pattern.to_owned()),
            ("map", Some(file)) if !file.is_empty() => Key::Map(PathBuf::from(file)),
            _ => return Err(unknown(text)),
        };
        // The separator belongs to the word: 'map/etc/x' and 'peer:24' are slips.
        let separator = text.as_bytes().get(word.len());
        let good = separator.is_none_or(|byte| (*byte == b'/') == is_peer(&key));
        if good { Ok(key) } else { Err(unknown(text)) }
    }
}

fn unknown(text: &str) -> String {
    format!(
        "unknown tenant key '{text}'; use unit, user, container, cgroup:DEPTH, peer/24, cwd:REGEX, cmd:REGEX or map:FILE"
    )
}

fn within(text: &str, sane: std::ops::RangeInclusive<usize>, what: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| sane.contains(number));
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    number.filter(|_| plain).ok_or_else(|| {
        let example = if what == "depth" { "cgroup:2" } else { "peer/24 or peer/24,64" };
        format!("bad {what} '{text}': use {} to {}, as in {example}", sane.start(), sane.end())
    })
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Plain(Plain::Unit) => f.write_str("unit"),
            Key::Plain(Plain::User) => f.write_str("user"),
            Key::Plain(Plain::Container) => f.write_str("container"),
            Key::Plain(Plain::Cgroup(depth)) => write!(f, "cgroup:{depth}"),
            Key::Plain(Plain::Peer(Prefixes { v4: 32, v6: 128 })) => f.write_str("peer"),
            Key::Plain(Plain::Peer(Prefixes { v4, v6 })) => write!(f, "peer/{v4},{v6}"),
            Key::Cwd(pattern) => write!(f, "cwd:{pattern}"),
            Key::Cmd(pattern) => write!(f, "cmd:{pattern}"),
            Key::Map(file) => write!(f, "map:{}", file.display()),
        }
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_and_show() {
        for text in ["unit", "user", "container", "cgroup:2", "peer", "peer/24,64", "peer/0,128"] {
            let key: Key = text.parse().unwrap();
            assert_eq!(key.to_string(), text);
        }
        assert_eq!("peer/24".parse(), "peer/24,64".parse::<Key>());
        assert_eq!("cwd:/home/([^/]+)".parse(), Ok(Key::Cwd("/home/([^/]+)".into())));
        assert_eq!("cmd:a:b/c".parse(), Ok(Key::Cmd("a:b/c".into())));
        assert_eq!("map:/etc/x.yaml".parse(), Ok(Key::Map("/etc/x.yaml".into())));
    }

    #[test]
    fn bad_keys_are_named() {
        let cases = [
            ("", "unknown tenant key ''"),
            ("tenant", "use unit, user"),
            ("unit:x", "'unit:x'"),
            ("cgroup", "'cgroup'"),
            ("cgroup:0", "bad depth '0': use 1 to 64"),
            ("cgroup:+1", "bad depth '+1'"),
            ("cgroup/2", "'cgroup/2'"),
            ("peer/33", "bad IPv4 prefix '33': use 0 to 32"),
            ("peer/64", "peer/24,64"),
            ("peer/24,129", "bad IPv6 prefix '129'"),
            ("peer/", "bad IPv4 prefix ''"),
            ("peer:24", "'peer:24'"),
            ("cwd:", "'cwd:'"),
            ("map/etc/x", "'map/etc/x'"),
        ];
        for (text, says) in cases {
            let error = text.parse::<Key>().unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn addresses_are_cut_by_family() {
        let name = |text: &str, v4, v6| Prefixes { v4, v6 }.name(text.parse().unwrap());
        assert_eq!(name("10.1.2.3", 24, 64), "10.1.2.0/24");
        assert_eq!(name("10.1.2.3", 32, 64), "10.1.2.3");
        assert_eq!(name("10.1.2.3", 0, 64), "0.0.0.0/0");
        assert_eq!(name("2001:db8::1:2:3:4", 24, 64), "2001:db8::/64");
        assert_eq!(name("2001:db8::1", 24, 128), "2001:db8::1");
    }

    #[test]
    fn cgroups_are_cut_by_depth() {
        let peer = "::1".parse().unwrap();
        let of = |depth| Plain::Cgroup(depth).name(peer, None, Some("/a.slice/b.service/c"));
        assert_eq!(of(1).as_deref(), Some("/a.slice"));
        assert_eq!(of(2).as_deref(), Some("/a.slice/b.service"));
        assert_eq!(of(9).as_deref(), Some("/a.slice/b.service/c"));
        assert_eq!(Plain::Cgroup(1).name(peer, None, None), None);
    }
}
