//! `--extra-opts [SECTION][@FILE]`: options from an INI file, as the Monitoring Plugins read them.

use crate::bounded;
use crate::error::{Error, Result};
use ini::{Ini, ParseOption};
use rustix::process::{getegid, geteuid, getgid, getuid};
use std::path::{Path, PathBuf};

const LARGEST_FILE: u64 = 64 * 1024;

/// Where the Monitoring Plugins look, in their order, after `$NAGIOS_CONFIG_PATH`.
const PLACES: [&str; 7] = [
    "/etc/nagios/plugins.ini",
    "/usr/local/nagios/etc/plugins.ini",
    "/usr/local/etc/nagios/plugins.ini",
    "/etc/opt/nagios/plugins.ini",
    "/etc/nagios-plugins.ini",
    "/usr/local/etc/nagios-plugins.ini",
    "/etc/opt/nagios-plugins.ini",
];

/// The keys and values of a section in their order, each with the place it stands in for errors.
pub fn read(spec: &str, program: &str) -> Result<Vec<(String, String, String)>> {
    let (section, file) = spec.split_once('@').unwrap_or((spec, ""));
    let section = if section.is_empty() { program } else { section };
    let path = if file.is_empty() { default_file()? } else { PathBuf::from(file) };
    let content = bounded::read(&path, LARGEST_FILE)?;
    section_of(&content, section, &path)
}

fn section_of(content: &str, section: &str, path: &Path) -> Result<Vec<(String, String, String)>> {
    // Values are taken as they are: ranges and paths have no escapes.
    let options = ParseOption { enabled_escape: false, ..ParseOption::default() };
    let ini = Ini::load_from_str_opt(content, options)
        .map_err(|error| Error::content(path, format!("line {}: {}", error.line, error.msg)))?;
    let place = format!("{} [{section}]", path.display());
    let mut found = ini.section_all(Some(section)).peekable();
    if found.peek().is_none() {
        return Err(Error::content(path, format!("no section [{section}]; name one as --extra-opts=SECTION@FILE")));
    }
    let entry = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned(), place.clone());
    Ok(found.flat_map(|properties| properties.iter()).map(entry).collect())
}

fn default_file() -> Result<PathBuf> {
    // Run with another user's rights, the caller's environment must not choose what is read.
    let borrowed = getuid() != geteuid() || getgid() != getegid();
    let configured = std::env::var_os("NAGIOS_CONFIG_PATH").filter(|_| !borrowed).unwrap_or_default();
    let first = std::env::split_paths(&configured).map(|dir| dir.join("plugins.ini"));
    first.chain(PLACES.map(PathBuf::from)).find(|path| path.exists()).ok_or_else(|| {
        Error::Usage("--extra-opts: no plugins.ini in the usual places; name one as --extra-opts=SECTION@FILE".into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(content: &str, section: &str) -> Result<Vec<(String, String)>> {
        let entries = section_of(content, section, Path::new("x.ini"))?;
        Ok(entries.into_iter().map(|(key, value, _)| (key, value)).collect())
    }

    #[test]
    fn keeps_order_repeats_and_odd_values() {
        let content = "[a]\nport=1\nport=2\nwarning = ~:10\nprofile=C:\\x\n[b]\nport=3\n[a]\ncritical=@5:6\n";
        let expected = [("port", "1"), ("port", "2"), ("warning", "~:10"), ("profile", "C:\\x"), ("critical", "@5:6")];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(of(content, "a").unwrap(), expected);
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!(
            of("[a]\n", "b").unwrap_err().to_string(),
            "x.ini: no section [b]; name one as --extra-opts=SECTION@FILE"
        );
        assert!(of("[a\n", "a").unwrap_err().to_string().starts_with("x.ini: line "));
    }
}
