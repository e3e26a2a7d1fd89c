#![no_main]
//! What earlier runs stored, on any bytes: baselines, the leak detector's memory, and the history's rows.
//! The first byte chooses.

use connleak::service::baseline::Content;
use connleak::history::Row;
use connleak::growth::detector_state::{DetectorState, Moment, VERSION};
use connleak::growth::detector::{Sample, Socket};
use std::sync::OnceLock;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((choice, rest)) = bytes.split_first() else { return };
    match choice % 4 {
        0 => baseline(rest),
        1 => memory(rest),
        2 => memory(&damaged(rest)),
        _ => row(rest),
    }
});

fn baseline(bytes: &[u8]) {
    let Some(content) = std::str::from_utf8(bytes).ok().and_then(|json| Content::parse(json).ok()) else { return };
    let json = content.to_json().unwrap();
    assert_eq!(Content::parse(&json), Ok(content));
}

/// What is read is stored and read again as it was, and adds up with itself.
fn row(bytes: &[u8]) {
    let Some(row) = Row::unpack(bytes) else { return };
    assert_eq!(Row::unpack(&row.pack()).as_ref(), Some(&row));
    let mut both = row.clone();
    both.add(&row);
    assert!(Row::unpack(&both.pack()).is_some());
}

/// Whatever was read, the next runs end and store it again.
fn memory(bytes: &[u8]) {
    let Some(mut memory) = DetectorState::restore(VERSION, bytes) else { return };
    let stored = memory.store();
    let again = DetectorState::restore(VERSION, &stored).expect("what was stored is read");
    assert_eq!(again.store(), stored);
    for minute in 100..104 {
        memory.learn(&moment(minute), look(minute), 120, 1.0);
    }
    assert!(DetectorState::restore(VERSION, &memory.store()).is_some());
}

/// A real memory with bytes changed: two tell the place, one the value.
fn damaged(edits: &[u8]) -> Vec<u8> {
    static REAL: OnceLock<Vec<u8>> = OnceLock::new();
    let mut bytes = REAL.get_or_init(real).clone();
    for edit in edits.chunks_exact(3) {
        let place = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % bytes.len();
        bytes[place] = edit[2];
    }
    bytes
}

/// Of a service that leaks.
fn real() -> Vec<u8> {
    let mut memory = DetectorState::new(120);
    for minute in 0..60 {
        memory.learn(&moment(minute), look(minute), 120, 1.0);
    }
    memory.store()
}

fn moment(minute: u64) -> Moment {
    let uptime = 1000.0 + minute as f64 * 60.0;
    Moment { wall: 1e9 + uptime, uptime, boot_id: "b".to_owned() }
}

/// Each minute one more, which falls silent, beside a few that work.
fn look(minute: u64) -> Sample {
    let socket = |cookie: u64| {
        let idle = if cookie < 5 { 1.0 } else { (minute + 5).saturating_sub(cookie) as f64 * 60.0 };
        Socket { cookie, group: 7, idle, ..Socket::default() }
    };
    let sockets: Vec<_> = (1..minute + 6).map(socket).collect();
    Sample { service: 7, established: sockets.len() as u32, sockets, ..Sample::default() }
}
