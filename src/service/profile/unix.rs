//! Where services usually have their UNIX sockets, so that a path finds its profile by itself.

use super::{Profile, files, from_file, named};
use crate::base::error::Result;
use crate::kernel::unix_target::{UnixPath, is_like};
use std::path::Path;

/// As in the YAML; held to it by a test, so that not all need be parsed.
const USUAL: &[(&str, &[&str])] = &[
    ("memcached", &["/run/memcached/memcached.sock"]),
    ("mongodb", &["/tmp/mongodb-27017.sock", "/run/mongodb/mongodb-27017.sock"]),
    ("mysql", &["/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock"]),
    ("pgbouncer", &["/run/postgresql/.s.PGSQL.6432", "/tmp/.s.PGSQL.6432"]),
    ("php-fpm", &["/run/php/*.sock", "/run/php-fpm/*.sock"]),
    ("postgresql", &["/run/postgresql/.s.PGSQL.5432", "/tmp/.s.PGSQL.5432"]),
    ("proxysql", &["/tmp/proxysql.sock"]),
    ("redis", &["/run/redis/redis-server.sock", "/run/redis/redis.sock"]),
];

/// The profile that has the path; `None`: none.
///
/// # Errors
/// Where an installed profile can't be read.
pub fn of_unix(path: &UnixPath, thresholds: &Path) -> Result<Option<Profile>> {
    let text = path.text();
    // A link on every system of today.
    let text = text.strip_prefix("/var").filter(|rest| rest.starts_with("/run/")).unwrap_or(text);
    let has = |usual: &str| usual == text || is_like(text, usual);
    if let Some((name, _)) = USUAL.iter().find(|(_, paths)| paths.iter().any(|usual| has(usual))) {
        return named(name, thresholds).map(Some);
    }
    for file in files(thresholds)? {
        let profile = from_file(&file)?;
        if profile.unix.iter().any(|usual| has(usual.text())) {
            return Ok(Some(profile));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::super::{EMBEDDED, parse};
    use super::*;

    #[test]
    fn the_table_is_as_the_profiles_say() {
        for embedded in EMBEDDED {
            let profile = parse(embedded.yaml, Path::new(embedded.name)).unwrap();
            let usual = USUAL.iter().find(|(name, _)| *name == embedded.name).map_or(&[][..], |(_, paths)| paths);
            assert_eq!(profile.unix.iter().map(UnixPath::text).collect::<Vec<_>>(), usual, "{}", embedded.name);
        }
        assert!(USUAL.is_sorted());
        let name = |path: &str| {
            let found = of_unix(&path.parse().unwrap(), Path::new("/nonexistent")).unwrap();
            found.map(|profile| profile.service)
        };
        assert_eq!(name("/run/php/php8.2-fpm.sock").as_deref(), Some("php-fpm"));
        assert_eq!(name("/var/run/mysqld/mysqld.sock").as_deref(), Some("mysql"));
        assert_eq!(name("/run/php/*.sock").as_deref(), Some("php-fpm"));
        assert_eq!(name("/run/x.sock"), None);
    }
}
