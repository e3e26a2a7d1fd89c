//! `connleak graph`: what it refuses, what it says, and its page in a real browser.

#[path = "support/lab.rs"]
mod lab;

use connleak::history::{Group, History, Sample};
use lab::run::Outcome;
use lab::{example, run, skip_test};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const CONNLEAK: &str = env!("CARGO_BIN_EXE_connleak");
const MINUTE: i64 = 60;
const START: i64 = 1_795_200_000;

fn graph(dir: &Path, args: &[&str]) -> Outcome {
    run::run(Command::new(CONNLEAK).arg("graph").args(args).current_dir(dir))
}

/// One line that says what is wrong, exit 3, no page.
#[track_caller]
fn refused(dir: &Path, args: &[&str], says: &[&str]) {
    let outcome = graph(dir, args);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (3, ""), "{args:?} {outcome:?}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{args:?} {outcome:?}");
    assert!(says.iter().all(|says| outcome.stderr.contains(says)), "{args:?} {outcome:?}");
    assert!(!dir.join("connleak.html").exists(), "{args:?} left a page");
}

/// The page of a file with this content, and what was said of it.
#[track_caller]
fn drawn(content: impl AsRef<[u8]>, args: &[&str]) -> (String, String) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("x.csv"), content).unwrap();
    let outcome = graph(dir.path(), &[&["x.csv"], args].concat());
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
    (fs::read_to_string(dir.path().join("connleak.html")).unwrap(), outcome.stdout)
}

#[test]
fn bad_files_are_refused_with_the_line() {
    for (content, says) in [
        (&b""[..], "no samples; lines are timestamp,count"),
        (b"\n\n", "no samples"),
        (b"timestamp,count\n", "no samples"),
        (b"1\n", "line 1: '1': 1 fields"),
        (b"5,x", "line 1: count 'x'"),
        (b"x,5", "line 1: time 'x'"),
        (b"timestamp,count\n1,2\nfoo\n", "line 3: 'foo'"),
        (b"1,2\n\n2,\n", "line 3: count ''"),
        (b"nan,5", "line 1: time 'nan'"),
        (b"-1,5", "line 1: time '-1'"),
        (b"1,inf", "line 1: count 'inf'"),
        (b"1,NaN", "line 1: count 'NaN'"),
        (b"1,-3", "line 1: count '-3'"),
        (b"1e400,3", "line 1: time '1e400'"),
        (b"1700000000000,5", "not milliseconds"),
        (b"1,2,3\n1,2\n", "line 2: 2 fields where 3 were expected"),
        (b"timestamp,,a\n1,2,3\n", "line 1: a column without a name"),
        (b"\x7fELF\x02\x01\x01\xff\xfe\n", "line 1: not UTF-8; is it CSV?"),
        (&[b'1'; 5000], "line 1: over 4096 bytes"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("x.csv"), content).unwrap();
        refused(dir.path(), &["x.csv"], &["x.csv: ", says]);
    }
}

#[test]
fn bad_files_outputs_and_options_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    fs::write(path.join("x.csv"), "1,2\n2,3\n").unwrap();
    fs::create_dir(path.join("folder")).unwrap();
    refused(path, &["none.csv"], &["none.csv: can't read: No such file"]);
    refused(path, &["folder"], &["folder: Is a directory"]);
    refused(path, &["/dev/zero"], &["/dev/zero: line 1: over 4096 bytes"]);
    refused(path, &["x.csv", "-O", "folder"], &["folder: not a plain file"]);
    refused(path, &["x.csv", "-O", "/dev/full"], &["/dev/full: not a plain file"]);
    refused(path, &["x.csv", "-O", "none/x.html"], &["can't write none/x.html: No such file"]);
    refused(path, &["x.csv", "-O", ""], &["-O has no name"]);
    refused(path, &["x.csv", "-O", "x.csv"], &["x.csv: the page would replace what it is drawn from"]);
    refused(path, &["x.csv", "-O", "leak.SVG"], &["leak.SVG: ", "browser"]);
    refused(path, &["x.csv", "-O", "leak.png"], &["write .html"]);
    refused(path, &["x.csv", "-O", "-", "--open"], &["--open needs a file"]);
    refused(path, &["x.csv", "--since", "5x"], &["'5x'"]);
    refused(path, &["x.csv", "--limit", "-1"], &["'-1'"]);
    refused(path, &["-p", "11211", "--limit", "5"], &["--limit and --skip-bad are for CSV files"]);
    refused(path, &["x.csv", "--nonsense"], &["--nonsense"]);
    refused(path, &["-p", "0", "--state-dir", "s"], &["bad port '0'"]);
    assert_eq!(fs::read_to_string(path.join("x.csv")).unwrap(), "1,2\n2,3\n");
    let binary =
        run::run(Command::new("sh").args(["-c", "\"$0\" graph x.csv -O - >/dev/full", CONNLEAK]).current_dir(path));
    assert!(binary.code == 3 && binary.stderr.contains("can't write standard output: No space left"), "{binary:?}");
}

