//! `--extra-opts [SECTION][@FILE]`: options from an INI file, as the Monitoring Plugins read them.

use crate::base::error::{Error, Result};
use crate::base::read_limited;
use ini_core::{Item, Parser};
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
    let content = read_limited::read(&path, LARGEST_FILE)?;
    section_of(&content, section, &path)
}

/// The options of a section, from a file's content.
pub fn section_of(content: &str, section: &str, path: &Path) -> Result<Vec<(String, String, String)>> {
    let place = format!("{} [{section}]", path.display());
    let (mut entries, mut inside, mut found) = (Vec::new(), false, false);
    // The parser counts a line when it is over.
    let content = format!("{content}\n");
    let mut parser = Parser::new(&content).auto_trim(true);
    while let Some(item) = parser.next() {
        match item {
            Item::Error(line) => {
                let why = format!("line {}: '{line}' is no section; write [name]", parser.line());
                return Err(Error::content(path, why));
            }
            Item::Section(name) => {
                inside = name == section;
                found |= inside;
            }
            Item::Property(key, value) if inside && !key.starts_with(['#', ';']) => {
                entries.push((key.to_owned(), value.unwrap_or_default().to_owned(), place.clone()));
            }
            _ => {}
        }
    }
    if !found {
        return Err(Error::content(path, format!("no section [{section}]; name one as --extra-opts SECTION@FILE")));
    }
    Ok(entries)
}

fn default_file() -> Result<PathBuf> {
    // Run with another user's rights, the caller's environment must not choose what is read.
    let borrowed = getuid() != geteuid() || getgid() != getegid();
    let configured = std::env::var_os("NAGIOS_CONFIG_PATH").filter(|_| !borrowed).unwrap_or_default();
    let first = std::env::split_paths(&configured).map(|dir| dir.join("plugins.ini"));
    first.chain(PLACES.map(PathBuf::from)).find(|path| path.exists()).ok_or_else(|| {
        Error::Usage("--extra-opts: no plugins.ini in the usual places; name one as --extra-opts SECTION@FILE".into())
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
        let content =
            "; x\n[a]\nport=1\n# y\nport=2\nwarning = ~:10\nprofile=C:\\x\n[b]\nport=3\n\n[a]\ncritical=@5:6\n";
        let expected = [("port", "1"), ("port", "2"), ("warning", "~:10"), ("profile", "C:\\x"), ("critical", "@5:6")];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(of(content, "a").unwrap(), expected);
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!(
            of("[a]\n", "b").unwrap_err().to_string(),
            "x.ini: no section [b]; name one as --extra-opts SECTION@FILE"
        );
        for (content, line) in [("[a\n", 1), ("[a", 1), ("[b]\nport=1\n[a", 3)] {
            let why = format!("x.ini: line {line}: '[a' is no section; write [name]");
            assert_eq!(of(content, "a").unwrap_err().to_string(), why);
        }
    }
}
