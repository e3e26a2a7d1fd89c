//! The history where things go wrong: kills, crowds, full and read-only disks, broken and foreign files.

#[path = "support/dice.rs"]
mod dice;
#[path = "support/lab.rs"]
mod lab;
#[path = "support/tmpfs.rs"]
mod tmpfs;

use connleak::history::{History, Sample, Step};
use dice::Dice;
use lab::{example, run, skip_test};
use rusqlite::Connection;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;
use tmpfs::{fill, mount, on_tmpfs};

const LONG: Duration = Duration::from_secs(120);
const ALL: Duration = Duration::from_secs(1_000_000);

fn recorder(dir: &Path, writer: u64, runs: u64, left: u64) -> Command {
    let mut command = Command::new(example("recorder"));
    command.arg(dir).args([writer, runs, left].map(|number| number.to_string()));
    command
}

fn database(dir: &Path) -> PathBuf {
    dir.join("history.db")
}

/// By SQLite alone, so that the library is not its own witness.
fn assert_intact(dir: &Path) {
    let db = Connection::open(database(dir)).unwrap();
    let verdict: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
}

/// The counts that the recorder's samples hold.
fn recorded(dir: &Path) -> Vec<u64> {
    let opened = History::open(dir, LONG).unwrap();
    assert_eq!(opened.aside, None);
    let runs = opened.history.samples("s", ALL).unwrap();
    runs.iter().map(|run| run.sample.uptime / 1000).collect()
}

fn asides(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut asides: Vec<_> = entries.filter(|path| path.to_string_lossy().contains("history.db.aside-")).collect();
    asides.sort();
    asides
}

#[test]
fn three_hundred_kills_lose_nothing_confirmed() {
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut dice = Dice(seed);
    let (mut confirmed_in_all, mut unconfirmed, mut kills_while_new) = (0, 0, 0);
    let mut histories = 0;
    // A new history each ten kills: kills hit its making too.
    while histories < 30 || confirmed_in_all <= 300 || kills_while_new == 0 {
        assert!(histories < 300, "the kills come too early or too late to show anything");
        // A loaded machine gets to less in that time.
        let longer = 1 + histories / 30;
        histories += 1;
        let dir = tempfile::tempdir().unwrap();
        let mut confirmed = 0;
        for kill in 0..10 {
            let mut child = recorder(dir.path(), 1, 1_000_000, 5000).stdout(Stdio::piped()).spawn().unwrap();
            thread::sleep(Duration::from_micros(dice.roll() % if kill < 3 { 8_000 } else { 30_000 * longer }));
            child.kill().unwrap();
            child.wait().unwrap();
            let mut said = String::new();
            child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
            for line in said.lines() {
                let count = line.parse::<u64>();
                assert_eq!(count, Ok(confirmed + 1), "{said}");
                confirmed += 1;
            }
            kills_while_new += u64::from(confirmed == 0);
            let found = recorded(dir.path());
            let last = found.last().copied().unwrap_or(0);
            assert_eq!(found, (1..=last).collect::<Vec<_>>());
            assert!(last == confirmed || last == confirmed + 1, "{last} found, {confirmed} confirmed");
            assert_intact(dir.path());
            unconfirmed += last - confirmed;
            confirmed = last;
        }
        assert_eq!(asides(dir.path()), [""; 0].map(PathBuf::from));
        confirmed_in_all += confirmed;
    }
    println!("{confirmed_in_all} runs, {unconfirmed} stored but not said, {kills_while_new} kills before the first");
}

#[test]
fn eight_writers_at_once_lose_nothing() {
    const RUNS: u64 = 100;
    const LEFT: u64 = 120_000;
    let dir = tempfile::tempdir().unwrap();
    let writer = |writer| recorder(dir.path(), writer, RUNS, LEFT).stdout(Stdio::piped()).spawn().unwrap();
    let writers: Vec<_> = (1..=8).map(writer).map(run::Started).collect();
    let mut counts = Vec::new();
    for mut writer in writers {
        for line in BufReader::new(writer.0.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            counts.push(line.parse::<u64>().unwrap_or_else(|_| panic!("{line}")));
        }
        assert!(writer.0.wait().unwrap().success());
    }
    counts.sort_unstable();
    let all: Vec<u64> = (1..=8 * RUNS).collect();
    assert_eq!(counts, all, "each run went on from the one before");
    assert_eq!(recorded(dir.path()), all);
    assert_intact(dir.path());
    let runs = History::open(dir.path(), LONG).unwrap().history.samples("s", ALL).unwrap();
    let of = |writer| runs.iter().filter(|run| run.sample.instance == writer).count() as u64;
    assert_eq!([1, 2, 3, 4, 5, 6, 7, 8].map(of), [RUNS; 8]);
}

