//! The packages: what is in them, that they install, work and go without a trace, and that the same
//! source gives the same bytes.

#[path = "support/run.rs"]
mod run;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use tempfile::TempDir;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const PROFILE: &str = "etc/connleak/thresholds/memcached.yaml";
/// Reproducible builds: the packages' times are the last commit's.
const EPOCH: &str = "1790000000";

/// Skips where a tool is missing; a failure where nothing may be skipped.
fn has(test: &str, tools: &[&str]) -> bool {
    let missing: Vec<_> = tools.iter().filter(|tool| !is_there(tool)).copied().collect();
    let why = match missing.is_empty() {
        true if rustix::process::geteuid().is_root() => return true,
        true => "needs root".to_owned(),
        false => format!("{} not installed", missing.join(", ")),
    };
    assert!(std::env::var_os("REQUIRE_LIVE").is_none_or(|value| value != "1"), "REQUIRE_LIVE: {test}: {why}");
    std::io::stdout().write_all(format!("SKIP {test}: {why}\n").as_bytes()).unwrap();
    false
}

fn is_there(tool: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|dir| dir.join(tool).exists())
}

fn succeed(command: &mut Command) -> Output {
    let output = command.current_dir(ROOT).env("SOURCE_DATE_EPOCH", EPOCH).output().expect("it starts");
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}

fn cargo(args: &[&str]) -> Output {
    succeed(Command::new(env!("CARGO")).args(args))
}

/// The programs as they are shipped, built once.
fn build() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| drop(cargo(&["build", "--release", "--locked", "--bins"])));
}

fn deb(dir: &Path) -> PathBuf {
    build();
    let deb = dir.join("connleak.deb");
    cargo(&["deb", "--locked", "--no-build", "--no-strip", "--output", deb.to_str().unwrap()]);
    deb
}

fn rpm(dir: &Path) -> PathBuf {
    build();
    let rpm = dir.join("connleak.rpm");
    cargo(&["generate-rpm", "--output", rpm.to_str().unwrap()]);
    rpm
}

/// Runs dpkg on a system of its own below `root`.
fn dpkg(root: &Path, args: &[&str]) {
    fs::create_dir_all(root.join("var/lib/dpkg/updates")).unwrap();
    fs::create_dir_all(root.join("var/lib/dpkg/info")).unwrap();
    for file in ["status", "available"] {
        fs::OpenOptions::new().create(true).append(true).open(root.join("var/lib/dpkg").join(file)).unwrap();
    }
    let mut command = Command::new("dpkg");
    command.arg(format!("--root={}", root.display())).args(["--force-script-chrootless", "--force-depends"]);
    succeed(command.arg("--force-confold").args(args));
}

/// Every file and folder below, but what the package manager keeps for itself.
fn files(root: &Path) -> Vec<String> {
    let output = succeed(Command::new("find").arg(root).args(["-mindepth", "1", "-printf", "%P\n"]));
    let lines = String::from_utf8(output.stdout).unwrap();
    let own =
        |line: &&str| !["var/lib/dpkg", "var/lib/rpm", "usr/lib/sysimage"].iter().any(|dir| line.starts_with(dir));
    lines.lines().filter(own).map(str::to_owned).collect()
}

