//! What is typed: ports, ranges, choices, and getopt's habits.

use crate::profiles::Files;
use crate::{CALM, REPLAY, all_refused, command, flaw, run, text, words};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

#[test]
fn ports_and_profiles() {
    let cases: &[(&str, &[&str])] = &[
        ("", &["which service?", "-p 11211", "-P memcached", "--help"]),
        ("-v", &["which service?"]),
        ("-p 0", &["--port", "'0'", "1 to 65535"]),
        ("-p 70000", &["--port", "'70000'", "1 to 65535"]),
        ("-p 65536", &["'65536'", "1 to 65535"]),
        ("-p ''", &["--port", "''", "1 to 65535"]),
        ("-p -1", &["--port", "'-1'", "1 to 65535"]),
        ("-p+5", &["--port", "'+5'", "1 to 65535"]),
        ("-p 1,,2", &["--port", "''", "several as 389,636"]),
        ("-p 80,", &["''", "several as 389,636"]),
        ("-p 11213-11211", &["'11213-11211'", "a range as 8000-8100"]),
        ("-p 1-", &["'1-'", "a range as 8000-8100"]),
        ("-p 1-2-3", &["'1-2-3'"]),
        ("-p 8000-8300", &["'8000-8300'", "301 ports", "at most 256"]),
        ("-p 1-65535", &["65535 ports", "at most 256"]),
        ("-p http", &["'http'", "1 to 65535", "-P http"]),
        ("-p ٣", &["'٣'", "1 to 65535"]),
        ("-p 11211 -p 0", &["'0'", "1 to 65535"]),
        ("-p 11211,6379", &["11211 (memcached)", "6379 (redis)", "check each by itself", "-P"]),
        ("-p 389 -p 443", &["389 (ldap)", "443 (http)"]),
        (
            "-P memcache",
            &[
                "'memcache'",
                "did you mean memcached?",
                "known are cassandra, elasticsearch,",
                "memcached, mongodb",
                "or give a file",
            ],
        ),
        ("-P ''", &["unknown profile ''", "known are"]),
        ("-P generic", &["'generic'", "-p"]),
        ("-P .", &["'.'", "known are"]),
        ("-P tests/no_such.yaml", &["tests/no_such.yaml", "No such file"]),
    ];
    all_refused(&cases.iter().map(|(line, says)| (words(line), *says)).collect::<Vec<_>>());
    // However long the word is, the line tells what is wrong with it.
    let long = "9".repeat(4000);
    all_refused(&[(vec!["-p".to_owned(), long.clone()], &["--port", "'9999", "99...'", "1 to 65535"][..])]);
    all_refused(&[(vec!["-p1".to_owned(), "--top".to_owned(), long], &["--top", "99...'", "use 1 to 10000"][..])]);
    let many: Vec<String> = (1..=257).map(|port| format!("-p{}", 20_000 + port)).collect();
    all_refused(&[(many, &["257", "at most 256"][..])]);
}

