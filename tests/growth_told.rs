//! check_conn_growth on a `/proc` that the test writes: what it tells of a leak, of descriptors and of memory,
//! whole, and what it does while holders are slow, missing or gone.
//!
//! `BLESS=1 cargo test` rewrites tests/golden/growth_told. What depends on the moment is a `#` there.

#[path = "support/run.rs"]
mod run;

use connleak::history::{History, Previous, Sample};
use regex_lite::Regex;
use run::{GROWTH, Outcome, PATIENCE, poll};
use rusqlite::Connection;
use rustix::fs::{Mode, OFlags, mkfifoat};
use rustix::process::geteuid;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;
use tempfile::TempDir;

const PID: u32 = 7;
/// Looks of a leak's story, of which these first ones are calm.
const LOOKS: u64 = 50;
const CALM: u64 = 6;

/// A `/proc` with the connections of a client's port 4242, and a state directory.
struct Host {
    root: TempDir,
    state: TempDir,
}

impl Host {
    fn new() -> Host {
        let host = Host { root: tempfile::tempdir().unwrap(), state: tempfile::tempdir().unwrap() };
        fs::create_dir(host.root.path().join("net")).unwrap();
        host.connections(0);
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Connections with the inodes from 1 on.
    fn connections(&self, count: u64) {
        let row = |inode: u64| {
            let port = 40_000 + inode;
            format!("{inode}: 0100007F:{port:04X} 0100007F:1092 01 0:0 00:0 0 33 0 {inode} 1 0 20 4 30 10 -1\n")
        };
        let header =
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
        fs::write(self.path("net/tcp"), header.to_owned() + &(1..=count).map(row).collect::<String>()).unwrap();
    }

    /// A process that holds sockets with the inodes from 1 on.
    fn process(&self, pid: u32, sockets: u64, mib: u64) {
        let file = |name: &str| self.path(&format!("{pid}/{name}"));
        fs::create_dir_all(file("fd")).unwrap();
        for socket in 1..=sockets {
            let fd = file(&format!("fd/{socket}"));
            if !fd.is_symlink() {
                symlink(format!("socket:[{socket}]"), fd).unwrap();
            }
        }
        let real = fs::read_to_string("/proc/self/limits").unwrap();
        let limits = real.lines().map(|line| match line.starts_with("Max open files") {
            true => "Max open files            60                   60                   files     \n".to_owned(),
            false => format!("{line}\n"),
        });
        fs::write(file("limits"), limits.collect::<String>()).unwrap();
        fs::write(file("stat"), format!("{pid} (app) S 1 {}4711 0\n", "0 ".repeat(17))).unwrap();
        fs::write(file("status"), format!("VmRSS:\t{} kB\n", mib * 1024)).unwrap();
        fs::write(file("cgroup"), "0::/system.slice/app.service\n").unwrap();
        fs::write(file("comm"), "app\n").unwrap();
    }

    fn options<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let dirs = [self.root.path(), self.state.path()].map(|dir| dir.to_str().unwrap());
        [more, &["--proc-root", dirs[0], "--state-dir", dirs[1]]].concat()
    }

    fn look(&self, options: &[&str]) -> Outcome {
        GROWTH.run(&self.options(options))
    }

    fn history_dir(&self) -> PathBuf {
        self.state.path().join(geteuid().as_raw().to_string())
    }

    fn history(&self) -> History {
        History::open(&self.history_dir(), Duration::from_secs(1)).unwrap().history
    }

    /// What the only service's last run left.
    fn left(&self) -> Previous {
        let history = self.history();
        history.peek(&history.services().unwrap()[0]).unwrap()
    }

    /// Looks while `grow` makes the leak larger, then once more in two formats: as the goldens of `name` say.
    fn tells(&self, name: &str, options: &[&str], grow: impl Fn(u64)) {
        // The times of a rehearsal are real ones, which vary.
        let rehearsed = [options, &["--rehearse=3000", "--left-critical=1000h"]].concat();
        for look in 0..LOOKS {
            grow(4 + look.saturating_sub(CALM));
            let outcome = self.look(&rehearsed);
            assert!(look > 20 || outcome.code == 0, "look {look}: {outcome:?}");
            sleep(Duration::from_millis(100));
        }
        for format in ["nagios", "json"] {
            let told = self.look(&[&rehearsed[..], &["-v", "-o", format]].concat());
            self.assert_golden(&format!("{name}.{format}"), &format!("exit {}\n{}", told.code, told.stdout));
        }
    }

    fn assert_golden(&self, name: &str, told: &str) {
        let told = masked(&told.replace(self.root.path().to_str().unwrap(), "/host/proc"));
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/growth_told/{name}.txt"));
        if std::env::var_os("BLESS").is_some_and(|value| value == "1") {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &told).unwrap();
        }
        assert_eq!(told, fs::read_to_string(&path).unwrap_or_default(), "{name}: BLESS=1, if this is meant");
    }
}

