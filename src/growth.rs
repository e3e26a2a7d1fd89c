//! What the growth check says of what it found: state, words and numbers.

use crate::blame::Blame;
use crate::duration::Span;
use crate::limit::{self, Room, What};
use crate::memory::{Learned, Turnover};
use crate::pool::{Connection, Pool};
use crate::report::{Metric, Unit, rounded};
use crate::trend::{Leak, Verdict as Trend};
use crate::verdict::{Limits, ServiceState, Verdict};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Percent of the limit from which nothing is fine before the detector can judge.
const NEAR: f64 = 95.0;

/// What is judged beside the trend.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// Percent of the limit.
    pub used: Limits,
    pub left_warning: Option<Span>,
    pub left_critical: Option<Span>,
}

/// One look and what it taught.
#[derive(Debug)]
pub struct Found {
    pub pool: Pool,
    pub learned: Learned,
    /// Of the groups, by [`Connection::group`].
    pub names: BTreeMap<u32, String>,
    /// What may run out, and how much of it is used.
    pub rooms: Vec<Room>,
}

impl Found {
    pub fn leak(&self) -> Option<&Leak> {
        match &self.learned.verdict {
            Trend::Leak(leak) => Some(leak),
            _ => None,
        }
    }

    /// What runs out first.
    fn first(&self) -> Option<&Room> {
        limit::choose(&self.rooms)
    }

    /// Percent of what runs out first.
    fn used(&self) -> Option<f64> {
        self.first().map(|room| rounded(room.used as f64 * 100.0 / room.limit.max(1) as f64, 1))
    }

    pub fn judge(&self, rules: &Rules) -> Verdict {
        let mut verdict = Verdict::default();
        if let Some(leak) = self.leak() {
            verdict.state = ServiceState::Warning;
            let (name, rate) = (self.name(leak.group), per_minute(leak.rate));
            verdict.reasons.push(format!("leak in {name}: {rate:+}/min since {} ago", span(leak.onset)));
            let limits = [(rules.left_critical, ServiceState::Critical), (rules.left_warning, ServiceState::Warning)];
            let under = |limit: Option<Span>| limit.filter(|limit| leak.left.likely < limit.0.as_secs_f64());
            let breached = limits.into_iter().find_map(|(limit, state)| Some((under(limit)?, state)));
            let [likely, earliest, latest] = [leak.left.likely, leak.left.earliest, leak.left.latest].map(span);
            let word = breached.map_or_else(String::new, |(limit, state)| {
                verdict.state = verdict.state.max(state);
                format!(", {} under {limit}", state.to_string().to_lowercase())
            });
            verdict.reasons.push(format!("full in {likely} ({earliest} to {latest}{word})"));
        }
        if let Some(used) = self.used() {
            verdict.judge(&rules.used, used, || format!("{used}% of the limit"));
            if matches!(self.learned.verdict, Trend::Learning { .. }) && used >= NEAR {
                verdict.state = verdict.state.max(ServiceState::Warning);
                verdict.reasons.push(format!("{used}% of the limit before it is known what is usual"));
            }
        }
        verdict
    }

    /// For the first line. `reasons`: of [`Found::judge`].
    pub fn headline(&self, reasons: &[String], blame: &Blame) -> String {
        let trend = match &self.learned.verdict {
            Trend::Learning { samples: 1 } => Some("learning, 1 sample".to_owned()),
            Trend::Learning { samples } => Some(format!("learning, {samples} samples")),
            Trend::Steady => Some("steady".to_owned()),
            Trend::Growing { rate } => Some(format!("growing (load), {:+}/min", per_minute(*rate))),
            Trend::Leak(_) => None,
        };
        let (leak, others) = reasons.split_at(usize::from(trend.is_none()).min(reasons.len()));
        let mut parts: Vec<String> = trend.into_iter().chain(leak.iter().cloned()).collect();
        parts.push(self.level());
        parts.extend_from_slice(others);
        parts.extend(blame.headline());
        parts.join(", ")
    }

