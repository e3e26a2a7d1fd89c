//! Processes that call themselves what a scheduler, a grapher or a terminal would obey, or live in endless cgroups.

use crate::lab::Lab;
use crate::lab::run::{CLOSEWAIT, GROWTH, ORPHANS, check, check_unprivileged, unique};
use std::fs;
use std::path::{Path, PathBuf};

fn hex(name: &[u8]) -> String {
    name.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a socket holder's name makes of every output. `comm` holds 15 bytes.
fn assert_harmless(lab: &Lab, name: &[u8], shown: &str) {
    assert!(name.len() <= 15);
    let mut server = lab.leaking_server("127.0.0.1:11211", 2);
    server.say(&format!("rename {}", hex(name)));
    let look = ["-p11211", "--side=server", "--min-age=0s", "-w0", "-c100"];
    for verbosity in [&[][..], &["-v"], &["-vv"], &["-vvv"], &["-vv", "--by=owner"], &["-v", "--by=unit"]] {
        let outcome = check(&[&look, verbosity].concat());
        assert_eq!(outcome.code, 1, "{outcome:?}");
        let output = outcome.output();
        assert_eq!(output.metrics.len(), 7, "{outcome:?}");
        assert!(output.text.contains(&format!("held by {shown}[{}]", server.pid())), "{outcome:?}");
    }
    let outcome = check(&[&look[..], &["-ojson"]].concat());
    assert_eq!(outcome.json()["owners"][0]["command"], *String::from_utf8_lossy(name), "{outcome:?}");
    assert!(!outcome.stdout.trim_end().contains(['|', '\n', '\u{1b}']), "{outcome:?}");
}

#[test]
fn strips_pipe_perfdata_forgery() {
    Lab::test(|lab| assert_harmless(lab, b"x|evil=1;;", "x/evil:1;;"));
}

#[test]
fn strips_newline_and_ansi_escape_forgery() {
    Lab::test(|lab| assert_harmless(lab, b"y\n\x1b[2KOK - \r", "y??[2KOK - ?"));
}

#[test]
fn strips_direction_override_forgery() {
    Lab::test(|lab| assert_harmless(lab, "z\u{202e}ko\u{7f}".as_bytes(), "z?ko?"));
}

#[test]
fn bytes_that_are_no_text_are_shown_as_such() {
    Lab::test(|lab| assert_harmless(lab, b"w\xff\xc3(\xed\xa0\x80|", "w\u{fffd}\u{fffd}(\u{fffd}\u{fffd}\u{fffd}/"));
}

/// A cgroup for one test, as deep as a path can lead.
struct Deep(Vec<PathBuf>);

impl Deep {
    /// `None`: none can be made here.
    fn new() -> Option<Deep> {
        let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
        let root = roots.into_iter().find(|root| root.join("cgroup.controllers").exists())?;
        let mut deep = Deep(Vec::new());
        let first = format!("connleak-{}|=\u{1b}[2K", unique());
        let mut path = root.join(&first);
        while path.as_os_str().len() + 200 < 4096 {
            fs::create_dir(&path).ok()?;
            deep.0.push(path.clone());
            path = path.join("n".repeat(180));
        }
        Some(deep)
    }

    fn deepest(&self) -> &Path {
        self.0.last().unwrap()
    }

    fn take(&self, pid: u32) -> bool {
        fs::write(self.deepest().join("cgroup.procs"), pid.to_string()).is_ok()
    }
}

impl Drop for Deep {
    fn drop(&mut self) {
        // What is left of the processes in it must be gone first.
        let patience = std::time::Duration::from_secs(5);
        let is_empty = |path: &Path| fs::read_to_string(path.join("cgroup.procs")).is_ok_and(|pids| pids.is_empty());
        crate::lab::run::poll(patience, || is_empty(self.deepest()));
        self.0.iter().rev().for_each(|path| drop(fs::remove_dir(path)));
    }
}

#[test]
fn a_cgroup_path_of_four_kilobytes_is_cut_and_tells_all_else() {
    Lab::test(|lab| {
        let Some(deep) = Deep::new() else { return lab.skip("no cgroup can be made here") };
        let (mut server, mut client) = (lab.peer(), lab.peer());
        if !deep.take(server.pid()) {
            return lab.skip("a process can't be moved to a cgroup here");
        }
        server.say("listen l 127.0.0.1:11211");
        client.say("connect c 127.0.0.1:11211 3");
        server.say("accept s l 3");
        client.say("close c");
        lab.wait_for(crate::lab::CLOSE_WAIT, 11211, 3);
        let path = fs::read_to_string(format!("/proc/{}/cgroup", server.pid())).unwrap();
        assert!(path.len() > 3700, "{}", path.len());
        let look = ["-p11211", "--side=server", "--min-age=0s", "-w0", "-c100", "--ratio-min-count=1000"];
        for more in [&[][..], &["-vv"], &["--by=unit"], &["--by=unit", "-vvv"], &["-ojson"]] {
            for outcome in [check(&[&look, more].concat()), check_unprivileged(&[&look, more].concat())] {
                assert_eq!(outcome.code, 1, "{outcome:?}");
                if more != ["-ojson"] {
                    assert_eq!(outcome.value("close_wait"), 3.0, "{outcome:?}");
                }
            }
        }
        let by_unit = check(&[&look[..], &["--by=unit"]].concat());
        let text = by_unit.text();
        assert!(text.contains("all held by peer[") && text.contains("all in /connleak-"), "{text}");
        assert!(text.contains("all with peer 127.0.0.1"), "all else has room: {text}");
        let json = check(&[&look[..], &["-ojson"]].concat()).json();
        let unit = json["owners"][0]["unit"].as_str().unwrap();
        assert!(path.trim_end().ends_with(unit) && unit.len() > 3700, "{unit}");
        // Named from its top, and by all of it.
        for unit in [&unit[..30.min(unit.find("/n").unwrap())], unit] {
            let outcome = CLOSEWAIT.run(&[&look[..], &["--unit", unit]].concat());
            assert_eq!((outcome.code, outcome.value("close_wait")), (1, 3.0), "{outcome:?}");
            let state = tempfile::tempdir().unwrap();
            let running = ORPHANS.run(&["-p11211", "--unit", unit, "--state-dir", state.path().to_str().unwrap()]);
            assert!(running.code == 0 && running.text().contains("running as peer["), "{running:?}");
        }
        let state = tempfile::tempdir().unwrap();
        let growth = ["-p11211", "--state-dir", state.path().to_str().unwrap(), "-vv"];
        for _ in 0..2 {
            let outcome = GROWTH.run(&growth);
            assert!(outcome.code == 0 && !outcome.text().contains("not remembered"), "{outcome:?}");
        }
    });
}
