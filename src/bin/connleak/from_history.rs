//! When check_conn_growth would have paged, from what it recorded itself.
//!
//! A history keeps counts, not each socket: they are judged as the check judges numbers without
//! identity, which sees less and later than it did live.

use crate::backtest::Backtest;
use crate::screen;
use crate::subcommand::Entry;
use argh::{ArgsInfo, CommandInfoWithArgs, EarlyExit, FromArgs};
use connleak::base::deadline::Deadline;
use connleak::base::error::{Error, Result};
use connleak::base::local_time;
use connleak::growth::detector::{self, Verdict};
use connleak::growth::detector_state::{DetectorState, Learned, Moment};
use connleak::growth::observe::Plan;
use connleak::growth::outcome::Outcome;
use connleak::growth::pool::hashed;
use connleak::growth::process_usage::tempered;
use connleak::growth::rules::Rules;
use connleak::history::{History, Recorded, Tier};
use connleak::history::{series, state_dir};
use connleak::kernel::headroom::{Headroom, Resource};
use connleak::kernel::scope;
use connleak::kernel::socket::State;
use connleak::kernel::world::World;
use connleak::options::args::{self, Args, Asked, Command, Speed};
use connleak::options::growth::Growth;
use connleak::program::help;
use connleak::report::verdict::ServiceState;
use connleak::service::target::{self, Target};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::time::Duration;

/// Has the options of the check whose history it is.
#[derive(Debug)]
struct FromHistory(Growth);

impl FromArgs for FromHistory {
    fn from_args(command: &[&str], words: &[&str]) -> std::result::Result<FromHistory, EarlyExit> {
        Growth::from_args(command, words).map(FromHistory)
    }
}

impl ArgsInfo for FromHistory {
    fn get_args_info() -> CommandInfoWithArgs {
        CommandInfoWithArgs {
            description: "replay what check_conn_growth recorded: when would it have paged?",
            notes: &["The selection, --metric, --pid and --rehearse name the history: give those of the check."],
            ..Growth::get_args_info()
        }
    }
}

impl Command for FromHistory {
    const PROGRAM: &'static str = "connleak backtest";
    const USAGE: &'static str = "--from-history -p PORT|--unix PATH|-P PROFILE [OPTIONS]";
    // By counts alone no hour is compared with another.
    const WITHOUT: &'static [&'static str] = &["--usual-warning"];
}

/// What tells this command line from that of files.
const FROM_HISTORY: &str = "--from-history";

/// `connleak backtest`: on the own history, or on files, which have none of the checks' options.
pub fn or_files(mut words: Vec<OsString>) -> std::result::Result<(), String> {
    let given = words.len();
    words.retain(|word| word != FROM_HISTORY);
    if words.len() == given {
        return (Entry::of::<Backtest>("backtest").run)(words);
    }
    match args::parse::<FromHistory>(words).map_err(|refused| refused.why.to_string())? {
        Asked::Run(args) => screen::print(&story(&args).map_err(|why| why.to_string())?),
        Asked::Help => screen::print(&help::text::<FromHistory>()),
        Asked::Version => screen::print(&format!("connleak {}\n", env!("CARGO_PKG_VERSION"))),
    }
}

fn story(args: &Args<FromHistory>) -> Result<String> {
    let (common, FromHistory(own)) = (&args.common, &args.own);
    let mut world = World::here(Deadline::after(common.timeout.unwrap_or_default().after.0));
    world.source = common.source.unwrap_or_default();
    world.netns = common.netns.clone().unwrap_or_default();
    world.proc_root = common.proc_root.clone().unwrap_or(world.proc_root);
    let target = target::name_any(common.request(), &world)?;
    let measure = own.metric.unwrap_or_default();
    let limit = own.limit.map(|chosen| measure.limit(Some(chosen), None)).transpose()?.flatten();
    let speed = own.rehearse.map_or(1, |Speed(factor)| factor);
    let plan = Plan { measure, limit, speed, ..Plan::new(&target) };
    let name = plan.name(&world);
    let dir = state_dir::existing(own.state_dir.as_deref())?;
    let history = dir.map(|dir| History::open_existing(&dir, world.deadline.left() / 2)).transpose()?.flatten();
    let Some(history) = history else {
        let why = "check_conn_growth has recorded nothing there; run it as this user, or name its --state-dir";
        return Err(Error::Usage(format!("no history of '{name}': {why}")));
    };
    let recorded = history.services()?;
    let key = series::find(&recorded, &name, &scope::key(&world).unwrap_or_default()).unwrap_or_default();
    let samples = samples(&history, key)?;
    if samples.is_empty() {
        let known = recorded.join("', '");
        return Err(Error::Usage(format!("no history of '{name}'; known are '{known}': give the check's options")));
    }
    Ok(describe(&samples, &plan, &own.rules(common, &target.profile), &target))
}

