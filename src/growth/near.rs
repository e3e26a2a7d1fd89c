//! What it means that nearly all of the limit is in use.

use crate::growth::detector::Verdict;
use crate::report::verdict::ServiceState;

/// Percent of the limit from which nothing is fine: the next crest of the load fills it.
const NEAR: f64 = 95.0;

/// The state, and what is said of it. `may_be_full`: by design, also before it is known what is usual; but no bound has
/// more than it allows.
pub fn judge(verdict: &Verdict, used: f64, may_be_full: bool) -> Option<(ServiceState, &'static str)> {
    let means = match verdict {
        Verdict::Leak(_) => (ServiceState::Critical, " while it leaks"),
        _ if may_be_full && used > 100.0 => (ServiceState::Warning, ": more than the pool's bound"),
        _ if may_be_full => return None,
        Verdict::Learning { .. } => (ServiceState::Warning, " before it is known what is usual"),
        Verdict::Steady | Verdict::Growing { .. } => (ServiceState::Warning, ": hardly any is left"),
    };
    (used >= NEAR).then_some(means)
}
