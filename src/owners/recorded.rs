//! What each check records in the state directory of a service's processes and sockets: any other that looks for ghosts knows
//! them by it.

use crate::base::error::Result;
use crate::history::last_look::LastLook;
use crate::kernel::boot;
use crate::kernel::scope;
use crate::kernel::world::World;
use crate::owners::known::Known;
use crate::service::target::Target;
use std::path::Path;

/// Who recorded it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Closewait,
    Growth,
}

/// What one check's is called.
///
/// # Errors
/// Where the network namespace that is meant can't be told.
pub fn key(by: By, target: &Target, world: &World) -> Result<String> {
    let what = match by {
        By::Closewait => "",
        By::Growth => "processes of ",
    };
    Ok(format!("{what}{} {}", target.name(world), scope::key(world)?))
}

/// The file of one check.
///
/// # Errors
/// When it can't be told what is there.
pub fn file(by: By, state_dir: Option<&Path>, target: &Target, world: &World) -> Result<LastLook> {
    LastLook::read(state_dir, &key(by, target, world)?, &boot::boot_id()?)
}

/// Nothing, where it is of another boot.
///
/// # Errors
/// When it is damaged.
pub fn content(file: &LastLook) -> Result<Known> {
    let boot_id = boot::boot_id().unwrap_or_default();
    match file.damage(|numbers| Known::of_numbers(&boot_id, numbers).is_some()) {
        Some(damage) => Err(damage),
        None => Ok(file.numbers().and_then(|numbers| Known::of_numbers(&boot_id, &numbers)).unwrap_or_default()),
    }
}

/// What one check recorded, by [`key`].
///
/// # Errors
/// When it can't be told what is there, or was.
pub fn read(key: &str, state_dir: Option<&Path>) -> Result<Known> {
    content(&LastLook::read(state_dir, key, &boot::boot_id()?)?)
}

/// What check_conn_growth knows beside its history, which others can't read.
///
/// # Errors
/// Where it can't be remembered.
pub fn record(known: &Known, state_dir: Option<&Path>, target: &Target, world: &World) -> Result<()> {
    let file = file(By::Growth, state_dir, target, world)?;
    if !file.is_there() && known.is_empty() { Ok(()) } else { file.keep(&known.numbers()) }
}