#[test]
fn a_history_without_what_is_asked_for_says_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    refused(path, &["--state-dir", "state"], &["no history; check_conn_growth records it"]);
    assert!(!path.join("state").exists(), "a reader makes nothing");
    record(&path.join("state"), "memcached:11211 both", "php-fpm");
    refused(
        path,
        &["-p", "3306", "--state-dir", "state"],
        &["'mysql:3306 both'", "recorded are 'memcached:11211 both'"],
    );
    refused(path, &["-p", "11211", "--side", "server", "--state-dir", "state"], &["'memcached:11211 server'"]);
    refused(path, &["--unit", "gone.service", "--state-dir", "state"], &["'all ports unit gone.service'"]);
    let outcome = graph(path, &["-p11211", "--state-dir=state"]);
    assert!(outcome.code == 0 && outcome.stdout.contains("memcached:11211 both: 30 samples"), "{outcome:?}");
    let history = path.join("state").join(uid()).join("history.db");
    fs::write(&history, "no database at all").unwrap();
    fs::remove_file(path.join("connleak.html")).unwrap();
    refused(path, &["-p", "11211", "--state-dir", "state"], &["history.db: ", "not a database"]);
    assert_eq!(fs::read_to_string(history).unwrap(), "no database at all", "putting it aside is the check's");
}

fn uid() -> String {
    rustix::process::geteuid().as_raw().to_string()
}

/// Half an hour of a service whose connections are all of one owner.
fn record(state_dir: &Path, service: &str, owner: &str) {
    let dir = connleak::history::state_dir::open(Some(state_dir)).unwrap();
    let mut history = History::open(&dir, Duration::from_secs(20)).unwrap().history;
    for minute in 0..30i64 {
        let mut sample = Sample {
            wall: (START + minute * MINUTE) * 1000,
            uptime: (5000 + minute * MINUTE) as u64 * 1000,
            boot: "boot".into(),
            groups: vec![Group { name: owner.into(), count: 10 }],
            ..Sample::default()
        };
        sample.counts[0] = 10;
        history.record(service, &sample, b"", 0).unwrap();
    }
}

#[test]
fn untidy_files_are_drawn_and_what_was_done_is_said() {
    let tidy = "timestamp,count\n1700000000,5\n1700000060,6\n";
    let (page, said) = drawn(tidy, &[]);
    assert!(said.contains("x.csv: 2 samples.") && page.contains("[1700000000000,1700000060000]"), "{said}");
    let same = |content: &[u8]| assert!(drawn(content, &[]).0.contains("[1700000000000,1700000060000]"), "{content:?}");
    same(b"\xef\xbb\xbftimestamp,count\r\n1700000000,5\r\n1700000060,6\r\n");
    same(b"1700000000,5\n1700000060,6");
    same(b"\"timestamp\", \"count\"\n\"1700000000\" , 5\n1700000060, \"6\"\n");
    let (page, said) = drawn("1700000060,6\n1700000000,4\n1700000000,5\n", &[]);
    assert!(
        page.contains("[1700000000000,1700000060000]") && page.contains("[5.0,6.0]"),
        "order or the last of a time"
    );
    assert!(said.contains("goes back in 1 place") && said.contains("Of 1 line with the time of another"), "{said}");
    let (page, said) = drawn("rubbish\n1700000000,5\nnan,nan\n1700000060,6\n\u{0},1\n", &["--skip-bad"]);
    assert!(said.contains("3 bad lines skipped: 1, 3, 5") && page.contains("3 bad lines skipped"), "{said}");
    let (page, _) = drawn("1700000000,5\n1700000060,6\n1700000120,7\n1700009000,8\n1700009060,9\n", &["--since", "60"]);
    assert!(page.contains("[1700009000000,1700009060000]"));
}

