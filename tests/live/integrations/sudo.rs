//! The shipped sudoers file against the real sudo: its lines run as root, and nothing else does.

use crate::lab::Lab;
use crate::lab::run::{CLOSEWAIT, as_nobody, hold_to_contract, run};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/sudoers/connleak");

#[test]
fn fixed_arguments_run_as_root_and_no_others() {
    Lab::test(|lab| {
        if !Path::new("/usr/bin/sudo").exists() {
            return lab.skip("sudo is missing");
        }
        let server = lab.leaking_server("127.0.0.1:11211", 23);
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        // The file as shipped, for the user and the folder that this machine has.
        let plugins = dir.path().join("plugins");
        fs::create_dir(&plugins).unwrap();
        let plugin = plugins.join("check_closewait");
        assert!(Command::new("cp").args([CLOSEWAIT.0.as_ref(), plugin.as_os_str()]).status().unwrap().success());
        let sudoers = fs::read_to_string(SHIPPED).unwrap().replace("nagios ALL", "nobody ALL");
        let sudoers = sudoers.replace("/usr/lib/nagios/plugins", plugins.to_str().unwrap());
        let file = dir.path().join("sudoers");
        fs::write(&file, sudoers.replace("-p 11211", "-p 11211 --min-age 0s")).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o440)).unwrap();
        assert!(run(Command::new("visudo").arg("-cf").arg(&file)).code == 0, "visudo refuses it");
        // A file system of its own, where that is /etc/sudoers.
        let sudo = |args: &[&str]| {
            let script = "mount --bind \"$1\" /etc/sudoers && shift && exec \"$@\"";
            let mut command = Command::new("unshare");
            command.args(["--mount", "--propagation=private", "sh", "-c", script, "sh"]).arg(&file);
            let inner = as_nobody(Path::new("sudo"));
            command.arg(inner.get_program()).args(inner.get_args());
            run(command.arg("-n").arg(&plugin).args(args))
        };
        let outcome = hold_to_contract(sudo(&["-p", "11211", "--min-age", "0s"]));
        assert_eq!(outcome.code, 2, "{outcome:?}");
        let held = format!("all held by peer[{}]", server.pid());
        assert!(outcome.text().contains(&held), "{outcome:?}");
        for refused in [&["-p", "11211"][..], &["-p", "11211", "--min-age", "0s", "--output-file=/etc/x"]] {
            let outcome = sudo(refused);
            assert!(outcome.code == 1 && outcome.stderr.contains("password"), "{outcome:?}");
        }
    });
}
