//! The lists that are named: files, or - for standard input.

use super::listing;
use super::printed;
use super::session::{Session, Source};
use connleak::base::error::{Error, Result};
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

/// 10,000 sessions with statements of 4 KB are 40 MB.
const LARGEST: u64 = 64 << 20;

/// What all lists say together.
#[derive(Debug, Default)]
pub struct Told {
    pub sources: Vec<Source>,
    pub sessions: Vec<Session>,
    /// Statements that the lists' readers may not see.
    pub hidden: usize,
}

impl Told {
    /// # Errors
    /// One line: which list, where, what and the remedy.
    pub fn read(names: &[String], service: &str) -> Result<Told> {
        if let Some(twice) = (1..names.len()).find(|at| names[..*at].contains(&names[*at])) {
            return Err(Error::Usage(format!("list '{}' is named twice; once is enough", names[twice])));
        }
        let mut told = Told::default();
        for name in names {
            told.add(&text(name)?, service).map_err(|why| Error::content(Path::new(display_name(name)), why))?;
        }
        match (service, told.sources.contains(&Source::Pooler), told.sources.contains(&Source::Activity)) {
            ("pgbouncer", false, _) => Err(Error::Usage(
                "PgBouncer's clients are in SHOW CLIENTS and SHOW SERVERS: give that list too; see --how -P pgbouncer"
                    .into(),
            )),
            ("postgresql", true, false) => {
                Err(Error::Usage("PgBouncer's lists are of its own port: name that with -p, or -P pgbouncer".into()))
            }
            _ => Ok(told),
        }
    }

    /// Adds the lists of one text.
    ///
    /// # Errors
    /// One line; what was told before stays.
    pub fn add(&mut self, text: &str, service: &str) -> std::result::Result<(), String> {
        for list in printed::read(text)? {
            let listing = listing::read(&list)?;
            let known = listing.source.services();
            if !known.contains(&service) && is_of_another(service) {
                return Err(format!(
                    "this is {} of {}, not a list of {service}: name its port with -p",
                    listing.source.name(),
                    known[0]
                ));
            }
            if self.sources.contains(&listing.source) && listing.source != Source::Pooler {
                return Err(format!("{} is given twice: one list of each is enough", listing.source.name()));
            }
            self.sources.push(listing.source);
            self.sessions.extend(listing.sessions);
            self.hidden += listing.hidden;
        }
        self.sources.dedup();
        Ok(())
    }

    /// Whether a pooler's clients are what is asked about.
    pub fn is_pooler(&self, service: &str) -> bool {
        self.sources.contains(&Source::Pooler) && service != "postgresql"
    }
}

/// Whether a service of this name has a list of its own; what is not known here may be any.
fn is_of_another(service: &str) -> bool {
    let all = [Source::Activity, Source::Processlist, Source::ClientList, Source::Conns, Source::Pooler];
    all.iter().any(|source| source.services().contains(&service))
}

fn display_name(name: &str) -> &str {
    if name == "-" { "standard input" } else { name }
}

fn text(name: &str) -> Result<String> {
    let path = Path::new(display_name(name));
    let mut bytes = Vec::new();
    let read = |source: &mut dyn Read, bytes: &mut Vec<u8>| source.take(LARGEST + 1).read_to_end(bytes);
    if name == "-" {
        if io::stdin().is_terminal() {
            return Err(Error::Usage(
                "standard input is a terminal: pipe the list into it; --how prints the command".into(),
            ));
        }
        read(&mut io::stdin().lock(), &mut bytes)
    } else {
        File::open(path).and_then(|mut file| read(&mut file, &mut bytes))
    }
    .map_err(|cause| Error::reading(path, cause))?;
    if bytes.len() as u64 > LARGEST {
        return Err(Error::content(path, format!("over {} MiB; is it a session list?", LARGEST >> 20)));
    }
    // A database without encoding (SQL_ASCII) has statements that aren't UTF-8.
    Ok(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(other) => String::from_utf8_lossy(other.as_bytes()).into_owned(),
    })
}
