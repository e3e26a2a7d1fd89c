//! Performance data over UNIX sockets: in every state the labels that TCP has, but those of silences.

use super::unix_sockets::Place;
use crate::lab::Lab;
use crate::lab::run::{Check, GROWTH, ORPHANS, Outcome, STATES, TENANTS};
use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::Duration;

/// With the labels that UNIX sockets can't have.
const CHECKS: [(Check, &[&str], &[&str]); 4] = [
    (GROWTH, &["--limit=20"], &["idle_oldest"]),
    (TENANTS, &["--limit=20", "--key=user"], &["idle_max"]),
    (STATES, &[], &[]),
    (ORPHANS, &["--wait=0s"], &[]),
];

/// But for the largest tenants', who are others at other times.
fn labels(outcome: &Outcome) -> Vec<String> {
    let labels = outcome.output().metrics.into_iter().map(|metric| metric.label);
    labels.filter(|label| !label.starts_with("tenant_")).collect()
}

#[test]
fn labels_are_tcps_in_every_state_but_for_silences() {
    Lab::test(|lab| {
        let place = Place::new();
        let (path, dir) = (place.at("x.sock"), place.at("state"));
        let run = |(check, options, _): (Check, &[&str], &[&str]), of: &[&str], more: &[&str]| {
            let memory: &[&str] = if check == STATES { &[] } else { &["--state-dir", &dir] };
            check.run(&[of, options, memory, more].concat())
        };
        let of_unix = ["--unix", path.as_str()];
        let mut all: Vec<Vec<String>> = Vec::new();
        // The first run of a history knows of nothing that was opened or closed.
        for (at, check) in CHECKS.into_iter().enumerate() {
            let mut wanted = labels(&run(check, &["-p4242"], &[]));
            wanted.retain(|label| !check.2.contains(&label.as_str()));
            for more in [&[][..], &["--source=proc"]] {
                assert_eq!(labels(&run(check, &of_unix, more)), wanted);
            }
            if at == 0 {
                wanted.extend(["opened", "closed"].map(String::from));
            }
            all.push(wanted);
        }
        sleep(Duration::from_millis(600));
        let mut states: Vec<BTreeSet<i32>> = vec![BTreeSet::new(); CHECKS.len()];
        let mut look = |what: &str, more: &[&str]| {
            for (at, check) in CHECKS.into_iter().enumerate() {
                let outcome = run(check, &of_unix, more);
                states[at].insert(outcome.code);
                assert_eq!(labels(&outcome), all[at], "{what}: {outcome:?}");
                let tcp = run(check, &["-p4242"], &[]);
                let mut of_tcp = labels(&tcp);
                of_tcp.retain(|label| !check.2.contains(&label.as_str()));
                assert_eq!(of_tcp, all[at], "{what}: {tcp:?}");
            }
        };
        look("nothing listens", &[]);
        let (mut server, mut client) = (lab.peer(), lab.peer());
        let mut each = |order: &str, count: u32| {
            for (name, end) in [("u", path.as_str()), ("t", "127.0.0.1:4242")] {
                match order {
                    "listen" => drop(server.say(&format!("listen {name} {end}"))),
                    "connect" => {
                        client.say(&format!("connect {name} {end} {count}"));
                        server.say(&format!("accept a{name} {name} {count}"));
                    }
                    "leave" => drop(client.say(&format!("close {name}"))),
                    "forget" => drop(server.say(&format!("close a{name}"))),
                    _ => drop(server.say(&format!("close {name}"))),
                }
            }
        };
        each("listen", 0);
        look("listening", &[]);
        each("connect", 3);
        look("learning", &[]);
        look("by /proc", &["--source=proc"]);
        each("connect", 17);
        look("full", &[]);
        each("leave", 0);
        look("clients gone", &[]);
        each("forget", 0);
        each("connect", 3);
        look("anew", &[]);
        each("forget", 0);
        look("clients remember", &[]);
        each("end", 0);
        look("nobody listens any more", &[]);
        let wanted = [&[0, 1, 3][..], &[0, 2, 3], &[0, 3], &[0, 2]];
        for (seen, wanted) in states.iter().zip(wanted) {
            assert!(wanted.iter().all(|code| seen.contains(code)), "{states:?}");
        }
    });
}
