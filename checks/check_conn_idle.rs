//! Which ESTABLISHED connections have carried no data for too long, and whose are they?

use argh::{ArgsInfo, FromArgs};
use connleak::args::{Args, Command};
use connleak::blame::{Blame, Grouping, Suspect};
use connleak::duration::Span;
use connleak::error::Result;
use connleak::holders;
use connleak::owner::{Holders, Owners};
use connleak::profile::Profile;
use connleak::range::Range;
use connleak::report::{Format, Metric, Report, Unit, rounded};
use connleak::select::Match;
use connleak::service::{self, Target};
use connleak::socket::{Side, State, StateSet};
use connleak::source::{self, Query, Seen};
use connleak::spares::{self, Idler};
use connleak::verdict::{Limits, ServiceState, Verdict};
use connleak::world::World;
use serde_json::json;

/// find ESTABLISHED connections that have carried no data in either direction for long
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(note = "The main number is how many connections have been idle for --min-age, without the --expected spares.")]
struct Idle {
    /// count only connections without data for at least this long; default from the profile, else 30m
    #[argh(option, arg_name = "DURATION")]
    min_age: Option<Span>,

    /// idle connections that each pool may keep as spares: each client host, on the host itself each
    /// unit and user; default from the profile, else 0
    #[argh(option, arg_name = "N")]
    expected: Option<u64>,

    /// warning range for idle connections that never carried a byte
    #[argh(option, arg_name = "RANGE")]
    never_used_warning: Option<Range>,

    /// critical range for idle connections that never carried a byte
    #[argh(option, arg_name = "RANGE")]
    never_used_critical: Option<Range>,

    /// warning range for the main number in percent of ESTABLISHED
    #[argh(option, arg_name = "RANGE")]
    share_warning: Option<Range>,

    /// critical range for the main number in percent of ESTABLISHED
    #[argh(option, arg_name = "RANGE")]
    share_critical: Option<Range>,

    /// judge the percentage only from this number on; default from the profile, else 5
    #[argh(option, arg_name = "N")]
    share_min_count: Option<u64>,

    /// warn when any of them has been idle for longer
    #[argh(option, arg_name = "DURATION")]
    oldest_warning: Option<Span>,

    /// be critical when any of them has been idle for longer
    #[argh(option, arg_name = "DURATION")]
    oldest_critical: Option<Span>,

    /// say which have no keepalive timer: nobody will notice when their peer dies
    #[argh(switch)]
    keepalive: bool,
}

impl Command for Idle {
    const PROGRAM: &'static str = "check_conn_idle";
}

fn main() {
    connleak::run::main(check)
}

fn check(args: &Args<Idle>, world: &World) -> Result<Report> {
    let common = &args.common;
    let target = service::resolve(common, world)?.of_unit(common, world)?;
    let rules = Rules::new(args, &target.profile);
    let found = gather(&target, &rules, world)?;
    let gathered = world.deadline.elapsed();
    let verdict = rules.judge(&found.known(), found.established, || rules.counted(&found));
    let wants_owners = verdict.state != ServiceState::Ok || common.verbose > 0 || common.output == Some(Format::Json);
    let all_holders = if common.verbose > 1 { Holders::All } else { Holders::First };
    let mut suspects: Vec<Suspect> = found.idlers.iter().map(|idler| idler.suspect).collect();
    let owners =
        if wants_owners { holders::find(world, &target, &mut suspects, all_holders) } else { Owners::default() };
    let grouping = Grouping::new(common, &target.profile);
    let blame = Blame::new(if wants_owners { &suspects } else { &[] }, &owners, grouping);
    let mut report = present(&target, &rules, &found, verdict, &blame);
    if wants_owners {
        report.lacks_owners(blame.unowned, blame.shortfall(&owners));
    }
    report.details = blame.details(&suspects, &owners, common.verbose);
    if args.own.keepalive && found.ages_known() {
        let unguarded = found.idlers.iter().zip(&suspects).filter(|(idler, _)| idler.unguarded);
        let unguarded: Vec<Suspect> = unguarded.map(|(_, suspect)| *suspect).collect();
        tell_unguarded(&mut report, &unguarded, &owners, grouping, common.verbose);
    }
    if common.verbose > 2 {
        let (seen, took) = (&found.seen, world.deadline.elapsed() - gathered);
        report.details.push(format!("sockets: {}, {} rows, {gathered:.1?}", seen.how, seen.rows));
        report.details.push(format!("owners: {}, {took:.1?}", owners.how()));
    }
    Ok(report)
}

