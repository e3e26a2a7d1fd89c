//! The check's numbers.

use super::drain::Leftovers;
use super::leftover::Class;
use connleak::report::verdict::Limits;
use connleak::report::{Metric, Unit, rounded};

/// `after`: seconds of the look that is judged. `count`: what is judged of all that is left.
pub fn of(view: &Leftovers, after: f64, count: Limits) -> Vec<Metric> {
    let of = |class: Class| view.left.iter().filter(|left| left.class() == class).count() as f64;
    let metric =
        |name, value, help| Metric { name, value: Some(value), unit: Unit::None, limits: Limits::default(), help };
    let mut metrics = vec![
        metric("orphans", view.left.len() as f64, "Sockets left after the stop."),
        metric("held", of(Class::Held), "Of them those that a process holds."),
        metric("kernel", of(Class::Kernel), "Of them those that only the kernel has."),
        metric("listen", of(Class::Listen), "Of them those that still listen."),
        metric("bound", of(Class::Bound), "Of them those that only keep the port bound."),
        metric("time_wait", view.time_wait as f64, "Sockets in TIME_WAIT."),
        metric("new", view.new as f64, "Sockets that the baseline doesn't have."),
        metric("drained_after", rounded(after, 3), "Seconds until nothing was left, or the wait."),
    ];
    metrics[0].limits = count;
    metrics[7].unit = Unit::Seconds;
    metrics
}
