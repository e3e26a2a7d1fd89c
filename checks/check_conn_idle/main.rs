//! Which ESTABLISHED connections have carried no data for too long, and whose are they?

mod idle;

use argh::{ArgsInfo, FromArgs};
use connleak::base::duration::Span;
use connleak::base::error::{Error, Result};
use connleak::kernel::look;
use connleak::kernel::owner::Owners;
use connleak::kernel::select::{Match, Selection};
use connleak::kernel::socket::{Side, State, StateSet};
use connleak::kernel::unix_target::UnixTarget;
use connleak::kernel::world::World;
use connleak::options::args::{Args, Command};
use connleak::owners::blame::{Blame, Grouping, Suspect};
use connleak::owners::holding::{self, Holding};
use connleak::report::doubt;
use connleak::report::range::Range;
use connleak::report::verdict::{Limits, ServiceState, Verdict};
use connleak::report::words;
use connleak::report::{GENERIC, Report};
use connleak::service::listener::{self, Seen};
use connleak::service::profile::{self, Profile};
use connleak::service::target::{self, Target};
use idle::idler::{self, Idler};
use idle::waiting::{Rule, Waiting};
use idle::{Found, Rules};
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

    /// warning range for idle connections that never carried a byte; default from the profile, else none
    #[argh(option, arg_name = "RANGE")]
    never_used_warning: Option<Range>,

    /// critical range for idle connections that never carried a byte; default from the profile, else
    /// none
    #[argh(option, arg_name = "RANGE")]
    never_used_critical: Option<Range>,

    /// warning range for the main number in percent of ESTABLISHED; default from the profile, else none
    #[argh(option, arg_name = "RANGE")]
    ratio_warning: Option<Range>,

    /// critical range for the main number in percent of ESTABLISHED; default from the profile, else none
    #[argh(option, arg_name = "RANGE")]
    ratio_critical: Option<Range>,

    /// judge the percentage only from this number on; default from the profile, else 5
    #[argh(option, arg_name = "N")]
    ratio_min_count: Option<u64>,

    /// warn when any of them has been idle for longer; default from the profile, else never
    #[argh(option, arg_name = "DURATION")]
    oldest_warning: Option<Span>,

    /// be critical when any of them has been idle for longer; default from the profile, else never
    #[argh(option, arg_name = "DURATION")]
    oldest_critical: Option<Span>,

    /// connections with data that came at least this long ago and is still unread (Recv-Q): their process has
    /// forgotten them; default from the profile, else 10m
    #[argh(option, arg_name = "DURATION")]
    unread_age: Option<Span>,

    /// warning range for how many these are; default from the profile
    #[argh(option, arg_name = "RANGE")]
    unread_warning: Option<Range>,

    /// critical range for how many these are; default from the profile
    #[argh(option, arg_name = "RANGE")]
    unread_critical: Option<Range>,

    /// connections with data of which the peer has taken nothing for this long (Send-Q); default from the
    /// profile, else 20m
    #[argh(option, arg_name = "DURATION")]
    unsent_age: Option<Span>,

    /// warning range for how many these are; default from the profile
    #[argh(option, arg_name = "RANGE")]
    unsent_warning: Option<Range>,

    /// critical range for how many these are; default from the profile
    #[argh(option, arg_name = "RANGE")]
    unsent_critical: Option<Range>,

    /// say which have no keepalive timer: nobody will notice when their peer dies
    #[argh(switch)]
    keepalive: bool,
}

impl Command for Idle {
    const PROGRAM: &'static str = "check_conn_idle";
    // --unix is taken to say why it can't be judged.
    const USAGE: &'static str = "-p PORT|-P PROFILE [OPTIONS]";
    const ALSO: &'static [(&'static str, &'static str)] = &[("share-", "ratio-"), ("idle-age", "min-age")];
}

fn main() {
    connleak::program::run::main(check)
}

