#![no_main]
//! The CSV reader of `connleak graph` on any bytes: an error, or a recording that a page can be drawn of.

/// A program's modules are in no library.
#[path = "../../src/bin/connleak/graph"]
#[allow(dead_code)]
mod graph {
    pub mod recording;
    pub mod table;
    pub mod words;
}

use graph::recording::Recording;
use graph::table::Table;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let read = |skip_bad| Table::read(bytes, skip_bad, |_| {});
    let (strict, lenient) = (read(false), read(true));
    assert!(strict.is_err() || lenient.is_ok(), "what has no bad line needs no mercy");
    for (table, limit) in [(strict, None), (lenient, Some(100.0))] {
        let Ok(table) = table else { continue };
        check(&table.recording("fuzz".to_owned(), "fuzz.csv".to_owned(), limit));
    }
});

fn check(recording: &Recording) {
    let times = &recording.times;
    assert!(!times.is_empty() && times.is_sorted_by(|a, b| a < b), "{times:?}");
    assert_eq!(recording.connections.len(), times.len());
    let columns = recording.columns.iter().chain(&recording.beside).chain(&recording.limit);
    for column in columns {
        assert_eq!(column.values.len(), times.len(), "{}", column.name);
        assert!(column.values.iter().all(|value| value.is_nan() || (*value >= 0.0 && value.is_finite())));
    }
}
