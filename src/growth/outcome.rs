//! What the growth check says of what it found: state, words and numbers.

use crate::base::duration::Span;
use crate::growth::detector::{self, Leak, Verdict as Trend, Witness};
use crate::growth::detector_state::{Learned, Turnover};
use crate::growth::measure::Measure;
use crate::growth::near;
use crate::growth::rules::Rules;
use crate::growth::stuck_pool::StuckPool;
use crate::history::Usual;
use crate::kernel::headroom::{self, Headroom, Resource};
use crate::owners::blame::Blame;
use crate::report::verdict::{ServiceState, Verdict, word};
use crate::report::{Metric, Unit, rounded};
use serde_json::{Map, Value, json};

/// Seconds; what rises since the first look may be a start, load or a leak.
const BEGINNING: f64 = 600.0;

/// Seconds of silence after which a connection is no sign of load: two minutes is above common keep-alives.
const UNUSED: f64 = 120.0;

/// One look and what it taught.
#[derive(Debug, Default)]
pub struct Outcome {
    pub measure: Measure,
    /// Connections, descriptors or bytes.
    pub amount: u64,
    /// The amounts by group's name, the largest first.
    pub groups: Vec<(String, u64)>,
    pub learned: Learned,
    /// The group that leaks, and since when by the wall clock.
    pub leaking: Option<(String, String)>,
    /// What may run out, and how much of it is used.
    pub headrooms: Vec<Headroom>,
    /// Seconds of the longest silence, where silences are known.
    pub idle_oldest: Option<f64>,
    /// Seconds for which half of them have been silent at least, where silences are known.
    pub idle_median: Option<f64>,
    /// Pools that nothing moves in, though their processes work.
    pub stuck: Vec<StuckPool>,
    /// Pools that were seen full again and again: owner, connections, how often.
    pub plateaus: Vec<(String, u32, u32)>,
    /// Full by design: a pool whose owner bounded it, or memory that a heap was given.
    pub may_be_full: bool,
    /// At this hour; `None`: not known yet, or not asked for.
    pub usual: Option<Usual>,
}

impl Outcome {
    pub fn leak(&self) -> Option<&Leak> {
        match &self.learned.verdict {
            Trend::Leak(leak) => Some(leak),
            _ => None,
        }
    }

    /// What runs out first.
    fn first(&self) -> Option<&Headroom> {
        headroom::choose(&self.headrooms)
    }

    /// Percent of what runs out first.
    fn used(&self) -> Option<f64> {
        self.first().map(|headroom| percent(headroom.used, headroom.limit))
    }

    /// From 0 to 1, of what runs out first.
    pub fn fraction_used(&self) -> f64 {
        self.first().map_or(0.0, |headroom| headroom.used as f64 / headroom.limit.max(1) as f64)
    }

    pub fn judge(&self, rules: &Rules) -> Verdict {
        let mut verdict = Verdict::default();
        if let (Some(leak), Some((name, since))) = (self.leak(), &self.leaking) {
            verdict.state = ServiceState::Warning;
            verdict.reasons.push(format!("leak in {name}: {}/min since {since}", self.rate(leak.rate)));
            let limits = [(rules.left_critical, ServiceState::Critical), (rules.left_warning, ServiceState::Warning)];
            // By the early end of the band: what is likely comes too late half of the time.
            let under = |limit: Option<Span>| limit.filter(|limit| leak.left.earliest < limit.0.as_secs_f64());
            let breached = limits.into_iter().find_map(|(limit, state)| Some((under(limit)?, state)));
            let [likely, earliest, latest] = [leak.left.likely, leak.left.earliest, leak.left.latest].map(span);
            let word = breached.map_or_else(String::new, |(limit, state)| {
                verdict.state = verdict.state.max(state);
                format!(", {} under {limit}", word(state))
            });
            verdict.reasons.push(format!("full in {likely} ({earliest} to {latest}{word})"));
        }
        if let Some(used) = self.used() {
            verdict.judge(&rules.used, used, || format!("{}, {used}%", self.level()));
            if let Some((state, says)) =
                near::judge(&self.learned.verdict, used, self.may_be_full).filter(|(state, _)| verdict.state < *state)
            {
                verdict.state = state;
                verdict.reasons.push(format!("{}, {used}%{says}", self.level()));
            }
        }
        for stuck in &self.stuck {
            verdict.state = verdict.state.max(ServiceState::Warning);
            verdict.reasons.push(stuck.reason());
        }
        if let (Some(percent), Some(usual)) = (rules.usual_warning, &self.usual) {
            let usual = usual.number * self.measure.each() as f64;
            let above = self.amount as f64 - usual;
            if above > usual * f64::from(percent) / 100.0 {
                verdict.state = verdict.state.max(ServiceState::Warning);
                let (now, usual) =
                    (self.measure.amount(self.amount, true), self.measure.amount(usual.round() as u64, false));
                verdict.reasons.push(format!("{now} where {usual} are usual at this hour (warning {percent}% more)"));
            }
        }
        verdict
    }

