//! Which UNIX sockets are meant: by a path, `@name` for an abstract one, or a pattern of either.
//!
//! A path is resolved to its file, so that links, bind mounts and mount namespaces lead to the same listener; a
//! name is what was bound, and stays so after the file was renamed or removed.

use crate::base::error::{Error, Result};
use crate::kernel::socket::UnixName;
use crate::kernel::source::unix::File;
use crate::kernel::world::{Netns, World};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, major, minor, openat2, stat};
use rustix::io::Errno;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// `sun_path` has 108 bytes, the last of which ends it.
const LONGEST: usize = 107;

/// What a pattern stands for at most.
const MOST_FILES: usize = 1000;

/// What the caller or a profile wrote.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct UnixPath(String);

impl FromStr for UnixPath {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let bad = |why: String| Err(format!("bad UNIX socket '{text}': {why}"));
        if text.len() > LONGEST {
            return bad(format!("{} bytes, no socket's name has more than {LONGEST} (unix(7))", text.len()));
        }
        match text.strip_prefix(['/', '@']) {
            Some("") | None => bad("give its whole path, as /run/mysqld/mysqld.sock, or @name".to_owned()),
            Some(_) => Ok(UnixPath(text.to_owned())),
        }
    }
}

impl TryFrom<String> for UnixPath {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        text.parse()
    }
}

impl UnixPath {
    pub fn text(&self) -> &str {
        &self.0
    }

    fn is_pattern(&self) -> bool {
        self.0.contains(['*', '?'])
    }
}

/// One of them, resolved.
#[derive(Clone, Debug)]
pub struct UnixTarget {
    pub path: UnixPath,
    /// Whether the caller named it, and not a profile.
    pub asked: bool,
    is_pattern: bool,
    /// Files that it leads to, with their paths.
    files: Vec<(File, UnixName)>,
}

/// How a socket belongs to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    pub name: UnixName,
    /// By its file, which is certain; else by the name that it was bound to.
    pub by_file: bool,
}

impl UnixTarget {
    /// # Errors
    /// Where a file that is named is no socket.
    pub fn resolve(path: &UnixPath, asked: bool, world: &World) -> Result<UnixTarget> {
        let mut target = UnixTarget { path: path.clone(), asked, is_pattern: path.is_pattern(), files: Vec::new() };
        // The files of a recording are another time's.
        if path.0.starts_with('@') || world.replay.is_some() {
            return Ok(target);
        }
        if !path.is_pattern() {
            return match target.add(Path::new(&path.0), world) {
                Ok(Some(kind)) if asked => {
                    let what = if kind == FileType::Directory { "a directory" } else { "a file" };
                    Err(Error::Usage(format!("--unix {}: that is {what} and no socket", path.0)))
                }
                // What can't be looked at may still be known by its name.
                Ok(_) | Err(_) => Ok(target),
            };
        }
        for found in expanded(&path.0) {
            let _ = target.add(&found, world);
        }
        Ok(target)
    }

    /// `Some`: what it is instead of a socket.
    fn add(&mut self, path: &Path, world: &World) -> std::result::Result<Option<FileType>, Errno> {
        let found = look_up(path, world)?;
        let kind = FileType::from_raw_mode(found.st_mode);
        if kind != FileType::Socket {
            return Ok(Some(kind));
        }
        let file = File::of_stat(major(found.st_dev), minor(found.st_dev), found.st_ino);
        self.files.push((file, UnixName::new(&path.to_string_lossy())));
        Ok(None)
    }

    /// Whether there is a file of it.
    pub fn has_file(&self) -> bool {
        !self.files.is_empty()
    }

