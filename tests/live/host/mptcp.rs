//! MPTCP: TCP's table shows a connection's subflows, and that they are ESTABLISHED whatever it is.

use crate::companion::run::connleak;
use crate::lab::run::{CLOSEWAIT, GROWTH, IDLE, ORPHANS, Outcome, STATES, TENANTS, poll, run};
use crate::lab::{CLOSE_WAIT, ESTABLISHED, Lab, Peer};
use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

const ADDRESS: &str = "127.0.0.1:27501";

fn ip(line: &str) -> bool {
    Command::new("ip").args(line.split(' ')).status().is_ok_and(|status| status.success())
}

/// A server and its client, both of MPTCP, with `count` connections over two subflows each. The second one is a
/// backup, on which nothing ever comes.
fn connected(lab: &Lab, count: u32) -> Option<(Peer, Peer)> {
    let ready =
        ["mptcp limits set subflows 2 add_addr_accepted 2", "mptcp endpoint add 127.0.0.2 dev lo subflow backup"];
    if !ready.into_iter().all(ip) {
        lab.skip("ip mptcp: refused");
        return None;
    }
    let (mut server, mut client) = (lab.peer(), lab.peer());
    for peer in [&mut server, &mut client] {
        peer.say("mptcp");
    }
    server.say(&format!("listen l {ADDRESS}"));
    client.say(&format!("connect c {ADDRESS} {count}"));
    server.say(&format!("accept s l {count}"));
    client.say("send c");
    lab.wait_for(ESTABLISHED, 27501, 4 * count as usize);
    Some((server, client))
}

/// Whoever looks gives the listener a cookie, and the kernel copies it to all that is accepted later.
#[test]
fn connections_after_an_earlier_look_are_all_told() {
    Lab::test(|lab| {
        let (mut server, mut client) = (lab.peer(), lab.peer());
        for peer in [&mut server, &mut client] {
            peer.say("mptcp");
        }
        server.say(&format!("listen l {ADDRESS}"));
        let look = ["-p27501", "--side=server", "--min-age=0s", "-w0", "-c100", "--ratio-min-count=1000"];
        assert_eq!(CLOSEWAIT.run(&look).code, 0);
        client.say(&format!("connect c {ADDRESS} 6"));
        server.say("accept s l 6");
        client.say("close c");
        let stuck = || CLOSEWAIT.run(&look).value("close_wait");
        assert!(poll(Duration::from_secs(15), || stuck() == 6.0), "{} of 6", stuck());
    });
}

#[test]
fn subflows_are_one_connection_and_its_state_is_its_own() {
    Lab::test(|lab| {
        let Some((server, mut client)) = connected(lab, 5) else { return };
        let look = ["-p27501", "--min-age=0s", "-w0", "-c100", "--ratio-min-count=1000"];
        let healthy = CLOSEWAIT.run(&look);
        assert_eq!((healthy.code, healthy.value("established")), (0, 10.0), "five, two ends each: {healthy:?}");
        let dir = tempfile::tempdir().unwrap();
        let state_dir = format!("--state-dir={}", dir.path().display());
        let growth = GROWTH.run(&["-p27501", "--side=server", "--limit=8", &state_dir]);
        assert_eq!((growth.code, growth.value("connections")), (0, 5.0), "{growth:?}");
        let tenants = TENANTS.run(&["-p27501", "--side=server", "--limit=100"]);
        assert_eq!((tenants.code, tenants.value("connections")), (0, 5.0), "{tenants:?}");
        let idle = IDLE.run(&["-p27501", "--side=client", "--min-age=0s", "-w100"]);
        assert_eq!((idle.code, idle.value("idle"), idle.value("never_used")), (0, 5.0, 0.0), "a backup: {idle:?}");

        let before = Instant::now();
        sleep(Duration::from_millis(700));
        client.say("close c");
        let closed = before.elapsed().as_secs_f64();
        sleep(Duration::from_millis(1500));
        lab.wait_for(CLOSE_WAIT, 27501, 0);
        let outcome = CLOSEWAIT.run(&[&look[..], &["--side=server"]].concat());
        assert_eq!(
            (outcome.code, outcome.value("close_wait"), outcome.value("established")),
            (1, 5.0, 0.0),
            "{outcome:?}"
        );
        assert!(outcome.text().contains(&format!("all held by peer[{}]", server.pid())), "{outcome:?}");
        let (oldest, most) = (outcome.value("close_wait_oldest"), before.elapsed().as_secs_f64() - closed + 0.2);
        assert!((1.4..=most).contains(&oldest), "{oldest}, at most {most}: {outcome:?}");
        let states = STATES.run(&["-p27501", "--side=both", "-ojson"]).json();
        let of = |state: &str, side: &str| states["states"][state][side].as_u64();
        assert_eq!((of("CLOSE_WAIT", "server"), of("FIN_WAIT2", "client")), (Some(5), Some(5)), "{states}");
        assert_eq!((of("ESTABLISHED", "server"), of("ESTABLISHED", "client")), (Some(0), Some(0)), "{states}");
        let shown = connleak(&["who", "-p27501"]);
        assert!(shown.contains("(kernel)"), "the end that closed is the kernel's: {shown}");
        // What the client's process left behind ends by itself.
        client.end();
        let left = ORPHANS.run(&["-p27501", "--side=client", "--wait=0s", "--ignore=FIN_WAIT2"]);
        assert_eq!(left.code, 0, "{left:?}");
    });
}

