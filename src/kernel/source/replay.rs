//! Sockets from a recorded raw netlink dump, as `ss -tanie -D FILE` (iproute2) writes it.

use super::diag::{self, Framed, HEADER, Message, Table};
use super::mptcp::Connections;
use super::{Coverage, Origin, Query};
use crate::base::error::{Error, Result};
use crate::kernel::socket::Socket;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;

/// The kernel fills at most 32 KiB at once; a longer message is no dump's.
const LONGEST_MESSAGE: usize = 64 * 1024;

pub fn visit(path: &Path, query: &Query, each: &mut dyn FnMut(&Socket)) -> Result<Coverage> {
    let file = File::open(path).map_err(|cause| Error::reading(path, cause))?;
    let mut seen = Coverage::new(Origin::Replay, path.display().to_string());
    let mut reader = BufReader::new(file);
    let mut message = Vec::new();
    let (mut ends, mut combined) = (0, false);
    let mut connections = Connections::new(query);
    while next_message(&mut reader, &mut message).map_err(|cause| Error::reading(path, cause))? {
        let Some(Ok(Framed { message, kind, interrupted, .. })) = diag::messages(&message, Table::Tcp).next() else {
            return Err(Error::content(path, "not a netlink dump; record one with 'ss -tanie -D FILE'"));
        };
        combined |= kind == diag::COMBINED;
        if interrupted {
            seen.missing = Some("the socket table changed under the replayed dump".to_owned());
        }
        match message {
            Message::Socket(socket) => {
                seen.rows += 1;
                connections.row(&socket, each);
            }
            Message::Done(0..) => ends += 1,
            Message::Done(_) | Message::Refused(_) => {
                seen.missing = Some("the replayed dump ended with an error".to_owned());
            }
            Message::Other => {}
        }
    }
    let untold = connections.end(each);
    if untold > 0 {
        seen.missing = Some(format!("the replayed dump doesn't tell the states of {untold} MPTCP connections"));
    }
    // DONE is the only legal end, and dumps by family have one for IPv4 and one for IPv6.
    let wanted = if combined { 1 } else { 2 };
    if ends < wanted {
        seen.missing = Some(match ends {
            0 => "the replayed dump is cut short".to_owned(),
            _ => "the replayed dump holds one address family only".to_owned(),
        });
    }
    Ok(seen)
}

/// Reads one whole message. `false`: the file is at its end, or breaks off inside a message.
pub fn next_message(reader: &mut impl Read, message: &mut Vec<u8>) -> std::io::Result<bool> {
    message.resize(HEADER, 0);
    if !filled(reader, message)? {
        return Ok(false);
    }
    match diag::message_length(message) {
        // The reader sees the whole message and refuses it.
        None => Ok(true),
        Some(length) if length > LONGEST_MESSAGE => {
            message[..4].fill(0);
            Ok(true)
        }
        Some(length) => {
            message.resize(length.next_multiple_of(4), 0);
            filled(reader, &mut message[HEADER..])
        }
    }
}

fn filled(reader: &mut impl Read, bytes: &mut [u8]) -> std::io::Result<bool> {
    match reader.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
