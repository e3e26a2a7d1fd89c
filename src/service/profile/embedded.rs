//! The profiles of `thresholds/` as the build script compiled them in: each run reads one, most often.

use super::{Profile, States};
use crate::base::error::{Error, Result};
use crate::report::verdict::Limits;
use std::path::Path;
use std::str::FromStr;

pub(super) struct Embedded {
    pub name: &'static str,
    pub ports: &'static [u16],
    /// Where it usually has its UNIX sockets.
    pub unix: &'static [&'static str],
    /// A line for each value, with its key's letter before it.
    values: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/profiles.rs"));

impl Embedded {
    pub fn profile(&self) -> Result<Profile> {
        self.read().ok_or_else(|| Error::content(Path::new(self.name), "not as it was built"))
    }

    fn read(&self) -> Option<Profile> {
        let unix = self.unix.iter().map(|path| path.parse().ok()).collect::<Option<_>>()?;
        let mut profile =
            Profile { service: self.name.to_owned(), ports: self.ports.to_vec(), unix, ..Profile::default() };
        for line in self.values.lines() {
            let (key, value) = line.split_at_checked(1)?;
            set(&mut profile, key.bytes().next()?, value)?;
        }
        Some(profile)
    }
}

fn one<T: FromStr>(field: &mut Option<T>, value: &str) -> Option<()> {
    *field = Some(value.parse().ok()?);
    Some(())
}

fn many<T: FromStr>(field: &mut impl AsList<T>, value: &str) -> Option<()> {
    field.list().push(value.parse().ok()?);
    Some(())
}

trait AsList<T> {
    fn list(&mut self) -> &mut Vec<T>;
}

impl<T> AsList<T> for Vec<T> {
    fn list(&mut self) -> &mut Vec<T> {
        self
    }
}

impl<T> AsList<T> for Option<Vec<T>> {
    fn list(&mut self) -> &mut Vec<T> {
        self.get_or_insert_default()
    }
}

fn of_state<'a>(states: &'a mut States, name: &str) -> Option<&'a mut Limits> {
    let state = name.parse().ok()?;
    if states.by_state.last().is_none_or(|(last, _)| *last != state) {
        states.by_state.push((state, Limits::default()));
    }
    states.by_state.last_mut().map(|(_, limits)| limits)
}
