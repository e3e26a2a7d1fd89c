//! Where a socket was ever seen of the paths that the regular check was asked for: that nothing is left at one that never
//! had any proves nothing.

use super::drain::Leftovers;
use connleak::base::atomic_file;
use connleak::base::error::{Error, Result};
use connleak::base::read_limited;
use connleak::kernel::select::Selection;
use connleak::kernel::socket::UnixName;
use connleak::kernel::unix_target::UnixTarget;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

const LARGEST_FILE: u64 = 1024 * 1024;

/// Remembers at `memory` which of the paths this look shows, also after a boot, and returns those that none has shown yet.
///
/// # Errors
/// A file that can't be read or written. One that is no text is none of ours.
pub fn never<'a>(memory: &Path, selection: &'a Selection, view: &Leftovers) -> Result<Vec<&'a UnixTarget>> {
    let asked: Vec<&UnixTarget> = selection.unix.iter().filter(|target| target.asked).collect();
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let known = match read_limited::read(memory, LARGEST_FILE) {
        Err(Error::File { cause, .. }) if cause.kind() == ErrorKind::NotFound => String::new(),
        Err(Error::Content { .. }) => String::new(),
        text => text?,
    };
    let mut seen: BTreeSet<String> = known.lines().map(str::to_owned).collect();
    let before = seen.len();
    let line = |target: &UnixTarget| target.path.text().replace('\n', " ");
    let of_left = view.left.iter().filter_map(|left| left.socket.unix_name());
    let names: BTreeSet<UnixName> = view.served.iter().copied().chain(of_left).collect();
    let is_seen = |target: &UnixTarget| target.has_file() || names.iter().any(|name| target.has_name(*name));
    seen.extend(asked.iter().filter(|target| is_seen(target)).map(|target| line(target)));
    if seen.len() > before {
        let lines: String = seen.iter().map(|path| format!("{path}\n")).collect();
        atomic_file::write(memory, lines.as_bytes(), 0o600)?;
    }
    Ok(asked.into_iter().filter(|target| !seen.contains(&line(target))).collect())
}
