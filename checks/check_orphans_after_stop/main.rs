//! Is nothing left N seconds after a service was stopped?

mod drain;
mod leftover;
mod lifecycle;
mod managers;
mod old_workers;
mod pacer;
mod regular_check;
mod reload;
mod rules;
mod seen_paths;
mod settle;
mod stop_command;
mod stop_memory;
mod witness;

use argh::{ArgsInfo, FromArgs};
use connleak::base::duration::Span;
use connleak::base::error::Result;
use connleak::history::first_sights::FirstSights;
use connleak::kernel::netns;
use connleak::kernel::owner::Holders;
use connleak::kernel::socket::{Side, State};
use connleak::kernel::world::World;
use connleak::options::args::{Args, Command};
use connleak::owners::blame::{Blame, Grouping, Suspect};
use connleak::owners::sockets;
use connleak::owners::strays;
use connleak::report::Report;
use connleak::report::doubt;
use connleak::report::verdict::{ServiceState, Verdict, word};
use connleak::report::words;
use connleak::service::baseline::{Baseline, Listener};
use connleak::service::target::{self, Target};
use drain::{Drain, Leftovers};
use leftover::{Before, Class, Left};
use lifecycle::Watched;
use rules::{Ignore, Rules};
use serde_json::json;
use std::path::{Path, PathBuf};
use stop_command::Interrupt;
use witness::Effort;

/// assert that no socket of a service is left after its stop
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(note = "Looks until nothing is left, at most for --wait. With '-- COMMAND' it runs the stop itself. \
    With --baseline only sockets saved before are judged. With --unit, --process or --pid-file it is a \
    regular service check, which judges once the service has been down for --wait.")]
#[argh(note = "The main number is how many sockets are left; critical unless 0 when no range is given.")]
pub struct Orphans {
    /// how long sockets may take to go; default from the profile, else 30s. It doesn't count
    /// against --timeout: the deadline is that much later
    #[argh(option, arg_name = "DURATION")]
    wait: Option<Span>,

    /// a TCP state that is no orphan; none: ignore nothing; default from the profile, else TIME_WAIT
    #[argh(option, arg_name = "STATE")]
    ignore: Vec<Ignore>,

    /// save the service's sockets to this file and end; for --baseline after the restart
    #[argh(option, arg_name = "FILE")]
    save_baseline: Option<PathBuf>,

    /// judge only sockets that are in this file; others are counted as new
    #[argh(option, arg_name = "FILE")]
    baseline: Option<PathBuf>,

    /// it was a reload: the service goes on, what it keeps listening on and its connections are no orphans, what
    /// processes have that listened before and no longer do is. With '-- COMMAND' or --baseline
    #[argh(switch)]
    reload: bool,

    /// regular check: the service runs while this systemd unit or cgroup path has a process
    #[argh(option, arg_name = "NAME")]
    unit: Option<String>,

    /// regular check: the service runs while a process of this name does
    #[argh(option, arg_name = "NAME")]
    process: Option<String>,

    /// regular check: the service runs while the process in this file does
    #[argh(option, arg_name = "FILE")]
    pid_file: Option<PathBuf>,

    /// where the regular check remembers when it first saw the stop; default /var/lib/connleak, see the
    /// man page
    #[argh(option, arg_name = "DIR")]
    state_dir: Option<PathBuf>,

    /// write a JUnit result for CI to this file
    #[argh(option, arg_name = "FILE")]
    junit: Option<PathBuf>,
}

impl Orphans {
    /// Whether it is asked again and again, also while the service runs.
    fn is_regular(&self) -> bool {
        self.unit.is_some() || self.process.is_some() || self.pid_file.is_some()
    }
}

impl Command for Orphans {
    const PROGRAM: &'static str = "check_orphans_after_stop";
    const REST: Option<&'static str> = Some(" [-- STOP COMMAND]");
    // That nothing listens is what it asserts; and once a process has ended its number may be another's, which
    // --pid-file tells by its time.
    const WITHOUT: &'static [&'static str] = &["--require-listener", "--pid"];

    fn junit(&self) -> Option<&Path> {
        self.junit.as_deref()
    }
}

fn main() {
    connleak::program::run::main(check)
}