#[test]
fn a_state_that_never_was_is_drawn_where_it_is_all_there_is() {
    for header in ["time,time_wait", "time,time_wait,fds", "time,limit,time_wait"] {
        let zeros = ",0".repeat(header.matches(',').count());
        let rows: String = (0..8).map(|minute| format!("{}{zeros}\n", 1_700_000_000 + 60 * minute)).collect();
        let (page, said) = drawn(format!("{header}\n{rows}"), &["--since", "3m"]);
        assert!(said.contains("x.csv: 4 samples.") && page.contains("TIME_WAIT"), "{header}: {said}");
    }
}

#[test]
fn a_page_is_written_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    fs::create_dir(&disk).unwrap();
    fs::write(dir.path().join("x.csv"), "1,2\n2,3\n").unwrap();
    let script = "mount -t tmpfs -o size=1m none disk && echo old > disk/x.html && \
                  { \"$0\" graph x.csv -O disk/x.html; echo $?; ls -A disk; cat disk/x.html; }";
    let outcome = run::run(Command::new("unshare").args(["-m", "sh", "-c", script, CONNLEAK]).current_dir(dir.path()));
    if outcome.stderr.contains("unshare") || outcome.stderr.contains("mount") {
        return skip_test("a_page_is_written_whole_or_not_at_all", outcome.stderr.trim());
    }
    assert_eq!(outcome.stdout, "3\nx.html\nold\n", "{outcome:?}");
    let line = "connleak: can't write ";
    assert!(outcome.stderr.starts_with(line) && outcome.stderr.contains("No space left on device"), "{outcome:?}");
}

/// What the browser saw; `None`: skipped.
fn look(name: &'static str, page: &Path, shots: &Path) -> Option<Value> {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("venv");
    let support = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support");
    let made = Command::new(support.join("venv")).arg(&venv).status().is_ok_and(|status| status.success());
    let browser = Command::new("chromium").arg("--version").output().is_ok_and(|output| output.status.success());
    if !made || !browser {
        skip_test(name, if made { "no Chromium" } else { "no Python with packages" });
        return None;
    }
    let mut command = Command::new(venv.join("bin/python"));
    let output = command.arg(support.join("browser.py")).args([page, shots]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

fn line<'a>(seen: &'a Value, chart: usize, name: &str) -> &'a Value {
    let lines = seen["charts"][chart]["lines"].as_array().unwrap();
    lines.iter().find(|line| line["name"] == name).unwrap_or_else(|| panic!("no line {name}"))
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap_or(f64::NAN)).collect()
}

/// No error in the console, nothing loaded but the page, and it can be used.
fn assert_sound(seen: &Value) {
    assert_eq!(seen["wrong"], Value::Array(Vec::new()));
    assert_eq!(seen["requests"].as_array().unwrap().len(), 1, "{}", seen["requests"]);
    let (before, zoomed) = (numbers(&seen["before"]), numbers(&seen["zoomed"]));
    let width = |range: &[f64]| range[1] - range[0];
    assert!(width(&zoomed) < 0.5 * width(&before) && zoomed[0] > before[0], "{before:?} {zoomed:?}");
    let brightness = |shot: &str| numbers(&seen[shot]).iter().sum::<f64>();
    assert!(brightness("light") > 600.0 && brightness("toggled") > 600.0 && brightness("dark") < 200.0, "{seen}");
}

