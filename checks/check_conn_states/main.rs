//! Is the mix of a service's TCP states healthy: churn, queues, stuck closings, ephemeral ports?

mod gather;
mod state_counts;
mod state_limits;

use argh::{ArgsInfo, FromArgs};
use connleak::base::duration::Span;
use connleak::base::error::{Error, Result};
use connleak::base::word;
use connleak::growth::measure::Measure;
use connleak::growth::observe::Plan;
use connleak::history::state_dir;
use connleak::kernel::socket::Side;
use connleak::kernel::world::World;
use connleak::options::args::{Args, Command};
use connleak::owners::blame::Blame;
use connleak::owners::holding::{self, Holding};
use connleak::report::doubt;
use connleak::report::range::Range;
use connleak::report::verdict::{Limits, ServiceState, Verdict};
use connleak::report::words;
use connleak::report::{GENERIC, Report};
use connleak::service::listener::{self, Seen};
use connleak::service::profile::{self, States};
use connleak::service::target::{self, Target};
use gather::gather;
use state_counts::found::Found;
use state_counts::judge::{self, Doubt, Finding, Rules, Whose};
use state_counts::usual::{self, Unusual};
use state_limits::StateLimits;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

/// judge the mix of a service's TCP states, its accept queues and the ephemeral ports it uses
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    note = "The main number is how many sockets the service has in all states but LISTEN; no range is set by default."
)]
struct ConnStates {
    /// ranges for the count of a state, either may be empty; a range that has a colon itself:
    /// STATE,WARN,CRIT. What is empty or not given is the profile's
    #[argh(option, arg_name = "STATE:WARN:CRIT")]
    state: Vec<StateLimits>,

    /// warning range for TIME_WAIT in percent of ESTABLISHED; default from the profile
    #[argh(option, arg_name = "RANGE")]
    ratio_warning: Option<Range>,

    /// critical range for TIME_WAIT in percent of ESTABLISHED; default from the profile
    #[argh(option, arg_name = "RANGE")]
    ratio_critical: Option<Range>,

    /// judge that percentage only from this many TIME_WAIT on; default from the profile, else 1000
    #[argh(option, arg_name = "N")]
    ratio_min_count: Option<u64>,

    /// warning range for half-open connections (SYN_RECV) in percent of the listener's backlog; default
    /// from the profile
    #[argh(option, arg_name = "RANGE")]
    half_open_warning: Option<Range>,

    /// critical range for half-open connections (SYN_RECV) in percent of the listener's backlog; default
    /// from the profile
    #[argh(option, arg_name = "RANGE")]
    half_open_critical: Option<Range>,

    /// warning range for connections waiting to be accepted, in percent of the backlog; default from
    /// the profile
    #[argh(option, arg_name = "RANGE")]
    queue_warning: Option<Range>,

    /// critical range for connections waiting to be accepted, in percent of the backlog; default from
    /// the profile
    #[argh(option, arg_name = "RANGE")]
    queue_critical: Option<Range>,

    /// closing sockets are stuck once their peer has not answered for this long; default from the
    /// profile, else 60s
    #[argh(option, arg_name = "DURATION")]
    stuck_age: Option<Span>,

    /// warning range for stuck sockets: FIN_WAIT1, FIN_WAIT2, CLOSING, LAST_ACK for --stuck-age; default
    /// from the profile
    #[argh(option, arg_name = "RANGE")]
    stuck_warning: Option<Range>,

    /// critical range for stuck sockets; default from the profile
    #[argh(option, arg_name = "RANGE")]
    stuck_critical: Option<Range>,

    /// warning range for ephemeral ports used from one address to one server, in percent of all;
    /// default from the profile
    #[argh(option, arg_name = "RANGE")]
    ports_warning: Option<Range>,

    /// critical range for ephemeral ports used from one address to one server, in percent of all;
    /// default from the profile
    #[argh(option, arg_name = "RANGE")]
    ports_critical: Option<Range>,

    /// auto: compare with the usual numbers of this hour where check_conn_growth's history has them;
    /// default none
    #[argh(option, arg_name = "auto|none")]
    usual: Option<Compare>,

    /// warning range for how many percent more than usual a state counts; default 200
    #[argh(option, arg_name = "RANGE")]
    usual_warning: Option<Range>,

