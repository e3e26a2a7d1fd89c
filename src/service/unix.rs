//! The UNIX sockets of a service: those of `--unix`, else of its profile.

use crate::base::error::{Error, Result};
use crate::kernel::look::unix::{Instead, Table};
use crate::kernel::owner::{self, Named};
use crate::kernel::select::Selection;
use crate::kernel::unix_target::{UnixPath, UnixTarget};
use crate::kernel::world::World;
use crate::report::words;
use crate::service::profile::Profile;
use crate::service::request::Request;
use std::collections::BTreeSet;

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
pub struct Heard {
    /// Whether one of them has a listener at least.
    pub any: bool,
    /// To be said: of those that were asked for the ones that have none, where none has any or all are wanted.
    pub missing: Option<String>,
    /// To be said: where somebody listened whose connections are still there.
    pub left: Option<String>,
}

/// # Errors
/// As a look at UNIX sockets.
pub fn heard(selection: &Selection, world: &World, wants_all: bool) -> Result<Heard> {
    let (table, seen) = Table::of_listeners(world, &selection.unix)?;
    if let Some(missing) = seen.missing {
        return Err(Error::Usage(missing));
    }
    // A dump may lose a row.
    let mut left = selection.unix_known.borrow().unheard.clone();
    left.retain(|name| !table.is_heard(*name));
    let mut silent: Vec<usize> = (0..selection.unix.len()).filter(|index| !table.has_listener(*index)).collect();
    let any = silent.len() < selection.unix.len();
    let is_left = |target: &UnixTarget| left.iter().any(|name| target.has_name(*name));
    silent.retain(|index| selection.unix[*index].asked && !is_left(&selection.unix[*index]));
    let left = (!left.is_empty()).then(|| {
        format!("nobody listens at {} any more", words::few(&left.iter().map(|name| name.text()).collect::<Vec<_>>()))
    });
    if silent.is_empty() || (any && !wants_all) {
        return Ok(Heard { any, missing: None, left });
    }
    let at_names = Table::of_names(world, &selection.unix).ok();
    let silent: Vec<(&UnixTarget, Option<String>)> = silent
        .into_iter()
        .map(|index| {
            (&selection.unix[index], at_names.as_ref().and_then(|table| Some(described(&table.instead(index)?, world))))
        })
        .collect();
    Ok(Heard { any, missing: Some(no_listener(&silent, table.names)), left })
}

/// `a datagram socket, which has no connections, held by syslogd[1]`.
fn described(found: &Instead, world: &World) -> String {
    let socket = (u64::from(found.inode), found.uid.unwrap_or(owner::UNKNOWN_UID));
    let holder = owner::main_holder(world, &[socket]);
    let by = holder.map_or_else(String::new, |process| format!(", held by {}", Named(&process)));
    format!("{}{by}", found.what)
}

/// `no such listener: /run/x.sock; listening: /run/y.sock and 12 more`.
fn no_listener(silent: &[(&UnixTarget, Option<String>)], names: Vec<String>) -> String {
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
    let nearest = if nearest.is_empty() { "nothing".to_owned() } else { words::few(&nearest) };
    format!("listening: {nearest}")
}
