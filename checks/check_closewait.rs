//! Does anyone hold sockets whose peer has already closed, for how long, and who?

use argh::{ArgsInfo, FromArgs};
use connleak::base::duration::Span;
use connleak::base::error::Result;
use connleak::kernel::owner::{Holders, Owners};
use connleak::kernel::select::Match;
use connleak::kernel::socket::{Side, State, StateSet};
use connleak::kernel::source::{self, Coverage, Query};
use connleak::kernel::tally::Tally;
use connleak::kernel::world::World;
use connleak::options::args::{Args, Command};
use connleak::owners::blame::{Blame, Grouping, Suspect};
use connleak::owners::ghosts::{self, Ghosts};
use connleak::owners::holders;
use connleak::report::doubt;
use connleak::report::range::Range;
use connleak::report::verdict::{Limits, ServiceState, Verdict};
use connleak::report::{Format, Metric, Report, Unit, rounded, seconds};
use connleak::service::profile::Profile;
use connleak::service::target::{self, Target};
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
    let rules = Rules::new(args, &target.profile);
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
struct Rules {
    min_age: Span,
    count: Limits,
    ratio: Limits,
    ratio_min_count: u64,
    /// Seconds.
    oldest: Limits,
}

impl Rules {
    fn new(args: &Args<Closewait>, profile: &Profile) -> Rules {
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

    fn judge(&self, stuck: u64, oldest: Option<u32>, found: &Found) -> Verdict {
        let mut verdict = Verdict::default();
        verdict.judge(&self.count, stuck as f64, || self.counted(stuck, found));
        if stuck >= self.ratio_min_count {
            let ratio = found.ratio(stuck);
            let of = found.tally.count(Side::Both, State::Established);
            verdict.judge(&self.ratio, ratio, || format!("{ratio}% of {of} ESTABLISHED"));
        }
        if let Some(oldest) = oldest.filter(|_| found.ages_known()) {
            verdict.judge(&self.oldest, seconds(oldest), || format!("oldest {}", age(oldest)));
        }
        verdict
    }

    /// Should all that isn't known count: up to so many more sockets, of up to any age.
    fn at_worst(&self, found: &Found) -> ServiceState {
        let low = found.stuck.len() as u64;
        let high = low + found.maybe_stuck + found.unsure;
        let mut worst = self.count.at_worst(low as f64, high as f64);
        if high >= self.ratio_min_count {
            let [low, high] = [low.max(self.ratio_min_count), high].map(|stuck| found.ratio(stuck));
            worst = worst.max(self.ratio.at_worst(low, high));
        }
        let of = |age: Option<u32>| age.map_or(0.0, seconds);
        let oldest = if found.ages_known() { of(found.oldest_at_most) } else { f64::INFINITY };
        worst.max(self.oldest.at_worst(of(found.oldest).min(oldest), oldest))
    }

    /// `12 sockets (server 7, client 5) in CLOSE_WAIT for 1m or more and 3 ghosts`.
    fn counted(&self, stuck: u64, found: &Found) -> String {
        let (stuck, and_ghosts) = match &found.ghosts {
            Some(ghosts) => (stuck - ghosts.count, format!(" and {ghosts}")),
            None => (stuck, String::new()),
        };
        let sockets = if stuck == 1 { "socket" } else { "sockets" };
        let sides = match found.sides {
            Some([server, client]) => format!(" (server {server}, client {client})"),
            None => String::new(),
        };
        if found.ages_known() && self.min_age > Span::seconds(0) {
            format!("{stuck} {sockets}{sides} in CLOSE_WAIT for {} or more{and_ghosts}", self.min_age)
        } else {
            format!("{stuck} {sockets}{sides} in CLOSE_WAIT{and_ghosts}")
        }
    }
}

/// What the tables show of the service.
struct Found {
    seen: Coverage,
    tally: Tally,
    /// In CLOSE_WAIT for the minimal age at least, and ghosts.
    stuck: Vec<Suspect>,
    /// `None`: not asked for.
    ghosts: Option<Ghosts>,
    /// Of them on the server's and on the client's side, where both were asked for.
    sides: Option<[u64; 2]>,
    /// In CLOSE_WAIT, but not as long.
    young: u64,
    /// Among the young those that may be older: keepalive probes hide the time of the FIN.
    maybe_stuck: u64,
    /// In CLOSE_WAIT, maybe for the minimal age, but it can't be told whose.
    unsure: u64,
    /// The age of the oldest CLOSE_WAIT, milliseconds.
    oldest: Option<u32>,
    /// The same, should probes and writes hide as much as they can, and all be meant that may be.
    oldest_at_most: Option<u32>,
    /// In CLOSE_WAIT for a time that is not known: counted as stuck.
    ageless: u64,
}

impl Found {
    /// Percent of ESTABLISHED; 100 where nothing is ESTABLISHED.
    fn ratio(&self, stuck: u64) -> f64 {
        match (stuck, self.tally.count(Side::Both, State::Established)) {
            (0, _) => 0.0,
            (_, 0) => 100.0,
            (stuck, established) => rounded(stuck as f64 * 100.0 / established as f64, 2),
        }
    }

    fn ages_known(&self) -> bool {
        self.ageless == 0
    }

    fn oldest_seconds(&self) -> Option<f64> {
        self.ages_known().then(|| seconds(self.oldest.unwrap_or(0)))
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

fn age(millis: u32) -> Span {
    Span::millis(u64::from(millis))
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

fn metrics(rules: &Rules, found: &Found, established: u64) -> Vec<Metric> {
    let none = Limits::default();
    let stuck = found.stuck.len() as u64;
    let metric = |name, value, unit, limits, help| Metric { name, value, unit, limits, help };
    let young = found.ages_known().then_some(found.young as f64);
    let (ratio, oldest) = (Some(found.ratio(stuck)), found.oldest_seconds());
    let mut metrics = vec![
        metric("close_wait", Some(stuck as f64), Unit::None, rules.count, "Sockets in CLOSE_WAIT for the minimal age."),
        metric("close_wait_young", young, Unit::None, none, "Sockets in CLOSE_WAIT for less than the minimal age."),
        metric("established", Some(established as f64), Unit::None, none, "Sockets in ESTABLISHED."),
        metric("close_wait_ratio", ratio, Unit::Percent, rules.ratio, "close_wait in percent of established."),
        metric("close_wait_oldest", oldest, Unit::Seconds, rules.oldest, "Seconds since the oldest CLOSE_WAIT's FIN."),
    ];
    if let Some(ghosts) = &found.ghosts {
        let count = ghosts.missing.is_empty().then_some(ghosts.count as f64);
        metrics.push(metric("ghosts", count, Unit::None, none, "Of close_wait what only a descriptor is left of."));
    }
    metrics
}
