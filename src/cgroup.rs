//! Cgroup paths as `/proc/PID/cgroup` tells them, and the systemd units, containers and pods they name.

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

/// The innermost container that a cgroup path names, as its runtime calls it: Docker, containerd, CRI-O
/// and Podman by 64 hex digits, LXC and systemd-nspawn by a name.
pub fn container(cgroup: &str) -> Option<&str> {
    let mut parts = cgroup.rsplit('/').peekable();
    while let Some(part) = parts.next() {
        let scope = part.strip_suffix(".scope").unwrap_or(part);
        // Podman's and CRI-O's monitor is a process of the host.
        let id = scope.rsplit(['-', ':']).next().filter(|_| !scope.contains("conmon")).unwrap_or_default();
        let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let of_nspawn = || part.strip_prefix("systemd-nspawn@")?.strip_suffix(".service");
        let of_machine = || part.strip_suffix(".scope")?.strip_prefix("machine-");
        let of_lxc = || part.strip_prefix("lxc.payload.").or((parts.peek() == Some(&"lxc")).then_some(part));
        if let Some(name) = is_id.then_some(id).or_else(of_nspawn).or_else(of_machine).or_else(of_lxc) {
            return Some(name);
        }
    }
    None
}

/// The Kubernetes pod that a cgroup path names: its uid, as `kubectl get pod -o yaml` shows it.
pub fn pod(cgroup: &str) -> Option<String> {
    let of_part = |part: &str| {
        let (_, uid) = part.strip_suffix(".slice").unwrap_or(part).rsplit_once("pod")?;
        let is_uid = uid.len() >= 32 && uid.bytes().all(|byte| byte.is_ascii_hexdigit() || b"-_".contains(&byte));
        // systemd keeps dashes for levels of its slices.
        is_uid.then(|| uid.replace('_', "-"))
    };
    cgroup.contains("kubepods").then(|| cgroup.rsplit('/').find_map(of_part)).flatten()
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
    fn names_the_container_and_its_pod() {
        let id = "3f2a".repeat(16);
        let uid = "5c0f4e4f-9a3b-4a0e-8f6c-0123456789ab";
        let slice = format!("kubepods-burstable-pod{}.slice", uid.replace('-', "_"));
        for (path, pod) in [
            (format!("/system.slice/docker-{id}.scope"), None),
            (format!("/docker/{id}/system.slice/x.service"), None),
            (format!("/machine.slice/libpod-{id}.scope/container"), None),
            (format!("/system.slice:docker:{id}"), None),
            (format!("/kubepods.slice/kubepods-burstable.slice/{slice}/cri-containerd-{id}.scope"), Some(uid)),
            (format!("/kubepods.slice/{slice}/crio-{id}.scope"), Some(uid)),
            (format!("/kubepods/burstable/pod{uid}/{id}"), Some(uid)),
        ] {
            assert_eq!(container(&path), Some(id.as_str()), "{path}");
            assert_eq!(super::pod(&path).as_deref(), pod, "{path}");
        }
        assert_eq!(container("/lxc.payload.web1/system.slice/nginx.service"), Some("web1"));
        assert_eq!(container("/lxc/web1"), Some("web1"));
        assert_eq!(container("/machine.slice/systemd-nspawn@web1.service/payload"), Some("web1"));
        assert_eq!(container("/machine.slice/machine-web1.scope"), Some("web1"));
        for path in ["/", "/system.slice/nginx.service", "/lxc.monitor.web1", "/machine.slice", "/a/pod1/abc"] {
            assert_eq!((container(path), super::pod(path)), (None, None), "{path}");
        }
        assert_eq!(container(&format!("/machine.slice/libpod-conmon-{id}.scope")), None);
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
