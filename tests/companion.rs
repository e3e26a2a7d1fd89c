//! The companion's command line: help, bad input, and what it shows of a recording. Needs no root.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

const CONNLEAK: &str = env!("CARGO_BIN_EXE_connleak");

fn run(args: &[&str]) -> Output {
    let mut command = Command::new(CONNLEAK);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("COLUMNS").stdin(Stdio::null());
    command.args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn good(args: &[&str]) -> String {
    let output = run(args);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""), "{args:?}");
    text(&output.stdout).to_owned()
}

/// Why an output is not a refusal in one line that says all of `says`.
fn flaw(output: &Output, says: &[&str]) -> Option<String> {
    let stderr = text(&output.stderr);
    if output.status.code() != Some(3) || !output.stdout.is_empty() {
        return Some(format!("exit {:?}, {}", output.status, text(&output.stdout)));
    }
    if !stderr.starts_with("connleak: ") || !stderr.ends_with('\n') || stderr.lines().count() != 1 {
        return Some("not one line".to_owned());
    }
    if stderr.trim_end().contains(char::is_control) {
        return Some("control characters".to_owned());
    }
    says.iter().find(|part| !stderr.contains(**part)).map(|part| format!("does not say '{part}'"))
}

#[test]
fn bad_input_is_one_line_that_names_the_token_and_the_remedy() {
    let cases: &[(&[&str], &[&str])] = &[
        (&[], &["what?", "discover, who, watch", "demo", "--help"]),
        (&["whoo"], &["'whoo'", "did you mean who?", "who, watch", "--help"]),
        (&["grap"], &["'grap'", "did you mean graph?"]),
        (&["-p", "0"], &["--port", "'0'", "1 to 65535"]),
        (&["-p3306", "--sied", "client"], &["'--sied'", "--help"]),
        (&[""], &["unknown command ''"]),
        (&["x\u{1b}[2K\n"], &["'x\\u{1b}[2K\\n'"]),
        (&["--hel"], &["'--hel'", "--help"]),
        (
            &["discover", "-o", "yaml"],
            &["connleak: -o: unknown output 'yaml'; use", "table, json, zabbix, icinga or nagios"],
        ),
        (&["graph", "--since", "x"], &["connleak: --since: bad duration 'x': write", "see 'connleak graph --help'"]),
        (&["graph", "--since"], &["--since", "connleak graph --help"]),
        (&["graph", "--sinc", "1h"], &["unknown option '--sinc'; did you mean --since? see 'connleak graph --help'"]),
        (&["doctor", "--timeout", "x"], &["connleak: --timeout: bad timeout 'x'", "30s"]),
        (&["demo", "now"], &["unknown argument 'now'; see 'connleak demo --help'"]),
        (&["sessions", "--how", "-P", "kafka"], &["no session list of kafka is known; of postgresql"]),
        (&["discover", "3306"], &["3306", "discover --help"]),
        (&["discover", "--replay", "tests/no_such"], &["tests/no_such", "No such file"]),
        (&["discover", "--netns", "no_such"], &["no_such"]),
        (&["discover", "--source", "proc", "--proc-root", "tests"], &["tests/net/tcp", "No such file"]),
        (&["who", "-p", "0"], &["--port", "'0'", "1 to 65535"]),
        (&["who", "-p", "1,,2"], &["''", "several as 389,636"]),
        (&["who", "-P", "memcache"], &["'memcache'", "known are"]),
        (&["who", "-p1", "--by", "cow"], &["--by", "'cow'", "pid, unit, user, peer or tenant"]),
        (&["who", "-p1", "-o", "nagios"], &["--output", "'nagios'", "table, json or csv"]),
        (&["who", "-p1", "--top", "-1"], &["--top", "'-1'", "1 to 10000"]),
        (&["who", "--pid", "x"], &["--pid", "'x'"]),
        (&["who", "--pid", "-1"], &["'-1'"]),
        (&["who", "--pid", "4194304"], &["no process 4194304"]),
        (&["who", "--user", "nobody2"], &["'nobody2'", "/etc/passwd"]),
        (&["who", "--side", "client"], &["--side", "-p or -P"]),
        (&["who", "-p1", "--tree", "--by", "user"], &["--tree", "--by"]),
        (&["who", "-p1", "-w", "5"], &["'-w'"]),
        (&["who", "-p1", "-c5"], &["'-c'"]),
        (&["who", "3306"], &["'3306'"]),
        (&["who", "-p1", "--replay", "tests/no_such"], &["tests/no_such", "No such file"]),
        (&["who", "-p1", "--netns", "no_such"], &["no_such"]),
        (&["watch", "3306"], &["'3306'"]),
        (&["watch", "-p1", "--interval", "0"], &["--interval", "'0'", "100ms to 1d"]),
        (&["watch", "-p1", "--interval", "99ms"], &["'99ms'"]),
        (&["watch", "-p1", "--interval", "5x"], &["'5x'", "60s"]),
        (&["watch", "-p1", "--for", "-1s"], &["--for", "'-1s'"]),
        (&["watch", "-p1", "--by", "cow"], &["'cow'"]),
        (&["watch", "-p1", "--csv", "/dev/full"], &["/dev/full", "No space left"]),
        (&["watch", "-p1", "--csv", "Cargo.toml"], &["Cargo.toml", "not ours"]),
        (&["watch", "-p1", "-o", "json"], &["'-o'"]),
        (&["watch", "-p1", "--replay", "x"], &["'--replay'"]),
        (&["watch", "-p1", "--state-dir=/proc/x", "--netns=no_such", "--for=1s"], &["no_such", "No such file"]),
        (
            &["watch", "-p1", "--state-dir=/proc/x", "--proc-root=tests", "--source=proc", "--for=1s"],
            &["tests/net/tcp", "No such file"],
        ),
        (&["watch"], &["which service?", "--pid"]),
        (&["doctor", "-P", "memcache"], &["'memcache'", "known are"]),
        (&["doctor", "-o", "csv"], &["'csv'", "table or json"]),
        (&["doctor", "memcached"], &["memcached", "doctor --help"]),
        (&["every"], &["connleak every 60s -- "]),
        (&["every", "60s", "true"], &["connleak every 60s -- "]),
        (&["every", "60s", "--"], &["connleak every 60s -- "]),
        (&["every", "x", "--", "true"], &["'x'", "60s"]),
        (&["every", "0s", "--", "true"], &["use 1s or more"]),
        (&["every", "60s", "--", "no_such_command"], &["no_such_command", "No such file"]),
        (&["demo", "now"], &["now", "demo --help"]),
        (&["backtest"], &["--stream"]),
        (&["backtest", "tests/no_such"], &["tests/no_such", "No such file"]),
    ];
    let flaws = cases.iter().filter_map(|(args, says)| {
        let output = run(args);
        Some(format!("{args:?}: {}\n    {}", flaw(&output, says)?, text(&output.stderr)))
    });
    let flaws: Vec<_> = flaws.collect();
    assert!(flaws.is_empty(), "{} of {}:\n{}", flaws.len(), cases.len(), flaws.join("\n"));
    assert!(flaw(&run(&["--help"]), &[]).is_some(), "what is no refusal passes");
    assert!(flaw(&run(&["whoo"]), &["no such words"]).is_some());
}

