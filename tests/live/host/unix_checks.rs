//! Each check on connections over UNIX sockets: found, cleared, found again.

use super::unix_sockets::{Place, client_of, says};
use crate::lab::Lab;
use crate::lab::run::{CLOSEWAIT, CONNLEAK, GROWTH, IDLE, ORPHANS, Outcome, STATES, TENANTS, run};
use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

/// php-fpm's "Resource temporarily unavailable".
#[test]
fn a_full_accept_queue_is_found_and_whose_it_is() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("x.sock");
        let (mut server, mut client) = (lab.peer(), lab.peer());
        server.say(&format!("listen l {path} 4"));
        let look = |more: &[&str]| STATES.run(&[&["--unix", &path], more].concat());
        says(&look(&[]), 0, &[&path]);
        for before in [0.0, 10.0] {
            // One more finds place than listen(2) asked for.
            client.say(&format!("connect c {path} 5"));
            let full = look(&[]);
            let words =
                [&format!("accept queue of {path} at 5 of 4, 125%"), &format!("held by peer[{}]", server.pid())];
            says(&full, 2, &words.map(|words| words.as_str()));
            assert_eq!((full.value("accept_queue"), full.value("established")), (125.0, before + 10.0), "{full:?}");
            server.say("accept s l 5");
            says(&look(&[]), 0, &["ESTABLISHED, 1 LISTEN"]);
        }
        client.say(&format!("connect c {path} 3"));
        // /proc tells how many wait, not of how many that may.
        let proc = look(&["--source=proc"]);
        assert_eq!(proc.code, 3, "{proc:?}");
    });
}

