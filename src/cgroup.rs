//! Cgroup paths as `/proc/PID/cgroup` tells them, and the systemd units they name.

pub mod container;

use procfs::{FromRead, ProcessCGroups};
use std::io::Read;

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

#[cfg(test)]
mod tests {
    use super::*;

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
