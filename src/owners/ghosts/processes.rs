//! Processes that have ghosts, or may have some: where they are, how they are called.

use crate::kernel::netns;
use crate::kernel::owner::descriptors::Descriptor;
use crate::kernel::world::{Netns, World};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

/// Processes that a line names.
const MOST_NAMED: usize = 3;

/// What the kernel keeps of a program's name.
const LONGEST_NAME: usize = 15;

/// Which processes are in the network namespace that is looked at.
pub struct Here<'a> {
    world: &'a World,
    /// `None`: all are meant, or it can't be told.
    identity: Option<u64>,
    told: HashMap<u32, bool>,
}

impl Here<'_> {
    pub fn new(world: &World) -> Here<'_> {
        let identity = netns::identity(world).ok().filter(|_| world.netns != Netns::All);
        Here { world, identity, told: HashMap::new() }
    }

    /// Whom it can't be told of may be.
    pub fn has(&mut self, pid: u32) -> bool {
        let Some(here) = self.identity else { return true };
        let net_dir = self.world.proc_root.join(pid.to_string()).join("net");
        *self
            .told
            .entry(pid)
            .or_insert_with(|| netns::identity_of(&net_dir).map_or(true, |there| u64::from(there) == here))
    }
}

/// Those called by one of the names, in the namespace that is looked at, are the service's. Returns how many weren't
/// known as such.
pub fn mark(open: &mut HashMap<u64, Descriptor>, names: &[String], world: &World) -> usize {
    if names.is_empty() {
        return 0;
    }
    let (mut here, mut known) = (Here::new(world), HashMap::new());
    for descriptor in open.values_mut().filter(|descriptor| !descriptor.is_meant) {
        let pid = descriptor.pid;
        let is_meant = *known.entry(pid).or_insert_with(|| is_called(pid, names, world) && here.has(pid));
        descriptor.is_meant = is_meant;
    }
    known.values().filter(|is_meant| **is_meant).count()
}

/// By the name that the process shows, or by that of its program.
fn is_called(pid: u32, names: &[String], world: &World) -> bool {
    let process = world.proc_root.join(pid.to_string());
    let _rights = world.raise();
    let (shown, program) = (name(pid, world), fs::read_link(process.join("exe")).unwrap_or_default());
    names.iter().any(|name| {
        let short = name.get(..LONGEST_NAME).unwrap_or(name);
        short == shown || program.file_name().is_some_and(|program| program == name.as_str())
    })
}

fn name(pid: u32, world: &World) -> String {
    let name = fs::read(world.proc_root.join(format!("{pid}/comm"))).unwrap_or_default();
    String::from_utf8_lossy(name.trim_ascii_end()).into_owned()
}

/// The processes, those with most first, and how many each has.
pub fn holders<'a>(descriptors: impl Iterator<Item = &'a Descriptor>) -> Vec<(u32, usize)> {
    let mut pids: Vec<u32> = descriptors.map(|descriptor| descriptor.pid).collect();
    pids.sort_unstable();
    let mut holders: Vec<(u32, usize)> = pids.chunk_by(u32::eq).map(|same| (same[0], same.len())).collect();
    holders.sort_by_key(|(_, count)| Reverse(*count));
    holders
}

/// Those with most first.
pub fn ordered(holders: impl Iterator<Item = (u32, usize)>) -> Vec<(u32, usize)> {
    let mut holders: Vec<_> = holders.collect();
    holders.sort_by_key(|(pid, count)| (Reverse(*count), *pid));
    holders
}

pub fn ghosts_of(holders: &[(u32, usize)]) -> u64 {
    holders.iter().map(|(_, count)| *count as u64).sum()
}

/// Whose process it is and how it was called, up to the first argument that is no option: of an interpreter that is its
/// program. Anyone may read it.
pub fn call(pid: u32, world: &World) -> Option<(u32, Vec<u8>)> {
    let process = world.proc_root.join(pid.to_string());
    let uid = fs::metadata(&process).ok()?.uid();
    let line = fs::read(process.join("cmdline")).ok()?;
    let mut words = line.split(|byte| *byte == 0);
    let mut call = words.next()?.to_vec();
    for word in words {
        call.push(0);
        call.extend_from_slice(word);
        if !word.starts_with(b"-") {
            break;
        }
    }
    Some((uid, call))
}

/// `goserver[4711], python3[4712] and 3 more`.
pub fn named(pids: impl ExactSizeIterator<Item = u32>, world: &World) -> String {
    let more = pids.len().saturating_sub(MOST_NAMED);
    let first: Vec<String> = pids.take(MOST_NAMED).map(|pid| format!("{}[{pid}]", name(pid, world))).collect();
    let and_more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{and_more}", first.join(", "))
}