#[test]
fn ranges_numbers_and_choices() {
    let cases: &[(&str, &[&str])] = &[
        ("-w 20:10", &["--warning", "'20:10'", "start is above its end", "5:10"]),
        ("-w nan", &["--warning", "'nan'", "not a number", "5:10"]),
        ("-w inf", &["'inf'", "not a number"]),
        ("-w ''", &["--warning", "''", "empty", "5:10"]),
        ("-w 1e5", &["--warning", "'1e5'", "not a number"]),
        ("-c 1,5", &["--critical", "'1,5'", "not a number"]),
        ("-c @", &["--critical", "'@'", "empty"]),
        ("-c 5%", &["--critical", "'5%'", "not a number", "leave out the percent sign"]),
        ("-w 10%", &["--warning", "'10%'", "leave out the percent sign", "--help"]),
        ("--ratio-warning x", &["--ratio-warning", "'x'", "not a number"]),
        ("--ratio-critical 9:1", &["--ratio-critical", "'9:1'"]),
        ("--ratio-min-count -1", &["--ratio-min-count", "'-1'", "--help"]),
        ("--ratio-min-count x", &["--ratio-min-count", "'x'", "--help"]),
        ("--min-age 5x", &["--min-age", "'5x'", "60s, 20m"]),
        ("--min-age -5", &["--min-age", "'-5'", "60s, 20m"]),
        ("--min-age 1000y", &["--min-age", "'1000y'", "60s, 20m"]),
        ("--oldest-warning ''", &["--oldest-warning", "''", "60s, 20m"]),
        ("--oldest-critical nan", &["--oldest-critical", "'nan'", "60s, 20m"]),
        ("-t 0", &["--timeout", "'0'", "10:critical"]),
        ("-t x", &["--timeout", "'x'", "10:critical"]),
        ("-t 5:bad", &["--timeout", "'5:bad'", "10:critical"]),
        ("-t 5:4", &["'5:4'", "10:2"]),
        ("-t -1", &["--timeout", "'-1'"]),
        ("-t 99999999999999999999", &["--timeout", "'99999999999999999999'"]),
        ("--top 10001", &["--top", "'10001'", "1 to 10000"]),
        ("--top 99999999999999999999", &["--top", "1 to 10000"]),
        ("--side left", &["--side", "'left'", "server, client or both"]),
        ("--peer 10.0.0.0/33", &["--peer", "'10.0.0.0/33'", "10.0.0.0/8"]),
        ("--local localhost", &["--local", "'localhost'", "192.0.2.7"]),
        ("--by pid", &["--by", "'pid'", "owner, unit, user, peer or tenant"]),
        ("--source ss", &["--source", "'ss'", "auto, netlink or proc"]),
        ("-o xml", &["--output", "'xml'", "nagios, json or prometheus"]),
        ("--user nosuchuser", &["'nosuchuser'", "/etc/passwd", "numeric uid, as id -u tells it"]),
        ("--user -1", &["'-1'", "numeric uid"]),
        ("--user 4294967296", &["'4294967296'", "numeric uid"]),
        ("--unit no-such-unit", &["'no-such-unit'", "systemctl status"]),
        ("--netns ../x", &["--netns", "'../x'", "ip netns list"]),
        ("--netns ''", &["--netns", "''", "self, all, a pid", "ip netns list"]),
        ("--netns All/x", &["--netns", "'All/x'", "self, all, a pid"]),
    ];
    let with_port = |line: &str| [words(line), words("-p 11211"), vec![CALM.to_owned()]].concat();
    all_refused(&cases.iter().map(|(line, says)| (with_port(line), *says)).collect::<Vec<_>>());
    // Above Linux' largest pid, 4194304.
    all_refused(&[
        (words("-p 11211 --netns 4194305"), &["/proc/4194305", "No such file"][..]),
        (words("-p 11211 --netns no-such-name"), &["/run/netns/no-such-name"]),
        (words("-p 11211 --netns all --proc-root tests/fixtures"), &["tests/fixtures", "no process", "--proc-root"]),
        (words("-p 11211 --netns all --proc-root /no/such/proc"), &["/no/such/proc", "No such file"]),
        (words(&format!("-p 11211 --ghosts {REPLAY}")), &["--ghosts", "--replay"]),
        (words("-p 11211 --ghosts=yes"), &["--ghosts"]),
        (words(&format!("-p 11211 --unit x {REPLAY}")), &["--unit", "--replay"]),
        (
            words(&format!("-p 11211 --source netlink {CALM}")),
            &["--source netlink", "tests/fixtures/calm", "--source proc"],
        ),
    ]);
}

#[test]
fn options_that_are_none() {
    let cases: &[(&str, &[&str])] = &[
        ("--prot=11211", &["'--prot'", "--help"]),
        ("--minage 5m", &["'--minage'", "did you mean --min-age?", "--help"]),
        ("--min_age=5m", &["'--min_age'", "did you mean --min-age?"]),
        ("--state", &["'--state'", "did you mean --state-dir?"]),
        ("--por 11211", &["'--por'", "did you mean --port?", "--help"]),
        ("-x", &["'-x'", "--help"]),
        ("-vx", &["'-x' in '-vx'", "--help"]),
        ("-ä", &["'-ä'", "--help"]),
        ("--port", &["'--port' needs a value", "N[,N...]"]),
        ("-p", &["'--port' needs a value", "N[,N...]"]),
        ("-p 11211 -w", &["'--warning' needs a value", "RANGE"]),
        ("-p 11211 -vw", &["'--warning' needs a value", "RANGE"]),
        ("--verbose=3", &["'--verbose' takes no value"]),
        ("--help=all", &["'--help' takes no value"]),
        ("--version=", &["'--version' takes no value"]),
        ("-p 11211 6379", &["'6379'", "--help"]),
        ("-p 11211 -", &["'-'", "--help"]),
        ("-p 11211 --", &["'--'", "--help"]),
        ("''", &["''", "--help"]),
        ("--=5", &["'--'", "--help"]),
    ];
    all_refused(&cases.iter().map(|(line, says)| (words(line), *says)).collect::<Vec<_>>());
}

