//! How processes call themselves, and who started them: the way up from a worker to its master.

use super::open_process;
use super::portrait::{command, parent};
use super::reading::read_all;
use crate::base::capabilities;
use crate::kernel::world::World;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::readlinkat;
use rustix::io::Errno;
use std::collections::BTreeMap;

/// Longer command lines are cut: what names a tenant stands at their front.
const LONGEST_COMMAND_LINE: u64 = 4096;

/// Deeper trees are not climbed.
const MOST_ANCESTORS: usize = 16;

/// One process on the way up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    pub pid: u32,
    pub parent: u32,
    /// `comm`.
    pub command: String,
    /// Its arguments, parted by blanks; or what the process put in their place.
    pub command_line: String,
    /// `None`: may not be read.
    pub directory: Option<String>,
}

impl Link {
    /// What an open process calls itself, and nothing else.
    pub fn names(dir: BorrowedFd<'_>) -> Result<Link, Errno> {
        let command_line = command_line(&read_all(dir, "cmdline", LONGEST_COMMAND_LINE)?);
        Ok(Link { command: command(dir), command_line, ..Link::default() })
    }
}

fn command_line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', " ").trim_end().to_owned()
}

#[derive(Debug, Default)]
pub struct Lineages(BTreeMap<u32, Link>);

impl Lineages {
    /// Reads the processes and their ancestors, but not process 1: what it starts is no worker of it.
    pub fn read(world: &World, pids: impl Iterator<Item = u32>) -> Lineages {
        let mut links = BTreeMap::new();
        for mut pid in pids {
            for _ in 0..MOST_ANCESTORS {
                if pid <= 1 || links.contains_key(&pid) || world.deadline.is_near() {
                    break;
                }
                let Some(link) = read(world, pid) else { break };
                let parent = link.parent;
                links.insert(pid, link);
                pid = parent;
            }
        }
        Lineages(links)
    }

    /// The process, then its ancestors.
    pub fn up(&self, pid: u32) -> impl Iterator<Item = &Link> {
        let parent = |link: &&Link| self.0.get(&link.parent);
        std::iter::successors(self.0.get(&pid), parent).take(MOST_ANCESTORS)
    }
}

fn read(world: &World, pid: u32) -> Option<Link> {
    let rights = world.raise();
    let dir = open_process(world, pid).ok()?;
    let dir = dir.as_fd();
    let (parent, command) = (parent(dir).ok()?, command(dir));
    // Borrowed rights are for the names of processes: what else they tell is read with the caller's own.
    drop(rights);
    let _rights = (!capabilities::are_borrowed()).then(|| world.raise());
    let bytes = read_all(dir, "cmdline", LONGEST_COMMAND_LINE).unwrap_or_default();
    let command_line = command_line(&bytes);
    let directory = readlinkat(dir, "cwd", Vec::new()).ok();
    let directory = directory.map(|path| path.to_string_lossy().into_owned());
    Some(Link { pid, parent, command, command_line, directory })
}
