//! Thirty days of history for check_conn_growth: each minute of the last two, else each five.

use crate::Result;
use connleak::history::state_dir;
use connleak::history::{Group, History, Sample};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MINUTE: u64 = 60_000;
const DAYS: u64 = 30;
/// As the check calls what it looks at.
const NAME: &str = "memcached:11211 both rehearsal 3600";

pub fn record(state: &Path) -> Result<()> {
    let mut history = History::open(&state_dir::open(Some(state))?, Duration::from_secs(600))?.history;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
    let (all, fine) = (DAYS * 1440, (DAYS - 2) * 1440);
    for minute in (0..fine).step_by(5).chain(fine..all) {
        let ago = (all - minute) * MINUTE;
        let mut sample = Sample {
            wall: (now - ago) as i64,
            uptime: minute * MINUTE,
            boot: "the one before".to_owned(),
            instance: 7,
            limit: Some(100_000),
            sampled: 1_000_000,
            groups: vec![Group { name: "php-fpm.service".to_owned(), count: 700 + minute % 90 }],
            opened: Some(minute % 40),
            closed: Some(minute % 40),
            ..Sample::default()
        };
        sample.counts[0] = 700 + minute % 90;
        history.record(NAME, &sample, b"", 0)?;
    }
    Ok(())
}