#[test]
fn an_argument_that_is_not_utf_8_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    for words in [&["\u{0}"][..], &["who", "-p1", "\u{0}"], &["demo", "\u{0}"]] {
        let words = words.iter().map(|word| match *word {
            "\u{0}" => std::ffi::OsStr::from_bytes(b"\xff"),
            word => word.as_ref(),
        });
        let output = Command::new(CONNLEAK).args(words).output().unwrap();
        assert_eq!(flaw(&output, &["\u{fffd}"]), None, "{output:?}");
    }
}

#[test]
fn help_and_version_are_no_errors() {
    for help in ["--help", "-h", "help"] {
        let text = good(&[help]);
        assert!(
            ["who", "watch", "demo", "backtest"].iter().all(|word| text.contains(&format!("\n  {word} "))),
            "{text}"
        );
    }
    for subcommand in ["who", "watch", "demo", "backtest"] {
        for help in ["--help", "-h"] {
            assert!(good(&[subcommand, help]).contains("--help"), "{subcommand}");
        }
    }
    let help = good(&["graph", "--help"]);
    for words in [&["graph", "help"][..], &["graph", "-p1", "-h"], &["graph", "--bad", "--help", "x"]] {
        assert_eq!(good(words), help, "{words:?}");
    }
    // The value of an option is no option.
    let output = run(&["graph", "--title", "--help", "no_such.csv"]);
    assert_eq!(flaw(&output, &["no_such.csv", "No such file"]), None, "{output:?}");
    assert_eq!(good(&["-V"]), good(&["--version"]));
    assert_eq!(good(&["who", "-V"]), good(&["-V"]));
}

