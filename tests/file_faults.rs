//! What checks write and read beside sockets, where others plant files or the disk fails.

#[path = "support/lab.rs"]
mod lab;
#[path = "support/tmpfs.rs"]
mod tmpfs;

use lab::run::{CLOSEWAIT, CONNLEAK, Check, GROWTH, ORPHANS, Outcome, as_nobody, hold_to_contract, public_copy, run};
use lab::skip_test;
use rustix::process::geteuid;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use tmpfs::{fill, mount, on_tmpfs};

/// Nothing is wrong there.
const CALM: &str = "--proc-root=tests/fixtures/calm";

/// Each option that names a file to write, and the run that writes it.
const WRITERS: [(Check, &[&str], &str); 3] = [
    (CLOSEWAIT, &["-p11211", CALM, "-oprometheus"], "--output-file"),
    (ORPHANS, &["-p11211", CALM], "--save-baseline"),
    (ORPHANS, &["-p4", CALM, "--wait=0s"], "--junit"),
];

fn write_to(writer: (Check, &[&str], &str), path: &Path) -> Outcome {
    let (check, args, option) = writer;
    check.run(&[args, &[&format!("{option}={}", path.display())]].concat())
}

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn is_plain(path: &Path) -> bool {
    fs::symlink_metadata(path).unwrap().is_file()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = entries.collect();
    names.sort();
    names
}

#[test]
fn a_planted_link_or_pipe_is_replaced_and_never_followed() {
    for writer in WRITERS {
        let dir = tempfile::tempdir().unwrap();
        let (victim, target) = (dir.path().join("victim"), dir.path().join("target"));
        fs::write(&victim, "precious").unwrap();
        let plants: [&dyn Fn(); 3] = [
            &|| symlink(&victim, &target).unwrap(),
            &|| symlink(dir.path().join("nowhere"), &target).unwrap(),
            &|| fifo(&target),
        ];
        for plant in plants {
            plant();
            let outcome = write_to(writer, &target);
            assert!(outcome.code == 0, "{outcome:?}");
            assert!(is_plain(&target) && fs::metadata(&target).unwrap().len() > 0, "{writer:?}");
            assert_eq!(fs::read(&victim).unwrap(), b"precious", "{writer:?}");
            assert_eq!(names(dir.path()), ["target", "victim"], "{writer:?}");
            fs::remove_file(&target).unwrap();
        }
    }
}

/// Where all may write but not replace what is another's: refused, and said.
#[test]
fn in_a_shared_sticky_directory_what_another_planted_stays() {
    const NAME: &str = "in_a_shared_sticky_directory_what_another_planted_stays";
    if !geteuid().is_root() {
        return skip_test(NAME, "needs root to become another user");
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o1777)).unwrap();
    chown(dir.path(), Some(1), Some(1)).unwrap();
    let (victim, target) = (dir.path().join("victim"), dir.path().join("target"));
    fs::write(&victim, "precious").unwrap();
    chown(&victim, Some(65534), Some(65534)).unwrap();
    symlink(&victim, &target).unwrap();
    std::os::unix::fs::lchown(&target, Some(1), Some(1)).unwrap();
    for (check, _, option) in WRITERS {
        let (_copies, copy) = public_copy(Path::new(check.0));
        let to = format!("{option}={}", target.display());
        // Not the fixtures: nobody can't read them.
        let wait = if check.0 == CLOSEWAIT.0 { "-v" } else { "--wait=0s" };
        let outcome = hold_to_contract(run(as_nobody(&copy).args(["-p4", wait, &to])));
        assert!(outcome.code == 3 && outcome.text().contains("can't write"), "{outcome:?}");
        assert!(fs::symlink_metadata(&target).unwrap().is_symlink());
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        assert_eq!(names(dir.path()), ["target", "victim"], "no temporary file stays");
    }
}