    /// The state should `unsure` connections more be the service's. Fewer of them than a leak needs may
    /// delay its finding by as many, but don't hide it.
    pub fn at_worst(&self, rules: &Rules, unsure: u64) -> ServiceState {
        let known = self.judge(rules).state;
        if unsure >= detector::FEWEST {
            return known.max(ServiceState::Warning);
        }
        let Some(now) = self.used() else { return known };
        let counted = self.headrooms.iter().filter(|headroom| headroom.what == Resource::Connections);
        let most = counted.map(|headroom| percent(headroom.used + unsure, headroom.limit)).fold(now, f64::max);
        let near = near::judge(&self.learned.verdict, most, self.may_be_full);
        known.max(rules.used.at_worst(now, most)).max(near.map_or(known, |(state, _)| state))
    }

    /// `+3.2`, `+3.2 MiB`.
    fn rate(&self, rate: f64) -> String {
        let unit = if self.measure == Measure::Memory { " MiB" } else { "" };
        format!("{:+}{unit}", per_minute(rate))
    }

    /// For the first line. `reasons`: of [`Outcome::judge`].
    pub fn headline(&self, rules: &Rules, reasons: &[String], blame: Option<&Blame>) -> String {
        let trend = match &self.learned.verdict {
            Trend::Learning { samples: 1 } => Some("learning, 1 sample".to_owned()),
            Trend::Learning { samples } => Some(format!("learning, {samples} samples")),
            // Nothing goes on in it.
            Trend::Steady if !self.stuck.is_empty() => None,
            Trend::Steady => Some("steady".to_owned()),
            Trend::Growing { rate } => Some(format!("growing{}, {}/min", self.why_growing(), self.rate(*rate))),
            Trend::Leak(_) => None,
        };
        let mut parts: Vec<String> = trend.into_iter().chain(reasons.iter().cloned()).collect();
        let level = self.level();
        if !reasons.iter().any(|reason| reason.starts_with(&level)) {
            parts.push(level);
        }
        if rules.usual_warning.is_some() && self.usual.is_none() {
            parts.push("learning what is usual at this hour".to_owned());
        }
        parts.extend(blame.map(|blame| self.suspects(blame)).unwrap_or_default());
        let what = match self.measure {
            Measure::Connections => "",
            Measure::Descriptors => "descriptors ",
            Measure::Memory => "memory ",
        };
        format!("{what}{}", parts.join(", "))
    }

    /// Connections that nobody has used for long are no load.
    fn why_growing(&self) -> String {
        match self.idle_median.filter(|idle| *idle >= UNUSED) {
            Some(idle) => format!(", half of them silent for {} or more", span(idle)),
            None if self.learned.watched < BEGINNING => String::new(),
            None => " (load)".to_owned(),
        }
    }

    /// Who has the connections that speak for the leak; its name is said already.
    fn suspects(&self, blame: &Blame) -> Vec<String> {
        let told = self.leaking.as_ref().map(|(name, _)| format!("unit {name}, ")).unwrap_or_default();
        let whose = blame.headline().into_iter().map(|part| part.replacen(&told, "", 1));
        let number = (blame.total() > 0).then(|| format!("{} suspected", blame.total()));
        number.into_iter().chain(whose).collect()
    }