#[test]
fn a_crowd_does_not_wait_for_a_lock_that_stays() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(run::run(&mut recorder(dir.path(), 1, 1, 5000)).stdout, "1\n");
    let holder = Connection::open(database(dir.path())).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let crowd = thread::scope(|scope| {
        let path = dir.path();
        let writers: Vec<_> =
            (0..8).map(|writer| scope.spawn(move || run::run(&mut recorder(path, writer, 1, 400)))).collect();
        writers.into_iter().map(|writer| writer.join().unwrap().stdout).collect::<Vec<_>>()
    });
    // All have ended while the lock stays.
    for said in crowd {
        assert!(said.starts_with("unsaved 2 ") && said.contains("locked by another process"), "{said}");
    }
    holder.execute_batch("ROLLBACK").unwrap();
    assert_eq!(recorded(dir.path()), [1]);
}

/// One run with the next count; what it found before, and why it is not stored.
fn step(history: &mut History, size: usize) -> (u64, Option<String>) {
    let updated = history.update("s", |previous| {
        let before = previous.state.map_or(0, |(_, state)| u64::from_le_bytes(*state.first_chunk().unwrap()));
        let mut state = (before + 1).to_le_bytes().to_vec();
        state.resize(size, 1);
        let sample = Sample { uptime: (before + 1) * 1000, boot: "boot".into(), ..Sample::default() };
        Ok(Step { sample, state, version: 1, value: before })
    });
    let updated = updated.unwrap();
    assert_eq!(updated.aside, None);
    (updated.value, updated.unsaved.map(|error| error.to_string()))
}

fn open(dir: &Path) -> History {
    let opened = History::open(dir, LONG).unwrap();
    assert_eq!(opened.aside, None);
    opened.history
}

#[test]
fn a_full_disk_costs_the_memory_of_the_run_and_not_its_answer() {
    on_tmpfs("a_full_disk_costs_the_memory_of_the_run_and_not_its_answer", "size=1500k", |dir| {
        fs::write(dir.join("ballast"), vec![0; 500_000]).unwrap();
        let mut history = open(dir);
        let mut stored = 0;
        let why = loop {
            // The state grows until it doesn't fit.
            match step(&mut history, 8 + stored as usize * 20_000) {
                (before, None) => {
                    assert_eq!(before, stored);
                    stored += 1;
                }
                (before, Some(why)) => {
                    assert_eq!(before, stored);
                    break why;
                }
            }
            assert!(stored < 200, "never full");
        };
        assert!(stored > 5 && why.contains("full") && why.contains("--state-dir"), "{stored}: {why}");
        drop(history);
        assert_eq!(recorded(dir), (1..=stored).collect::<Vec<_>>());

        // Full before it is opened.
        fill(&dir.join("filler"));
        let (before, unsaved) = step(&mut open(dir), 500_000);
        assert_eq!(before, stored);
        let unsaved = unsaved.expect("not stored");
        assert!(unsaved.contains("the file system is full") && !unsaved.contains('\n'), "{unsaved}");
        fs::remove_file(dir.join("filler")).unwrap();
        fs::remove_file(dir.join("ballast")).unwrap();
        assert_eq!(step(&mut open(dir), 8), (stored, None));
        assert_eq!(recorded(dir), (1..=stored + 1).collect::<Vec<_>>());
        assert_intact(dir);
    });
}

#[test]
fn a_full_disk_has_room_for_the_next_run_where_the_log_gives_it() {
    on_tmpfs("a_full_disk_has_room_for_the_next_run_where_the_log_gives_it", "size=1m", |dir| {
        for before in 0..4 {
            assert_eq!(step(&mut open(dir), 50_000), (before, None));
        }
        let db = Connection::open(database(dir)).unwrap();
        db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
        drop(db);
        assert_eq!(step(&mut open(dir), 50_000), (4, None));
        fill(&dir.join("filler"));
        let mut lost = 0;
        for _ in 0..12 {
            let (before, unsaved) = step(&mut open(dir), 50_000);
            assert!(before >= 5, "{before}");
            lost += u64::from(unsaved.is_some());
        }
        assert!((1..=6).contains(&lost), "{lost} of 12 runs not stored");
        assert_intact(dir);
    });
}

#[test]
fn a_disk_that_was_always_full_has_no_history() {
    on_tmpfs("a_disk_that_was_always_full_has_no_history", "size=256k", |dir| {
        fill(&dir.join("filler"));
        let why = History::open(dir, LONG).err().unwrap().to_string();
        assert!(why.contains("the file system is full"), "{why}");
        fs::remove_file(dir.join("filler")).unwrap();
        assert_eq!(step(&mut open(dir), 8), (0, None));
    });
}

