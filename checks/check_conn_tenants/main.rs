//! Does one tenant (address range, unit, user, container) eat the shared pool?

mod output;
mod tenancy;

use argh::{ArgsInfo, FromArgs};
use connleak::base::duration::Span;
use connleak::base::error::{Error, Result};
use connleak::kernel::world::World;
use connleak::options::args::{Args, Command};
use connleak::owners::blame::{Blame, Grouping, Suspect};
use connleak::owners::holding;
use connleak::owners::sockets;
use connleak::owners::usual_close_wait::{self, Usual};
use connleak::report::Report;
use connleak::report::doubt;
use connleak::report::range::Range;
use connleak::report::verdict::{Limits, ServiceState};
use connleak::report::words;
use connleak::service::listener::{self, Seen};
use connleak::service::profile::Profile;
use connleak::service::target::{self, Target};
use connleak::service::tenant_key::{Key, Plain};
use serde_json::json;
use std::path::PathBuf;
use tenancy::census::{Ages, Expected, Judged, Rules, connections, display_name};
use tenancy::found::Found;
use tenancy::{label, look};

/// find the tenant that takes a service's connections from the others
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    note = "The main number is the largest tenant's share of the service's limit, in percent; without a limit of all \
               connections."
)]
struct Tenants {
    /// what names a tenant: unit, user, container, cgroup:DEPTH, peer/24 or peer/24,64 (IPv6), cwd:REGEX, cmd:REGEX or
    /// map:FILE; default from the profile, else unit
    #[argh(option, arg_name = "KEY")]
    key: Option<Key>,

    /// connections that the service accepts; default from the profile, else shares are of all
    #[argh(option, arg_name = "N")]
    limit: Option<std::num::NonZeroU64>,

    /// count a tenant's CLOSE_WAIT only from this age on; default from the profile, else 60s
    #[argh(option, arg_name = "DURATION")]
    close_wait_age: Option<Span>,

    /// warning range for each tenant's count in CLOSE_WAIT; default from the profile
    #[argh(option, arg_name = "RANGE")]
    close_wait_warning: Option<Range>,

    /// critical range for each tenant's count in CLOSE_WAIT; default from the profile
    #[argh(option, arg_name = "RANGE")]
    close_wait_critical: Option<Range>,

    /// sockets in CLOSE_WAIT that each pool may keep until it next looks at them: each client host, on the host
    /// itself each unit and user; default from the profile, else what check_conn_growth saw come and go
    #[argh(option, arg_name = "N")]
    close_wait_expected: Option<u64>,

    /// a connection without data for this long is idle; default from the profile, else 30m
    #[argh(option, arg_name = "DURATION")]
    idle_age: Option<Span>,

    /// warning range for each tenant's idle connections; default from the profile
    #[argh(option, arg_name = "RANGE")]
    idle_warning: Option<Range>,

    /// critical range for each tenant's idle connections; default from the profile
    #[argh(option, arg_name = "RANGE")]
    idle_critical: Option<Range>,

    /// idle connections that each pool may keep as spares; default from the profile, else 0
    #[argh(option, arg_name = "N")]
    idle_expected: Option<u64>,

    /// warning range for how many tenants stand out above the others; default 0
    #[argh(option, arg_name = "RANGE")]
    outliers_warning: Option<Range>,

    /// critical range for how many tenants stand out above the others; default none
    #[argh(option, arg_name = "RANGE")]
    outliers_critical: Option<Range>,

    /// a tenant with fewer connections doesn't stand out; default from the profile, else 10
    #[argh(option, arg_name = "N")]
    outliers_min_count: Option<u64>,

    /// where it is remembered since when UNIX sockets have been without their peer; default
    /// /var/lib/connleak, see the man page
    #[argh(option, arg_name = "DIR")]
    state_dir: Option<PathBuf>,
}

impl Tenants {
    /// One that asks for idle connections to be judged.
    fn idle_option(&self) -> Option<&'static str> {
        let given = [
            ("--idle-age", self.idle_age.is_some()),
            ("--idle-warning", self.idle_warning.is_some()),
            ("--idle-critical", self.idle_critical.is_some()),
            ("--idle-expected", self.idle_expected.is_some()),
        ];
        given.into_iter().find(|(_, is_given)| *is_given).map(|(option, _)| option)
    }
}

impl Command for Tenants {
    const PROGRAM: &'static str = "check_conn_tenants";
    const ALSO: &'static [(&'static str, &'static str)] =
        &[("min-age", "close-wait-age"), ("min-count", "outliers-min-count"), ("expected", "close-wait-expected")];
}