    fn level(&self) -> String {
        let amount = |with_unit| self.measure.amount(self.amount, with_unit);
        match self.first() {
            Some(Headroom { what: Resource::Connections, limit, .. }) => {
                format!("{} of {}", amount(false), self.measure.amount(*limit, true))
            }
            Some(Headroom { what: what @ Resource::Memory { .. }, used, limit }) => {
                let [used, limit] = [used, limit].map(|bytes| Measure::Memory.amount(*bytes, false));
                format!("{}, {used} of {limit} {what}", amount(true))
            }
            Some(Headroom { what, used, limit }) if self.measure == Measure::Descriptors && *used == self.amount => {
                format!("{used} of {limit} {what}")
            }
            Some(headroom) => format!("{}, {} of {} {}", amount(true), headroom.used, headroom.limit, headroom.what),
            None => amount(true),
        }
    }

    /// What speaks for the leak, for `-v`. `silences`: seconds, of the suspects.
    pub fn evidence(&self, silences: &[f64]) -> Option<String> {
        let (leak, (_, since)) = (self.leak()?, self.leaking.as_ref()?);
        let things = match self.measure {
            Measure::Connections => "connections",
            Measure::Descriptors => "descriptors",
            Measure::Memory => "MiB",
        };
        let says = match leak.witness {
            Witness::Silence => {
                let bounds = silences.iter().fold((f64::MAX, 0.0_f64), |(low, high), s| (low.min(*s), high.max(*s)));
                let lengths = match silences.is_empty() {
                    true => String::new(),
                    false => format!(", silent for {} to {}", span(bounds.0), span(bounds.1)),
                };
                format!("{} silent survivors since {since}{lengths}, longer than silences here end", leak.suspects)
            }
            Witness::Cohort => format!("{} {things} taken since {since} and not given back", leak.suspects),
            Witness::Backstop => {
                format!("{} newcomers since {since} that fell silent, far above all of the past", leak.suspects)
            }
        };
        Some(format!("evidence: {says}"))
    }

    /// What a pool may be judged by, for `-v`.
    pub fn offered(&self) -> impl Iterator<Item = String> {
        self.plateaus.iter().map(|(name, connections, times)| {
            format!(
                "{name}: pool of {connections}, seen full {times} times; --side client --limit {connections} judges it by that"
            )
        })
    }

    /// For `-vv`.
    pub fn by_group(&self) -> impl Iterator<Item = String> {
        self.groups.iter().map(|(name, amount)| format!("group {name}: {}", self.measure.amount(*amount, true)))
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
        extra.insert("metric".into(), json!(self.measure.name()));
        if let (Some(leak), Some((name, since))) = (self.leak(), &self.leaking) {
            let [likely, earliest, latest] =
                [leak.left.likely, leak.left.earliest, leak.left.latest].map(|left| left.round());
            let leak = json!({
                "group": name,
                "since": since,
                "onset_seconds": leak.onset.round(),
                "per_minute": self.growth(leak.rate),
                "suspects": leak.suspects,
                "left_seconds": { "likely": likely, "earliest": earliest, "latest": latest },
            });
            extra.insert("leak".into(), leak);
        }
        if !self.stuck.is_empty() {
            extra.insert("stuck".into(), self.stuck.iter().map(StuckPool::json).collect());
        }
        if !self.plateaus.is_empty() {
            let plateau = |(group, connections, times): &(String, u32, u32)| json!({"group": group, "connections": connections, "times": times});
            extra.insert("plateaus".into(), self.plateaus.iter().map(plateau).collect());
        }
        if let Some(usual) = &self.usual {
            let number = rounded(usual.number * self.measure.each() as f64, 2);
            extra.insert("usual".into(), json!({ "number": number, "days": usual.days }));
        }
        extra
    }

    /// A minute, in the unit of the amount.
    fn growth(&self, rate: f64) -> f64 {
        per_minute(rate * self.measure.each() as f64)
    }

