//! check_conn_tenants on known loads: each key counts exactly, from either end.

use crate::host::unit::Service;
use crate::lab::run::{CLOSEWAIT, Outcome, PATIENCE, TENANTS, poll, unique};
use crate::lab::{CLOSE_WAIT, ESTABLISHED, Lab, Peer, example};
use connleak::kernel::cgroup;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

const SERVER: &str = "127.0.0.1:4711";
const FIN_WAIT2: u8 = 5;

/// Shares of the limit, so that nothing is a problem by itself.
const CALM: [&str; 2] = ["-p4711", "--limit=1000"];

fn look(more: &[&str]) -> Outcome {
    TENANTS.run(&[&CALM, more].concat())
}

fn tenants(json: &Value) -> Vec<(String, u64)> {
    let list = json["tenants"].as_array().unwrap().iter();
    list.map(|tenant| (tenant["name"].as_str().unwrap().to_owned(), tenant["connections"].as_u64().unwrap())).collect()
}

fn counted(more: &[&str]) -> Vec<(String, u64)> {
    tenants(&look(&[more, &["-ojson"]].concat()).json())
}

fn expected(wanted: &[(&str, u64)]) -> Vec<(String, u64)> {
    wanted.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

fn server(lab: &Lab, count: u32, clients: impl FnOnce()) -> Peer {
    let mut server = lab.peer();
    server.say(&format!("listen l {SERVER}"));
    clients();
    server.say(&format!("accept s l {count}"));
    server
}

/// A client in this directory, called with this argument.
fn client(lab: &Lab, argument: &str, directory: &Path) -> Peer {
    let mut program = Command::new(example("peer"));
    program.arg(argument).current_dir(directory);
    lab.peer_by(program)
}

#[test]
fn users_are_counted_from_either_end_with_and_without_rights() {
    Lab::test(|lab| {
        let (mut root, mut nobody) = (lab.peer(), lab.peer_of_nobody());
        let _server = server(lab, 10, || {
            root.say(&format!("connect c {SERVER} 3"));
            nobody.say(&format!("connect c {SERVER} 7"));
        });
        let wanted = expected(&[("nobody", 7), ("root", 3)]);
        for side in ["--side=server", "--side=client", "--side=both"] {
            let key = ["--key=user", side];
            assert_eq!(counted(&key), wanted, "{side}");
            let outcome = look(&key);
            assert_eq!((outcome.code, outcome.value("connections"), outcome.value("tenants")), (0, 10.0, 2.0));
            assert_eq!((outcome.value("tenant_nobody"), outcome.value("share_max")), (0.7, 0.7), "{outcome:?}");
            let json = TENANTS.unprivileged(&[&CALM[..], &key, &["-ojson"]].concat()).json();
            assert_eq!(tenants(&json), wanted, "{side} {json}");
        }
    });
}

#[test]
fn directories_and_command_lines_name_also_through_a_master() {
    Lab::test(|lab| {
        let dir = tempfile::tempdir().unwrap();
        let homes = ["acme", "beta"].map(|name| dir.path().join("home").join(name));
        homes.iter().for_each(|home| std::fs::create_dir_all(home.join("www")).unwrap());
        let mut acme = client(lab, "--customer=acme", &homes[0].join("www"));
        let mut beta = client(lab, "--customer=beta", &homes[1]);
        // A worker that says nothing of its customer; its master's arguments and directory do.
        let mut program = Command::new("sh");
        program.args(["-c", "cd /; \"$0\"; exit $?"]).arg(example("peer")).arg("--customer=gamma");
        let mut gamma = lab.peer_by(program);
        let mut stranger = client(lab, "x", Path::new("/"));
        let _server = server(lab, 15, || {
            acme.say(&format!("connect c {SERVER} 6"));
            beta.say(&format!("connect c {SERVER} 4"));
            gamma.say(&format!("connect c {SERVER} 3"));
            stranger.say(&format!("connect c {SERVER} 2"));
        });
        let by_cmd = counted(&["--key=cmd:--customer=(\\w+)"]);
        assert_eq!(by_cmd, expected(&[("acme", 6), ("beta", 4), ("gamma", 3)]));
        let by_cwd = look(&["--key=cwd:/home/([^/]+)", "-ojson"]).json();
        assert_eq!(tenants(&by_cwd), expected(&[("acme", 6), ("beta", 4)]));
        let unknown = &by_cwd["unknown"];
        assert_eq!((&unknown["connections"], &unknown["unmatched"]), (&5.into(), &5.into()), "{by_cwd}");
        let text = look(&["--key=cwd:/home/([^/]+)"]).text();
        assert!(text.contains("5 connections of unknown tenants (that the key doesn't match)"), "{text}");
        let map = dir.path().join("map.yaml");
        let home = dir.path().display();
        let yaml = format!("Customer A:\n  paths: ['{home}/home/a*']\nrest:\n  users: [root]\n");
        std::fs::write(&map, yaml).unwrap();
        assert_eq!(counted(&["--key", &format!("map:{}", map.display())]), expected(&[("rest", 9), ("Customer A", 6)]));
    });
}

/// All of a limit: by unit or user that is a tenant, by an address that is the host's own it is none.
#[test]
fn the_host_itself_is_no_tenant_and_its_processes_are_named() {
    Lab::test(|lab| {
        let mut application = lab.peer();
        let _server = server(lab, 9, || drop(application.say(&format!("connect c {SERVER} 9"))));
        let look = |key: &str, more: &[&str]| TENANTS.run(&[&["-p4711", "--limit=10", key], more].concat());
        assert_eq!(look("--key=user", &[]).code, 2);
        for side in ["--side=server", "--side=both"] {
            let local = look("--key=peer", &[side]);
            assert_eq!((local.code, local.value("connections")), (0, 9.0), "{local:?}");
            let said = format!("all of this host itself, no tenant by peer, all held by peer[{}]", application.pid());
            assert!(local.text().contains(&said), "{local:?}");
        }
        // What each of them does is judged as ever.
        let idle = look("--key=peer", &["--idle-age=0s", "--idle-warning=8"]);
        assert!(idle.code == 1 && idle.text().contains("tenant 127.0.0.1: 9 idle"), "{idle:?}");
    });
}

#[test]
fn peers_are_cut_to_networks() {
    Lab::test(|lab| {
        let mut clients = lab.peer();
        // 127.0.0.1 to 4: 3, 3, 2 and 2 connections.
        let _server = server(lab, 10, || drop(clients.say(&format!("connect c {SERVER} 10 4"))));
        for side in ["--side=server", "--side=both"] {
            let wanted = expected(&[("127.0.0.1", 3), ("127.0.0.2", 3), ("127.0.0.3", 2), ("127.0.0.4", 2)]);
            assert_eq!(counted(&["--key=peer", side]), wanted);
            let wanted = expected(&[("127.0.0.2/31", 5), ("127.0.0.0/31", 3), ("127.0.0.4/31", 2)]);
            assert_eq!(counted(&["--key=peer/31", side]), wanted);
            assert_eq!(counted(&["--key=peer/24", side]), expected(&[("127.0.0.0/24", 10)]));
        }
        // Of a client alone the peer is its server.
        assert_eq!(counted(&["--key=peer", "--side=client"]), expected(&[("127.0.0.1", 10)]));
        let outcome = look(&["--key=peer", "--top=2"]);
        assert_eq!((outcome.value("tenants"), outcome.value("share_other")), (4.0, 0.4), "{outcome:?}");
    });
}

#[test]
fn units_containers_and_cgroups_are_known_without_rights_too() {
    Lab::test(|lab| {
        let id = format!("{:0>64}", unique());
        let (Some(unit), Some(docker)) = (Service::new(lab), Service::named(lab, &format!("docker-{id}.scope"))) else {
            return;
        };
        let (mut web, mut contained) = (lab.peer(), lab.peer());
        unit.take(&web);
        docker.take(&contained);
        let _server = server(lab, 7, || {
            web.say(&format!("connect c {SERVER} 4"));
            contained.say(&format!("connect c {SERVER} 3"));
        });
        let scope = format!("docker-{id}.scope");
        let paths = [format!("/{}", unit.name()), format!("/{scope}")];
        let cases = [
            ("unit", expected(&[(unit.name(), 4), (&scope, 3)])),
            ("cgroup:1", expected(&[(&paths[0], 4), (&paths[1], 3)])),
            ("container", expected(&[(&id[..12], 3)])),
        ];
        for (key, wanted) in cases {
            for side in ["--side=client", "--side=server"] {
                let args = ["--key", key, side, "-ojson"];
                assert_eq!(tenants(&look(&args).json()), wanted, "{key}");
                let json = TENANTS.unprivileged(&[&CALM[..], &args].concat()).json();
                assert_eq!(tenants(&json), wanted, "{key} without rights: {json}");
                assert_eq!(json["complete"]["owners"], false, "{json}");
            }
        }
    });
}

#[test]
fn who_is_in_no_unit_is_told_by_user() {
    Lab::test(|lab| {
        let mut client = lab.peer();
        let _server = server(lab, 30, || drop(client.say(&format!("connect c {SERVER} 30"))));
        // Its own where a session of systemd's runs the tests.
        let own = cgroup::cgroup_path(std::fs::File::open("/proc/self/cgroup").unwrap());
        let name = own.map_or_else(|| "user root".to_owned(), |path| cgroup::unit_name(&path));
        for side in ["--side=client", "--side=server"] {
            let json = look(&["--key=unit", side, "-ojson"]).json();
            assert_eq!(tenants(&json), expected(&[(&name, 30)]), "{json}");
            assert_eq!(json["unknown"]["connections"], 0, "{json}");
        }
    });
}

#[test]
fn an_outlier_is_named_until_it_lets_go() {
    Lab::test(|lab| {
        let (mut clients, mut leaking) = (lab.peer(), lab.peer());
        let mut server = server(lab, 20, || drop(clients.say(&format!("connect c {SERVER} 20 4"))));
        let key = ["--key=peer", "--side=server"];
        for _ in 0..2 {
            let calm = look(&key);
            assert_eq!((calm.code, calm.value("outliers")), (0, 0.0), "{calm:?}");
            leaking.say(&format!("connect c {SERVER} 60 1"));
            server.say("accept leaked l 60");
            lab.wait_for(ESTABLISHED, 4711, 160);
            let found = look(&key);
            assert_eq!((found.code, found.value("outliers")), (1, 1.0), "{found:?}");
            let wanted = "1 outlier, tenant 127.0.0.1 with 65 connections, median 5 (warning 0)";
            assert!(found.text().contains(wanted), "{found:?}");
            assert_eq!(look(&[&key[..], &["--min-count=66"]].concat()).code, 0);
            leaking.say("close c");
            server.say("close leaked");
            lab.wait_for(ESTABLISHED, 4711, 40);
        }
    });
}

#[test]
fn shares_of_the_limit_and_of_all() {
    Lab::test(|lab| {
        let (mut root, mut nobody) = (lab.peer(), lab.peer_of_nobody());
        let _server = server(lab, 40, || {
            root.say(&format!("connect c {SERVER} 4"));
            nobody.say(&format!("connect c {SERVER} 36"));
        });
        let judged = |more: &[&str]| TENANTS.run(&[&["-p4711", "--key=user"], more].concat());
        // Of all: 90 %, which chance doesn't make.
        let of_all = judged(&[]);
        assert_eq!((of_all.code, of_all.value("share_max")), (2, 90.0), "{of_all:?}");
        assert!(of_all.text().contains("tenant nobody: 36 connections, 90% of all 40 (critical 80)"), "{of_all:?}");
        assert!(of_all.text().contains("all held by peer["), "{of_all:?}");
        for (limit, code) in [("--limit=40", 2), ("--limit=60", 1), ("--limit=72", 0)] {
            assert_eq!(judged(&[limit]).code, code, "{limit}");
        }
        assert_eq!(judged(&["-w90", "-c95"]).code, 0);
    });
}

#[test]
fn a_tenants_own_close_wait_and_idle_are_judged() {
    Lab::test(|lab| {
        let (mut root, mut nobody) = (lab.peer(), lab.peer_of_nobody());
        let mut server = server(lab, 5, || drop(root.say(&format!("connect c {SERVER} 5"))));
        let look = |more: &[&str]| {
            let limits = ["--key=user", "--min-age=0s", "--close-wait-warning=3", "--side=client"];
            self::look(&[&limits, more].concat())
        };
        nobody.say(&format!("connect c {SERVER} 8"));
        server.say("accept dropped l 8");
        assert_eq!(look(&[]).code, 0);
        server.say("close dropped");
        lab.wait_for(CLOSE_WAIT, 4711, 8);
        let stuck = look(&[]);
        assert_eq!((stuck.code, stuck.value("close_wait_max")), (1, 8.0), "{stuck:?}");
        assert!(stuck.text().contains("tenant nobody: 8 in CLOSE_WAIT for 0s or more (warning 3)"), "{stuck:?}");
        assert!(!stuck.text().contains("tenant root"), "{stuck:?}");
        nobody.say("close c");
        lab.wait_for(CLOSE_WAIT, 4711, 0);
        let idle = look(&["--idle-age=0s", "--idle-critical=4"]);
        assert_eq!((idle.code, idle.value("idle_max")), (2, 5.0), "{idle:?}");
        assert!(idle.text().contains("tenant root: 5 idle for 0s or more (critical 4)"), "{idle:?}");
        // The tables of /proc tell no times: five at most can be idle.
        let blind = look(&["--source=proc", "--idle-critical=4"]);
        assert_eq!(blind.code, 3, "{blind:?}");
        assert!(blind.text().contains(": ages unknown: idle connections can't be judged"), "{blind:?}");
        assert_eq!(look(&["--source=proc", "--idle-critical=5"]).code, 0);
        // Half the age of any test: nothing is idle for an hour.
        assert_eq!(look(&["--idle-age=1h", "--idle-critical=0"]).code, 0);
    });
}

#[test]
fn what_nobody_can_be_named_for_is_never_a_false_ok() {
    Lab::test(|lab| {
        let mut client = lab.peer();
        let mut server = server(lab, 20, || drop(client.say(&format!("connect c {SERVER} 20"))));
        let few =
            ["-p4711", "--key=user", "--side=server", "--limit=100", "--idle-warning=1000", "--idle-critical=1000"];
        let judged = |more: &[&str]| TENANTS.run(&[&few, more].concat());
        assert_eq!(judged(&[]).code, 0);
        client.say("close c");
        lab.wait_for(CLOSE_WAIT, 4711, 20);
        // The clients are gone: it is the service that forgot, and the users can't be told any more.
        assert!(poll(PATIENCE, || judged(&["-ojson"]).json()["unknown"]["elsewhere"] == 20));
        let gone = judged(&[]);
        assert_eq!((gone.code, gone.value("unknown"), gone.value("tenants")), (0, 20.0, 0.0), "{gone:?}");
        let said = "20 connections of unknown tenants (with clients elsewhere or gone)";
        assert!(gone.text().contains(said), "{gone:?}");
        let doubtful = judged(&["-w15"]);
        assert_eq!(doubtful.code, 3, "{doubtful:?}");
        assert!(doubtful.text().starts_with(&format!("port 4711: {said}")), "{doubtful:?}");
        assert_eq!(judged(&["--min-age=0s"]).code, 3, "20 in CLOSE_WAIT may be one tenant's");
        server.say("close s");
        assert_eq!(judged(&["-w15"]).code, 0);
    });
}

#[test]
fn a_service_of_several_tenants_tells_them_itself() {
    Lab::test(|lab| {
        let (mut root, mut nobody, mut client) = (lab.peer(), lab.peer_of_nobody(), lab.peer());
        for (server, address, count) in [(&mut root, "127.0.0.1:4711", 3), (&mut nobody, "127.0.0.2:4711", 5)] {
            server.say(&format!("listen l {address}"));
            client.say(&format!("connect c {address} {count}"));
            server.say(&format!("accept s l {count}"));
        }
        // The clients' ends gone, as if they were on other hosts.
        client.say("close c");
        lab.wait_for(CLOSE_WAIT, 4711, 8);
        let gone = || counted(&["--key=user", "--side=server", "--min-age=1h"]);
        assert!(poll(PATIENCE, || gone().len() == 2), "{:?}", gone());
        assert_eq!(gone(), expected(&[("nobody", 5), ("root", 3)]));
        // One that listens alone serves all: its user says nothing of whom.
        nobody.say("close l");
        assert_eq!(gone(), []);
    });
}

#[test]
fn a_user_without_rights_hears_what_he_can_t_see() {
    Lab::test(|lab| {
        let mut client = lab.peer();
        let _server = server(lab, 9, || drop(client.say(&format!("connect c {SERVER} 9"))));
        let args = ["-p4711", "--key=cwd:^/(.*)", "--side=client", "--limit=10"];
        let blind = TENANTS.unprivileged(&args);
        assert_eq!((blind.code, blind.value("unknown")), (3, 9.0), "{blind:?}");
        let text = blind.text();
        assert!(text.contains("9 connections of unknown tenants (of processes not found)"), "{text}");
        assert!(text.contains("owners partial: none known"), "{text}");
        assert_eq!(TENANTS.run(&args).code, 2);
    });
}

#[test]
fn other_checks_group_by_the_same_key() {
    Lab::test(|lab| {
        let id = format!("{:0>64}", unique());
        let Some(docker) = Service::named(lab, &format!("docker-{id}.scope")) else { return };
        let server = lab.leaking_server(SERVER, 6);
        docker.take(&server);
        let dir = tempfile::tempdir().unwrap();
        let profile = |key: &str| {
            let file = dir.path().join("mine.yaml");
            std::fs::write(&file, format!("service: mine\nports: [4711]\ntenants: {{key: '{key}'}}\n")).unwrap();
            file.to_str().unwrap().to_owned()
        };
        let look = |key: &str| CLOSEWAIT.run(&["-P", &profile(key), "--min-age=0s", "-w0", "--by=tenant"]);
        let container = look("container");
        assert!(container.text().contains(&format!("all of tenant {}", &id[..12])), "{container:?}");
        assert!(look("peer/8").text().contains("all of tenant 127.0.0.0/8"));
        let refused = look("cwd:/home/(.*)");
        assert_eq!(refused.code, 3);
        assert!(refused.text().contains("check_conn_tenants"), "{refused:?}");
    });
}

/// A client's port may be in use again, to another address of the service: that one's end is not the first one's behind NAT.
#[test]
fn a_port_that_is_in_use_again_hides_no_connection_whose_client_is_gone() {
    Lab::test(|lab| {
        // A closed client's end is gone a second later, not a minute.
        std::fs::write("/proc/sys/net/ipv4/tcp_fin_timeout", "1").unwrap();
        let (mut server, mut gone, mut other) = (lab.peer(), lab.peer(), lab.peer_of_nobody());
        server.say(&format!("listen l {SERVER}"));
        server.say("listen m 127.0.0.2:4711");
        gone.say(&format!("connect_from c 127.0.0.9:5000 {SERVER}"));
        server.say("accept s l 1");
        gone.say("close c");
        lab.wait_for(CLOSE_WAIT, 4711, 1);
        lab.wait_for(FIN_WAIT2, 4711, 1);
        lab.wait_for(FIN_WAIT2, 4711, 0);
        other.say("connect_from c 127.0.0.9:5000 127.0.0.2:4711");
        server.say("accept t m 1");
        let found = look(&["--key=user", "-ojson"]).json();
        let unknown = found["unknown"]["connections"].as_u64();
        assert_eq!((tenants(&found), unknown), (expected(&[("nobody", 1)]), Some(1)), "{found}");
    });
}
