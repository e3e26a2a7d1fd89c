//! A machine of its own: this one's files below a layer that is thrown away, with its own processes and
//! network, booted by a real systemd as its first process.

use crate::integrations::daemon::missing;
use crate::lab::run::{CHECK, Started, finish};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(120);

/// Makes the machine below `$0`, which is `/srv/shared` in it; `$1` is where the checks were built, `/srv/built` in it.
/// The kernel is everyone's: its settings are read-only, and no unit that the host would start is started.
const BOOT: &str = r#"
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$0/layer"
mkdir "$0/layer/upper" "$0/layer/work" "$0/layer/root"
mount -t overlay overlay -o lowerdir=/,upperdir="$0/layer/upper",workdir="$0/layer/work" "$0/layer/root"
cd "$0/layer/root"
mkdir -p srv/shared srv/built
mount --bind "$0" srv/shared
mount --bind "$1" srv/built
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom tty; do touch dev/$node; mount --bind /dev/$node dev/$node; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
pivot_root . mnt
umount -l /mnt
rm -f /etc/systemd/system/*.wants/* /usr/sbin/policy-rc.d
cp /srv/shared/test.service /srv/shared/test.target /etc/systemd/system/
export container=other
exec /lib/systemd/systemd --system --unit=test.target --show-status=0 --log-target=null
"#;

/// Runs the script and ends the machine with it: its failure is what systemd can be told to end at.
const SERVICE: &str = "[Unit]\nAfter=systemd-journald.service\nFailureAction=exit-force\n[Service]\nType=oneshot\n\
    ExecStart=/bin/sh -c 'sh -ex /srv/shared/script; echo $? >/srv/shared/status; exit 1'\n\
    StandardOutput=file:/srv/shared/output\nStandardError=inherit\n";

pub struct Machine(TempDir);

impl Machine {
    /// `Err`: what is missing for it here.
    pub fn new() -> Result<Machine, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("needs root".to_owned());
        }
        if let Some(why) = missing(&["systemctl", "unshare", "pivot_root"]) {
            return Err(why);
        }
        if !Path::new("/lib/systemd/systemd").exists() {
            return Err("systemd is not installed".to_owned());
        }
        let dir = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
        fs::create_dir(dir.path().join("layer")).unwrap();
        Ok(Machine(dir))
    }

    /// What the script finds as `/srv/shared`.
    pub fn shared(&self) -> &Path {
        self.0.path()
    }

    /// Boots, runs a shell script whose lines must all succeed, and returns its output.
    pub fn run(&self, script: &str) -> String {
        let write = |name: &str, text: &str| fs::write(self.shared().join(name), text).unwrap();
        write("script", script);
        write("test.service", SERVICE);
        write("test.target", "[Unit]\nWants=test.service\nAfter=test.service\n");
        write("output", "");
        let log = File::create(self.shared().join("log")).unwrap();
        let built = Path::new(CHECK).parent().unwrap();
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--pid", "--ipc", "--uts", "--cgroup", "--net", "--fork", "--kill-child=KILL"]);
        unshare.args(["sh", "-c", BOOT]).arg(self.shared()).arg(built);
        unshare.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut machine = Started(unshare.spawn().unwrap());
        let ended = finish(&mut machine.0, PATIENCE);
        let read = |name: &str| fs::read_to_string(self.shared().join(name)).unwrap_or_default();
        let (output, log) = (read("output"), read("log"));
        assert!(ended.is_some() && read("status") == "0\n", "{ended:?}: {log}\n{output}");
        output
    }
}

/// Puts the checks where the packages have them.
pub const INSTALL: &str = "mkdir -p /usr/lib/nagios/plugins /var/lib/prometheus/node-exporter\n\
    for check in closewait conn_growth conn_idle conn_states conn_tenants orphans_after_stop; do\n\
    ln -sf /srv/built/check_$check /usr/lib/nagios/plugins/; done\n";
