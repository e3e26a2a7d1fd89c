//! Which end of a connection a socket is, and of which service: told by listeners, not by port numbers alone.

use crate::lab::run::{CLOSEWAIT, Check, GROWTH, ORPHANS, Outcome, STATES, TENANTS, check};
use crate::lab::{CLOSE_WAIT, ESTABLISHED, Lab, Peer};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const FIN_WAIT2: u8 = 5;
const RULES: [&str; 4] = ["--min-age=0s", "-w0", "-c100", "--ratio-min-count=1000"];

/// Listens in ways that the peer program can't: tests/support/listener.py.
pub fn listener(lab: &Lab) -> Peer {
    let mut command = Command::new("python3");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/listener.py"));
    lab.peer_by(command)
}

pub fn look(port: &str, more: &[&str]) -> Outcome {
    check(&[&[port][..], &RULES, more].concat())
}

/// Runs a line of sh; whether it could, as not every kernel has what it asks for.
fn sh(script: &str) -> bool {
    let sh = Command::new("sh").args(["-ec", script]).stdin(Stdio::null()).stderr(Stdio::null()).status();
    sh.is_ok_and(|status| status.success())
}

/// The `close_wait` of a port's server side, client side, and of both.
fn by_side(port: &str) -> [f64; 3] {
    let of = |side: &str| look(port, &[side]).value("close_wait");
    [of("--side=server"), of("--side=client"), of("--side=both")]
}

/// A client of 443 whose own port is that of a service, forgotten after 443's server closed.
#[test]
fn an_outgoing_connection_from_the_services_port_is_not_the_services() {
    Lab::test(|lab| {
        let (mut other, mut client) = (lab.peer(), lab.peer());
        other.say("listen l 127.0.0.1:443");
        client.say("connect_from c 127.0.0.1:50000 127.0.0.1:443");
        other.say("accept s l 1");
        other.say("close s");
        lab.wait_for(CLOSE_WAIT, 443, 1);
        assert_eq!(by_side("-p50000"), [0.0; 3], "nobody listens on 50000");
        assert_eq!(by_side("-p443"), [0.0, 1.0, 1.0]);
        let mut service = lab.peer();
        service.say("listen l 127.0.0.2:50000");
        assert_eq!(by_side("-p50000"), [0.0; 3], "the service listens on another address");
        assert_eq!(ORPHANS.run(&["-p50000", "--wait=0s", "-vv"]).value("held"), 0.0);
        // The other server is gone: the kernel still tells who connected.
        other.say("close l");
        assert_eq!(by_side("-p50000"), [0.0; 3], "nobody listens on 443 any more");
    });
}

/// The other end of such a connection: its client's port happens to be the service's.
#[test]
fn another_services_end_is_no_client_of_this_one() {
    Lab::test(|lab| {
        let (mut other, mut client) = (lab.peer(), lab.peer());
        other.say("listen l 127.0.0.1:443");
        client.say("connect_from c 127.0.0.1:50000 127.0.0.1:443");
        other.say("accept s l 1");
        client.say("close c");
        lab.wait_for(CLOSE_WAIT, 443, 1);
        assert_eq!(by_side("-p50000"), [0.0; 3]);
        assert_eq!(by_side("-p443"), [1.0, 0.0, 1.0]);
    });
}

/// As an FTP server does with its data: it connects from its port, and who listened for that listens no more. Mere counts
/// are made without what the kernel tells of each socket; who connected is asked all the same.
#[test]
fn who_was_connected_to_is_no_client_also_where_only_counts_are_wanted() {
    Lab::test(|lab| {
        let (mut server, mut client) = (lab.peer(), lab.peer());
        client.say("listen l 127.0.0.1:50001");
        server.say("connect_from c 127.0.0.1:20 127.0.0.1:50001");
        client.say("accept s l 1");
        client.say("close l");
        // With and without the ages of all.
        for more in ["-t10", "-v"] {
            let of = |side: &str| STATES.run(&["-p20", side, more]).value("established");
            assert_eq!([of("--side=client"), of("--side=server")], [0.0, 0.0], "{more}");
        }
        // Many that look alike are those of one server.
        let (_server, _client) = lab.connected("127.0.0.1:21", 300);
        let of = |side: &str| STATES.run(&["-p21", side]).value("established");
        assert_eq!([of("--side=client"), of("--side=server"), of("--side=both")], [300.0, 300.0, 600.0]);
    });
}

