//! Cgroup paths as `/proc/PID/cgroup` tells them, and the systemd units they name.

pub mod container;

use procfs::{FromRead, ProcessCGroups};
use std::borrow::Cow;
use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

/// Bytes of a name in a line: one path could fill it.
const LONGEST_SHOWN: usize = 120;

/// The cgroup path in the content of `/proc/PID/cgroup`: that of cgroup2, or of systemd's own v1
/// hierarchy where that tells more (hybrid hosts).
pub fn cgroup_path(content: impl Read) -> Option<String> {
    let groups = ProcessCGroups::from_read(content).ok()?.0;
    let path = |v2: bool| {
        let wanted = |controllers: &[String]| controllers.iter().any(|name| name == "name=systemd");
        groups.iter().find(|group| if v2 { group.hierarchy == 0 } else { wanted(&group.controllers) })
    };
    let found = [path(true), path(false)].into_iter().flatten().find(|group| group.pathname != "/");
    found.map(|group| group.pathname.clone())
}

/// The unit that a cgroup path names: its deepest service or scope, else the path itself.
pub fn unit_name(cgroup: &str) -> String {
    let is_unit = |part: &&str| part.ends_with(".service") || part.ends_with(".scope");
    cgroup.rsplit('/').find(is_unit).unwrap_or(cgroup).to_owned()
}

/// Calls `each` with the id (the directory's inode) and the path of every cgroup2 of this machine, as
/// far as its own namespace shows them. Returns whether all could be read.
pub fn each_id(mut each: impl FnMut(u64, &str)) -> bool {
    let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(PathBuf::from);
    let mut is_whole = true;
    let root = roots.iter().find(|root| {
        let exists = root.join("cgroup.controllers").try_exists();
        is_whole &= exists.is_ok();
        exists.unwrap_or(false)
    });
    root.is_none_or(|root| walk(root, "", &mut each, 0)) && is_whole
}

/// A cgroup that is removed meanwhile is no loss.
fn walk(dir: &Path, path: &str, each: &mut impl FnMut(u64, &str), depth: usize) -> bool {
    const DEEPEST: usize = 64;
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(cause) => return cause.kind() == ErrorKind::NotFound,
    };
    let mut is_whole = true;
    for entry in entries {
        let read = entry.and_then(|entry| Ok((entry.file_type()?.is_dir(), entry)));
        match read {
            Ok((true, entry)) if depth < DEEPEST => {
                let path = format!("{path}/{}", entry.file_name().to_string_lossy());
                each(entry.ino(), &path);
                is_whole &= walk(&entry.path(), &path, each, depth + 1);
            }
            Ok(_) => {}
            Err(cause) => is_whole &= matches!(cause.kind(), ErrorKind::NotFound),
        }
    }
    is_whole
}

/// A unit, path or group's name as a line has room for it: of a long one both ends.
pub fn label(name: &str) -> Cow<'_, str> {
    if name.len() <= LONGEST_SHOWN {
        return name.into();
    }
    let head = &name[..name.floor_char_boundary(LONGEST_SHOWN / 3)];
    let tail = &name[name.ceil_char_boundary(name.len() - LONGEST_SHOWN / 2)..];
    format!("{head}...{tail}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_is_shown_by_both_ends() {
        let path = format!("/{}/last", "ä".repeat(2000));
        let cut = label(&path);
        assert!(cut.len() <= LONGEST_SHOWN && cut.starts_with("/ä") && cut.ends_with("ä/last"), "{cut}");
        assert_eq!(label("/short"), "/short");
    }

    #[test]
    fn names_the_deepest_unit() {
        assert_eq!(unit_name("/system.slice/php-fpm.service"), "php-fpm.service");
        assert_eq!(unit_name("/system.slice/php-fpm.service/pool"), "php-fpm.service");
        assert_eq!(unit_name("/user.slice/user@1000.service/app.slice/x.scope"), "x.scope");
        assert_eq!(unit_name("/kubepods/pod1/abc"), "/kubepods/pod1/abc");
    }

    #[test]
    fn reads_the_cgroup_of_pure_and_hybrid_hosts() {
        let of = |text: &str| cgroup_path(text.as_bytes());
        assert_eq!(of("0::/system.slice/a.service\n").as_deref(), Some("/system.slice/a.service"));
        assert_eq!(of("4:memory:/m\n1:name=systemd:/s/a.service\n0::/\n").as_deref(), Some("/s/a.service"));
        assert_eq!(of("4:memory:/m\n0::/\n"), None);
        assert_eq!(of("nonsense"), None);
    }
}
