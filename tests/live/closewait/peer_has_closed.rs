//! The check's question itself: who holds sockets whose peer has closed?

use crate::lab::run::{Outcome, check};
use crate::lab::{CLOSE_WAIT, ESTABLISHED, Lab, Peer};

const ADDRESSES: [&str; 3] = ["127.0.0.1:11211", "[::1]:11211", "[::ffff:127.0.0.2]:11211"];

/// A memcached with leaks at both ends, beside healthy connections and another port's leak.
struct Scene {
    server: Peer,
    client: Peer,
}

impl Scene {
    /// 7 server-side and 5 client-side CLOSE_WAIT over all kinds of address, 40 connections
    /// ESTABLISHED at both ends, 100 foreign CLOSE_WAIT.
    fn new(lab: &Lab) -> Scene {
        let (mut server, mut client) = (lab.peer(), lab.peer());
        for (index, address) in ADDRESSES.iter().enumerate() {
            server.say(&format!("listen l{index} {address}"));
        }
        let mut connect = |name: &str, counts: [u32; 3]| {
            for (index, (address, count)) in ADDRESSES.iter().zip(counts).enumerate() {
                client.say(&format!("connect {name} {address} {count}"));
                server.say(&format!("accept {name} l{index} {count}"));
            }
        };
        connect("left_by_client", [3, 2, 2]);
        connect("left_by_server", [2, 2, 1]);
        connect("healthy", [20, 10, 10]);
        server.say("listen foreign 127.0.0.1:11311");
        client.say("connect foreign 127.0.0.1:11311 100");
        server.say("accept foreign foreign 100");
        client.say("close foreign");
        client.say("close left_by_client");
        server.say("close left_by_server");
        lab.wait_for(CLOSE_WAIT, 11211, 12);
        lab.wait_for(CLOSE_WAIT, 11311, 100);
        lab.wait_for(ESTABLISHED, 11211, 80);
        Scene { server, client }
    }
}

fn look(side: &str, more: &[&str]) -> Outcome {
    check(&[&["-p11211", "--min-age=0s", "-w0", "-c100", "--side", side], more].concat())
}

#[test]
fn each_side_has_its_count_and_its_pid() {
    Lab::test(|lab| {
        let scene = Scene::new(lab);
        let (server, client) = (scene.server.pid(), scene.client.pid());
        for (side, stuck, established, owners) in [
            ("server", 7, 40, vec![(server, 7)]),
            ("client", 5, 40, vec![(client, 5)]),
            ("both", 12, 80, vec![(server, 7), (client, 5)]),
        ] {
            let plain = look(side, &[]);
            assert_eq!(plain.code, 1, "{plain:?}");
            assert_eq!((plain.value("close_wait"), plain.value("established")), (stuck.into(), established.into()));
            let (pid, most) = owners[0];
            assert!(plain.text().starts_with("memcached:11211: "), "{plain:?}");
            let held =
                if most.to_string() == stuck.to_string() { "all".to_owned() } else { format!("{most} of {stuck}") };
            assert!(plain.text().contains(&format!(", {held} held by peer[{pid}] (")), "{plain:?}");
            let json = look(side, &["-o", "json"]).json();
            let found = json["owners"].as_array().unwrap().iter();
            let found: Vec<_> = found.map(|owner| (owner["pid"].as_u64(), owner["sockets"].as_u64())).collect();
            let owners: Vec<_> = owners.iter().map(|(pid, n)| (Some(u64::from(*pid)), Some(*n))).collect();
            assert_eq!(found, owners, "{json}");
            assert_eq!(json["complete"]["owners"], true, "{json}");
        }
        let text = look("both", &[]).text();
        assert!(text.contains("7 at the server's end, 5 at the client's"), "{text}");
    });
}

#[test]
fn netlink_and_proc_agree() {
    Lab::test(|lab| {
        let _scene = Scene::new(lab);
        for (side, stuck) in [("server", 7.0), ("client", 5.0), ("both", 12.0)] {
            let [netlink, proc] = ["netlink", "proc"].map(|source| look(side, &["--source", source]));
            for label in ["close_wait", "established", "close_wait_ratio"] {
                assert_eq!(netlink.value(label), proc.value(label), "{label} of {side}");
            }
            assert_eq!(proc.value("close_wait"), stuck);
            assert!(proc.text().contains("ages unknown"), "{proc:?}");
            assert!(!netlink.text().contains("unknown"), "{netlink:?}");
            assert_eq!(proc.output().value("close_wait_oldest"), None);
            let owners = |source| look(side, &["-ojson", "--source", source]).json()["owners"].clone();
            let pids = |owners: serde_json::Value| {
                owners.as_array().unwrap().iter().map(|owner| owner["pid"].clone()).collect::<Vec<_>>()
            };
            assert_eq!(pids(owners("netlink")), pids(owners("proc")));
        }
    });
}

#[test]
fn ok_again_when_the_holder_closes_and_fires_again_on_the_next_leak() {
    Lab::test(|lab| {
        let Scene { mut server, mut client } = Scene::new(lab);
        assert_eq!(look("both", &[]).code, 1);
        server.say("close left_by_client");
        client.say("close left_by_server");
        let healed = look("both", &[]);
        assert_eq!((healed.code, healed.value("close_wait")), (0, 0.0), "{healed:?}");
        assert_eq!(healed.value("established"), 80.0, "{healed:?}");
        client.say("connect again [::1]:11211 3");
        server.say("accept again l1 3");
        client.say("close again");
        lab.wait_for(CLOSE_WAIT, 11211, 3);
        let again = look("both", &[]);
        assert_eq!((again.code, again.value("close_wait")), (1, 3.0), "{again:?}");
        assert!(again.text().contains(&format!("held by peer[{}]", server.pid())), "{again:?}");
    });
}