pub fn check(args: &Args<Orphans>, world: &World) -> Result<Report> {
    let own = &args.own;
    let mut target = target::resolve(args.common.request(), world)?;
    let rules = Rules::new(args, &target);
    let watched = Watched { unit: own.unit.clone(), process: own.process.clone(), pid_file: own.pid_file.clone() };
    rules::refuse_mixed_uses(args)?;
    // The regular check looks while the service runs, too: what its UNIX clients are is known once it has stopped.
    let sights = match own.is_regular() {
        false => FirstSights::default(),
        true => target.first_sights(own.state_dir.as_deref(), world)?,
    };
    let drain = Drain { world, selection: &target.selection, ignore: &rules.ignore, is_reload: own.reload };
    let scene = Scene { args, target: &target, rules: &rules, drain };
    if let Some(path) = &own.save_baseline {
        return scene.save_baseline(path);
    }
    if own.is_regular() {
        return scene.watch(&watched, sights);
    }
    let time_limit = world.deadline.budget();
    if let Some(path) = &own.baseline {
        // Before the deadline moves: reading a file may hang.
        let baseline = Baseline::load(path, &target.service, netns::identity(world)?)?;
        leftover::files::remember(&target.selection, &baseline);
        world.deadline.extend(rules.wait.0);
        return scene.settle(Some(&baseline), None);
    }
    world.deadline.extend(rules.wait.0);
    if args.rest.is_empty() {
        return scene.settle(None, None);
    }
    // The watchdog must not speak before a command that outlasts its time has been ended.
    world.deadline.extend(stop_command::ENDING);
    let signals = Interrupt::watch()?;
    let mut baseline = drain.take_baseline()?;
    let output = stop_command::run(&args.rest, time_limit, &signals, &mut || drain.follow(&mut baseline))?;
    let mut report = scene.settle(Some(&baseline), Some(&signals))?;
    if args.common.verbose > 0 {
        report.details.extend(output.iter().map(|line| format!("stop command: {line}")));
    }
    report.extra.insert("command_output".into(), json!(output));
    Ok(report)
}

/// The last look, and how long after the stop it was.
struct Settled {
    view: Leftovers,
    after: Span,
    /// What the service is doing, where that says that nothing is to be asserted yet.
    excuse: Option<String>,
    /// What is there beside what is judged, where that is known.
    beside: Option<String>,
    /// Beside the service that runs again.
    old_workers: Vec<Listener>,
    effort: Effort,
}

impl Settled {
    fn new(view: Leftovers, after: Span) -> Settled {
        Settled { view, after, excuse: None, beside: None, old_workers: Vec::new(), effort: Effort::default() }
    }
}

struct Scene<'a> {
    args: &'a Args<Orphans>,
    target: &'a Target,
    rules: &'a Rules,
    drain: Drain<'a>,
}