fn main() {
    connleak::program::run::main(check)
}

fn check(args: &Args<Tenants>, world: &World) -> Result<Report> {
    let mut target = target::resolve(args.common.request(), world)?.of_choice(world)?;
    listener::check_options(&target, world)?;
    let idle_option = args.own.idle_option();
    if let Some(option) = idle_option.filter(|_| !target.selection.has_tcp()) {
        let instead = "leave it out and use check_conn_growth --unix, or the service's own timeout";
        return Err(Error::Usage(format!("{option}: {}; {instead}", words::UNTOLD_SILENCE)));
    }
    let key = args.own.key.clone().or_else(|| target.profile.tenants.key.clone()).unwrap_or(Key::Plain(Plain::Unit));
    if matches!(args.own.key, Some(Key::Plain(Plain::Peer(_)))) && !target.selection.has_tcp() {
        let instead = "use user, unit, container, cgroup:DEPTH or cwd:PATTERN";
        return Err(Error::Usage(format!("--key {key}: UNIX sockets have no addresses; {instead}")));
    }
    let naming = tenancy::naming(&key, world)?;
    let rules = rules(args, &target.profile);
    let look = look::look(world, &mut target, args.own.state_dir.as_deref(), &rules.ages)?;
    let gathered = world.deadline.elapsed();
    let may_be_usual = args.own.close_wait_expected.is_none() && rules.expected.close_wait == 0;
    let (mut usual, unlearned) = match may_be_usual && world.replay.is_none() && look.has_long_closed() {
        true => usual_close_wait::usual(args.own.state_dir.as_deref(), &target, world),
        false => (Usual::default(), None),
    };
    let found = Found::new(world, key, look, naming, (&rules, &mut usual));
    let judged = rules.judge(&found.census);
    let mut report = present(args, &target, &rules, &found, judged);
    let is_connected = found.census.total + found.unsure.connections > 0;
    let seen = if is_connected { Seen::Connections } else { Seen::Nobody };
    listener::add_absence(&mut report, &target, world, seen);
    report.missing.extend(unlearned.or_else(|| usual.unspared()));
    let over_unix = found.look.over_unix();
    if idle_option.is_some() && over_unix > 0 {
        report.missing.push(format!("idle times of {} over UNIX sockets aren't known", connections(over_unix)));
    }
    if args.common.verbose > 2 {
        report.details.extend(holding::stages(&found.look.seen, gathered, &found.people.owners, world));
    }
    Ok(report)
}

fn rules(args: &Args<Tenants>, profile: &Profile) -> Rules {
    let own = &args.own;
    let limits = |warning, critical| Limits { warning, critical };
    let idle = limits(profile.idle.warning, profile.idle.critical);
    Rules {
        limit: own.limit.map(|limit| limit.get()).or(profile.limit),
        share: args.common.limits().or(profile.tenants.share),
        close_wait: limits(own.close_wait_warning, own.close_wait_critical).or(profile.close_wait.limits()),
        idle: limits(own.idle_warning, own.idle_critical).or(idle),
        outliers: limits(own.outliers_warning, own.outliers_critical).or(limits(Some(Range::up_to(0.0)), None)),
        min_count: own.outliers_min_count.or(profile.tenants.min_count).unwrap_or(10),
        ages: Ages {
            close_wait: own.close_wait_age.or(profile.close_wait.min_age).unwrap_or(Span::seconds(60)),
            idle: own.idle_age.or(profile.idle.min_age).unwrap_or(Span::seconds(1800)),
        },
        expected: Expected {
            close_wait: own.close_wait_expected.or(profile.close_wait.expected).unwrap_or(0),
            idle: own.idle_expected.or(profile.idle.expected).unwrap_or(0),
        },
    }
}

