//! Process and user namespaces within a host: whom a check can name from outside, and from inside.

use crate::host::containers::child;
use crate::lab::run::{CLOSEWAIT, Outcome, as_nobody, hold_to_contract, public_copy, run};
use crate::lab::{CLOSE_WAIT, Lab, Peer, example};
use std::path::Path;
use std::process::Command;

const LOOK: [&str; 6] = ["-p11211", "--side=server", "--min-age=0s", "-w0", "-c100", "--ratio-min-count=1000"];

fn unshare(options: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(options.split(' '));
    command
}

/// Runs the check by way of another program, which takes it into other namespaces.
fn look_by(mut way: Command, more: &[&str]) -> Outcome {
    hold_to_contract(run(way.arg(CLOSEWAIT.0).args(LOOK).args(more)))
}

fn leak(peer: &mut Peer, address: &str, count: u32) {
    peer.say(&format!("listen l {address}"));
    peer.say(&format!("connect c {address} {count}"));
    peer.say(&format!("accept s l {count}"));
    peer.say("close c");
}

/// Inside, a process has another pid, and those outside are not to be seen at all.
#[test]
fn a_nested_process_is_named_by_the_pid_of_who_looks() {
    Lab::test(|lab| {
        let mut outer = lab.peer();
        let mut program = unshare("--pid --mount --fork --kill-child --mount-proc");
        program.arg(example("peer"));
        let mut inner = lab.peer_by(program);
        let Some(pid) = child(inner.pid()) else { return lab.skip("unshare makes no process here") };
        leak(&mut outer, "127.0.0.1:11211", 2);
        leak(&mut inner, "127.0.0.2:11211", 3);
        lab.wait_for(CLOSE_WAIT, 11211, 5);
        let outside = CLOSEWAIT.run(&LOOK);
        assert_eq!((outside.code, outside.value("close_wait")), (1, 5.0), "{outside:?}");
        assert!(outside.text().contains(&format!("3 of 5 held by peer[{pid}]")), "{outside:?}");
        assert!(!outside.text().contains("partial"), "{outside:?}");
        let inside = |more: &[&str]| {
            let mut way = Command::new("nsenter");
            way.args(["--target", &pid.to_string(), "--pid", "--mount"]);
            look_by(way, more)
        };
        let all = inside(&[]);
        assert_eq!((all.code, all.value("close_wait")), (1, 5.0), "{all:?}");
        assert!(all.text().contains("3 of 5 held by peer[1]"), "{all:?}");
        let unseen = "none known for 2 of 5 sockets, no process visible here has them";
        assert!(all.text().contains(&format!("owners partial: {unseen}")), "{all:?}");
        let others = inside(&["--local=127.0.0.1", "-ojson"]).json();
        let complete = &others["complete"];
        assert_eq!((&complete["owners"], &complete["unowned"]), (&false.into(), &2.into()), "{others}");
        assert_eq!(others["owners"].as_array().map(Vec::len), Some(0), "{others}");
        let own = inside(&["--local=127.0.0.2"]);
        assert!(own.code == 1 && !own.text().contains("partial"), "{own:?}");
        inner.say("close s");
        outer.say("close s");
        assert_eq!((inside(&[]).code, CLOSEWAIT.run(&LOOK).code), (0, 0));
    });
}

/// A container that a user started who has no rights on the host: root within, nobody outside.
#[test]
fn a_rootless_container_is_seen_from_both_sides() {
    Lab::test(|lab| {
        let (dir, copy) = public_copy(&example("peer"));
        let mut program = as_nobody(Path::new("unshare"));
        program.args(["--user", "--map-root-user", "--net", "--pid", "--mount", "--fork", "--kill-child"]);
        program.args(["--mount-proc", "sh", "-c", "ip link set lo up && exec \"$0\""]).arg(&copy);
        let mut contained = Peer::start(program, Some(dir));
        let Some(pid) = child(contained.pid()) else { return lab.skip("no user namespaces here") };
        leak(&mut contained, "127.0.0.1:11211", 4);
        let outside = lab.outside(|| CLOSEWAIT.run(&[&LOOK[..], &["--netns", &pid.to_string()]].concat()));
        assert_eq!((outside.code, outside.value("close_wait")), (1, 4.0), "{outside:?}");
        assert!(outside.text().contains(&format!("all held by peer[{pid}] (user nobody)")), "{outside:?}");
        assert!(!outside.text().contains("unknown"), "entered, so with ages: {outside:?}");
        let (_dir, check) = public_copy(Path::new(CLOSEWAIT.0));
        let inside = || {
            let mut way = Command::new("nsenter");
            way.args(["--target", &pid.to_string(), "--user", "--net", "--pid", "--mount"]);
            hold_to_contract(run(way.arg(&check).args(LOOK)))
        };
        let seen = inside();
        assert_eq!((seen.code, seen.value("close_wait")), (1, 4.0), "{seen:?}");
        assert!(seen.text().contains("all held by peer[1] (user root)"), "{seen:?}");
        assert!(!seen.text().contains("partial"), "{seen:?}");
        contained.say("close s");
        assert_eq!(inside().code, 0);
    });
}

/// Root of a user namespace may list other root processes' descriptors, but not read where they lead.
#[test]
fn root_by_name_alone_is_refused_and_says_so() {
    Lab::test(|lab| {
        let mut program = unshare("--pid --mount --fork --kill-child --mount-proc");
        program.arg(example("peer"));
        let mut server = lab.peer_by(program);
        let Some(pid) = child(server.pid()) else { return lab.skip("unshare makes no process here") };
        leak(&mut server, "127.0.0.1:11211", 2);
        // No other process is to be seen: who is refused one more can't make up for it.
        let root_by_name = |more: &[&str]| {
            let mut way = Command::new("nsenter");
            way.args(["--target", &pid.to_string(), "--pid", "--mount", "unshare", "--user", "--map-root-user"]);
            look_by(way, more)
        };
        let outcome = root_by_name(&[]);
        assert_eq!((outcome.code, outcome.value("close_wait")), (1, 2.0), "{outcome:?}");
        let said = "owners partial: none known, 1 process may not be read";
        assert!(outcome.text().contains(said), "{outcome:?}");
        // What only descriptors show can't be known.
        server.say("close s");
        let unasked = root_by_name(&[]);
        assert_eq!(unasked.code, 0, "{unasked:?}");
        let ghosts = root_by_name(&["--ghosts"]);
        assert_eq!(ghosts.code, 3, "{ghosts:?}");
        assert!(ghosts.text().contains("ghosts unknown: processes of the service may not be read"), "{ghosts:?}");
    });
}