    fn level(&self) -> String {
        let count = self.pool.connections.len();
        match self.first() {
            Some(Room { what: What::Connections, limit, .. }) => format!("{count} of {limit}"),
            Some(room) => format!("{count} connections, {} of {} {}", room.used, room.limit, room.what),
            None => format!("{count} connections"),
        }
    }

    /// Of a group whose holder was not found the user at least.
    fn name(&self, group: u32) -> String {
        let known = || self.names.get(&group).cloned();
        let one = || self.pool.connections.iter().find(|connection| connection.group() == group);
        let uid = || one().map(|connection| format!("uid {}", connection.socket.uid));
        known().or_else(uid).unwrap_or_else(|| "a group that is gone".to_owned())
    }

    /// Connections by group's name, the largest first.
    pub fn by_group(&self) -> Vec<(String, u64)> {
        let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
        for connection in &self.pool.connections {
            *counts.entry(connection.group()).or_default() += 1;
        }
        let mut by_name: BTreeMap<String, u64> = BTreeMap::new();
        for (group, count) in counts {
            *by_name.entry(self.name(group)).or_default() += count;
        }
        let mut counts: Vec<_> = by_name.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts
    }

    /// What the JSON object adds.
    pub fn extra(&self) -> Map<String, Value> {
        let mut extra = Map::new();
        let word = match self.learned.verdict {
            Trend::Learning { .. } => "learning",
            Trend::Steady => "steady",
            Trend::Growing { .. } => "growing",
            Trend::Leak(_) => "leak",
        };
        extra.insert("trend".into(), json!(word));
        if let Some(leak) = self.leak() {
            let [likely, earliest, latest] =
                [leak.left.likely, leak.left.earliest, leak.left.latest].map(|left| left.round());
            let leak = json!({
                "group": self.name(leak.group),
                "onset_seconds": leak.onset.round(),
                "per_minute": per_minute(leak.rate),
                "suspects": leak.suspects,
                "left_seconds": { "likely": likely, "earliest": earliest, "latest": latest },
            });
            extra.insert("leak".into(), leak);
        }
        extra
    }

    pub fn metrics(&self, rules: &Rules) -> Vec<Metric> {
        let (leak, turnover) = (self.leak(), self.learned.turnover);
        let rate = match &self.learned.verdict {
            Trend::Leak(leak) => leak.rate,
            Trend::Growing { rate } => *rate,
            Trend::Learning { .. } | Trend::Steady => 0.0,
        };
        let turned = |count: fn(Turnover) -> f64| turnover.map(|turned| rounded(count(turned) / turned.minutes, 2));
        // One that is not known makes the longest unknown.
        let idle: Option<Vec<f64>> = self.pool.connections.iter().map(Connection::silence).collect();
        let oldest = idle.map(|idle| rounded(idle.into_iter().fold(0.0, f64::max), 1));
        let count = self.pool.connections.len() as f64;
        let metric = |name, value, unit, help| Metric { name, value, unit, limits: Limits::default(), help };
        let number = |name, value, help| metric(name, value, Unit::None, help);
        vec![
            number("connections", Some(count), "ESTABLISHED and CLOSE_WAIT."),
            Metric {
                limits: rules.used,
                ..metric("used", self.used(), Unit::Percent, "Percent of what runs out first.")
            },
            number("limit", self.first().map(|room| room.limit as f64), "Of what runs out first."),
            number("growth", Some(per_minute(rate)), "Connections a minute."),
            metric("left", leak.map(|leak| leak.left.likely.round()), Unit::Seconds, "Seconds until full."),
            number("suspects", Some(leak.map_or(0.0, |leak| leak.suspects as f64)), "Sockets that speak for a leak."),
            metric("idle_oldest", oldest, Unit::Seconds, "Seconds of the longest silence."),
            number("opened", turned(|turned| turned.opened), "Connections opened a minute."),
            number("closed", turned(|turned| turned.closed), "Connections closed a minute."),
        ]
    }
}

