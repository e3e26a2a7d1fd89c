//! Wait until nothing is left.

use super::drain::{Drain, Leftovers};
use super::pacer::Pacer;
use super::stop_command::Interrupt;
use super::witness::{Effort, Witnesses};
use connleak::base::duration::Span;
use connleak::base::error::{Error, Result};
use connleak::service::baseline::Baseline;

/// Looks until nothing is left or the wait is over. Between looks at everything it is enough to know that one
/// socket is still there; what came meanwhile the next look shows, and the last one in any case. Returns how long
/// that took, too.
///
/// # Errors
/// Besides what the source says: when `signals` ask to end.
pub fn settle(
    drain: &Drain,
    baseline: Option<&Baseline>,
    wait: Span,
    signals: Option<&Interrupt>,
) -> Result<(Leftovers, Span, Effort)> {
    // A recorded dump doesn't change.
    let wait = if drain.world.replay.is_some() { Span::seconds(0) } else { wait };
    let mut witnesses = Witnesses::new(drain, baseline, wait.0);
    let mut pacer = Pacer::new(wait.0);
    loop {
        let elapsed = pacer.elapsed();
        let is_last = elapsed >= wait.0;
        let mut is_left = !is_last && witnesses.one_is_there();
        let may_look = pacer.may_look() || witnesses.must_look();
        if is_last || (!is_left && may_look) {
            is_left = !is_last && pacer.timed(|| witnesses.look_for());
            if !is_left {
                let view = pacer.timed(|| drain.look(baseline))?;
                witnesses.learn(&view);
                let is_over = view.reload.is_none_or(|reload| reload.is_over());
                if is_over && view.left.is_empty() && view.unsure == 0 && view.seen.missing.is_none() {
                    return Ok((view, Span(elapsed), witnesses.effort));
                }
                if is_last {
                    return Ok((view, wait, witnesses.effort));
                }
                is_left = witnesses.one_is_known();
            }
        }
        if signals.is_some_and(Interrupt::came) {
            return Err(Error::Usage("ended by a signal while waiting for sockets to go".into()));
        }
        pacer.pause(!is_left && !witnesses.must_look());
    }
}
