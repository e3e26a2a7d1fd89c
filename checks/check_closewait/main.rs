//! Does anyone hold sockets whose peer has already closed, for how long, and who?

mod judge;

use argh::{ArgsInfo, FromArgs};
use connleak::base::duration::Span;
use connleak::base::error::Result;
use connleak::kernel::owner::{Holders, Owners};
use connleak::kernel::select::Match;
use connleak::kernel::socket::{Side, State, StateSet};
use connleak::kernel::source::{self, Query};
use connleak::kernel::tally::Tally;
use connleak::kernel::world::World;
use connleak::options::args::{Args, Command};
use connleak::owners::blame::{Blame, Grouping, Suspect};
use connleak::owners::ghosts;
use connleak::owners::holders;
use connleak::report::doubt;
use connleak::report::range::Range;
use connleak::report::verdict::{Limits, ServiceState, Verdict};
use connleak::report::{Format, Report};
use connleak::service::profile::Profile;
use connleak::service::target::{self, Target};
use judge::{Found, Rules, age, metrics};
use serde_json::json;

/// find sockets in CLOSE_WAIT: their peer has closed, their process has forgotten them
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(note = "The main number is how many of the service's sockets have been in CLOSE_WAIT for --min-age.")]
pub struct Closewait {
    /// count only sockets whose peer closed at least this long ago; 0s counts all; default from
    /// the profile, else 60s
    #[argh(option, arg_name = "DURATION")]
    min_age: Option<Span>,

    /// warning range for the count in percent of ESTABLISHED
    #[argh(option, arg_name = "RANGE")]
    ratio_warning: Option<Range>,

    /// critical range for the count in percent of ESTABLISHED
    #[argh(option, arg_name = "RANGE")]
    ratio_critical: Option<Range>,

    /// judge the percentage only from this count on; default from the profile, else 5
    #[argh(option, arg_name = "N")]
    ratio_min_count: Option<u64>,

    /// warn when any socket has been in CLOSE_WAIT for longer
    #[argh(option, arg_name = "DURATION")]
    oldest_warning: Option<Span>,

    /// be critical when any socket has been in CLOSE_WAIT for longer
    #[argh(option, arg_name = "DURATION")]
    oldest_critical: Option<Span>,

    /// count sockets too that left the tables by a reset while their descriptor stays open
    #[argh(switch)]
    ghosts: bool,
}

impl Command for Closewait {
    const PROGRAM: &'static str = "check_closewait";
}

fn main() {
    connleak::program::run::main(check)
}

pub fn check(args: &Args<Closewait>, world: &World) -> Result<Report> {
    let common = &args.common;
    let target = target::resolve(common, world)?.of_unit(common, world)?;
    let rules = rules(args, &target.profile);
    let mut found = gather(&target, rules.min_age, world)?;
    if args.own.ghosts {
        let mut ghosts = ghosts::find(world, &target, common.unit.as_deref())?;
        found.stuck.append(&mut ghosts.sockets);
        found.ghosts = Some(ghosts);
    }
    let gathered = world.deadline.elapsed();
    let verdict = rules.judge(found.stuck.len() as u64, found.oldest, &found);
    let wants_owners =
        verdict.state != ServiceState::Ok || common.verbose > 0 || common.output.is_some_and(Format::names_owners);
    let all_holders = if common.verbose > 1 { Holders::All } else { Holders::First };
    let owners =
        if wants_owners { holders::find(world, &target, &mut found.stuck, all_holders) } else { Owners::default() };
    let blamed = if wants_owners { &found.stuck[..] } else { &[] };
    let blame = Blame::new(blamed, &owners, Grouping::new(common, &target.profile));
    let mut report = present(&target, &rules, &found, verdict, &blame);
    target.add_to(world, found.seen.rows, &mut report);
    if wants_owners {
        report.lacks_owners(blame.unowned, blame.shortfall(&owners));
    }
    report.details = blame.details(&found.stuck, &owners, common.verbose);
    if common.verbose > 2 {
        let (seen, took) = (&found.seen, world.deadline.elapsed() - gathered);
        report.details.push(format!("sockets: {}, {} rows, {gathered:.1?}", seen.how, seen.rows));
        report.details.push(format!("owners: {}, {took:.1?}", owners.how()));
    }
    Ok(report)
}

/// The thresholds in force.
fn rules(args: &Args<Closewait>, profile: &Profile) -> Rules {
    let (own, profile) = (&args.own, &profile.close_wait);
    let up_to = |span: Option<Span>| span.map(|span| Range::up_to(span.as_millis() as f64 / 1000.0));
    let ratio = Limits { warning: own.ratio_warning, critical: own.ratio_critical };
    Rules {
        min_age: own.min_age.or(profile.min_age).unwrap_or(Span::seconds(60)),
        count: args.common.limits().or(profile.limits()),
        ratio: ratio.or(profile.ratio.limits()),
        ratio_min_count: own.ratio_min_count.or(profile.ratio.min_count).unwrap_or(5),
        oldest: Limits { warning: up_to(own.oldest_warning), critical: up_to(own.oldest_critical) },
    }
}

