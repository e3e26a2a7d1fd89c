//! What a check remembers of its last look as numbers: a file of their own for each service, where there is no history.

use crate::base::atomic_file;
use crate::base::error::{Error, Result};
use crate::base::fnv::fnv64;
use crate::history::state_dir;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

const HEADER: &str = "connleak last look 2";
/// Larger is none of ours.
const LARGEST: u64 = 8 * 1024 * 1024;

/// The file as it is.
#[derive(Debug)]
pub struct LastLook {
    chosen: Option<PathBuf>,
    name: String,
    /// Where it is, if it is.
    path: Option<PathBuf>,
    /// What its content begins with: whose it is, and of which boot.
    begin: String,
    content: Vec<u8>,
}

impl LastLook {
    /// `key`: what is looked at, in words. What another boot or service left is nothing.
    ///
    /// # Errors
    /// When it can't be told what is there.
    pub fn read(chosen: Option<&Path>, key: &str, boot_id: &str) -> Result<LastLook> {
        let begin = format!("{HEADER}\n{}\n{boot_id}\n", key.replace('\n', " "));
        let name = format!("tcp-{:016x}.bin", fnv64(key.as_bytes()));
        // Of a thousand sockets: one call reads them.
        let (mut content, mut there) = (Vec::with_capacity(8 * 1024), None);
        if let Some(dir) = state_dir::existing(chosen)? {
            let path = dir.join(&name);
            match File::open(&path).and_then(|file| file.take(LARGEST).read_to_end(&mut content)) {
                Ok(_) => there = Some(path),
                Err(cause) if cause.kind() == ErrorKind::NotFound => {}
                Err(cause) => return Err(Error::reading(&path, cause)),
            }
        }
        Ok(LastLook { chosen: chosen.map(Path::to_owned), name, path: there, begin, content })
    }

    pub fn is_there(&self) -> bool {
        !self.content.is_empty()
    }

    /// That it is not what was written, unless another boot, service or version wrote it: `are_whole` says it of its numbers.
    pub fn damage(&self, are_whole: impl FnOnce(&[u64]) -> bool) -> Option<Error> {
        let path = self.path.as_ref()?;
        let is_cut =
            self.begin.as_bytes().starts_with(&self.content) || !self.content.starts_with(b"connleak last look ");
        let is_ours = self.content.starts_with(self.begin.as_bytes());
        let is_whole = || self.numbers().is_some_and(|numbers| are_whole(&numbers));
        let is_damaged = is_cut || (is_ours && !is_whole());
        is_damaged.then(|| Error::content(path, "damaged, what it told is lost; it is written anew"))
    }

    /// `None`: nothing is remembered.
    pub fn numbers(&self) -> Option<Vec<u64>> {
        let (numbers, []) = self.content.strip_prefix(self.begin.as_bytes())?.as_chunks() else { return None };
        Some(numbers.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect())
    }

    /// Writes only what has changed.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn keep(self, numbers: &[u64]) -> Result<()> {
        let mut content = self.begin.into_bytes();
        content.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        if content == self.content {
            return Ok(());
        }
        atomic_file::write(&state_dir::open(self.chosen.as_deref())?.join(self.name), &content, 0o600)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn numbers_of_this_boot_and_service_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let read = |key: &str, boot: &str| LastLook::read(Some(dir.path()), key, boot).unwrap();
        assert_eq!(read("x", "b").numbers(), None);
        read("x", "b").keep(&[7, u64::MAX]).unwrap();
        assert_eq!(read("x", "b").numbers(), Some(vec![7, u64::MAX]));
        assert_eq!((read("x", "c").numbers(), read("y", "b").numbers()), (None, None));
        let file = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
        let file = fs::read_dir(file).unwrap().next().unwrap().unwrap().path();
        let inode = || fs::metadata(&file).unwrap().ino();
        let before = inode();
        read("x", "b").keep(&[7, u64::MAX]).unwrap();
        assert_eq!(inode(), before, "the same again is not written");
        read("x", "b").keep(&[8]).unwrap();
        assert_ne!(inode(), before);
        for broken in [&b""[..], b"connleak last look 2\nx\nb\n1234567", b"other"] {
            fs::write(&file, broken).unwrap();
            assert_eq!(read("x", "b").numbers(), None);
            assert!(read("x", "b").damage(|_| true).is_some(), "{broken:?}");
        }
        for whole in
            ["connleak last look 1\nx\nb\n", "connleak last look 2\nx\nc\n", "connleak last look 2\nx\nb\n12345678"]
        {
            fs::write(&file, whole).unwrap();
            assert!(read("x", "b").damage(|_| true).is_none(), "{whole:?}");
        }
        assert!(read("x", "b").damage(|_| false).is_some());
        fs::remove_file(&file).unwrap();
        assert!(read("x", "b").damage(|_| true).is_none());
        fs::create_dir(&file).unwrap();
        assert!(LastLook::read(Some(dir.path()), "x", "b").is_err());
    }
}
