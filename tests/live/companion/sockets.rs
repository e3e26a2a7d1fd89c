//! Sockets as data: each check and `who` name every one with its descriptor, so that a service's own list can be
//! joined to them.

use crate::companion::run::connleak;
use crate::lab::run::{CHECK, CONNLEAK, run};
use crate::lab::{CLOSE_WAIT, Lab};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The programs beside this one.
fn json(program: &str, args: &[&str]) -> Value {
    let outcome = run(Command::new(Path::new(CHECK).with_file_name(program)).args(args));
    serde_json::from_str(&outcome.stdout).unwrap_or_else(|why| panic!("{why}: {outcome:?}"))
}

/// The kernel's own word on a row: its descriptor leads to its inode.
fn is_held(row: &Value) -> bool {
    let link = fs::read_link(format!("/proc/{}/fd/{}", row["pid"], row["fd"])).unwrap_or_default();
    link == Path::new(&format!("socket:[{}]", row["inode"]))
}

#[test]
fn each_socket_in_question_is_told_with_its_descriptor() {
    Lab::test(|lab| {
        let server = lab.leaking_server("127.0.0.1:11211", 7);
        let state = tempfile::tempdir().unwrap();
        let state = state.path().to_str().unwrap();
        let cases: &[(&str, &[&str])] = &[
            ("check_closewait", &["--min-age=0s", "--side=server"]),
            ("check_conn_states", &["--state=CLOSE_WAIT:1:2", "--side=server"]),
            ("check_conn_tenants", &["--side=server", "--key=user"]),
            ("check_orphans_after_stop", &["--wait=0s", "--side=server"]),
        ];
        for (program, more) in cases {
            let of = |options: &[&str]| json(program, &[&["-p11211", "-ojson"], *more, options].concat());
            assert_eq!(of(&["-v"]).get("sockets"), None, "{program}: only -vv asks for each");
            assert_eq!(of(&["-vv"])["sockets"].as_array().map(Vec::len), Some(5), "{program}: --top's default");
            let told = of(&["-vv", "--top=0"]);
            let rows = told["sockets"].as_array().unwrap();
            let stuck: Vec<_> = rows.iter().filter(|row| row["state"] == "CLOSE_WAIT").collect();
            assert_eq!((stuck.len(), &told["sockets_total"]), (7, &rows.len().into()), "{program}: {told}");
            for row in stuck {
                assert!(row["pid"] == server.pid() && row["local"] == "127.0.0.1:11211" && is_held(row), "{row}");
                let cookie = row["cookie"].as_u64().unwrap();
                assert!(cookie > 0 && row["command"] == "peer" && row["uid"] == 0 && row["protocol"] == "tcp", "{row}");
            }
        }
        let idle = ["-p11211", "-ojson", "-vv", "--top=0", "--min-age=0s"];
        assert_eq!(json("check_conn_idle", &idle)["sockets"], Value::Array(vec![]));
        let growth = json("check_conn_growth", &["-p11211", "-ojson", "-vv", "--state-dir", state]);
        assert!(growth["sockets"].is_array(), "{growth}");
    });
}

#[test]
fn who_has_a_row_for_each_socket() {
    Lab::test(|lab| {
        let (server, mut client) = lab.connected("127.0.0.1:11211", 30);
        let who = |args: &[&str]| connleak(&[&["who", "-p11211"], args].concat());
        let of = |args: &[&str]| serde_json::from_str::<Value>(&who(args)).unwrap();
        assert_eq!(of(&["-ojson"])["sockets"], 61, "without -vv it is the count");
        let all = of(&["-ojson", "-vv", "--top=0"]);
        let rows = all["sockets"].as_array().unwrap();
        assert_eq!((rows.len(), &all["sockets_total"]), (61, &61.into()));
        assert!(rows.iter().all(is_held), "{all}");
        let distinct: BTreeSet<String> = rows.iter().map(|row| format!("{} {}", row["pid"], row["fd"])).collect();
        assert_eq!(distinct.len(), 61);
        assert_eq!(of(&["-ojson", "-vv"])["sockets"].as_array().map(Vec::len), Some(20));
        let csv = who(&["-ocsv", "--sockets", "--top=0"]);
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(lines.len(), 62, "{csv}");
        assert!(
            lines[0].starts_with("protocol,local,remote,state,age_seconds,idle_seconds,inode,cookie,netns,pid,fd,")
        );
        let held = lines.iter().filter(|line| line.contains(&format!(",{},", server.pid()))).count();
        assert_eq!(held, 31, "{csv}");
        let refused = run(Command::new(CONNLEAK).args(["who", "-p11211", "--sockets"]));
        assert_eq!((refused.code, refused.stderr.lines().count()), (3, 1), "{refused:?}");
        // A name that a spreadsheet would run.
        client.say("rename 3d63616c6328297c");
        let csv = who(&["-ocsv", "--sockets", "--top=0", "--side=client"]);
        assert_eq!(csv.matches("\"'=calc()|\"").count(), 30, "{csv}");
        client.say("close c");
        lab.wait_for(CLOSE_WAIT, 11211, 30);
        let worst = of(&["-ojson", "-vv"]);
        assert!(worst["sockets"].as_array().unwrap().iter().all(|row| row["state"] == "CLOSE_WAIT"), "{worst}");
    });
}

#[test]
fn an_alert_ends_with_the_command_that_shows_whose_they_are() {
    Lab::test(|lab| {
        let server = lab.leaking_server("127.0.0.1:11211", 7);
        let check = |verbose: &[&str]| {
            run(Command::new(CHECK).args(["-p11211", "--side=server", "--min-age=0s", "-c3"]).args(verbose))
        };
        assert_eq!(check(&[]).stdout.lines().count(), 1);
        let told = check(&["-v"]);
        let (line, rest) = told.stdout.split_once('\n').unwrap();
        assert!(!line.contains("look: "), "{told:?}");
        let command =
            rest.lines().last().and_then(|line| line.strip_prefix("look: ")).unwrap_or_else(|| panic!("{told:?}"));
        assert_eq!(command, "connleak who -p 11211 --side server");
        let words: Vec<&str> = command.split(' ').skip(1).collect();
        assert!(connleak(&words).contains(&format!("peer[{}]", server.pid())));
        let calm = run(Command::new(CHECK).args(["-p11211", "--side=client", "-v"]));
        assert!(!calm.stdout.contains("look: "), "{calm:?}");
    });
}
