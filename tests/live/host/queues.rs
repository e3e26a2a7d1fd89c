//! Of several listeners on one port, in whose queue a connection waits; of several holders, who is the service.

use super::sides::{listener, look};
use crate::lab::run::{CONNLEAK, ORPHANS, STATES, poll, run};
use crate::lab::{CLOSE_WAIT, ESTABLISHED, Lab, Peer};
use std::process::Command;
use std::time::Duration;

const SERVER: [&str; 1] = ["--side=server"];

/// Listeners in this order: h hangs, g takes what comes.
fn group(lab: &Lab, order: &str, options: [&str; 2]) -> Vec<(char, Peer)> {
    let mut all: Vec<(char, Peer)> = order.chars().map(|kind| (kind, listener(lab))).collect();
    for (kind, peer) in &mut all {
        let of_kind = if *kind == 'h' { options[0].to_owned() } else { format!("{} serve", options[1]) };
        peer.say(&format!("listen l 0.0.0.0:27703 {of_kind}"));
    }
    all
}

fn pids_of(all: &[(char, Peer)], wanted: char) -> Vec<u64> {
    all.iter().filter(|(kind, _)| *kind == wanted).map(|(_, peer)| u64::from(peer.pid())).collect()
}

/// Who is named for waiting connections, with the number of each; and how many there are.
fn named() -> (Vec<(u64, u64)>, u64) {
    let json = look("-p27703", &["--side=server", "-ojson"]).json();
    let number = |value: &serde_json::Value| value.as_u64().unwrap();
    let owners = json["owners"].as_array().unwrap().iter();
    let owners = owners.map(|owner| (number(&owner["pid"]), number(&owner["sockets"])));
    (owners.collect(), number(&json["waiting"]))
}

#[test]
fn the_healthy_of_several_listeners_is_never_blamed() {
    Lab::test(|lab| {
        // A group that shares a port, and two that are told apart by their interfaces.
        let veth = "link add v0 type veth peer name v1";
        assert!(Command::new("ip").args(veth.split(' ')).status().unwrap().success());
        for (options, orders) in
            [(["reuseport"; 2], &["hg", "gh", "ghg"][..]), (["device=lo", "device=v0"], &["hg", "gh"])]
        {
            for order in orders {
                let all = group(lab, order, options);
                let mut client = lab.peer();
                client.say("connect c 127.0.0.1:27703 24");
                client.say("close c");
                let hung = pids_of(&all, 'h');
                let settled = poll(Duration::from_secs(10), || {
                    let (owners, waiting) = named();
                    waiting > 0 && owners == [(hung[0], waiting)]
                });
                assert!(settled, "{order} {options:?}: {:?}, hung {hung:?}", named());
                let outcome = STATES.run(&["-p27703", "--side=server", "--queue-warning=0"]);
                assert!(outcome.text().contains(&format!("held by python3[{}]", hung[0])), "{outcome:?}");
                let who = run(Command::new(CONNLEAK).args(["who", "-p27703", "--side=server", "-ojson"]));
                let who: serde_json::Value = serde_json::from_str(&who.stdout).unwrap();
                let queued = who["owners"].as_array().unwrap().iter().filter(|row| row["waiting"].as_u64() > Some(0));
                let queued: Vec<_> = queued.map(|row| row["pid"].as_u64()).collect();
                assert_eq!(queued, [Some(hung[0])], "{order} {options:?} {who}");
            }
        }
    });
}

#[test]
fn of_two_that_hang_each_has_its_own_queue() {
    Lab::test(|lab| {
        let all = group(lab, "hgh", ["reuseport"; 2]);
        let mut client = lab.peer();
        client.say("connect c 127.0.0.1:27703 36");
        client.say("close c");
        let mut hung = pids_of(&all, 'h');
        let mut seen = Vec::new();
        let settled = poll(Duration::from_secs(10), || {
            let (owners, waiting) = named();
            seen = owners.clone();
            let mut pids: Vec<u64> = owners.iter().map(|(pid, _)| *pid).collect();
            pids.sort_unstable();
            hung.sort_unstable();
            pids == hung && owners.iter().map(|(_, count)| count).sum::<u64>() == waiting
        });
        assert!(settled, "{seen:?}, hung {hung:?}");
        assert!(!look("-p27703", &SERVER).text().contains("or another"));
    });
}

#[test]
fn where_queues_dont_tell_it_is_one_of_them() {
    Lab::test(|lab| {
        let all = group(lab, "hh", ["reuseport"; 2]);
        let mut client = lab.peer();
        client.say("connect stays 127.0.0.1:27703 16");
        client.say("connect goes 127.0.0.1:27703 16");
        client.say("close goes");
        lab.wait_for(CLOSE_WAIT, 27703, 16);
        lab.wait_for(ESTABLISHED, 27703, 32);
        let outcome = look("-p27703", &SERVER);
        assert!(outcome.text().contains("or another of 2 listeners with connections waiting"), "{outcome:?}");
        let hung = pids_of(&all, 'h');
        assert!(hung.iter().any(|pid| outcome.text().contains(&format!("python3[{pid}]"))), "{outcome:?}");
    });
}

/// The listener's user is the worker's, so that the worker is found first.
#[test]
fn the_holder_of_a_listener_is_the_services_main_process() {
    Lab::test(|lab| {
        let mut master = listener(lab);
        master.say("listen l 127.0.0.1:27703 uid=65534");
        let worker = master.say("fork 65534");
        let mut client = lab.peer();
        client.say("connect c 127.0.0.1:27703 3");
        client.say("close c");
        lab.wait_for(CLOSE_WAIT, 27703, 3);
        let outcome = look("-p27703", &SERVER);
        let main = format!("held by python3[{}]", master.pid());
        assert!(outcome.text().contains(&main), "{outcome:?}, worker {worker}");
        let outcome = ORPHANS.run(&["-p27703", "--wait=0s"]);
        let bound = format!("port still bound by python3[{}], the service itself", master.pid());
        assert!(outcome.text().contains(&bound), "{outcome:?}, worker {worker}");
    });
}
