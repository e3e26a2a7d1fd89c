//! Sockets from `/proc/net/tcp` and `tcp6`: no ages, no cookies, but readable almost everywhere.

use super::{Coverage, Origin, Query};
use crate::base::error::{Error, Result};
use crate::kernel::netns;
use crate::kernel::socket::{AcceptQueue, Endpoint, Socket, State};
use procfs::net::{TcpNetEntries, TcpNetEntry};
use procfs::{FromBufReadSI, current_system_info};
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

/// tcp6's is 171 bytes.
const LONGEST_HEADER: u64 = 1024;

/// Shows the sockets listed in `net_dir`'s `tcp` and, where there is IPv6, `tcp6`.
pub fn visit(net_dir: &Path, query: &Query, each: &mut dyn FnMut(&Socket)) -> Result<Coverage> {
    // tcp6 comes first: where it is missing as the process has ended, and not as IPv6 is switched off,
    // there is no tcp any more.
    let of_ipv6 = match read(&net_dir.join("tcp6")) {
        Err(Error::File { cause, .. }) if cause.kind() == ErrorKind::NotFound => Vec::new(),
        read => read?,
    };
    let mut entries = read(&net_dir.join("tcp"))?;
    entries.extend(of_ipv6);
    let listens = |entry: &TcpNetEntry| entry.state.to_u8() == State::Listen as u8;
    let (listening, others) =
        (entries.iter().filter(|entry| listens(entry)), entries.iter().filter(|entry| !listens(entry)));
    let how = format!("{}/tcp and tcp6", net_dir.display());
    let mut seen = Coverage { rows: entries.len() as u64, ..Coverage::new(Origin::Proc, how) };
    // A copy of /proc may lack the counters.
    let counted = netns::mptcp_sockets(net_dir);
    let mptcp = counted.unwrap_or(0);
    let is_uncounted = counted.is_some() && netns::has_uncounted_mptcp(net_dir);
    // While the table changes, the kernel's seq_file repeats rows, up to half of them (6.18).
    let (mut shown, mut held) = (HashSet::new(), HashSet::new());
    let (mut listeners, mut established) = (0, 0);
    for socket in listening.chain(others).filter_map(socket) {
        listeners += u64::from(socket.state == State::Listen);
        let wanted = query.wants(socket.state, socket.local.port, socket.remote.port);
        // Rows of one inode are subflows of one MPTCP connection.
        let is_new = wanted && shown.insert((socket.local, socket.remote, socket.inode));
        let may_be_subflow = mptcp > 0 || is_uncounted;
        if is_new && (!may_be_subflow || socket.inode == 0 || held.insert(socket.inode)) {
            established += u64::from(socket.state == State::Established);
            each(&socket);
        }
    }
    (seen.missing, seen.remark) = unreadable_states(mptcp, listeners, established);
    if is_uncounted && established > 0 {
        let why = "/proc doesn't tell the states of MPTCP connections, nor this kernel how many there are";
        seen.missing.get_or_insert(why.to_owned());
    }
    Ok(seen)
}

/// /proc has no table of MPTCP's connections: in TCP's they stay ESTABLISHED when their peer closes. Where
/// all of MPTCP's sockets may be listeners, as Go's are by default, that is no reason to trust nothing.
fn unreadable_states(mptcp: u64, listeners: u64, established: u64) -> (Option<String>, Option<String>) {
    let connections = mptcp.saturating_sub(listeners);
    let states = || "/proc doesn't tell the states of MPTCP connections";
    match (mptcp.min(established), connections) {
        (0, _) => (None, None),
        (_, 0) => (None, Some(states().to_owned())),
        _ => (Some(format!("{}, {connections} or more here", states())), None),
    }
}

fn read(path: &Path) -> Result<Vec<TcpNetEntry>> {
    let file = File::open(path).map_err(|cause| Error::reading(path, cause))?;
    parse(file, path)
}

/// The rows of a socket table; `origin` is named in errors. One bad row fails the whole table.
pub fn parse(table: impl Read, origin: &Path) -> Result<Vec<TcpNetEntry>> {
    let mut table = BufReader::new(table);
    // The crate skips the first line unseen: an empty file or a device would be a table without rows.
    let mut header = Vec::new();
    let limited = table.by_ref().take(LONGEST_HEADER).read_until(b'\n', &mut header);
    limited.map_err(|cause| Error::reading(origin, cause))?;
    if !header.trim_ascii_start().starts_with(b"sl ") || !header.ends_with(b"\n") {
        return Err(Error::content(origin, "not a socket table: no header line; is --proc-root a copy of /proc?"));
    }
    match TcpNetEntries::from_buf_read(header.as_slice().chain(table), current_system_info()) {
        Ok(TcpNetEntries(entries)) => Ok(entries),
        Err(procfs::ProcError::Io(cause, _)) => Err(Error::reading(origin, cause)),
        Err(error) => Err(Error::content(origin, format!("not a socket table: {error}"))),
    }
}

fn socket(entry: &TcpNetEntry) -> Option<Socket> {
    let state = State::from_kernel(entry.state.to_u8())?;
    let local = Endpoint::new(entry.local_address.ip(), entry.local_address.port());
    let remote = Endpoint::new(entry.remote_address.ip(), entry.remote_address.port());
    Some(Socket {
        uid: entry.uid,
        inode: entry.inode,
        accept_queue: (state == State::Listen).then_some(AcceptQueue { waiting: entry.rx_queue, limit: None }),
        ..Socket::bare(state, local, remote)
    })
}