/// A host of another day: whole outputs.
/// Whoever asks for a service that no profile has isn't told all lists as if they were that one's.
#[test]
fn session_lists_of_an_unknown_service_say_so() {
    let [unknown, all] = [&["sessions", "--how", "-p", "4711"][..], &["sessions", "--how"]].map(good);
    assert!(unknown.starts_with("# No profile names the service of port 4711: these are all lists"), "{unknown}");
    assert!(unknown.ends_with(&all) && !all.contains("No profile"), "{all}");
    assert!(!good(&["sessions", "--how", "-p", "5432"]).contains("No profile"));
}

#[test]
fn who_shows_a_recording() {
    let replay = ["who", "-p11211", "--replay=tests/fixtures/leak/dump.nl"];
    for (name, more) in [
        ("table", &[][..]),
        ("sockets", &["-vv"]),
        ("by_peer", &["--by=peer", "--top=2"]),
        ("json", &["-ojson", "--side=server"]),
        ("csv", &["-o", "csv"]),
    ] {
        let path = format!("{}/tests/golden/connleak/replay_{name}.txt", env!("CARGO_MANIFEST_DIR"));
        let shown = good(&[&replay, more].concat());
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &shown).unwrap();
        }
        assert_eq!(shown, std::fs::read_to_string(Path::new(&path)).unwrap(), "{path}");
    }
}

/// What listened there; nothing is known of owners and histories, which is said.
#[test]
fn discover_shows_a_recording() {
    let replay = ["discover", "--replay=tests/fixtures/leak/dump.nl"];
    for format in ["table", "json", "zabbix", "icinga", "nagios"] {
        let path = format!("{}/tests/golden/connleak/discover_{format}.txt", env!("CARGO_MANIFEST_DIR"));
        let output = run(&[&replay[..], &["-o", format]].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        // Nothing stands beside what another program reads, but a configuration is a person's.
        let notes = if ["icinga", "nagios"].contains(&format) { 2 } else { 0 };
        assert_eq!(
            text(&output.stderr).lines().filter(|line| line.starts_with("connleak: note: a recording")).count(),
            notes
        );
        assert_eq!(text(&output.stderr).lines().count(), notes, "{output:?}");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &output.stdout).unwrap();
        }
        assert_eq!(text(&output.stdout), std::fs::read_to_string(Path::new(&path)).unwrap(), "{path}");
    }
    let narrow =
        Command::new(CONNLEAK).current_dir(env!("CARGO_MANIFEST_DIR")).args(replay).env("COLUMNS", "40").output();
    let narrow = narrow.unwrap();
    assert!(text(&narrow.stdout).starts_with("4711\n  address 127.0.0.1,::, user 0, watched\n  ?\n"), "{narrow:?}");
    assert!(text(&narrow.stdout).lines().all(|line| line.chars().count() <= 40), "{narrow:?}");
}