/// `-P mysql` judges both: the UNIX listener's queue is no less full for there being a port, and each check tells how many of its
/// numbers are over UNIX sockets.
#[test]
fn beside_tcp_all_is_judged_too_and_told_apart() {
    Lab::test(|lab| {
        let place = Place::new();
        let (path, profile) = (place.at("x.sock"), place.at("mine.yaml"));
        fs::write(&profile, format!("service: mine\nports: [3306]\nunix: [{path}]\nlimit: 100\n")).unwrap();
        let (mut server, mut client) = (lab.peer(), lab.peer());
        server.say("listen t 127.0.0.1:3306");
        client.say("connect t 127.0.0.1:3306 2");
        server.say("accept t t 2");
        server.say(&format!("listen l {path} 4"));
        client.say(&format!("connect c {path} 3"));
        server.say("accept s l 3");
        let state = place.at("state");
        let of = |more: &[&'static str]| [&["-P", profile.as_str()], more].concat();
        let calm = STATES.run(&of(&[]));
        says(&calm, 0, &["10 ESTABLISHED, 2 LISTEN", "6 over UNIX sockets"]);
        let growth = GROWTH.run(&["-P", &profile, "--state-dir", &state]);
        says(&growth, 0, &["5 of 100", "3 over UNIX sockets"]);
        let tenants = TENANTS.run(&of(&["--key=user", "--limit=100"]));
        says(&tenants, 0, &["5 connections", "3 over UNIX sockets"]);
        let left = ORPHANS.run(&of(&["--wait=0s", "-v"]));
        says(&left, 2, &["12 sockets left", "7 over UNIX sockets"]);
        assert!(left.stdout.contains(&format!("look: connleak who -P {profile}")), "{left:?}");
        // Typed, both are named, and what is remembered of both isn't taken for that of the port alone.
        let typed = ["-p3306", "--unix", &path];
        let name = format!("mysql:{path} and port 3306: ");
        let of_port = GROWTH.run(&["-p3306", "--state-dir", &state]);
        says(&of_port, 0, &["2 of 151"]);
        let growth = GROWTH.run(&[&typed[..], &["--state-dir", &state]].concat());
        says(&growth, 0, &[&name, "5 of 151", "3 over UNIX sockets"]);
        says(&STATES.run(&typed), 0, &[&name, "6 over UNIX sockets"]);
        says(&TENANTS.run(&[&typed[..], &["--key=user"]].concat()), 0, &[&name, "3 over UNIX sockets"]);
        says(&ORPHANS.run(&[&typed[..], &["--wait=0s"]].concat()), 2, &[&name, "7 over UNIX sockets"]);
        says(&CLOSEWAIT.run(&[&typed[..], &["--state-dir", &state]].concat()), 0, &[&name]);
        let prometheus = run(Command::new(STATES.0).args(typed).arg("-oprometheus"));
        assert!(prometheus.stdout.contains(&format!("service=\"mysql:{path}\",port=\"3306\"")), "{prometheus:?}");
        client.say(&format!("connect c {path} 5"));
        says(&STATES.run(&of(&[])), 2, &[&format!("accept queue of {path} at 5 of 4, 125%")]);
        server.say("accept s l 5");
        says(&STATES.run(&of(&[])), 0, &["2 LISTEN"]);
    });
}

/// PostgreSQL without listen_addresses, MariaDB with skip-networking: its port isn't missed.
#[test]
fn a_profile_whose_service_has_only_its_unix_socket_lacks_no_port() {
    Lab::test(|lab| {
        let place = Place::new();
        let (path, profile, state) = (place.at("x.sock"), place.at("mine.yaml"), place.at("state"));
        fs::write(&profile, format!("service: mine\nports: [3306]\nunix: [{path}]\nlimit: 100\n")).unwrap();
        let (_server, _client) = place.connected(lab, &path, 3);
        for (check, more) in [
            (CLOSEWAIT, &["--state-dir", state.as_str()][..]),
            (GROWTH, &["--state-dir", &state]),
            (TENANTS, &["--key=user", "--state-dir", &state]),
            (STATES, &[]),
        ] {
            let served = check.run(&[&["-P", profile.as_str()], more].concat());
            says(&served, 0, &["over UNIX sockets"]);
            assert!(!served.text().contains("listens"), "{served:?}");
        }
    });
}

#[test]
fn nothing_is_left_after_a_stop_or_it_is_said_what() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("x.sock");
        let (server, client) = place.connected(lab, &path, 3);
        let look = |more: &[&str]| ORPHANS.run(&[&["--unix", &path, "--wait=0s"], more].concat());
        let baseline = place.at("baseline");
        says(&look(&["--save-baseline", &baseline]), 0, &["baseline of 7 sockets saved"]);
        says(&look(&[]), 2, &["7 sockets left", "socket still listened on by peer"]);
        assert_eq!(look(&["--baseline", &baseline]).value("orphans"), 7.0);
        server.end();
        // The client's ends are known by what was there before; the file is no socket.
        let words = ["3 sockets left", "all held by peer", "a client on this host", "is left, nobody listens there"];
        let left = look(&["--baseline", &baseline]);
        says(&left, 2, &words);
        assert_eq!((left.value("held"), left.value("new")), (3.0, 0.0), "{left:?}");
        client.end();
        says(&look(&["--baseline", &baseline]), 0, &["nothing left", &format!("the file {path} is left")]);
        fs::remove_file(&path).unwrap();
        let clean = look(&[]);
        says(&clean, 0, &["nothing left", &format!("no socket file at {path}")]);
        assert!(!clean.text().contains("is left"), "{clean:?}");
        let (_server, _client) = place.connected(lab, &path, 2);
        let anew = look(&["--baseline", &baseline]);
        assert_eq!((anew.code, anew.value("new")), (0, 5.0), "another service's: {anew:?}");
        says(&look(&[]), 2, &["5 sockets left"]);
    });
}

/// The check runs the stop itself: what the clients then still hold was seen before.
#[test]
fn a_stop_command_is_followed_over_unix_sockets_too() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("x.sock");
        let (server, _client) = place.connected(lab, &path, 2);
        let pid = server.pid().to_string();
        let outcome = ORPHANS.run(&["--unix", &path, "--wait=1s", "--", "kill", &pid]);
        says(&outcome, 2, &["2 sockets left", "a client on this host"]);
    });
}

