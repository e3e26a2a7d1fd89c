//! What waiting costs: how often the kernel walks its tables, as strace shows it, and not how long that takes.

use crate::lab::Lab;
use crate::lab::run::{ORPHANS, Outcome, run};
use std::fs;
use std::process::Command;

/// What one run asks the kernel.
struct Asked {
    outcome: Outcome,
    /// For all rows of TCP's tables that match.
    dumps: usize,
    /// Among those, for what is only bound, which takes a walk of one more table.
    of_bound: usize,
    /// For all UNIX sockets.
    of_unix: usize,
    /// For one socket.
    single: usize,
}

/// `None`: strace can't tell.
fn asked(look: &[&str]) -> Option<Asked> {
    if !Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status().is_ok_and(|done| done.success()) {
        return None;
    }
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-xx", "-s256", "-e", "trace=sendto", "-o"]).arg(log.path());
    let outcome = run(strace.arg(ORPHANS.0).args(look));
    let text = fs::read_to_string(log.path()).unwrap();
    let requests: Vec<&str> = text.lines().filter(|line| line.contains("nlmsg_type=")).collect();
    let count = |is: &dyn Fn(&str) -> bool| requests.iter().filter(|line| is(line)).count();
    // It decodes some and others not.
    let is_dump = |line: &str| line.contains("|0x300") || line.contains("NLM_F_DUMP");
    let is_tcps = |line: &str| line.contains("nlmsg_type=0x12 ") || line.contains("TCPDIAG_GETSOCK");
    let has_bound = |line: &str| [r"\xff\x2b\x00\x00", r"\xff\x2f\x00\x00"].iter().any(|states| line.contains(states));
    Some(Asked {
        outcome,
        dumps: count(&|line| is_dump(line) && is_tcps(line)),
        of_bound: count(&|line| is_dump(line) && is_tcps(line) && has_bound(line)),
        of_unix: count(&|line| is_dump(line) && !is_tcps(line)),
        single: count(&|line| !is_dump(line)),
    })
}

/// A look is a dump of the listeners, and one of all others.
const LOOK: usize = 2;

#[test]
fn while_a_socket_is_left_the_tables_are_walked_at_the_end_alone() {
    Lab::test(|lab| {
        let (_server, _client) = lab.connected("127.0.0.1:11211", 200);
        let Some(asked) = asked(&["-p11211", "--wait=4s", "-vvv"]) else {
            return lab.skip("no strace, or it may not trace");
        };
        assert_eq!((asked.outcome.code, asked.outcome.value("orphans")), (2, 401.0), "{:?}", asked.outcome);
        // Half of the first is left out: what is found in it is enough.
        assert_eq!((asked.dumps, asked.of_bound), (2 * LOOK, 1), "{:?}", asked.outcome);
        assert!((6..40).contains(&asked.single), "a few, and fewer and fewer: {}", asked.single);
        let told = format!("waited with 1 looks at everything, 1 glances, {} sockets asked for alone", asked.single);
        assert!(asked.outcome.stdout.contains(&told), "{:?}", asked.outcome);
    });
}

/// Over UNIX sockets each look remembers what the next one couldn't tell; that is no reason to walk TCP's.
#[test]
fn unix_sockets_are_looked_at_without_those_of_tcp() {
    Lab::test(|lab| {
        let (_server, _client) = lab.connected("127.0.0.1:11211", 2);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sock").to_string_lossy().into_owned();
        let (mut server, mut client) = (lab.peer(), lab.peer());
        server.say(&format!("listen l {path}"));
        client.say(&format!("connect c {path} 2"));
        server.say("accept s l 2");
        let Some(asked) = asked(&["-p11211", "--unix", &path, "--wait=3s"]) else {
            return lab.skip("no strace, or it may not trace");
        };
        assert_eq!((asked.outcome.code, asked.outcome.value("orphans")), (2, 10.0), "{:?}", asked.outcome);
        assert_eq!(asked.dumps, LOOK, "the last look's: {:?}", asked.outcome);
        assert!(asked.of_unix >= 6, "{}", asked.of_unix);
    });
}

/// Whom a master's worker is found to hold the port with is the master, whatever else that one has open.
#[test]
fn the_master_of_a_worker_that_is_found_first_is_named() {
    Lab::test(|lab| {
        let mut master = lab.peer();
        master.say("listen l 127.0.0.1:11211");
        master.say("share");
        // The worker has few descriptors, and so is read before it.
        master.say("open f /dev/null 300");
        let outcome = ORPHANS.run(&["-p11211", "--wait=0s"]);
        let named = format!("port still bound by peer[{}]", master.pid());
        assert!(outcome.text().contains(&named), "{outcome:?}");
    });
}
