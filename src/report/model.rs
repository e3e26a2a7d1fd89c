//! The outcome of a check as data, and what all renderers share.

use super::{json, nagios, prometheus};
use crate::base::duration::Span;
use crate::base::word;
use crate::kernel::cgroup;
use crate::kernel::socket::Side;
use crate::kernel::source::{Coverage, Origin};
use crate::report::metric::{Metric, Part};
use crate::report::verdict::{ServiceState, Verdict};
use serde::Serialize;
use serde_json::{Map, Value};
use std::fmt;
use std::str::FromStr;

/// The profile of ports that no other profile has.
pub const GENERIC: &str = "generic";

/// Which service was checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// The profile's name; where UNIX sockets were asked for, with their paths; where there is neither, whose sockets are
    /// meant: `unit nginx.service`.
    pub profile: String,
    pub ports: Vec<u16>,
    pub side: Side,
}

impl Service {
    /// [`ports_text`].
    pub fn ports_text(&self) -> String {
        ports_text(&self.ports)
    }
}

/// `389,636`; four and more in a row as a range, `8000-8100`.
pub fn ports_text(ports: &[u16]) -> String {
    let runs = ports.chunk_by(|port, next| port.checked_add(1) == Some(*next));
    let text = |run: &[u16]| match run {
        [first, _, _, .., last] => format!("{first}-{last}"),
        few => few.iter().map(u16::to_string).collect::<Vec<_>>().join(","),
    };
    runs.map(text).collect::<Vec<_>>().join(",")
}

impl fmt::Display for Service {
    /// `memcached:11211`; `port 4711` where there is no profile for it; `pid 4711` without ports;
    /// `mysql:/run/mysqld/mysqld.sock and port 3306`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ports.is_empty() {
            f.write_str(&self.profile)
        } else if self.profile == GENERIC {
            write!(f, "port {}", self.ports_text())
        } else if self.profile.contains(['/', '@']) {
            // No profile has such a name.
            write!(f, "{} and port {}", self.profile, self.ports_text())
        } else {
            write!(f, "{}:{}", self.profile, self.ports_text())
        }
    }
}

/// A process that holds sockets of the service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Owner {
    pub pid: u32,
    pub command: String,
    pub unit: Option<String>,
    /// The container's id or name, or its pod's, by [`crate::kernel::cgroup::container::name`].
    pub container: Option<String>,
    pub uid: u32,
    pub user: Option<String>,
    pub sockets: u64,
    /// `None`: ages are unknown.
    pub oldest_seconds: Option<f64>,
    /// Where that is what it is at least: what it is at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_at_most_seconds: Option<f64>,
    /// The peers with most of them, largest first.
    pub peers: Vec<Peer>,
}

impl fmt::Display for Owner {
    /// `php-fpm[1234] (unit php-fpm.service, user www-data)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}] (", self.command, self.pid)?;
        if let Some(unit) = &self.unit {
            write!(f, "unit {}, ", cgroup::label(unit))?;
        }
        // Often the unit is the container's own scope.
        let is_told = |name: &&String| self.unit.as_ref().is_some_and(|unit| unit.contains(*name));
        if let Some(container) = self.container.as_ref().filter(|name| !is_told(name)) {
            write!(f, "container {container}, ")?;
        }
        match &self.user {
            Some(user) => write!(f, "user {user})"),
            None => write!(f, "uid {})", self.uid),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Peer {
    pub address: String,
    pub sockets: u64,
}

/// Sockets of all processes that go by one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// The unit, else command and user: names that outlive processes.
    pub owner: String,
    pub sockets: u64,
}

/// How much of the truth was seen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Complete {
    pub source: &'static str,
    /// Whether every socket of the namespaces was seen.
    pub sockets: bool,
    /// Whether every socket that was asked for found its owner.
    pub owners: bool,
    /// Sockets whose owner was looked for and not found.
    pub unowned: u64,
    /// Network namespaces looked at, or known to have no socket.
    pub namespaces: u64,
    /// Those that may not be looked into.
    pub namespaces_refused: u64,
    /// Those that were not reached in time.
    pub namespaces_late: u64,
}

/// What a check found. All outputs and the exit code come from here, so they can't disagree.
#[derive(Clone, Debug)]
pub struct Report {
    /// The check's name without `check_`, as in `closewait`.
    pub check: &'static str,
    /// `None` where the check ended before it knew.
    pub service: Option<Service>,
    pub state: ServiceState,
    /// The first line's text, without the state and the service.
    pub headline: String,
    /// What the first line must say of the view's limits, before anything else is cut; what may change the verdict
    /// comes first.
    pub missing: Vec<String>,
    /// How many of these may change it.
    pub causes: usize,
    pub reasons: Vec<String>,
    pub metrics: Vec<Metric>,
    /// A metric for each of the largest tenants; their set changes with them.
    pub parts: Vec<Part>,
    pub owners: Vec<Owner>,
    /// The largest and, last, all others in one: for readers that keep each name they ever saw.
    pub shares: Vec<Share>,
    /// `None` where the check ended before it looked.
    pub complete: Option<Complete>,
    /// Long text, a line each.
    pub details: Vec<String>,
    /// What the check adds to the JSON object.
    pub extra: Map<String, Value>,
}