/// A list that is cut short would have services removed that are there.
#[test]
fn half_a_recording_is_nothing_to_configure_by() {
    let dir = tempfile::tempdir().unwrap();
    let dump = std::fs::read(format!("{}/tests/fixtures/leak/dump.nl", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let half = dir.path().join("half.nl");
    std::fs::write(&half, &dump[..dump.len() / 2]).unwrap();
    for format in ["zabbix", "icinga", "nagios"] {
        let output = run(&["discover", "-o", format, "--replay", half.to_str().unwrap()]);
        assert_eq!(flaw(&output, &["incomplete, so nothing is printed", "cut short"]), None, "{output:?}");
    }
    let shown = good(&["discover", "--replay", half.to_str().unwrap()]);
    assert!(shown.contains("note: TCP listeners: the replayed dump is cut short"), "{shown}");
}

#[test]
fn doctor_shows_the_thresholds_that_a_check_judges_by() {
    let output = run(&["doctor", "-ojson", "-Pmysql", "-P", "thresholds/redis.yaml", "--netns=all"]);
    let told: serde_json::Value = serde_json::from_str(text(&output.stdout)).unwrap();
    // What else is said is this host's.
    assert_eq!(output.status.code(), Some(if told["partial"] == true { 1 } else { 0 }), "{output:?}");
    let [mysql, redis] = &told["profiles"].as_array().unwrap()[..] else { panic!("{told:#}") };
    assert_eq!((&mysql["origin"], &redis["origin"]), (&"built in".into(), &"thresholds/redis.yaml".into()));
    let thresholds = &mysql["thresholds"];
    assert_eq!(thresholds["CLOSE_WAIT"], "for 2m or more: warning 3, critical 10");
    assert_eq!(thresholds["time to the limit"], "warning 1h, critical 20m");
    assert_eq!(thresholds["accept queue"], "warning 50 %, critical 90 %", "from generic");
}

/// One at a time, until it is asked to end; then at once, and nothing of it is left.
#[test]
fn every_runs_a_command_again_and_ends_with_sigterm() {
    let mut command = Command::new(CONNLEAK);
    command.args(["every", "1s", "--", "sh", "-c", "echo $$; exec sleep 100"]);
    let mut every = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(every.stdout.take().unwrap()).lines().map(Result::unwrap);
    let child = lines.next().unwrap();
    kill(&every, rustix::process::Signal::TERM);
    assert!(every.wait().unwrap().success());
    assert_eq!(lines.next(), None, "a second one beside the first");
    assert!(!Path::new("/proc").join(child).exists());

    let mut command = Command::new(CONNLEAK);
    command.args(["every", "1s", "--", CONNLEAK, "--version"]);
    let mut every = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(every.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.take(2).filter(|line| line.starts_with("connleak ")).count(), 2);
    kill(&every, rustix::process::Signal::INT);
    assert!(every.wait().unwrap().success());
    assert_eq!(good(&["every", "--help"]), good(&["every", "-h"]));
}

fn kill(child: &std::process::Child, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
}

/// Its numbers are those of a look before, and that is said.
#[test]
fn a_watch_whose_last_look_failed_says_so() {
    let proc_root = tempfile::tempdir().unwrap();
    let net = proc_root.path().join("net");
    std::fs::create_dir(&net).unwrap();
    for table in ["tcp", "tcp6"] {
        std::fs::copy(format!("{}/tests/fixtures/leak/net/{table}", env!("CARGO_MANIFEST_DIR")), net.join(table))
            .unwrap();
    }
    let mut command = Command::new(CONNLEAK);
    command.args(["watch", "-p11211", "--source=proc", "--interval=200ms", "--for=2s", "--state-dir=/proc/x"]);
    let mut watch = command.arg("--proc-root").arg(proc_root.path()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().contains("every 200ms") && lines.next().unwrap().contains("ESTABLISHED "));
    std::fs::remove_dir_all(&net).unwrap();
    let rest: Vec<_> = lines.collect();
    assert!(watch.wait().unwrap().success());
    let end = rest.last().unwrap();
    assert!(end.contains(" connections; ") && end.contains("; the last look failed: can't read "), "{rest:?}");
}

/// CSV has no place for it.
#[test]
fn rows_of_half_a_recording_say_so_beside_them() {
    let dir = tempfile::tempdir().unwrap();
    let dump = std::fs::read(format!("{}/tests/fixtures/leak/dump.nl", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let half = dir.path().join("half.nl");
    std::fs::write(&half, &dump[..dump.len() / 2]).unwrap();
    let output = run(&["who", "-p11211", "-ocsv", "--replay", half.to_str().unwrap()]);
    let stderr = text(&output.stderr);
    assert!(stderr.starts_with("connleak: note: sockets incomplete: ") && stderr.lines().count() == 1, "{output:?}");
    assert_eq!((output.status.code(), text(&output.stdout).lines().count() > 1), (Some(0), true), "{output:?}");
}

#[test]
fn a_reader_that_stops_reading_is_no_error() {
    let script =
        format!("{CONNLEAK} who --replay=tests/fixtures/leak/dump.nl -p11211 -vv | head -c 1; echo ${{PIPESTATUS[0]}}");
    let output = Command::new("bash").args(["-c", &script]).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert_eq!((text(&output.stderr), text(&output.stdout).ends_with("0\n")), ("", true), "{output:?}");
}

#[test]
fn an_output_that_can_t_be_written_is_an_error() {
    let script = format!("{CONNLEAK} who --replay=tests/fixtures/leak/dump.nl -p11211 >/dev/full");
    let output = Command::new("sh").args(["-c", &script]).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert_eq!(flaw(&output, &["standard output", "No space left"]), None, "{output:?}");
}

/// Where there is no terminal, nor its size: no program from anyone's $PATH says how wide it is.
#[test]
fn who_starts_no_other_program() {
    let dir = tempfile::tempdir().unwrap();
    let (tput, started) = (dir.path().join("tput"), dir.path().join("started"));
    std::fs::write(&tput, format!("#!/bin/sh\n: >{}\necho 80\n", started.display())).unwrap();
    std::fs::set_permissions(&tput, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for args in [&["who", "-p4711"][..], &["who"], &["demo", "--help"], &["watch", "-p4711", "--for=100ms"]] {
        let mut command = Command::new(CONNLEAK);
        command.env("PATH", dir.path()).env_remove("COLUMNS").stdin(Stdio::null());
        assert!(command.args(args).output().unwrap().status.success(), "{args:?}");
        assert!(!started.exists(), "{args:?}");
    }
}
