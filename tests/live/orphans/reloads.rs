//! Other services that are reloaded, each in its own way: HAProxy's master starts workers that inherit, php-fpm's master executes itself
//! anew, PgBouncer hands its sockets to another process.

use crate::lab::Lab;
use crate::lab::run::{ORPHANS, Outcome, PATIENCE, Started, as_nobody, poll};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

const HAPROXY: &str = "
defaults
    mode tcp
    timeout connect 9s
    timeout client 2m
    timeout server 2m
listen l
    bind 127.0.0.1:8080
    server s 127.0.0.1:9099
";
const PHP_FPM: &str = "
[global]
error_log = DIR/log
daemonize = no
[w]
user = nobody
group = nogroup
listen = 127.0.0.1:9000
pm = static
pm.max_children = 3
";
const PGBOUNCER: &str = "
[databases]
* = host=127.0.0.1 port=5432
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = 6432
unix_socket_dir = DIR
auth_type = any
logfile = DIR/log
pidfile = DIR/pid
admin_users = nobody
";

/// A folder with the configuration, of anybody's.
fn configured(text: &str) -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let file = dir.path().join("conf");
    fs::write(&file, text.replace("DIR", dir.path().to_str().unwrap())).unwrap();
    let file = file.to_str().unwrap().to_owned();
    (dir, file)
}

fn started(mut command: Command, port: u16) -> Option<Started> {
    let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
    let started = Started(process);
    assert!(poll(PATIENCE, || TcpStream::connect(("127.0.0.1", port)).is_ok()), "{command:?} listens");
    Some(started)
}

fn reloaded(port: &str, wait: &str, script: &str) -> Outcome {
    ORPHANS.run(&["-Pgeneric", port, wait, "--reload", "--", "sh", "-c", script])
}

#[track_caller]
fn assert_kept(reload: &Outcome) {
    assert_eq!((reload.code, reload.value("orphans")), (0, 0.0), "{reload:?}");
    assert!(reload.text().contains(", 1 kept"), "{reload:?}");
}

#[test]
fn haproxys_old_worker_is_named_while_it_serves() {
    Lab::test(|lab| {
        let behind = TcpListener::bind("127.0.0.1:9099").unwrap();
        let (_dir, file) = configured(HAPROXY);
        let mut command = Command::new("haproxy");
        command.args(["-W", "-f", &file]);
        let Some(haproxy) = started(command, 8080) else { return lab.skip("haproxy is not installed") };
        // Its look whether it listens.
        drop(behind.accept().unwrap());
        let script = format!("kill -USR2 {}", haproxy.0.id());
        assert_kept(&reloaded("-p8080", "--wait=1m", &script));

        let mut client = TcpStream::connect("127.0.0.1:8080").unwrap();
        let (mut server, _) = behind.accept().unwrap();
        client.write_all(b"x").unwrap();
        server.read_exact(&mut [0]).unwrap();
        let serving = reloaded("-p8080", "--wait=4s", &script);
        assert_eq!((serving.code, serving.value("held")), (2, 1.0), "{serving:?}");
        let text = serving.text();
        assert!(text.contains("held by haproxy[") && text.contains(", an old worker that still serves"), "{text}");
    });
}

#[test]
fn php_fpm_keeps_its_listener() {
    Lab::test(|lab| {
        let (_dir, file) = configured(PHP_FPM);
        let mut command = Command::new("php-fpm8.2");
        command.args(["-F", "-y", &file]);
        let Some(master) = started(command, 9000) else { return lab.skip("php-fpm is not installed") };
        assert_kept(&reloaded("-p9000", "--wait=9s", &format!("kill -USR2 {}", master.0.id())));
    });
}

/// The process that takes over.
struct Successor<'a>(&'a Path);

impl Drop for Successor<'_> {
    fn drop(&mut self) {
        let pid = fs::read_to_string(self.0.join("pid")).unwrap_or_default();
        let _ = Command::new("kill").arg(pid.trim()).stderr(Stdio::null()).status();
    }
}

#[test]
fn pgbouncer_hands_its_listener_over() {
    Lab::test(|lab| {
        let (dir, file) = configured(PGBOUNCER);
        let mut command = as_nobody(Path::new("pgbouncer"));
        command.arg(&file);
        let Some(_before) = started(command, 6432) else { return lab.skip("pgbouncer is not installed") };
        let _successor = Successor(dir.path());
        let script = format!(
            "setpriv --reuid nobody --regid nogroup --clear-groups pgbouncer -R -q -d {file} </dev/null >/dev/null 2>&1"
        );
        assert_kept(&reloaded("-p6432", "--wait=1m", &script));
    });
}
