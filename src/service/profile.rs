//! Service profiles: YAML to [`Profile`]. With the build script the only user of the YAML crate.
//!
//! Search order: the file given, `NAME.yaml` in the thresholds directory, the embedded default.

mod embedded;
mod explained;
pub mod map;
mod sections;
mod states;
mod unix;

pub use sections::{CloseWait, Idle, Orphans, Ratio, Spans, Tenants, Waiting};
pub use states::{States, Stuck};
pub use unix::of_unix;

use crate::base::error::{Error, Result};
use crate::base::read_limited;
use crate::base::word;
use crate::kernel::socket::Side;
use crate::kernel::unix_target::UnixPath;
use crate::report::GENERIC;
use embedded::EMBEDDED;
use explained::explained;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Far more than any profile needs.
const LARGEST_FILE: u64 = 64 * 1024;

/// One service's ports and thresholds. DESIGN.md has the commented form.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    pub service: String,
    pub ports: Vec<u16>,
    /// UNIX sockets that it usually listens on.
    #[serde(default)]
    pub unix: Vec<UnixPath>,
    pub side: Option<Side>,
    /// Connections that the service accepts by default.
    pub limit: Option<u64>,
    /// Connections of each user and database that a pooler has with the servers behind it: its limit is that of its clients.
    pub pool: Option<u64>,
    /// Names of programs that are known to talk to the service.
    #[serde(default)]
    pub clients: Vec<String>,
    #[serde(default)]
    pub close_wait: CloseWait,
    #[serde(default)]
    /// Time left until the limit.
    pub growth: Spans,
    #[serde(default)]
    pub orphans: Orphans,
    #[serde(default)]
    pub idle: Idle,
    #[serde(default)]
    pub states: States,
    #[serde(default)]
    pub tenants: Tenants,
}

impl Profile {
    /// With each section that is missing taken from `generic`, and the thresholds of one that has none: without any
    /// all would be well for ever.
    pub fn or(mut self, generic: &Profile) -> Profile {
        if !self.close_wait.judges() {
            self.close_wait.judged_as(&generic.close_wait);
        }
        fill(&mut self.growth, &generic.growth);
        fill(&mut self.orphans, &generic.orphans);
        if !self.idle.judges() {
            self.idle.judged_as(&generic.idle);
        }
        fill(&mut self.tenants.share, &generic.tenants.share);
        self.tenants.key = self.tenants.key.take().or_else(|| generic.tenants.key.clone());
        self.tenants.min_count = self.tenants.min_count.or(generic.tenants.min_count);
        self.states = self.states.or(&generic.states);
        self
    }

    /// Whether nothing would be taken from another one but counts by TCP state.
    fn has_all_sections(&self) -> bool {
        !(!self.close_wait.judges()
            || is_missing(&self.growth)
            || is_missing(&self.orphans)
            || !self.idle.judges()
            || is_missing(&self.tenants.share))
    }
}

fn is_missing<T: Default + PartialEq>(section: &T) -> bool {
    *section == T::default()
}

fn fill<T: Default + PartialEq + Clone>(section: &mut T, generic: &T) {
    if is_missing(section) {
        section.clone_from(generic);
    }
}

/// The profile that `-P` names: a file where it has a slash or ends in .yaml, else a name.
pub fn named(name: &str, thresholds: &Path) -> Result<Profile> {
    if name.contains('/') || name.ends_with(".yaml") || name.ends_with(".yml") {
        return from_file(Path::new(name));
    }
    if let Some(profile) = installed(name, thresholds)? {
        return Ok(profile);
    }
    if let Some(found) = EMBEDDED.iter().find(|embedded| embedded.name == name) {
        return found.profile();
    }
    let mut known: Vec<String> = EMBEDDED.iter().map(|embedded| embedded.name.to_owned()).collect();
    known.extend(installed_names(thresholds)?);
    known.sort_unstable();
    known.dedup();
    let meant = word::suggestion("", name, known.iter().map(String::as_str));
    Err(Error::Usage(format!("unknown profile '{name}'; {meant}known are {}, or give a file", known.join(", "))))
}

/// What a profile leaves out, from `generic`. That is only read where something is missing; `states` are
/// for the check that judges them, see [`Profile::or`].
pub fn complete(profile: Profile, thresholds: &Path) -> Result<Profile> {
    if profile.has_all_sections() { Ok(profile) } else { Ok(profile.or(&named(GENERIC, thresholds)?)) }
}