fn check(args: &Args<Idle>, world: &World) -> Result<Report> {
    let common = &args.common;
    let mut target = target::resolve(common.request(), world)?.of_choice(world)?;
    if !target.request.unix.is_empty() || target.selection.ports.is_empty() {
        return Err(untold());
    }
    let unix = std::mem::take(&mut target.selection.unix);
    listener::check_options(&target, world)?;
    let generic = profile::named(GENERIC, &world.thresholds)?;
    let rules = rules(args, &target.profile, &generic);
    let found = gather(&target, &rules, world)?;
    let over_unix = over_unix(unix, world);
    let gathered = world.deadline.elapsed();
    let mut verdict = rules.judge(&found.known(), found.established, || rules.counted(&found));
    let by_idlers = verdict.state;
    found.unread.judge_unread(&rules.unread, &mut verdict);
    let with_unread = verdict.state;
    found.unsent.judge_unsent(&rules.unsent, world, &mut verdict);
    // Whose they are is told of the first kind that is a problem.
    let mut suspects: Vec<Suspect> = if by_idlers != ServiceState::Ok || verdict.state == ServiceState::Ok {
        found.idlers.iter().map(|idler| idler.suspect).collect()
    } else if with_unread != ServiceState::Ok {
        found.unread.sockets.clone()
    } else {
        found.unsent.sockets.clone()
    };
    let wanted = common.wants_owners(verdict.state != ServiceState::Ok);
    let holding = Holding::find(world, &target, &mut suspects, wanted);
    let mut report = present(&target, &rules, &found, verdict, &holding.blame);
    holding.add_to(&mut report, &suspects, &target, common.verbose);
    let seen = match found.own_ends {
        0 if found.established + found.unsure > 0 => Seen::Connections,
        0 => Seen::Nobody,
        _ => Seen::OwnEnds,
    };
    let is_there = listener::add_absence(&mut report, &target, world, seen);
    if !is_there && over_unix.as_ref().is_ok_and(|count| *count > 0) {
        return Err(untold());
    }
    report.missing.extend(match over_unix {
        Ok(0) => None,
        Ok(count) => {
            let connections = if count == 1 { "connection" } else { "connections" };
            Some(format!("{count} {connections} over UNIX sockets not judged: no times are known of them"))
        }
        Err(why) => Some(format!("UNIX sockets not seen: {why}")),
    });
    if args.own.keepalive && found.ages_known() {
        let unguarded = found.idlers.iter().filter(|idler| idler.unguarded);
        let unguarded: Vec<Suspect> = unguarded.map(|idler| idler.suspect).collect();
        describe_unguarded(&mut report, &unguarded, &holding.owners, Grouping::new(&target), common.verbose);
    }
    if common.verbose > 2 {
        report.details.extend(holding::stages(&found.seen, gathered, &holding.owners, world));
    }
    Ok(report)
}

fn untold() -> Error {
    let instead = "use check_closewait, check_conn_tenants or check_conn_growth --unix, or the service's own timeout";
    Error::Usage(format!("{}: {instead}", words::UNTOLD_SILENCE))
}

/// How many connections a profile's service has by its UNIX sockets.
fn over_unix(unix: Vec<UnixTarget>, world: &World) -> Result<u64> {
    if unix.is_empty() || world.replay.is_some() {
        return Ok(0);
    }
    let selection = Selection { unix, side: Side::Server, is_brief: true, ..Selection::default() };
    let mut count = 0;
    let seen = look::visit(world, &selection, (StateSet::of(&[State::Established]), false), &mut |_, matched, _| {
        count += u64::from(matched != Match::No);
    })?;
    // What /proc lacks is who has closed.
    seen.missing.filter(|_| count == 0).map_or(Ok(count), |why| Err(Error::Usage(why)))
}

/// `--keepalive`: in the first line how many, and who has them where that was looked for.
fn describe_unguarded(report: &mut Report, unguarded: &[Suspect], owners: &Owners, grouping: Grouping, verbose: u8) {
    let blame = Blame::new(unguarded, owners, grouping);
    let holder = blame.owners.first().map_or(String::new(), |owner| format!(", {} held by {owner}", owner.sockets));
    report.headline.push_str(&format!(", {} without keepalive{holder}", unguarded.len()));
    let lines = blame.details(unguarded, owners, verbose);
    report.details.extend(lines.into_iter().map(|line| format!("without keepalive: {line}")));
    let told = json!({"sockets": unguarded.len(), "owners": blame.owners, "peers": blame.peers});
    report.extra.insert("without_keepalive".into(), told);
}

