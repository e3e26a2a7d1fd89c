//! While the table changes under a dump, what doesn't change is counted exactly: none lost, none twice.

use crate::lab::Lab;
use crate::lab::run::check;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Connections a second, and most of them at all, each opened, accepted and closed: they leave TIME_WAIT behind.
const RATE: u32 = 5_000;
const MOST: u32 = 12_000;
const FOR: Duration = Duration::from_secs(2);

#[test]
fn stable_sockets_are_counted_exactly_under_churn() {
    Lab::test(|lab| {
        let _leaking = lab.leaking_server("[::]:11211", 150);
        let _connected = lab.connected("127.0.0.5:11212", 350);
        let ended = AtomicBool::new(false);
        let (made, runs) = thread::scope(|scope| {
            let churn = scope.spawn(|| {
                let made = churn();
                ended.store(true, Ordering::SeqCst);
                made
            });
            let mut runs = 0;
            while !ended.load(Ordering::SeqCst) {
                for (side, ends) in [("server", 1), ("client", 0), ("both", 1)] {
                    let stuck =
                        check(&["-P", "generic", "-p11211,11212", "--side", side, "--min-age=0s", "-w9999", "-c9999"]);
                    let established = if side == "both" { 700 } else { 350 };
                    let counts = ["close_wait", "established"].map(|label| stuck.value(label));
                    assert_eq!(
                        counts,
                        [f64::from(150 * ends), f64::from(established)],
                        "{side}, run {runs}: {stuck:?}"
                    );
                    runs += 1;
                }
            }
            (churn.join().unwrap(), runs)
        });
        // A loaded machine does less of both, but some of each.
        assert!(made >= 1_000 && runs >= 3, "{made} connections under {runs} runs: that shows nothing");
    });
}

/// Opens and closes connections at the rate; returns how many.
fn churn() -> u32 {
    let listeners = [2, 3, 4].map(|host| TcpListener::bind((Ipv4Addr::new(127, 0, 0, host), 11311)).unwrap());
    let (started, mut made) = (Instant::now(), 0);
    while started.elapsed() < FOR && made < MOST {
        for listener in &listeners {
            come_and_go(listener, made);
            made += 1;
        }
        thread::sleep((Duration::from_secs(1) * made / RATE).saturating_sub(started.elapsed()));
    }
    made
}

/// A connection that is opened and closed; in turn either end is the one that waits.
pub fn come_and_go(listener: &TcpListener, turn: u32) {
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    if turn.is_multiple_of(2) { drop((client, server)) } else { drop((server, client)) }
}
