//! check_conn_growth: a verdict that holds, over a run that stalls and at the full limit.

use crate::growth::rehearsed::{PACE, Service, look};
use crate::lab::run::{GROWTH, Outcome, run};
use crate::lab::{Lab, Peer};
use std::process::Command;
use std::thread::sleep;
use std::time::Instant;
use tempfile::TempDir;

/// The same run, whose answer from the kernel comes late by so many milliseconds, each of them more than a second of the rehearsed time for sixty.
fn stalled(state: &TempDir, options: &[&str], late: u32) -> Outcome {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=recvfrom,recvmsg"]);
    strace.args(["-e", &format!("inject=recvfrom,recvmsg:delay_exit={late}000:when=1")]);
    strace.arg(GROWTH.0).args(["-p4242", "--state-dir", state.path().to_str().unwrap()]);
    run(strace.args(options))
}

/// Half a minute late, which looks like data on every socket, and more than four minutes, which look like a suspend. The suspects of before
/// are what is left of the leak then: another witness may see it too.
#[test]
fn a_run_that_stalls_ends_no_leak() {
    Lab::test(|lab| {
        let traces = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status();
        if !traces.is_ok_and(|done| done.success()) {
            return lab.skip("no strace, or it may not trace");
        }
        let state = tempfile::tempdir().unwrap();
        let options = ["--limit", "180", "--rehearse", "60", "-v"];
        let mut service = Service::start(lab, 4242, 4);
        let mut begun = Instant::now();
        let (mut since, mut second, mut most) = (None, 0, 0.0_f64);
        while since.is_none_or(|found| second < found + 14) {
            assert!(second < 70, "no leak is found");
            service.work(4242, 4, second);
            if second >= 8 {
                service.leak(4242, 2);
            }
            let late = match since.map_or(0, |found| second - found) {
                4 => 500,
                9 => 4500,
                _ => 0,
            };
            let seen = if late > 0 { stalled(&state, &options, late) } else { look(&state, 4242, &options) };
            let leaks = seen.code != 0 && seen.text().contains(" leak in ");
            let suspects = if leaks { seen.value("suspects") } else { 0.0 };
            let is_known = seen.stdout.contains(" silent survivors since ") && suspects >= 0.5 * most;
            assert!(since.is_none() || is_known, "second {second}, {most} suspects before: {seen:?}");
            most = most.max(suspects);
            since = since.or(leaks.then_some(second));
            second += 1;
            if late > 0 {
                // A scheduler doesn't make up for what it missed.
                begun = Instant::now() - PACE * (second - 1);
            }
            sleep((begun + PACE * second).saturating_duration_since(Instant::now()));
        }
    });
}

fn open(server: &mut Peer, client: &mut Peer, count: u32) {
    client.say(&format!("connect more 127.0.0.1:4242 {count}"));
    server.say(&format!("accept more l {count}"));
}

/// It serves as many as it may: learned or not, the next client is refused.
#[test]
fn nearly_all_of_a_services_own_limit_is_never_ok() {
    Lab::test(|lab| {
        let state = tempfile::tempdir().unwrap();
        let (mut server, mut client) = (lab.peer(), lab.peer());
        server.say("listen l 127.0.0.1:4242");
        open(&mut server, &mut client, 37);
        let full = ["--side=server", "--limit=40", "--rehearse=600"];
        let look = |is_near: bool| {
            let seen = look(&state, 4242, &full);
            assert_eq!(seen.code != 0, is_near, "{seen:?}");
            assert_eq!(seen.text().contains("hardly any is left"), is_near, "{seen:?}");
            sleep(PACE / 10);
            seen.text()
        };
        (0..6).for_each(|_| drop(look(false)));
        open(&mut server, &mut client, 1);
        assert!(look(true).contains("38 of 40 connections, 95%: "));
        open(&mut server, &mut client, 2);
        (0..6).for_each(|_| drop(look(true)));
        let last = look(true);
        assert!(last.contains("40 of 40 connections, 100%: "), "{last}");
    });
}