#[test]
fn a_tenant_that_eats_the_pool_is_named_by_its_user_without_rights() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("x.sock");
        std::os::unix::fs::chown(place.at("."), Some(0), Some(0)).unwrap();
        fs::set_permissions(place.at("."), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let (mut server, mut greedy, mut modest) = (lab.peer(), client_of(lab, 4001), client_of(lab, 4002));
        server.say(&format!("listen l {path}"));
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        modest.say(&format!("connect c {path} 3"));
        server.say("accept m l 3");
        let look = || {
            let of = ["--unix", &path, "-P", "mysql", "--key=user", "--limit=20"];
            [TENANTS.run(&of), TENANTS.unprivileged(&of)]
        };
        for _ in 0..2 {
            greedy.say(&format!("connect c {path} 17"));
            server.say("accept g l 17");
            for outcome in look() {
                says(
                    &outcome,
                    2,
                    &["tenant 4001: 17 connections, 85% of limit 20", "20 connections of 2 tenants by user"],
                );
                assert_eq!(outcome.value("unknown"), 0.0, "{outcome:?}");
            }
            greedy.say("close c");
            server.say("close g");
            look().iter().for_each(|outcome| {
                says(outcome, 0, &[": 3 connections, 15% of limit 20, all of tenant 4002 by user"])
            });
        }
        // By network nobody is told: there is none.
        let by_peer = TENANTS.run(&["--unix", &path, "--key=peer/24", "--limit=20"]);
        says(&by_peer, 3, &["UNIX sockets have no addresses; use user"]);
    });
}

/// Connections that nobody closes, among others that come and go: told by who stays, as of descriptors.
#[test]
fn a_leak_over_a_unix_socket_is_told_from_load() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("x.sock");
        let (mut server, mut client) = place.connected(lab, &path, 5);
        let state = place.at("state");
        let look = || GROWTH.run(&["--unix", &path, "--limit=200", "--rehearse=3000", "--state-dir", &state]);
        let mut turn = |opened: u32, kept: u32| {
            client.say(&format!("connect young {path} {opened}"));
            server.say(&format!("accept young l {opened}"));
            if kept > 0 {
                client.say(&format!("connect leaked {path} {kept}"));
                server.say(&format!("accept leaked l {kept}"));
            }
            let outcome = look();
            client.say("close young");
            server.say("close young");
            sleep(Duration::from_millis(100));
            outcome
        };
        let calm: Vec<Outcome> = (0..15).map(|_| turn(4, 0)).collect();
        assert!(calm.iter().all(|outcome| outcome.code == 0), "{calm:?}");
        assert_eq!(calm[14].value("connections"), 9.0);
        let leaking: Vec<Outcome> = (0..90).map(|_| turn(4, 2)).collect();
        let found = leaking.iter().find(|outcome| outcome.code != 0);
        // On the first day a rise may be the morning's load until it has come high.
        let told = found.is_some_and(|found| found.text().contains("leak") && found.value("used") < 90.0);
        assert!(told, "{found:?} {:?}", leaking.last());
    });
}

/// Who closes before he is accepted leaves a connection that nothing tells from another such.
#[test]
fn dead_connections_in_the_queue_are_counted_one_by_one() {
    Lab::test(|lab| {
        let place = Place::new();
        let (path, state) = (place.at("x.sock"), place.at("state"));
        let (mut server, mut client) = (lab.peer(), lab.peer());
        server.say(&format!("listen l {path}"));
        client.say(&format!("connect c {path} 5"));
        client.say("close c");
        let look = || {
            sleep(Duration::from_millis(600));
            GROWTH.run(&["--unix", &path, "--limit=99", "--state-dir", &state])
        };
        let turnover = |outcome: &Outcome| ["connections", "opened", "closed"].map(|label| outcome.value(label));
        assert_eq!(look().value("connections"), 5.0);
        for _ in 0..2 {
            let same = look();
            assert_eq!(turnover(&same), [5.0, 0.0, 0.0], "{same:?}");
        }
        server.say("accept s l 3");
        server.say("close s");
        let fewer = look();
        let [connections, opened, closed] = turnover(&fewer);
        assert!((connections, opened) == (2.0, 0.0) && closed > 0.0, "{fewer:?}");
        let tenants = TENANTS.run(&["--unix", &path, "--key=user", "--limit=99"]);
        assert_eq!((tenants.value("connections"), tenants.value("unknown")), (2.0, 2.0), "{tenants:?}");
    });
}

