//! Which profile fits a listener: the one that has its port or path, else the one of its program.

use connleak::base::error::Result;
use connleak::kernel::world::World;
use connleak::service::profile::{self, Profile};

/// A profile, and by what it fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fit {
    pub profile: String,
    pub by: By,
    /// The profile's own ports: a check by its name looks at all of them.
    pub ports: Vec<u16>,
    /// Whether `-P` knows it by this name.
    pub is_named: bool,
}

impl Fit {
    /// Whether it is where the profile says: then its name is enough.
    pub fn is_at_home(&self) -> bool {
        self.by != By::Program
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Port,
    Path,
    Program,
}

impl By {
    pub fn name(self) -> &'static str {
        match self {
            By::Port => "port",
            By::Path => "path",
            By::Program => "program",
        }
    }
}

/// Programs as the kernel names them (15 bytes), and their profile. What runs many services, as java and beam.smp, or
/// carries those of others, as haproxy, tells nothing.
const PROGRAMS: [(&str, &str); 22] = [
    ("apache2", "http"),
    ("caddy", "http"),
    ("httpd", "http"),
    ("keydb-server", "redis"),
    ("lighttpd", "http"),
    ("mariadbd", "mysql"),
    ("memcached", "memcached"),
    ("mongod", "mongodb"),
    ("mongos", "mongodb"),
    ("mysqld", "mysql"),
    ("mysqlrouter", "mysql-router"),
    ("nginx", "http"),
    ("pgbouncer", "pgbouncer"),
    ("php-fpm", "php-fpm"),
    ("php-fpm*", "php-fpm"),
    ("postgres", "postgresql"),
    ("postmaster", "postgresql"),
    ("proxysql", "proxysql"),
    ("redis-sentinel", "redis"),
    ("redis-server", "redis"),
    ("slapd", "ldap"),
    ("valkey-server", "redis"),
];

/// The profile's name.
fn of_program(command: &str) -> Option<&'static str> {
    let is_it = |known: &str| match known.strip_suffix('*') {
        // php-fpm8.2
        Some(begin) => command
            .strip_prefix(begin)
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')),
        None => command == known,
    };
    PROGRAMS.iter().find(|(known, _)| is_it(known)).map(|(_, profile)| *profile)
}

/// What fits a port, or a path as it was bound, of a process of this name.
///
/// # Errors
/// Where a profile can't be read.
pub fn of(port: Option<u16>, path: Option<&str>, command: Option<&str>, world: &World) -> Result<Option<Fit>> {
    let (by, profile) = match port {
        Some(port) => (By::Port, profile::of_port(port, &world.thresholds)?),
        None => {
            // What is bound by a relative path has no name that others could give.
            let path = path.and_then(|path| path.parse().ok());
            (By::Path, path.map(|path| profile::of_unix(&path, &world.thresholds)).transpose()?.flatten())
        }
    };
    if let Some(profile) = profile {
        return Ok(Some(fit(profile, by, world)));
    }
    let name = command.and_then(of_program);
    let profile = name.map(|name| profile::named(name, &world.thresholds)).transpose()?;
    Ok(profile.map(|profile| fit(profile, By::Program, world)))
}

fn fit(profile: Profile, by: By, world: &World) -> Fit {
    let is_named = profile::named(&profile.service, &world.thresholds).is_ok_and(|named| named == profile);
    Fit { profile: profile.service, by, ports: profile.ports, is_named }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn programs_have_profiles_that_are_there() {
        for (program, name) in PROGRAMS {
            assert!(profile::named(name, Path::new("/nonexistent")).is_ok(), "{program}");
            assert!(program.len() <= 15, "{program}: comm has 15 bytes");
        }
        assert!(PROGRAMS.is_sorted());
        let cases = [("mariadbd", Some("mysql")), ("php-fpm8.2", Some("php-fpm")), ("php-fpm-exporte", None)];
        cases.iter().for_each(|(command, profile)| assert_eq!(of_program(command), *profile, "{command}"));
        assert_eq!(of_program("java"), None, "Kafka, Elasticsearch or Cassandra");
    }
}
