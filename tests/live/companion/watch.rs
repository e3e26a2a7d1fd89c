//! connleak watch on a terminal and without one, on connections that are really leaked.

use crate::companion::run::{any, connleak, looks, wait_for_looks};
use crate::lab::run::{CONNLEAK, GROWTH, PATIENCE, poll, run, start};
use crate::lab::{CLOSE_WAIT, Lab, Peer};
use crate::tmux::Tmux;
use connleak::history::{History, series};
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

fn state() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A watch of port 4242 that looks often, as a shell's line.
fn line(state: &TempDir, more: &str) -> String {
    format!("{CONNLEAK} watch -p4242 --interval 200ms --state-dir {} {more}", state.path().display())
}

/// The client opens `count` more and forgets them.
fn leak((server, client): &mut (Peer, Peer), count: u32) {
    client.say(&format!("connect leaked 127.0.0.1:4242 {count}"));
    server.say(&format!("accept leaked l {count}"));
}

#[test]
fn lines_tell_what_grows_and_the_history_and_the_csv_know_it_too() {
    Lab::test(|lab| {
        let (state, mut ends) = (state(), lab.connected("127.0.0.1:4242", 3));
        let csv = state.path().join("watch.csv");
        let (csv_text, dir) = (csv.to_str().unwrap(), state.path().to_str().unwrap());
        let options = ["watch", "-p4242", "--interval=500ms", "--for=3s", "--csv", csv_text, "--state-dir", dir];
        let watch = start(Command::new(CONNLEAK).args(options));
        wait_for_looks(&csv, 1);
        leak(&mut ends, 14);
        let shown = watch.end();
        assert_eq!((shown.code, shown.stderr.as_str()), (0, ""), "{shown:?}");
        let lines: Vec<_> = shown.stdout.lines().collect();
        assert_eq!(lines[0], "port 4242, both sides, every 500ms");
        assert!(lines[1].contains(" ESTABLISHED 3 (idle ") && lines[1].ends_with("peer 3 (+0)"), "{shown:?}");
        let last = lines[lines.len() - 2];
        assert!(last.contains(" ESTABLISHED 17 (idle ") && last.ends_with("peer 17 (+14)"), "{shown:?}");
        let summary = lines[lines.len() - 1];
        assert!(summary.starts_with("port 4242, both sides: grew 14 in "), "{shown:?}");
        assert!(summary.ends_with("s, all by peer; opened 14, closed 0"), "{shown:?}");
        assert!(!shown.stdout.contains('\u{1b}'));

        let rows = std::fs::read_to_string(&csv).unwrap();
        let rows: Vec<Vec<&str>> = rows.lines().map(|row| row.split(',').collect()).collect();
        assert_eq!(rows.len(), lines.len() - 1, "{rows:?}");
        assert_eq!(
            (rows[0][0], rows[0][1], rows[1][1], rows[rows.len() - 1][1]),
            ("timestamp", "connections", "3", "17")
        );
        let times: Vec<f64> = rows[1..].iter().map(|row| row[0].parse().unwrap()).collect();
        assert!(times.is_sorted_by(|a, b| a < b) && times[0] > 1.7e9, "{times:?}");

        // The check finds what the watch recorded under its own name.
        let history = History::open(&state.path().join("0"), Duration::from_secs(5)).unwrap().history;
        let services = history.services().unwrap();
        assert_eq!(services.iter().map(|key| series::name(key)).collect::<Vec<_>>(), ["port 4242 both"]);
        let samples = history.samples(&services[0], Duration::from_secs(600)).unwrap();
        assert_eq!((samples.len(), samples.last().unwrap().sample.counts[0]), (rows.len() - 1, 17));
        drop(history);
        let check = GROWTH.run(&["-p4242", "--state-dir", dir]);
        assert!(check.code == 0 && !check.text().contains("learning, 1 sample"), "{check:?}");
        assert_eq!(check.value("opened"), 0.0, "{check:?}");
    });
}

