//! The directory and files of a history: ours, held while in use, put aside when unusable.

use crate::base::backoff::Pauses;
use crate::base::error::{Error, Result, plain};
use rustix::fd::OwnedFd;
use rustix::fs::{
    Access, AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, Stat, StatVfsMountFlags, accessat, flock, fstat,
    fstatvfs, mknodat, openat, renameat, statat,
};
use rustix::io::Errno;
use rustix::process::{Resource, geteuid, getrlimit};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Instant, SystemTime};

const DATABASE: &str = "history.db";
/// SQLite's own files beside the database, which belong to its content.
const COMPANIONS: [&str; 3] = ["history.db-wal", "history.db-shm", "history.db-journal"];
/// More would fill a disk that breaks every file.
const MOST_ASIDE: usize = 8;
/// Bytes; SQLite's write-ahead log and a small history need that.
const LEAST_FILE: u64 = 1 << 20;

/// A history that could not be used, with its content kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aside {
    /// Where it is now.
    pub path: PathBuf,
    pub why: String,
}

impl fmt::Display for Aside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "history was {}, kept as {}; learning anew", self.why, self.path.display())
    }
}

/// The database file as it was seen: its inode, and whether it was empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatabaseFile(Option<(u64, bool)>);

/// A directory of our own, held by a shared lock: SQLite must not have a file open that is renamed.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    dir: OwnedFd,
}

impl Place {
    /// # Errors
    /// Where another user could plant files.
    pub fn open(dir: &Path, until: Instant) -> Result<Place> {
        let failed = |cause| Error::File { path: dir.to_owned(), doing: "open the state directory", cause };
        // SQLite refuses links anywhere in a path, and a state directory may well lie behind one.
        let path = fs::canonicalize(dir).map_err(failed)?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(CWD, &path, flags, Mode::empty()).and_then(|fd| fstat(&fd).map(|stat| (fd, stat)));
        let (fd, stat) = opened.map_err(|errno| failed(errno.into()))?;
        if stat.st_uid != geteuid().as_raw() {
            return Err(Error::content(&path, "not a directory of our own; name another with --state-dir"));
        }
        if stat.st_mode & 0o022 != 0 {
            return Err(Error::content(&path, "others may write there; 'chmod go-w' it or name another --state-dir"));
        }
        let place = Place { path, dir: fd };
        place.hold(until)?;
        Ok(place)
    }

    pub fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    fn is_writable(&self) -> std::result::Result<(), Errno> {
        accessat(&self.dir, ".", Access::WRITE_OK, AtFlags::EACCESS)?;
        match accessat(&self.dir, DATABASE, Access::WRITE_OK, AtFlags::EACCESS) {
            Err(Errno::NOENT) => Ok(()),
            access => access,
        }
    }

    /// What the file system has against writing: SQLite's own words don't tell.
    pub fn obstacle(&self) -> Option<String> {
        let disk = fstatvfs(&self.dir).ok()?;
        let remedy = "or choose another --state-dir";
        if disk.f_flag.contains(StatVfsMountFlags::RDONLY) {
            return Some(format!("can't write the history: the file system is read-only; remount it {remedy}"));
        }
        if let Err(errno) = self.is_writable() {
            let cause = errno.into();
            return Some(format!("can't write the history: {}; chown it {remedy}", plain(&cause)));
        }
        if let Some(bytes) = getrlimit(Resource::Fsize).current.filter(|bytes| *bytes < LEAST_FILE) {
            return Some(format!("can't write the history: files may have {bytes} bytes; raise that (ulimit -f)"));
        }
        // A page and its like must fit; some file systems count no inodes at all.
        if disk.f_bavail.saturating_mul(disk.f_frsize) < 64 * 1024 {
            return Some(format!("can't write the history: the file system is full; free some space {remedy}"));
        }
        if disk.f_files > 0 && disk.f_favail == 0 {
            return Some(format!("can't write the history: the file system has no inodes left; remove files {remedy}"));
        }
        None
    }

    fn hold(&self, until: Instant) -> Result<()> {
        match self.lock(FlockOperation::NonBlockingLockShared, until) {
            // A file system without flock(2): only putting aside needs it.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::BADF | Errno::NOLCK | Errno::INVAL) => Ok(()),
            Err(errno) => Err(self.locked(errno)),
        }
    }

