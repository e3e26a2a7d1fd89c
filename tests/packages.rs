//! The packages: what is in them, that they install, work and go without a trace, that the same source
//! gives the same bytes, and the programs without any library.

#[path = "support/run.rs"]
mod run;

use connleak::program::suite::{Program, SUITE};
use serde_json::Value;
use std::collections::BTreeSet;
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

/// Bytes of each program, as it is shipped.
#[test]
fn programs_stay_as_small_as_the_table_says() {
    build();
    for Program { name, largest, .. } in SUITE {
        let program = fs::read(Path::new(ROOT).join("target/release").join(name)).unwrap();
        let size = program.len() as u64;
        println!("{name}: {size} bytes");
        // Only for unwinding, which release builds don't do: see packaging/no_unwinding.ld.
        let loads_libgcc = program.windows(9).any(|bytes| bytes == b"libgcc_s.");
        assert!(!(loads_libgcc && cfg!(target_arch = "x86_64")), "{name} loads a library that it never uses");
        assert!(largest.is_none_or(|largest| size < largest), "{name} has {size} bytes, at most {largest:?}");
    }
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
        let examples = root.join("usr/share/connleak/contrib").join(&folder);
        let packed: Vec<_> = fs::read_dir(examples).unwrap().collect();
        assert_eq!(packed.len(), names(&format!("contrib/{folder}")).len(), "{folder}");
    }
    let mut pages = vec!["README.md".to_owned()];
    pages.extend(names("docs").into_iter().filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}")));
    for page in pages {
        assert!(root.join("usr/share/doc/connleak").join(&page).exists(), "{page}");
        // Its commands, from there.
        let text = fs::read_to_string(Path::new(ROOT).join(&page)).unwrap();
        let named = text.split([' ', '\n', '`', ')']).filter(|word| word.starts_with("contrib/"));
        let missing = named.filter(|path| !path.contains('*') && !root.join("usr/share/connleak").join(path).exists());
        assert_eq!(missing.collect::<Vec<_>>(), [""; 0], "{page}");
    }
    assert!(root.join("usr/share/doc/connleak/docs/graph.png").exists());
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

/// What Debian's own checker calls an error.
#[test]
fn lintian_finds_no_error_in_the_deb() {
    if !has("lintian_finds_no_error…", &["lintian", "cargo-deb"]) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let package = deb(dir.path());
    let mut lintian = Command::new("lintian");
    succeed(lintian.args(["--no-cfg", "--allow-root", "--fail-on=error"]).arg(&package));
    let scripts = succeed(Command::new("dpkg-deb").arg("--ctrl-tarfile").arg(&package)).stdout;
    let scripts = String::from_utf8_lossy(&scripts);
    assert!(!scripts.contains("DEBHELPER") && scripts.contains("interest-noawait /usr/sbin/nrpe"), "{scripts}");
}

/// For users that come after the package: by its triggers, or by name.
#[test]
fn each_monitoring_user_gets_a_folder_of_his_own() {
    if !has("each_monitoring_user…", &[]) {
        return;
    }
    let root = TempDir::new().unwrap();
    let make = |users: &[&str]| {
        succeed(Command::new("packaging/state-dirs").args(users).env("DPKG_ROOT", root.path()));
    };
    let state = root.path().join("var/lib/connleak");
    make(&[]);
    assert!(!state.join("65534").exists());
    make(&["nobody", "no-such-user"]);
    let meta = fs::metadata(state.join("65534")).unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_eq!((meta.mode() & 0o777, meta.uid()), (0o700, 65534));
    assert_eq!(fs::metadata(&state).unwrap().mode() & 0o777, 0o755);
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

/// The script that makes a release, and its list of all that is in the programs.
#[test]
fn a_release_has_both_packages_and_tells_every_crate_in_them() {
    if !has("a_release_has…", &["cargo-deb", "cargo-generate-rpm", "cargo-cyclonedx"]) {
        return;
    }
    build();
    succeed(&mut Command::new("packaging/build"));
    let folder = Path::new(ROOT).join("target/packages");
    for kind in ["deb", "rpm"] {
        assert!(names("target/packages").iter().any(|name| name.ends_with(&format!(".{kind}"))), "{kind}");
    }
    let text = fs::read_to_string(folder.join("connleak.cdx.json")).unwrap();
    assert!(!text.contains(ROOT), "it tells where it was built");
    let list: Value = serde_json::from_str(&text).unwrap();
    let listed: BTreeSet<_> = list["components"].as_array().unwrap().iter().map(crate_of).collect();
    let tree = cargo(&["tree", "--locked", "--edges=normal", "--prefix=none", "--format={p}"]);
    let tree = String::from_utf8(tree.stdout).unwrap();
    let linked = tree.lines().filter(|line| !line.starts_with("connleak "));
    // `name v1.2.3 (proc-macro)`
    let linked: BTreeSet<_> = linked.map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    assert!(tree.contains("libsqlite3-sys v"), "{tree}");
    assert_eq!(linked.difference(&listed).collect::<Vec<_>>(), [""; 0]);
}

/// `name v1.2.3` of a component, which has a licence and the hash of what was downloaded.
fn crate_of(component: &Value) -> String {
    assert!(component["licenses"][0]["expression"].is_string(), "{component}");
    assert_eq!(component["hashes"][0]["content"].as_str().map(str::len), Some(64), "{component}");
    format!("{} v{}", component["name"].as_str().unwrap(), component["version"].as_str().unwrap())
}

/// In an empty root: what the programs need beside the kernel would be missed.
#[test]
fn static_programs_need_nothing_but_the_kernel() {
    if !has("static_programs…", &["chroot"]) {
        return;
    }
    let rustc = succeed(Command::new("rustc").arg("-vV"));
    let host = String::from_utf8(rustc.stdout).unwrap();
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    // Unoptimised: this is about what they are linked to.
    let build = ["build", "--locked", "--bins", "--target", host, "--target-dir=target/static"];
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(build).args(["--config", "profile.dev.debug=false"]).env("RUSTFLAGS", "-Ctarget-feature=+crt-static");
    succeed(&mut cargo);
    let root = TempDir::new().unwrap();
    for check in names("checks") {
        let check = check.trim_end_matches(".rs");
        let built = Path::new(ROOT).join("target/static").join(host).join("debug").join(check);
        fs::copy(built, root.path().join(check)).unwrap();
        let outcome = run::run(Command::new("chroot").arg(root.path()).arg(format!("/{check}")).arg("--version"));
        assert_eq!((outcome.code, outcome.stderr.as_str()), (3, ""), "{outcome:?}");
    }
    let outcome = run::run(Command::new("chroot").arg(root.path()).args(["/check_closewait", "-p", "1", "-v"]));
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
    assert!(outcome.stdout.starts_with("CLOSEWAIT OK - port 1: "), "{outcome:?}");
}