#[test]
fn a_terminal_shows_chart_ages_and_owners() {
    Lab::test(|lab| {
        let (state, mut ends) = (state(), lab.connected("127.0.0.1:4242", 3));
        let Some(tmux) = Tmux::start(lab, (100, 30), &line(&state, "")) else { return };
        tmux.wait_for(&["port 4242, both sides, ", "every 200ms, q quits", "ESTABLISHED 3", "3     +0  peer"]);
        leak(&mut ends, 9);
        ends.0.say("close s");
        lab.wait_for(CLOSE_WAIT, 4242, 3);
        let shown =
            tmux.wait_for(&["ESTABLISHED 9", "█ CLOSE_WAIT 3 (oldest ", "12     +9  peer", "in CLOSE_WAIT", "9│"]);
        std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("watch-screen.txt"), &shown).unwrap();
        assert!(tmux.is_alternate(), "{shown}");
        // The chart: an axis, ESTABLISHED's dots, CLOSE_WAIT's blocks.
        assert!(
            shown.contains('└') && shown.lines().take(15).any(|line| line.contains(['⠤', '⣀', '⠒', '⠉', '⠊'])),
            "{shown}"
        );
        tmux.press("q");
        let ended =
            tmux.wait_for(&["port 4242, both sides: grew 9 in ", "all by peer", "CLOSE_WAIT 0 to 3", "ended 0"]);
        assert!(!tmux.is_alternate(), "{ended}");
    });
}

#[test]
fn forty_columns_fit_and_a_resize_is_followed() {
    Lab::test(|lab| {
        let (state, _ends) = (state(), lab.connected("127.0.0.1:4242", 3));
        let Some(tmux) = Tmux::start(lab, (40, 12), &line(&state, "")) else { return };
        let narrow = tmux.wait_for(&["port 4242, both sides, ", "ESTABLISHED 3", "3     +0  peer"]);
        assert!(!narrow.contains("q quits") && !narrow.contains("in CLOSE_WAIT"), "{narrow}");
        tmux.resize(100, 30);
        tmux.wait_for(&["q quits", "in CLOSE_WAIT", "3     +0  peer"]);
        tmux.resize(15, 4);
        tmux.wait_for(&["port 4242, both"]);
        tmux.resize(80, 24);
        tmux.wait_for(&["q quits", "3     +0  peer"]);
        tmux.press("C-c");
        tmux.wait_for(&["no growth in ", "ended 0"]);
    });
}

#[test]
fn the_terminal_is_given_back_on_a_signal() {
    Lab::test(|lab| {
        for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
            let (state, _ends) = (state(), lab.connected("127.0.0.1:4242", 1));
            let Some(tmux) = Tmux::start(lab, (80, 24), &line(&state, "")) else { return };
            tmux.wait_for(&["ESTABLISHED 1"]);
            let pid = Pid::from_raw(tmux.program().cast_signed()).unwrap();
            kill_process(pid, signal).unwrap();
            let ended = tmux.wait_for(&["no growth in ", "ended 0", "icanon"]);
            assert!(!ended.contains("-icanon") && !tmux.is_alternate(), "{ended}");
        }
    });
}

/// Whoever reads the end of a terminal that is gone reads it for ever.
#[test]
fn a_terminal_that_goes_ends_the_watch() {
    Lab::test(|lab| {
        let (state, _ends) = (state(), lab.connected("127.0.0.1:4242", 3));
        let Some(tmux) = Tmux::start(lab, (80, 24), &line(&state, "")) else { return };
        tmux.wait_for(&["ESTABLISHED 3"]);
        let program = format!("/proc/{}", tmux.program());
        drop(tmux);
        assert!(poll(PATIENCE, || !Path::new(&program).exists()), "{program} is still there");
    });
}

#[test]
fn a_dumb_terminal_gets_lines() {
    Lab::test(|lab| {
        let (state, _ends) = (state(), lab.connected("127.0.0.1:4242", 3));
        let Some(tmux) = Tmux::start(lab, (120, 24), &format!("TERM=dumb {}", line(&state, "--for 1s"))) else {
            return;
        };
        let shown = tmux.wait_for(&["every 200ms", " ESTABLISHED 3 (idle ", "no growth in ", "ended 0"]);
        assert!(!shown.contains('│'), "{shown}");
    });
}

#[test]
fn an_interrupt_ends_plain_lines_with_the_summary() {
    Lab::test(|lab| {
        let (state, _ends) = (state(), lab.connected("127.0.0.1:4242", 3));
        let csv = state.path().join("watch.csv");
        let line = format!("exec {}", line(&state, &format!("--csv {}", csv.display())));
        let watch = start(Command::new("sh").args(["-c", &line]));
        wait_for_looks(&csv, 2);
        kill_process(Pid::from_child(watch.process()), Signal::INT).unwrap();
        let shown = watch.end();
        assert_eq!(shown.code, 0, "{shown:?}");
        assert!(shown.stdout.trim_end().lines().last().unwrap().contains(": no growth in "), "{shown:?}");
    });
}

