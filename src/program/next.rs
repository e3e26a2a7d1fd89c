//! The one command that a person types after an alert, in its long text.

use crate::kernel::socket::Side;
use crate::kernel::world::Netns;
use crate::options::args::{Common, pids};
use crate::report::Report;
use crate::report::verdict::ServiceState;
use crate::service::request::pids_text;

/// Services whose own session list `connleak sessions` reads, by their profiles.
pub const WITH_SESSIONS: [&str; 5] = ["postgresql", "mysql", "redis", "memcached", "pgbouncer"];

/// Adds it where there is a problem and -v asks for more than a line; never to the first one, which some pagers cut.
pub fn add(report: &mut Report, common: &Common) {
    if common.verbose > 0 && report.state != ServiceState::Ok && common.replay.is_none() {
        let command = command(report, common);
        report.details.extend(command.map(|command| format!("look: {command}")));
    }
}

/// `connleak who -p 5432 --side client`, or by the profile that was asked for; of what is only idle, what it was last asked.
fn command(report: &Report, common: &Common) -> Option<String> {
    let service = report.service.as_ref()?;
    let netns = match &common.netns {
        None | Some(Netns::Home) => None,
        Some(Netns::All) => Some("all".to_owned()),
        Some(Netns::OfProcess(pid)) => Some(pid.to_string()),
        Some(Netns::Named(name)) => Some(name.clone()),
    };
    let ports = (!service.ports.is_empty()).then(|| service.ports_text());
    let is_typed = !common.port.is_empty() || !common.unix.is_empty();
    let profile = common.profile.first().filter(|_| !is_typed).cloned();
    let has_service = ports.is_some() || profile.is_some() || !common.unix.is_empty();
    let pids = pids_text(&pids::all(&common.pid));
    if !has_service && common.unit.is_none() && common.user.is_none() && pids.is_none() {
        return None;
    }
    if report.check == "conn_idle" && WITH_SESSIONS.contains(&service.profile.as_str()) {
        return Some(format!("connleak sessions --how -p {}", ports?));
    }
    let side = has_service.then_some(service.side).filter(|side| *side != Side::Both);
    let unix = common.unix.iter().map(|path| ("--unix", Some(path.text().to_owned())));
    let choices = [
        ("-p", ports.filter(|_| profile.is_none())),
        ("-P", profile),
        ("--side", side.map(|side| side.name().to_owned())),
        ("--unit", common.unit.clone()),
        ("--user", common.user.clone()),
        ("--pid", pids),
        ("--netns", netns),
        ("--proc-root", common.proc_root.as_ref().map(|root| root.to_string_lossy().into_owned())),
    ];
    // A word that a shell would not take as it is would be another command.
    let is_plain = |word: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.,:/@".contains(&byte);
        !word.is_empty() && word.bytes().all(is_plain)
    };
    let mut command = "connleak who".to_owned();
    for (option, value) in unix.chain(choices) {
        if let Some(value) = value {
            if !is_plain(&value) {
                return None;
            }
            command.push_str(&format!(" {option} {value}"));
        }
    }
    Some(command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Service;

    fn details(check: &'static str, profile: &str, side: Side, common: &Common) -> Vec<String> {
        let mut report = Report::failed(check, ServiceState::Critical, String::new());
        report.service = Some(Service { profile: profile.to_owned(), ports: vec![5432], side });
        report.details.push("owner".to_owned());
        add(&mut report, common);
        report.details
    }

    #[test]
    fn a_problem_ends_with_the_next_command() {
        let verbose = |unit: Option<&str>| Common { verbose: 1, unit: unit.map(str::to_owned), ..Common::default() };
        let of = |check, side, common: &Common| details(check, "postgresql", side, common);
        let last = |told: Vec<String>| told.into_iter().next_back().unwrap();
        let common = verbose(None);
        assert_eq!(last(of("closewait", Side::Client, &common)), "look: connleak who -p 5432 --side client");
        assert_eq!(last(of("conn_states", Side::Both, &common)), "look: connleak who -p 5432");
        assert_eq!(last(of("conn_idle", Side::Both, &common)), "look: connleak sessions --how -p 5432");
        assert_eq!(last(details("conn_idle", "kafka", Side::Both, &common)), "look: connleak who -p 5432");
        let common = verbose(Some("app@1.service"));
        assert_eq!(last(of("closewait", Side::Both, &common)), "look: connleak who -p 5432 --unit app@1.service");
        assert_eq!(of("closewait", Side::Both, &verbose(Some("x; rm -rf /"))), ["owner"]);
        assert_eq!(of("closewait", Side::Both, &Common::default()), ["owner"], "one line stays one");
        let path = "/run/x.sock".parse().unwrap();
        let typed = Common { unix: vec![path], ..verbose(None) };
        assert_eq!(last(of("closewait", Side::Both, &typed)), "look: connleak who --unix /run/x.sock -p 5432");
        // What it has over UNIX sockets is shown by its name only.
        let named = Common { profile: vec!["mysql".into()], ..verbose(None) };
        assert_eq!(last(of("closewait", Side::Server, &named)), "look: connleak who -P mysql --side server");
        let all = Common { netns: Some(Netns::All), ..verbose(None) };
        assert_eq!(last(of("closewait", Side::Both, &all)), "look: connleak who -p 5432 --netns all");
    }
}