/// `--keepalive`: in the first line how many, and who has them where that was looked for.
fn tell_unguarded(report: &mut Report, unguarded: &[Suspect], owners: &Owners, grouping: Grouping, verbose: u8) {
    let blame = Blame::new(unguarded, owners, grouping);
    let holder = blame.owners.first().map_or(String::new(), |owner| format!(", {} held by {owner}", owner.sockets));
    report.headline.push_str(&format!(", {} without keepalive{holder}", unguarded.len()));
    let lines = blame.details(unguarded, owners, verbose);
    report.details.extend(lines.into_iter().map(|line| format!("without keepalive: {line}")));
    let told = json!({"sockets": unguarded.len(), "owners": blame.owners, "peers": blame.peers});
    report.extra.insert("without_keepalive".into(), told);
}

/// The thresholds in force.
struct Rules {
    min_age: Span,
    expected: u64,
    count: Limits,
    never_used: Limits,
    share: Limits,
    share_min_count: u64,
    /// Seconds.
    oldest: Limits,
}

/// What is judged.
#[derive(Clone, Copy)]
struct Numbers {
    idle: u64,
    never_used: u64,
    /// Milliseconds; `None`: none is idle, or it isn't known.
    oldest: Option<u32>,
}

impl Rules {
    fn new(args: &Args<Idle>, profile: &Profile) -> Rules {
        let (own, profile) = (&args.own, &profile.idle);
        let up_to = |span: Option<Span>| span.map(|span| Range::up_to(span.as_millis() as f64 / 1000.0));
        let never_used = Limits { warning: own.never_used_warning, critical: own.never_used_critical };
        let share = Limits { warning: own.share_warning, critical: own.share_critical };
        Rules {
            min_age: own.min_age.or(profile.min_age).unwrap_or(Span::seconds(1800)),
            expected: own.expected.or(profile.expected).unwrap_or(0),
            count: args.common.limits().or(profile.limits()),
            never_used: never_used.or(profile.never_used),
            share: share.or(profile.share.limits()),
            share_min_count: own.share_min_count.or(profile.share.min_count).unwrap_or(5),
            oldest: Limits { warning: up_to(own.oldest_warning), critical: up_to(own.oldest_critical) },
        }
    }

    fn judge(&self, numbers: &Numbers, established: u64, counted: impl FnOnce() -> String) -> Verdict {
        let Numbers { idle, never_used, oldest } = *numbers;
        let mut verdict = Verdict::default();
        verdict.judge(&self.count, idle as f64, counted);
        verdict.judge(&self.never_used, never_used as f64, || format!("{never_used} never used"));
        if idle >= self.share_min_count {
            let share = share(idle, established);
            verdict.judge(&self.share, share, || format!("{share}% of {established} ESTABLISHED"));
        }
        if let Some(oldest) = oldest {
            verdict.judge(&self.oldest, seconds(oldest), || format!("oldest {}", shown(oldest)));
        }
        verdict
    }

    /// Whether what isn't known may make it worse: any number of `unknown` more may be idle.
    fn may_be_worse(&self, found: &Found, state: ServiceState) -> bool {
        let (known, unknown) = (found.known(), found.unaged + found.unsure);
        let idle = (1..=unknown).map(|more| Numbers { idle: known.idle + more, ..known });
        let unused =
            (1..=unknown + found.unused_unknown).map(|more| Numbers { never_used: known.never_used + more, ..known });
        let mut judged = idle.chain(unused).map(|numbers| self.judge(&numbers, found.established, String::new).state);
        let oldest_unknown = unknown > 0 && self.oldest != Limits::default();
        oldest_unknown || judged.any(|worse| worse > state)
    }

