//! The role of contrib/ansible by the real ansible-playbook, on this host, with all files below a folder.

use crate::integrations::daemon::{contrib, missing, tool};
use crate::lab::Lab;
use crate::lab::run::run;
use connleak::program::suite::SUITE;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A release with programs that say their name; and what a host's variables are.
struct Play {
    dir: tempfile::TempDir,
}

impl Play {
    fn new(checks: &str) -> Play {
        let play = Play { dir: tempfile::tempdir().unwrap() };
        for folder in ["release/bin", "release/man/man1", "root", "home"] {
            fs::create_dir_all(play.path(folder)).unwrap();
        }
        for program in SUITE {
            let name = program.name;
            fs::write(play.path("release/bin").join(name), format!("#!/bin/sh\necho {name} \"$@\"\n")).unwrap();
            fs::write(play.path("release/man/man1").join(format!("{name}.1")), "a page").unwrap();
        }
        let variables = format!(
            r#"{{"connleak_release": "{0}/release", "connleak_root": "{0}/root", "connleak_checks": {checks},
            "connleak_profiles": {{"memcached": {{"ports": [11211], "close_wait": {{"warning": "3"}}}}}},
            "connleak_textfile": "/textfiles", "connleak_users": ["nobody", "no-such-user"],
            "connleak_capabilities": true, "ansible_become": false, "ansible_python_interpreter": "auto_silent"}}"#,
            play.dir.path().display()
        );
        fs::write(play.path("variables.json"), variables).unwrap();
        play
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn installed(&self, name: &str) -> String {
        fs::read_to_string(self.path("root").join(name)).unwrap_or_else(|why| panic!("{name}: {why}"))
    }

    fn run(&self, options: &[&str]) -> Result<String, String> {
        let site = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/ansible/site.yml");
        let mut command = Command::new("ansible-playbook");
        command.args(["--connection=local", "--inventory=localhost,", "--extra-vars"]);
        command.arg(format!("@{}", self.path("variables.json").display())).args(options).arg(site);
        tool(command.env("HOME", self.path("home")).env("ANSIBLE_PIPELINING", "1").env("ANSIBLE_NOCOLOR", "1"))
    }
}

const CHECKS: &str = r#"[{"check": "check_closewait", "service": "memcached"},
    {"check": "check_conn_growth", "service": 3306, "options": "--limit 151 -w 10%"}]"#;

#[test]
fn the_role_installs_once_and_changes_nothing_after_it() {
    Lab::test(|lab| {
        if let Some(why) = missing(&["ansible-playbook", "getcap", "setcap"]) {
            return lab.skip(&why);
        }
        let play = Play::new(CHECKS);
        let shown = play.run(&["--check"]).unwrap_or_else(|why| panic!("{why}"));
        assert!(shown.contains("failed=0") && !shown.contains("changed=0 "), "{shown}");
        assert_eq!(fs::read_dir(play.path("root")).unwrap().count(), 0, "--check made something");
        play.run(&[]).unwrap_or_else(|why| panic!("{why}"));
        let again = play.run(&[]).unwrap_or_else(|why| panic!("{why}"));
        assert!(again.contains("changed=0 ") && again.contains("failed=0"), "{again}");

        for program in SUITE.iter().filter(|program| program.name.starts_with("check_")) {
            let path = play.path("root/usr/lib/nagios/plugins").join(program.name);
            assert_eq!(run(&mut Command::new(path)).stdout.trim(), program.name);
        }
        assert!(play.path("root/usr/bin/connleak").exists());
        assert!(play.path("root/usr/local/share/man/man1/connleak.1").exists());
        let state = fs::metadata(play.path("root/var/lib/connleak/65534")).unwrap();
        assert_eq!((state.uid(), state.mode() & 0o777), (65534, 0o700));
        let capable =
            tool(Command::new("getcap").arg(play.path("root/usr/lib/nagios/plugins/check_closewait"))).unwrap();
        assert!(capable.contains("cap_dac_read_search,cap_sys_ptrace=ep"), "{capable}");

        let lines = play.installed("etc/nagios/nrpe.d/connleak.cfg");
        let commands: Vec<_> = lines.lines().filter(|line| line.starts_with("command[")).collect();
        assert_eq!(
            commands,
            [
                "command[check_closewait_memcached]=/usr/lib/nagios/plugins/check_closewait -P memcached",
                "command[check_conn_growth_3306]=/usr/lib/nagios/plugins/check_conn_growth -p 3306 --limit 151 -w 10%"
            ]
        );
        // cron takes a bare percent sign for the end of the command.
        let cron = play.installed("etc/cron.d/connleak-textfile");
        let line = "* * * * * root /usr/lib/nagios/plugins/check_conn_growth -p 3306 --limit 151 -w 10\\% -o prometheus \
            --output-file /textfiles/connleak_conn_growth_3306.prom >/dev/null";
        assert!(cron.lines().any(|written| written == line), "{cron}");
        let profile = play.path("root/etc/connleak/thresholds/memcached.yaml");
        let check = crate::lab::run::CLOSEWAIT.run(&["-p11211", "-P", profile.to_str().unwrap()]);
        assert!(check.code == 0 && check.stdout.contains("close_wait=0;3;"), "{check:?}");
    });
}

#[test]
fn a_check_that_there_is_not_is_refused_before_anything_is_made() {
    Lab::test(|lab| {
        if let Some(why) = missing(&["ansible-playbook"]) {
            return lab.skip(&why);
        }
        let play = Play::new(r#"[{"check": "check_close_wait", "service": "memcached"}]"#);
        let refused = play.run(&[]).expect_err("a check that there isn't");
        assert!(refused.contains("one of check_closewait, check_conn_growth"), "{refused}");
        assert_eq!(fs::read_dir(play.path("root")).unwrap().count(), 0);
    });
}

/// The role's list of checks is the suite's.
#[test]
fn the_role_knows_every_check() {
    let list = contrib("ansible/connleak/vars/main.yml");
    let listed: Vec<_> = list.lines().filter_map(|line| line.strip_prefix("  - ")).collect();
    let checks: Vec<_> = SUITE.iter().map(|program| program.name).filter(|name| name.starts_with("check_")).collect();
    assert_eq!(listed, checks);
}
