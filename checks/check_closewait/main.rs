//! Does anyone hold sockets whose peer has already closed, for how long, and who?

mod behind_nat;
mod ghosts;
mod judge;

use argh::{ArgsInfo, FromArgs};
use behind_nat::{Redirected, Signs};
use connleak::base::duration::Span;
use connleak::base::error::Result;
use connleak::history::first_sights::FirstSights;
use connleak::kernel::look;
use connleak::kernel::owner::read_tables::ReadTables;
use connleak::kernel::select::Match;
use connleak::kernel::socket::{Age, Side, Socket, State, StateSet};
use connleak::kernel::tally::Tally;
use connleak::kernel::world::World;
use connleak::options::args::{Args, Command};
use connleak::owners::blame::{Blame, Suspect};
use connleak::owners::ghosts::Rows;
use connleak::owners::holding::{self, Holding};
use connleak::owners::spares::{self, Spare};
use connleak::report::Report;
use connleak::report::doubt;
use connleak::report::range::Range;
use connleak::report::verdict::{Limits, ServiceState, Verdict};
use connleak::report::words;
use connleak::service::listener::{self, Seen};
use connleak::service::profile::Profile;
use connleak::service::target::{self, Target};
use ghosts::Memory;
use judge::{Found, Rules, metrics};
use serde_json::json;
use std::path::PathBuf;

/// Sockets that are remembered: of very many each process has some among those that the kernel lists first.
const MOST_INODES: usize = 16_384;

/// At UNIX sockets, where one lacks what earlier runs knew to be stuck.
const MOST_LOOKS: usize = 4;

/// find sockets in CLOSE_WAIT: their peer has closed, their process has forgotten them
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(note = "The main number is how many of the service's sockets have been in CLOSE_WAIT for --min-age.")]
pub struct Closewait {
    /// count only sockets whose peer closed at least this long ago; 0s counts all; default from
    /// the profile, else 60s
    #[argh(option, arg_name = "DURATION")]
    min_age: Option<Span>,

    /// sockets in CLOSE_WAIT that each pool may keep until it next looks at them: each client host, on the
    /// host itself each unit and user; default from the profile, else 0
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
    let rules = rules(args, &target.profile);
    let mut sights = target.first_sights(args.own.state_dir.as_deref(), world)?;
    // Whose they are costs the kernel as much again: it is asked where it is shown, or tells pools.
    target.selection.is_brief =
        common.wants_owners(false).is_none() && !target.selection.asks_whose() && rules.expected == 0;
    let memory = ghosts::Memory::of(args, &target, world);
    let mut found = gather(&target, &rules, &mut sights, memory.as_ref(), world)?;
    if target.selection.is_brief && found.shows_unix(&rules, &target.selection) {
        target.selection.is_brief = false;
        found = gather(&target, &rules, &mut sights, memory.as_ref(), world)?;
    }
    for _ in 1..MOST_LOOKS {
        if sights.is_settled() || found.seen.missing.is_some() {
            break;
        }
        let again = gather(&target, &rules, &mut sights, memory.as_ref(), world)?;
        let before = std::mem::replace(&mut found, again);
        found.add_unseen(&before);
    }
    let strays = found.count_strays(&target, world);
    let unkept = sights.keep(&target.selection.unix_known.borrow(), found.seen.missing.is_none());
    let mut tables = ReadTables::default();
    found.ghosts = ghosts::look_for(args, &target, &rules, (&mut found, &mut tables), memory, world)?;
    found.add_ghosts(rules.expected);
    let gathered = world.deadline.elapsed();
    let verdict = rules.judge(found.stuck.len() as u64, found.oldest, &found);
    let wanted = common.wants_owners(verdict.state != ServiceState::Ok);
    // What was read for ghosts needn't be read again.
    let mut tables = Some(tables).filter(|tables| !tables.is_empty());
    let holding = Holding::find_in(world, &target, &mut found.stuck, wanted, tables.as_mut());
    let mut report = present(&target, &rules, &found, verdict, &holding.blame);
    report.missing.extend(unkept);
    report.missing.extend(strays);
    holding.add_to(&mut report, &found.stuck, &target, common.verbose);
    let established = found.tally.count(Side::Both, State::Established);
    let is_connected = established + found.young + found.unsure + found.spares() > 0 || !found.stuck.is_empty();
    let seen = if is_connected { Seen::Connections } else { Seen::Nobody };
    listener::add_absence(&mut report, &target, world, seen);
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
        count: args.common.limits().or(profile.limits()),
        ratio: ratio.or(profile.ratio.limits()),
        ratio_min_count: own.ratio_min_count.or(profile.ratio.min_count).unwrap_or(5),
        oldest: profile.oldest.limits(own.oldest_warning, own.oldest_critical),
    }
}

/// In CLOSE_WAIT for the minimal age.
struct Stuck {
    suspect: Suspect,
    side: Side,
    /// [`Age::at_most`].
    at_most: Option<u32>,
}

impl Spare for Stuck {
    fn suspect(&self) -> &Suspect {
        &self.suspect
    }

    fn side(&self) -> Side {
        self.side
    }

    fn was_used(&self) -> bool {
        true
    }
}