#[test]
fn a_client_of_mptcp_at_a_plain_server_is_as_tcp_shows_it() {
    Lab::test(|lab| {
        let (mut server, mut client) = (lab.peer(), lab.peer());
        client.say("mptcp");
        server.say(&format!("listen l {ADDRESS}"));
        client.say(&format!("connect c {ADDRESS} 3"));
        server.say("accept s l 3");
        server.say("close s");
        lab.wait_for(CLOSE_WAIT, 27501, 3);
        let outcome = CLOSEWAIT.run(&["-p27501", "--side=client", "--min-age=0s", "-w0", "-c100"]);
        assert_eq!((outcome.code, outcome.value("close_wait")), (1, 3.0), "{outcome:?}");
        assert!(outcome.value("close_wait_oldest") < 5.0, "{outcome:?}");
    });
}

#[test]
fn what_waits_to_be_accepted_is_its_listeners() {
    Lab::test(|lab| {
        let (mut server, mut client) = (lab.peer(), lab.peer());
        for peer in [&mut server, &mut client] {
            peer.say("mptcp");
        }
        server.say(&format!("listen l {ADDRESS}"));
        client.say(&format!("connect c {ADDRESS} 3"));
        client.say("close c");
        sleep(Duration::from_millis(300));
        let outcome = CLOSEWAIT.run(&["-p27501", "--side=server", "--min-age=0s", "-w0", "-c100"]);
        assert_eq!((outcome.code, outcome.value("close_wait")), (1, 3.0), "{outcome:?}");
        assert!(outcome.text().contains("all not accepted yet"), "{outcome:?}");
        assert!(outcome.text().contains(&format!("held by peer[{}]", server.pid())), "{outcome:?}");
    });
}

#[test]
fn where_only_proc_is_read_their_states_are_unknown() {
    Lab::test(|lab| {
        let Some((_server, mut client)) = connected(lab, 3) else { return };
        client.say("close c");
        let look = ["-p27501", "--side=server", "--min-age=0s", "--source=proc"];
        let outcome = CLOSEWAIT.run(&look);
        assert_eq!((outcome.code, outcome.value("established")), (3, 3.0), "{outcome:?}");
        assert!(outcome.text().contains("/proc doesn't tell the states of MPTCP connections"), "{outcome:?}");
    });
    Lab::test(|lab| {
        let (mut server, mut client) = (lab.peer(), lab.peer());
        server.say("mptcp");
        server.say(&format!("listen l {ADDRESS}"));
        client.say(&format!("connect c {ADDRESS} 1"));
        server.say("accept s l 1");
        let listener = CLOSEWAIT.run(&["-p27501", "--source=proc"]);
        assert_eq!(listener.code, 0, "all may be listeners: {listener:?}");
        assert!(listener.text().contains("MPTCP"), "{listener:?}");
    });
}

/// What a run of check_closewait asks the kernel, as strace shows it, and what it says. `inject`: errors of single calls.
fn asked(inject: &str) -> Option<(usize, Outcome)> {
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o"]).arg(log.path()).args(["-e", "trace=sendto"]);
    if !inject.is_empty() {
        strace.args(["-e", &format!("inject=sendto:{inject}")]);
    }
    if !Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status().is_ok_and(|done| done.success()) {
        return None;
    }
    let look = ["-p27501", "--side=server", "--min-age=0s", "--no-ghosts"];
    let outcome = run(strace.arg(CLOSEWAIT.0).args(look));
    Some((fs::read_to_string(log.path()).unwrap().matches("sendto(").count(), outcome))
}

/// One more dump where there are MPTCP sockets, none where there are none; refused it is doubt.
#[test]
fn their_table_is_asked_for_where_there_are_any() {
    Lab::test(|lab| {
        let (plain, _client) = lab.connected(ADDRESS, 3);
        let Some((without, outcome)) = asked("") else { return lab.skip("no strace, or it may not trace") };
        assert_eq!((outcome.code, outcome.value("established")), (0, 3.0), "{outcome:?}");
        plain.end();
        let Some((_server, mut client)) = connected(lab, 3) else { return };
        let (with, outcome) = asked("").unwrap();
        assert_eq!((with, outcome.code, outcome.value("established")), (without + 1, 0, 3.0), "{outcome:?}");
        client.say("close c");
        // After the listeners comes MPTCP's table, as a combined dump and by family.
        let (_, outcome) = asked("error=ENOENT:when=2..3").unwrap();
        assert_eq!((outcome.code, outcome.value("established")), (3, 3.0), "{outcome:?}");
        assert!(outcome.text().contains("states of 3 MPTCP connections unknown"), "{outcome:?}");
    });
}
