//! The image of contrib/containers by podman, with the flags of docs/containers.md.

use crate::integrations::daemon::{contrib, missing, tool};
use crate::integrations::python::{prepare_python, python};
use crate::lab::Lab;
use crate::lab::run::{CHECK, CONNLEAK};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Only cgroup2 as today's hosts have it; then podman with all its places below `$0`.
const PODMAN: &str = "umount -l /sys/fs/cgroup 2>/dev/null; mount -t cgroup2 cgroup2 /sys/fs/cgroup || exit
    exec podman --root \"$0/root\" --runroot \"$0/run\" --tmpdir \"$0/tmp\" --storage-driver vfs --runtime runc \
    --cgroup-manager cgroupfs --events-backend file \"$@\"";

fn podman(dir: &Path, words: &[&str]) -> Result<String, String> {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", PODMAN]).arg(dir).args(words);
    tool(&mut command)
}

/// The shipped file, and the libraries that a build for tests is linked to; whether static programs need any is
/// shown where packages are.
fn image(dir: &Path) -> Result<String, String> {
    let context = dir.join("context");
    fs::create_dir_all(context.join("lib64")).unwrap();
    for program in [CHECK, CONNLEAK] {
        let name = Path::new(program).file_name().unwrap();
        // Debug symbols are most of it, and each container gets a copy.
        tool(Command::new("strip").arg("-o").arg(context.join(name)).arg(program))?;
    }
    let linked = tool(Command::new("ldd").arg(CONNLEAK))?;
    for library in linked.split_whitespace().filter(|word| word.starts_with('/')) {
        fs::copy(library, context.join("lib64").join(Path::new(library).file_name().unwrap())).unwrap();
    }
    let file = contrib("containers/Containerfile") + "COPY lib64 /lib64/\nENV LD_LIBRARY_PATH=/lib64\n";
    fs::write(dir.join("Containerfile"), file).unwrap();
    let (file, context) = (dir.join("Containerfile").display().to_string(), context.display().to_string());
    podman(dir, &["build", "--quiet", "--isolation=chroot", "--layers=false", "-t", "connleak", "-f", &file, &context])
}

const RIGHTS: [&str; 5] =
    ["--user=0", "--cap-drop=all", "--cap-add=SYS_PTRACE", "--cap-add=DAC_READ_SEARCH", "--cap-add=SYS_ADMIN"];
const HOST: &str = "--network=host";
const PIDS: &str = "--pid=host";
const PROC: &str = "--volume=/proc:/host/proc:ro";
const BELOW: &str = "--proc-root=/host/proc";

#[test]
fn an_image_sees_what_its_flags_let_it() {
    Lab::test(|lab| {
        if let Some(why) = missing(&["podman", "runc", "strip", "ldd"]) {
            return lab.skip(&why);
        }
        let place = tempfile::tempdir().unwrap();
        let dir = place.path();
        if let Err(why) = image(dir) {
            return lab.skip(&format!("podman builds nothing here: {}", why.trim().replace('\n', ", ")));
        }
        // The lab's namespace is not that of process 1, which --proc-root means.
        lab.outside(|| flags(lab, dir));
    });
}

fn flags(lab: &Lab, dir: &Path) {
    let (_server, mut leak) = lab.connected("127.0.0.1:11211", 3);
    drop(_server);
    lab.wait_for(crate::lab::CLOSE_WAIT, 11211, 3);
    // As few as most hosts allow.
    let limits =
        ["run", "--rm", "--read-only", "--pids-limit=-1", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"];
    let run = |flags: &[&str], words: &[&str]| {
        let told = podman(dir, &[&limits[..], flags, &["connleak"], words].concat());
        told.unwrap_or_else(|answer| answer)
    };
    let check = ["check_closewait", "-p11211", "--side=client", "--min-age=0s", "-w1"];
    let below = [&check[..], &[BELOW]].concat();
    let holder = format!("held by peer[{}]", leak.pid());
    let two = &RIGHTS[..4];
    let cases: [(Vec<&str>, &[&str], [&str; 2]); 7] = [
        (vec!["--network=none"], &check, ["OK - memcached:11211: 0 ", "not the host's and has no TCP socket"]),
        (vec![HOST], &check, ["3 sockets in CLOSE_WAIT (warning 1), oldest", "this PID namespace is not the host's"]),
        (vec![HOST, PIDS], &check, ["oldest", "may not be read"]),
        ([&[HOST, PIDS], two].concat(), &check, ["oldest", &holder]),
        (vec!["--network=none", PROC], &below, ["3 sockets in CLOSE_WAIT", "ages unknown"]),
        ([&[HOST, PROC], two].concat(), &below, ["oldest", &holder]),
        (
            [&["--network=none", PIDS], &RIGHTS[..]].concat(),
            &[&check[..], &["--netns=all"]].concat(),
            ["oldest", &holder],
        ),
    ];
    for (flags, words, says) in cases {
        let answer = run(&flags, words);
        assert!(says.iter().all(|part| answer.contains(part)), "{flags:?} {says:?}: {answer}");
    }
    assert!(run(&[HOST], &["connleak", "doctor"]).contains("PID namespace is not the host's"));
    leak.say("close c");
}

/// By the public schema, which refuses what it doesn't know; its command is the image's.
#[test]
fn the_manifest_is_valid() {
    prepare_python();
    Lab::test(|lab| {
        let Some(python) = python(lab) else { return };
        let dir = tempfile::tempdir().unwrap();
        let manifest = contrib("containers/daemonset.yaml");
        let validate = |text: &str| {
            let file = dir.path().join("daemonset.yaml");
            fs::write(&file, text).unwrap();
            tool(Command::new(python.with_file_name("kubernetes-validate")).arg("--strict").arg(file))
        };
        validate(&manifest).unwrap_or_else(|why| panic!("{why}"));
        assert!(validate(&manifest.replace("hostPID", "hostPid")).is_err(), "anything is valid");
        let line = manifest.lines().find_map(|line| line.trim().strip_prefix("command: [")).unwrap();
        let words: Vec<_> = line.trim_end_matches(']').split(", ").collect();
        let textfile = dir.path().join("textfile.prom");
        let check = words[words.iter().position(|word| *word == "--").unwrap() + 2..].iter();
        let check: Vec<_> =
            check.map(|word| word.replace("/textfile/connleak_closewait.prom", textfile.to_str().unwrap())).collect();
        tool(Command::new(CHECK).args(check)).unwrap();
        assert!(fs::read_to_string(textfile).unwrap().contains("connleak_close_wait{"));
        assert_eq!(words[..3], ["connleak", "every", "60s"]);
    });
}
