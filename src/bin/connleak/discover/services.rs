//! What checks can be pointed at: one for each profile, and one for each listener elsewhere.

use super::listening::Listening;
use super::recorded::{Recorded, Watched};
use connleak::kernel::world::{Netns, World};
use std::collections::BTreeMap;

/// A service, and the options by which a check looks at it.
#[derive(Debug)]
pub struct Offered {
    /// `mysql`, `mysql:3307`, `4711`, `/run/x.sock`.
    pub name: String,
    /// `None`: no profile fits.
    pub profile: Option<String>,
    pub ports: Vec<u16>,
    pub unix: Vec<String>,
    /// Each option with its value, as `-P` and `mysql`: `-P`, `-p`, `--unix`, `--netns`.
    pub options: Vec<(&'static str, String)>,
    /// What is least known of its listeners.
    pub watched: Watched,
}

impl Offered {
    /// `-P mysql -p 3307`.
    pub fn command_line(&self) -> String {
        let words: Vec<_> = self.options.iter().map(|(option, value)| format!("{option} {value}")).collect();
        words.join(" ")
    }

    /// Whether its name and options can be written into any configuration without quoting.
    pub fn is_plain(&self) -> bool {
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._/+:-".contains(&byte));
        is_plain(&self.name) && self.options.iter().all(|(_, value)| is_plain(value))
    }
}

/// `all`: what no profile fits, too.
pub fn offered(listening: &[Listening], recorded: &Recorded, all: bool, world: &World) -> Vec<Offered> {
    let mut found: BTreeMap<String, Offered> = BTreeMap::new();
    for one in listening.iter().filter(|one| all || one.fit.is_some()) {
        let place = one.port().map_or_else(|| one.path().unwrap_or_default().to_owned(), |port| port.to_string());
        let profile = one.fit.as_ref().map(|fit| fit.profile.clone());
        let at_home = one.fit.as_ref().filter(|fit| fit.is_at_home() && fit.is_named);
        let name = match (&profile, at_home) {
            (Some(profile), Some(_)) => profile.clone(),
            (Some(profile), None) => format!("{profile}:{place}"),
            (None, _) => place.clone(),
        };
        let watched = recorded.of(one);
        let service = found.entry(name.clone()).or_insert_with(|| {
            let named = one.fit.as_ref().filter(|fit| fit.is_named);
            let mut options: Vec<_> = named.map(|fit| ("-P", fit.profile.clone())).into_iter().collect();
            if at_home.is_none() {
                options.push((if one.port().is_some() { "-p" } else { "--unix" }, place));
            }
            let netns = match &world.netns {
                Netns::Home => None,
                Netns::All => Some("all".to_owned()),
                Netns::OfProcess(pid) => Some(pid.to_string()),
                Netns::Named(name) => Some(name.clone()),
            };
            options.extend(netns.map(|netns| ("--netns", netns)));
            Offered { name, profile, ports: Vec::new(), unix: Vec::new(), options, watched }
        });
        service.ports.extend(one.port().filter(|port| !service.ports.contains(port)));
        let path = one.path().filter(|path| service.unix.iter().all(|known| known != path));
        service.unix.extend(path.map(str::to_owned));
        service.watched = less_known(service.watched, watched);
    }
    found.into_values().collect()
}

/// A check of the service looks at all of its places.
fn less_known(one: Watched, other: Watched) -> Watched {
    match (one, other) {
        (Watched::At(one), Watched::At(other)) => Watched::At(one.min(other)),
        (Watched::No, _) | (_, Watched::No) => Watched::No,
        _ => Watched::Unknown,
    }
}