/// Who has them, and what the history knows.
#[test]
fn the_companion_shows_unix_sockets() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("x.sock");
        let (server, mut client) = place.connected(lab, &path, 4);
        client.say("close c");
        client.say(&format!("connect d {path} 1"));
        let companion = |args: &[&str]| run(Command::new(CONNLEAK).args(args));
        let shown = companion(&["who", "--unix", &path]);
        let peer = format!("peer[{}]", server.pid());
        let row = shown.stdout.lines().find(|line| line.contains(&server.pid().to_string())).unwrap_or_default();
        assert!(shown.code == 0 && row.contains("server"), "{peer}: {shown:?}");
        assert!(shown.stdout.contains("4 in CLOSE_WAIT over UNIX sockets: the kernel tells no ages"), "{shown:?}");
        let json = companion(&["who", "--unix", &path, "-p4242", "-ojson"]);
        let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
        let rows = json["rows"].as_array().or(json["owners"].as_array()).unwrap();
        assert!(rows.iter().all(|row| row["unix"] == true && row["port"].is_null()), "{json}");
        let state = place.at("state");
        let watched = companion(&["watch", "--unix", &path, "--interval=100ms", "--for=300ms", "--state-dir", &state]);
        assert!(watched.code == 0 && watched.stdout.contains("peer"), "{watched:?}");
        let words = format!("note: no such listener: {}; listening: {path}", place.at("y.sock"));
        let of = |path: &str| companion(&["watch", "--unix", path, "--for=100ms", "--state-dir", &state]);
        let (wrong, right) = (of(&place.at("y.sock")), of(&path));
        assert!(wrong.stdout.contains(&words) && !right.stdout.contains("note"), "{wrong:?} {right:?}");
        // What is offered can be run as it stands.
        let unlisted = companion(&["sessions", "--unix", "/run/mysqld/mysqld.sock"]);
        let offered = "connleak sessions --how --unix /run/mysqld/mysqld.sock";
        assert!(unlisted.stderr.contains(offered), "{unlisted:?}");
        let how = companion(&offered.split(' ').skip(1).collect::<Vec<_>>());
        assert!(how.code == 0 && how.stdout.contains("processlist"), "{how:?}");
        for _ in 0..6 {
            assert_eq!(GROWTH.run(&["--unix", &path, "--limit=99", "--state-dir", &state]).code, 0);
            sleep(Duration::from_millis(50));
        }
        let page = place.at("page.html");
        let drawn = companion(&["graph", "--unix", &path, "--state-dir", &state, "-O", &page]);
        assert!(drawn.code == 0 && fs::read_to_string(&page).is_ok_and(|page| page.contains(&path)), "{drawn:?}");
        let options = ["--unix", &path, "--limit=99", "--state-dir", &state, "-oprometheus"];
        let textfile = run(Command::new(GROWTH.0).args(options));
        assert!(textfile.stdout.contains(&format!("service=\"{path}\",port=\"\"")), "{textfile:?}");
    });
}

#[test]
fn what_carried_no_data_can_not_be_told() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("x.sock");
        let (_server, _client) = place.connected(lab, &path, 1);
        let refused = IDLE.run(&["--unix", &path]);
        says(&refused, 3, &["doesn't tell when a UNIX socket last carried data", "check_conn_growth --unix"]);
        says(&IDLE.run(&["-P", "php-fpm"]), 3, &["doesn't tell when a UNIX socket"]);
        // A profile's TCP ports are judged as ever.
        says(&IDLE.run(&["-P", "mysql"]), 0, &["mysql:3306"]);
        // Where it has connections by UNIX sockets only, none of them is judged; else the line says so.
        let profile = place.at("mine.yaml");
        fs::write(&profile, format!("service: mine\nports: [3306]\nunix: [{path}]\n")).unwrap();
        says(&IDLE.run(&["-P", &profile]), 3, &["doesn't tell when a UNIX socket"]);
        let mut tcp = lab.peer();
        tcp.say("listen t 127.0.0.1:3306");
        says(&IDLE.run(&["-P", &profile]), 0, &["1 connection over UNIX sockets not judged"]);
    });
}