fn per_minute(rate: f64) -> f64 {
    rounded(rate * 60.0, 2)
}

fn span(seconds: f64) -> Span {
    Span::seconds(seconds.clamp(0.0, 1e9).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Origin, Seen};
    use crate::trend::{TimeLeft, Witness};

    fn found(verdict: Trend, used: u64, limit: u64) -> Found {
        let seen = Seen { origin: Origin::Netlink, how: String::new(), rows: 0, missing: None };
        let (connections, counts, listeners) = (Vec::new(), [0; 11], Vec::new());
        Found {
            pool: Pool { seen, connections, counts, instance: 0, listeners, ports: None, unsure: 0 },
            learned: Learned { verdict, turnover: None, sampled: 1.0 },
            names: BTreeMap::from([(7, "php-fpm".to_owned())]),
            rooms: vec![Room { what: What::Connections, used, limit }],
        }
    }

    fn leak(minutes: f64) -> Trend {
        let left = TimeLeft { likely: minutes * 60.0, earliest: minutes * 54.0, latest: minutes * 66.0 };
        Trend::Leak(Leak { group: 7, witness: Witness::Silence, onset: 600.0, rate: 0.05, suspects: 9, left })
    }

    fn rules() -> Rules {
        let minutes = |minutes: u64| Some(Span::seconds(minutes * 60));
        let used = Limits { warning: "80".parse().ok(), critical: None };
        Rules { used, left_warning: minutes(60), left_critical: minutes(20) }
    }

    #[test]
    fn a_leak_is_at_least_a_warning_and_its_time_left_decides() {
        use ServiceState::{Critical, Warning};
        for (minutes, state, says) in [
            (90.0, Warning, "full in 1h30m (1h21m to 1h39m)"),
            (59.0, Warning, ", warning under 1h)"),
            (10.0, Critical, "full in 10m (9m to 11m, critical under 20m)"),
        ] {
            let found = found(leak(minutes), 10, 512);
            let verdict = found.judge(&rules());
            assert_eq!(verdict.state, state, "{minutes}");
            assert_eq!(verdict.reasons[0], "leak in php-fpm: +3/min since 10m ago");
            assert!(verdict.reasons[1].ends_with(says), "{:?}", verdict.reasons);
        }
        assert_eq!(found(leak(1.0), 10, 512).judge(&Rules::default()).state, Warning);
    }

    #[test]
    fn a_full_service_is_fine_once_it_is_known() {
        let state = |trend, used| found(trend, used, 100).judge(&Rules::default()).state;
        assert_eq!(state(Trend::Steady, 100), ServiceState::Ok);
        assert_eq!(state(Trend::Learning { samples: 2 }, 94), ServiceState::Ok);
        assert_eq!(state(Trend::Learning { samples: 2 }, 95), ServiceState::Warning);
        let verdict = found(Trend::Steady, 81, 100).judge(&rules());
        assert_eq!(
            (verdict.state, verdict.reasons),
            (ServiceState::Warning, vec!["81% of the limit (warning 80)".into()])
        );
    }

    #[test]
    fn numbers_are_of_what_runs_out_first() {
        let mut found = found(Trend::Steady, 10, 512);
        found.rooms.push(Room { what: What::OpenFiles { pid: 3, command: "x".into() }, used: 1000, limit: 1024 });
        let metrics = found.metrics(&rules());
        let value = |name: &str| metrics.iter().find(|metric| metric.name == name).and_then(|metric| metric.value);
        assert_eq!((value("used"), value("limit")), (Some(97.7), Some(1024.0)));
        assert_eq!(found.level(), "0 connections, 1000 of 1024 open files of x[3]");
        assert_eq!((value("left"), value("opened")), (None, None));
    }
}
