//! check_conn_growth: a verdict that holds, over a run that stalls and at the full limit.

use crate::growth::rehearsed::{PACE, Service, look};
use crate::lab::run::{GROWTH, Outcome, run};
use crate::lab::{Lab, Peer};
use std::process::Command;
use std::thread::sleep;
use std::time::Instant;
use tempfile::TempDir;

/// The same run, whose answer from the kernel comes 4.5 s late: more than four minutes of the rehearsed time.
fn stalled(state: &TempDir, options: &[&str]) -> Outcome {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=recvfrom,recvmsg"]);
    strace.args(["-e", "inject=recvfrom,recvmsg:delay_exit=4500000:when=1"]);
    strace.arg(GROWTH.0).args(["-p4242", "--state-dir", state.path().to_str().unwrap()]);
    run(strace.args(options))
}

#[test]
fn a_run_that_stalls_ends_no_leak() {
    Lab::test(|lab| {
        let traces = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status();
        if !traces.is_ok_and(|done| done.success()) {
            return lab.skip("no strace, or it may not trace");
        }
        let state = tempfile::tempdir().unwrap();
        let options = ["--limit", "180", "--rehearse", "60"];
        let mut service = Service::start(lab, 4242, 4);
        let mut begun = Instant::now();
        let (mut since, mut second) = (None, 0);
        while since.is_none_or(|found| second < found + 12) {
            assert!(second < 70, "no leak is found");
            service.work(4242, 4, second);
            if second >= 8 {
                service.leak(4242, 2);
            }
            let stalls = since.is_some_and(|found| second == found + 4);
            let seen = if stalls { stalled(&state, &options) } else { look(&state, 4242, &options) };
            let leaks = seen.code != 0 && seen.text().contains(" leak in ");
            assert!(since.is_none() || leaks, "second {second}: {seen:?}");
            since = since.or(leaks.then_some(second));
            second += 1;
            if stalls {
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
        assert!(look(true).contains("38 of 40, 95%: "));
        open(&mut server, &mut client, 2);
        (0..6).for_each(|_| drop(look(true)));
        let last = look(true);
        assert!(last.contains("40 of 40, 100%: "), "{last}");
    });
}
