//! As a regular service check: the service runs, drains, is judged, or starts.

use super::drain::Leftovers;
use super::leftover::{self, Class, Left};
use super::lifecycle::{Main, Watched};
use super::old_workers::{self, Others};
use super::stop_memory::StopMemory;
use super::{Scene, Settled, drain, seen_paths};
use connleak::base::duration::Span;
use connleak::base::error::Result;
use connleak::history::first_sights::FirstSights;
use connleak::history::state_dir;
use connleak::kernel::owner::{Holders, Named};
use connleak::kernel::{netns, scope};
use connleak::report::Report;
use connleak::report::verdict::ServiceState;
use connleak::service::listener::{self, Seen};
use connleak::service::unix;

impl Scene<'_> {
    /// The regular check: nothing is asserted while the service runs, drains or starts.
    pub fn watch(&self, watched: &Watched, mut sights: FirstSights) -> Result<Report> {
        let (world, wait) = (self.drain.world, self.rules.wait);
        let path = state_dir::open(self.args.own.state_dir.as_deref())?
            .join(watched.memory_name(&self.target.service, &scope::key(world)?));
        let running = watched.running(world)?;
        let mut settled = Settled::new(self.drain.look(None)?, Span::seconds(0));
        for left in &settled.view.left {
            sights.see(&left.socket, left.side);
        }
        let view = &settled.view;
        let never = seen_paths::never(&path.with_extension("paths.txt"), &self.target.selection, view)?;
        let has_any = view.left.len() + view.ending.len() > 0 || view.unsure + view.time_wait > 0;
        let is_whole = view.seen.missing.is_none();
        let unkept = sights.keep(&self.target.selection.unix_known.borrow(), is_whole);
        let mut doubt = None;
        if let Some(process) = &running.process {
            StopMemory::forget(&path)?;
            doubt = self.look_beside(&mut settled, process, running.main);
        } else {
            let memory = match StopMemory::open(&path)? {
                Some(memory) => memory,
                None => StopMemory::begin(&path, &settled.view, &self.target.service, netns::identity(world)?)?,
            };
            let stopped = memory.seen_for();
            settled.after = stopped.min(wait);
            if stopped < wait {
                let left = leftover::counted(&settled.view.left);
                settled.excuse = Some(format!("draining, seen stopped for {stopped}, {left}"));
            } else {
                settled.beside = self.set_newcomers_aside(&mut settled.view, memory, watched)?;
            }
        }
        let mut report = self.judge(&settled, None);
        if let Some((at_worst, why)) = doubt {
            report.doubt(at_worst, why);
        }
        if running.process.is_some() && !self.target.selection.asks_unix() {
            let seen = if has_any { Seen::Connections } else { Seen::Nobody };
            listener::add_absence(&mut report, self.target, world, seen);
        }
        if !never.is_empty() {
            report.is_incomplete(unix::never_seen(&never, world));
        }
        report.missing.extend(unkept);
        report.missing.extend(running.older_pid_file());
        Ok(report)
    }

    /// Leaves what old workers have, once the service has run for --wait. Returns what may be an old worker's, too.
    fn look_beside(
        &self,
        settled: &mut Settled,
        process: &str,
        main: Option<Main>,
    ) -> Option<(ServiceState, Vec<String>)> {
        let (world, wait) = (self.drain.world, self.rules.wait);
        let all = std::mem::take(&mut settled.view.left);
        settled.view.unsure = 0;
        settled.excuse = Some(format!("running as {process}, nothing to assert"));
        let main = main.filter(|main| main.running_for() >= wait)?;
        let Others { old_workers, doubtful, unread, mut owners } = Others::of(world, main, &all, wait);
        if !old_workers.is_empty() || !doubtful.is_empty() {
            owners.add(drain::owners(world, &all, Holders::All));
        }
        let of = |pids: &[u32]| old_workers::held_by(&all, &owners, pids);
        let pids: Vec<u32> = old_workers.iter().map(|listener| listener.pid).collect();
        settled.view.left = of(&pids);
        if !settled.view.left.is_empty() {
            (settled.excuse, settled.after) = (None, wait);
            settled.beside = Some(format!("beside the running {process}"));
            settled.old_workers = old_workers;
        }
        let left = settled.view.left.len();
        let mut more = of(&doubtful).len();
        let mut why = Vec::new();
        if let Some(first) = owners.processes.iter().find(|process| doubtful.contains(&process.pid)) {
            let what = "which listens there too, is nobody's child and was started before the service";
            why.push(format!("{more} of {}, {what}: maybe an old worker", Named(first)));
        }
        if let Some(unread) = unread {
            (more, _) = (all.len() - left, why.push(unread));
        }
        (!why.is_empty()).then(|| (self.rules.count.at_worst(left as f64, (left + more) as f64), why))
    }

    /// What came after the stop is a start that `watched` doesn't show yet: a service may listen before its pid file
    /// names it. Like what is left it has the time of --wait. Returns what is to be said of it.
    fn set_newcomers_aside(
        &self,
        view: &mut Leftovers,
        mut memory: StopMemory,
        watched: &Watched,
    ) -> Result<Option<String>> {
        let Some(at_stop) = memory.sockets(&self.target.service, netns::identity(self.drain.world)?) else {
            return Ok(None);
        };
        let is_old = |left: &Left| at_stop.has(&left.socket);
        let newcomers = view.left.iter().filter(|left| !is_old(left)).count();
        let seen_for = memory.newcomers_for(newcomers > 0)?;
        // Who still listens as before accepts what comes.
        let is_kept = view.left.iter().any(|left| left.class() == Class::Listen && is_old(left));
        if newcomers == 0 || is_kept {
            return Ok(None);
        }
        let what = format!("{newcomers} new, first seen {seen_for} ago");
        if seen_for >= self.rules.wait {
            return Ok(Some(format!("{what}: no start that {} shows", watched.options())));
        }
        view.left.retain(is_old);
        view.new = newcomers as u64;
        Ok(Some(format!("{what}: maybe a start that {} doesn't show yet", watched.options())))
    }
}