/// The companion's files too: it goes on with an earlier file, and draws through links of its own.
#[test]
fn the_companion_follows_nothing_that_another_planted() {
    const NAME: &str = "the_companion_follows_nothing_that_another_planted";
    if !geteuid().is_root() {
        return skip_test(NAME, "needs root to become another user");
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o1777)).unwrap();
    let at = |name: &str| dir.path().join(name);
    let (victim, link, own, planted) = (at("victim"), at("link"), at("own"), at("planted"));
    let counts = at("counts.csv");
    fs::write(&counts, "1795200000,1\n1795200060,2\n").unwrap();
    // The victim's own, which he may write wherever it is.
    fs::create_dir(at("home")).unwrap();
    chown(at("home"), Some(65534), Some(65534)).unwrap();
    symlink(at("home").join("victim"), &link).unwrap();
    std::os::unix::fs::lchown(&link, Some(1), Some(1)).unwrap();
    symlink(&link, &own).unwrap();
    std::os::unix::fs::lchown(&own, Some(65534), Some(65534)).unwrap();
    let (_copies, copy) = public_copy(Path::new(CONNLEAK));
    let graph = |to: &Path| run(as_nobody(&copy).args(["graph", counts.to_str().unwrap(), "-O"]).arg(to));
    let watch = |to: &Path| run(as_nobody(&copy).args(["watch", "-p4", "--for=100ms", "--csv"]).arg(to));
    fs::write(at("home").join("victim"), "").unwrap();
    chown(at("home").join("victim"), Some(65534), Some(65534)).unwrap();
    for outcome in [graph(&link), graph(&own), watch(&link), watch(&own)] {
        assert!(outcome.code == 3 && outcome.stderr.contains("another user's"), "{outcome:?}");
        assert_eq!(fs::read(at("home").join("victim")).unwrap(), b"");
    }
    // What is written there another would read, or change.
    fs::write(&planted, "").unwrap();
    fs::set_permissions(&planted, Permissions::from_mode(0o666)).unwrap();
    chown(&planted, Some(1), Some(1)).unwrap();
    for outcome in [graph(&planted), watch(&planted)] {
        assert!(outcome.code == 3 && outcome.stderr.contains("another user's"), "{outcome:?}");
        assert_eq!(fs::read(&planted).unwrap(), b"");
    }
    // One's own links lead on.
    fs::remove_file(&own).unwrap();
    symlink(at("home").join("victim"), &own).unwrap();
    std::os::unix::fs::lchown(&own, Some(65534), Some(65534)).unwrap();
    assert_eq!((watch(&own).code, graph(&own).code), (0, 0));
    assert!(fs::read_to_string(at("home").join("victim")).unwrap().contains("<html") && own.is_symlink());
    assert!(!victim.exists());
}

/// Runs with a state directory whose folder for our user is what `plant` makes of the given path.
fn with_planted_state(plant: impl Fn(&Path)) -> [Outcome; 2] {
    let dir = tempfile::tempdir().unwrap();
    plant(&dir.path().join(geteuid().as_raw().to_string()));
    let state = dir.path().to_str().unwrap();
    let pid_file = dir.path().join("x.pid");
    let pid_file = pid_file.to_str().unwrap();
    [
        GROWTH.run(&["-p11211", CALM, "--state-dir", state]),
        ORPHANS.run(&["-p11211", "--pid-file", pid_file, "--state-dir", state]),
    ]
}

fn assert_refused(outcomes: &[Outcome], why: &str) {
    for outcome in outcomes {
        assert!(outcome.code == 3 && outcome.text().contains(why), "{why}: {outcome:?}");
    }
}

#[test]
fn a_state_directory_that_is_planted_or_another_users_is_refused() {
    let elsewhere = tempfile::tempdir().unwrap();
    let ours = "not a directory of our own; name another with --state-dir";
    assert_refused(&with_planted_state(|path| symlink(elsewhere.path(), path).unwrap()), ours);
    assert_refused(&with_planted_state(|path| symlink("/no/such", path).unwrap()), "can't make the state directory");
    assert_refused(&with_planted_state(fifo), "can't make the state directory");
    assert_eq!(names(elsewhere.path()), [""; 0]);
    if geteuid().is_root() {
        let foreign = |path: &Path| {
            fs::create_dir(path).unwrap();
            chown(path, Some(65534), Some(65534)).unwrap();
        };
        assert_refused(&with_planted_state(foreign), ours);
    }
}