#[test]
fn without_inodes_what_is_there_is_read() {
    on_tmpfs("without_inodes_what_is_there_is_read", "size=4m,nr_inodes=6", |dir| {
        assert_eq!(step(&mut open(dir), 8), (0, None));
        // Into the database, so that its log and index can go.
        let db = Connection::open(database(dir)).unwrap();
        db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        drop(db);
        let taken = (0..).map(|number| dir.join(format!("taken{number}")));
        let taken: Vec<_> = taken.take_while(|path| fs::write(path, "").is_ok()).collect();
        let (before, unsaved) = step(&mut open(dir), 8);
        let unsaved = unsaved.expect("not stored");
        assert!(before == 1 && unsaved.contains("no inodes left"), "{before} {unsaved}");
        fs::remove_file(database(dir)).unwrap();
        fs::write(dir.join("another"), "").unwrap();
        let why = History::open(dir, LONG).err().unwrap().to_string();
        assert!(why.contains("no inodes left"), "{why}");
        taken.iter().for_each(|path| fs::remove_file(path).unwrap());
        assert_eq!(step(&mut open(dir), 8), (0, None));
    });
}

#[test]
fn a_read_only_disk_is_read_with_its_log() {
    on_tmpfs("a_read_only_disk_is_read_with_its_log", "size=4m", |dir| {
        for before in 0..3 {
            assert_eq!(step(&mut open(dir), 8), (before, None));
        }
        assert!(fs::metadata(dir.join("history.db-wal")).unwrap().len() > 0, "nothing to show");
        let path = dir.to_string_lossy();
        mount(&["-o", "remount,ro", &path]).unwrap();
        let (before, unsaved) = step(&mut open(dir), 8);
        let unsaved = unsaved.expect("not stored");
        assert!(before == 3 && unsaved.contains("the file system is read-only"), "{before} {unsaved}");
        mount(&["-o", "remount,rw", &path]).unwrap();
        assert_eq!(step(&mut open(dir), 8), (3, None));
        assert_eq!(recorded(dir), [1, 2, 3, 4]);
    });
}

#[test]
fn a_directory_that_we_may_not_write_is_read() {
    const NAME: &str = "a_directory_that_we_may_not_write_is_read";
    if !rustix::process::geteuid().is_root() {
        skip_test(NAME, "needs root to become another user");
        return;
    }
    let parent = tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap();
    let (_copies, program) = run::public_copy(&example("recorder"));
    let dir = parent.path().join("65534");
    fs::create_dir(&dir).unwrap();
    let mode = |mode| fs::set_permissions(&dir, Permissions::from_mode(mode)).unwrap();
    std::os::unix::fs::chown(&dir, Some(65534), Some(65534)).unwrap();
    let record = |runs| run::run(run::as_nobody(&program).arg(&dir).args(["1", runs, "5000"])).stdout;
    mode(0o500);
    let said = record("1");
    assert!(said.starts_with("error ") && said.contains("Permission denied"), "{said}");
    mode(0o700);
    assert!(record("1") == "1\n");
    let db = Connection::open(database(&dir)).unwrap();
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(db);
    for name in ["history.db-wal", "history.db-shm"] {
        let _ = fs::remove_file(dir.join(name));
    }
    mode(0o500);
    let said = record("1");
    assert!(said.starts_with("unsaved 2 ") && said.contains("Permission denied"), "{said}");
    mode(0o700);
    assert!(record("1") == "2\n");
}

/// A history with a few runs, all in the database itself.
fn history_of(runs: u64) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for before in 0..runs {
        assert_eq!(step(&mut open(dir.path()), 9000), (before, None));
    }
    let db = Connection::open(database(dir.path())).unwrap();
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    dir
}

/// Where `dir` holds what no history can be: it is kept, and a new one begins.
fn assert_put_aside(dir: &Path, content: &[u8], why: &str) {
    let opened = History::open(dir, LONG).unwrap();
    let aside = opened.aside.unwrap_or_else(|| panic!("{} bytes accepted", content.len()));
    assert!(aside.to_string().contains(why), "{aside}");
    assert!(aside.to_string().contains(&*aside.path.to_string_lossy()), "{aside}");
    assert_eq!(fs::read(&aside.path).unwrap(), content, "its content is kept");
    let mut history = opened.history;
    assert_eq!(step(&mut history, 8), (0, None));
    drop(history);
    assert_eq!(step(&mut open(dir), 8), (1, None));
    assert_intact(dir);
}

#[test]
fn random_bytes_are_put_aside() {
    let mut dice = Dice(4711);
    // SQLite takes a single byte for an empty file: no content to keep.
    for length in [2, 99, 100, 512, 4096, 50_000] {
        let dir = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..length).map(|_| dice.roll() as u8).collect();
        fs::write(database(dir.path()), &bytes).unwrap();
        assert_put_aside(dir.path(), &bytes, "not a database");
    }
}