fn gather(target: &Target, min_age: Span, world: &World) -> Result<Found> {
    let selection = &target.selection;
    let query = Query {
        states: StateSet::of(&[State::Established, State::CloseWait]),
        ports: &selection.ports,
        side: selection.side,
        times: true,
    };
    let (mut tally, mut stuck) = (Tally::default(), Vec::new());
    let (mut sides, mut young, mut maybe_stuck, mut unsure) = ([0, 0], 0, 0, 0);
    let (mut oldest, mut oldest_at_most, mut unsure_oldest, mut ageless) = (None, None, None, 0);
    let seen = source::visit(world, &query, &mut |socket| {
        let side = match selection.matches(socket) {
            Match::No => return,
            Match::Yes(side) => side,
            Match::Unsure => {
                if socket.state == State::CloseWait {
                    let age = socket.close_wait_age();
                    unsure += u64::from(age.is_none_or(|age| u64::from(age.at_most) >= min_age.as_millis()));
                    unsure_oldest = unsure_oldest.max(age.map(|age| age.at_most));
                }
                return;
            }
        };
        tally.add(side, socket.state);
        if socket.state != State::CloseWait {
            return;
        }
        let age = socket.close_wait_age();
        ageless += u64::from(age.is_none());
        oldest = oldest.max(age.map(|age| age.at_least));
        oldest_at_most = oldest_at_most.max(age.map(|age| age.at_most));
        // An unknown age counts: better a question too many than a leak unseen.
        if age.is_none_or(|age| u64::from(age.at_least) >= min_age.as_millis()) {
            sides[usize::from(side == Side::Client)] += 1;
            stuck.push(Suspect::new(socket, age.map(|age| age.at_least)));
        } else {
            young += 1;
            maybe_stuck += u64::from(age.is_some_and(|age| u64::from(age.at_most) >= min_age.as_millis()));
        }
    })?;
    let sides = (selection.side == Side::Both).then_some(sides);
    let oldest_at_most = oldest_at_most.max(unsure_oldest);
    Ok(Found { seen, tally, stuck, ghosts: None, sides, young, maybe_stuck, unsure, oldest, oldest_at_most, ageless })
}

fn present(target: &Target, rules: &Rules, found: &Found, verdict: Verdict, blame: &Blame) -> Report {
    let established = found.tally.count(Side::Both, State::Established);
    let at_worst = rules.at_worst(found).max(verdict.state);
    let mut report = Report::new("closewait", target.service.clone(), &found.seen, verdict);
    report.headline = headline(target, rules, found, &report.reasons, blame);
    report.metrics = metrics(rules, found, established);
    blame.add_to(&mut report);
    report.extra.insert("min_age_seconds".into(), json!(rules.min_age.as_millis() as f64 / 1000.0));
    report.extra.insert("ages_known".into(), json!(found.ages_known()));
    if let Some([server, client]) = found.sides {
        report.extra.insert("sides".into(), json!({"server": server, "client": client}));
    }
    let mut unknown = Vec::new();
    if !found.ages_known() {
        // Of several network namespaces one may tell them and another not.
        unknown.push(match found.tally.count(Side::Both, State::CloseWait) - found.ageless {
            0 => "ages unknown, all CLOSE_WAIT counted".to_owned(),
            _ => format!("ages of {} unknown, all of these counted", found.ageless),
        });
        if rules.oldest != Limits::default() {
            unknown.push("the oldest can't be judged".to_owned());
        }
    }
    if found.maybe_stuck > 0 || found.oldest_at_most > found.oldest {
        let oldest = age(found.oldest_at_most.unwrap_or(0));
        unknown.push(format!("probes or writes hide ages: maybe {} more, oldest {oldest}", found.maybe_stuck));
    }
    unknown.extend(doubt::whose(found.unsure, "in CLOSE_WAIT"));
    report.doubt(at_worst, unknown);
    if let Some(ghosts) = &found.ghosts {
        ghosts.add_to(&mut report);
    }
    report
}

fn headline(target: &Target, rules: &Rules, found: &Found, reasons: &[String], blame: &Blame) -> String {
    let counted = rules.counted(found.stuck.len() as u64, found);
    let mut parts = reasons.to_vec();
    // The main number comes first, whether it is a reason or not.
    if !parts.first().is_some_and(|reason| reason.starts_with(&counted)) {
        parts.insert(0, counted);
    }
    if let Some(oldest) = found.oldest.filter(|_| !reasons.iter().any(|reason| reason.starts_with("oldest"))) {
        parts.push(format!("oldest {}", age(oldest)));
    }
    if found.young > 0 {
        parts.push(format!("{} younger", found.young));
    }
    if reasons.is_empty() {
        parts.push(format!("{} ESTABLISHED", found.tally.count(Side::Both, State::Established)));
    } else {
        parts.extend(blame.headline());
    }
    format!("{} {}", target.service, parts.join(", "))
}
