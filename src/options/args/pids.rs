//! Processes by their numbers, as options name them.

use std::str::FromStr;

/// `--pid`: one process or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pids(pub Vec<u32>);

impl FromStr for Pids {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let pid = |part: &str| match part.parse::<u32>() {
            Ok(pid @ 1..=MOST_PID) if part.bytes().all(|byte| byte.is_ascii_digit()) => Ok(pid),
            _ => Err(format!("bad process id '{part}': use a number, several as 17,4711")),
        };
        let mut pids = Vec::new();
        for part in text.split(',') {
            pids.push(pid(part)?);
        }
        Ok(Pids(pids))
    }
}

/// Linux gives none above (PID_MAX_LIMIT).
const MOST_PID: u32 = 1 << 22;

/// Each once, ascending.
pub fn all(given: &[Pids]) -> Vec<u32> {
    let mut all = Vec::new();
    for pid in given.iter().flat_map(|pids| &pids.0) {
        if let Err(place) = all.binary_search(pid) {
            all.insert(place, *pid);
        }
    }
    all
}
