//! A check that is in namespaces of its own: zeros that look like health are said, and a choice that can't be told is UNKNOWN.

use crate::host::unit::Service;
use crate::host::unix_sockets::Place;
use crate::lab::isolated::is_inside;
use crate::lab::run::{CLOSEWAIT, Check, GROWTH, Outcome, TENANTS, hold_to_contract, public_copy, run};
use crate::lab::{CLOSE_WAIT, Lab, Peer, example};
use std::path::Path;
use std::process::Command;

const LOOK: [&str; 6] = ["-p27750", "--side=server", "--min-age=0s", "-w0", "-c100", "--ratio-min-count=1000"];

fn by(way: &[&str], check: Check, options: &[&str], more: &[&str]) -> Outcome {
    let mut command = Command::new(way[0]);
    hold_to_contract(run(command.args(&way[1..]).arg(check.0).args(options).args(more)))
}

/// A peer of this user that leaks three sockets.
fn leak_of(lab: &Lab, uid: u32) -> Peer {
    let (dir, copy) = public_copy(&example("peer"));
    let mut program = Command::new("setpriv");
    program.args(["--reuid", &uid.to_string(), "--clear-groups"]).arg(copy);
    let mut server = Peer::start(program, Some(dir));
    let mut client = lab.peer();
    server.say("listen l 127.0.0.1:27750");
    client.say("connect c 127.0.0.1:27750 12");
    server.say("accept s l 12");
    client.say("close c");
    lab.wait_for(CLOSE_WAIT, 27750, 12);
    server
}

/// Users that aren't mapped have all one number there.
#[test]
fn a_user_namespace_hides_whose_sockets_they_are() {
    Lab::test(|lab| {
        let _server = leak_of(lab, 1);
        let inside = ["unshare", "--user", "--map-root-user"];
        assert_eq!(CLOSEWAIT.run(&[&LOOK[..], &["--user=1"]].concat()).code, 1, "outside");
        for user in ["--user=1", "--user=65534"] {
            let outcome = by(&inside, CLOSEWAIT, &LOOK, &[user]);
            let says = "12 more in CLOSE_WAIT, but whose they are can't be told";
            assert!(outcome.code == 3 && outcome.text().contains(says), "{user}: {outcome:?}");
        }
        let state = tempfile::tempdir().unwrap();
        let state = ["--state-dir", state.path().to_str().unwrap()];
        let growth = by(&inside, GROWTH, &["-p27750", "--user=1"], &state);
        assert!(growth.code == 3 && growth.text().contains("but whose they are can't be told"), "{growth:?}");
        let fds = by(&inside, GROWTH, &["--user=1", "--metric=fds"], &state);
        assert_eq!(fds.code, 3, "{fds:?}");
        let tenants = by(&inside, TENANTS, &["-p27750", "--key=user", "--limit=16", "-w50", "-c80"], &[]);
        assert!(tenants.code == 3 && tenants.text().contains("unknown tenants"), "{tenants:?}");
        assert!(!tenants.stdout.contains("nobody"), "{tenants:?}");
    });
}

/// The host's sockets are seen, but not the processes that hold them.
#[test]
fn a_pid_namespace_hides_who_holds_them() {
    Lab::test(|lab| {
        let (Some(ours), Some(other)) = (Service::new(lab), Service::new(lab)) else { return };
        let (mut server, mut client) = (lab.peer(), lab.peer());
        server.say("listen l 127.0.0.1:27750");
        client.say("connect c 127.0.0.1:27750 12");
        server.say("accept s l 12");
        client.say("close c");
        lab.wait_for(CLOSE_WAIT, 27750, 12);
        ours.take(&server);
        let inside = ["unshare", "--pid", "--fork", "--mount", "--kill-child", "--mount-proc"];
        assert_eq!(CLOSEWAIT.run(&[&LOOK[..], &["--unit", ours.name()]].concat()).code, 1, "outside");
        for unit in [ours.name(), other.name()] {
            let outcome = by(&inside, CLOSEWAIT, &LOOK, &["--unit", unit]);
            assert!(outcome.code == 3 && outcome.text().contains("12 more in CLOSE_WAIT, but whose"), "{outcome:?}");
        }
        let all = by(&inside, CLOSEWAIT, &LOOK, &[]);
        assert!(all.code == 1 && all.text().contains("this PID namespace is not the host's"), "{all:?}");
        let state = tempfile::tempdir().unwrap();
        let dir = state.path().to_str().unwrap();
        // Process 1 is the check itself there.
        let growth = by(&inside, GROWTH, &["-p27750", "--pid=1", "--state-dir", dir], &[]);
        assert!(growth.code == 3 && growth.text().contains("12 more, but whose they are"), "{growth:?}");
        let nobody = by(&inside, GROWTH, &["-p27750", "--state-dir", dir], &[]);
        assert!(nobody.code == 3 && nobody.text().contains("open files unknown"), "what runs out first: {nobody:?}");
    });
}

