//! What the last look says, as a report.

use super::drain;
use super::leftover::{self, Before, Class, Left};
use super::managers;
use super::witness::Effort;
use super::{Scene, Settled};
use connleak::kernel::owner::{Holders, Owners};
use connleak::kernel::socket::{Side, State};
use connleak::owners::blame::{Blame, Grouping, Suspect};
use connleak::owners::{sockets, strays};
use connleak::report::verdict::{ServiceState, Verdict, word};
use connleak::report::{Report, doubt, words};
use connleak::service::baseline::{Baseline, Listener};

impl Scene<'_> {
    pub(super) fn judge(&self, settled: &Settled, baseline: Option<&Baseline>) -> Report {
        let (view, left) = (&settled.view, &settled.view.left);
        let listened = baseline.map(|baseline| &baseline.listeners[..]).unwrap_or_default();
        let verdict = self.verdict(settled, listened);
        let holders = if self.args.common.verbose > 1 { Holders::All } else { Holders::First };
        let owners = drain::owners(self.drain.world, left, holders);
        let before = self.before(settled, listened, &owners);
        let held: Vec<_> = left.iter().filter(|left| left.class() != Class::Kernel).map(suspect).collect();
        let blame = Blame::new(&held, &owners, Grouping::new(self.target));
        let is_ok = verdict.state == ServiceState::Ok;
        let mut report = Report::new("orphans_after_stop", self.target.service.clone(), &view.seen, verdict);
        report.headline = self.headline(settled, &before, is_ok, leftover::headline(left, &owners, &before));
        if baseline.is_some_and(|baseline| baseline.count() == 0) {
            let what = if self.target.selection.has_tcp() { "port" } else { "path" };
            report.headline += &format!(", nothing was there before: is it the right {what}?");
        }
        self.add_missing(settled, baseline, &mut report);
        report.metrics = view.metrics(settled.after, self.rules.count);
        blame.add_to(&mut report);
        for (name, left) in [("remaining", left), ("ending", &view.ending)] {
            let top = left.iter().take(self.target.request.top);
            report.extra.insert(name.into(), top.map(|left| leftover::json(left, &owners, &before)).collect());
        }
        report.lacks_owners(blame.unowned, blame.shortfall(&owners));
        self.add_doubt(settled, baseline, &mut report);
        let is_there = !left.is_empty()
            || !view.ending.is_empty()
            || view.time_wait > 0
            || view.new > 0
            || settled.excuse.is_some();
        self.target.add_to(self.drain.world, is_there, &mut report);
        report.details = blame.details(&held, &owners, self.args.common.verbose.min(1));
        self.add_details(settled, &owners, &before, &mut report);
        report
    }

    fn verdict(&self, settled: &Settled, listened: &[Listener]) -> Verdict {
        let (mut verdict, left) = (Verdict::default(), &settled.view.left);
        if settled.excuse.is_none() {
            verdict.judge(&self.rules.count, left.len() as f64, || {
                format!("{} after {}", leftover::counted(left), settled.after)
            });
        }
        if settled.view.is_gone(listened) {
            verdict.reasons.push("nothing listens after the reload (critical)".to_owned());
            verdict.state = ServiceState::Critical;
        }
        verdict
    }

    /// `listened`: who did before the stop, as far as that was seen.
    fn before(&self, settled: &Settled, listened: &[Listener], owners: &Owners) -> Before {
        let listening = match listened {
            [] => leftover::listeners(&settled.view.left, owners),
            told => told.to_vec(),
        };
        let managers = managers::of(&listening, self.drain.world);
        // The regular check knows that the service doesn't run: who listens may be its heir.
        let listeners = if self.args.own.is_regular() { settled.old_workers.clone() } else { listening };
        let is_reload = self.args.own.reload || !settled.old_workers.is_empty();
        Before { listeners, managers, is_reload }
    }

    /// What wasn't there to be looked at, or can't be seen.
    fn add_missing(&self, settled: &Settled, baseline: Option<&Baseline>, report: &mut Report) {
        let (selection, view, world) = (&self.target.selection, &settled.view, self.drain.world);
        if settled.excuse.is_none() {
            report.missing.extend(leftover::files::silent(selection, &view.served, world));
            if baseline.is_none() && view.left.is_empty() {
                report.missing.extend(leftover::files::absent(selection, &view.served, world));
            }
        }
        let is_server = selection.has_tcp() && selection.side != Side::Client;
        let lacking = view.seen.lacks_bound().filter(|_| is_server && settled.excuse.is_none());
        report.missing.extend(lacking.map(str::to_owned));
        let strays = self.target.strays(world);
        if strays > 0 && !self.doubts_strays(settled, baseline) {
            report.missing.push(words::strayed(strays));
        }
    }

    /// Whether UNIX clients' ends that are nobody's may be what the stop left: nothing was seen before it.
    fn doubts_strays(&self, settled: &Settled, baseline: Option<&Baseline>) -> bool {
        let is_asked = self.target.selection.asks_unix();
        is_asked && baseline.is_none() && !self.args.own.is_regular() && settled.excuse.is_none()
    }

    fn add_doubt(&self, settled: &Settled, baseline: Option<&Baseline>, report: &mut Report) {
        if settled.excuse.is_some() {
            return;
        }
        let (range, unsure) = (&self.rules.count, settled.view.unsure);
        let strays = if self.doubts_strays(settled, baseline) { self.target.strays(self.drain.world) } else { 0 };
        let count = settled.view.left.len() as f64;
        let at_worst = range.at_worst(count, count + (unsure + strays) as f64);
        let matters = at_worst > report.state || self.args.common.verbose > 0;
        let strayed = (strays > 0).then(|| {
            let remedy = if matters { strays::remedy(self.target, self.drain.world) } else { String::new() };
            words::strayed(strays) + &remedy
        });
        report.doubt(at_worst, doubt::whose(unsure, "").into_iter().chain(strayed).collect());
    }

    fn add_details(&self, settled: &Settled, owners: &Owners, before: &Before, report: &mut Report) {
        let (left, request, verbose) = (&settled.view.left, &self.target.request, self.args.common.verbose);
        sockets::add_to(report, &left.iter().map(suspect).collect::<Vec<_>>(), owners, request);
        if verbose > 1 {
            report.details.extend(leftover::lines(left, owners, before, request.top));
        }
        if verbose > 2 {
            let seen = &settled.view.seen;
            report.details.push(format!("sockets: {}, {} rows; owners: {}", seen.how, seen.rows, owners.how()));
            let Effort { looks, glances, asked } = settled.effort;
            if looks + glances > 1 {
                let what = format!("{looks} looks at everything, {glances} glances, {asked} sockets asked for alone");
                report.details.push(format!("waited with {what}"));
            }
        }
    }

    fn headline(&self, settled: &Settled, before: &Before, is_ok: bool, remains: Vec<String>) -> String {
        let view = &settled.view;
        let mut parts = match &settled.excuse {
            Some(excuse) => vec![excuse.clone()],
            None if view.is_gone(&before.listeners) => vec!["nothing listens after the reload".to_owned()],
            None if view.left.is_empty() => vec![format!("nothing left after {}", settled.after)],
            None => {
                let limit = self.rules.count.breached(view.left.len() as f64);
                let limit = limit.map_or(String::new(), |(state, range)| format!(" ({} {range})", word(state)));
                vec![format!("{} after {}{limit}", leftover::counted(&view.left), settled.after)]
            }
        };
        let over_unix = view.left.iter().filter(|left| left.socket.is_unix()).count() as u64;
        parts.extend(words::over_unix(over_unix, self.target.selection.has_tcp()));
        if !is_ok {
            parts.extend(remains);
        }
        parts.extend(leftover::of_kernel(&view.ending));
        parts.extend(view.reload.iter().flat_map(|reload| reload.words()));
        if view.time_wait > 0 && self.rules.ignore.contains(&State::TimeWait) {
            parts.push(format!("{} in TIME_WAIT ignored", view.time_wait));
        }
        match &settled.beside {
            Some(beside) => parts.push(beside.clone()),
            None if view.new > 0 => parts.push(format!("{} new", view.new)),
            None => {}
        }
        parts.join(", ")
    }
}

fn suspect(left: &Left) -> Suspect {
    Suspect::new(&left.socket, None)
}