    /// `12 connections (server 7, client 5) without data for 30m or more beyond 6 spares`.
    fn counted(&self, found: &Found) -> String {
        let idle = found.idlers.len();
        let connections = if idle == 1 { "connection" } else { "connections" };
        let sides = match found.sides {
            Some([server, client]) => format!(" (server {server}, client {client})"),
            None => String::new(),
        };
        let spares = if found.spares > 0 { format!(" beyond {} spares", found.spares) } else { String::new() };
        format!("{idle} {connections}{sides} without data for {} or more{spares}", self.min_age)
    }
}

/// What the tables show of the service.
struct Found {
    seen: Seen,
    established: u64,
    /// Idle for the minimal age and no spares, longest first.
    idlers: Vec<Idler>,
    spares: u64,
    /// Of the idlers on the server's and on the client's side, where both were asked for.
    sides: Option<[u64; 2]>,
    /// ESTABLISHED, but their silence isn't told.
    unaged: u64,
    /// Idle, or maybe so, but it can't be told whose.
    unsure: u64,
    /// Idle, but whether they were ever used isn't told.
    unused_unknown: u64,
}

impl Found {
    fn known(&self) -> Numbers {
        let never_used = self.idlers.iter().filter(|idler| idler.never_used).count() as u64;
        let oldest = self.idlers.first().and_then(|idler| idler.suspect.age);
        Numbers { idle: self.idlers.len() as u64, never_used, oldest }
    }

    /// Nothing that was counted is without an age.
    fn ages_known(&self) -> bool {
        self.unaged == 0
    }
}

fn gather(target: &Target, rules: &Rules, world: &World) -> Result<Found> {
    let selection = &target.selection;
    let states = StateSet::of(&[State::Established]);
    let query = Query { states, ports: &selection.ports, side: selection.side, times: true };
    let (mut idlers, mut established) = (Vec::new(), 0);
    let (mut unaged, mut unsure, mut unused_unknown) = (0, 0, 0);
    let seen = source::visit(world, &query, &mut |socket| {
        let silence = socket.silence();
        let is_idle = silence.is_none_or(|silence| u64::from(silence) >= rules.min_age.as_millis());
        match selection.matches(socket) {
            Match::No => {}
            Match::Unsure => unsure += u64::from(is_idle),
            Match::Yes(side) => {
                established += 1;
                match silence {
                    None => unaged += 1,
                    Some(_) if is_idle => {
                        unused_unknown += u64::from(socket.times.is_some_and(|times| times.carried.is_none()));
                        idlers.push(Idler::new(socket, side));
                    }
                    Some(_) => {}
                }
            }
        }
    })?;
    let spares = spares::take_out(&mut idlers, rules.expected);
    let clients = idlers.iter().filter(|idler| idler.side == Side::Client).count() as u64;
    let sides = (selection.side == Side::Both).then_some([idlers.len() as u64 - clients, clients]);
    Ok(Found { seen, established, idlers, spares, sides, unaged, unsure, unused_unknown })
}

