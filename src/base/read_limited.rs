//! Read a configuration file that may be anything: too large, a device, not text.

use crate::base::error::{Error, Result};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The whole file as text, at most `largest` bytes.
pub fn read(path: &Path, largest: u64) -> Result<String> {
    let file = File::open(path).map_err(|cause| Error::reading(path, cause))?;
    let mut bytes = Vec::new();
    file.take(largest + 1).read_to_end(&mut bytes).map_err(|cause| Error::reading(path, cause))?;
    if bytes.len() as u64 > largest {
        return Err(Error::content(path, format!("over {} KiB; is it the right file?", largest / 1024)));
    }
    // Some editors begin a file with a byte order mark.
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let text = std::str::from_utf8(text).map_err(|error| {
        let mark = bytes.len() - text.len();
        Error::content(path, format!("not UTF-8 at byte {}; is it the right file?", mark + error.valid_up_to()))
    });
    text.map(str::to_owned)
}