/// The thresholds in force.
fn rules(args: &Args<Idle>, profile: &Profile, generic: &Profile) -> Rules {
    let (own, profile, generic) = (&args.own, &profile.idle, &generic.idle);
    let limits = |warning, critical| Limits { warning, critical };
    let (unread, unsent) = (profile.unread.or(&generic.unread), profile.unsent.or(&generic.unsent));
    let of_unread = limits(own.unread_warning, own.unread_critical);
    let of_unsent = limits(own.unsent_warning, own.unsent_critical);
    let never_used = Limits { warning: own.never_used_warning, critical: own.never_used_critical };
    let ratio = Limits { warning: own.ratio_warning, critical: own.ratio_critical };
    Rules {
        min_age: own.min_age.or(profile.min_age).unwrap_or(Span::seconds(1800)),
        expected: own.expected.or(profile.expected).unwrap_or(0),
        count: args.common.limits().or(profile.limits()),
        never_used: never_used.or(profile.never_used),
        ratio: ratio.or(profile.ratio.limits()),
        ratio_min_count: own.ratio_min_count.or(profile.ratio.min_count).unwrap_or(5),
        oldest: profile.oldest.limits(own.oldest_warning, own.oldest_critical),
        unread: Rule::new(&unread, own.unread_age, of_unread, Span::seconds(600)),
        unsent: Rule::new(&unsent, own.unsent_age, of_unsent, Span::seconds(1200)),
    }
}

fn gather(target: &Target, rules: &Rules, world: &World) -> Result<Found> {
    let selection = &target.selection;
    let states = StateSet::of(&[State::Established]);
    let (mut idlers, mut established, mut own_ends) = (Vec::new(), 0, 0);
    let (mut unaged, mut unsure, mut unused_unknown) = (0, 0, 0);
    let (mut unread, mut unsent) = (Waiting::default(), Waiting::default());
    let seen = look::visit(world, selection, (states, true), &mut |socket, matched, _| {
        let silence = socket.silence();
        if matched != Match::No {
            let is_sure = matched != Match::Unsure;
            if socket.unread > 0 {
                unread.see(&rules.unread, socket, socket.unread_age(), is_sure);
            }
            if socket.unsent > 0 {
                unsent.see(&rules.unsent, socket, socket.unsent_age(), is_sure);
            }
        }
        let is_idle = silence.is_none_or(|silence| u64::from(silence) >= rules.min_age.as_millis());
        match matched {
            Match::No => {}
            Match::Unsure => unsure += u64::from(is_idle),
            Match::Yes(side) => {
                established += 1;
                own_ends += u64::from(side == Side::Server);
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
    let spares = idler::take_out(&mut idlers, rules.expected);
    let clients = idlers.iter().filter(|idler| idler.side == Side::Client).count() as u64;
    let sides = (selection.side == Side::Both).then_some([idlers.len() as u64 - clients, clients]);
    Ok(Found { seen, established, own_ends, idlers, spares, sides, unaged, unsure, unused_unknown, unread, unsent })
}

fn present(target: &Target, rules: &Rules, found: &Found, verdict: Verdict, blame: &Blame) -> Report {
    let state = verdict.state;
    let mut report = Report::new("conn_idle", target.service.clone(), &found.seen, verdict);
    report.headline = found.headline(rules, &report.reasons, blame);
    report.metrics = found.metrics(rules);
    report.put_min_age(rules.min_age);
    report.extra.insert("expected".into(), json!(rules.expected));
    report.extra.insert("ages_known".into(), json!(found.ages_known()));
    if let Some([server, client]) = found.sides {
        report.extra.insert("sides".into(), json!({"server": server, "client": client}));
    }
    let mut unknown = Vec::new();
    if found.unaged > 0 {
        // Of all of them the line says how many there are.
        let of = if found.unaged == found.established { String::new() } else { format!(" of {}", found.unaged) };
        unknown.push(format!("silences unknown: any{of} ESTABLISHED may be idle"));
    }
    unknown.extend(doubt::whose(found.unsure, "idle"));
    for (waiting, what) in [(&found.unread, "unread"), (&found.unsent, "not taken")] {
        if waiting.unsure > 0 {
            unknown.push(format!("{} more with data maybe long {what}", waiting.unsure));
        }
    }
    let at_worst = rules.at_worst(found, state);
    if found.unused_unknown > 0 && at_worst != state {
        unknown.push("this kernel doesn't tell which were never used".to_owned());
    }
    report.doubt(at_worst, unknown);
    report
}