#[test]
fn a_connection_from_a_port_that_listens_too_is_the_clients() {
    Lab::test(|lab| {
        let mut other = lab.peer();
        other.say("listen l 127.0.0.1:443");
        let mut service = listener(lab);
        service.say("listen l 127.0.0.1:50000 reuseport");
        service.say("connect c 127.0.0.1:443 1 127.0.0.1:50000");
        other.say("accept s l 1");
        other.say("close s");
        lab.wait_for(CLOSE_WAIT, 443, 1);
        assert_eq!(by_side("-p50000"), [0.0; 3]);
        assert_eq!(by_side("-p443"), [0.0, 1.0, 1.0]);
    });
}

/// After a stop nobody listens: what is left is still found, by port numbers and by who connected.
#[test]
fn survivors_of_a_stopped_service_are_its_own() {
    Lab::test(|lab| {
        let (mut server, client) = lab.connected("127.0.0.1:50000", 3);
        server.say("close l");
        let outcome = ORPHANS.run(&["-p50000", "--wait=0s"]);
        assert_eq!((outcome.code, outcome.value("held")), (2, 6.0), "{outcome:?}");
        let of = |side: &str| ORPHANS.run(&["-p50000", "--wait=0s", side]).value("held");
        assert_eq!([of("--side=server"), of("--side=client")], [3.0, 3.0]);
        client.end();
        lab.wait_for(CLOSE_WAIT, 50000, 3);
        assert_eq!(by_side("-p50000"), [3.0, 0.0, 3.0]);
    });
}

