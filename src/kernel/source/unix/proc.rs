//! UNIX sockets from `/proc/net/unix`: names and listeners, but neither peers nor what was shut down.

use super::diag::{Kind, Row};
use crate::base::error::{Error, Result};
use crate::kernel::socket::AcceptQueue;
use crate::kernel::source::{Coverage, Origin};
use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// `__SO_ACCEPTCON`.
const LISTENS: u32 = 1 << 16;
/// `SS_CONNECTING`.
const CONNECTING: u32 = 2;
/// `SS_CONNECTED`.
const CONNECTED: u32 = 3;
const SOCK_STREAM: u32 = 1;
const SOCK_DGRAM: u32 = 2;
const SOCK_SEQPACKET: u32 = 5;

enum Parsed<'a> {
    Socket(Row<'a>),
    Waiting(&'a [u8]),
}

/// Shows the sockets listed in `net_dir`'s `unix`; `wants_idle`: what has no connections ([`Kind`]), too. A kernel without
/// them has no such file beside that of TCP.
///
/// # Errors
/// When it can't be read.
pub fn visit(net_dir: &Path, wants_idle: bool, each: &mut dyn FnMut(&Row)) -> Result<Coverage> {
    let path = net_dir.join("unix");
    let mut seen = Coverage::new(Origin::Proc, path.display().to_string());
    let table = match fs::read(&path) {
        Err(cause) if cause.kind() == ErrorKind::NotFound && net_dir.join("tcp").exists() => return Ok(seen),
        read => read.map_err(|cause| Error::reading(&path, cause))?,
    };
    let mut lines = table.split(|byte| *byte == b'\n');
    let header = lines.next().unwrap_or_default();
    if !header.starts_with(b"Num ") {
        return Err(Error::content(&path, "not the kernel's table of UNIX sockets"));
    }
    // A name may have newlines: what then is no row is the rest of one.
    let rows: Vec<Parsed> = lines.filter_map(row).collect();
    // Connections that nobody has accepted yet have their listener's name, and no inode.
    let mut waiting: HashMap<&[u8], u32> = HashMap::new();
    for name in rows.iter().filter_map(|row| if let Parsed::Waiting(name) = row { Some(*name) } else { None }) {
        *waiting.entry(name).or_default() += 1;
    }
    for mut row in rows.into_iter().filter_map(|row| if let Parsed::Socket(row) = row { Some(row) } else { None }) {
        if !wants_idle && !row.kind.is_of_connections() {
            continue;
        }
        if row.listens() {
            let waiting = waiting.get(row.name).copied().unwrap_or(0);
            row.queue = Some(AcceptQueue { waiting, limit: None });
        }
        seen.rows += 1;
        each(&row);
    }
    Ok(seen)
}

/// `Num: RefCount Protocol Flags Type St Inode Path`; the path may be missing, and have blanks.
fn row(line: &[u8]) -> Option<Parsed<'_>> {
    let mut rest = line;
    let mut field = || {
        rest = rest.trim_ascii_start();
        let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
        let (field, after) = rest.split_at(end);
        rest = after;
        std::str::from_utf8(field).ok()
    };
    let hexadecimal = |text: Option<&str>| u32::from_str_radix(text?, 16).ok();
    field()?.strip_suffix(':')?;
    let (_, _, flags) = (field()?, field()?, hexadecimal(field())?);
    let (kind, state, inode) = (hexadecimal(field())?, hexadecimal(field())?, field()?.parse().ok()?);
    let kind = match kind {
        SOCK_STREAM | SOCK_SEQPACKET if flags & LISTENS != 0 => Some(Kind::Listener),
        SOCK_STREAM | SOCK_SEQPACKET if state == CONNECTED => Some(Kind::Connected),
        SOCK_STREAM | SOCK_SEQPACKET => Some(Kind::Idle),
        SOCK_DGRAM => Some(Kind::Datagram),
        _ => None,
    };
    // One blank parts it from the path, which may begin with others.
    let name = rest.strip_prefix(b" ").unwrap_or_default();
    if inode == 0 && state == CONNECTING && !name.is_empty() {
        return Some(Parsed::Waiting(name));
    }
    Some(Parsed::Socket(Row::bare(kind?, inode, name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 4711 /run/a b.sock
0000000000000000: 00000003 00000000 00000000 0001 03 4712 /run/a b.sock
0000000000000000: 00000003 00000000 00000000 0001 03 4713
0000000000000000: 00000002 00000000 00000000 0002 01 4714 /run/log
0000000000000000: 00000002 00000000 00000000 0001 02     0 /run/a b.sock
0000000000000000: 00000002 00000000 00000000 0001 02     0 /run/a b.sock
0000000000000000: 00000002 00000000 00010000 0005 01 4715 @abc
more of a name
";

    #[test]
    fn reads_names_with_blanks_and_leaves_what_is_no_stream() {
        let dir = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            fs::write(dir.path().join("unix"), text).unwrap();
            let mut rows = Vec::new();
            let seen = visit(dir.path(), false, &mut |row| {
                rows.push((
                    row.queue.map(|queue| queue.waiting),
                    row.inode,
                    String::from_utf8_lossy(row.name).into_owned(),
                ));
            });
            seen.map(|seen| (seen.rows, rows))
        };
        let (count, rows) = read(TABLE).unwrap();
        let row = |waiting, inode, name: &str| (waiting, inode, name.to_owned());
        let wanted = [
            row(Some(2), 4711, "/run/a b.sock"),
            row(None, 4712, "/run/a b.sock"),
            row(None, 4713, ""),
            row(Some(0), 4715, "@abc"),
        ];
        assert_eq!((count, &rows[..]), (4, &wanted[..]));
        assert!(read("").is_err() && read("sl local_address\n").is_err());
        fs::remove_file(dir.path().join("unix")).unwrap();
        assert!(visit(dir.path(), false, &mut |_| {}).is_err());
    }
}
