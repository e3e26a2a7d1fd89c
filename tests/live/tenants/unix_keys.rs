//! check_conn_tenants over UNIX sockets: the kernel tells of them no cgroup, so directories and units are the client's
//! process's.

use crate::host::unit::Service;
use crate::host::unix_sockets::Place;
use crate::lab::run::{Outcome, TENANTS};
use crate::lab::{Lab, Peer, example};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// A place that every user may look at, and who listens there.
fn server(lab: &Lab) -> (Place, String, Peer) {
    let place = Place::new();
    let path = place.at("x.sock");
    std::fs::set_permissions(place.at("."), PermissionsExt::from_mode(0o755)).unwrap();
    let mut server = lab.peer();
    server.say(&format!("listen l {path}"));
    (place, path, server)
}

fn tenants(outcome: &Outcome) -> Vec<(String, u64)> {
    let json = outcome.json();
    let name = |tenant: &Value| (tenant["name"].as_str().unwrap().to_owned(), tenant["connections"].as_u64().unwrap());
    json["tenants"].as_array().unwrap().iter().map(name).collect()
}

/// Found, cleared, found again: by a key that only a client's process answers.
fn is_told_from_either_end(path: &str, key: &str, server: &mut Peer, [greedy, modest]: [(&str, &mut Peer); 2]) {
    modest.1.say(&format!("connect c {path} 3"));
    server.say("accept m l 3");
    let of = ["--unix", path, "-P", "mysql", "--limit=20", "--key", key];
    for _ in 0..2 {
        greedy.1.say(&format!("connect c {path} 17"));
        server.say("accept g l 17");
        for side in ["--side=server", "--side=client", "--side=both"] {
            let found = TENANTS.run(&[&of[..], &[side]].concat());
            let words = format!("tenant {}: 17 connections, 85% of limit 20", greedy.0);
            assert!(found.code == 2 && found.text().contains(&words), "{side}: {found:?}");
            assert_eq!((found.value("tenants"), found.value("unknown")), (2.0, 0.0), "{side}: {found:?}");
            let json = TENANTS.run(&[&of[..], &[side, "-ojson"]].concat());
            assert_eq!(tenants(&json), [(greedy.0.to_owned(), 17), (modest.0.to_owned(), 3)], "{side}");
        }
        // Whose descriptors can't be read has no directory and no unit: never a false OK.
        let blind = TENANTS.unprivileged(&of);
        assert!(blind.code == 3 && blind.value("unknown") == 20.0, "{blind:?}");
        greedy.1.say("close c");
        server.say("close g");
        let clear = TENANTS.run(&of);
        assert!(
            clear.code == 0
                && clear.text().contains(&format!(": 3 connections, 15% of limit 20, all of tenant {} by ", modest.0)),
            "{clear:?}"
        );
    }
}

fn client_in(lab: &Lab, directory: &Path) -> Peer {
    std::fs::create_dir_all(directory).unwrap();
    let mut program = Command::new(example("peer"));
    program.current_dir(directory);
    lab.peer_by(program)
}

#[test]
fn a_tenant_over_a_unix_socket_is_named_by_its_working_directory() {
    Lab::test(|lab| {
        let (place, path, mut server) = server(lab);
        let home = |name: &str| Path::new(&place.at("home")).join(name).join("www");
        let (mut acme, mut beta) = (client_in(lab, &home("acme")), client_in(lab, &home("beta")));
        let clients = [("acme", &mut acme), ("beta", &mut beta)];
        is_told_from_either_end(&path, "cwd:/home/([^/]+)/www$", &mut server, clients);
    });
}

#[test]
fn a_tenant_over_a_unix_socket_is_named_by_its_unit() {
    Lab::test(|lab| {
        let (Some(shop), Some(blog)) = (Service::new(lab), Service::new(lab)) else { return };
        let (_place, path, mut server) = server(lab);
        let (mut greedy, mut modest) = (lab.peer(), lab.peer());
        shop.take(&greedy);
        blog.take(&modest);
        let clients = [(shop.name(), &mut greedy), (blog.name(), &mut modest)];
        is_told_from_either_end(&path, "unit", &mut server, clients);
    });
}