#[test]
fn one_process_is_watched_with_its_descriptors_and_memory_until_its_end() {
    Lab::test(|lab| {
        let (state, mut ends) = (state(), lab.connected("127.0.0.1:4242", 3));
        let pid = ends.1.pid().to_string();
        let csv = state.path().join("watch.csv");
        let (csv_text, dir) = (csv.to_str().unwrap(), state.path().to_str().unwrap());
        let options = ["watch", "--pid", &pid, "--interval=200ms", "--csv", csv_text, "--state-dir", dir];
        let watch = start(Command::new(CONNLEAK).args(options));
        wait_for_looks(&csv, 1);
        leak(&mut ends, 4);
        wait_for_looks(&csv, looks(&csv) + 2);
        ends.1.end();
        let shown = watch.end();
        assert_eq!((shown.code, shown.stderr.as_str()), (0, ""), "{shown:?}");
        let summary = shown.stdout.lines().last().unwrap();
        assert!(summary.starts_with(&format!("pid {pid}: grew 4 in ")), "{summary}");
        assert!(summary.contains("all by peer; opened 4, closed 0; descriptors "), "{summary}");
        assert!(summary.contains("; memory ") && summary.ends_with("the process has ended"), "{summary}");
    });
}

#[test]
fn a_full_disk_is_said_and_the_csv_ends_with_a_whole_row() {
    Lab::test(|lab| {
        let (state, _ends) = (state(), lab.connected("127.0.0.1:4242", 3));
        let csv = state.path().join("w.csv");
        // A first watch writes the header; the disk has room for a page, and the rows fill it.
        connleak(&[
            "watch",
            "-p4242",
            "--for=0",
            "--csv",
            csv.to_str().unwrap(),
            "--state-dir",
            state.path().to_str().unwrap(),
        ]);
        let text = std::fs::read_to_string(&csv).unwrap();
        let row = text.lines().last().unwrap();
        let seed = format!("{}{}", text, format!("{row}\n").repeat((4000 - text.len()) / (row.len() + 1)));
        std::fs::write(&csv, seed).unwrap();
        let disk = state.path().join("disk");
        std::fs::create_dir(&disk).unwrap();
        let script = format!(
            "mount -t tmpfs -o size=8k none {disk} && cp {csv} {disk} && head -c 4096 /dev/zero > {disk}/fill || exit 9\n\
             {watch} --for 3s --csv {disk}/w.csv; echo ended $?; cat {disk}/w.csv",
            disk = disk.display(),
            csv = csv.display(),
            watch = line(&state, "")
        );
        let shown = run(Command::new("unshare").args(["-m", "sh", "-c", &script]));
        if shown.code == 9 || shown.stderr.contains("unshare:") {
            return lab.skip(&format!("no small disk: {}", shown.stderr));
        }
        let why = "w.csv: No space left on device";
        assert!(shown.stdout.contains(&format!("note: can't write {}/{why}", disk.display())), "{shown:?}");
        assert!(shown.stderr.ends_with(&format!("{why}; what was written before is whole\n")), "{shown:?}");
        assert!(shown.stdout.contains("ended 3") && shown.stdout.contains("no growth in "), "{shown:?}");
        let written = shown.stdout.split("ended 3\n").nth(1).unwrap();
        assert!(written.ends_with('\n') && written.len() > 4000, "{} bytes", written.len());
        assert!(written.lines().all(|line| line.split(',').count() == row.split(',').count()), "{written}");
    });
}

#[test]
fn what_can_t_be_watched_is_one_line() {
    Lab::test(|_| {
        for (options, says) in [
            (
                &["watch"][..],
                "which service? give its port (-p 11211), UNIX socket (--unix /run/x.sock), profile (-P memcached), --pid",
            ),
            (&["watch", "--pid", "4194304"], "no process 4194304"),
            (&["watch", "-p4242", "--csv", "/proc/x/y"], "can't write /proc/x/y: No such file"),
        ] {
            let refused = any(options);
            assert_eq!((refused.code, refused.stdout.as_str()), (3, ""), "{refused:?}");
            assert!(refused.stderr.starts_with("connleak: ") && refused.stderr.contains(says), "{refused:?}");
            assert_eq!(refused.stderr.lines().count(), 1, "{refused:?}");
        }
    });
}
