//! Does anyone hold sockets whose peer has already closed, for how long, and who?

mod behind_nat;
mod gather;
mod ghosts;
mod judge;
mod out_of_reach;

use argh::{ArgsInfo, FromArgs};
use connleak::base::duration::Span;
use connleak::base::error::Result;
use connleak::kernel::owner::read_tables::ReadTables;
use connleak::kernel::socket::{Side, State};
use connleak::kernel::world::World;
use connleak::options::args::{Args, Command};
use connleak::owners::blame::Blame;
use connleak::owners::holding::{self, Holding};
use connleak::owners::strays;
use connleak::owners::usual_close_wait::{self, Usual};
use connleak::report::Report;
use connleak::report::doubt;
use connleak::report::range::Range;
use connleak::report::verdict::{Limits, ServiceState, Verdict};
use connleak::report::words;
use connleak::service::listener::{self, Seen};
use connleak::service::profile::Profile;
use connleak::service::target::{self, Target};
use gather::gather;
use ghosts::Beside;
use judge::{Found, Rules, metrics};
use serde_json::json;
use std::path::PathBuf;

/// At UNIX sockets, where one lacks what earlier runs knew to be stuck.
const MOST_LOOKS: usize = 12;

/// find sockets in CLOSE_WAIT: their peer has closed, their process has forgotten them
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(note = "The main number is how many of the service's sockets have been in CLOSE_WAIT for --min-age.")]
pub struct Closewait {
    /// count only sockets whose peer closed at least this long ago; 0s counts all; default from
    /// the profile, else 60s
    #[argh(option, arg_name = "DURATION")]
    min_age: Option<Span>,

    /// sockets in CLOSE_WAIT that each pool may keep until it next looks at them: each client host, on the
    /// host itself each unit and user; default from the profile, else what check_conn_growth saw come and go
    #[argh(option, arg_name = "N")]
    expected: Option<u64>,

    /// warning range for the count in percent of all that are ESTABLISHED or in CLOSE_WAIT; default from the profile
    #[argh(option, arg_name = "RANGE")]
    ratio_warning: Option<Range>,

    /// critical range for it, no more than a warning while the count itself is below its own critical range;
    /// default from the profile
    #[argh(option, arg_name = "RANGE")]
    ratio_critical: Option<Range>,

    /// judge the percentage only from this count on; default from the profile, else 5
    #[argh(option, arg_name = "N")]
    ratio_min_count: Option<u64>,

    /// warn when any socket has been in CLOSE_WAIT for longer; default from the profile, else never
    #[argh(option, arg_name = "DURATION")]
    oldest_warning: Option<Span>,

    /// be critical when any socket has been in CLOSE_WAIT for longer; default from the profile, else
    /// never
    #[argh(option, arg_name = "DURATION")]
    oldest_critical: Option<Span>,

    /// be UNKNOWN where not all ghosts can be looked for: sockets that left the tables by a reset
    /// while their descriptor stays open. By default they count as far as they are seen
    #[argh(switch)]
    ghosts: bool,

    /// don't look for ghosts, and count none
    #[argh(switch)]
    no_ghosts: bool,

    /// where it is remembered which sockets the service had, to know their ghosts by, and since when UNIX
    /// sockets have been without their peer; default /var/lib/connleak, see the man page
    #[argh(option, arg_name = "DIR")]
    state_dir: Option<PathBuf>,
}

impl Command for Closewait {
    const PROGRAM: &'static str = "check_closewait";
    const ALSO: &'static [(&'static str, &'static str)] = &[("share-", "ratio-"), ("close-wait-age", "min-age")];
}

fn main() {
    connleak::program::run::main(check)
}

