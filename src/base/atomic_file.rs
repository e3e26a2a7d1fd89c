//! Write a file whole or not at all: temporary file, then rename. Readers see the old or the new one. And
//! where a name leads to, for what must follow links.

use crate::base::error::{Error, Result};
use rustix::process::geteuid;
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// As many links as the kernel follows.
const MOST_LINKS: usize = 40;

/// `mode` as for chmod(2).
///
/// # Errors
/// When it can't be written, and for devices: the rename would put a file in the place of `/dev/null`.
pub fn write(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let failed = |cause| Error::File { path: path.to_owned(), doing: "write", cause };
    let dir = dir_of(path);
    let is_device = |file: fs::Metadata| file.file_type().is_char_device() || file.file_type().is_block_device();
    if dir == Path::new("/dev") || fs::symlink_metadata(path).is_ok_and(is_device) {
        return Err(Error::content(path, "a device can't be written whole; give a file's name, or leave it out"));
    }
    let mut file = tempfile::Builder::new().prefix(".connleak").tempfile_in(dir).map_err(failed)?;
    file.write_all(content).map_err(failed)?;
    // Not as it is made, which the umask would narrow.
    file.as_file().set_permissions(Permissions::from_mode(mode)).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

fn dir_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The file that a name leads to through links, which stay then; it need not be there. What it names may
/// be made or opened without following another link, but for the kernel's own in `/proc`.
///
/// # Errors
/// For a link or file that another user planted where all may: as the kernel refuses with
/// fs.protected_symlinks and fs.protected_regular, but whoever reads links himself isn't protected.
pub fn through_links(path: &Path) -> Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let failed = |cause| Error::File { path: path.clone(), doing: "write", cause };
        let found = match fs::symlink_metadata(&path) {
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(path),
            found => found.map_err(failed)?,
        };
        if is_planted(&path, &found) {
            let why = "is another user's in a directory that all may write to: not followed; name another file";
            return Err(Error::content(&path, why));
        }
        if !found.is_symlink() {
            return Ok(path);
        }
        let next = dir_of(&path).join(fs::read_link(&path).map_err(failed)?);
        // A descriptor's link in /proc leads to what has no name.
        if fs::symlink_metadata(&next).is_err() && fs::metadata(&path).is_ok() {
            return Ok(path);
        }
        path = next;
    }
    Err(Error::content(&path, "too many links; name another file"))
}

/// Whether another user may have put it there: neither ours nor of the owner of a directory where all may write.
pub fn is_planted(path: &Path, found: &fs::Metadata) -> bool {
    const STICKY: u32 = 0o1000;
    const WRITTEN_BY_ALL: u32 = 0o022;
    fs::metadata(dir_of(path)).is_ok_and(|dir| {
        let is_shared = dir.mode() & STICKY != 0 && dir.mode() & WRITTEN_BY_ALL != 0;
        is_shared && found.uid() != geteuid().as_raw() && found.uid() != dir.uid()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_through_links() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "").unwrap();
        for (name, to) in [("a", "b"), ("b", "file"), ("nowhere", "gone"), ("circle", "circle")] {
            std::os::unix::fs::symlink(to, at(name)).unwrap();
        }
        let leads = |name: &str| through_links(&at(name)).map_err(|why| why.to_string());
        assert_eq!(leads("a"), Ok(at("file")));
        assert_eq!(leads("new"), Ok(at("new")));
        assert_eq!(leads("nowhere"), Ok(at("gone")));
        assert!(leads("circle").unwrap_err().contains("too many links"));
        // `/proc/self/fd/1` of a pipe has no other name.
        let (_reader, writer) = std::io::pipe().unwrap();
        let link = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer)));
        assert_eq!(through_links(&link).unwrap(), link);
    }

    #[test]
    fn devices_stay_devices() {
        for path in ["/dev/null", "/dev/stdout", "/dev/novel"] {
            let refused = write(Path::new(path), b"x", 0o644).unwrap_err().to_string();
            assert!(refused.contains(path) && refused.contains("device"), "{refused}");
        }
        assert!(fs::symlink_metadata("/dev/null").unwrap().file_type().is_char_device());
        assert!(!Path::new("/dev/novel").exists());
    }
}
