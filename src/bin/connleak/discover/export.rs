//! The same for programs: JSON, and what monitoring systems take.

use super::Found;
use super::listening::{Listening, Place};
use super::recorded::Watched;
use super::services::Offered;
use crate::cells::json_line;
use connleak::program::suite::SUITE;
use serde_json::{Value, json};

/// Checks that need nothing beside the service, in the order of the suite.
fn checks() -> impl Iterator<Item = &'static str> {
    let alone = ["check_conn_tenants", "check_orphans_after_stop"];
    SUITE.iter().map(|program| program.name).filter(move |name| name.starts_with("check_") && !alone.contains(name))
}

/// One object; keys are never removed.
pub fn json(found: &Found) -> String {
    json_line(&json!({
        "schema": 1,
        "command": "discover",
        "listeners": found.listening.iter().map(|one| listener(one, found)).collect::<Vec<_>>(),
        "services": found.offered.iter().map(service).collect::<Vec<_>>(),
        "missing": found.missing.iter().chain(&found.notes).collect::<Vec<_>>(),
        "complete": {
            "listeners": found.missing.is_empty(),
            "owners": found.has_owners,
            "watched": found.recorded.unread.is_none(),
        },
    }))
}

fn listener(one: &Listening, found: &Found) -> Value {
    let process = one.process.as_ref();
    let addresses = match &one.place {
        Place::Tcp(_, addresses) => addresses.iter().map(ToString::to_string).collect(),
        Place::Unix(_) => Vec::new(),
    };
    let (watched, last) = watched(found.recorded.of(one));
    json!({
        "protocol": one.protocol(),
        "port": one.port(),
        "addresses": addresses,
        "path": one.path(),
        "netns": one.netns,
        "pid": process.map(|process| process.pid),
        "command": process.map(|process| &process.command),
        "unit": one.unit(),
        "container": one.container(),
        "user": one.user,
        "profile": one.fit.as_ref().map(|fit| &fit.profile),
        "fits_by": one.fit.as_ref().map(|fit| fit.by.name()),
        "watched": watched,
        "last_recorded": last,
    })
}

fn service(service: &Offered) -> Value {
    let (watched, last) = watched(service.watched);
    json!({
        "name": service.name,
        "profile": service.profile,
        "ports": service.ports,
        "unix": service.unix,
        "options": service.command_line(),
        "watched": watched,
        "last_recorded": last,
    })
}

/// Whether it is, and when it was last looked at, in seconds since 1970; unknown is null.
fn watched(watched: Watched) -> (Value, Value) {
    match watched {
        Watched::At(last) => (json!(true), json!(last)),
        Watched::No => (json!(false), Value::Null),
        Watched::Unknown => (Value::Null, Value::Null),
    }
}

/// Those that a configuration can hold, and what is said of the others.
fn plain(found: &Found) -> (Vec<&Offered>, Option<String>) {
    let (plain, others): (Vec<_>, Vec<_>) = found.offered.iter().partition(|service| service.is_plain());
    let names: Vec<_> = others.iter().map(|service| service.name.as_str()).collect();
    (plain, (!names.is_empty()).then(|| format!("left out, as their names need quoting: {}", names.join(", "))))
}

/// Low-level discovery: an array of macros, a service each.
pub fn zabbix(found: &Found) -> (String, Option<String>) {
    let (services, left_out) = plain(found);
    let macros = |service: &&Offered| {
        let ports: Vec<_> = service.ports.iter().map(u16::to_string).collect();
        json!({
            "{#CONNLEAK.NAME}": service.name,
            "{#CONNLEAK.OPTIONS}": service.command_line(),
            "{#CONNLEAK.PROFILE}": service.profile.as_deref().unwrap_or("generic"),
            "{#CONNLEAK.PORTS}": ports.join(","),
        })
    };
    (json_line(&Value::Array(services.iter().map(macros).collect())), left_out)
}

/// `vars.connleak` of a host, for contrib/icinga2/connleak-services.conf.
pub fn icinga(found: &Found) -> (String, Option<String>) {
    let (services, left_out) = plain(found);
    let block = |service: &&Offered| {
        let is_name_enough = service.options.len() == 1 && service.profile.as_ref() == Some(&service.name);
        if is_name_enough {
            return format!("vars.connleak[\"{}\"] = {{}}\n", service.name);
        }
        let variable = |check: &str, option: &str, value: &str| {
            let name = match option {
                "-P" => "profile",
                "-p" => "port",
                "--unix" => "unix",
                _ => "netns",
            };
            format!("  {}_{name} = \"{value}\"\n", check.trim_start_matches("check_"))
        };
        let options = service.options.iter();
        let mut lines: String =
            options.flat_map(|(option, value)| checks().map(move |check| variable(check, option, value))).collect();
        if service.options.iter().all(|(option, _)| *option != "-P") {
            // Else the key would be taken for a profile's name.
            lines.extend(checks().map(|check| variable(check, "-P", "generic")));
        }
        format!("vars.connleak[\"{}\"] = {{\n{lines}}}\n", service.name)
    };
    (services.iter().map(block).collect(), left_out)
}

/// Services for contrib/nagios/connleak-commands.cfg.
pub fn nagios(found: &Found) -> (String, Option<String>) {
    let (services, left_out) = plain(found);
    let one = |service: &&Offered, check: &str| {
        let profile = service.options.iter().find(|(option, _)| *option == "-P").map_or("generic", |(_, name)| name);
        let more = service.options.iter().filter(|(option, _)| *option != "-P");
        let more: String = more.map(|(option, value)| format!(" {option} {value}")).collect();
        let more = if more.is_empty() { more } else { format!("!{}", more.trim_start()) };
        let (name, what) = (&service.name, check.trim_start_matches("check_").trim_start_matches("conn_"));
        format!(
            "define service {{\n    use                    connleak\n    host_name              localhost\n    \
             service_description    {name} {what}\n    check_command          {check}!{profile}{more}\n}}\n\n"
        )
    };
    (services.iter().flat_map(|service| checks().map(move |check| one(service, check))).collect(), left_out)
}