impl Scene<'_> {
    fn settle(&self, baseline: Option<&Baseline>, signals: Option<&Interrupt>) -> Result<Report> {
        let (view, after, effort) = settle::settle(&self.drain, baseline, self.rules.wait, signals)?;
        Ok(self.judge(&Settled { effort, ..Settled::new(view, after) }, baseline))
    }

    fn save_baseline(&self, path: &Path) -> Result<Report> {
        let baseline = self.drain.take_baseline()?;
        baseline.save(path, &self.target.service, netns::identity(self.drain.world)?)?;
        let mut view = self.drain.look(None)?;
        view.left.clear();
        let count = baseline.count();
        let excuse = Some(format!("baseline of {count} sockets saved to {}", path.display()));
        Ok(self.judge(&Settled { excuse, ..Settled::new(view, Span::seconds(0)) }, None))
    }

    fn judge(&self, settled: &Settled, baseline: Option<&Baseline>) -> Report {
        let (rules, left) = (self.rules, &settled.view.left);
        let mut verdict = Verdict::default();
        if settled.excuse.is_none() {
            verdict.judge(&rules.count, left.len() as f64, || {
                format!("{} after {}", leftover::counted(left), settled.after)
            });
        }
        let before = baseline.map(|baseline| &baseline.listeners[..]).unwrap_or_default();
        if settled.view.is_gone(before) {
            verdict.reasons.push("nothing listens after the reload (critical)".to_owned());
            verdict.state = ServiceState::Critical;
        }
        let verbose = self.args.common.verbose;
        let holders = if verbose > 1 { Holders::All } else { Holders::First };
        let owners = drain::owners(self.drain.world, left, holders);
        let is_told = !before.is_empty();
        let listening = if is_told { before.to_vec() } else { leftover::listeners(left, &owners) };
        let managers = managers::of(&listening, self.drain.world);
        // The regular check knows that the service doesn't run: who listens may be its heir.
        let listeners = if self.args.own.is_regular() { settled.old_workers.clone() } else { listening };
        let is_reload = self.args.own.reload || !settled.old_workers.is_empty();
        let before = Before { listeners, managers, is_reload };
        let suspect = |left: &Left| Suspect::new(&left.socket, None);
        let held: Vec<_> = left.iter().filter(|left| left.class() != Class::Kernel).map(suspect).collect();
        let grouping = Grouping::new(self.target);
        let blame = Blame::new(&held, &owners, grouping);
        let is_ok = verdict.state == ServiceState::Ok;
        let mut report = Report::new("orphans_after_stop", self.target.service.clone(), &settled.view.seen, verdict);
        report.headline = self.headline(settled, &before, is_ok, leftover::headline(left, &owners, &before));
        if baseline.is_some_and(|baseline| baseline.count() == 0) {
            let what = if self.target.selection.has_tcp() { "port" } else { "path" };
            report.headline += &format!(", nothing was there before: is it the right {what}?");
        }
        if settled.excuse.is_none() {
            report.missing.extend(leftover::files::silent(
                &self.target.selection,
                &settled.view.served,
                self.drain.world,
            ));
            if baseline.is_none() && left.is_empty() {
                let (selection, served) = (&self.target.selection, &settled.view.served);
                report.missing.extend(leftover::files::absent(selection, served, self.drain.world));
            }
        }
        let is_server = self.target.selection.has_tcp() && self.target.selection.side != Side::Client;
        let lacking = settled.view.seen.lacks_bound().filter(|_| is_server && settled.excuse.is_none());
        report.missing.extend(lacking.map(str::to_owned));
        let strays = self.target.strays(self.drain.world);
        // Where nothing was seen before the stop they may be what it left.
        let is_asked = self.target.selection.asks_unix();
        let are_doubt = is_asked && baseline.is_none() && !self.args.own.is_regular() && settled.excuse.is_none();
        let strayed = (strays > 0).then(|| words::strayed(strays));
        report.missing.extend(strayed.clone().filter(|_| !are_doubt));
        report.metrics = settled.view.metrics(settled.after, rules.count);
        blame.add_to(&mut report);
        let remaining = left.iter().take(grouping.top).map(|left| leftover::json(left, &owners, &before));
        report.extra.insert("remaining".into(), remaining.collect());
        let ending = settled.view.ending.iter().take(grouping.top);
        let ending = ending.map(|left| leftover::json(left, &owners, &before)).collect();
        report.extra.insert("ending".into(), ending);
        report.lacks_owners(blame.unowned, blame.shortfall(&owners));
        if settled.excuse.is_none() {
            let (count, unsure) = (left.len() as f64, settled.view.unsure);
            let strayed = strayed.filter(|_| are_doubt);
            let more = unsure + strayed.as_ref().map_or(0, |_| strays);
            let at_worst = rules.count.at_worst(count, count + more as f64);
            let matters = at_worst > report.state || verbose > 0;
            let remedy =
                |said: String| if matters { said + &strays::remedy(self.target, self.drain.world) } else { said };
            report.doubt(at_worst, doubt::whose(unsure, "").into_iter().chain(strayed.map(remedy)).collect());
        }
        let is_there = !left.is_empty()
            || !settled.view.ending.is_empty()
            || settled.view.time_wait > 0
            || settled.view.new > 0
            || settled.excuse.is_some();
        self.target.add_to(self.drain.world, is_there, &mut report);
        report.details = blame.details(&held, &owners, verbose.min(1));
        sockets::add_to(&mut report, &left.iter().map(suspect).collect::<Vec<_>>(), &owners, &self.target.request);
        if verbose > 1 {
            report.details.extend(leftover::lines(left, &owners, &before, grouping.top));
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
        report
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
