//! Where services usually have their UNIX sockets, so that a path finds its profile by itself.

use super::embedded::EMBEDDED;
use super::{Profile, files, from_file, named};
use crate::base::error::Result;
use crate::kernel::unix_target::{UnixPath, is_like};
use std::path::Path;

/// The profile that has the path; `None`: none.
///
/// # Errors
/// Where an installed profile can't be read.
pub fn of_unix(path: &UnixPath, thresholds: &Path) -> Result<Option<Profile>> {
    let text = path.text();
    // A link on every system of today.
    let text = text.strip_prefix("/var").filter(|rest| rest.starts_with("/run/")).unwrap_or(text);
    let has = |usual: &str| usual == text || is_like(text, usual);
    if let Some(found) = EMBEDDED.iter().find(|embedded| embedded.unix.iter().any(|usual| has(usual))) {
        return named(found.name, thresholds).map(Some);
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
    use super::*;

    #[test]
    fn a_path_finds_its_profile() {
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