/// The profile in which `port` is listed: that of its well-known service, else the first installed
/// file in the order of names. `None`: no profile has it.
pub fn of_port(port: u16, thresholds: &Path) -> Result<Option<Profile>> {
    let well_known = EMBEDDED.iter().find(|embedded| embedded.ports.contains(&port));
    if let Some(found) = well_known {
        let installed = installed(found.name, thresholds)?;
        if installed.as_ref().is_none_or(|profile| profile.ports.contains(&port)) {
            return installed.map_or_else(|| found.profile(), Ok).map(Some);
        }
    }
    for path in files(thresholds)? {
        let profile = from_file(&path)?;
        if profile.ports.contains(&port) {
            return Ok(Some(profile));
        }
    }
    Ok(None)
}

fn installed(name: &str, thresholds: &Path) -> Result<Option<Profile>> {
    let path = thresholds.join(format!("{name}.yaml"));
    match from_file(&path) {
        Err(Error::File { cause, .. }) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
        profile => profile.map(Some),
    }
}

/// The names of the installed profiles, in their order.
///
/// # Errors
/// Where their folder can't be read.
pub fn installed_names(thresholds: &Path) -> Result<Vec<String>> {
    Ok(files(thresholds)?.iter().filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect())
}

/// The installed profiles' files in the order of their names.
fn files(thresholds: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(thresholds) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|cause| Error::reading(thresholds, cause))?,
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>();
    let mut files = paths.map_err(|cause| Error::reading(thresholds, cause))?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort_unstable();
    Ok(files)
}

fn from_file(path: &Path) -> Result<Profile> {
    parse(&read_limited::read(path, LARGEST_FILE)?, path)
}

/// Parses and checks one profile. `origin` is named in errors, with line and column.
pub fn parse(yaml: &str, origin: &Path) -> Result<Profile> {
    let profile: Profile = serde_yaml::from_str(yaml).map_err(|error| explain(&error, yaml, origin))?;
    let wrong = |key: &str, why: &str| Err(Error::content(origin, format!("{key}: {why}")));
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    if profile.service.is_empty() || profile.service.len() > 32 || !profile.service.bytes().all(is_plain) {
        return wrong("service", "use 1 to 32 of a-z, 0-9, - and _");
    }
    if profile.ports.contains(&0) {
        return wrong("ports", "port 0 does not exist; use 1 to 65535");
    }
    if profile.ports.len() > crate::kernel::source::diag::MOST_PORTS {
        return wrong("ports", "more than 256; split the profile");
    }
    for (key, limit) in [("limit", profile.limit), ("pool", profile.pool)] {
        if limit == Some(0) {
            return wrong(key, "0 accepts nothing; leave the key out where there is no limit");
        }
    }
    Ok(profile)
}