#[test]
fn a_network_namespace_without_sockets_is_no_health() {
    Lab::test(|_| {
        let none = CLOSEWAIT.run(&LOOK);
        let says = "this network namespace is not the host's and has no TCP socket";
        assert!(none.code == 0 && none.text().contains(says), "{none:?}");
        let chosen = CLOSEWAIT.run(&[&LOOK[..], &["--user=root"]].concat());
        assert!(chosen.code == 3 && chosen.text().contains(says), "{chosen:?}");
    });
    // Where it is the host's own, a zero is a zero.
    if !is_inside() && Path::new("/proc/sys/net/core/netdev_budget").exists() {
        let outside = CLOSEWAIT.run(&LOOK);
        assert!(outside.code != 0 || !outside.text().contains("network namespace"), "{outside:?}");
    }
}

#[test]
fn a_network_namespace_without_the_service_is_told() {
    Lab::test(|lab| {
        let mut other = lab.peer();
        other.say("listen l 127.0.0.1:27751");
        let none = CLOSEWAIT.run(&LOOK);
        assert!(none.code == 0 && none.text().contains("this network namespace is not the host's"), "{none:?}");
        assert!(!none.text().contains("no TCP socket"), "{none:?}");
    });
}

/// A UNIX socket is seen in the network namespace that made it, whether TCP has any or not.
#[test]
fn of_unix_sockets_a_network_namespace_is_told_as_they_are_seen() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("x.sock");
        let look = |of: &[&str], code: i32, says: &str| {
            let outcome = CLOSEWAIT.run(of);
            let is_said = outcome.text().contains(&format!("this network namespace is not the host's{says}"));
            assert!(outcome.code == code && is_said && !outcome.text().contains("TCP"), "{says}: {outcome:?}");
        };
        for (of, code) in [(&["--unix", &path][..], 3), (&["-P", "php-fpm"], 0), (&["-Pphp-fpm", "--user=root"], 3)] {
            look(of, code, " and has no UNIX socket: see --netns");
        }
        let mut other = lab.peer();
        other.say(&format!("listen l {}", place.at("y.sock")));
        for (of, code) in [(&["--unix", &path][..], 3), (&["-P", "php-fpm"], 0)] {
            look(of, code, ", UNIX sockets made outside are not seen: see --netns");
        }
    });
}

/// As a check with PrivateNetwork= that looks for a unit of the host's network, or the other way round.
#[test]
fn a_unit_in_another_network_namespace_is_unknown() {
    Lab::test(|lab| {
        let Some(service) = Service::new(lab) else { return };
        let server = lab.leaking_server("127.0.0.1:27750", 3);
        service.take(&server);
        let look = |more: &[&str]| CLOSEWAIT.run(&[&LOOK[..], &["--unit", service.name()], more].concat());
        let (there, pid) = (lab.outside(|| look(&[])), server.pid().to_string());
        assert!(there.code == 3 && there.text().contains(&format!("see --netns {pid}")), "{there:?}");
        assert_eq!(lab.outside(|| look(&["--netns", &pid])).code, 1);
        let state = tempfile::tempdir().unwrap();
        let growth = ["-p27750", "--pid", &pid, "--state-dir", state.path().to_str().unwrap()];
        let there = lab.outside(|| GROWTH.run(&growth));
        assert!(there.code == 3 && there.text().contains("other network namespaces"), "{there:?}");
    });
}

/// systemd-nspawn's machine has a unit of the same name.
#[test]
fn a_containers_unit_is_not_counted_with_the_hosts() {
    Lab::test(|lab| {
        let part = format!("systemd-nspawn@connleak-{}.service", std::process::id());
        let (Some(host), Some(machine)) = (Service::new(lab), Service::named(lab, &part)) else { return };
        let Some(inner) = Service::named(lab, &format!("{part}/{}", host.name())) else { return };
        let ours = lab.leaking_server("127.0.0.1:27750", 3);
        host.take(&ours);
        let theirs = lab.leaking_server("127.0.0.2:27751", 4);
        inner.take(&theirs);
        let look = |unit: &str| {
            let look = ["-p27750,27751", "--side=server", "--min-age=0s", "-w0", "-c100", "--ratio-min-count=1000"];
            CLOSEWAIT.run(&[&look[..], &["--unit", unit]].concat())
        };
        assert_eq!(look(host.name()).value("close_wait"), 3.0);
        assert_eq!(look(&format!("{part}/{}", host.name())).value("close_wait"), 4.0, "by its whole path");
        assert_eq!(look(&part).value("close_wait"), 4.0, "by the machine's own unit");
        drop(ours);
        drop(theirs);
        drop(inner);
        drop(machine);
    });
}