pub fn check(args: &Args<Closewait>, world: &World) -> Result<Report> {
    let common = &args.common;
    let mut target = target::resolve(common.request(), world)?.of_choice(world)?;
    listener::check_options(&target, world)?;
    let mut rules = rules(args, &target.profile);
    let mut sights = target.first_sights(args.own.state_dir.as_deref(), world)?.telling(rules.min_age);
    let may_learn = args.own.expected.is_none() && rules.expected == 0 && world.replay.is_none();
    let usual = may_learn.then(|| usual_close_wait::usual(args.own.state_dir.as_deref(), &target, world));
    rules.usual = usual.as_ref().map_or_else(Usual::default, |(usual, _)| usual.clone());
    let tells_pools = rules.expected > 0 || !rules.usual.is_empty();
    // Whose they are costs the kernel as much again: it is asked where it is shown, or tells pools.
    target.selection.is_brief = common.wants_owners(false).is_none() && !target.selection.asks_whose() && !tells_pools;
    let memory = ghosts::Memory::of(args, &target, world);
    let mut tables = ReadTables::default();
    let beside = ghosts::beside(args, &target, memory.as_ref(), &mut tables, world);
    let mut found = gather(&target, &rules, &mut sights, (memory.as_ref(), beside), world)?;
    if target.selection.is_brief && found.shows_unix(&rules, &target.selection) {
        target.selection.is_brief = false;
        found = gather(&target, &rules, &mut sights, (memory.as_ref(), Beside::Nothing), world)?;
    }
    for _ in 1..MOST_LOOKS {
        if sights.is_settled(world) || found.seen.missing.is_some() {
            break;
        }
        let again = gather(&target, &rules, &mut sights, (memory.as_ref(), Beside::Nothing), world)?;
        let before = std::mem::replace(&mut found, again);
        found.add_unseen(&before);
    }
    let strays = found.count_strays(&target, world);
    let still_held = out_of_reach::still_held(&sights, world);
    let is_whole = found.seen.missing.is_none() && still_held.is_none();
    let unkept = sights.keep(&target.selection.unix_known.borrow(), is_whole);
    found.ghosts = ghosts::look_for(args, &target, &rules, (&mut found, &mut tables), memory, world)?;
    let is_learned = found.may_be_usual || found.ghosts.as_ref().is_some_and(|ghosts| ghosts.count > 0);
    found.add_ghosts(rules.expected);
    let gathered = world.deadline.elapsed();
    let verdict = rules.judge(found.stuck.len() as u64, found.oldest, &found);
    if found.strays > 0 && (rules.at_worst(&found, 0) > verdict.state || common.verbose > 0) {
        found.remedy = strays::remedy(&target, world);
    }
    let wanted = common.wants_owners(verdict.state != ServiceState::Ok);
    // What was read for ghosts needn't be read again.
    let mut tables = Some(tables).filter(|tables| !tables.is_empty());
    let holding = Holding::find_in(world, &target, &mut found.stuck, wanted, tables.as_mut());
    let mut report = present(&target, &rules, &found, verdict, &holding.blame);
    report.details.extend(found.judged_later(rules.min_age).filter(|_| common.verbose > 0));
    if let Some(why) = still_held {
        report.is_incomplete(why);
    }
    report.missing.extend(unkept);
    report.missing.extend(strays);
    holding.add_to(&mut report, &found.stuck, &target, common.verbose);
    let established = found.tally.count(Side::Both, State::Established);
    let is_connected =
        established + found.young + found.unsure + found.spares() + found.usual > 0 || !found.stuck.is_empty();
    let seen = if is_connected { Seen::Connections } else { Seen::Nobody };
    listener::add_absence(&mut report, &target, world, seen);
    if let Some((usual, unlearned)) = usual.filter(|_| is_learned) {
        report.missing.extend(unlearned.or_else(|| found.usual_left.unspared()));
        report.details.extend(usual.details().filter(|_| common.verbose > 0));
    }
    if let Some(ghosts) = found.ghosts.as_ref().filter(|_| common.verbose > 0) {
        report.details.push(format!("ghosts: {}", ghosts.looked_at(world)));
    }
    if common.verbose > 2 {
        report.details.extend(holding::stages(&found.seen, gathered, &holding.owners, world));
    }
    Ok(report)
}

