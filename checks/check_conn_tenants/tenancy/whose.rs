//! From what is known of a socket and its process to the name of its tenant.

use connleak::kernel::members;
use connleak::kernel::owner::lineage::Link;
use connleak::service::profile::map::{Marks, TenantMap, User};
use connleak::service::tenant_key::Plain;
use regex_lite::Regex;
use std::net::IpAddr;

/// A key, ready to name.
#[derive(Debug)]
pub enum Naming {
    Plain(Plain),
    Cwd(Regex),
    Cmd(Regex),
    Map(TenantMap),
}

/// What is known of one end of a connection.
#[derive(Debug, Default)]
pub struct Who<'a> {
    pub peer: Option<IpAddr>,
    pub uid: Option<u32>,
    pub user: Option<&'a str>,
    pub cgroup: Option<&'a str>,
    /// The process, then its ancestors.
    pub lineage: Vec<&'a Link>,
}

impl Naming {
    /// Whether only processes can answer it.
    pub fn needs_processes(&self) -> bool {
        match self {
            Naming::Plain(plain) => !matches!(plain, Plain::User | Plain::Peer(_)),
            Naming::Cwd(_) | Naming::Cmd(_) => true,
            Naming::Map(TenantMap(tenants)) => {
                tenants.iter().any(|(_, marks)| !marks.units.is_empty() || !marks.paths.is_empty())
            }
        }
    }

    pub fn wants_peers(&self) -> bool {
        matches!(self, Naming::Map(_) | Naming::Plain(Plain::Peer(_)))
    }

    pub fn wants_cgroups(&self) -> bool {
        !matches!(self, Naming::Cwd(_) | Naming::Cmd(_) | Naming::Plain(Plain::User | Plain::Peer(_)))
    }

    /// The process names the tenant; where it doesn't, the nearest ancestor that does.
    pub fn name(&self, who: &Who) -> Option<String> {
        match self {
            Naming::Plain(Plain::Peer(prefixes)) => who.peer.map(|peer| prefixes.name(peer)),
            Naming::Plain(Plain::User) => {
                Some(who.user.map_or_else(|| who.uid.map(|uid| uid.to_string()), |user| Some(user.to_owned()))?)
            }
            Naming::Plain(plain) => plain.name(IpAddr::from([0; 4]), who.user, who.cgroup),
            Naming::Cwd(pattern) => who.lineage.iter().find_map(|link| captured(pattern, link.directory.as_deref()?)),
            Naming::Cmd(pattern) => who.lineage.iter().find_map(|link| captured(pattern, &link.command_line)),
            Naming::Map(TenantMap(tenants)) => {
                let of_paths = |link: &&Link| tenants.iter().find(|(_, marks)| has_path(marks, link));
                let own = who.lineage.first();
                let direct = tenants
                    .iter()
                    .find(|(_, marks)| is_marked(marks, who) || own.is_some_and(|link| has_path(marks, link)));
                direct.or_else(|| who.lineage.iter().skip(1).find_map(of_paths)).map(|(name, _)| name.clone())
            }
        }
    }
}

/// The first group of the match, or all of it where the pattern has none.
fn captured(pattern: &Regex, text: &str) -> Option<String> {
    let found = pattern.captures(text)?;
    let wanted = if found.len() > 1 { found.get(1) } else { found.get(0) };
    wanted.map(|found| found.as_str().to_owned()).filter(|name| !name.is_empty())
}

fn is_marked(marks: &Marks, who: &Who) -> bool {
    let is_user = |user: &User| match user {
        User::Uid(uid) => who.uid == Some(*uid),
        User::Name(name) => who.user == Some(name),
    };
    who.peer.is_some_and(|peer| marks.cidrs.iter().any(|range| range.has(peer)))
        || marks.users.iter().any(is_user)
        || who.cgroup.is_some_and(|cgroup| marks.units.iter().any(|unit| members::belongs(cgroup, unit)))
}

/// Whether the process works in one of the tenant's paths, or has an argument that lies there.
fn has_path(marks: &Marks, link: &Link) -> bool {
    let arguments = link.command_line.split([' ', '=']).filter(|argument| argument.starts_with('/'));
    let mut paths = link.directory.as_deref().into_iter().chain(arguments);
    !marks.paths.is_empty() && paths.any(|path| marks.paths.iter().any(|pattern| lies_in(path, pattern)))
}

/// Whether a path is one that the pattern names, or below it.
fn lies_in(path: &str, pattern: &str) -> bool {
    let mut parts = path.trim_end_matches('/').split('/');
    pattern.trim_end_matches('/').split('/').all(|pattern| parts.next().is_some_and(|part| is_like(part, pattern)))
}