fn gather(
    target: &Target,
    rules: &Rules,
    sights: &mut FirstSights,
    memory: Option<&Memory>,
    world: &World,
) -> Result<Found> {
    let (selection, min_age) = (&target.selection, rules.min_age);
    sights.begin_look();
    let states = StateSet::of(&[State::Established, State::CloseWait, State::Listen]);
    let (mut tally, mut stuck, mut inodes) = (Tally::default(), Vec::new(), Vec::new());
    let mut rows = Rows::of(states);
    let (mut young, mut maybe_stuck, mut unsure, mut probed, mut over_unix) = (0, 0, 0, 0, 0);
    let (mut oldest, mut oldest_at_most, mut unsure_oldest, mut ageless) = (None, None, None, 0);
    let mut add = |socket: &Socket, matched: Match| {
        let side = match matched {
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
        rows.add(socket);
        if socket.state == State::Listen {
            return;
        }
        over_unix += u64::from(socket.is_unix() && socket.state == State::Established);
        if !socket.is_unix() && socket.inode != 0 && inodes.len() < MOST_INODES {
            inodes.push(socket.inode);
        }
        let socket = &*sights.see(socket, side);
        tally.add(side, socket.state);
        if socket.state != State::CloseWait {
            return;
        }
        let age = socket.close_wait_age();
        ageless += u64::from(age.is_none());
        let is_probed = age.is_some_and(|age| is_hidden_by_probes(socket, age, min_age));
        probed += u64::from(is_probed);
        // An unknown age counts: better a question too many than a leak unseen.
        if is_probed || age.is_none_or(|age| u64::from(age.at_least) >= min_age.as_millis()) {
            let suspect = Suspect::new(socket, age.map(|age| age.at_least));
            stuck.push(Stuck { suspect, side, at_most: age.map(|age| age.at_most) });
        } else {
            oldest = oldest.max(age.map(|age| age.at_least));
            oldest_at_most = oldest_at_most.max(age.map(|age| age.at_most));
            young += 1;
            maybe_stuck += u64::from(age.is_some_and(|age| u64::from(age.at_most) >= min_age.as_millis()));
        }
    };
    let mut signs = Signs::default();
    let mut seen = look::visit(world, selection, (states, true), &mut |socket, matched, listeners| {
        signs.add(socket, matched, listeners);
        add(socket, matched);
    })?;
    let earlier = memory.map(|memory| &memory.redirected);
    let redirected = Redirected::visit(world, selection, (&signs, earlier), &mut seen, &mut add)?;
    let spares_of = spares::take_out_by_user(&mut stuck, rules.expected);
    let clients = stuck.iter().filter(|stuck| stuck.side == Side::Client).count() as u64;
    let sides = (selection.side == Side::Both).then_some([stuck.len() as u64 - clients, clients]);
    let oldest = oldest.max(stuck.iter().filter_map(|stuck| stuck.suspect.age).max());
    let oldest_at_most = oldest_at_most.max(stuck.iter().filter_map(|stuck| stuck.at_most).max()).max(unsure_oldest);
    let (ghosts, stuck) = (None, stuck.iter().map(|stuck| stuck.suspect).collect());
    Ok(Found {
        seen,
        tally,
        rows,
        inodes,
        stuck,
        spares_of,
        ghosts,
        sides,
        young,
        maybe_stuck,
        probed,
        unsure,
        oldest,
        oldest_at_most,
        ageless,
        over_unix,
        strays: 0,
        redirected,
    })
}

/// Whether probes are answered so often that no look ever shows the minimal age: the peer closed
/// its sending half only, or its host answers for a minute yet. Then the time since data tells.
fn is_hidden_by_probes(socket: &Socket, age: Age, min_age: Span) -> bool {
    let is_probed = socket.keepalive || socket.times.is_some_and(|times| times.ack_delay == u32::MAX);
    let until_next = socket.timer_rest.filter(|_| is_probed);
    let longest = until_next.map(|rest| u64::from(age.at_least) + u64::from(rest));
    let min_age = min_age.as_millis();
    longest.is_some_and(|longest| longest < min_age) && u64::from(age.at_most) >= min_age
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
        unknown.push(match found.tally.count(Side::Both, State::CloseWait) - found.ageless {
            0 => "ages unknown, all CLOSE_WAIT counted".to_owned(),
            _ => format!("ages of {} unknown, all of these counted", found.ageless),
        });
        if rules.oldest != Limits::default() {
            unknown.push("the oldest can't be judged".to_owned());
        }
    }
    if found.probed > 0 {
        unknown.push(format!("keepalive probes hide the ages of {}, counted by the time since data", found.probed));
    }
    if found.maybe_stuck > 0 || (at_worst != report.state && found.oldest_at_most > found.oldest) {
        unknown.push(rules.hidden(found, &target.selection));
    }
    unknown.extend(doubt::whose(found.unsure, "in CLOSE_WAIT"));
    report.missing.extend(found.redirected.words());
    unknown.extend((found.strays > 0).then(|| words::strayed(found.strays)));
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
    parts.extend(found.over_unix(&target.selection));
    if found.young > 0 {
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