/// The thresholds in force.
fn rules(args: &Args<Closewait>, profile: &Profile) -> Rules {
    let (own, profile) = (&args.own, &profile.close_wait);
    let ratio = Limits { warning: own.ratio_warning, critical: own.ratio_critical };
    Rules {
        min_age: own.min_age.or(profile.min_age).unwrap_or(Span::seconds(60)),
        expected: own.expected.or(profile.expected).unwrap_or(0),
        usual: Usual::default(),
        count: args.common.limits().or(profile.limits()),
        ratio: ratio.or(profile.ratio.limits()),
        ratio_min_count: own.ratio_min_count.or(profile.ratio.min_count).unwrap_or(5),
        oldest: profile.oldest.limits(own.oldest_warning, own.oldest_critical),
    }
}

fn present(target: &Target, rules: &Rules, found: &Found, verdict: Verdict, blame: &Blame) -> Report {
    let established = found.tally.count(Side::Both, State::Established);
    let at_worst = rules.at_worst(found, 0).max(verdict.state);
    let known = verdict.state;
    let mut report = Report::new("closewait", target.service.clone(), &found.seen, verdict);
    report.headline = headline(target, rules, found, &report.reasons, blame);
    report.metrics = metrics(rules, found, established);
    report.put_min_age(rules.min_age);
    report.extra.insert("expected".into(), json!(rules.expected));
    report.extra.insert("ages_known".into(), json!(found.ages_known()));
    if let Some([server, client]) = found.sides {
        report.extra.insert("sides".into(), json!({"server": server, "client": client}));
    }
    let mut unknown = Vec::new();
    if !found.ages_known() {
        // Of several network namespaces one may tell them and another not.
        let until = match found.undated == found.ageless && rules.min_age > Span::seconds(0) {
            true => format!(" until seen for {}", rules.min_age),
            false => String::new(),
        };
        unknown.push(match found.tally.count(Side::Both, State::CloseWait) - found.ageless {
            0 => format!("ages unknown{until}, all CLOSE_WAIT counted"),
            _ => format!("ages of {} unknown{until}, all of these counted", found.ageless),
        });
        if rules.oldest != Limits::default() {
            unknown.push("the oldest can't be judged".to_owned());
        }
    }
    if found.probed > 0 {
        unknown.push(format!("keepalive probes hide the ages of {}, counted by the time since data", found.probed));
    }
    if found.maybe_stuck > 0 || (at_worst != report.state && found.oldest_at_most > found.oldest) {
        unknown.push(rules.hidden(found));
    }
    unknown.extend(doubt::whose(found.unsure, "in CLOSE_WAIT"));
    report.missing.extend(found.redirected.words());
    unknown.extend((found.strays > 0).then(|| words::strayed(found.strays) + &found.remedy));
    report.doubt(at_worst, unknown);
    if let Some(ghosts) = &found.ghosts {
        ghosts.add_to(&mut report, |more| rules.at_worst(found, more).max(known));
    }
    report
}

/// The number, how long and who come first: some pagers cut a line after 160 characters.
fn headline(target: &Target, rules: &Rules, found: &Found, reasons: &[String], blame: &Blame) -> String {
    let counted = rules.counted(found.stuck.len() as u64, found);
    let oldest = found.oldest.map(|oldest| found.aged(oldest));
    // Where none is stuck it is that of the younger ones.
    let [oldest, of_young] = match found.stuck.is_empty() && !reasons.iter().any(|reason| reason.starts_with("oldest"))
    {
        true => [None, oldest],
        false => [oldest, None],
    };
    let is_problem = !reasons.is_empty();
    let [mut parts, rest] = words::lead(Some(counted), oldest, reasons);
    parts.extend(if is_problem { blame.headline() } else { Vec::new() });
    parts.extend(rest);
    parts.extend(words::both_sides(found.sides));
    parts.extend(found.over_unix(&target.selection));
    // What is said of those that may be older says how many they are.
    if found.young > found.maybe_stuck {
        let oldest = of_young.map_or_else(String::new, |oldest| format!(" ({oldest})"));
        parts.push(format!("{} younger{oldest}", found.young));
    }
    if !is_problem {
        let over_unix = words::over_unix(found.over_unix, target.selection.has_tcp());
        let over_unix = over_unix.map_or_else(String::new, |many| format!(" ({many})"));
        parts.push(format!("{} ESTABLISHED{over_unix}", found.tally.count(Side::Both, State::Established)));
    }
    parts.join(", ")
}
