//! connleak doctor: what would make answers partial, each made to be so.

use crate::integrations::daemon::layered;
use crate::lab::Lab;
use crate::lab::run::{CONNLEAK, GROWTH, Outcome, as_nobody, public_copy, run};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// The findings that are partial, and all by their topics.
fn told(outcome: &Outcome) -> (Vec<String>, Value) {
    let told: Value = serde_json::from_str(&outcome.stdout).unwrap_or_else(|why| panic!("{why}: {outcome:?}"));
    let findings = told["findings"].as_array().unwrap();
    let partial = findings.iter().filter(|one| one["partial"] == true);
    let partial: Vec<_> = partial.map(|one| one["topic"].as_str().unwrap().to_owned()).collect();
    assert_eq!(outcome.code, i32::from(!partial.is_empty()), "{outcome:?}");
    assert_eq!(told["partial"], !partial.is_empty());
    (partial, told)
}

fn says(told: &Value, topic: &str) -> String {
    let findings = told["findings"].as_array().unwrap();
    findings.iter().find(|one| one["topic"] == topic).unwrap()["says"].as_str().unwrap().to_owned()
}

#[test]
fn each_limit_is_named() {
    Lab::test(|lab| {
        let mut server = lab.peer();
        server.say("listen l 127.0.0.1:11211");
        let dir = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
        let state = dir.path().join("state").display().to_string();
        let words = ["doctor", "-o", "json", "--state-dir", &state];

        // A test's place is within namespaces of its own.
        let (partial, seen) = told(&run(Command::new(CONNLEAK).args(words)));
        assert_eq!(partial, ["processes", "network"], "{seen:#}");
        assert!(says(&seen, "history").starts_with("none yet"), "{seen:#}");
        assert_eq!(seen["profiles"][1]["profile"], "memcached", "{seen:#}");

        // Of a whole /proc that the caller names nothing is missing.
        let proc = dir.path().join("proc");
        fs::create_dir(&proc).unwrap();
        let whole = "mount --bind /proc \"$0\" && exec \"$@\" --proc-root \"$0\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", whole]).arg(&proc).arg(CONNLEAK).args(words);
        // Its process 1 is outside of the lab.
        let (partial, seen) = told(&lab.outside(|| run(&mut command)));
        assert!(partial.is_empty(), "{seen:#}");

        let (_dir, copy) = public_copy(Path::new(CONNLEAK));
        GROWTH.run(&["-p11211", "--state-dir", &state]);
        let (partial, seen) = told(&run(Command::new(CONNLEAK).args(words)));
        assert_eq!((partial.len(), says(&seen, "history").ends_with("with 1 services")), (2, true), "{seen:#}");
        let (partial, seen) = told(&run(as_nobody(&copy).args(words)));
        assert!(partial.contains(&"rights".to_owned()) && says(&seen, "rights").contains("setcap"), "{seen:#}");

        let (partial, seen) = told(&run(Command::new(CONNLEAK).args(words).args(["--source", "proc"])));
        assert!(partial.contains(&"sockets".to_owned()) && says(&seen, "sockets").contains("no ages"), "{seen:#}");

        fs::set_permissions(format!("{state}/0"), fs::Permissions::from_mode(0o777)).unwrap();
        let (partial, seen) = told(&run(Command::new(CONNLEAK).args(words)));
        assert!(partial.contains(&"history".to_owned()) && says(&seen, "history").contains("chmod go-w"), "{seen:#}");

        let hidden = "mount -t proc -o hidepid=2 proc /proc && exec \"$0\" \"$@\"";
        let mut command = Command::new("unshare");
        let nobody = as_nobody(&copy);
        command.args(["--mount", "sh", "-c", hidden]).arg(nobody.get_program()).args(nobody.get_args()).args(words);
        let (partial, seen) = told(&run(&mut command));
        assert!(partial.contains(&"processes".to_owned()) && says(&seen, "processes").contains("hidepid"), "{seen:#}");
    });
}

#[test]
fn profiles_that_cannot_be_read_are_named_and_installed_ones_are_in_force() {
    Lab::test(|lab| {
        let mut server = lab.peer();
        server.say("listen l 127.0.0.1:11211");
        let dir = tempfile::tempdir().unwrap();
        let thresholds = dir.path().join("etc/connleak/thresholds");
        fs::create_dir_all(&thresholds).unwrap();
        fs::write(
            thresholds.join("memcached.yaml"),
            "service: memcached\nports: [11211]\nclose_wait: {min_age: 7s, warning: \"70\"}\n",
        )
        .unwrap();
        let look = || told(&run(&mut layered(dir.path(), &[CONNLEAK, "doctor", "-o", "json"])));
        let (partial, seen) = look();
        assert!(!partial.contains(&"profiles".to_owned()), "{seen:#}");
        let memcached = &seen["profiles"][1];
        assert_eq!(memcached["origin"], "/etc/connleak/thresholds/memcached.yaml", "{seen:#}");
        assert_eq!(memcached["thresholds"]["CLOSE_WAIT"], "for 7s or more: warning 70");
        assert_eq!(memcached["thresholds"]["idle"], "for 30m or more: warning 50, critical 200", "from generic");
        fs::write(thresholds.join("mine.yaml"), "service: mine\nports: [4711]\nclose_wait: {warning: 7}\n").unwrap();
        let (partial, seen) = look();
        let says = says(&seen, "profiles");
        assert!(partial.contains(&"profiles".to_owned()), "{seen:#}");
        assert!(says.contains("thresholds/mine.yaml") && says.contains("line 3") && says.contains("UNKNOWN"), "{says}");
    });
}
