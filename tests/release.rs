//! What a release is made of: its files and their checksums, what is left out, and a tarball that unpacks and runs. The
//! programs are those of the tests; a stand-in for cargo builds and packs nothing, `packages.rs` does that.

#[path = "support/action.rs"]
mod action;
#[path = "support/run.rs"]
mod run;

use connleak::program::suite::SUITE;
use serde_yaml::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What of cargo the script calls. `$PROGRAMS` are what it built.
const CARGO: &str = r#"#!/bin/sh
set -eu
echo "$*" >>"$CARGO_TARGET_DIR/calls"
command=$1
for word in "$@"; do
    case ${last:-} in
        --target) target=$word ;;
        --output) out=$word ;;
    esac
    last=$word
done
case $command in
    build) mkdir -p "$CARGO_TARGET_DIR/$target" && cp -r "$PROGRAMS" "$CARGO_TARGET_DIR/$target/release" ;;
    deb) echo deb >"$out/connleak_$target.deb" ;;
    generate-rpm) echo rpm >"$out/connleak.$target.rpm" ;;
    cyclonedx) echo "{\"from\": \"path+file://$PWD#1\"}" >connleak.cdx.json ;;
    package) mkdir -p "$CARGO_TARGET_DIR/package" && echo crate >"$CARGO_TARGET_DIR/package/connleak-$VERSION.crate" ;;
esac
"#;

/// Takes what it is given as the image's context, which must be the programs alone.
const PODMAN: &str = r#"#!/bin/sh
set -eu
[ "$1" = build ] && for context in "$@"; do :; done && ls "$context" >"$CARGO_TARGET_DIR/context"
[ "$1" = save ] && for word in "$@"; do [ "${last:-}" != --output ] || echo image >"$word"; last=$word; done
true
"#;

struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Place {
        let place = Place { dir: TempDir::new().unwrap() };
        for folder in ["bin", "programs", "target", "sysroot/lib/rustlib"] {
            fs::create_dir_all(place.path(folder)).unwrap();
        }
        for program in SUITE {
            place.script(&format!("programs/{}", program.name), "#!/bin/sh\nexit 3\n");
        }
        // Debug symbols are most of it, and it is packed often; whoever links has strip too.
        succeed(Command::new("strip").args([run::CHECK, "-o"]).arg(place.path("programs/check_closewait")));
        place.script("bin/cargo", CARGO);
        place.script("bin/podman", PODMAN);
        place.script("bin/rustc", "#!/bin/sh\necho \"$SYSROOT\"\n");
        for tool in ["cargo-deb", "cargo-generate-rpm", "cargo-cyclonedx", "x86_64-linux-gnu-gcc"] {
            place.script(&format!("bin/{tool}"), "#!/bin/sh\n");
        }
        // As if it were on the other architecture: it runs here.
        place.script("bin/aarch64-linux-gnu-gcc", "#!/bin/sh\n");
        place.script("bin/qemu-aarch64-static", "#!/bin/sh\nexec \"$@\"\n");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn script(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new(Path::new(ROOT).join(script));
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", self.path("bin").display()));
        command.env("CARGO_TARGET_DIR", self.path("target")).env("SYSROOT", self.path("sysroot"));
        command.env("PROGRAMS", self.path("programs")).env("VERSION", VERSION).env("SOURCE_DATE_EPOCH", "1790000000");
        command
    }

    fn release(&self, args: &[&str]) -> Output {
        self.command("packaging/release").args(args).output().unwrap()
    }

    /// The names of the release's files.
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path(&format!("target/release-{VERSION}"))).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn said(output: &Output) -> String {
    String::from_utf8([&output.stdout[..], &output.stderr].concat()).unwrap()
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_release_has_all_its_files_and_their_checksums() {
    let place = Place::new();
    fs::create_dir_all(place.path("sysroot/lib/rustlib/aarch64-unknown-linux-gnu/lib")).unwrap();
    fs::create_dir_all(place.path("sysroot/lib/rustlib/x86_64-unknown-linux-gnu/lib")).unwrap();
    let output = place.release(&["--all", "--tag", &format!("v{VERSION}")]);
    assert!(output.status.success(), "{}", said(&output));
    let mut expected = vec!["SHA256SUMS".to_owned(), "connleak.cdx.json".to_owned()];
    expected.push(format!("connleak-{VERSION}.crate"));
    for arch in ["x86_64", "aarch64"] {
        let name = format!("connleak-{VERSION}-linux-{arch}");
        expected.extend(["", "-sensu"].map(|kind| format!("{name}{kind}.tar.gz")));
        expected.push(format!("{name}-image.tar.gz"));
        expected.push(format!("connleak_{arch}-unknown-linux-gnu.deb"));
        expected.push(format!("connleak.{arch}-unknown-linux-gnu.rpm"));
    }
    expected.sort();
    assert_eq!(place.files(), expected);
    let folder = place.path(&format!("target/release-{VERSION}"));
    let checked = succeed(Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(&folder));
    assert_eq!(checked.lines().count(), expected.len() - 1, "{checked}");
    // Static programs; the crate is verified, from what is committed.
    let calls = fs::read_to_string(place.path("target/calls")).unwrap();
    assert!(calls.lines().any(|call| call == "package --locked"), "{calls}");
    // No loader either.
    let rpms: Vec<_> = calls.lines().filter(|call| call.starts_with("generate-rpm ")).collect();
    assert!(rpms.len() == 2 && rpms.iter().all(|call| call.contains(" --auto-req disabled ")), "{rpms:?}");
    assert!(!fs::read_to_string(folder.join("connleak.cdx.json")).unwrap().contains(ROOT));
    let mut context: Vec<_> = SUITE.iter().map(|program| program.name).collect();
    context.sort_unstable();
    assert_eq!(fs::read_to_string(place.path("target/context")).unwrap().lines().collect::<Vec<_>>(), context);
}

#[test]
fn what_a_machine_cant_make_is_named() {
    let place = Place::new();
    let output = place.command("packaging/release").env("PODMAN", "no-such-podman").output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let (native, foreign) = match cfg!(target_arch = "aarch64") {
        true => ("aarch64", "x86_64"),
        false => ("x86_64", "aarch64"),
    };
    let image = format!("left out: connleak-{VERSION}-linux-{native}-image: no podman");
    let other = format!("left out: {foreign}: no standard library: rustup target add {foreign}-unknown-linux-gnu");
    for line in [&image, &other] {
        assert!(said(&output).lines().any(|said| said == line), "{line}: {}", said(&output));
    }
    assert!(!place.files().iter().any(|name| name.contains(foreign) || name.contains("image")), "{:?}", place.files());
    // A release that isn't whole is none.
    let output = place.release(&["--all"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
}

#[test]
fn a_release_is_of_its_tag_and_of_programs_that_run() {
    let place = Place::new();
    for (args, says) in [(&["--tag", "v9.9.9"][..], "tag 'v9.9.9' is not v0."), (&["--al"], "unknown option '--al'")] {
        let output = place.release(args);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(says), "{}", said(&output));
    }
    place.script("programs/check_closewait", "#!/bin/sh\nexit 127\n");
    let output = place.release(&[]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("check_closewait for x86_64 doesn't run"), "{}", said(&output));
}

#[test]
fn a_tarball_unpacks_runs_and_has_all_that_belongs_to_the_programs() {
    let place = Place::new();
    let out = [place.path("one"), place.path("two")];
    for (out, umask) in out.iter().zip(["022", "077"]) {
        fs::create_dir(out).unwrap();
        let pack = place.command("packaging/tarball");
        let mut command = Command::new("sh");
        command.args(["-c", "umask $0 && exec \"$@\"", umask]).arg(pack.get_program());
        command.arg(place.path("programs")).args(["x86_64"]).arg(out).env("SOURCE_DATE_EPOCH", "1790000000");
        succeed(&mut command);
    }
    let name = format!("connleak-{VERSION}-linux-x86_64");
    for file in [format!("{name}.tar.gz"), format!("{name}-sensu.tar.gz")] {
        let [one, two] = out.each_ref().map(|out| fs::read(out.join(&file)).unwrap());
        assert!(one == two, "{file}: packed twice, different bytes");
        succeed(Command::new("tar").arg("xzf").arg(out[0].join(&file)).arg("-C").arg(&out[0]));
    }
    let top = out[0].join(&name);
    let check = run::run(Command::new(top.join("bin/check_closewait")).arg("--version"));
    assert_eq!((check.code, check.stdout.contains(VERSION)), (3, true), "{check:?}");
    for program in SUITE {
        assert!(top.join("bin").join(program.name).exists(), "{}", program.name);
        assert!(top.join(format!("man/man1/{}.1", program.name)).exists(), "{}", program.name);
        let is_check = program.name.starts_with("check_");
        assert_eq!(out[0].join("bin").join(program.name).exists(), is_check, "Sensu's asset: {}", program.name);
    }
    for folder in ["thresholds", "completions", "contrib"] {
        succeed(Command::new("diff").arg("--recursive").arg(Path::new(ROOT).join(folder)).arg(top.join(folder)));
    }
    for page in ["README.md", "docs/monitoring.md", "docs/graph.png", "LICENSE-MIT", "SECURITY.md", "state-dirs"] {
        assert!(top.join(page).exists(), "{page}");
    }
    let mode = |path: &str| fs::metadata(top.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("README.md"), mode("contrib"), mode("contrib/cron/connleak-on-change")), (0o644, 0o755, 0o755));
}

/// That the public CI calls the script as it is, on a tag.
#[test]
fn a_tag_makes_a_release() {
    let text = fs::read_to_string(Path::new(ROOT).join(".github/workflows/release.yml")).unwrap();
    let workflow: Value = serde_yaml::from_str(&text).unwrap();
    assert_eq!(workflow["on"]["push"]["tags"][0], "v*");
    let steps = workflow["jobs"]["files"]["steps"].as_sequence().unwrap();
    let run: Vec<_> = steps.iter().filter_map(|step| step["run"].as_str()).collect();
    assert!(run.contains(&"packaging/release --all --tag \"$GITHUB_REF_NAME\""), "{run:?}");
}

/// The action's first step: a release of its own tag, only where the checksum fits, and nothing where a check is there.
#[test]
fn the_action_takes_a_release_whose_checksum_fits() {
    let place = Place::new();
    let (tag, arch) = (format!("v{VERSION}"), std::env::consts::ARCH);
    let releases = place.path("OWNER/connleak/releases/download").join(&tag);
    fs::create_dir_all(&releases).unwrap();
    succeed(place.command("packaging/tarball").arg(place.path("programs")).arg(arch).arg(&releases));
    let sums = succeed(Command::new("sh").args(["-c", "sha256sum -- *"]).current_dir(&releases));
    let server = format!("file://{}", place.dir.path().display());
    let (url, repository) = (("github.server_url", server.as_str()), ("github.action_repository", "OWNER/connleak"));
    let values = [url, repository, ("github.action_ref", tag.as_str())];
    // A download that somebody changed, one that has no sum, and the right one.
    for (sums, is_good) in [(sums.replace(['0', '1', '2'], "3"), false), (String::new(), false), (sums, true)] {
        fs::write(releases.join("SHA256SUMS"), sums).unwrap();
        let runner = action::Runner::new(&values);
        let outcome = run::run(&mut runner.step("Install"));
        assert_eq!((outcome.code == 0, !runner.written("GITHUB_PATH").is_empty()), (is_good, is_good), "{outcome:?}");
        if is_good {
            // The stand-in's exit: it is found.
            assert_eq!(run::run(&mut runner.step("Check")).code, 3);
        }
    }
    let mut runner = action::Runner::new(&values);
    runner.install(&place.path("programs"));
    let outcome = run::run(&mut runner.step("Install"));
    assert_eq!((outcome.code, runner.written("GITHUB_PATH").as_str()), (0, ""), "{outcome:?}");
}

/// What it is built from, and nothing that only tests need; packaging/release builds it once more from there.
#[test]
fn the_crate_has_no_tests() {
    let mut cargo = Command::new(env!("CARGO"));
    let listed = succeed(cargo.args(["package", "--list", "--offline", "--allow-dirty"]).current_dir(ROOT));
    let has = |name: &str| listed.lines().any(|path| path.starts_with(name));
    for name in
        ["src/lib.rs", "checks/check_closewait/main.rs", "thresholds/", "packaging/link.rs", "man/", "README.md"]
    {
        assert!(has(name), "{name}: {listed}");
    }
    for name in ["tests/", "benches/", "findings/", "fuzz/", ".ci/", ".github/"] {
        assert!(!has(name), "{name}: {listed}");
    }
}
