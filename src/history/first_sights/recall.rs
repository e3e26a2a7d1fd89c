//! What all runs remember of UNIX sockets together, for a person who looks.

use super::{FirstSights, LARGEST_FILE};
use crate::base::error::{Error, Result};
use crate::base::read_limited;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

impl FirstSights {
    /// What all runs remember in this directory, whatever each looked at: to be shown, not to be kept.
    ///
    /// # Errors
    /// Where it can't be read.
    pub fn recall(dir: &Path) -> Result<FirstSights> {
        let mut all = FirstSights { key: "all".to_owned(), ..FirstSights::read(None, "")? };
        for entry in fs::read_dir(dir).map_err(|cause| Error::reading(dir, cause))? {
            let entry = entry.map_err(|cause| Error::reading(dir, cause))?;
            let name = entry.file_name();
            let is_one = |name: &str| name.starts_with("unix-") && name.ends_with(".txt");
            if !name.to_str().is_some_and(is_one) || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
                continue;
            }
            let text = match read_limited::read(&entry.path(), LARGEST_FILE) {
                Err(Error::Content { .. }) => continue,
                // Another run has put another in its place.
                Err(Error::File { cause, .. }) if cause.kind() == ErrorKind::NotFound => continue,
                text => text?,
            };
            let found = all.with(&text, text.lines().nth(1).unwrap_or_default());
            found.into_iter().for_each(|found| all.merge(found));
        }
        Ok(all)
    }

    /// With what another remembers: each tells the truth of what it saw.
    pub fn merge(&mut self, other: FirstSights) {
        if !self.remembers() {
            *self = other;
            return;
        }
        for (cookie, sight) in other.known {
            let known = self.known.entry(cookie).or_insert(sight);
            (known.first, known.before) = (known.first.min(sight.first), known.before.max(sight.before));
        }
        self.sockets.clients.extend(other.sockets.clients);
        self.sockets.heard.extend(other.sockets.heard);
    }
}