    /// critical range for how many percent more than usual a state counts; default none
    #[argh(option, arg_name = "RANGE")]
    usual_critical: Option<Range>,

    /// where check_conn_growth keeps its history; default /var/lib/connleak, see its man page
    #[argh(option, arg_name = "DIR")]
    state_dir: Option<PathBuf>,
}

/// `--usual`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Compare {
    Auto,
    None,
}

impl FromStr for Compare {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        word::choose("choice", text, &[("auto", Compare::Auto), ("none", Compare::None)])
    }
}

impl Command for ConnStates {
    const PROGRAM: &'static str = "check_conn_states";
    const ALSO: &'static [(&'static str, &'static str)] =
        &[("share-", "ratio-"), ("min-age", "stuck-age"), ("baseline", "usual")];
}

fn main() {
    connleak::program::run::main(check)
}

fn check(args: &Args<ConnStates>, world: &World) -> Result<Report> {
    let common = &args.common;
    if args.own.usual == Some(Compare::Auto) && world.replay.is_some() {
        return Err(Error::Usage("--usual is of this host and hour: it can't be used with --replay".into()));
    }
    let target = target::resolve(common.request(), world)?.of_choice(world)?;
    listener::check_options(&target, world)?;
    let rules = rules(args, target.profile.states.clone().or(&profile::named(GENERIC, &world.thresholds)?.states));
    // Whose they are matters only where something is wrong, or where it is asked.
    let keeps = args.own.usual == Some(Compare::Auto) || common.wants_owners(false).is_some();
    let mut found = gather(&target, &rules, keeps, world)?;
    let gathered = world.deadline.elapsed();
    let usual = compare(args, &target, &found, world);
    let unusual = usual.as_ref().map_or(&[][..], |unusual| unusual.as_deref().unwrap_or_default());
    let range_known = found.no_range.is_none();
    let findings = rules.judge(&found.mix, unusual, range_known, Doubt::Known);
    let wanted = common.wants_owners(!findings.is_empty());
    let mut unnamed = None;
    if wanted.is_some() && !keeps {
        match gather(&target, &rules, true, world) {
            Ok(again) => found.sockets = again.sockets,
            // The finding stands.
            Err(error) => unnamed = Some(format!("owners are not told: {error}")),
        }
    }
    let mut suspects = wanted.map(|_| found.of(findings.first(), &rules)).unwrap_or_default();
    let holding = Holding::find(world, &target, &mut suspects, wanted);
    let mut report = present(&target, &rules, &found, &findings, &holding.blame);
    holding.add_to(&mut report, &suspects, &target, common.verbose);
    report.missing.extend(unnamed);
    report.details.extend(found.mix.stuck_by_state().filter(|_| common.verbose > 0));
    match usual {
        Ok(Some(unusual)) => drop(report.extra.insert("unusual".into(), unusual.iter().map(Unusual::json).collect())),
        Ok(None) if args.own.usual == Some(Compare::Auto) => {
            report.missing.push("no history yet of this service at this hour: not compared with the usual".into());
        }
        Ok(None) => {}
        Err(error) => report.is_incomplete(format!("not compared with the usual: {error}")),
    }
    let seen = match found.mix.own_by_port {
        0 if found.mix.sockets(Side::Both) + found.unsure > 0 => Seen::Connections,
        0 => Seen::Nobody,
        _ => Seen::OwnEnds,
    };
    listener::add_absence(&mut report, &target, world, seen);
    if common.verbose > 2 {
        report.details.extend(holding::stages(&found.seen, gathered, &holding.owners, world));
    }
    Ok(report)
}

/// The thresholds in force; `profile` with what it lacks of the kernel's own quantities.
fn rules(args: &Args<ConnStates>, profile: States) -> Rules {
    let own = &args.own;
    let limits = |warning, critical| Limits { warning, critical };
    let mut by_state = profile.by_state;
    for StateLimits { state, limits } in &own.state {
        match by_state.iter_mut().find(|(known, _)| known == state) {
            Some((_, known)) => *known = limits.or(*known),
            None => by_state.push((*state, *limits)),
        }
    }
    Rules {
        sockets: args.common.limits(),
        by_state,
        ratio: limits(own.ratio_warning, own.ratio_critical).or(profile.ratio.limits()),
        ratio_min_count: own.ratio_min_count.or(profile.ratio.min_count).unwrap_or(1000),
        half_open: limits(own.half_open_warning, own.half_open_critical).or(profile.half_open),
        accept_queue: limits(own.queue_warning, own.queue_critical).or(profile.accept_queue),
        min_age: own.stuck_age.or(profile.stuck.min_age).unwrap_or(Span::seconds(60)),
        stuck: limits(own.stuck_warning, own.stuck_critical).or(profile.stuck.limits()),
        ports: limits(own.ports_warning, own.ports_critical).or(profile.ephemeral_ports),
        usual: limits(own.usual_warning.or(Some(Range::up_to(200.0))), own.usual_critical),
    }
}