fn names(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(Path::new(ROOT).join(folder)).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// What both kinds of package hold, for all checks and profiles that there are in the source.
fn assert_complete(root: &Path, plugins: &str) {
    for check in names("checks") {
        let plugin = root.join(plugins).join(check.trim_end_matches(".rs"));
        let outcome = run::run(Command::new(&plugin).arg("--version"));
        assert_eq!((outcome.code, outcome.stderr.as_str()), (3, ""), "{outcome:?}");
        assert!(outcome.stdout.contains(env!("CARGO_PKG_VERSION")), "{outcome:?}");
    }
    for profile in names("thresholds") {
        assert!(root.join("etc/connleak/thresholds").join(&profile).exists(), "{profile}");
    }
    for page in names("man") {
        let installed = root.join("usr/share/man/man1").join(&page);
        let packed = installed.with_file_name(format!("{page}.gz"));
        assert!(installed.exists() || packed.exists(), "{page}");
    }
    for folder in names("contrib") {
        let examples = root.join("usr/share/doc/connleak/examples").join(&folder);
        let packed: Vec<_> = fs::read_dir(examples).unwrap().collect();
        assert_eq!(packed.len(), names(&format!("contrib/{folder}")).len(), "{folder}");
    }
    assert!(root.join("usr/share/bash-completion/completions/connleak.bash").exists());
    assert!(root.join("usr/bin/connleak").exists());
}

#[test]
fn the_deb_installs_works_keeps_changed_profiles_and_goes_without_a_trace() {
    if !has("the_deb_installs…", &["dpkg", "cargo-deb"]) {
        return;
    }
    let (dir, root) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (package, root) = (deb(dir.path()), root.path());
    let package = package.to_str().unwrap();
    dpkg(root, &["--install", package]);
    assert_complete(root, "usr/lib/nagios/plugins");
    let outcome = run::run(Command::new(root.join("usr/lib/nagios/plugins/check_closewait")).arg("-p11211"));
    assert!(outcome.stdout.starts_with("CLOSEWAIT "), "{outcome:?}");
    fs::write(root.join(PROFILE), "mine").unwrap();
    dpkg(root, &["--install", package]);
    assert_eq!(fs::read_to_string(root.join(PROFILE)).unwrap(), "mine");
    dpkg(root, &["--remove", "connleak"]);
    assert!(root.join(PROFILE).exists() && !root.join("usr/bin/connleak").exists());
    fs::create_dir_all(root.join("var/lib/connleak/4711")).unwrap();
    dpkg(root, &["--purge", "connleak"]);
    let left: Vec<_> = files(root).into_iter().filter(|path| path.contains("connleak")).collect();
    assert_eq!(left, [""; 0]);
}

#[test]
fn the_rpm_installs_works_and_goes() {
    if !has("the_rpm_installs…", &["rpm", "cargo-generate-rpm"]) {
        return;
    }
    let (dir, root) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (package, root) = (rpm(dir.path()), root.path());
    let rpm = |args: &[&str]| {
        let mut command = Command::new("rpm");
        succeed(command.arg(format!("--root={}", root.display())).args(["--nodeps", "--noscripts"]).args(args));
    };
    rpm(&["--install", package.to_str().unwrap()]);
    assert_complete(root, "usr/lib64/nagios/plugins");
    fs::write(root.join(PROFILE), "mine").unwrap();
    rpm(&["--erase", "connleak"]);
    let left: Vec<_> = files(root).into_iter().filter(|path| path.contains("connleak")).collect();
    assert_eq!(left.iter().filter(|path| root.join(path).is_file()).count(), 1, "{left:?}");
    assert_eq!(fs::read_to_string(root.join(format!("{PROFILE}.rpmsave"))).unwrap(), "mine");
}

#[test]
fn the_same_source_gives_the_same_packages() {
    if !has("the_same_source…", &["cargo-deb", "cargo-generate-rpm"]) {
        return;
    }
    for package in [deb, rpm] {
        let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap()];
        let bytes = dirs.each_ref().map(|dir| fs::read(package(dir.path())).unwrap());
        assert!(bytes[0] == bytes[1], "packed twice, different bytes");
    }
}

/// Our own part anew, in another folder and with the crates as they are built.
#[test]
fn the_same_source_gives_the_same_program() {
    if !has("the_same_source_gives_the_same_program", &[]) {
        return;
    }
    build();
    let (first, again) =
        (Path::new(ROOT).join("target/release"), TempDir::new_in(Path::new(ROOT).join("target")).unwrap());
    let second = again.path().join("release");
    // Links where the file system has them.
    succeed(Command::new("cp").args(["-a", "--link"]).args([&first, &second]));
    let target = again.path().to_str().unwrap();
    cargo(&["clean", "--release", "--package", "connleak", "--target-dir", target]);
    assert!(!second.join("check_closewait").exists());
    cargo(&["build", "--release", "--locked", "--bin", "check_closewait", "--target-dir", target]);
    let [first, second] = [first, second].map(|folder| fs::read(folder.join("check_closewait")).unwrap());
    assert!(first == second, "built twice, different bytes");
}
