//! How many ghosts there are, what of that is doubt, and how a report says it.

use super::processes;
use crate::base::error::{Error, Result};
use crate::kernel::owner::descriptors::Descriptor;
use crate::kernel::socket::{Endpoint, Socket, State};
use crate::kernel::world::World;
use crate::owners::blame::Suspect;
use crate::report::Report;
use crate::report::verdict::ServiceState;
use serde_json::json;
use std::fmt;
use std::net::Ipv4Addr;

#[derive(Debug, Default)]
pub struct Ghosts {
    pub count: u64,
    /// Ghosts of the service's processes, by inode.
    pub sockets: Vec<Suspect>,
    /// How many ghosts other processes have. A ghost has no port that could tell.
    pub elsewhere: u64,
    /// Why there may be more: nothing tells how many.
    pub missing: Vec<String>,
    /// Why there may be more, and how many at most; `None`: that can't be told, and nobody asked.
    pub doubts: Vec<(Option<u64>, String)>,
    /// What is said of others' ghosts, and changes nothing, with their number.
    pub remarks: Vec<(u64, String)>,
    /// The service's processes that have sockets; `None`: not looked for.
    pub looked_at: Option<Vec<u32>>,
    pub was_asked: bool,
    /// Processes without any socket that had ghosts, and how many; `None`: not looked for.
    pub strangers: Option<Vec<(u32, u64)>>,
    /// So many at most, too few for a look.
    pub not_sought: u64,
}

impl Ghosts {
    /// None was looked for, as there are so few.
    pub fn not_sought(at_most: u64) -> Ghosts {
        let strangers = (at_most == 0).then(Vec::new);
        Ghosts { not_sought: at_most, strangers, ..Ghosts::default() }
    }

    /// How many, where that is known.
    pub fn known(&self) -> Option<u64> {
        (self.not_sought == 0 && self.missing.is_empty() && self.doubts.is_empty()).then_some(self.count)
    }

    /// Where they were looked for.
    pub fn looked_at(&self, world: &World) -> String {
        match self.looked_at.as_deref() {
            None if self.missing.is_empty() => format!("by the kernel's counters {} at most", self.not_sought),
            None => "not looked for".to_owned(),
            Some([]) => "no process of the service is known".to_owned(),
            Some(pids) => format!("looked for in {}", processes::named(pids.iter().copied(), world)),
        }
    }

    /// That there may be some, in words for whoever never heard of them.
    pub fn at_most(count: u64, why: &str) -> String {
        format!("up to {count} sockets may be reset and not closed here, {why}")
    }

    /// Makes others' ghosts a doubt: nothing tells the next run, nor told this one, which of them talked to the service.
    pub fn are_not_remembered(&mut self, why: &Error) {
        let doubt = |(count, said)| (Some(count), format!("{said}; what talked to it is not remembered: {why}"));
        self.doubts.extend(self.remarks.drain(..).map(doubt));
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
        report.extra.insert(
            "ghosts".into(),
            json!({"sockets": self.count, "elsewhere": self.elsewhere, "looked_at": self.looked_at}),
        );
        report.missing.extend(self.remarks.iter().map(|(_, said)| said.clone()));
        self.missing.iter().for_each(|why| report.is_incomplete(why.clone()));
        for (at_most, why) in &self.doubts {
            match at_most {
                Some(count) => report.doubt(at_worst(*count), vec![Ghosts::at_most(*count, why)]),
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

/// A ghost as a socket to name someone for.
pub fn suspect(inode: u64, holder: &Descriptor) -> Suspect {
    let nowhere = Endpoint::new(Ipv4Addr::UNSPECIFIED.into(), 0);
    // What it was is not told any more.
    let socket = Socket { inode, ..Socket::bare(State::Close, nowhere, nowhere) };
    Suspect { uid: holder.uid, ..Suspect::new(&socket, None) }
}
