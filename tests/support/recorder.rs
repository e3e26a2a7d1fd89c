//! Records into a history as a check does, opening it anew each time, and says what is confirmed.
//!
//! `recorder DIR WRITER RUNS LEFT` makes RUNS runs of the service `s`, waiting LEFT milliseconds
//! for others each time. The state is a count of all runs and pages that follow from it; each
//! sample holds the count as its uptime, in seconds, and the writer as its instance. A line each
//! on standard output, written at once:
//!
//! ```text
//! COUNT MILLIS      stored; what it took
//! aside TEXT        what stood in its place
//! unsaved TEXT      answered, not stored
//! error TEXT        not even answered
//! ```

use connleak::history::{History, Sample, Step};
use std::io::{Write, stdout};
use std::path::Path;
use std::time::Duration;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dir, writer, runs, left] = &args[..] else { return Err("DIR WRITER RUNS LEFT".into()) };
    let (writer, left) = (writer.parse()?, Duration::from_millis(left.parse()?));
    for _ in 0..runs.parse()? {
        let mut lines = Vec::new();
        match record(Path::new(dir), writer, left, &mut lines) {
            Ok(count) => lines.push(count.to_string()),
            Err(why) => lines.push(why),
        }
        let mut stdout = stdout().lock();
        stdout.write_all((lines.join("\n") + "\n").as_bytes())?;
        stdout.flush()?;
    }
    Ok(())
}

fn record(dir: &Path, writer: u64, left: Duration, lines: &mut Vec<String>) -> std::result::Result<u64, String> {
    let opened = History::open(dir, left).map_err(|error| format!("error {error}"))?;
    lines.extend(opened.aside.map(|aside| format!("aside {aside}")));
    let mut history = opened.history;
    let updated = history.update("s", |previous| {
        let before = previous.state.map_or(0, |(_, state)| {
            let count = state.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            assert_eq!(state, state_of(count), "a torn state");
            count
        });
        let count = before + 1;
        let sample = Sample {
            wall: 1_700_000_000_000 + i64::try_from(count).unwrap_or(0) * 1000,
            uptime: count * 1000,
            boot: "boot".to_owned(),
            instance: writer,
            counts: [count; 11],
            ..Sample::default()
        };
        Ok(Step { sample, state: state_of(count), version: 1, value: count })
    });
    let updated = updated.map_err(|error| format!("error {error}"))?;
    lines.extend(updated.aside.map(|aside| format!("aside {aside}")));
    updated.unsaved.map_or(Ok(updated.value), |why| Err(format!("unsaved {} {why}", updated.value)))
}

fn state_of(count: u64) -> Vec<u8> {
    let mut state = count.to_le_bytes().to_vec();
    state.resize(8 + (count % 40) as usize * 500, count as u8);
    state
}
