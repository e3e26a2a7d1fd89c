//! Are connections accumulating toward a limit, since when, and when does it run out?

use connleak::base::error::{Error, Result};
use connleak::growth::measure::Measure;
use connleak::growth::observe::{Observation, Plan};
use connleak::growth::pool::Connection;
use connleak::growth::process_usage::ProcessUsage;
use connleak::history::first_sights::FirstSights;
use connleak::history::state_dir;
use connleak::history::{History, Updated};
use connleak::kernel::owner::Holders;
use connleak::kernel::source::Origin;
use connleak::kernel::world::World;
use connleak::options::args::{Args, Speed};
use connleak::options::growth::Growth;
use connleak::owners::blame::{Blame, Grouping, Suspect};
use connleak::owners::recorded::{self, By};
use connleak::owners::sockets;
use connleak::owners::usual_close_wait;
use connleak::report::words;
use connleak::report::{Report, doubt};
use connleak::service::listener::{self, Seen};
use connleak::service::target::{self, Target};

fn main() {
    connleak::program::run::main(check)
}

fn check(args: &Args<Growth>, world: &World) -> Result<Report> {
    let (common, own) = (&args.common, &args.own);
    if world.replay.is_some() {
        return Err(Error::Usage("--replay shows one moment, growth needs many: see 'connleak backtest'".into()));
    }
    let measure = own.metric.unwrap_or_default();
    let mut target = match measure {
        Measure::Connections => target::resolve_any(common.request(), world)?,
        Measure::Descriptors | Measure::Memory => target::name_any(common.request(), world)?,
    };
    let limit = measure.limit(own.limit, target.profile.limit)?;
    let baseline = own.usual_warning.is_some();
    let speed = own.rehearse.map_or(1, |Speed(factor)| factor);
    let own_dir = own.state_dir.as_deref();
    let sights = match measure {
        Measure::Connections if speed == 1 => target.first_sights(own_dir, world)?,
        _ => FirstSights::default(),
    };
    let mut plan = Plan { measure, limit, baseline, speed, sights: sights.into(), ..Plan::new(&target) };
    plan.check(world)?;
    listener::check_options(&target, world)?;
    let dir = state_dir::open(own.state_dir.as_deref())?;
    let mut unread = None;
    // Of descriptors it is told whose count by who listens.
    if measure == Measure::Connections {
        let beside = recorded::key(By::Closewait, &target, world).and_then(|key| recorded::read(&key, own_dir));
        unread = beside.map(|known| plan.recorded = known).err();
    }
    let mut opened = History::open(&dir, world.deadline.left() / 2)?;
    let holders = if common.verbose > 1 { Holders::All } else { Holders::First };
    let Updated { value: mut seen, aside, unsaved } = plan.see(&mut opened.history, holders, world)?;
    if let (Some(ghosts), Some(why)) = (&mut seen.ghosts, &unread) {
        ghosts.are_not_remembered(why);
    }
    let is_learned = measure == Measure::Connections && speed == 1;
    let unlearned = if is_learned { learn(&seen, args, plan, world) } else { Vec::new() };
    let is_connected = seen.found.amount > 0;
    let mut report = present(seen, args, &target, world);
    let seen = if is_connected { Seen::Connections } else { Seen::Nobody };
    listener::add_absence(&mut report, &target, world, seen);
    for aside in opened.aside.iter().chain(&aside) {
        let path = aside.path.display();
        report.missing.push(format!("history begun anew, the old one is kept as {path} ({})", aside.why));
    }
    report.missing.extend(unlearned);
    if let Some(why) = unsaved {
        report.is_incomplete(format!("not remembered: {why}"));
    }
    Ok(report)
}

/// What a pooler may have with the servers behind it: of how many users and databases the kernel doesn't tell.
fn behind_pooler(pool: u64, target: &Target) -> String {
    let from = format!(
        "{pool} connections with the servers behind it of each user and database, by profile {}",
        target.profile.service
    );
    match target.profile.limit {
        Some(_) => format!("{from}: in session mode as many clients are served at a time"),
        None => format!("{from}; --side client --limit N judges it by those of all"),
    }
}