/// Connections to 13306 that the kernel redirects to 3306 on this host.
fn redirected(lab: &Lab) -> Option<(Peer, Peer)> {
    if !sh("nft 'add table ip t; add chain ip t o { type nat hook output priority -100; };
            add rule ip t o tcp dport 13306 redirect to :3306'")
    {
        lab.skip("nft redirect");
        return None;
    }
    let (mut server, mut client) = (lab.peer(), lab.peer_of_nobody());
    server.say("listen l 127.0.0.1:3306");
    client.say("connect c 127.0.0.1:13306 20");
    server.say("accept s l 20");
    lab.wait_for(ESTABLISHED, 3306, 20);
    Some((server, client))
}

#[test]
fn a_redirected_connection_counts_once() {
    Lab::test(|lab| {
        let Some((_server, _client)) = redirected(lab) else { return };
        let dir = tempfile::tempdir().unwrap();
        let state = format!("--state-dir={}", dir.path().display());
        let outcome = GROWTH.run(&["-p13306,3306", "--limit=30", &state]);
        assert_eq!((outcome.code, outcome.value("connections")), (0, 20.0), "{outcome:?}");
        let outcome = TENANTS.run(&["-p13306,3306", "--key=user", "--limit=100"]);
        assert_eq!(outcome.value("connections"), 20.0, "{outcome:?}");
        assert!(
            outcome.text().contains("20 connections, 20% of limit 100, all of tenant nobody by user"),
            "{outcome:?}"
        );
    });
}

/// The client's end tells, as long as it is there; then an earlier look.
#[test]
fn what_is_forgotten_behind_a_redirected_port_is_found() {
    Lab::test(|lab| {
        let dir = tempfile::tempdir().unwrap();
        let state = |name: &str| format!("--state-dir={}", dir.path().join(name).display());
        let count = |port: &str, more: &[&str]| look(port, more).value("close_wait");
        // A closed client's end is gone a second later, not a minute.
        fs::write("/proc/sys/net/ipv4/tcp_fin_timeout", "1").unwrap();
        let Some((server, mut client)) = redirected(lab) else { return };
        assert_eq!(look("-p13306", &[&state("a")]).value("established"), 40.0, "both ends");
        assert_eq!(look("-p13306", &["--side=server", &state("b")]).value("established"), 20.0);
        fs::write("/proc/sys/net/ipv4/tcp_fin_timeout", "60").unwrap();
        client.say("shutdown c");
        lab.wait_for(CLOSE_WAIT, 3306, 20);
        let outcome = look("-p13306", &[&state("c")]);
        assert_eq!((outcome.code, outcome.value("close_wait")), (1, 20.0), "{outcome:?}");
        let says = format!("all held by peer[{}]", server.pid());
        assert!(outcome.text().contains(&says), "{outcome:?}");
        assert!(outcome.text().contains("20 sockets on port 3306 by a redirection on this host"), "{outcome:?}");
        for (port, side) in [("-p13306", "--side=server"), ("-p3306", "--side=both"), ("-p13306,3306", "--side=both")] {
            assert_eq!(count(port, &[side, &state("d")]), 20.0, "{port} {side}");
        }
        assert_eq!(count("-p13306", &["--side=client", &state("d")]), 0.0);
        assert_eq!(count("-p13306", &["--user=daemon", &state("d")]), 0.0);
        assert_eq!(count("-p13307", &[&state("d")]), 0.0);
        fs::write("/proc/sys/net/ipv4/tcp_fin_timeout", "1").unwrap();
        client.say("close c");
        lab.wait_for(FIN_WAIT2, 13306, 0);
        for (name, side) in [("a", "--side=both"), ("b", "--side=server"), ("a", "--side=both")] {
            let outcome = look("-p13306", &[side, &state(name)]);
            assert_eq!((outcome.code, outcome.value("close_wait")), (1, 20.0), "{outcome:?}");
        }
        let late = look("-p13306", &[&state("late")]);
        assert!(late.text().contains("nothing listens on port 13306 here, and nobody is connected"), "{late:?}");
        server.end();
        assert_eq!(count("-p13306", &[&state("a")]), 0.0);
    });
}

#[test]
fn a_tenant_behind_nat_on_this_host_is_found() {
    Lab::test(|lab| {
        let Some((_server, _client)) = redirected(lab) else { return };
        let outcome = TENANTS.run(&["-p3306", "--key=user", "--limit=100"]);
        assert_eq!((outcome.value("connections"), outcome.value("unknown")), (20.0, 0.0), "{outcome:?}");
        assert!(
            outcome.text().contains("20 connections, 20% of limit 100, all of tenant nobody by user"),
            "{outcome:?}"
        );
    });
}

/// A protocol of the network, as ip(8) and nft(8) call it, with an address of this host, one that is nowhere, and a router.
struct Family {
    ip: &'static str,
    nft: &'static str,
    own: &'static str,
    meant: &'static str,
    router: &'static str,
    all: &'static str,
}

const IPV4: Family =
    Family { ip: "-4", nft: "ip", own: "10.8.0.1/24", meant: "10.9.9.9", router: "10.8.0.9", all: "0.0.0.0/0" };
const IPV6: Family =
    Family { ip: "-6", nft: "ip6", own: "fd00:8::1/64", meant: "fd00:9::9", router: "fd00:8::9", all: "::/0" };

/// TPROXY on this host: what is sent to port 80 of an address that is nowhere comes in at a listener on 15001.
fn intercepted(lab: &Lab, family: &Family, listens: &str) -> Option<(Peer, Peer)> {
    let Family { ip, nft, own, meant, router, all } = family;
    let nodad = if *nft == "ip6" { "nodad" } else { "" };
    let rules = format!(
        "ip link add v0 type veth peer name v1
        ip address add {own} dev v0 {nodad}; ip link set v0 up; ip link set v1 up
        ip {ip} route add default via {router} dev v0
        ip {ip} rule add fwmark 1 lookup 100; ip {ip} route add local {all} dev lo table 100
        nft 'add table {nft} t; add chain {nft} t o {{ type route hook output priority -150; }};
            add rule {nft} t o {nft} daddr {meant} tcp dport 80 meta mark set 1;
            add chain {nft} t p {{ type filter hook prerouting priority -150; }};
            add rule {nft} t p meta mark 1 meta l4proto tcp tproxy to :15001 accept'"
    );
    if !sh(&rules) {
        lab.skip(&format!("{nft} tproxy"));
        return None;
    }
    let (mut server, mut client) = (listener(lab), lab.peer());
    server.say(&format!("listen l {listens}"));
    let meant = if *nft == "ip6" { format!("[{meant}]") } else { (*meant).to_owned() };
    client.say(&format!("connect c {meant}:80 5"));
    server.say("accept s l 3");
    client.say("close c");
    lab.wait_for(CLOSE_WAIT, 80, 5);
    Some((server, client))
}

/// That a listener took them by TPROXY, whatever the protocol of either.
fn through_a_transparent_listener(lab: &Lab, family: &Family, listens: &str) {
    let Some((server, _client)) = intercepted(lab, family, listens) else { return };
    let outcome = look("-p15001", &["--user=root"]);
    assert_eq!((outcome.code, outcome.value("close_wait")), (1, 5.0), "{outcome:?}");
    assert!(outcome.text().contains(&format!("all held by python3[{}]", server.pid())), "{outcome:?}");
    assert_eq!(look("-p15001", &["--user=daemon"]).value("close_wait"), 0.0);
    assert_eq!(look("-p15001", &["--side=client"]).value("close_wait"), 0.0);
    assert_eq!(STATES.run(&["-p15001"]).value("close_wait"), 5.0);
    assert_eq!(ORPHANS.run(&["-p15001", "--wait=0s"]).value("orphans"), 6.0, "and the listener");
}

#[test]
fn connections_through_a_transparent_listener_are_its_own() {
    Lab::test(|lab| through_a_transparent_listener(lab, &IPV4, "0.0.0.0:15001 transparent"));
}

#[test]
fn so_are_those_of_ipv6() {
    Lab::test(|lab| through_a_transparent_listener(lab, &IPV6, "[::]:15001 transparent"));
}

#[test]
fn so_are_those_of_ipv4_through_a_listener_of_all_addresses_of_ipv6() {
    Lab::test(|lab| through_a_transparent_listener(lab, &IPV4, "[::]:15001 transparent"));
}

#[test]
fn whose_a_transparent_connection_is_takes_its_listeners_process() {
    Lab::test(|lab| {
        let Some((_server, _client)) = intercepted(lab, &IPV4, "0.0.0.0:15001 transparent") else { return };
        // Nobody may not read root's descriptors; the queue tells of the two that wait.
        let outcome = CLOSEWAIT.unprivileged(&["-p15001", "--min-age=0s", "-w2", "-c100", "--ratio-min-count=1000"]);
        assert_eq!((outcome.code, outcome.value("close_wait")), (3, 2.0), "{outcome:?}");
        assert!(outcome.text().contains("3 more in CLOSE_WAIT, but whose they are can't be told"), "{outcome:?}");
        let harmless = CLOSEWAIT.unprivileged(&["-p15001", "--min-age=0s", "-w9", "-c100", "--ratio-min-count=1000"]);
        assert_eq!(harmless.code, 0, "{harmless:?}");
    });
}

/// Each check that knows `--user`.
#[test]
fn the_listener_tells_whose_a_waiting_connection_is() {
    Lab::test(|lab| {
        let (mut server, mut client) = (lab.peer(), lab.peer());
        server.say("listen l 127.0.0.1:27702");
        client.say("connect stays 127.0.0.1:27702 1");
        client.say("connect goes 127.0.0.1:27702 1");
        client.say("close goes");
        lab.wait_for(CLOSE_WAIT, 27702, 1);
        let dir = tempfile::tempdir().unwrap();
        let state = format!("--state-dir={}", dir.path().display());
        let growth = ["--limit=100", &state];
        let cases: [(Check, &[&str], &str, f64); 5] = [
            (CLOSEWAIT, &["--min-age=0s"], "close_wait", 1.0),
            (STATES, &[], "close_wait", 1.0),
            (ORPHANS, &["--wait=0s"], "kernel", 2.0),
            (TENANTS, &["--key=user", "--limit=100"], "connections", 2.0),
            (GROWTH, &growth, "connections", 2.0),
        ];
        for (check, more, label, count) in cases {
            for (user, count) in [("--user=root", count), ("--user=daemon", 0.0)] {
                let outcome = check.run(&[&["-p27702", "--side=server", user], more].concat());
                assert_eq!(outcome.value(label), count, "{user} {outcome:?}");
                assert!(!outcome.text().contains("can't be told"), "{user} {outcome:?}");
            }
        }
    });
}
