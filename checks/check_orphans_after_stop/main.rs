//! Is nothing left N seconds after a service was stopped?

mod drain;
mod judge;
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
use connleak::kernel::world::World;
use connleak::options::args::{Args, Command};
use connleak::report::Report;
use connleak::service::baseline::{Baseline, Listener};
use connleak::service::target::{self, Target};
use drain::{Drain, Leftovers};
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
}