    pub fn metrics(&self, rules: &Rules) -> Vec<Metric> {
        let leak = self.leak();
        let turnover = self.learned.turnover.filter(|_| self.measure != Measure::Memory);
        let rate = match &self.learned.verdict {
            Trend::Leak(leak) => leak.rate,
            Trend::Growing { rate } => *rate,
            Trend::Learning { .. } | Trend::Steady => 0.0,
        };
        let turned = |count: fn(Turnover) -> f64| turnover.map(|turned| rounded(count(turned) / turned.minutes, 2));
        let unit = if self.measure == Measure::Memory { Unit::Bytes } else { Unit::None };
        let limit = self.first().map(|headroom| headroom.limit as f64);
        let left = |leak: &Leak| leak.left.likely.round().min(LONGEST_LEFT);
        vec![
            Metric::new(self.measure.name(), unit, Some(self.amount as f64)),
            Metric::new("used", Unit::Percent, self.used()).within(rules.used),
            Metric::new("limit", unit, limit),
            Metric::new("growth", unit, Some(self.growth(rate))),
            Metric::new("left", Unit::Seconds, limit.map(|_| leak.map_or(LONGEST_LEFT, left))),
            Metric::new("suspects", Unit::None, Some(leak.map_or(0.0, |leak| leak.suspects as f64))),
            Metric::new("idle_oldest", Unit::Seconds, self.idle_oldest.map(|idle| rounded(idle, 1))),
            Metric::new("opened", Unit::None, turned(|turned| turned.opened)),
            Metric::new("closed", Unit::None, turned(|turned| turned.closed)),
        ]
    }
}

/// What is told where nothing leaks: a graph has one line, and no last value of a leak that has ended stays.
const LONGEST_LEFT: f64 = 30.0 * 86_400.0;