/// `*` stands for any characters. Each star but the last needs no second look once the text before it fits.
fn is_like(text: &str, pattern: &str) -> bool {
    let Some((front, rest)) = pattern.split_once('*') else { return text == pattern };
    let Some(mut text) = text.strip_prefix(front) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let last = pieces.pop().unwrap_or("");
    for piece in pieces {
        let Some(at) = text.find(piece) else { return false };
        text = &text[at + piece.len()..];
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(command_line: &str, directory: &str) -> Link {
        Link { pid: 2, command_line: command_line.into(), directory: Some(directory.into()), ..Link::default() }
    }

    fn map(yaml: &str) -> Naming {
        Naming::Map(serde_yaml::from_str(yaml).unwrap())
    }

    #[test]
    fn the_first_group_names_else_the_whole_match() {
        let of = |pattern: &str, text: &str| captured(&Regex::new(pattern).unwrap(), text);
        assert_eq!(of("pool ([a-z]+)", "php-fpm: pool acme").as_deref(), Some("acme"));
        assert_eq!(of("acme|beta", "x beta y").as_deref(), Some("beta"));
        assert_eq!(of("a(b)?", "a"), None, "a group that took no part names nobody");
        assert_eq!(of("x*", "yyy"), None, "nor does nothing");
    }

    /// Patterns that make engines which go back run for ever.
    #[test]
    fn no_pattern_runs_for_ever() {
        let text = "a".repeat(4096);
        for pattern in ["(a*)*b", "(a+a+)+b", "(.*)*(.*)*(.*)*b", "(a|a)*b"] {
            assert_eq!(captured(&Regex::new(pattern).unwrap(), &text), None, "{pattern}");
        }
    }

    #[test]
    fn a_worker_counts_for_its_master() {
        let (worker, master) = (link("sh", "/tmp"), link("daemon --customer=acme", "/home/acme/www"));
        let who = || Who { lineage: vec![&worker, &master], ..Who::default() };
        assert_eq!(Naming::Cwd(Regex::new("^/home/([^/]+)").unwrap()).name(&who()).as_deref(), Some("acme"));
        assert_eq!(Naming::Cmd(Regex::new("customer=(.*)").unwrap()).name(&who()).as_deref(), Some("acme"));
        assert_eq!(Naming::Cmd(Regex::new("^(\\w+)").unwrap()).name(&who()).as_deref(), Some("sh"));
        assert_eq!(map("a: {paths: [/home/acme]}").name(&who()).as_deref(), Some("a"));
        assert_eq!(map("a: {paths: [/home/acme]}\nb: {paths: [/tmp]}").name(&who()).as_deref(), Some("b"));
    }

    #[test]
    fn a_map_names_by_any_mark() {
        let naming = map(
            "net: {cidrs: [10.0.0.0/8]}\nuser: {users: [web, 1001]}\nunit: {units: [x]}\nall: {cidrs: [0.0.0.0/0]}",
        );
        let name = |who: Who| naming.name(&who);
        let peer = |text: &str| Some(text.parse().unwrap());
        assert_eq!(name(Who { peer: peer("10.9.9.9"), ..Who::default() }).as_deref(), Some("net"));
        assert_eq!(
            name(Who { user: Some("web"), uid: Some(33), peer: peer("1.1.1.1"), ..Who::default() }).as_deref(),
            Some("user")
        );
        assert_eq!(name(Who { uid: Some(1001), ..Who::default() }).as_deref(), Some("user"));
        assert_eq!(name(Who { cgroup: Some("/s/x.service"), ..Who::default() }).as_deref(), Some("unit"));
        assert_eq!(name(Who { peer: peer("1.1.1.1"), ..Who::default() }).as_deref(), Some("all"));
        assert_eq!(name(Who { peer: peer("::1"), ..Who::default() }), None);
        assert!(naming.needs_processes() && !map("a: {users: [x]}").needs_processes());
    }

    #[test]
    fn path_patterns() {
        for (path, pattern) in [
            ("/home/acme", "/home/acme"),
            ("/home/acme/www/x", "/home/acme/"),
            ("/srv/7/acme/x", "/srv/*/acme"),
            ("/home/acme-web", "/home/acme-*"),
            ("/home/aXbXc", "/home/a*b*c"),
            ("/x", "/"),
        ] {
            assert!(lies_in(path, pattern), "{path} {pattern}");
        }
        for (path, pattern) in [
            ("/home/acme2", "/home/acme"),
            ("/home", "/home/acme"),
            ("/srv/7/8/acme", "/srv/*/acme"),
            ("/home/ab", "/home/a*bb"),
            ("/home/ab", "/home/ab*b"),
        ] {
            assert!(!lies_in(path, pattern), "{path} {pattern}");
        }
    }
}
