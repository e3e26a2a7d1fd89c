//! Containers and pods by the names that their runtimes give to cgroups.

/// The pod, else the container, that a cgroup path belongs to: `pod-<uid>`, the first 12 digits of
/// a container's id, or a machine's name. `None`: the host's own.
pub fn name(cgroup: &str) -> Option<String> {
    let mut parts = cgroup.split('/').filter(|part| !part.is_empty());
    let mut above = "";
    let mut found = None;
    // A container may run containers: the outermost is the host's tenant; a pod is above its containers.
    parts.find(|part| {
        found = pod(part).or_else(|| of_scope(part)).or_else(|| of_folder(above, part));
        above = part;
        found.is_some()
    });
    found
}

/// Whether a path leads into a container, or is one: what is below it is another system's. A pod is none, its
/// containers are the host's. systemd-nspawn(1) puts a machine that it started as a service below `payload`.
pub fn is_inside(cgroup: &str) -> bool {
    let mut above = "";
    cgroup.split('/').filter(|part| !part.is_empty()).any(|part| {
        let found = of_scope(part).is_some() || of_folder(above, part).is_some() || part.starts_with("systemd-nspawn@");
        above = part;
        found
    })
}

/// `pod<uid>` (cgroupfs) or `kubepods-burstable-pod<uid with underscores>.slice` (systemd).
fn pod(part: &str) -> Option<String> {
    let uid = match part.strip_suffix(".slice") {
        Some(slice) if slice.starts_with("kubepods") => slice.rsplit_once("-pod")?.1.replace('_', "-"),
        _ => part.strip_prefix("pod")?.to_owned(),
    };
    let is_uid = uid.len() >= 32 && uid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    is_uid.then(|| format!("pod-{uid}"))
}

/// `docker-<id>.scope`, `cri-containerd-<id>.scope`, `crio-<id>.scope`, `libpod-<id>.scope`;
/// `machine-<name>.scope` of systemd-machined; `lxc.payload.<name>`.
fn of_scope(part: &str) -> Option<String> {
    if let Some(name) = part.strip_prefix("lxc.payload.").or_else(|| part.strip_prefix("lxc.monitor.")) {
        return Some(name.to_owned());
    }
    let scope = part.strip_suffix(".scope").unwrap_or(part);
    if let Some(name) = scope.strip_prefix("machine-").filter(|_| part.ends_with(".scope")) {
        return Some(name.replace("\\x2d", "-"));
    }
    id(scope.rsplit_once('-')?.1)
}

/// `/docker/<id>`, `/libpod_parent/<id>`, `/lxc/<name>`.
fn of_folder(above: &str, part: &str) -> Option<String> {
    match above {
        "lxc" | "lxc.payload" => Some(part.to_owned()),
        _ => id(part),
    }
}

fn id(text: &str) -> Option<String> {
    let is_id = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| text[..12].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_are_known_by_their_paths() {
        let id = "0123456789ab".repeat(5) + "cdef";
        let uid = "8f3c2d1a-1111-2222-3333-444455556666";
        let cases = [
            (format!("/system.slice/docker-{id}.scope"), Some("0123456789ab")),
            (format!("/docker/{id}"), Some("0123456789ab")),
            (format!("/docker/{id}/system.slice/nginx.service"), Some("0123456789ab")),
            (format!("/machine.slice/libpod-{id}.scope/container"), Some("0123456789ab")),
            (format!("/system.slice/cri-containerd-{id}.scope"), Some("0123456789ab")),
            (format!("/kubepods/burstable/pod{uid}/{id}"), Some("pod-8f3c2d1a-1111-2222-3333-444455556666")),
            (
                format!(
                    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice/crio-{id}.scope",
                    uid.replace('-', "_")
                ),
                Some("pod-8f3c2d1a-1111-2222-3333-444455556666"),
            ),
            ("/lxc/web1/init.scope".into(), Some("web1")),
            ("/lxc.payload.web1/system.slice".into(), Some("web1")),
            ("/machine.slice/machine-web\\x2d1.scope".into(), Some("web-1")),
            ("/system.slice/nginx.service".into(), None),
            ("/system.slice/podman.service".into(), None),
            ("/user.slice/user-1000.slice/session-3.scope".into(), None),
            ("/".into(), None),
            (String::new(), None),
        ];
        for (path, wanted) in cases {
            assert_eq!(name(&path).as_deref(), wanted, "{path}");
        }
    }
}