/// With a `#` for times, for rates and what they give, and for the user who runs the test.
fn masked(told: &str) -> String {
    let varies = "growth|left|suspects|opened|closed";
    let masks = [
        (r"\+[\d.]+( MiB)?/min", "+#$1/min"),
        (r"since [\d-]*[ ]?\d\d:\d\dZ?", "since #"),
        (r"full in \w+ \(\w+ to \w+", "full in # (# to #"),
        (r"evidence: \d+", "evidence: #"),
        (r"\b\d+ (suspected|sockets)\b", "# $1"),
        (r"(peers [\d.]+) \(\d+\)", "$1 (#)"),
        (r"uid \d+", "uid #"),
        (&format!(r"\b({varies})=[\d.]+"), "$1=#"),
        (&format!(r#"("name":"(?:{varies})","unit":"\w*","value":)[\d.]+"#), "$1#"),
        (r#"("(?:onset_seconds|per_minute|suspects|likely|earliest|latest|uid|sockets)":)\d[\d.]*"#, "$1#"),
        (r#""since":"[^"]+""#, r##""since":"#""##),
    ];
    let mask =
        |told: String, (pattern, by): &(&str, &str)| Regex::new(pattern).unwrap().replace_all(&told, *by).into_owned();
    masks.iter().fold(told.to_owned(), mask)
}

#[test]
fn a_leak_of_connections() {
    let host = Host::new();
    host.tells("leak", &["-p4242", "--limit=60"], |count| {
        host.connections(count);
        host.process(PID, count, 9);
    });
}

#[test]
fn a_leak_of_descriptors() {
    let host = Host::new();
    host.tells("fds", &["--pid=7", "--metric=fds"], |count| host.process(PID, count, 9));
}

#[test]
fn a_leak_of_memory() {
    let host = Host::new();
    host.tells("rss", &["--pid=7", "--metric=rss", "--limit=120M"], |count| host.process(PID, 3, 2 * count));
}

/// Who holds a group can't be told before its process may be read, or has accepted.
#[test]
fn a_group_gets_its_name_when_its_holder_is_found() {
    let host = Host::new();
    host.connections(3);
    let groups = |outcome: &Outcome| outcome.stdout.lines().skip(1).collect::<Vec<_>>().join(";");
    let look = || groups(&host.look(&["-p4242", "-vv", "--limit=60"]));
    assert_eq!([look(), look()], ["group uid 33: 3 connections"; 2]);
    host.process(PID, 3, 9);
    assert_eq!(look(), "group app.service: 3 connections");
    fs::remove_dir_all(host.path("7")).unwrap();
    assert_eq!(look(), "group app.service: 3 connections", "what is known stays");
}

/// The history is free while processes are read: a slow host keeps no other run waiting.
#[test]
fn processes_are_searched_outside_the_turn_to_write() {
    let host = Host::new();
    host.connections(3);
    host.process(PID, 3, 9);
    assert_eq!(host.look(&["-p4242"]).code, 0);
    // Who reads it waits for us.
    let comm = host.path("7/comm");
    fs::remove_file(&comm).unwrap();
    mkfifoat(rustix::fs::CWD, &comm, Mode::RUSR | Mode::WUSR).unwrap();
    let slow = GROWTH.start(&host.options(&["-p4242"]));
    let nonblocking = OFlags::NONBLOCK.bits() as i32;
    let mut pipe: Option<File> = None;
    let open = || OpenOptions::new().write(true).custom_flags(nonblocking).open(&comm).ok();
    assert!(poll(PATIENCE, || {
        pipe = open();
        pipe.is_some()
    }));
    let other = Sample { boot: "b".into(), ..Sample::default() };
    host.history().record("another", &other, b"", 0).expect("nobody else writes");
    pipe.unwrap().write_all(b"slow\n").unwrap();
    let told = slow.end();
    assert!(told.code == 0 && told.text().contains(" open files of slow[7]"), "{told:?}");
    let history = host.history();
    let services = history.services().unwrap();
    assert_eq!(services.iter().map(|service| history.peek(service).unwrap().runs).collect::<Vec<_>>(), [1, 2]);
}

/// Without memory it would learn for ever.
#[test]
fn a_run_that_cant_be_remembered_is_no_ok() {
    let host = Host::new();
    host.connections(3);
    let look = |more: &[&str]| host.look(&[more, &["-p4242", "--limit=4", "-t", "2"]].concat());
    assert_eq!(look(&[]).code, 0);
    let other = Connection::open(host.history_dir().join("history.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for (options, code) in [(&[][..], 3), (&["-c", "50"], 2)] {
        let told = look(options);
        assert!(told.code == code && told.text().contains("not remembered: "), "{told:?}");
        assert!(told.text().contains("the history is locked by another process"), "{told:?}");
    }
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(look(&[]).code, 0);
}

/// What an incomplete look lacks would pass for ended.
#[test]
fn an_incomplete_look_doesnt_move_the_detector_on() {
    let host = Host::new();
    let options = ["--pid=7,8", "--metric=fds", "--rehearse=3600"];
    [PID, 8].into_iter().for_each(|pid| host.process(pid, 5, 9));
    for looks in 1..=2 {
        assert!(host.look(&options).text().contains(&format!("learning, {looks} sample")));
    }
    let before = host.left();
    fs::remove_dir_all(host.path("8")).unwrap();
    let lacking = host.look(&options);
    assert!(lacking.code == 3 && lacking.text().contains("process 8 (--pid) is gone"), "{lacking:?}");
    let after = host.left();
    assert!(after.state == before.state && after.runs == 3, "recorded, and nothing learned");
    host.process(8, 5, 9);
    let whole = host.look(&options);
    assert!(whole.text().contains("learning, 3 samples") && whole.value("closed") == 0.0, "{whole:?}");
    assert!(host.left().state != before.state);
}
