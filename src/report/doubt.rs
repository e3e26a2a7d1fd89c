//! The suite's one rule for doubt: when what can't be known changes a verdict.
//!
//! A check judges twice: what it knows, and what it would know should all that is unknown count against
//! the service. Where both agree the doubt is only mentioned. Where they don't the state is UNKNOWN, but
//! for a WARNING or CRITICAL that stands by what is known.

use crate::report::Report;
use crate::report::verdict::ServiceState;

/// The state to report.
pub fn settle(known: ServiceState, at_worst: ServiceState) -> ServiceState {
    if at_worst == known { known } else { known.max(ServiceState::Unknown) }
}

/// The sentence for sockets that may be the chosen process's, user's or unit's, or another's.
pub fn whose(count: u64, what: &str) -> Option<String> {
    let kind = if what.is_empty() { String::new() } else { format!(" {what}") };
    (count > 0).then(|| format!("{count} more{kind}, but whose they are can't be told"))
}

impl Report {
    /// Settles the state and says what is unknown. `at_worst`: the verdict should all of `unknown` count.
    pub fn doubt(&mut self, at_worst: ServiceState, unknown: Vec<String>) {
        if !unknown.is_empty() {
            self.state = settle(self.state, at_worst);
            match at_worst {
                ServiceState::Ok => self.missing.extend(unknown),
                _ => self.add_causes(unknown),
            }
        }
    }

    /// Adds a doubt of which nobody can tell how much it hides: sockets, processes, namespaces not read.
    pub fn is_incomplete(&mut self, why: String) {
        self.state = self.state.max(ServiceState::Unknown);
        self.add_causes(vec![why]);
    }

    /// Before what is only mentioned, in the order in which they come.
    fn add_causes(&mut self, why: Vec<String>) {
        let (at, count) = (self.causes, why.len());
        self.missing.splice(at..at, why);
        self.causes += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ServiceState::{Critical, Ok, Unknown, Warning};

    #[test]
    fn a_doubt_that_changes_nothing_is_only_mentioned() {
        let states = [Ok, Warning, Critical];
        for known in states {
            for at_worst in states {
                let expected = if known == Ok && at_worst != Ok { Unknown } else { known };
                assert_eq!(settle(known, at_worst), expected, "{known} {at_worst}");
                let mut report = Report::failed("x", known, String::new());
                report.doubt(at_worst, Vec::new());
                assert_eq!(report.state, known, "nothing is unknown");
                report.doubt(at_worst, vec!["y".into()]);
                assert_eq!((report.state, &report.missing[..]), (expected, &["y".to_owned()][..]));
                report.doubt(known, vec!["z".into()]);
                assert_eq!(report.state, expected, "a later one makes none better");
            }
        }
    }
}