/// One line with place, key and remedy from the YAML crate's error.
fn explain(error: &serde_yaml::Error, yaml: &str, origin: &Path) -> Error {
    explained(error, yaml, origin, "see 'Profiles' in the man page")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::duration::Span;
    use crate::kernel::socket::State;
    use crate::report::verdict::Limits;
    use crate::report::verdict::ServiceState::{Critical, Ok as Good, Warning};

    fn nowhere() -> &'static Path {
        Path::new("/nonexistent/thresholds")
    }

    /// A thresholds directory with these files.
    fn installed_files(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, yaml) in files {
            std::fs::write(dir.path().join(name), yaml).unwrap();
        }
        dir
    }

    const MINE: &str = "service: mine\nports: [4711]\nclose_wait: {warning: \"7\"}\n";

    fn thresholds() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/thresholds"))
    }

    #[test]
    fn every_embedded_profile_is_as_its_file_says() {
        for embedded in EMBEDDED {
            let profile = from_file(&thresholds().join(format!("{}.yaml", embedded.name))).unwrap();
            assert_eq!(profile.service, embedded.name);
            assert_eq!(named(embedded.name, nowhere()).unwrap(), profile);
            for port in embedded.ports {
                assert_eq!(of_port(*port, nowhere()).unwrap().as_ref(), Some(&profile), "{port}");
            }
        }
        assert!(EMBEDDED.is_sorted_by_key(|embedded| embedded.name));
        assert_eq!(std::fs::read_dir(thresholds()).unwrap().count(), EMBEDDED.len(), "a file that is not embedded");
    }

    /// Without thresholds all would be well for ever; a section that is there stands as it is.
    #[test]
    fn a_missing_section_is_that_of_generic() {
        let generic = named(GENERIC, nowhere()).unwrap();
        let states = "states: {TIME_WAIT: {warning: \"7\"}}\n";
        let mine = parse(&format!("{}{states}", MINE), Path::new("mine")).unwrap();
        let whole = complete(mine, nowhere()).unwrap();
        assert_eq!((&whole.idle, &whole.growth, &whole.orphans), (&generic.idle, &generic.growth, &generic.orphans));
        assert_eq!((whole.close_wait.limits().judge(9.0), whole.close_wait.limits().judge(99.0)), (Warning, Warning));
        let limits = |state| whole.states.limits_of(state);
        assert_eq!(limits(State::CloseWait), generic.states.limits_of(State::CloseWait));
        assert_eq!(limits(State::CloseWait).judge(159_841.0), Critical);
        assert_eq!((limits(State::TimeWait).judge(8.0), limits(State::TimeWait).judge(1e6)), (Warning, Warning));
        for embedded in EMBEDDED {
            // Nothing is parsed twice for a well-known port.
            assert!(named(embedded.name, nowhere()).unwrap().has_all_sections(), "{}", embedded.name);
        }
        let dir = installed_files(&[("generic.yaml", "service: generic\nports: []\nidle: {warning: \"3\"}\n")]);
        let whole = complete(parse(MINE, Path::new("mine")).unwrap(), dir.path()).unwrap();
        assert_eq!(whole.idle.limits().judge(4.0), Warning, "the installed one");
    }

    /// An age or a number of spares says when to count, and judges nothing.
    #[test]
    fn a_section_without_thresholds_has_those_of_generic() {
        let generic = named(GENERIC, nowhere()).unwrap();
        let of = |sections: &str| {
            let yaml = format!("service: x\nports: [1]\n{sections}\n");
            complete(parse(&yaml, Path::new("x")).unwrap(), nowhere()).unwrap()
        };
        let aged = of("close_wait: {min_age: 5s, expected: 2, oldest: {warning: 1h}}\nidle: {min_age: 7s}");
        assert_eq!((aged.close_wait.min_age, aged.close_wait.expected), (Some(Span::seconds(5)), Some(2)));
        assert_eq!(aged.close_wait.limits(), generic.close_wait.limits());
        assert_eq!(aged.close_wait.ratio, generic.close_wait.ratio);
        assert_ne!(aged.close_wait.oldest, generic.close_wait.oldest);
        assert_eq!((aged.idle.min_age, aged.idle.limits()), (Some(Span::seconds(7)), generic.idle.limits()));
        assert_eq!(of("tenants: {min_count: 9}").tenants.share, generic.tenants.share);
        let own = of("close_wait: {ratio: {warning: \"9\"}}\nidle: {ratio: {warning: \"9\"}}");
        assert_eq!(
            (own.close_wait.limits(), own.idle.limits()),
            (Limits::default(), Limits::default()),
            "it is judged"
        );
    }

    #[test]
    fn the_oldest_may_have_limits() {
        let yaml = "service: x\nports: [1]\nclose_wait: {oldest: {warning: 5m, critical: 1h}}\n";
        let oldest = parse(yaml, Path::new("x")).unwrap().close_wait.oldest;
        let given = oldest.limits(None, Some(Span::seconds(600)));
        assert_eq!([300.0, 301.0, 601.0].map(|seconds| given.judge(seconds)), [Good, Warning, Critical]);
    }

    #[test]
    fn a_port_is_in_one_profile_only() {
        let mut seen = std::collections::HashMap::new();
        for embedded in EMBEDDED {
            for port in embedded.ports {
                assert_eq!(seen.insert(port, embedded.name), None, "{port} of {}", embedded.name);
            }
        }
        assert_eq!(of_port(4711, nowhere()).unwrap(), None);
    }

    /// Whoever reaches critical has passed warning; and no threshold is forgotten or mute.
    #[test]
    fn warning_is_below_critical() {
        let steps = |limits: Limits| (0..200_000).map(move |value| limits.judge(f64::from(value)));
        let rises = |limits: Limits| steps(limits).is_sorted() && steps(limits).next() == Some(Good);
        for embedded in EMBEDDED {
            let profile = embedded.profile().unwrap();
            let name = embedded.name;
            for limits in [profile.close_wait.limits(), profile.close_wait.ratio.limits(), profile.tenants.share] {
                assert!(rises(limits), "{name}: {limits:?}");
                let states: Vec<_> = steps(limits).collect();
                assert!(states.contains(&Warning) && states.contains(&Critical), "{name}: {limits:?}");
            }
            let (idle, states) = (profile.idle, profile.states);
            assert!(rises(idle.limits()) && idle.min_age.is_some(), "{name}: idle");
            assert!(rises(idle.ratio.limits()) && rises(idle.never_used), "{name}: idle");
            assert!(rises(idle.unread.limits()) && rises(idle.unsent.limits()), "{name}: idle");
            assert!(states.by_state.iter().all(|(_, limits)| rises(*limits)), "{name}: states");
            let others = [states.ratio.limits(), states.stuck.limits(), states.half_open, states.accept_queue];
            assert!(others.iter().chain([&states.ephemeral_ports]).all(|limits| rises(*limits)), "{name}: states");
            // Time left: less is worse.
            assert!(profile.growth.warning > profile.growth.critical, "{name}: growth");
            assert!(profile.close_wait.min_age.is_some() && profile.close_wait.ratio.min_count.is_some(), "{name}");
        }
    }

    #[test]
    fn an_installed_file_wins_over_the_embedded_one() {
        let dir = installed_files(&[("redis.yaml", "service: redis\nports: [6379, 6380]\nlimit: 5\n")]);
        assert_eq!(named("redis", dir.path()).unwrap().limit, Some(5));
        assert_eq!(of_port(6379, dir.path()).unwrap().unwrap().limit, Some(5));
        assert_eq!(of_port(6380, dir.path()).unwrap().unwrap().limit, Some(5));
        assert_ne!(named("redis", nowhere()).unwrap().limit, Some(5));
        // One that gave the port up gives up its service too: the port has no profile then.
        let dir = installed_files(&[("redis.yaml", "service: redis\nports: [6380]\n")]);
        assert_eq!(of_port(6379, dir.path()).unwrap(), None);
    }

    #[test]
    fn a_users_own_file_is_found_by_port_and_name() {
        let dir = installed_files(&[("mine.yaml", MINE), ("notes.txt", "not: [a profile"), ("x.yaml.bak", "]")]);
        assert_eq!(of_port(4711, dir.path()).unwrap().unwrap().service, "mine");
        assert_eq!(named("mine", dir.path()).unwrap().ports, [4711]);
        assert_eq!(named(dir.path().join("mine.yaml").to_str().unwrap(), nowhere()).unwrap().ports, [4711]);
        let unknown = named("mein", dir.path()).unwrap_err().to_string();
        assert!(unknown.contains("memcached, mine, mongodb"), "{unknown}");
    }

    #[test]
    fn a_broken_file_is_an_error_and_never_a_silent_default() {
        let dir = installed_files(&[("a.yaml", "service: a\nports: [1]\nwarnign: 5\n"), ("mine.yaml", MINE)]);
        let error = of_port(4711, dir.path()).unwrap_err().to_string();
        assert!(error.contains("a.yaml: line 3") && error.contains("warnign"), "{error}");
        let dir = installed_files(&[("memcached.yaml", "")]);
        assert!(of_port(11211, dir.path()).unwrap_err().to_string().contains("memcached.yaml: "));
        assert!(named("memcached", dir.path()).is_err());
        std::fs::remove_file(dir.path().join("memcached.yaml")).unwrap();
        std::fs::create_dir(dir.path().join("memcached.yaml")).unwrap();
        assert!(of_port(11211, dir.path()).is_err());
        // The directory itself: missing is fine, anything else is not.
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(of_port(4711, &file).is_err());
    }

    #[test]
    fn seconds_may_go_without_a_unit() {
        let profile = parse("service: x\nports: []\nclose_wait: {min_age: 90}\n", Path::new("x")).unwrap();
        assert_eq!(profile.close_wait.min_age, Some(Span::seconds(90)));
    }
}
