//! Options that choose among a port's sockets, and those that group what is found.

use crate::lab::run::{Outcome, check};
use crate::lab::{CLOSE_WAIT, Lab, Peer};

fn look(more: &[&str]) -> Outcome {
    check(&[&["-p11211", "--side=server", "--min-age=0s", "-w0", "-c100", "--ratio-min-count=1000"], more].concat())
}

/// Root's server with 2 sockets of peer 127.0.0.1 and 1 each of 127.0.0.2 and 127.0.0.3, nobody's
/// with 3 of peer ::1.
fn two_servers(lab: &Lab) -> [Peer; 2] {
    let (mut of_root, mut of_nobody, mut client) = (lab.peer(), lab.peer_of_nobody(), lab.peer());
    of_root.say("listen l 127.0.0.1:11211");
    of_nobody.say("listen l [::1]:11211");
    client.say("connect c 127.0.0.1:11211 4 3");
    client.say("connect c [::1]:11211 3");
    of_root.say("accept s l 4");
    of_nobody.say("accept s l 3");
    client.say("close c");
    lab.wait_for(CLOSE_WAIT, 11211, 7);
    [of_root, of_nobody]
}

#[test]
fn user_peer_and_local_select() {
    Lab::test(|lab| {
        let _servers = two_servers(lab);
        for (options, count) in [
            (&[][..], 7.0),
            (&["--user=root"], 4.0),
            (&["--user=65534"], 3.0),
            (&["--user=1"], 0.0),
            (&["--peer=127.0.0.1"], 2.0),
            (&["--peer=127.0.0.2/31"], 2.0),
            (&["--peer=127.0.0.0/8"], 4.0),
            (&["--peer=::/0"], 3.0),
            (&["--peer=127.0.0.3", "--peer=::1"], 4.0),
            (&["--local=::1"], 3.0),
            (&["--local=127.0.0.1"], 4.0),
            (&["--local=::1", "--peer=127.0.0.1"], 0.0),
            (&["--user=root", "--peer=127.0.0.3"], 1.0),
        ] {
            for source in ["--source=netlink", "--source=proc"] {
                let outcome = look(&[options, &[source]].concat());
                assert_eq!(outcome.value("close_wait"), count, "{options:?} {outcome:?}");
                assert_eq!(outcome.code, i32::from(count > 0.0), "{options:?} {outcome:?}");
            }
        }
    });
}

#[test]
fn a_mapped_peer_is_selected_by_its_ipv4_range() {
    Lab::test(|lab| {
        let _server = lab.leaking_server("[::ffff:127.0.0.1]:11211", 2);
        assert_eq!(look(&["--peer=127.0.0.0/8"]).value("close_wait"), 2.0);
        assert_eq!(look(&["--peer=::ffff:127.0.0.1"]).value("close_wait"), 2.0);
        assert_eq!(look(&["--peer=::ffff:127.0.0.0/104"]).value("close_wait"), 2.0);
        assert_eq!(look(&["--peer=::1"]).value("close_wait"), 0.0);
    });
}

#[test]
fn a_user_of_sockets_in_an_accept_queue_is_not_known_so_not_ok() {
    Lab::test(|lab| {
        let (mut server, mut client) = (lab.peer(), lab.peer());
        server.say("listen l 127.0.0.1:11211");
        client.say("connect c 127.0.0.1:11211 2");
        client.say("close c");
        lab.wait_for(CLOSE_WAIT, 11211, 2);
        let outcome = look(&["--user=root"]);
        assert_ne!(outcome.code, 0, "{outcome:?}");
    });
}

#[test]
fn groups_are_by_the_key_that_was_asked_for() {
    Lab::test(|lab| {
        let servers = two_servers(lab);
        let groups = |by: &str| {
            let json = look(&["-ojson", "--by", by]).json();
            let groups = json["groups"].as_array().unwrap().iter();
            let group = |group: &serde_json::Value| {
                (group["key"].as_str().unwrap().to_owned(), group["sockets"].as_u64().unwrap())
            };
            groups.map(group).collect::<Vec<_>>()
        };
        let wanted = |groups: &[(&str, u64)]| groups.iter().map(|(key, n)| ((*key).to_owned(), *n)).collect::<Vec<_>>();
        assert_eq!(groups("user"), wanted(&[("root", 4), ("nobody", 3)]));
        assert_eq!(groups("peer"), wanted(&[("::1", 3), ("127.0.0.1", 2), ("127.0.0.2", 1), ("127.0.0.3", 1)]));
        let [root, nobody] = servers.each_ref().map(|peer| format!("peer[{}]", peer.pid()));
        assert_eq!(groups("owner"), wanted(&[(&root, 4), (&nobody, 3)]));
    });
}
