//! Write a file whole or not at all: temporary file, then rename. Readers see the old or the new one.

use crate::base::error::{Error, Result};
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

/// `mode` as for chmod(2).
///
/// # Errors
/// When it can't be written, and for devices: the rename would put a file in the place of `/dev/null`.
pub fn write(path: &Path, content: &str, mode: u32) -> Result<()> {
    let failed = |cause| Error::File { path: path.to_owned(), doing: "write", cause };
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let is_device = |file: fs::Metadata| file.file_type().is_char_device() || file.file_type().is_block_device();
    if dir == Path::new("/dev") || fs::symlink_metadata(path).is_ok_and(is_device) {
        return Err(Error::content(path, "a device can't be written whole; give a file's name, or leave it out"));
    }
    let mut file = tempfile::Builder::new().prefix(".connleak").tempfile_in(dir).map_err(failed)?;
    file.write_all(content.as_bytes()).map_err(failed)?;
    // Not as it is made, which the umask would narrow.
    file.as_file().set_permissions(Permissions::from_mode(mode)).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_stay_devices() {
        for path in ["/dev/null", "/dev/stdout", "/dev/novel"] {
            let refused = write(Path::new(path), "x", 0o644).unwrap_err().to_string();
            assert!(refused.contains(path) && refused.contains("device"), "{refused}");
        }
        assert!(fs::symlink_metadata("/dev/null").unwrap().file_type().is_char_device());
        assert!(!Path::new("/dev/novel").exists());
    }
}
