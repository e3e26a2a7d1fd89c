//! Numbers against limits: a state, and the reason in words.

use crate::report::range::Range;

/// OK, WARNING, CRITICAL, UNKNOWN with their exit codes. Its `Ord` is the suite's one severity
/// order: OK < UNKNOWN < WARNING < CRITICAL, as what could not be read hides no known problem.
pub use nagiosplugin::ServiceState;

/// Its name as it stands in a sentence.
pub fn word(state: ServiceState) -> String {
    state.to_string().to_ascii_lowercase()
}

/// The state of this name, in any case. Not by the crate's own parser: all of Unicode's lower case comes
/// with it.
pub fn named(name: &str) -> Option<ServiceState> {
    let all = [ServiceState::Ok, ServiceState::Warning, ServiceState::Critical, ServiceState::Unknown];
    all.into_iter().find(|state| state.to_string().eq_ignore_ascii_case(name))
}

/// Or of this exit status, as the Monitoring Plugins take it.
pub fn named_or_numbered(state: &str) -> Option<ServiceState> {
    let all = [ServiceState::Ok, ServiceState::Warning, ServiceState::Critical, ServiceState::Unknown];
    let numbered = all.into_iter().find(|known| known.exit_code().to_string() == state);
    numbered.or_else(|| named(state))
}

#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub warning: Option<Range>,
    pub critical: Option<Range>,
}

impl Limits {
    pub fn judge(&self, value: f64) -> ServiceState {
        self.breached(value).map_or(ServiceState::Ok, |(state, _)| state)
    }

    /// The worst state of any value from `low` to `high`: what a number may be of which only the bounds are known.
    pub fn at_worst(&self, low: f64, high: f64) -> ServiceState {
        let alerts = |range: Option<Range>| range.is_some_and(|range| range.may_alert(low, high));
        match (alerts(self.critical), alerts(self.warning)) {
            (true, _) => ServiceState::Critical,
            (_, true) => ServiceState::Warning,
            _ => ServiceState::Ok,
        }
    }

    /// The worst limit that `value` breaches.
    pub fn breached(&self, value: f64) -> Option<(ServiceState, Range)> {
        let alerts = |range: Option<Range>| range.filter(|range| range.alerts(value));
        let critical = alerts(self.critical).map(|range| (ServiceState::Critical, range));
        critical.or_else(|| alerts(self.warning).map(|range| (ServiceState::Warning, range)))
    }

    /// Each limit given here, else that of `other`.
    pub fn or(self, other: Limits) -> Limits {
        Limits { warning: self.warning.or(other.warning), critical: self.critical.or(other.critical) }
    }
}

/// A verdict in the making: the worst of what was judged, and every reason for it.
#[derive(Debug)]
pub struct Verdict {
    pub state: ServiceState,
    pub reasons: Vec<String>,
}

impl Default for Verdict {
    fn default() -> Self {
        Verdict { state: ServiceState::Ok, reasons: Vec::new() }
    }
}

impl Verdict {
    /// Judges one number; where it breaches a limit, `what` becomes a reason with that limit.
    pub fn judge(&mut self, limits: &Limits, value: f64, what: impl FnOnce() -> String) {
        if let Some((state, range)) = limits.breached(value) {
            self.reasons.push(format!("{} ({} {range})", what(), word(state)));
            self.state = self.state.max(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ServiceState::{Critical, Ok, Unknown, Warning};

    fn limits(warning: &str, critical: &str) -> Limits {
        Limits { warning: warning.parse().ok(), critical: critical.parse().ok() }
    }

    #[test]
    fn the_severity_order() {
        assert!(Ok < Unknown && Unknown < Warning && Warning < Critical);
        assert_eq!([Ok, Warning, Critical, Unknown].map(|state| state.exit_code()), [0, 1, 2, 3]);
    }

    #[test]
    fn a_bound_itself_is_good_and_critical_comes_first() {
        let both = limits("5", "20");
        assert_eq!([5.0, 6.0, 20.0, 21.0].map(|value| both.judge(value)), [Ok, Warning, Warning, Critical]);
        assert_eq!(limits("5", "3").judge(4.0), Critical);
        assert_eq!(Limits::default().judge(1e9), Ok);
        assert_eq!(limits("", "@0:0").judge(0.0), Critical);
    }

    #[test]
    fn the_worst_of_all_that_a_number_may_be() {
        for (limit, low, high, alerts) in [
            ("5", 3.0, 5.0, false),
            ("5", 3.0, 6.0, true),
            ("5:", 4.0, 9.0, true),
            ("5:9", 5.0, 9.0, false),
            ("@5:6", 1.0, 4.0, false),
            ("@5:6", 1.0, 9.0, true),
            ("@5:6", 6.0, 9.0, true),
            ("@5:6", 7.0, 9.0, false),
        ] {
            assert_eq!(limits(limit, "").at_worst(low, high) == Warning, alerts, "{limit} {low} {high}");
            assert_eq!(limits(limit, limit).at_worst(low, high) == Critical, alerts, "{limit} {low} {high}");
        }
    }

    #[test]
    fn every_breach_is_a_reason_and_the_worst_decides() {
        let mut verdict = Verdict::default();
        verdict.judge(&limits("5", "20"), 21.0, || "21 sockets".into());
        verdict.judge(&limits("5", "20"), 6.0, || "6 others".into());
        verdict.judge(&limits("5", "20"), 1.0, || unreachable!("no breach, no words"));
        assert_eq!(verdict.state, Critical);
        assert_eq!(verdict.reasons, ["21 sockets (critical 20)", "6 others (warning 5)"]);
    }
}
