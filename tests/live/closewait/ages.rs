//! How long ago the peer closed: exact where the kernel tells, never younger than the truth.

use crate::companion::run::connleak;
use crate::lab::run::{Outcome, check};
use crate::lab::{CLOSE_WAIT, Lab, Peer};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{AddressFamily, SocketType, connect};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The kernel counts in ticks of up to 10 ms, the check shows tenths of a second.
const ROUNDING: f64 = 0.1;

/// A server whose client has sent its FIN and stays to acknowledge what comes.
struct HalfClosed {
    server: Peer,
    client: Peer,
    closing: Instant,
    closed: Instant,
}

impl HalfClosed {
    fn new(lab: &Lab, prepare: impl FnOnce(&mut Peer, &mut Peer)) -> HalfClosed {
        let (mut server, mut client) = lab.connected("127.0.0.1:11211", 1);
        prepare(&mut server, &mut client);
        // So that the age since the FIN and that since the handshake differ.
        sleep(Duration::from_millis(400));
        let closing = Instant::now();
        client.say("shutdown c");
        lab.wait_for(CLOSE_WAIT, 11211, 1);
        HalfClosed { server, client, closing, closed: Instant::now() }
    }

    fn wait(&self, millis: u64) {
        sleep(Duration::from_millis(millis).saturating_sub(self.closed.elapsed()));
    }

    /// Between what surely and what at most has passed since the FIN.
    fn assert_exact(&self, outcome: &Outcome) {
        let age = outcome.value("close_wait_oldest");
        let least = outcome.started.duration_since(self.closed).as_secs_f64() - ROUNDING;
        let most = outcome.ended.duration_since(self.closing).as_secs_f64() + ROUNDING;
        assert!(least <= age && age <= most, "{age}, wanted {least} to {most}: {outcome:?}");
    }
}

/// Who has just made a leak to see the check at work is told what it waits for.
#[test]
fn a_leak_that_has_just_begun_is_told_when_it_is_judged() {
    Lab::test(|lab| {
        let _leak = HalfClosed::new(lab, |_, _| {});
        let told = check(&["-p11211", "--side=server", "-w0", "--min-age=1h", "-v"]);
        let line = told.stdout.lines().find(|line| line.starts_with("1 younger than 1h is judged in "));
        let line = line.unwrap_or_else(|| panic!("{told:?}"));
        assert!(line.ends_with("; --min-age 0s judges now and names who has them"), "{line}");
        // Without --verbose it is no more than said, and what is judged has nothing to wait for.
        for words in [&["--min-age=1h"][..], &["--min-age=0s", "-v"]] {
            let told = check(&[&["-p11211", "--side=server"], words].concat());
            assert!(!told.stdout.contains(" judged in "), "{told:?}");
        }
    });
}

fn look(min_age: &str) -> Outcome {
    check(&["-p11211", "--side=server", "-w0", "-c100", "--min-age", min_age])
}

#[test]
fn the_age_is_the_time_since_the_fin() {
    Lab::test(|lab| {
        let leak = HalfClosed::new(lab, |_, _| {});
        leak.assert_exact(&look("0s"));
        let young = look("1m");
        assert_eq!(
            (young.code, young.value("close_wait"), young.value("close_wait_young")),
            (0, 0.0, 1.0),
            "{young:?}"
        );
        leak.wait(1200);
        let stuck = look("1s");
        assert_eq!(
            (stuck.code, stuck.value("close_wait"), stuck.value("close_wait_young")),
            (1, 1.0, 0.0),
            "{stuck:?}"
        );
        leak.assert_exact(&stuck);
    });
}

#[test]
fn ages_of_several_leaks_are_told_apart() {
    Lab::test(|lab| {
        let _old = lab.leaking_server("127.0.0.1:11211", 3);
        sleep(Duration::from_millis(5500));
        let (mut server, mut client) = lab.connected("[::1]:11211", 2);
        server.say("keepalive s 100");
        client.say("close c");
        lab.wait_for(CLOSE_WAIT, 11211, 5);
        // On a loaded machine the young ones are some seconds old too.
        let outcome = look("5s");
        assert_eq!((outcome.value("close_wait"), outcome.value("close_wait_young")), (3.0, 2.0), "{outcome:?}");
        let alert = check(&["-p11211", "--side=server", "-w100", "-c100", "--min-age=5s", "--oldest-critical=5s"]);
        assert_eq!(alert.code, 2, "{alert:?}");
        assert!(alert.text().contains("s (critical 5)"), "{alert:?}");
    });
}

