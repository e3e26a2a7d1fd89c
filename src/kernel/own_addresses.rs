//! The addresses that a network namespace has itself.

use crate::kernel::netns;
use crate::kernel::world::{Netns, World};
use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `None`: they can't be told; several namespaces have some each.
#[derive(Debug)]
pub struct OwnAddresses(Option<HashSet<IpAddr>>);

impl OwnAddresses {
    pub fn read(world: &World) -> OwnAddresses {
        if world.netns == Netns::All {
            return OwnAddresses(None);
        }
        let text = |name: &str| netns::place(world).ok().and_then(|place| fs::read(place.net_dir.join(name)).ok());
        let Some(routes) = text("fib_trie") else { return OwnAddresses(None) };
        let routes = String::from_utf8_lossy(&routes);
        // Missing where there is no IPv6.
        let of_ipv6 = text("if_inet6").unwrap_or_default();
        let of_ipv6 = String::from_utf8_lossy(&of_ipv6);
        let all = of_trie(&routes).map(IpAddr::from).chain(of_interfaces(&of_ipv6).map(IpAddr::from));
        OwnAddresses(Some(all.collect()))
    }

    /// Whether it is one of them, or can't be told not to be.
    pub fn may_have(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.0.as_ref().is_none_or(|all| all.contains(&ip))
    }
}

/// `/proc/net/fib_trie`: an address stands in a line of its own, above the kinds of its routes.
fn of_trie(text: &str) -> impl Iterator<Item = Ipv4Addr> {
    let mut address = None;
    text.lines().filter_map(move |line| {
        if let Some((_, leaf)) = line.split_once("|-- ") {
            address = leaf.trim().parse().ok();
            return None;
        }
        address.filter(|_| line.trim_start().starts_with("/32 host LOCAL"))
    })
}

/// `/proc/net/if_inet6`: an address in hexadecimal digits is each line's first word.
fn of_interfaces(text: &str) -> impl Iterator<Item = Ipv6Addr> {
    text.lines().filter_map(|line| {
        let digits = line.split_whitespace().next().filter(|digits| digits.len() == 32)?;
        u128::from_str_radix(digits, 16).ok().map(Ipv6Addr::from)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_told_from_routes() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     |-- 10.1.0.0\n        \
            /24 link UNICAST\nLocal:\n  +-- 10.1.0.0/24 2 0 2\n     |-- 10.1.0.7\n        /32 host LOCAL\n     \
            |-- 10.1.0.255\n        /32 link BROADCAST\n     |-- 127.0.0.0\n        /8 host LOCAL\n";
        assert_eq!(of_trie(trie).collect::<Vec<_>>(), [Ipv4Addr::new(10, 1, 0, 7)]);
        let inet6 = "00000000000000000000000000000001 01 80 10 80       lo\nx\n";
        assert_eq!(of_interfaces(inet6).collect::<Vec<_>>(), [Ipv6Addr::LOCALHOST]);
        assert!(OwnAddresses(None).may_have([10, 9, 9, 9].into()));
        assert!(!OwnAddresses(Some(HashSet::new())).may_have([10, 9, 9, 9].into()));
        assert!(OwnAddresses(Some(HashSet::new())).may_have([127, 9, 9, 9].into()));
    }
}
