//! The services of one call: a report each, and one of them all for the first line and the exit code.

use crate::base::error::{Error, Result};
use crate::report::verdict::ServiceState;
use crate::report::{Metric, Report, Service};
use std::collections::VecDeque;

/// What is told so far, and of whom still nothing: whoever ends the call speaks for those.
#[derive(Clone)]
pub struct Batch {
    told: Vec<Report>,
    /// `None`: which service is not known.
    waiting: VecDeque<Option<Service>>,
}

impl Batch {
    pub const EMPTY: Batch = Batch { told: Vec::new(), waiting: VecDeque::new() };

    /// A service to come.
    pub fn announce(&mut self, service: Option<Service>) {
        self.waiting.push_back(service);
    }

    /// The next service's own name and ports: a series of its own, also where looking then fails.
    pub fn name(&mut self, service: Service) -> Result<()> {
        let service = Some(service);
        if self.told.iter().any(|report| report.service == service) {
            return Err(Error::Usage("the same service as one before it; give each --profile once".into()));
        }
        if let Some(next) = self.waiting.front_mut() {
            *next = service;
        }
        Ok(())
    }

    /// The next service's report.
    pub fn add(&mut self, mut report: Report) {
        let service = self.waiting.pop_front().flatten();
        report.service = report.service.or(service);
        self.told.push(report);
    }

    /// All reports, and one for all. What ends the call before each service was told of holds for
    /// the rest of them.
    pub fn end(mut self, last: &Report) -> (Vec<Report>, Report) {
        self.add(last.clone());
        while !self.waiting.is_empty() {
            self.add(last.clone());
        }
        let whole = match &self.told[..] {
            [only] => only.clone(),
            // Of equals the first.
            several => whole(several, several.iter().rev().max_by_key(|report| report.state).unwrap_or(last)),
        };
        (self.told, whole)
    }
}

/// How many are in which state, and the worst one's words.
fn whole(reports: &[Report], worst: &Report) -> Report {
    let states = [
        (ServiceState::Critical, "services_critical"),
        (ServiceState::Warning, "services_warning"),
        (ServiceState::Unknown, "services_unknown"),
        (ServiceState::Ok, "services_ok"),
    ];
    let of = |wanted| reports.iter().filter(|report| report.state == wanted).count();
    let counts = states.iter().filter(|(state, _)| of(*state) > 0).map(|(state, _)| format!("{} {state}", of(*state)));
    let counts: Vec<_> = counts.collect();
    let named = worst.service.as_ref().map_or_else(String::new, |service| format!("{service}: "));
    let mut whole =
        Report::failed(worst.check, worst.state, format!("{}: {named}{}", counts.join(", "), worst.headline));
    whole.missing.clone_from(&worst.missing);
    whole.causes = worst.causes;
    whole.metrics = states.map(|(state, name)| Metric::count(name, of(state) as u64)).into();
    let line = |report: &Report| format!("{}: {}", report.state, report.summary(usize::MAX));
    whole.details = reports.iter().filter(|report| report.state != ServiceState::Ok).map(line).collect();
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::socket::Side;
    use ServiceState::{Critical, Ok, Unknown, Warning};

    fn report(state: ServiceState, why: &str) -> Report {
        Report::failed("x", state, why.to_owned())
    }

    fn service(name: &str) -> Option<Service> {
        Some(Service { profile: name.to_owned(), ports: vec![1], side: Side::Both })
    }

    #[test]
    fn one_report_is_itself() {
        let mut batch = Batch::EMPTY;
        batch.announce(service("a"));
        let (told, whole) = batch.end(&report(Warning, "w"));
        assert_eq!((told.len(), whole.headline.as_str(), whole.service), (1, "w", service("a")));
        assert_eq!(Batch::EMPTY.end(&report(Unknown, "usage")).1.service, None);
    }

    #[test]
    fn the_worst_state_and_its_words_are_the_call_s() {
        let mut batch = Batch::EMPTY;
        (0..5).for_each(|_| batch.announce(None));
        batch.add(report(Ok, "a"));
        batch.add(report(Critical, "b"));
        batch.add(report(Unknown, "c"));
        batch.add(report(Critical, "d"));
        let (told, whole) = batch.end(&report(Ok, "e"));
        assert_eq!((told.len(), whole.state), (5, Critical));
        assert_eq!(whole.headline, "2 CRITICAL, 1 UNKNOWN, 2 OK: b");
        assert_eq!(whole.details, ["CRITICAL: b", "UNKNOWN: c", "CRITICAL: d"]);
        let values: Vec<_> = whole.metrics.iter().map(|metric| metric.value).collect();
        assert_eq!(values, [2.0, 0.0, 1.0, 2.0].map(Some));
    }

    #[test]
    fn an_early_end_keeps_what_is_told_and_speaks_for_the_rest() {
        let mut batch = Batch::EMPTY;
        ["a", "b", "c"].iter().for_each(|name| batch.announce(service(name)));
        batch.add(report(Ok, "fine"));
        let (told, whole) = batch.end(&report(Unknown, "timed out"));
        let states: Vec<_> = told.iter().map(|report| (report.state, report.service.clone())).collect();
        assert_eq!(states, [(Ok, service("a")), (Unknown, service("b")), (Unknown, service("c"))]);
        assert_eq!(whole.headline, "2 UNKNOWN, 1 OK: b:1: timed out");
    }
}