/// Whom others that look for ghosts may know, since when UNIX sockets are closed and, from a look that lacks nothing, what
/// check_closewait may spare. Returns why it can't be remembered.
fn learn(seen: &Observation, args: &Args<Growth>, plan: Plan, world: &World) -> Vec<String> {
    let (target, state_dir, mut sights) = (plan.target, args.own.state_dir.as_deref(), plan.sights.into_inner());
    let recorded = recorded::record(&seen.known, state_dir, target, world).err();
    let mut unlearned = Vec::from_iter(recorded.map(|why| format!("the service's processes not remembered: {why}")));
    // The kernel's list loses rows while others come and go.
    let is_whole = seen.view.missing.is_none() && sights.is_settled(world);
    if is_whole {
        let suspect = |one: &Connection| {
            let socket = sights.see(&one.socket, one.side);
            let suspect = Suspect::new(&socket, socket.close_wait_age().map(|age| age.at_least));
            usual_close_wait::may_be_usual(&suspect, one.side).then_some(suspect)
        };
        let closed: Vec<Suspect> = seen.connections.iter().filter_map(suspect).collect();
        let learned = usual_close_wait::learn(state_dir, target, (&closed, seen.found.leak().is_some()), world);
        unlearned.extend(learned.err().map(|why| format!("CLOSE_WAIT not remembered: {why}")));
    }
    unlearned.extend(sights.keep(&target.selection.unix_known.borrow(), is_whole));
    unlearned
}

fn present(seen: Observation, args: &Args<Growth>, target: &Target, world: &World) -> Report {
    let Observation { found, view, connections, suspects, owners, processes, ghosts, unread, unsure, lacking, .. } =
        seen;
    let (rules, verbose) = (args.own.rules(&args.common, &target.profile), args.common.verbose);
    let silences: Vec<f64> = suspects.iter().filter_map(Connection::silence).collect();
    let age = |connection: &Connection| connection.silence().map(|seconds| (seconds * 1000.0) as u32);
    let suspects: Vec<Suspect> = suspects.iter().map(|one| Suspect::new(&one.socket, age(one))).collect();
    let grouping = Grouping::new(target);
    let blame = Blame::new(&suspects, &owners, grouping);
    let (verdict, at_worst) = (found.judge(&rules), found.at_worst(&rules, unsure));
    let mut headline = found.headline(&rules, &verdict.reasons, Some(&blame));
    if let Some(ghosts) = ghosts.as_ref().filter(|ghosts| ghosts.count > 0) {
        headline.push_str(&format!(", {ghosts} among them"));
    }
    let over_unix = connections.iter().filter(|connection| connection.socket.is_unix()).count() as u64;
    if let Some(over_unix) = words::over_unix(over_unix, target.selection.has_tcp()) {
        headline.push_str(&format!(", {over_unix}"));
    }
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
        report.missing.push("no idle times without sock_diag: leaks are found later or not".into());
    }
    report.doubt(at_worst, doubt::whose(unsure, "").into_iter().collect());
    if let Some(ghosts) = &ghosts {
        ghosts.add_to(&mut report, |more| found.at_worst(&rules, unsure + more));
        let is_shown = verbose > 0 && ghosts.count > 0;
        report.details.extend(is_shown.then(|| format!("ghosts: {}", ghosts.looked_at(world))));
    }
    lacking.into_iter().for_each(|lacking| report.is_incomplete(lacking));
    if found.learned.sampled < 1.0 {
        report.missing.push(format!("a sample of {:.0}% is followed", found.learned.sampled * 100.0));
    }
    report.missing.extend(unread);
    if verbose > 0 {
        report.details.extend(found.evidence(&silences));
        report.details.extend(found.offered());
        report.details.extend(target.profile.pool.map(|pool| behind_pooler(pool, target)));
    }
    report.details.extend(blame.details(&suspects, &owners, verbose));
    sockets::add_to(&mut report, &suspects, &owners, &target.request);
    if verbose > 1 {
        report.details.extend(found.by_group().take(grouping.top));
    }
    report
}