#[test]
fn a_recorded_leak_in_a_browser() {
    let dir = tempfile::tempdir().unwrap();
    // Ten hours of the detector without optimisation may take as many seconds.
    let recorded = Command::new(example("recorded_leak")).arg(dir.path().join("state")).arg("600").status();
    assert!(recorded.unwrap().success());
    let outcome = graph(dir.path(), &["-p", "11211", "--state-dir", "state", "-O", "leak.html", "--title", "Shop"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let Some(seen) = look("a_recorded_leak_in_a_browser", &dir.path().join("leak.html"), dir.path()) else { return };
    assert_sound(&seen);
    let opened = History::open(&dir.path().join("state").join(uid()), Duration::from_secs(20)).unwrap();
    let runs = opened.history.samples("memcached:11211 both", Duration::from_secs(86_400)).unwrap();
    let shift = runs.last().map_or(0, |run| run.sample.wall - run.at);
    let established = line(&seen, 0, "ESTABLISHED");
    let times: Vec<f64> = runs.iter().map(|run| (run.at + shift) as f64).collect();
    assert_eq!(numbers(&established["x"]), times);
    let counts: Vec<f64> = runs.iter().map(|run| run.sample.counts[0] as f64).collect();
    assert_eq!(numbers(&established["y"]), counts);
    for owner in ["php-fpm@shop.service", "queue-worker.service", "report.service"] {
        let group = |groups: &[Group]| groups.iter().find(|group| group.name == owner).map_or(0, |group| group.count);
        let counts: Vec<f64> = runs.iter().map(|run| group(&run.sample.groups) as f64).collect();
        assert_eq!(numbers(&line(&seen, 0, owner)["y"]), counts, "{owner}");
    }
    assert!(numbers(&line(&seen, 0, "limit")["y"]).iter().all(|limit| *limit == 512.0));
    let restarted =
        times[runs.windows(2).position(|pair| pair[0].sample.instance != pair[1].sample.instance).unwrap() + 1];
    assert_eq!(numbers(&line(&seen, 0, "service restarted")["x"]), [restarted]);
    let first = runs.iter().position(|run| run.sample.leak).unwrap();
    assert_eq!(numbers(&line(&seen, 0, "alarm")["x"])[0], times[first]);
    // The story's leak begins at 5/8.
    let trend = numbers(&line(&seen, 0, "trend")["x"]);
    assert!((trend[0] - times[375]).abs() < 20.0 * 60_000.0, "{}", trend[0] - times[375]);
    let forecast = line(&seen, 0, "forecast");
    assert!(numbers(&forecast["x"])[1] > times[599] && numbers(&forecast["y"])[1] > counts[599], "{forecast}");
    assert!(seen["text"].as_str().unwrap().contains("Leak in php-fpm@shop.service: +0."), "{}", seen["text"]);
    let hover = seen["hover"].as_str().unwrap();
    assert!(hover.contains("ESTABLISHED :") && hover.contains("queue-worker.service :"), "{hover}");
    assert_eq!(seen["title"], "Shop");
    assert_eq!(seen["table"]["names"][1], "ESTABLISHED");
    assert!((150..400).contains(&seen["table"]["rows"].as_u64().unwrap()), "of the zoomed range: {}", seen["table"]);
    // What lies outside of the picture stays in the lines.
    assert_eq!(seen["zoomed_charts"][0]["lines"][0]["x"].as_array().unwrap().len(), 600);
}

#[test]
fn a_hundred_thousand_points_draw_soon_and_keep_their_extremes() {
    let dir = tempfile::tempdir().unwrap();
    let mut csv = String::new();
    for second in 0..100_000i64 {
        let spike = if second == 77_777 { 500 } else { 0 };
        writeln!(csv, "{},{}", START + second, 200 + (second * 7919) % 50 + spike).unwrap();
    }
    fs::write(dir.path().join("big.csv"), csv).unwrap();
    let outcome = graph(dir.path(), &["big.csv", "--limit", "1000"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let name = "a_hundred_thousand_points_draw_soon_and_keep_their_extremes";
    let Some(seen) = look(name, &dir.path().join("connleak.html"), dir.path()) else { return };
    assert_sound(&seen);
    let millis = seen["drawn_millis"].as_f64().unwrap();
    println!("100,000 points drawn {millis:.0} ms after the page was opened");
    assert!(millis < 10_000.0, "{millis}");
    let count = line(&seen, 0, "count");
    assert!(count["x"].as_array().unwrap().len() < 10_000);
    let (times, counts) = (numbers(&count["x"]), numbers(&count["y"]));
    let spike = counts.iter().position(|count| *count > 600.0).expect("the spike is drawn");
    assert_eq!(times[spike], (START + 77_777) as f64 * 1000.0);
    assert!(seen["text"].as_str().unwrap().contains("100,000 samples in view, drawn as"), "{}", seen["text"]);
}

#[test]
fn hostile_names_stay_text() {
    const HOSTILE: &str =
        "</script><script>alert(1)</script><img src=x onerror=alert(2)> \"'`${1}\\ %{x} \n\u{202e}&lt;";
    let dir = tempfile::tempdir().unwrap();
    record(&dir.path().join("state"), "memcached:11211 both", HOSTILE);
    let file: PathBuf = dir.path().join("a<script>alert(3)<script>'\".csv");
    let mut csv = "timestamp,</script><script>alert(4)</script>\n".to_owned();
    (0..60).for_each(|minute| writeln!(csv, "{},{}", START + minute * MINUTE, 9 + minute % 3).unwrap());
    fs::write(&file, csv).unwrap();
    let file = file.to_str().unwrap();
    let outcome = graph(dir.path(), &["-p", "11211", "--state-dir", "state", "--title", HOSTILE, file]);
    assert!(outcome.code == 0 && !outcome.stdout.contains('\u{202e}'), "{outcome:?}");
    let page = dir.path().join("connleak.html");
    let text = fs::read_to_string(&page).unwrap();
    for number in 1..=4 {
        assert!(!text.contains(&format!("<script>alert({number})")), "alert({number})");
    }
    let Some(seen) = look("hostile_names_stay_text", &page, dir.path()) else { return };
    assert_sound(&seen);
    assert_eq!(seen["charts"].as_array().unwrap().len(), 2);
    assert!(seen["title"].as_str().unwrap().starts_with("</script><script>alert(1)"), "{}", seen["title"]);
}

#[test]
fn the_browser_that_is_not_there_is_said_and_the_page_stays() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("x.csv"), "1,2\n2,3\n").unwrap();
    let with_path = |path: &Path| {
        let mut command = Command::new(CONNLEAK);
        command.args(["graph", "x.csv", "--open"]).env("PATH", path).current_dir(dir.path());
        run::run(&mut command)
    };
    let outcome = with_path(Path::new("/nonexistent"));
    assert!(outcome.code == 3 && outcome.stderr.contains("xdg-open can't show it: No such file"), "{outcome:?}");
    assert!(dir.path().join("connleak.html").exists());
    let opener = opener();
    assert_eq!(with_path(opener.path()).code, 0);
    assert!(fs::read_to_string(opener.path().join("opened")).unwrap().trim().ends_with("/connleak.html"));
}

/// A folder with an `xdg-open` that keeps what it was given.
fn opener() -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("xdg-open");
    fs::write(&script, format!("#!/bin/sh\necho \"$1\" > {}/opened\n", dir.path().display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

/// A check runs as the scheduler's user, who looks at it is often root.
#[test]
fn root_sees_the_history_of_every_user() {
    const NAME: &str = "root_sees_the_history_of_every_user";
    if !rustix::process::geteuid().is_root() {
        return skip_test(NAME, "needs root");
    }
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    fs::create_dir(&state).unwrap();
    for path in [dir.path(), &state] {
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    // As the packages make it for a user.
    fs::create_dir(state.join("65534")).unwrap();
    fs::set_permissions(state.join("65534"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    std::os::unix::fs::chown(state.join("65534"), Some(65534), Some(65534)).unwrap();
    let to = ["--state-dir", state.to_str().unwrap()];
    let args = ["-p4712", "--limit=9", to[0], to[1]];
    assert_eq!(run::GROWTH.unprivileged(&args).code, 0);
    let page = || fs::read_to_string(dir.path().join("connleak.html")).unwrap();
    let outcome = graph(dir.path(), &to);
    assert!(outcome.code == 0 && outcome.stdout.contains("port 4712 both (of nobody): 1 sample"), "{outcome:?}");
    assert!(page().contains("(of nobody)"));
    assert_eq!(run::GROWTH.run(&["-p4713", "--limit=9", to[0], to[1]]).code, 0);
    let outcome = graph(dir.path(), &to);
    assert!(outcome.code == 0 && outcome.stdout.contains("port 4712 both (of nobody)"), "{outcome:?}");
    assert!(outcome.stdout.contains("port 4713 both: "), "{outcome:?}");
    let outcome = graph(dir.path(), &["-p4714", to[0], to[1]]);
    assert!(outcome.code == 3 && outcome.stderr.contains("'port 4712 both'"), "{outcome:?}");
    // A folder that isn't its user's is nobody's.
    fs::create_dir(state.join("1")).unwrap();
    assert_eq!(graph(dir.path(), &to).code, 0);
}
