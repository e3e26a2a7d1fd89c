//! The gate itself: what `tests/run` and `.ci/run` say and end with, on a package made to fail.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

const GREEN: &str = "#[test]\nfn planted() {}\n";
const RED: &str = "#[test]\nfn planted() {\n    panic!(\"as planned\");\n}\n";
const UNBUILT: &str = "#[test]\nfn planted() {\n    let number: u8 = \"\";\n}\n";
const KILLED: &str = "#[test]\nfn planted() {\n    std::process::abort();\n}\n";
const SKIPPED: &str = "#[test]\nfn planted() {\n    use std::io::Write;\n    std::io::stdout().write_all(b\"SKIP planted: no reason\\n\").unwrap();\n}\n";

/// A package of one test file beside the repository's own scripts.
struct Package(tempfile::TempDir);

impl Package {
    fn new(test: &str) -> Package {
        let package = Package(tempfile::tempdir().unwrap());
        package.write("Cargo.toml", "[package]\nname = \"planted\"\nversion = \"0.0.0\"\nedition = \"2024\"\n");
        package.write("Cargo.lock", "version = 4\n\n[[package]]\nname = \"planted\"\nversion = \"0.0.0\"\n");
        package.write("src/lib.rs", "");
        package.write("tests/planted.rs", test);
        // Nothing is installed by this test.
        package.program("bin/apt-get", "#!/bin/sh\n");
        for script in ["tests/run", "tests/support/install", ".ci/run"] {
            package.program(script, &fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(script)).unwrap());
        }
        package.program("tests/support/venv", "#!/bin/sh\n");
        package
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn program(&self, name: &str, text: &str) {
        self.write(name, text);
        fs::set_permissions(self.0.path().join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new(self.0.path().join(script));
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", self.0.path().join("bin").display()));
        command.env("CARGO_TARGET_DIR", self.0.path().join("target")).env_remove("REQUIRE_LIVE");
        command
    }
}

fn text(output: &Output) -> String {
    String::from_utf8([&output.stdout[..], &output.stderr].concat()).unwrap()
}

/// What the script ends with and says, by `tests/run` and by the stage of `.ci/run` that calls it.
fn ends(test: &str, is_good: bool, says: &[&str]) {
    let package = Package::new(test);
    for (script, stage) in [("tests/run", None), (".ci/run", Some("tests"))] {
        let output = package.command(script).args(stage).output().unwrap();
        let text = text(&output);
        assert_eq!(output.status.success(), is_good, "{script}: {text}");
        for line in says {
            assert!(text.lines().any(|found| found.starts_with(line)), "{script}: no line '{line}' in {text}");
        }
    }
}

#[test]
fn what_passes_passes() {
    ends(GREEN, true, &["1 passed, 0 failed, 0 skipped", "test planted ... ok"]);
}

#[test]
fn a_test_that_fails_turns_the_gate_red() {
    ends(
        RED,
        false,
        &["0 passed, 1 failed, 0 skipped", "test planted ... FAILED", "tests/run: cargo test ended with 101"],
    );
}

#[test]
fn a_test_program_that_does_not_build_turns_the_gate_red() {
    ends(UNBUILT, false, &["0 passed, 1 failed, 0 skipped", "error: could not compile `planted`"]);
}

#[test]
fn a_test_program_that_is_killed_turns_the_gate_red() {
    ends(KILLED, false, &["0 passed, 1 failed, 0 skipped", "tests/run: cargo test ended with 101"]);
}

/// A name that no test has, and a suite that has lost its tests.
#[test]
fn where_no_test_ran_nothing_passed() {
    ends("", false, &["0 passed, 1 failed, 0 skipped", "tests/run: no test ran"]);
    let output = Package::new(GREEN).command("tests/run").arg("misspelled").output().unwrap();
    assert!(!output.status.success(), "{}", text(&output));
}

#[test]
fn a_skipped_test_is_a_failure_where_none_may_be() {
    let package = Package::new(SKIPPED);
    let run = |live: &str| package.command("tests/run").env("REQUIRE_LIVE", live).output().unwrap();
    let (may, must) = (run("0"), run("1"));
    assert!(may.status.success() && text(&may).contains("\n0 passed, 0 failed, 1 skipped\n"), "{}", text(&may));
    assert!(!must.status.success() && text(&must).contains("REQUIRE_LIVE: 1 tests were skipped"), "{}", text(&must));
}

#[test]
fn a_stage_that_fails_ends_the_ci_run() {
    let package = Package::new("#[test] fn planted( ) { }\n");
    let output = package.command(".ci/run").args(["format", "tests"]).output().unwrap();
    assert!(!output.status.success() && !text(&output).contains("== tests"), "{}", text(&output));
    let output = package.command(".ci/run").arg("fromat").output().unwrap();
    assert!(!output.status.success() && text(&output).contains("no stage 'fromat'"), "{}", text(&output));
}

/// What asks whether a service may start: there while packages are installed, and what was there before stays.
#[test]
fn a_policy_for_services_that_was_there_stays() {
    let package = Package::new(GREEN);
    let policy = package.0.path().join("policy-rc.d");
    package.program("bin/apt-get", "#!/bin/sh\n[ -x \"$POLICY_RC_D\" ] && cat \"$POLICY_RC_D\" >>\"$0.saw\"\n");
    let saw = package.0.path().join("bin/apt-get.saw");
    for kept in [None, Some("# another's\n")] {
        if let Some(kept) = kept {
            package.program("policy-rc.d", kept);
        }
        let output =
            package.command("tests/support/install").arg("memcached").env("POLICY_RC_D", &policy).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        let once = kept.unwrap_or("#!/bin/sh\nexit 101\n");
        assert_eq!(fs::read_to_string(&saw).unwrap(), once.repeat(2), "while it installs");
        assert_eq!(fs::read_to_string(&policy).ok().as_deref(), kept, "afterwards");
        fs::remove_file(&saw).unwrap();
    }
}
