//! What the growth check judges beside the trend.

use crate::base::duration::Span;
use crate::report::verdict::Limits;

/// What is judged beside the trend.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// Percent of the limit.
    pub used: Limits,
    pub left_warning: Option<Span>,
    pub left_critical: Option<Span>,
    /// Percent above the usual number at this hour.
    pub usual_warning: Option<u32>,
}

impl Rules {
    /// For a rehearsal: what comes out of one is real time.
    pub fn rehearsed(self, speed: u32) -> Rules {
        let real = |limit: Option<Span>| limit.map(|limit| Span(limit.0 / speed.max(1)));
        Rules { left_warning: real(self.left_warning), left_critical: real(self.left_critical), ..self }
    }
}