    fn lock(&self, operation: FlockOperation, until: Instant) -> std::result::Result<(), Errno> {
        let mut pauses = Pauses::default();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match flock(&self.dir, operation) {
                Err(Errno::WOULDBLOCK) if !left.is_zero() => sleep(pauses.next(left)),
                done => return done,
            }
        }
    }

    fn locked(&self, errno: Errno) -> Error {
        Error::File { path: self.path.clone(), doing: "lock the state directory", cause: errno.into() }
    }

    fn stat(&self, name: &str) -> Result<Option<Stat>> {
        match statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Error::reading(&self.path.join(name), errno.into())),
        }
    }

    /// Makes sure that the database is a file of ours, empty where there was none. The files are looked at, never opened: closing one would drop SQLite's locks on it
    /// (fcntl(2), POSIX locks).
    pub fn prepare(&self) -> Result<DatabaseFile> {
        for name in COMPANIONS.iter().chain([&DATABASE]) {
            if let Some(stat) = self.stat(name)? {
                let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
                if !is_file || stat.st_uid != geteuid().as_raw() || stat.st_nlink > 1 {
                    let why = "not a plain file of our own; remove it or choose another --state-dir";
                    return Err(Error::content(&self.path.join(name), why));
                }
            }
        }
        match mknodat(&self.dir, DATABASE, FileType::RegularFile, Mode::RUSR | Mode::WUSR, 0) {
            Ok(()) | Err(Errno::EXIST) => {}
            // Can't write there; what is there can be read.
            Err(errno) if self.stat(DATABASE)?.is_none() => {
                let why = self.obstacle();
                let failed = Error::File { path: self.database(), doing: "make the history", cause: errno.into() };
                return Err(why.map_or(failed, |why| Error::content(&self.database(), why)));
            }
            Err(_) => {}
        }
        self.known()
    }

    pub fn has_database(&self) -> Result<bool> {
        Ok(self.stat(DATABASE)?.is_some_and(|stat| stat.st_size > 0))
    }

    fn known(&self) -> Result<DatabaseFile> {
        Ok(DatabaseFile(self.stat(DATABASE)?.map(|stat| (stat.st_ino, stat.st_size == 0))))
    }

    /// Whether a log lies beside an empty database: SQLite would throw it away.
    pub fn has_stray_log(&self) -> Result<bool> {
        let size = |name| self.stat(name).map(|stat| stat.map_or(0, |stat| stat.st_size));
        // The log first: one that is there before its database has content is nobody's.
        Ok(size(COMPANIONS[0])? > 0 && size(DATABASE)? == 0)
    }

    /// Bytes of the log; 0 where there is none.
    pub fn log_size(&self) -> i64 {
        self.stat(COMPANIONS[0]).ok().flatten().map_or(0, |stat| stat.st_size)
    }

    /// Whether the database is all there is, without a log that would have to be read too.
    pub fn is_alone(&self) -> Result<bool> {
        let is_empty = |name: &&str| self.stat(name).map(|stat| stat.is_none_or(|stat| stat.st_size == 0));
        Ok(is_empty(&COMPANIONS[0])? && is_empty(&COMPANIONS[2])?)
    }

    /// Renames the database as it was known, which we must not have open any more, and all that
    /// belongs to it. `None`: another process did.
    pub fn put_aside(&self, known: DatabaseFile, why: &str, until: Instant) -> Result<Option<Aside>> {
        let _ = flock(&self.dir, FlockOperation::Unlock);
        let locked = self.lock(FlockOperation::NonBlockingLockExclusive, until).map_err(|errno| self.locked(errno));
        let aside = locked.and_then(|()| {
            let is_the_same = self.known()? == known;
            if is_the_same { self.rename_all(why).map(Some) } else { Ok(None) }
        });
        let _ = flock(&self.dir, FlockOperation::Unlock);
        self.hold(until)?;
        aside
    }

    fn rename_all(&self, why: &str) -> Result<Aside> {
        let failed = |cause| Error::File { path: self.database(), doing: "put aside the unusable history", cause };
        let is_aside = |entry: &fs::DirEntry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.starts_with("history.db.aside-") && !name.ends_with("-wal") && !name.ends_with("-shm")
        };
        if fs::read_dir(&self.path).map_err(failed)?.flatten().filter(is_aside).count() >= MOST_ASIDE {
            let why =
                format!("the history is {why}, and {MOST_ASIDE} were put aside before; see why, then remove them");
            return Err(Error::content(&self.database(), why));
        }
        let stamp: String = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let stamp = stamp.replace(['-', ':'], "");
        let mut name = format!("{DATABASE}.aside-{stamp}");
        for again in 2.. {
            if self.stat(&name)?.is_none() {
                break;
            }
            name = format!("{DATABASE}.aside-{stamp}.{again}");
        }
        // The database last: killed in between, we leave no log that SQLite could take for another's.
        for from in COMPANIONS.iter().chain([&DATABASE]) {
            let to = format!("{name}{}", &from[DATABASE.len()..]);
            match renameat(&self.dir, *from, &self.dir, to) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(failed(errno.into())),
            }
        }
        Ok(Aside { path: self.path.join(name), why: why.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn only_what_was_found_unusable_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let until = Instant::now() + Duration::from_secs(9);
        let place = Place::open(dir.path(), until).unwrap();
        fs::write(place.database(), "rubbish").unwrap();
        let known = place.prepare().unwrap();
        let aside = place.put_aside(known, "rubbish", until).unwrap().unwrap();
        assert_eq!(fs::read(aside.path).unwrap(), b"rubbish");
        // Another process has put a good one in its place.
        fs::write(place.database(), "good").unwrap();
        assert_eq!(place.put_aside(known, "rubbish", until).unwrap(), None);
        assert_eq!(fs::read(place.database()).unwrap(), b"good");
    }

    #[test]
    fn nothing_is_renamed_while_another_has_it_open() {
        let dir = tempfile::tempdir().unwrap();
        let until = Instant::now() + Duration::from_millis(100);
        let (place, _other) = (Place::open(dir.path(), until).unwrap(), Place::open(dir.path(), until).unwrap());
        fs::write(place.database(), "rubbish").unwrap();
        let known = place.prepare().unwrap();
        let refused = place.put_aside(known, "rubbish", until).unwrap_err().to_string();
        assert!(refused.contains("lock the state directory"), "{refused}");
        assert_eq!(fs::read(place.database()).unwrap(), b"rubbish");
    }
}
