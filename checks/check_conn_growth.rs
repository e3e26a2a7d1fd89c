//! Are connections accumulating toward a limit, since when, and when does it run out?

use argh::{ArgsInfo, FromArgs};
use connleak::base::duration::Span;
use connleak::base::error::{Error, Result};
use connleak::growth::observe::{Observation, Plan};
use connleak::growth::outcome::{Measure, Rules};
use connleak::growth::pool::Connection;
use connleak::growth::process_usage::ProcessUsage;
use connleak::history::state_dir;
use connleak::history::{History, Updated};
use connleak::kernel::owner::Holders;
use connleak::kernel::source::Origin;
use connleak::kernel::world::World;
use connleak::options::args::{Args, Command, Common, LimitChoice, Percent, Pids, Speed};
use connleak::owners::blame::{Blame, Grouping, Suspect};
use connleak::owners::sockets;
use connleak::report::Report;
use connleak::service::listener;
use connleak::service::profile::Profile;
use connleak::service::target::{self, Target};
use std::path::PathBuf;

/// tell a connection leak from load, early, and say when it runs out
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(note = "Each run adds one look at the service's sockets to a history, and judges whether sockets pile up that \
    fell silent and never come back while new ones are opened. A confirmed leak is at least WARNING.")]
#[argh(note = "The main number (-w, -c) is the connections in percent of the limit; no range is set by default, as a \
    full pool of fixed size is healthy.")]
struct Growth {
    /// only the sockets that these processes hold. Like --unit and --user it needs no port
    #[argh(option, arg_name = "N[,N...]")]
    pid: Vec<Pids>,

    /// what may leak: connections, fds (open descriptors) or rss (resident memory) of the processes
    /// of --pid, --unit, --user or the port; default connections
    #[argh(option, arg_name = "METRIC")]
    metric: Option<Measure>,

    /// connections, descriptors or bytes (512M, 2G) that there can be, or auto: what runs out first
    /// of the profile's limit, the open files of its processes, the ephemeral ports and the cgroup's
    /// memory; default auto
    #[argh(option, arg_name = "N|auto")]
    limit: Option<LimitChoice>,

    /// warn when a leak leaves less time than this until the limit; default from the profile
    #[argh(option, arg_name = "DURATION")]
    left_warning: Option<Span>,

    /// be critical when a leak leaves less time than this until the limit; default from the profile
    #[argh(option, arg_name = "DURATION")]
    left_critical: Option<Span>,

    /// warn when there are this many percent more than usual at this hour, once three days are known
    #[argh(option, arg_name = "PERCENT")]
    baseline_warning: Option<Percent>,

    /// where the history is kept; default see the man page
    #[argh(option, arg_name = "DIR")]
    state_dir: Option<PathBuf>,

    /// for rehearsals: judge as if time ran this many times as fast, on a history of its own
    #[argh(option, arg_name = "FACTOR")]
    rehearse: Option<Speed>,
}

impl Command for Growth {
    const PROGRAM: &'static str = "check_conn_growth";
}

fn main() {
    connleak::program::run::main(check)
}

fn check(args: &Args<Growth>, world: &World) -> Result<Report> {
    let (common, own) = (&args.common, &args.own);
    if world.replay.is_some() {
        return Err(Error::Usage("--replay shows one moment, growth needs many: see 'connleak backtest'".into()));
    }
    let measure = own.metric.unwrap_or_default();
    let target = match measure {
        Measure::Connections => target::resolve_any(common, &own.pid, world)?,
        Measure::Descriptors | Measure::Memory => target::name_any(common, &own.pid, world)?,
    };
    let limit = measure.limit(own.limit, target.profile.limit)?;
    let baseline = own.baseline_warning.is_some();
    let speed = own.rehearse.map_or(1, |Speed(factor)| factor);
    let plan = Plan { common, pids: &own.pid, target: &target, measure, limit, baseline, speed };
    plan.check(world)?;
    listener::check_options(common, &target, world)?;
    let dir = state_dir::open(own.state_dir.as_deref())?;
    let mut opened = History::open(&dir, world.deadline.left() / 2)?;
    let holders = if common.verbose > 1 { Holders::All } else { Holders::First };
    let Updated { value: seen, aside, unsaved } = plan.see(&mut opened.history, holders, world)?;
    let is_connected = seen.found.amount > 0;
    let mut report = present(seen, args, &target);
    listener::add_absence(&mut report, common, &target, world, is_connected);
    for aside in opened.aside.iter().chain(&aside) {
        let path = aside.path.display();
        report.missing.push(format!("history begun anew, the old one is kept as {path} ({})", aside.why));
    }
    if let Some(why) = unsaved {
        report.is_incomplete(format!("not remembered: {why}"));
    }
    Ok(report)
}

impl Growth {
    fn rules(&self, common: &Common, profile: &Profile) -> Rules {
        Rules {
            used: common.limits(),
            left_warning: self.left_warning.or(profile.growth.warning),
            left_critical: self.left_critical.or(profile.growth.critical),
            baseline_warning: self.baseline_warning.map(|Percent(percent)| percent),
        }
    }
}

fn present(seen: Observation, args: &Args<Growth>, target: &Target) -> Report {
    let Observation { found, view, suspects, owners, processes, unread, lacking, .. } = seen;
    let (rules, verbose) = (args.own.rules(&args.common, &target.profile), args.common.verbose);
    let silences: Vec<f64> = suspects.iter().filter_map(Connection::silence).collect();
    let age = |connection: &Connection| connection.silence().map(|seconds| (seconds * 1000.0) as u32);
    let suspects: Vec<Suspect> = suspects.iter().map(|one| Suspect::new(&one.socket, age(one))).collect();
    let grouping = Grouping::new(&args.common, &target.profile);
    let blame = Blame::new(&suspects, &owners, grouping);
    let verdict = found.judge(&rules);
    let headline = format!("{} {}", target.service, found.headline(&rules, &verdict.reasons, Some(&blame)));
    let mut report = Report::new("conn_growth", target.service.clone(), &view, verdict);
    report.headline = headline;
    report.metrics = found.metrics(&rules);
    blame.add_to(&mut report);
    report.extra.extend(found.extra());
    report.extra.insert("processes".into(), processes.iter().map(ProcessUsage::json).collect());
    if !suspects.is_empty() {
        report.lacks_owners(blame.unowned, blame.shortfall(&owners));
    }
    if view.origin == Origin::Proc && found.measure == Measure::Connections {
        report.missing.push("silences unknown without sock_diag: sees less and later".into());
    }
    lacking.into_iter().for_each(|lacking| report.is_incomplete(lacking));
    if found.learned.sampled < 1.0 {
        report.missing.push(format!("a sample of {:.0}% is followed", found.learned.sampled * 100.0));
    }
    report.missing.extend(unread);
    if verbose > 0 {
        report.details.extend(found.evidence(&silences));
    }
    report.details.extend(blame.details(&suspects, &owners, verbose));
    sockets::add_to(&mut report, &suspects, &owners, &args.common);
    if verbose > 1 {
        report.details.extend(found.by_group().take(grouping.top));
    }
    report
}
