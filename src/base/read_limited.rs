//! Read a file to its end, or to where it is too long: a configuration file may be anything, a device, not text.

use crate::base::error::{Error, Result};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// A few KiB, whose length the kernel doesn't tell: in two calls, not in ten.
pub fn read_small(path: &Path) -> io::Result<String> {
    let mut text = String::with_capacity(8 * 1024);
    File::open(path)?.take(1 << 20).read_to_string(&mut text)?;
    Ok(text)
}

/// One of the kernel's files of a line or two, or an id: what the first call gives is all of it.
pub fn read_line(path: &Path) -> io::Result<String> {
    let mut bytes = [0; 512];
    let length = File::open(path)?.read(&mut bytes)?;
    let text = str::from_utf8(&bytes[..length]).map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?;
    Ok(text.trim().to_owned())
}

/// The whole file as text, at most `largest` bytes.
pub fn read(path: &Path, largest: u64) -> Result<String> {
    let file = File::open(path).map_err(|cause| Error::reading(path, cause))?;
    read_open(&file, path, largest)
}

/// [`read`] of a file that is open, and is called `path`.
pub fn read_open(file: &File, path: &Path, largest: u64) -> Result<String> {
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