/// Five minutes together as long as single runs are not kept.
fn samples(history: &History, name: &str) -> Result<Vec<Recorded>> {
    let day = Duration::from_secs(86_400);
    let runs = history.samples(name, 2 * day)?;
    let begin = runs.first().map_or(i64::MAX, |run| run.at);
    let older = history.condensed(name, Tier::FiveMinutes, 30 * day)?.into_iter();
    let older = older.filter(|row| row.at + Tier::FiveMinutes.width() <= begin).map(|row| row.as_run());
    Ok(older.chain(runs).collect())
}

/// A line whenever state or trend change, and how often it would have paged.
fn describe(samples: &[Recorded], plan: &Plan, rules: &Rules, target: &Target) -> String {
    let mut text = String::new();
    let (mut memory, mut before, mut pages) = (DetectorState::new(u32::MAX), None, 0);
    let now = samples.last().map_or(0.0, wall);
    for run in samples {
        let found = judge(run, plan, &mut memory);
        let verdict = found.judge(rules);
        let is_bad = matches!(verdict.state, ServiceState::Warning | ServiceState::Critical);
        let state = (verdict.state, std::mem::discriminant(&found.learned.verdict));
        if before != Some(state) {
            pages += u32::from(is_bad && before.is_none_or(|(before, _)| before < verdict.state));
            let says = found.headline(rules, &verdict.reasons, None);
            let _ = writeln!(
                text,
                "{} {} - {}: {says}",
                local_time::describe(wall(run), now),
                verdict.state.to_string().to_uppercase(),
                target.service
            );
        }
        before = Some(state);
    }
    let (from, to) = (samples.first().map_or(0.0, wall), now);
    let _ = writeln!(
        text,
        "{} samples since {}: it would have paged {pages} time{}, by counts alone",
        samples.len(),
        local_time::describe(from, to),
        if pages == 1 { "" } else { "s" }
    );
    text
}

fn wall(run: &Recorded) -> f64 {
    run.sample.wall as f64 / 1000.0
}

fn judge(run: &Recorded, plan: &Plan, memory: &mut DetectorState) -> Outcome {
    let (sample, measure) = (&run.sample, plan.measure);
    let each = measure.each();
    let items = sample.counts[State::Established as usize - 1] + sample.counts[State::CloseWait as usize - 1];
    let mut groups: Vec<(String, u64)> = sample.groups.iter().map(|one| (one.name.clone(), one.count)).collect();
    groups.extend((sample.other > 0).then(|| ("other".to_owned(), sample.other)));
    let limit = plan.limit.or(sample.limit.map(|limit| limit * each));
    let capacity = limit.and_then(|limit| u32::try_from(limit / each).ok()).unwrap_or(u32::MAX);
    let id = |name: &str| (hashed(name.as_bytes()) >> 32) as u32;
    // Without identity a count is a stack: what came last goes first.
    let socket = |name: &str, at: u64| detector::Socket {
        cookie: hashed(format!("{name} {at}").as_bytes()),
        group: id(name),
        ..detector::Socket::default()
    };
    let seen = detector::Sample {
        service: sample.instance,
        established: u32::try_from(items).unwrap_or(u32::MAX),
        sockets: groups.iter().flat_map(|(name, count)| (0..*count).map(|at| socket(name, at))).collect(),
        ..detector::Sample::default()
    };
    let moment = Moment { wall: wall(run), uptime: run.at as f64 / 1000.0, boot_id: sample.boot.clone() };
    let mut learned: Learned = memory.learn(&moment, seen, capacity, f64::from(plan.speed));
    learned.verdict = tempered(learned.verdict, learned.watched, items as f64 / f64::from(capacity));
    let leaking = match &learned.verdict {
        Verdict::Leak(leak) => {
            let name = groups.iter().find(|(name, _)| id(name) == leak.group).map_or("a group", |(name, _)| name);
            Some((name.to_owned(), local_time::describe(moment.wall - leak.onset, moment.wall)))
        }
        _ => None,
    };
    let headroom = |limit| Headroom { what: Resource::Connections, used: items * each, limit };
    let (idle_oldest, usual) = (None, None);
    let may_be_full = plan.may_be_full();
    let headrooms = limit.map(headroom).into_iter().collect();
    Outcome {
        measure,
        amount: items * each,
        groups,
        learned,
        leaking,
        headrooms,
        idle_oldest,
        idle_median: None,
        stuck: Vec::new(),
        plateaus: Vec::new(),
        may_be_full,
        usual,
    }
}