    /// Whether there is a file that it leads to now, of whatever kind.
    ///
    /// # Errors
    /// A path that may not be followed; of a pattern that is no file.
    pub fn has_any_file(&self, world: &World) -> Result<bool> {
        if self.is_pattern {
            return Ok(!expanded(&self.path.0).is_empty());
        }
        let path = Path::new(&self.path.0);
        match look_up(path, world) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(errno) => Err(Error::reading(path, errno.into())),
        }
    }

    /// The paths of its files.
    pub fn names(&self) -> Vec<UnixName> {
        self.files.iter().map(|(_, name)| *name).collect()
    }

    pub fn files(&self) -> impl Iterator<Item = File> {
        self.files.iter().map(|(file, _)| *file)
    }

    /// Files on the same device: of one that was replaced meanwhile.
    pub fn is_on(&self, device: u32) -> bool {
        self.files.iter().any(|(file, _)| file.device == device)
    }

    /// Whether its sockets are called so: by the path of one of its files, or as they were bound.
    pub fn has_name(&self, name: UnixName) -> bool {
        self.files.iter().any(|(_, known)| *known == name) || self.matches(name.text().as_bytes(), None).is_some()
    }

    /// By the name that a socket was bound to, and the file that it then made.
    pub fn matches(&self, name: &[u8], file: Option<File>) -> Option<Named> {
        if let Some(file) = file
            && let Some((_, name)) = self.files.iter().find(|(known, _)| *known == file)
        {
            return Some(Named { name: *name, by_file: true });
        }
        // Most names are told apart by their last byte.
        if name.is_empty() || !self.is_pattern && name.last() != self.path.0.as_bytes().last() {
            return None;
        }
        let bound = bound_name(name);
        let is_it = if self.is_pattern { is_like(&bound, &self.path.0) } else { bound == self.path.0 };
        is_it.then(|| Named { name: UnixName::new(&bound), by_file: false })
    }
}

/// As `/proc/net/unix` and `ss` show it: `@` for each zero of an abstract name.
pub fn bound_name(name: &[u8]) -> String {
    String::from_utf8_lossy(name).replace('\0', "@")
}

/// The file that a path leads to where it is meant: for another process's namespace from its root, else from ours.
fn look_up(path: &Path, world: &World) -> std::result::Result<Stat, Errno> {
    let root = match &world.netns {
        Netns::OfProcess(pid) => Some(world.proc_root.join(format!("{pid}/root"))),
        _ if world.is_foreign() => Some(world.proc_root.join("1/root")),
        _ => None,
    };
    match root.map(|root| look_up_in(&root, path)) {
        Some(Ok(found)) => Ok(found),
        Some(Err(why)) if world.is_foreign() => Err(why),
        _ => stat(path),
    }
}

fn look_up_in(root: &Path, path: &Path) -> std::result::Result<Stat, Errno> {
    let open = OFlags::PATH | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, root, open, Mode::empty())?;
    fstat(openat2(root, path, open, Mode::empty(), ResolveFlags::IN_ROOT)?)
}

/// The paths that a pattern stands for, in the order of their names.
fn expanded(pattern: &str) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("/")];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        if !part.contains(['*', '?']) {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        }
        let mut next = Vec::new();
        for dir in &found {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            let fits = entries.filter(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                is_like(&name, part) && (part.starts_with('.') || !name.starts_with('.'))
            });
            next.extend(fits.map(|entry| entry.path()));
        }
        next.sort_unstable();
        next.truncate(MOST_FILES);
        found = next;
    }
    found
}