#[test]
fn keepalive_probes_hide_the_age_but_not_the_leak() {
    Lab::test(|lab| {
        let leak = HalfClosed::new(lab, |server, _| drop(server.say("keepalive s 1")));
        leak.wait(2300);
        let outcome = look("2s");
        // No look will ever show 2 s since the last ACK: what is known is that no data came for so long.
        assert_eq!((outcome.code, outcome.value("close_wait")), (1, 1.0), "{outcome:?}");
        assert!(outcome.text().contains("probes hide the ages of 1, counted by the time since data"), "{outcome:?}");
        assert_eq!(look("0s").code, 1);
        // Older than the connection is nothing.
        assert_eq!(look("1m").code, 0);
    });
}

#[test]
fn the_peers_own_probes_dont_touch_the_age() {
    Lab::test(|lab| {
        let leak = HalfClosed::new(lab, |_, client| drop(client.say("keepalive c 1")));
        leak.wait(2300);
        let outcome = look("2s");
        assert_eq!(outcome.code, 1, "{outcome:?}");
        leak.assert_exact(&outcome);
    });
}

#[test]
fn a_write_after_the_fin_hides_the_age_but_never_makes_it_ok() {
    Lab::test(|lab| {
        let mut leak = HalfClosed::new(lab, |_, _| {});
        leak.wait(1200);
        leak.server.say("send s");
        let outcome = look("1s");
        assert_ne!(outcome.code, 0, "{outcome:?}");
        leak.client.say("close c");
    });
}

/// Both ends of a connection whose client has sent its FIN; then the server wrote so much, as far as it could.
fn written_after_the_fin(lab: &Lab, bytes: usize) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:11211").unwrap();
    // A receive buffer that the kernel doesn't let grow.
    let client = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    set_socket_recv_buffer_size(&client, 64 * 1024).unwrap();
    connect(&client, &listener.local_addr().unwrap()).unwrap();
    let client = TcpStream::from(client);
    let (mut server, _) = listener.accept().unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    lab.wait_for(CLOSE_WAIT, 11211, 1);
    server.set_nonblocking(true).unwrap();
    let mut left = bytes;
    while left > 0
        && let Ok(written) = server.write(&[7; 4000][..left.min(4000)])
    {
        left -= written;
    }
    (server, client)
}

/// Its window updates are ACKs long after the FIN and after what they acknowledge.
#[test]
fn a_peer_that_reads_late_makes_no_leak_young() {
    Lab::test(|lab| {
        const UNREAD: usize = 92_000;
        let (_server, mut client) = written_after_the_fin(lab, UNREAD);
        sleep(Duration::from_millis(3500));
        client.read_exact(&mut [0; UNREAD]).unwrap();
        let outcome = look("3s");
        assert!(outcome.value("close_wait_oldest") < 3.0, "no window update: {outcome:?}");
        assert_eq!(outcome.code, 3, "{outcome:?}");
        assert!(outcome.text().contains(": 1 younger may be "), "{outcome:?}");
        // Wherever an age is told it is called what it is.
        let all = ["-p11211", "--min-age=0s", "-w0", "-c9", "--ratio-min-count=9", "-vv"];
        let told = check(&all);
        let lines = told.output().long_text;
        for [begin, age] in [["owner ", ", oldest at least "], ["socket 127.0.0.1:11211 ", " CLOSE_WAIT for at least "]]
        {
            assert!(lines.iter().any(|line| line.starts_with(begin) && line.contains(age)), "{lines:?}");
        }
        let json = check(&[&all[..], &["-ojson"]].concat()).json();
        let socket = &json["sockets"][0];
        let [at_least, at_most] = ["age_seconds", "age_at_most_seconds"].map(|key| socket[key].as_f64().unwrap());
        assert!(at_most >= at_least + 0.5 && at_most >= 3.5, "{socket}");
        assert!(json["owners"][0]["oldest_at_most_seconds"].as_f64().is_some_and(|oldest| oldest >= 3.5), "{json}");
        assert!(connleak(&["who", "-p11211"]).contains(" >="), "the table");
    });
}

/// Nor does one that never reads: its answers to probes of its closed window are such ACKs too.
#[test]
fn a_peer_that_never_reads_makes_no_leak_young() {
    Lab::test(|lab| {
        let (_server, _client) = written_after_the_fin(lab, 64 << 20);
        sleep(Duration::from_millis(5000));
        let outcome = look("4s");
        assert_ne!(outcome.code, 0, "{outcome:?}");
    });
}
