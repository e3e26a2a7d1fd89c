//! How many ghosts there are, what of that is doubt, and how a report says it.

use crate::base::error::Result;
use crate::owners::blame::Suspect;
use crate::report::Report;
use crate::report::verdict::ServiceState;
use serde_json::json;
use std::fmt;

#[derive(Debug, Default)]
pub struct Ghosts {
    pub count: u64,
    /// Of the service's processes, by inode.
    pub sockets: Vec<Suspect>,
    /// Of other processes. A ghost has no port that could tell.
    pub elsewhere: u64,
    /// Why there may be more: nothing tells how many.
    pub missing: Vec<String>,
    /// Why there may be more, and how many at most; `None`: that can't be told, and nobody asked.
    pub doubts: Vec<(Option<u64>, String)>,
    pub was_asked: bool,
}

impl Ghosts {
    /// How many, where that is known.
    pub fn known(&self) -> Option<u64> {
        (self.missing.is_empty() && self.doubts.is_empty()).then_some(self.count)
    }

    /// Makes what is missing a doubt. `at_most`: how many sockets may be ghosts by the kernel's counters.
    pub fn bound(&mut self, at_most: Result<Option<u64>>) {
        match at_most {
            Ok(all) => {
                let rest = all.map(|all| all.saturating_sub(self.count + self.elsewhere));
                self.doubts.extend((rest != Some(0)).then(|| (rest, self.missing.join(", "))));
                self.missing.clear();
            }
            Err(why) => self.missing.push(why.to_string()),
        }
    }

    /// Adds what a report says beside the number. `at_worst`: the verdict with so many more.
    pub fn add_to(&self, report: &mut Report, at_worst: impl Fn(u64) -> ServiceState) {
        report.extra.insert("ghosts".into(), json!({"sockets": self.count, "elsewhere": self.elsewhere}));
        self.missing.iter().for_each(|why| report.is_incomplete(why.clone()));
        for (at_most, why) in &self.doubts {
            match at_most {
                Some(count) => report.doubt(at_worst(*count), vec![format!("up to {count}: {why}")]),
                // Nothing shows that there are any: no counters, in a copy of /proc. On a host they always bound it.
                None => report.missing.push(why.clone()),
            }
        }
    }
}

impl fmt::Display for Ghosts {
    /// `3 ghosts`; `3 or more ghosts`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_more = if self.known().is_some() { "" } else { " or more" };
        write!(f, "{}{or_more} ghost{}", self.count, if self.count == 1 { "" } else { "s" })
    }
}
