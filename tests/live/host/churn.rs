//! While the table changes under a dump, what doesn't change is counted exactly: none lost, none twice.

use crate::lab::Lab;
use crate::lab::run::check;
use std::collections::VecDeque;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Connections a second, each opened, accepted and closed. They leave TIME_WAIT behind: after so many it goes slower.
const RATE: u32 = 5_000;
const MANY: u32 = 12_000;
/// Of them and of the check's runs at least so many: fewer show nothing.
const LEAST: u32 = 5_000;
const RUNS: u32 = 60;

#[test]
fn stable_sockets_are_counted_exactly_under_churn() {
    Lab::test(|lab| {
        counts_exactly(lab, 0);
    });
}

/// Its chains are hundreds of sockets long: where some leave meanwhile the dump goes on behind others.
#[test]
fn a_small_hash_table_loses_and_repeats_none() {
    Lab::test(|lab| {
        let of_children = "/proc/sys/net/ipv4/tcp_child_ehash_entries";
        if fs::write(of_children, "16").is_err() {
            return lab.skip("no namespace has a table of its own here");
        }
        lab.in_another(|lab| {
            let size = fs::read_to_string("/proc/sys/net/ipv4/tcp_ehash_entries").unwrap();
            match size.trim() {
                "16" => counts_exactly(lab, 50),
                size => lab.skip(&format!("a table of {size}")),
            }
        });
    });
}

/// `open`: how many connections of those that come and go are open at a time.
fn counts_exactly(lab: &Lab, open: usize) {
    let _leaking = lab.leaking_server("[::]:11211", 150);
    let _connected = lab.connected("127.0.0.5:11212", 350);
    let (ended, made) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        scope.spawn(|| churn(&ended, &made, open));
        let _end = EndOnDrop(&ended);
        let mut runs = 0;
        while runs < RUNS || made.load(Ordering::SeqCst) < LEAST {
            for (side, ends) in [("server", 1), ("client", 0), ("both", 1)] {
                let stuck =
                    check(&["-P", "generic", "-p11211,11212", "--side", side, "--min-age=0s", "-w9999", "-c9999"]);
                let established = if side == "both" { 700 } else { 350 };
                let counts = ["close_wait", "established"].map(|label| stuck.value(label));
                assert_eq!(counts, [f64::from(150 * ends), f64::from(established)], "{side}, run {runs}: {stuck:?}");
                runs += 1;
            }
        }
    });
}

/// Ends what goes on beside a test, also where that fails.
pub struct EndOnDrop<'a>(pub &'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Opens and closes connections at the rate, and tells how many.
fn churn(ended: &AtomicBool, told: &AtomicU32, open: usize) {
    let listeners = [2, 3, 4].map(|host| TcpListener::bind((Ipv4Addr::new(127, 0, 0, host), 11311)).unwrap());
    let (started, mut made, mut held) = (Instant::now(), 0, VecDeque::new());
    while !ended.load(Ordering::SeqCst) {
        for listener in &listeners {
            come_and_go(listener, made);
            if open > 0 {
                held.push_back(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
                held.push_back(listener.accept().unwrap().0);
            }
            held.drain(..held.len().saturating_sub(2 * open));
            made += 1;
        }
        told.store(made, Ordering::SeqCst);
        if made > MANY {
            thread::sleep(Duration::from_millis(20));
        }
        thread::sleep((Duration::from_secs(1) * made / RATE).saturating_sub(started.elapsed()));
    }
}

/// A connection that is opened and closed; in turn either end is the one that waits.
pub fn come_and_go(listener: &TcpListener, turn: u32) {
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    if turn.is_multiple_of(2) { drop((client, server)) } else { drop((server, client)) }
}