#[test]
fn a_truncated_history_is_put_aside() {
    let whole = history_of(20);
    let bytes = fs::read(database(whole.path())).unwrap();
    for length in [50, 100, 4096, 8192, bytes.len() / 2, bytes.len() - 4096] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(database(dir.path()), &bytes[..length]).unwrap();
        let aside = History::open(dir.path(), LONG).unwrap().aside.unwrap_or_else(|| panic!("{length} bytes accepted"));
        assert_eq!(fs::read(&aside.path).unwrap(), bytes[..length]);
        assert_eq!(step(&mut open(dir.path()), 8), (0, None));
    }
}

#[test]
fn damage_that_shows_only_later_is_put_aside_in_the_run() {
    let whole = history_of(20);
    let bytes = fs::read(database(whole.path())).unwrap();
    let mut put_aside = 0;
    for page in 1..bytes.len() / 4096 {
        let dir = tempfile::tempdir().unwrap();
        let mut damaged = bytes.clone();
        damaged[page * 4096..(page + 1) * 4096].fill(0xa5);
        fs::write(database(dir.path()), &damaged).unwrap();
        let opened = History::open(dir.path(), LONG).unwrap();
        let mut history = opened.history;
        let step = |previous: connleak::history::Previous| {
            let sample = Sample { uptime: 1_000_000, boot: "boot".into(), ..Sample::default() };
            Ok(Step { sample, state: vec![1], version: 1, value: previous.runs })
        };
        let updated = history.update("s", step).unwrap();
        assert!(updated.unsaved.is_none(), "page {page}: {:?}", updated.unsaved);
        if let Some(aside) = opened.aside.or(updated.aside) {
            put_aside += 1;
            assert!(aside.why == "corrupt" || aside.why.contains("tables"), "page {page}: {aside}");
            assert!(fs::metadata(&aside.path).unwrap().len() >= bytes.len() as u64);
            assert_eq!(history.samples("s", ALL).unwrap().len(), 1);
        }
    }
    assert!(put_aside > 4, "{put_aside}");
}

#[test]
fn another_program_s_database_is_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    let db = Connection::open(database(dir.path())).unwrap();
    db.execute_batch("CREATE TABLE precious (x); INSERT INTO precious VALUES (42)").unwrap();
    drop(db);
    let bytes = fs::read(database(dir.path())).unwrap();
    assert_put_aside(dir.path(), &bytes, "a database of another program");
}

#[test]
fn a_log_without_its_database_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("history.db-wal"), "precious").unwrap();
    let opened = History::open(dir.path(), LONG).unwrap();
    let path = opened.aside.expect("put aside").path;
    let log = PathBuf::from(format!("{}-wal", path.display()));
    assert_eq!(fs::read(log).unwrap(), b"precious");
}

#[test]
fn a_newer_format_is_refused_and_not_touched() {
    let dir = history_of(3);
    let db = Connection::open(database(dir.path())).unwrap();
    db.pragma_update(None, "user_version", 3).unwrap();
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(db);
    let bytes = fs::read(database(dir.path())).unwrap();
    let why = History::open(dir.path(), LONG).err().unwrap().to_string();
    assert!(why.contains("newer connleak (format 3)") && why.contains("upgrade"), "{why}");
    assert_eq!(fs::read(database(dir.path())).unwrap(), bytes);
    assert_eq!(asides(dir.path()), [""; 0].map(PathBuf::from));
}

#[test]
fn a_crowd_puts_a_broken_history_aside_once() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(database(dir.path()), "rubbish").unwrap();
    let said: Vec<_> = thread::scope(|scope| {
        let path = dir.path();
        let writers: Vec<_> =
            (1..=8).map(|writer| scope.spawn(move || run::run(&mut recorder(path, writer, 20, 120_000)))).collect();
        writers.into_iter().map(|writer| writer.join().unwrap().stdout).collect()
    });
    let lines: Vec<&str> = said.iter().flat_map(|said| said.lines()).collect();
    assert_eq!(lines.iter().filter(|line| line.starts_with("aside ")).count(), 1, "{lines:?}");
    assert_eq!(recorded(dir.path()), (1..=160).collect::<Vec<_>>());
    assert_eq!(asides(dir.path()).len(), 1);
    assert_eq!(fs::read(&asides(dir.path())[0]).unwrap(), b"rubbish");
}

#[test]
fn a_disk_that_breaks_every_file_is_not_filled_with_them() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..8 {
        fs::write(database(dir.path()), "rubbish").unwrap();
        assert!(History::open(dir.path(), LONG).unwrap().aside.is_some());
    }
    fs::write(database(dir.path()), "rubbish").unwrap();
    let why = History::open(dir.path(), LONG).err().unwrap().to_string();
    assert!(why.contains("8 were put aside before"), "{why}");
    assert_eq!(asides(dir.path()).len(), 8);
    assert_eq!(fs::read(database(dir.path())).unwrap(), b"rubbish");
}
