//! The UNIX sockets of a service: those of `--unix`, else of its profile.

use crate::base::error::{Error, Result};
use crate::kernel::look::unix::{Instead, Table};
use crate::kernel::owner::{self, Named};
use crate::kernel::select::Selection;
use crate::kernel::unix_target::{UnixPath, UnixTarget};
use crate::kernel::world::World;
use crate::service::profile::Profile;
use crate::service::request::Request;
use std::collections::BTreeSet;

/// Names that a line gives of listeners there are.
const MOST_NAMED: usize = 5;

/// What is typed stands alone: with `-p` a profile's UNIX sockets are not meant.
///
/// # Errors
/// A path that leads to no socket, and a choice of addresses, which UNIX sockets don't have.
pub fn targets(request: &Request, profile: &Profile, world: &World) -> Result<Vec<UnixTarget>> {
    let by_address = !request.peers.is_empty() || !request.locals.is_empty();
    if by_address && !request.unix.is_empty() {
        return Err(Error::Usage("--unix: its sockets have no addresses; leave out --peer and --local".into()));
    }
    let (paths, asked): (&[UnixPath], _) = match (request.unix.is_empty(), request.ports.is_empty() && !by_address) {
        (false, _) => (&request.unix, true),
        (true, true) => (&profile.unix, false),
        (true, false) => (&[], false),
    };
    let mut targets: Vec<UnixTarget> = Vec::new();
    for path in paths {
        if targets.iter().all(|known| known.path != *path) {
            targets.push(UnixTarget::resolve(path, asked, world)?);
        }
    }
    Ok(targets)
}

/// What stands for the service's name where no port does: `mysql:/run/mysqld/mysqld.sock`.
pub fn label(profile: &str, is_generic: bool, targets: &[UnixTarget]) -> String {
    let paths: Vec<&str> = targets.iter().map(|target| target.path.text()).collect();
    if is_generic { paths.join(",") } else { format!("{profile}:{}", paths.join(",")) }
}

/// Who listens on the service's UNIX sockets.
pub enum Heard {
    /// One of them at least.
    Some,
    /// None; those that were asked for, to be said.
    None(Option<String>),
}

/// # Errors
/// As a look at UNIX sockets.
pub fn heard(selection: &Selection, world: &World, wants_all: bool) -> Result<Heard> {
    let (table, seen) = Table::of_listeners(world, &selection.unix)?;
    if let Some(missing) = seen.missing {
        return Err(Error::Usage(missing));
    }
    let silent: Vec<usize> = (0..selection.unix.len()).filter(|index| !table.has_listener(*index)).collect();
    let is_missing = if wants_all { !silent.is_empty() } else { silent.len() == selection.unix.len() };
    if !is_missing {
        return Ok(Heard::Some);
    }
    let asked: Vec<usize> = silent.into_iter().filter(|index| selection.unix[*index].asked).collect();
    if asked.is_empty() {
        return Ok(Heard::None(None));
    }
    let at_names = Table::of_names(world, &selection.unix).ok();
    let silent: Vec<(&UnixTarget, Option<String>)> = asked
        .into_iter()
        .map(|index| {
            (&selection.unix[index], at_names.as_ref().and_then(|table| Some(described(&table.instead(index)?, world))))
        })
        .collect();
    Ok(Heard::None(Some(words(&silent, table.names))))
}

/// `a datagram socket, which has no connections, held by syslogd[1]`.
fn described(found: &Instead, world: &World) -> String {
    let socket = (u64::from(found.inode), found.uid.unwrap_or(owner::UNKNOWN_UID));
    let holder = owner::main_holder(world, &[socket]);
    let by = holder.map_or_else(String::new, |process| format!(", held by {}", Named(&process)));
    format!("{}{by}", found.what)
}

/// `no such listener: /run/x.sock; listening: /run/y.sock and 12 more`.
fn words(silent: &[(&UnixTarget, Option<String>)], names: Vec<String>) -> String {
    let said = |(target, instead): &(&UnixTarget, Option<String>)| match (instead, target.has_file()) {
        (Some(instead), _) => format!("{} is {instead}", target.path.text()),
        (None, true) => format!("{} (its file is there, nobody listens on it)", target.path.text()),
        (None, false) => target.path.text().to_owned(),
    };
    let paths: Vec<String> = silent.iter().map(said).collect();
    let targets: Vec<&UnixTarget> = silent.iter().map(|(target, _)| *target).collect();
    format!("no such listener: {}; {}", paths.join(", "), listening(&targets, names))
}

/// `no socket was ever seen at /run/x.sock: is it the right path? listening: /run/y.sock`.
pub fn never_seen(targets: &[&UnixTarget], world: &World) -> String {
    let paths: Vec<&str> = targets.iter().map(|target| target.path.text()).collect();
    let listening = Table::of_listeners(world, &[]).map(|(table, _)| listening(targets, table.names));
    let listening = listening.map_or_else(|_| String::new(), |listening| format!(" {listening}"));
    format!("no socket was ever seen at {}: is it the right path?{listening}", paths.join(", "))
}

/// Who listens, nearest to the targets first: `listening: /run/y.sock and 12 more`.
fn listening(targets: &[&UnixTarget], names: Vec<String>) -> String {
    let names: BTreeSet<String> = names.into_iter().collect();
    // Nearest first: what begins or ends alike.
    let alike = |name: &str| {
        let same = |a: &mut dyn Iterator<Item = u8>, b: &mut dyn Iterator<Item = u8>| {
            a.zip(b).take_while(|(a, b)| a == b).count()
        };
        let of = |target: &&UnixTarget| {
            let text = target.path.text();
            same(&mut name.bytes(), &mut text.bytes()) + same(&mut name.bytes().rev(), &mut text.bytes().rev())
        };
        targets.iter().map(of).max().unwrap_or(0)
    };
    let mut nearest: Vec<&String> = names.iter().collect();
    nearest.sort_by_key(|name| std::cmp::Reverse(alike(name)));
    let more = nearest.len().saturating_sub(MOST_NAMED);
    nearest.truncate(MOST_NAMED);
    let listening: Vec<&str> = nearest.into_iter().map(String::as_str).collect();
    match (listening.is_empty(), more) {
        (true, _) => "listening: nothing".to_owned(),
        (false, 0) => format!("listening: {}", listening.join(", ")),
        (false, more) => format!("listening: {} and {more} more", listening.join(", ")),
    }
}
