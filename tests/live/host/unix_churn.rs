//! UNIX sockets that come and go by the thousand while the kernel shows the table.

use super::unix_sockets::Place;
use crate::lab::Lab;
use crate::lab::run::check;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};

const LOOKS: usize = 40;
const STUCK: u32 = 1500;

/// Opens and closes connections of another service, some of them held for a while.
fn churn(path: &str, is_over: &AtomicBool) {
    let listener = UnixListener::bind(path).unwrap();
    let (mut held, mut at) = (Vec::new(), 0_usize);
    while !is_over.load(Ordering::Relaxed) {
        let pair = (UnixStream::connect(path).unwrap(), listener.accept().unwrap().0);
        at = (at + 7) % 211;
        if held.len() < 211 { held.push(pair) } else { held[at] = pair }
    }
}

/// The kernel goes on by a place in a list: what is before it moves rows over it. A row that is shown twice counts once, and
/// one that was there for two looks and isn't in a third is looked for again.
#[test]
fn what_is_stuck_is_seen_whatever_comes_and_goes() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("x.sock");
        let (_server, mut client) = place.connected(lab, &path, STUCK);
        client.say("close c");
        let state = place.at("state");
        let look = || {
            let limits = ["--min-age=0s", "-w100000", "-c100000", "--ratio-min-count=100000"];
            check(&[&["--unix", &path, "--state-dir", &state], &limits[..]].concat())
        };
        for _ in 0..3 {
            assert_eq!(look().value("close_wait"), f64::from(STUCK));
        }
        let is_over = AtomicBool::new(false);
        let others = [place.at("a.sock"), place.at("b.sock")];
        let seen: Vec<f64> = std::thread::scope(|scope| {
            for other in &others {
                scope.spawn(|| churn(other, &is_over));
            }
            let seen = (0..LOOKS).map(|_| look().value("close_wait")).collect();
            is_over.store(true, Ordering::Relaxed);
            seen
        });
        assert!(seen.iter().all(|count| *count == f64::from(STUCK)), "{seen:?}");
    });
}