/// `*` stands for any characters but `/`, `?` for one.
pub fn is_like(text: &str, pattern: &str) -> bool {
    let (text, pattern): (Vec<char>, Vec<char>) = (text.chars().collect(), pattern.chars().collect());
    // The last star, and how far the text went there: only that one is ever tried anew.
    let (mut at, mut of, mut star) = (0, 0, None);
    while at < text.len() {
        match pattern.get(of) {
            Some('*') => {
                star = Some((of, at));
                of += 1;
            }
            Some('?') if text[at] != '/' => (at, of) = (at + 1, of + 1),
            Some(other) if *other == text[at] && *other != '?' => (at, of) = (at + 1, of + 1),
            _ => match star {
                Some((place, from)) if text[from] != '/' => {
                    star = Some((place, from + 1));
                    (at, of) = (from + 1, place + 1);
                }
                _ => return false,
            },
        }
    }
    pattern[of..].iter().all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::deadline::Deadline;
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    #[test]
    fn what_can_be_no_socket_is_refused_with_the_remedy() {
        let of = |text: &str| text.parse::<UnixPath>();
        for good in ["/run/x.sock", "@x", "/run/php/*.sock", &format!("/{}", "x".repeat(106))] {
            assert_eq!(of(good).unwrap().text(), good);
        }
        for bad in ["", "/", "@", "run/x.sock", "./x", "x"] {
            let why = of(bad).unwrap_err();
            assert!(why.contains(&format!("'{bad}'")) && why.contains("whole path"), "{why}");
        }
        assert!(of(&format!("/{}", "x".repeat(107))).unwrap_err().contains("108 bytes, no socket's name has more"));
    }

    #[test]
    fn patterns() {
        for (text, pattern) in [
            ("/run/php/a.sock", "/run/php/*.sock"),
            ("/run/php/a.sock", "/run/*/?.sock"),
            ("@abc", "@a*"),
            ("aXbXc", "a*b*c"),
            ("ab", "ab*"),
            ("a*b", "a?b"),
        ] {
            assert!(is_like(text, pattern), "{text} {pattern}");
        }
        for (text, pattern) in [
            ("/run/php/a.sock", "/run/*.sock"),
            ("/run/php/a.sock", "/run?php/a.sock"),
            ("ab", "a?b"),
            ("abc", "a*b"),
            ("", "?"),
        ] {
            assert!(!is_like(text, pattern), "{text} {pattern}");
        }
        assert!(!is_like(&"a".repeat(100), &("a*".repeat(50) + "b")), "and in no endless time");
    }

    #[test]
    fn a_path_is_its_file_and_the_name_that_was_bound() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let world = World::here(Deadline::after(Duration::from_secs(9)));
        let resolve = |path: &str| UnixTarget::resolve(&path.parse().unwrap(), true, &world);
        let _listener = UnixListener::bind(at("a.sock")).unwrap();
        std::os::unix::fs::symlink(at("a.sock"), at("link")).unwrap();
        fs::write(at("file"), "").unwrap();
        let meta = fs::metadata(at("a.sock")).unwrap();
        let file = File::of_stat(major(meta.dev()), minor(meta.dev()), meta.ino());
        for path in ["a.sock", "link", "*", "?.sock"] {
            let target = resolve(&at(path)).unwrap();
            assert!(target.has_file() && target.is_on(file.device) && !target.is_on(0), "{path}");
            let named = target.matches(b"elsewhere", Some(file)).unwrap();
            assert!(named.by_file && named.name.text().starts_with(&at("")), "{path}");
            assert_eq!(target.matches(b"elsewhere", None), None);
        }
        for (path, what) in [("file", "a file"), ("", "a directory")] {
            assert!(resolve(&at(path)).unwrap_err().to_string().ends_with(&format!("that is {what} and no socket")));
        }
        let gone = resolve("/nonexistent/x.sock").unwrap();
        let named = gone.matches(b"/nonexistent/x.sock", Some(file)).unwrap();
        assert_eq!((named.by_file, named.name.text(), gone.has_file()), (false, "/nonexistent/x.sock".into(), false));
        assert_eq!(gone.matches(b"/nonexistent/y.sock", None), None);
        let named = resolve("@a*").unwrap().matches(b"\0a\0b", None).unwrap();
        assert_eq!(named.name.text(), "@a@b");
        assert_eq!(resolve("@ab").unwrap().matches(b"@ab", None).map(|named| named.by_file), Some(false));
    }
}
