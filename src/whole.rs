//! Write a file whole or not at all: temporary file, then rename. Readers see the old or the new one.

use crate::error::{Error, Result};
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// `mode` as for chmod(2).
pub fn write(path: &Path, content: &str, mode: u32) -> Result<()> {
    let failed = |cause| Error::File { path: path.to_owned(), doing: "write", cause };
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let permissions = Permissions::from_mode(mode);
    let mut file =
        tempfile::Builder::new().prefix(".connleak").permissions(permissions).tempfile_in(dir).map_err(failed)?;
    file.write_all(content.as_bytes()).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}
