//! The sockets in question as data: each with its ends, its ages, and who holds it by which descriptor.

use crate::kernel::owner::Owners;
use crate::kernel::socket::{Endpoint, Protocol, State};
use crate::owners::blame::{Suspect, oldest_first};
use crate::report::{Report, seconds};
use crate::service::request::Request;
use serde_json::{Value, json};

/// Adds `sockets` to the JSON object of a check, where each is asked for.
pub fn add_to(report: &mut Report, suspects: &[Suspect], owners: &Owners, request: &Request) {
    if !request.lists_sockets {
        return;
    }
    let shown = oldest_first(suspects).into_iter().take(request.top);
    report.extra.insert("sockets".into(), shown.map(|suspect| row(suspect, owners)).collect());
    report.extra.insert("sockets_total".into(), json!(suspects.len()));
}

/// What of them CSV has as columns, in its order; the keys of each object in JSON.
pub const COLUMNS: [&str; 15] = [
    "protocol",
    "local",
    "remote",
    "state",
    "age_seconds",
    "idle_seconds",
    "inode",
    "cookie",
    "netns",
    "pid",
    "fd",
    "command",
    "unit",
    "uid",
    "age_at_most_seconds",
];

/// One socket. What isn't known, or isn't there, is null: a socket that waits to be accepted has no inode and
/// no descriptor, its pid is the listener's; of a ghost nothing is left but its descriptor.
pub fn row(suspect: &Suspect, owners: &Owners) -> Value {
    let holder = owners.descriptors(suspect.holder_inode).next();
    let process = holder.map(|(process, _)| process);
    // Of whom is named for it, but holds another socket, the descriptor is another's.
    let fd = holder.filter(|_| suspect.inode == suspect.holder_inode && suspect.inode != 0).map(|(_, fd)| fd);
    let is_ghost = suspect.is_ghost();
    let end = |end: Endpoint| (!is_ghost).then(|| end.to_string());
    // The time in a state is told of those that are closing; of others the age is the silence.
    let age = suspect.age.filter(|_| suspect.state != State::Established);
    json!({
        "protocol": match suspect.protocol {
            Protocol::Mptcp => "mptcp",
            Protocol::Unix | Protocol::Datagram => "unix",
            _ => "tcp",
        },
        "local": end(suspect.local),
        "remote": end(suspect.remote),
        "state": if is_ghost { "GHOST" } else { suspect.state.name() },
        "age_seconds": age.map(seconds),
        "idle_seconds": suspect.silence.map(seconds),
        "inode": Some(suspect.inode).filter(|inode| *inode != 0),
        "cookie": suspect.cookie,
        "netns": Some(suspect.netns).filter(|netns| *netns != 0),
        "pid": process.map(|process| process.pid),
        "fd": fd,
        "command": process.map(|process| &process.command),
        "unit": process.and_then(|process| process.unit.as_ref()),
        "uid": suspect.uid,
        "age_at_most_seconds": age.map(|age| seconds(suspect.age_at_most.unwrap_or(age))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::socket::Socket;

    #[test]
    fn every_column_is_a_key_and_what_is_not_known_is_null() {
        let end = |port| Endpoint::new([10, 0, 0, 1].into(), port);
        let queued = Suspect::new(&Socket::bare(State::Established, end(80), end(5000)), Some(7));
        let told = row(&queued, &Owners::default());
        assert!(COLUMNS.iter().all(|column| told.get(column).is_some()), "{told}");
        assert_eq!(told.as_object().map(serde_json::Map::len), Some(COLUMNS.len()));
        for unknown in [
            "age_seconds",
            "age_at_most_seconds",
            "idle_seconds",
            "inode",
            "cookie",
            "netns",
            "pid",
            "fd",
            "command",
            "unit",
        ] {
            assert_eq!(told[unknown], Value::Null, "{unknown}");
        }
        assert_eq!((&told["local"], &told["protocol"]), (&"10.0.0.1:80".into(), &"tcp".into()));
        let ghost = Suspect::new(&Socket { inode: 9, ..Socket::bare(State::Close, end(0), end(0)) }, None);
        let told = row(&ghost, &Owners::default());
        assert_eq!((&told["state"], &told["local"], &told["inode"]), (&"GHOST".into(), &Value::Null, &9.into()));
    }
}
