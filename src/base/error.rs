//! What can go wrong, said in one line: what, where, the bad token and the remedy.
//!
//! Every variant ends as UNKNOWN (exit 3) in [`crate::program::run`].

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug)]
pub enum Error {
    /// What the caller typed, or wrote for `--extra-opts`.
    Usage(String),
    /// A file that can't be read or written.
    File { path: PathBuf, doing: &'static str, cause: io::Error },
    /// A file that was read but doesn't hold what it should.
    Content { path: PathBuf, why: String },
    /// The kernel refuses what a source needs.
    Kernel { call: &'static str, cause: io::Error },
}

impl Error {
    pub fn reading(path: &Path, cause: io::Error) -> Error {
        Error::File { path: path.to_owned(), doing: "read", cause }
    }

    pub fn content(path: &Path, why: impl fmt::Display) -> Error {
        Error::Content { path: path.to_owned(), why: why.to_string() }
    }
}

/// The system's words without Rust's "(os error N)".
pub fn plain(cause: &io::Error) -> String {
    let text = cause.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage(text) => f.write_str(text),
            Error::File { path, doing, cause } => write!(f, "can't {doing} {}: {}", path.display(), plain(cause)),
            Error::Content { path, why } => write!(f, "{}: {why}", path.display()),
            Error::Kernel { call, cause } => write!(f, "the kernel refuses {call}: {}", plain(cause)),
        }
    }
}

impl std::error::Error for Error {}