#[test]
fn bytes_that_are_no_text() {
    let bytes = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    all_refused(&[
        (vec![bytes(b"-p\xff")], &["-p\u{fffd}", "not UTF-8", "--help"][..]),
        (vec![bytes(b"-p"), bytes(b"112\xc3\x28")], &["not UTF-8"]),
        (vec![bytes(b"--\xfe=1")], &["not UTF-8"]),
        (vec![bytes(b"-p"), bytes(b"x|evil=1;;\nCLOSEWAIT OK - fine\x1b[2K")], &["x/evil:1;;?CLOSEWAIT OK - fine?[2K"]),
        (vec![bytes(b"-P"), bytes("\u{202e}x".as_bytes())], &["'?x'"]),
        // The line is cut; what is left of it is still one.
        (vec![bytes(b"-P"), OsString::from_vec(vec![b'x'; 100_000])], &["xxxxxxxx", "..."]),
        (vec![bytes("-pä".repeat(20_000).as_bytes())], &["bad port"]),
    ]);
}

#[test]
fn getopt_habits() {
    let calm = |line: &str| run(&[words(line), vec![CALM.to_owned()]].concat());
    let plain = calm("-p 11211");
    assert_eq!(plain.status.code(), Some(0), "{}", text(&plain));
    assert!(text(&plain).contains(" memcached:11211: 2 server sockets in CLOSE_WAIT"), "{}", text(&plain));
    for same in
        ["-p11211", "--port=11211", "--port 11211", "-p 11211 -p 11211", "-p 011211", "-P memcached", "-Pmemcached"]
    {
        assert_eq!(calm(same), plain, "{same}");
    }
    let cases: &[(&str, i32, &str)] = &[
        ("-p 11211,11212 -p 11213", 0, " memcached:11211,11212,11213: "),
        ("-p11211 -w~:10", 0, " close_wait=2;~:10;20;0; "),
        ("-p11211 -w ~:10", 0, " close_wait=2;~:10;20;0; "),
        ("-p11211 --warning=~:10", 0, " close_wait=2;~:10;20;0; "),
        ("-p11211 -w -5:5", 0, " close_wait=2;-5:5;20;0; "),
        ("-p11211 -w-5:5", 0, " close_wait=2;-5:5;20;0; "),
        ("-p11211 -w 1 -w 9", 0, " close_wait=2;9;20;0; "),
        ("-w1 -p11211 --warning=0 -w 8 -c 7 -c1", 2, " close_wait=2;8;1;0; "),
        ("-p 11211-11212", 0, " memcached:11211,11212: "),
        ("-p 11210-11219,4711", 0, " memcached:11210-11219,4711: "),
        ("-p11211 --share-warning 90 --share-critical=95", 0, " close_wait_ratio=14.29%;90;95;0;"),
        ("-p11211 -w @2:2", 1, " close_wait=2;@2:2;20;0; "),
        ("-vvv -p11211", 0, "\nowners: "),
        ("-vvp11211 -v", 0, "\nowners: "),
        ("-vp11211", 0, " memcached:11211: 2 server sockets"),
        ("-p11211 --side=client", 0, " close_wait=0;5;20;0; "),
        ("-p4711", 0, " port 4711: 2 server sockets"),
        ("-p 80 -p 12345", 0, " http:80,12345: 0 sockets"),
        ("-p11211 --user 4294967295", 0, " close_wait=0;5;20;0; "),
    ];
    for (line, exit, part) in cases {
        let output = calm(line);
        assert!(output.stderr.is_empty());
        assert_eq!(output.status.code(), Some(*exit), "{line}: {}", text(&output));
        assert!(text(&output).contains(part), "{line}: no '{part}' in {}", text(&output));
        assert_eq!(text(&output).matches('|').count(), 1, "{line}: {}", text(&output));
    }
}

#[test]
fn precedence_is_command_line_ini_profile_file_embedded() {
    let files = Files::new();
    let profile =
        files.put("mine.yaml", "service: mine\nports: [11211]\nclose_wait: {warning: \"7\", critical: \"70\"}\n");
    let ini = files.put("x.ini", format!("[check_closewait]\nwarning=9\nprofile={profile}\nport=11212\n[w]\nw = 8\n"));
    let limits = |line: &str| {
        let output = run(&[words(line), vec![CALM.to_owned()]].concat());
        let shown = text(&output);
        let value = shown.split_once(" | close_wait=").and_then(|(_, rest)| rest.split(' ').next());
        value.unwrap_or_else(|| panic!("{line}: {shown}")).split_once(';').unwrap().1.to_owned()
    };
    assert_eq!(limits("-p11211"), "5;20;0;");
    assert_eq!(limits(&format!("-P {profile}")), "7;70;0;");
    assert_eq!(limits(&format!("-P {profile} -c 60")), "7;60;0;");
    assert_eq!(limits(&format!("-P {profile} --extra-opts=w@{ini}")), "8;70;0;");
    assert_eq!(limits(&format!("--extra-opts=@{ini}")), "9;70;0;");
    assert_eq!(limits(&format!("-w11 --extra-opts=@{ini}")), "11;70;0;");
    assert_eq!(limits(&format!("--extra-opts=@{ini} -w11 -Pmemcached")), "11;20;0;");
    // Also for options that may be repeated: -p replaces the file's, it doesn't join them.
    let output = run(&["-p11211", &format!("--extra-opts=@{ini}"), CALM]);
    assert!(text(&output).contains(" mine:11211: "), "{}", text(&output));
}

