//! A real nginx that is reloaded: what it keeps is no orphan, what its old workers still have is, and they are named.

use crate::lab::Lab;
use crate::lab::run::{ORPHANS, Outcome, PATIENCE, Started, poll};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Slow enough that a download outlasts the test.
const CONFIGURATION: &str = "
daemon off; worker_processes 2; user nobody nogroup; pid DIR/pid; error_log DIR/error.log;
events { worker_connections 64; }
http {
    access_log off; client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/fastcgi;
    uwsgi_temp_path DIR/uwsgi; scgi_temp_path DIR/scgi;
    server { listen 127.0.0.1:8080; root DIR; limit_rate 2k; }
}
";

fn nginx(dir: &Path) -> Option<Started> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(dir.join("big"), vec![b'x'; 4 << 20]).unwrap();
    let configuration = dir.join("nginx.conf");
    fs::write(&configuration, CONFIGURATION.replace("DIR", dir.to_str().unwrap())).unwrap();
    let mut command = Command::new("nginx");
    command.args(["-e", dir.join("error.log").to_str().unwrap(), "-c", configuration.to_str().unwrap()]);
    let started = Started(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?);
    let listens = poll(PATIENCE, || TcpStream::connect("127.0.0.1:8080").is_ok());
    assert!(listens, "nginx: {:?}", fs::read_to_string(dir.join("error.log")));
    Some(started)
}

fn signalled(signal: &str, nginx: &Started, more: &[&str]) -> Outcome {
    let script = format!("kill -{signal} {}", nginx.0.id());
    ORPHANS.run(&[&["-p8080"], more, &["--", "sh", "-c", &script]].concat())
}

#[test]
fn what_nginx_keeps_is_no_orphan_and_old_workers_are_named() {
    Lab::test(|lab| {
        let dir = tempfile::tempdir().unwrap();
        let Some(nginx) = nginx(dir.path()) else { return lab.skip("nginx is not installed") };
        let calm = signalled("HUP", &nginx, &["--wait=2m", "--reload"]);
        assert_eq!((calm.code, calm.value("orphans"), calm.value("listen")), (0, 0.0, 0.0), "{calm:?}");
        assert!(calm.text().contains(", 1 kept"), "{calm:?}");
        // Without the word it was a stop.
        assert_eq!(signalled("HUP", &nginx, &["--wait=1s"]).code, 2);

        let mut download = TcpStream::connect("127.0.0.1:8080").unwrap();
        download.write_all(b"GET /big HTTP/1.0\r\n\r\n").unwrap();
        download.read_exact(&mut [0; 100]).unwrap();
        let serving = signalled("HUP", &nginx, &["--wait=4s", "--reload"]);
        assert_eq!((serving.code, serving.value("orphans"), serving.value("held")), (2, 1.0, 1.0), "{serving:?}");
        let text = serving.text();
        assert!(text.contains("held by nginx[") && text.contains(", an old worker that still serves"), "{text}");
        drop(download);

        let gone = signalled("QUIT", &nginx, &["--wait=5s", "--reload"]);
        assert_eq!(gone.code, 2, "{gone:?}");
        assert!(gone.text().contains("nothing listens after the reload"), "{gone:?}");
    });
}

#[test]
fn a_reload_is_judged_by_what_was_there_before() {
    let bare = ORPHANS.run(&["-p8080", "--reload"]);
    assert!(bare.code == 3 && bare.text().contains("--reload asks what was there before"), "{bare:?}");
}
