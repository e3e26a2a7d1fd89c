//! Which profiles there are, and the thresholds that checks of them judge by.

use super::examine::Finding;
use connleak::base::duration::Span;
use connleak::base::error::Result;
use connleak::kernel::socket::{Side, State, StateSet};
use connleak::kernel::source::{self, Query};
use connleak::kernel::world::World;
use connleak::report::GENERIC;
use connleak::report::verdict::Limits;
use connleak::service::profile::{self, Profile, Spans};
use std::collections::BTreeMap;
use std::fmt::Display;

/// What a service's checks judge by.
pub struct InForce {
    /// `mysql`.
    pub service: String,
    /// Where it is from: `built in`, or a file.
    pub origin: String,
    pub lines: Vec<(&'static str, String)>,
}

/// The profiles asked for, else those of the ports that are listened on, and `generic`; and what can't be read.
///
/// # Errors
/// Where one that is asked for can't be had.
pub fn in_force(asked: &[String], world: &World) -> Result<(Vec<InForce>, Vec<String>)> {
    let mut profiles: Vec<(&str, Profile)> = Vec::new();
    for name in asked {
        profiles.push((name, profile::named(name, &world.thresholds)?));
    }
    let mut unread = Vec::new();
    let mut note = |read: Result<Option<Profile>>| {
        read.unwrap_or_else(|why| {
            unread.push(why.to_string());
            None
        })
    };
    let generic = note(profile::named(GENERIC, &world.thresholds).map(Some));
    if asked.is_empty() {
        let of_ports = ports(world).into_iter().filter_map(|port| note(profile::of_port(port, &world.thresholds)));
        profiles.extend(of_ports.map(|profile| ("", profile)));
        profiles.extend(generic.clone().map(|profile| ("", profile)));
    }
    // A file that no port here leads to is read by its name only.
    match profile::installed_names(&world.thresholds) {
        Ok(names) => names.iter().for_each(|name| drop(note(profile::named(name, &world.thresholds).map(Some)))),
        Err(why) => drop(note(Err(why))),
    }
    unread.sort_unstable();
    unread.dedup();
    let mut found: BTreeMap<String, InForce> = BTreeMap::new();
    for (name, profile) in profiles {
        let service = profile.service.clone();
        let origin = origin(name, &service, world);
        let whole = match &generic {
            Some(generic) => profile.or(generic),
            None => profile,
        };
        found.entry(service.clone()).or_insert_with(|| InForce { service, origin, lines: lines(&whole) });
    }
    Ok((found.into_values().collect(), unread))
}

pub fn finding(in_force: &[InForce], unread: Vec<String>, world: &World) -> Finding {
    const TOPIC: &str = "profiles";
    let place = world.thresholds.display();
    // That they can't be listed is among the unread.
    let installed = profile::installed_names(&world.thresholds).unwrap_or_default();
    if !unread.is_empty() {
        return Finding::partial(TOPIC, format!("{}; checks that need it are UNKNOWN", unread.join("; ")));
    }
    let of =
        if installed.is_empty() { format!("none in {place}") } else { format!("{place} has {}", installed.join(", ")) };
    Finding::good(TOPIC, format!("{of}; in force for what listens here or is asked for: {}", in_force.len()))
}

/// Ports with a listener; what can't be read is said elsewhere.
fn ports(world: &World) -> Vec<u16> {
    let states = StateSet::of(&[State::Listen]);
    let query = Query { states, ports: &[], side: Side::Server, times: false, listeners: false };
    let mut ports = Vec::new();
    let _ = source::visit(world, &query, &mut |socket| ports.push(socket.local.port));
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn origin(asked: &str, service: &str, world: &World) -> String {
    if asked.contains('/') || asked.ends_with(".yaml") || asked.ends_with(".yml") {
        return asked.to_owned();
    }
    let file = world.thresholds.join(format!("{service}.yaml"));
    if file.exists() { file.display().to_string() } else { "built in".to_owned() }
}

fn lines(profile: &Profile) -> Vec<(&'static str, String)> {
    let age = |span: Option<Span>| span.map_or(String::new(), |span| format!("for {span} or more: "));
    let mut lines = vec![
        ("ports", profile.ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",")),
        ("UNIX sockets", profile.unix.iter().map(|path| path.text()).collect::<Vec<_>>().join(" ")),
        ("limit", profile.limit.map_or(String::new(), |limit| limit.to_string())),
        ("pool", profile.pool.map_or(String::new(), |pool| format!("{pool} of each user and database"))),
        ("CLOSE_WAIT", format!("{}{}", age(profile.close_wait.min_age), limits(profile.close_wait.limits()))),
        ("CLOSE_WAIT ratio", percent(profile.close_wait.ratio.limits())),
        ("CLOSE_WAIT oldest", spans(&profile.close_wait.oldest)),
        ("time to the limit", spans(&profile.growth)),
        ("idle", format!("{}{}", age(profile.idle.min_age), limits(profile.idle.limits()))),
        ("idle ratio", percent(profile.idle.ratio.limits())),
        ("never used", limits(profile.idle.never_used)),
        ("idle oldest", spans(&profile.idle.oldest)),
        ("accept queue", percent(profile.states.accept_queue)),
        ("half open", percent(profile.states.half_open)),
        ("ephemeral ports", percent(profile.states.ephemeral_ports)),
        ("stuck", format!("{}{}", age(profile.states.stuck.min_age), limits(profile.states.stuck.limits()))),
        ("states", states(profile)),
        ("tenant's share", percent(profile.tenants.share)),
        ("wait after a stop", profile.orphans.wait.map_or(String::new(), |wait| wait.to_string())),
    ];
    lines.retain(|(_, says)| !says.is_empty() && !says.ends_with(": "));
    lines
}

fn states(profile: &Profile) -> String {
    let one = |(state, of): &(State, Limits)| format!("{state} {}", limits(*of));
    profile.states.by_state.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// `warning 5, critical 20`.
fn limits(limits: Limits) -> String {
    joined(limits.warning, limits.critical, "")
}

fn percent(limits: Limits) -> String {
    joined(limits.warning, limits.critical, " %")
}

fn spans(spans: &Spans) -> String {
    joined(spans.warning, spans.critical, "")
}

fn joined(warning: Option<impl Display>, critical: Option<impl Display>, unit: &str) -> String {
    let warning = warning.map(|range| format!("warning {range}{unit}"));
    let critical = critical.map(|range| format!("critical {range}{unit}"));
    warning.into_iter().chain(critical).collect::<Vec<_>>().join(", ")
}