fn percent(used: u64, limit: u64) -> f64 {
    rounded(used as f64 * 100.0 / limit.max(1) as f64, 1)
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
    use crate::growth::detector::TimeLeft;
    use crate::growth::process_usage::MIB;
    use crate::report::verdict::Limits;

    fn found(verdict: Trend, used: u64, limit: u64) -> Outcome {
        let leaking = matches!(verdict, Trend::Leak(_)).then(|| ("php-fpm".to_owned(), "14:05".to_owned()));
        Outcome {
            amount: used,
            learned: Learned { verdict, ..Learned::default() },
            leaking,
            headrooms: vec![Headroom { what: Resource::Connections, used, limit }],
            ..Outcome::default()
        }
    }

    fn leak(minutes: f64) -> Trend {
        let left = TimeLeft { likely: minutes * 60.0, earliest: minutes * 54.0, latest: minutes * 66.0 };
        Trend::Leak(Leak { group: 7, witness: Witness::Silence, onset: 600.0, rate: 0.05, suspects: 9, left })
    }

    fn rules() -> Rules {
        let minutes = |minutes: u64| Some(Span::seconds(minutes * 60));
        let used = Limits { warning: "80".parse().ok(), critical: None };
        Rules { used, left_warning: minutes(60), left_critical: minutes(20), usual_warning: Some(50) }
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
            assert_eq!(verdict.reasons[0], "leak in php-fpm: +3/min since 14:05");
            assert!(verdict.reasons[1].ends_with(says), "{:?}", verdict.reasons);
        }
        assert_eq!(found(leak(1.0), 10, 512).judge(&Rules::default()).state, Warning);
        let mut early = found(leak(45.0), 10, 512);
        if let Trend::Leak(leak) = &mut early.learned.verdict {
            leak.left.earliest = 900.0;
        }
        let verdict = early.judge(&rules());
        assert_eq!(verdict.state, Critical);
        assert!(
            verdict.reasons[1].ends_with("full in 45m (15m to 49m30s, critical under 20m)"),
            "{:?}",
            verdict.reasons
        );
    }

    #[test]
    fn a_rehearsal_rehearses_its_thresholds() {
        let found = found(leak(1.0), 10, 512);
        let state = |speed| found.judge(&rules().rehearsed(speed)).state;
        assert_eq!([1, 10, 60].map(state), [ServiceState::Critical, ServiceState::Critical, ServiceState::Warning]);
        let reasons = found.judge(&rules().rehearsed(10)).reasons;
        assert!(reasons[1].ends_with(", critical under 2m)"), "{reasons:?}");
    }

    #[test]
    fn connections_that_nobody_uses_are_no_load() {
        let mut found = found(Trend::Growing { rate: 0.1 }, 30, 512);
        assert_eq!(
            found.headline(&Rules::default(), &[], None),
            "growing, +6/min, 30 of 512 connections",
            "nobody knows of what"
        );
        found.learned.watched = BEGINNING;
        let mut says = |idle| {
            found.idle_median = idle;
            found.headline(&Rules::default(), &[], None)
        };
        assert_eq!(says(None), "growing (load), +6/min, 30 of 512 connections");
        assert_eq!(says(Some(60.0)), "growing (load), +6/min, 30 of 512 connections");
        assert_eq!(says(Some(7200.0)), "growing, half of them silent for 2h or more, +6/min, 30 of 512 connections");
    }

    #[test]
    fn a_stuck_pool_is_a_warning_and_not_steady() {
        let stuck = StuckPool { holder: "node[7]".into(), connections: 10, silent: 300.0, usual: 4.0, busy: 12 };
        let found = Outcome { stuck: vec![stuck], ..found(Trend::Steady, 10, 97) };
        let verdict = found.judge(&Rules::default());
        assert_eq!(verdict.state, ServiceState::Warning);
        assert_eq!(
            found.headline(&Rules::default(), &verdict.reasons, None),
            "all 10 connections of node[7] silent for 5m (usually under 4s), while its 12 others are busy, 10 of 97 connections"
        );
        assert_eq!(found.extra()["stuck"][0]["busy_others"], 12);
    }

    #[test]
    fn a_size_that_a_pool_has_is_offered_as_its_limit() {
        let found = Outcome { plateaus: vec![("php-fpm".into(), 10, 40)], ..found(Trend::Steady, 10, 97) };
        let offered: Vec<_> = found.offered().collect();
        assert_eq!(offered, ["php-fpm: pool of 10, seen full 40 times; --side client --limit 10 judges it by that"]);
    }

    #[test]
    fn a_full_service_is_never_fine_and_a_full_pool_once_it_is_known() {
        let state = |trend, used| found(trend, used, 100).judge(&Rules::default()).state;
        let pool = |trend| Outcome { may_be_full: true, ..found(trend, 100, 100) }.judge(&Rules::default());
        assert_eq!(state(Trend::Steady, 94), ServiceState::Ok);
        assert_eq!(state(Trend::Steady, 95), ServiceState::Warning);
        assert_eq!(state(Trend::Growing { rate: 1.0 }, 100), ServiceState::Warning);
        assert_eq!(
            found(Trend::Steady, 100, 100).judge(&Rules::default()).reasons,
            ["100 of 100 connections, 100%: hardly any is left"]
        );
        assert_eq!(pool(Trend::Steady).state, ServiceState::Ok);
        assert_eq!(
            pool(Trend::Learning { samples: 2 }).state,
            ServiceState::Ok,
            "full by design from the first look on"
        );
        for trend in [Trend::Steady, Trend::Learning { samples: 2 }] {
            let beyond = Outcome { may_be_full: true, ..found(trend, 101, 100) }.judge(&Rules::default());
            assert_eq!(
                (beyond.state, &beyond.reasons[0][..]),
                (ServiceState::Warning, "101 of 100 connections, 101%: more than the pool's bound")
            );
        }
        assert_eq!(pool(leak(900.0)).state, ServiceState::Critical);
        assert_eq!((state(leak(900.0), 94), state(leak(900.0), 95)), (ServiceState::Warning, ServiceState::Critical));
        assert_eq!(state(Trend::Learning { samples: 2 }, 94), ServiceState::Ok);
        assert_eq!(state(Trend::Learning { samples: 2 }, 95), ServiceState::Warning);
        let verdict = found(Trend::Steady, 81, 100).judge(&rules());
        assert_eq!(
            (verdict.state, verdict.reasons),
            (ServiceState::Warning, vec!["81 of 100 connections, 81% (warning 80)".into()])
        );
    }

    #[test]
    fn numbers_are_of_what_runs_out_first() {
        let mut found = found(Trend::Steady, 10, 512);
        found.headrooms.push(Headroom {
            what: Resource::OpenFiles { pid: 3, command: "x".into() },
            used: 1000,
            limit: 1024,
        });
        let metrics = found.metrics(&rules());
        let value = |name: &str| metrics.iter().find(|metric| metric.name == name).and_then(|metric| metric.value);
        assert_eq!((value("used"), value("limit")), (Some(97.7), Some(1024.0)));
        assert_eq!(found.level(), "10 connections, 1000 of 1024 open files of x[3]");
        assert_eq!((value("left"), value("opened")), (Some(2_592_000.0), None));
        found.headrooms.clear();
        let lacks = found.metrics(&rules()).into_iter().filter(|metric| metric.value.is_none());
        let lacks: Vec<_> = lacks.map(|metric| metric.name).collect();
        assert_eq!(lacks, ["used", "limit", "left", "idle_oldest", "opened", "closed"]);
    }

    #[test]
    fn more_than_usual_is_a_warning_once_it_is_known() {
        let mut found = found(Trend::Steady, 31, 512);
        let state = |found: &Outcome| found.judge(&rules()).state;
        assert_eq!(state(&found), ServiceState::Ok);
        assert_eq!(
            found.headline(&rules(), &[], None),
            "steady, 31 of 512 connections, learning what is usual at this hour"
        );
        found.usual = Some(Usual { number: 21.0, days: 3, same_weekday: false });
        assert_eq!(state(&found), ServiceState::Ok);
        found.usual = Some(Usual { number: 20.0, days: 3, same_weekday: false });
        let verdict = found.judge(&rules());
        assert_eq!(verdict.state, ServiceState::Warning);
        assert_eq!(verdict.reasons, ["31 connections where 20 are usual at this hour (warning 50% more)"]);
    }

    #[test]
    fn memory_is_told_in_mib_and_measured_in_bytes() {
        let mut found = found(leak(90.0), 300 * MIB, 512 * MIB);
        found.measure = Measure::Memory;
        let verdict = found.judge(&Rules::default());
        assert_eq!(verdict.reasons[0], "leak in php-fpm: +3 MiB/min since 14:05");
        assert_eq!(found.level(), "300 MiB of 512 MiB");
        let metrics = found.metrics(&Rules::default());
        let value = |name: &str| metrics.iter().find(|metric| metric.name == name).and_then(|metric| metric.value);
        assert_eq!((value("rss"), value("limit")), (Some(314_572_800.0), Some(536_870_912.0)));
        assert_eq!((value("growth"), value("used")), (Some(3_145_728.0), Some(58.6)));
    }

    #[test]
    fn evidence_is_of_the_witness() {
        let mut found = found(leak(90.0), 300, 512);
        let says = found.evidence(&[130.0, 600.0]).unwrap();
        assert_eq!(
            says,
            "evidence: 9 silent survivors since 14:05, silent for 2m10s to 10m, longer than silences here end"
        );
        found.measure = Measure::Descriptors;
        if let Trend::Leak(leak) = &mut found.learned.verdict {
            leak.witness = Witness::Cohort;
        }
        assert_eq!(found.evidence(&[]).unwrap(), "evidence: 9 descriptors taken since 14:05 and not given back");
        assert_eq!(super::tests::found(Trend::Steady, 1, 9).evidence(&[]), None);
    }

    #[test]
    fn connections_of_unknown_owners_count_as_far_as_they_can_matter() {
        use ServiceState::{Critical, Ok, Warning};
        let rules = |warning: &str| Rules {
            used: Limits { warning: warning.parse().ok(), critical: None },
            ..Rules::default()
        };
        let at_worst = |used, unsure, warning| found(Trend::Steady, used, 100).at_worst(&rules(warning), unsure);
        assert_eq!(at_worst(50, 0, "50"), Ok);
        assert_eq!(at_worst(50, 3, "53"), Ok, "too few for a leak or for the range");
        assert_eq!(at_worst(50, 3, "52"), Warning);
        assert_eq!(at_worst(50, 4, "90"), Warning, "they may be a leak");
        assert_eq!(at_worst(94, 3, ""), Warning, "hardly any is left");
        assert_eq!(found(leak(90.0), 94, 100).at_worst(&rules(""), 3), Critical, "nor while it leaks");
    }
}
