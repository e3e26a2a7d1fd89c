//! How many connections a network namespace has opened since its start, by the kernel's own count: while it stays the same,
//! no socket that is in no table comes into the connections' one.
//!
//! Counted is who connects (`tcp_connect`) and who is accepted (`tcp_create_openreq_child`), before it can have a
//! descriptor (net/ipv4/tcp_output.c and tcp_minisocks.c, 6.18), whichever the address family.

use crate::base::read_limited::read_small;
use crate::kernel::netns;
use crate::kernel::source;
use crate::kernel::world::{Netns, World};

/// Connections that were made and accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened(String, String);

impl Opened {
    /// `None`: it can't be told, or one dump doesn't show all here.
    pub fn read(world: &World) -> Option<Opened> {
        if world.netns == Netns::All || world.replay.is_some() || !source::is_one_dump(world) {
            return None;
        }
        of_table(&read_small(&netns::place(world).ok()?.net_dir.join("snmp")).ok()?)
    }

    /// Whether none was since.
    pub fn is_still(&self, world: &World) -> bool {
        Opened::read(world).as_ref() == Some(self)
    }
}

/// From a line of names and one of numbers.
fn of_table(table: &str) -> Option<Opened> {
    let mut lines = table.lines().filter_map(|line| line.strip_prefix("Tcp:"));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let count = |wanted: &str| {
        let mut pairs = names.split_ascii_whitespace().zip(numbers.split_ascii_whitespace());
        pairs.find_map(|(name, number)| (name == wanted).then(|| number.to_owned()))
    };
    Some(Opened(count("ActiveOpens")?, count("PassiveOpens")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_either_kind_are_told_apart() {
        let table = "Ip: Forwarding\nIp: 2\nTcp: MaxConn ActiveOpens PassiveOpens AttemptFails\nTcp: -1 34 2 0\n";
        let before = of_table(table).unwrap();
        assert_eq!(before, Opened("34".into(), "2".into()));
        assert_ne!(of_table(&table.replace(" 34 ", " 35 ")), Some(before.clone()));
        assert_ne!(of_table(&table.replace(" 2 0", " 3 0")), Some(before));
        for unread in ["", "Tcp: ActiveOpens PassiveOpens\n", "Tcp: ActiveOpens\nTcp: 34\n"] {
            assert_eq!(of_table(unread), None);
        }
    }
}