/// States with more sockets than usual at this hour; `None`: not asked for, or nothing is usual yet.
fn compare(args: &Args<ConnStates>, target: &Target, found: &Found, world: &World) -> Result<Option<Vec<Unusual>>> {
    if args.own.usual != Some(Compare::Auto) {
        return Ok(None);
    }
    let Some(dir) = state_dir::existing(args.own.state_dir.as_deref())? else { return Ok(None) };
    let measure = Measure::Connections;
    let series = Plan { measure, limit: None, baseline: true, ..Plan::new(target) }.key(world)?;
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    let usual = usual::read(&dir, &series, wall, world.deadline.left() / 2)?;
    Ok(usual.map(|usual| usual::unusual(&found.mix, usual::both_ends(&found.sockets), &usual)))
}

fn present(target: &Target, rules: &Rules, found: &Found, findings: &[Finding], blame: &Blame) -> Report {
    let range_known = found.no_range.is_none();
    let state = findings.first().map_or(ServiceState::Ok, |worst| worst.state);
    let reasons = findings.iter().map(|finding| finding.reason.clone()).collect();
    let mut report = Report::new("conn_states", target.service.clone(), &found.seen, Verdict { state, reasons });
    report.headline = headline(target, found, findings, blame);
    report.metrics = rules.metrics(&found.mix, range_known);
    report.put_min_age(rules.min_age);
    report.extra.extend(found.extra());
    let at_worst = rules.judge(&found.with_unsure, &[], range_known, Doubt::Worst);
    let mut unknown = Vec::new();
    unknown.extend(doubt::whose(found.unsure, ""));
    if found.mix.maybe_stuck > 0 {
        unknown.push(format!("{} closing for an unknown time", found.mix.maybe_stuck));
    }
    let fullest = [found.mix.accept_queue(Doubt::Worst), found.mix.half_open(Doubt::Worst)];
    if fullest.iter().flatten().any(|queue| queue.percent().is_none()) {
        unknown.push("backlogs unknown".to_owned());
    }
    report.doubt(at_worst.first().map_or(ServiceState::Ok, |worst| worst.state.max(state)), unknown);
    // By itself: where these can't be the problem they are no cause of a doubt, either.
    if let (Some(why), Some((room, ..))) = (&found.no_range, judge::ports(&found.with_unsure)) {
        let at_worst = rules.ports.judge(judge::ports_percent(&room));
        if at_worst != ServiceState::Ok || found.mix.busiest_ports().is_some() {
            report.doubt(at_worst.max(state), vec![format!("ephemeral ports not judged: {why}")]);
        }
    }
    report
}

/// What is worst and whose it is come first.
fn headline(target: &Target, found: &Found, findings: &[Finding], blame: &Blame) -> String {
    let mut reasons = findings.iter().map(|finding| finding.reason.clone());
    let mut parts: Vec<String> = reasons.next().into_iter().collect();
    if let Some(worst) = findings.first() {
        let is_queue = matches!(worst.whose, Whose::Accept(_) | Whose::HalfOpen(_));
        if let (Whose::Stuck, Some((age, oldest))) = (worst.whose, found.mix.oldest_closing) {
            parts.push(format!("oldest {} in {oldest}", Span::millis(u64::from(age))));
        }
        // That these are not accepted yet is what the finding says.
        parts.extend(blame.headline().into_iter().filter(|part| !is_queue || part != "all not accepted yet"));
    }
    parts.extend(reasons);
    parts.push(found.counted(target.selection.side, findings));
    parts.extend(words::over_unix(found.mix.over_unix, target.selection.has_tcp()));
    parts.extend(judge::oddity(&found.mix));
    parts.join(", ")
}