fn present(target: &Target, rules: &Rules, found: &Found, verdict: Verdict, blame: &Blame) -> Report {
    let state = verdict.state;
    let mut report = Report::new("conn_idle", target.service.clone(), &found.seen, verdict);
    report.headline = headline(target, rules, found, &report.reasons, blame);
    report.metrics = metrics(rules, found);
    report.owners = blame.owners.clone();
    report.extra = blame.extra();
    report.extra.insert("min_age_seconds".into(), json!(rules.min_age.as_millis() as f64 / 1000.0));
    report.extra.insert("expected".into(), json!(rules.expected));
    report.extra.insert("ages_known".into(), json!(found.ages_known()));
    if let Some([server, client]) = found.sides {
        report.extra.insert("sides".into(), json!({"server": server, "client": client}));
    }
    let mut unknown = Vec::new();
    if found.unaged > 0 {
        unknown.push(format!("silences unknown: any of {} ESTABLISHED may be idle", found.unaged));
    }
    if found.unsure > 0 {
        unknown.push(format!("{} more idle can't be told whose they are", found.unsure));
    }
    if rules.may_be_worse(found, state) {
        if found.unused_unknown > 0 {
            unknown.push("this kernel doesn't tell which were never used".to_owned());
        }
        unknown.into_iter().for_each(|what| report.is_incomplete(what));
    } else {
        report.missing.extend(unknown);
    }
    report
}

/// Percent of ESTABLISHED.
fn share(idle: u64, established: u64) -> f64 {
    if idle == 0 { 0.0 } else { rounded(idle as f64 * 100.0 / established.max(idle) as f64, 2) }
}

/// Milliseconds as they are judged and stored.
fn seconds(millis: u32) -> f64 {
    rounded(f64::from(millis) / 1000.0, 1)
}

fn shown(millis: u32) -> Span {
    Span::millis(u64::from(millis))
}

fn headline(target: &Target, rules: &Rules, found: &Found, reasons: &[String], blame: &Blame) -> String {
    let (numbers, counted) = (found.known(), rules.counted(found));
    let mut parts = reasons.to_vec();
    let is_said = |parts: &[String], what: &str| parts.iter().any(|part| part.contains(what));
    if !is_said(&parts, &counted) && found.ages_known() {
        parts.insert(0, counted);
    }
    if numbers.never_used > 0 && !is_said(&parts, " never used") {
        parts.push(format!("{} never used", numbers.never_used));
    }
    if !is_said(&parts, " ESTABLISHED") {
        let of = if found.ages_known() && found.established > 0 { "of " } else { "" };
        parts.push(format!("{of}{} ESTABLISHED", found.established));
    }
    if let Some(oldest) = numbers.oldest.filter(|_| !is_said(&parts, "oldest")) {
        parts.push(format!("oldest {}", shown(oldest)));
    }
    if !reasons.is_empty() {
        parts.extend(blame.headline());
    }
    format!("{} {}", target.service, parts.join(", "))
}

fn metrics(rules: &Rules, found: &Found) -> Vec<Metric> {
    let (none, numbers) = (Limits::default(), found.known());
    let metric = |name, value, unit, limits, help| Metric { name, value, unit, limits, help };
    let aged = |value: f64| found.ages_known().then_some(value);
    let of_idlers = |is_one: fn(&Idler) -> bool| aged(found.idlers.iter().filter(|idler| is_one(idler)).count() as f64);
    let never_used = of_idlers(|idler| idler.never_used).filter(|_| found.unused_unknown == 0);
    let share = aged(share(numbers.idle, found.established));
    let oldest = aged(seconds(numbers.oldest.unwrap_or(0)));
    vec![
        metric(
            "idle",
            aged(numbers.idle as f64),
            Unit::None,
            rules.count,
            "Connections without data for the minimal age.",
        ),
        metric("never_used", never_used, Unit::None, rules.never_used, "Of idle those that never carried a byte."),
        metric(
            "no_keepalive",
            of_idlers(|idler| idler.unguarded),
            Unit::None,
            none,
            "Of idle those without a keepalive timer.",
        ),
        metric("spares", aged(found.spares as f64), Unit::None, none, "Idle connections that a pool may keep."),
        metric("established", Some(found.established as f64), Unit::None, none, "Sockets in ESTABLISHED."),
        metric("idle_share", share, Unit::Percent, rules.share, "idle in percent of established."),
        metric("idle_oldest", oldest, Unit::Seconds, rules.oldest, "Seconds without data of the longest idle."),
    ]
}
