//! Where checks keep what they must remember between runs.

use crate::base::capabilities;
use crate::base::error::{Error, Result};
use rustix::process::geteuid;
use std::fs::{self, DirBuilder, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Where the packages keep a folder for each user.
const OF_ALL: &str = "/var/lib/connleak";

/// The directory of the effective user, made where it isn't there yet.
///
/// Its parent is `chosen` (`--state-dir`), else `$MP_STATE_PATH`, else
/// `$NAGIOS_PLUGIN_STATE_DIRECTORY`, else `/var/lib/connleak` where we may write, else the user's
/// XDG state folder. The environment is ignored under another user's rights.
pub fn open(chosen: Option<&Path>) -> Result<PathBuf> {
    let mut refused = None;
    for parent in parents(chosen)? {
        match of_user(&parent) {
            Ok(dir) => return Ok(dir),
            // The best place's words: it has a remedy.
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(refused.unwrap_or_else(|| Error::Usage("no state directory; name one with --state-dir".into())))
}

/// The directory of the effective user where there is one; nothing is made. `None`: it is nowhere.
///
/// # Errors
/// Where that can't be told.
pub fn existing(chosen: Option<&Path>) -> Result<Option<PathBuf>> {
    let uid = geteuid().as_raw().to_string();
    let mut refused = None;
    for dir in parents(chosen)?.into_iter().map(|parent| parent.join(&uid)) {
        match fs::symlink_metadata(&dir) {
            Ok(meta) if is_own(&meta) => return Ok(Some(dir)),
            Ok(_) => refused = Some(foreign(&dir)),
            Err(cause) if cause.kind() == ErrorKind::NotFound => {}
            Err(cause) => refused = Some(Error::reading(&dir, cause)),
        }
    }
    refused.map_or(Ok(None), Err)
}

/// Folders of all users below `parent` that each is the owner of, by uid: for root, who looks at everyone's.
///
/// # Errors
/// When they can't be listed; there need not be any.
pub fn of_everyone(parent: Option<&Path>) -> Result<Vec<(u32, PathBuf)>> {
    let parent = parent.unwrap_or(Path::new(OF_ALL));
    let entries = match fs::read_dir(parent) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|cause| Error::reading(parent, cause))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|cause| Error::reading(parent, cause))?.path();
        let uid = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        let is_of = |uid: &u32| fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir() && meta.uid() == *uid);
        found.extend(uid.filter(is_of).map(|uid| (uid, path.clone())));
    }
    found.sort();
    Ok(found)
}

/// Where the user's folder may be, the best place first.
fn parents(chosen: Option<&Path>) -> Result<Vec<PathBuf>> {
    if chosen.is_some_and(|parent| parent.as_os_str().is_empty()) {
        return Err(Error::Usage("--state-dir has no name; give a directory, or leave it out".into()));
    }
    let borrowed = capabilities::are_borrowed();
    let variable =
        |name: &str| std::env::var_os(name).filter(|value| !borrowed && !value.is_empty()).map(PathBuf::from);
    let home = || variable("HOME").map(|home| home.join(".local/state"));
    let configured = chosen
        .map(Path::to_owned)
        .or_else(|| variable("MP_STATE_PATH"))
        .or_else(|| variable("NAGIOS_PLUGIN_STATE_DIRECTORY"));
    if let Some(parent) = configured {
        return Ok(vec![parent]);
    }
    let of_person = variable("XDG_STATE_HOME").or_else(home).map(|folder| folder.join("connleak"));
    Ok([Some(PathBuf::from(OF_ALL)), of_person].into_iter().flatten().collect())
}

/// One folder for each user, so that a check by hand as root doesn't lock the scheduler's out.
fn of_user(parent: &Path) -> Result<PathBuf> {
    let uid = geteuid().as_raw();
    let dir = parent.join(uid.to_string());
    let failed = |cause: std::io::Error| match cause.kind() {
        ErrorKind::PermissionDenied => {
            let why = format!(
                "no permission to make the state directory; once as root 'install -d -m 700 -o {uid} {}', or name another \
                 with --state-dir",
                dir.display()
            );
            Error::content(&dir, why)
        }
        _ => Error::File { path: dir.clone(), doing: "make the state directory", cause },
    };
    DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(failed)?;
    DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(failed)?;
    if is_own(&fs::symlink_metadata(&dir).map_err(failed)?) { Ok(dir) } else { Err(foreign(&dir)) }
}

/// Another user's folder, or a link, tells and keeps what that one likes.
fn is_own(dir: &Metadata) -> bool {
    dir.is_dir() && dir.uid() == geteuid().as_raw()
}

fn foreign(dir: &Path) -> Error {
    Error::content(dir, "not a directory of our own; name another with --state-dir")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_a_private_folder() {
        let parent = tempfile::tempdir().unwrap();
        let dir = open(Some(&parent.path().join("deep/er"))).unwrap();
        let meta = fs::metadata(&dir).unwrap();
        assert_eq!(meta.mode() & 0o777, 0o700);
        assert_eq!(open(Some(&parent.path().join("deep/er"))).unwrap(), dir);
        assert_eq!(existing(Some(&parent.path().join("deep/er"))).unwrap(), Some(dir));
        assert_eq!(existing(Some(&parent.path().join("other"))).unwrap(), None);
        assert!(!parent.path().join("other").exists());
        fs::write(parent.path().join("file"), "").unwrap();
        let unknown = existing(Some(&parent.path().join("file"))).unwrap_err().to_string();
        assert!(unknown.contains("file/") && unknown.contains("Not a directory"), "{unknown}");
    }

    #[test]
    fn a_planted_link_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), parent.path().join(geteuid().as_raw().to_string())).unwrap();
        for refused in [open(Some(parent.path())).unwrap_err(), existing(Some(parent.path())).unwrap_err()] {
            assert!(refused.to_string().contains("not a directory of our own"), "{refused}");
        }
    }
}