fn present(args: &Args<Tenants>, target: &Target, rules: &Rules, found: &Found, judged: Judged) -> Report {
    let common = &args.common;
    let owners = &found.people.owners;
    let blame = Blame::of(found.suspects(&judged), owners, Grouping::new(target));
    // Very many: they are kept where they are shown.
    let are_shown = common.verbose > 1 || target.request.lists_sockets;
    let suspects: Vec<Suspect> = found.suspects(&judged).filter(|_| are_shown).collect();
    let labels = label::all(found.census.tenants.iter().map(|tenant| tenant.name.as_str()).take(target.request.top));
    let state = judged.verdict.state;
    let (named, outliers) = (judged.named, judged.outliers);
    let mut report = Report::new("conn_tenants", target.service.clone(), &found.look.seen, judged.verdict);
    report.headline = headline(rules, found, &report.reasons, &blame);
    report.parts = output::parts(rules, found, &labels);
    report.metrics = output::metrics(rules, found, outliers.len(), report.parts.len());
    blame.add_to(&mut report);
    report.extra.insert("key".into(), json!(found.key.to_string()));
    report.extra.insert("limit".into(), json!(rules.limit));
    report.extra.insert("tenants".into(), output::tenants(rules, found, &labels, &named, &outliers));
    report.extra.insert("pooled".into(), json!(found.census.pooled));
    report.extra.insert("unknown".into(), output::unknown(found));
    report.extra.insert("poolers".into(), json!(found.poolers));
    report.extra.insert("ages_known".into(), json!(found.idle_known));
    doubts(rules, found, state, &mut report);
    if !matches!(found.key, Key::Plain(Plain::Peer(_))) {
        report.lacks_owners(blame.unowned, blame.shortfall(owners));
    }
    report.details = output::details(rules, found, common.verbose, target.request.top);
    report.details.extend(blame.details(&suspects, owners, common.verbose));
    sockets::add_to(&mut report, &suspects, owners, &target.request);
    report
}

/// Says what the verdict may lack, where that could change it.
fn doubts(rules: &Rules, found: &Found, state: ServiceState, report: &mut Report) {
    let census = &found.census;
    let mut doubts = Vec::new();
    let hidden = rules.at_worst(census, false).verdict;
    if hidden.state != state {
        doubts.push(match census.most(|counts| counts.maybe_idle) {
            0 => {
                let maybe = hidden.reasons.into_iter().next();
                let maybe = maybe.map_or_else(String::new, |reason| format!("maybe {reason}, as "));
                format!("{maybe}{}", found.why_unaged())
            }
            _ => "ages unknown: idle connections can't be judged".to_owned(),
        });
    }
    let unknown = census.unknown.connections;
    if unknown > 0 {
        doubts.push(format!("{} of unknown tenants ({})", connections(unknown), census.unknown_words()));
    }
    doubts.extend(doubt::whose(found.unsure.connections, ""));
    report.doubt(rules.at_worst(&found.with_unsure(), true).verdict.state, doubts);
    report.missing.extend(found.poolers_missing.iter().chain(&found.look.unkept).cloned());
}

fn headline(rules: &Rules, found: &Found, reasons: &[String], blame: &Blame) -> String {
    let census = &found.census;
    let mut parts = reasons.to_vec();
    // Of one tenant several numbers may be bad: its name is said once.
    for pair in (1..parts.len()).rev() {
        if let Some((name, what)) = reasons[pair].rsplit_once(": ")
            && reasons[pair - 1].rsplit_once(": ").is_some_and(|(before, _)| before == name)
        {
            parts[pair] = what.to_owned();
        }
    }
    if !reasons.is_empty() {
        parts.extend(blame.headline());
    }
    let tenants = if census.tenants.len() == 1 { "tenant" } else { "tenants" };
    if census.is_local && reasons.is_empty() {
        parts.push(format!("{}, all of this host itself, no tenant by peer", connections(census.total)));
        parts.extend(blame.headline());
        return parts.join(", ");
    }
    let (all, key) = (connections(census.total), display_name(&found.key.to_string()));
    let mut of_tenants = format!("{all} of {} {tenants} by {key}", census.tenants.len());
    if let Some(largest) = census.tenants.first().filter(|_| reasons.is_empty()) {
        let (name, most) = (display_name(&largest.name), largest.counts.connections);
        let of = rules.limit.map_or(String::new(), |limit| format!(" of limit {limit}"));
        let share = rules.share(most, census);
        if most == census.total {
            of_tenants = format!("{all}, {share}%{of}, all of tenant {name} by {key}");
        } else {
            of_tenants += &format!(", largest tenant {name}: {}, {share}%{of}", connections(most));
        }
    }
    // Where the only one has them all the reason says it.
    if census.tenants.len() == 1 && reasons.iter().any(|reason| reason.contains(&format!(": {all}, "))) {
        of_tenants = format!("no other tenant by {key}");
    }
    parts.push(of_tenants);
    parts.extend(words::over_unix(found.look.over_unix(), found.look.has_tcp));
    if census.pooled.connections > 0 {
        parts.push(format!("{} by poolers", census.pooled.connections));
    }
    parts.extend(found.poolers.iter().take(1).map(output::pooler_words));
    parts.join(", ")
}