#[test]
fn a_pipe_in_place_of_the_history_is_refused_at_once() {
    for name in ["history.db", "history.db-wal"] {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join(geteuid().as_raw().to_string());
        fs::create_dir(&folder).unwrap();
        fifo(&folder.join(name));
        let outcome = GROWTH.run(&["-p11211", CALM, "--state-dir", dir.path().to_str().unwrap()]);
        assert_refused(&[outcome], "not a plain file of our own");
    }
}

/// Reading one waits for a writer that never comes.
#[test]
fn a_pipe_in_place_of_a_file_to_read_ends_at_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    fifo(&pipe);
    let (pipe, state) = (pipe.to_str().unwrap(), dir.path().to_str().unwrap());
    let cases: [&[&str]; 2] =
        [&["-p11211", CALM, "--wait=60s", "--baseline", pipe], &["-p4", "--pid-file", pipe, "--state-dir", state]];
    for case in cases {
        let outcome = ORPHANS.run(&[case, &["-t", "500ms"]].concat());
        assert_refused(&[outcome], "timed out after 500ms");
    }
}

/// What a disk has against a new file, and what undoes it.
type Fault = (&'static str, &'static str, fn(&Path) -> Vec<PathBuf>);

const FAULTS: [Fault; 3] = [
    ("full", "size=128k", |dir| {
        let filler = dir.join("filler");
        fill(&filler);
        vec![filler]
    }),
    ("without inodes", "size=4m,nr_inodes=8", |dir| {
        let taken = (0..).map(|number| dir.join(format!("taken{number}")));
        taken.take_while(|path| fs::write(path, "").is_ok()).collect()
    }),
    ("read-only", "size=4m", |dir| {
        mount(&["-o", "remount,ro", &dir.to_string_lossy()]).unwrap();
        Vec::new()
    }),
];

#[test]
fn a_disk_that_takes_nothing_costs_the_file_and_is_said() {
    for (fault, options, break_it) in FAULTS {
        on_tmpfs("a_disk_that_takes_nothing_costs_the_file_and_is_said", options, |dir| {
            let targets = ["output.prom", "baseline", "junit.xml"].map(|name| dir.join(name));
            for (writer, target) in WRITERS.into_iter().zip(&targets) {
                assert_eq!(write_to(writer, target).code, 0);
            }
            let before = targets.each_ref().map(|target| fs::read(target).unwrap());
            let taken = break_it(dir);
            let there = names(dir);
            for (writer, target) in WRITERS.into_iter().zip(&targets) {
                let outcome = write_to(writer, target);
                assert!(outcome.code == 3 && outcome.text().contains("can't write"), "{fault}: {outcome:?}");
            }
            assert_eq!(
                targets.each_ref().map(|target| fs::read(target).unwrap()),
                before,
                "{fault}: the old ones stay"
            );
            assert_eq!(names(dir), there, "{fault}: no temporary file stays");
            if taken.is_empty() {
                mount(&["-o", "remount,rw", &dir.to_string_lossy()]).unwrap();
            }
            taken.iter().for_each(|path| fs::remove_file(path).unwrap());
            for (writer, target) in WRITERS.into_iter().zip(&targets) {
                assert_eq!(write_to(writer, target).code, 0, "{fault}: mended");
            }
        });
    }
}

/// A stop that can't be remembered would be seen for the first time for ever.
#[test]
fn a_stop_that_can_not_be_remembered_is_unknown() {
    for (fault, options, break_it) in FAULTS {
        on_tmpfs("a_stop_that_can_not_be_remembered_is_unknown", options, |dir| {
            let pid_file = dir.join("none.pid");
            let look = || {
                let (pid_file, state) = (pid_file.to_str().unwrap(), dir.to_str().unwrap());
                ORPHANS.run(&["-p4", "--pid-file", pid_file, "--state-dir", state, "--wait=60s"])
            };
            fs::create_dir_all(dir.join(geteuid().as_raw().to_string())).unwrap();
            break_it(dir);
            let outcome = look();
            assert!(outcome.code == 3 && outcome.text().contains("can't write"), "{fault}: {outcome:?}");
        });
    }
}