impl Report {
    /// A verdict over what a source showed, still without words and numbers.
    pub fn new(check: &'static str, service: Service, seen: &Coverage, verdict: Verdict) -> Report {
        let mut report = Report::failed(check, verdict.state, String::new());
        report.service = Some(service);
        report.reasons = verdict.reasons;
        report.complete = Some(Complete {
            source: seen.origin.name(),
            sockets: seen.missing.is_none(),
            owners: seen.origin != Origin::Replay,
            unowned: 0,
            namespaces: seen.namespaces.seen,
            namespaces_refused: seen.namespaces.refused,
            namespaces_late: seen.namespaces.late,
        });
        if seen.origin == Origin::Replay {
            report.missing.push(format!("replayed from {}, so without owners", seen.how));
        }
        report.missing.extend(seen.remark.clone());
        if let Some(missing) = &seen.missing {
            report.is_incomplete(format!("sockets incomplete: {missing}"));
        }
        report
    }

    /// The report of a check that could not come to a verdict.
    pub fn failed(check: &'static str, state: ServiceState, why: String) -> Report {
        Report {
            check,
            service: None,
            state,
            headline: why,
            missing: Vec::new(),
            causes: 0,
            reasons: Vec::new(),
            metrics: Vec::new(),
            parts: Vec::new(),
            owners: Vec::new(),
            shares: Vec::new(),
            complete: None,
            details: Vec::new(),
            extra: Map::new(),
        }
    }

    /// For programs: from which age on sockets count.
    pub fn put_min_age(&mut self, min_age: Span) {
        self.extra.insert("min_age_seconds".into(), (min_age.as_millis() as f64 / 1000.0).into());
    }

    /// Sockets whose owner was looked for in vain: said, but no doubt about the count. That a
    /// recorded dump has none is said already.
    pub fn lacks_owners(&mut self, unowned: u64, why: Option<String>) {
        if let Some(complete) = &mut self.complete {
            complete.unowned = unowned;
            if complete.source != Origin::Replay.name() {
                complete.owners = unowned == 0;
                self.missing.extend(why);
            }
        }
    }

    /// The first line's text in at most `longest` bytes: the service, what was found, then what is missing,
    /// which is never cut for it. Where something missing is the verdict's reason that comes first.
    pub fn summary(&self, longest: usize) -> String {
        let name = self.service.as_ref().map_or_else(String::new, |service| format!("{service}: "));
        let longest = longest.saturating_sub(name.len());
        let mut headline = self.headline.clone();
        if let Some(Complete { namespaces: count @ 2.., .. }) = self.complete {
            headline += &format!(", {count} network namespaces seen");
        }
        if self.missing.is_empty() {
            return name + &cut(&headline, longest);
        }
        let first = match (self.state, self.causes) {
            (ServiceState::Unknown, 0) => self.missing.len(),
            (ServiceState::Unknown, causes) => causes,
            _ => 0,
        };
        let said: usize = self.missing.iter().map(|why| why.len() + 2).sum();
        let headline = cut(&headline, longest.saturating_sub(said));
        let (causes, notes) = self.missing.split_at(first.min(self.missing.len()));
        let mut parts: Vec<&str> = causes.iter().map(String::as_str).collect();
        parts.push(&headline);
        parts.extend(notes.iter().map(String::as_str));
        name + &cut(&parts.join("; "), longest)
    }
}

/// The text, or as much of it as leaves room for dots.
fn cut(text: &str, longest: usize) -> String {
    if text.len() <= longest {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(longest.saturating_sub(3));
    format!("{}...", &text[..end])
}

/// `-o`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Nagios,
    Json,
    Prometheus,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let formats = [("nagios", Format::Nagios), ("json", Format::Json), ("prometheus", Format::Prometheus)];
        word::choose("output", text, &formats)
    }
}

impl Format {
    /// Whether it names owners also where nothing is wrong.
    pub fn names_owners(self) -> bool {
        self != Format::Nagios
    }

    /// The whole output, with its last newline.
    pub fn render(self, report: &Report) -> String {
        match self {
            Format::Nagios => nagios::render(report),
            Format::Json => json::render(report),
            Format::Prometheus => prometheus::render(std::slice::from_ref(report)),
        }
    }
}

impl Report {
    /// Every number with the label that performance data give it.
    pub fn labelled(&self) -> impl Iterator<Item = (&str, &Metric)> {
        let metrics = self.metrics.iter().map(|metric| (metric.name, metric));
        metrics.chain(self.parts.iter().map(|part| (part.label.as_str(), &part.metric)))
    }
}

/// A number as it is judged, shown and stored everywhere: at most `digits` decimals.
pub fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

/// A time in milliseconds as such a number of seconds.
pub fn seconds(millis: u32) -> f64 {
    rounded(f64::from(millis) / 1000.0, 1)
}