#[test]
fn a_bare_extra_opts_reads_plugins_ini() {
    let files = Files::new();
    files.put("plugins.ini", "[check_closewait]\nport=11211\nwarning=@9:9\nverbose=\n");
    for args in [&["--extra-opts", CALM][..], &[CALM, "--extra-opts"], &["--extra-opts", "check_closewait", CALM]] {
        let output = command(args).env("NAGIOS_CONFIG_PATH", files.0.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        assert!(text(&output).contains(" close_wait=2;@9:9;20;0; "), "{}", text(&output));
    }
    let nowhere = command(&["--extra-opts", CALM]).env("NAGIOS_CONFIG_PATH", files.path("no")).output().unwrap();
    assert_eq!(flaw(&nowhere, &["no plugins.ini", "SECTION@FILE"]), None, "{}", text(&nowhere));
}

#[test]
fn help_and_version_are_no_verdict() {
    for line in ["-h", "--help", "-p 11211 -vh", "-w nan --help", "-hV"] {
        let output = run(&words(line));
        assert_eq!((output.status.code(), output.stderr.len()), (Some(3), 0), "{line}");
        assert!(text(&output).contains("\nUsage: check_closewait -p PORT"), "{line}: {}", text(&output));
    }
    for line in ["-V", "--version", "-vV"] {
        let output = run(&words(line));
        assert_eq!((output.status.code(), output.stderr.len()), (Some(3), 0), "{line}");
        assert_eq!(text(&output), format!("check_closewait {}\n", env!("CARGO_PKG_VERSION")));
    }
}

/// What is typed so never warns: it is said, beside the verdict.
#[test]
fn a_critical_that_comes_before_its_warning_is_told() {
    let looked = |line: &str| run(&[words("-p11211"), words(line), vec![CALM.to_owned()]].concat());
    for (line, exit) in [("-w 20 -c 1", 2), ("-w 1: -c 2:", 0)] {
        let output = looked(line);
        let said = format!("\n{line}: critical is reached before warning, which is never seen\n");
        assert!(text(&output).contains(&said), "{line}: {}", text(&output));
        assert_eq!(output.status.code(), Some(exit), "{line}");
    }
    for line in ["-w 1 -c 20", "-w 20 -c 20", "-w 20", "-c 1", "-w @5:10 -c 1", "-w ~:20 -c 21", "-w 9: -c 5:"] {
        let output = looked(line);
        assert!(!text(&output).contains("is reached before"), "{line}: {}", text(&output));
    }
}

/// The timeout's state by its number, as the Monitoring Plugins take it.
#[test]
fn a_timeout_may_end_in_a_numbered_state() {
    let files = Files::new();
    let fifo = files.path("fifo.nl");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
    for (timeout, exit) in [("300ms:2", 2), ("300ms:1", 1), ("300ms", 3)] {
        let output = run(&["-p11211", "-t", timeout, "--replay", fifo.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(exit), "{timeout}: {}", text(&output));
        assert!(text(&output).contains("timed out after 300ms"), "{}", text(&output));
    }
}

/// Our own advice is not spoilt by what screens the names of others.
#[test]
fn advice_can_be_typed_as_it_is_told() {
    let files = Files::new();
    let ini = files.put("x.ini", "[other]\nport=11211\n");
    let refused = run(&[format!("--extra-opts=@{ini}")]);
    assert!(text(&refused).contains("--extra-opts SECTION@FILE"), "{}", text(&refused));
    let taken = run(&["--extra-opts".to_owned(), format!("other@{ini}"), CALM.to_owned()]);
    assert_eq!(taken.status.code(), Some(0), "{}", text(&taken));
}

#[test]
fn a_byte_order_mark_begins_a_file_as_nothing_does() {
    let files = Files::new();
    let profile = files.put("mine.yaml", "\u{feff}service: mine\nports: [11211]\nclose_wait: {warning: \"7\"}\n");
    let ini = files.put("x.ini", format!("\u{feff}[check_closewait]\r\nprofile={profile}\r\n"));
    for args in [["-P", &profile], ["--extra-opts", &format!("@{ini}")]] {
        let output = run(&[args[0], args[1], CALM]);
        assert!(
            text(&output).contains(" mine:11211: ") && text(&output).contains(" close_wait=2;7;"),
            "{}",
            text(&output)
        );
    }
}
