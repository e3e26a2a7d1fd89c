//! Are connections accumulating toward a limit, since when, and when does it run out?

use argh::{ArgsInfo, FromArgs};
use connleak::args::{Args, Command, Pids};
use connleak::blame::{Blame, Grouping, Suspect};
use connleak::duration::Span;
use connleak::error::{Error, Result};
use connleak::growth::Rules;
use connleak::history::{History, Updated};
use connleak::owner::Holders;
use connleak::pool::Connection;
use connleak::report::Report;
use connleak::service::{self, Target};
use connleak::sighting::{Plan, Seen};
use connleak::source::Origin;
use connleak::state_dir;
use connleak::world::World;
use std::path::PathBuf;

/// tell a connection leak from load, early, and say when it runs out
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(note = "Each run adds one look at the service's sockets to a history, and judges whether sockets pile up that \
    fell silent and never come back while new ones are opened. A confirmed leak is at least WARNING.")]
#[argh(note = "The main number (-w, -c) is the connections in percent of the limit; no range is set by default, as a \
    full pool of fixed size is healthy.")]
struct Growth {
    /// only the sockets that these processes hold; may be repeated. Like --unit and --user it needs
    /// no port
    #[argh(option, arg_name = "N[,N...]")]
    pid: Vec<Pids>,

    /// connections that the service can hold, or auto: what runs out first of the profile's limit,
    /// the open files of its processes and the ephemeral ports; default auto
    #[argh(option, arg_name = "N|auto")]
    limit: Option<LimitChoice>,

    /// warn when a leak leaves less time than this until the limit; default from the profile
    #[argh(option, arg_name = "DURATION")]
    left_warning: Option<Span>,

    /// be critical when a leak leaves less time than this until the limit; default from the profile
    #[argh(option, arg_name = "DURATION")]
    left_critical: Option<Span>,

    /// where the history is kept; default see the man page
    #[argh(option, arg_name = "DIR")]
    state_dir: Option<PathBuf>,

    /// for rehearsals: judge as if time ran this many times as fast, on a history of its own
    #[argh(option, arg_name = "FACTOR")]
    rehearse: Option<Speed>,
}

/// `--limit`.
#[derive(Clone, Copy, Debug)]
enum LimitChoice {
    Auto,
    Number(u32),
}

impl std::str::FromStr for LimitChoice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match (text, text.parse()) {
            ("auto", _) => Ok(LimitChoice::Auto),
            (_, Ok(number @ 1..)) => Ok(LimitChoice::Number(number)),
            _ => Err(format!("bad limit '{text}': write a number of connections or auto")),
        }
    }
}

impl Command for Growth {
    const PROGRAM: &'static str = "check_conn_growth";
}

/// `--rehearse`.
#[derive(Clone, Copy, Debug)]
struct Speed(u32);

impl std::str::FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.parse() {
            Ok(factor @ 1..=3600) => Ok(Speed(factor)),
            _ => Err(format!("bad factor '{text}': use 1 to 3600")),
        }
    }
}

fn main() {
    connleak::run::main(check)
}

fn check(args: &Args<Growth>, world: &World) -> Result<Report> {
    if world.replay.is_some() {
        return Err(Error::Usage("--replay shows one moment, growth needs many: see 'connleak backtest'".into()));
    }
    let (common, own) = (&args.common, &args.own);
    let target = service::resolve_any(common, &own.pid, world)?;
    let limit = match own.limit {
        Some(LimitChoice::Number(limit)) => Some(u64::from(limit)),
        _ => target.profile.limit,
    };
    let speed = own.rehearse.map_or(1, |Speed(factor)| factor);
    let dir = state_dir::open(own.state_dir.as_deref())?;
    let mut opened = History::open(&dir, world.deadline.left() / 2)?;
    let plan = Plan { common, pids: &own.pid, target: &target, limit, speed };
    let holders = if common.verbose > 1 { Holders::All } else { Holders::First };
    let Updated { value: seen, aside, unsaved } = plan.see(&mut opened.history, holders, world)?;
    let mut report = present(seen, args, &target);
    for aside in opened.aside.iter().chain(&aside) {
        let path = aside.path.display();
        report.missing.push(format!("history begun anew, the old one is kept as {path} ({})", aside.why));
    }
    if let Some(why) = unsaved {
        report.is_incomplete(format!("not remembered: {why}"));
    }
    Ok(report)
}

fn present(seen: Seen, args: &Args<Growth>, target: &Target) -> Report {
    let (Seen { found, suspects, owners, unread }, verbose) = (seen, args.common.verbose);
    let growth = &target.profile.growth;
    let rules = Rules {
        used: args.common.limits(),
        left_warning: args.own.left_warning.or(growth.warning),
        left_critical: args.own.left_critical.or(growth.critical),
    };
    let silence = |connection: &Connection| connection.silence().map(|seconds| (seconds * 1000.0) as u32);
    let suspect = |connection: &Connection| Suspect::new(&connection.socket, silence(connection));
    let suspects: Vec<Suspect> = suspects.iter().map(suspect).collect();
    let grouping = Grouping::new(&args.common, &target.profile);
    let blame = Blame::new(&suspects, &owners, grouping);
    let verdict = found.judge(&rules);
    let headline = format!("{} {}", target.service, found.headline(&verdict.reasons, &blame));
    let mut report = Report::new("conn_growth", target.service.clone(), &found.pool.seen, verdict);
    report.headline = headline;
    report.metrics = found.metrics(&rules);
    report.owners = blame.owners.clone();
    report.extra = blame.extra();
    report.extra.extend(found.extra());
    if found.leak().is_some() {
        report.lacks_owners(blame.unowned, blame.shortfall(&owners));
    }
    if found.pool.seen.origin == Origin::Proc {
        report.missing.push("silences unknown without sock_diag: sees less and later".into());
    }
    if found.pool.unsure > 0 {
        report.is_incomplete(format!("{} more can't be told whose they are", found.pool.unsure));
    }
    if found.learned.sampled < 1.0 && !found.pool.connections.is_empty() {
        report.missing.push(format!("a sample of {:.0}% is followed", found.learned.sampled * 100.0));
    }
    target.absent.iter().for_each(|absent| report.is_incomplete(absent.clone()));
    report.missing.extend(unread);
    report.details = blame.details(&suspects, &owners, verbose);
    if verbose > 1 {
        let line = |(name, count): &(String, u64)| format!("group {name}: {count} connections");
        report.details.extend(found.by_group().iter().take(grouping.top).map(line));
    }
    report
}
