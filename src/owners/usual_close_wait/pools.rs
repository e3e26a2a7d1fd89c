//! Which pool a socket is in: one of a user, a cgroup and a program, told over its restarts by its command line. What an
//! interpreter runs is in there, and anyone may read it, as neither its executable nor its folder.

use crate::base::fnv::fnv64;
use crate::kernel::owner::reading::read_all;
use crate::kernel::owner::{self, Holders, Process, open_process};
use crate::kernel::world::World;
use crate::owners::blame::Suspect;
use rustix::fd::AsFd;
use std::collections::HashMap;
use std::num::NonZeroU64;

/// More of a command line tells nothing new.
const LONGEST: u64 = 64 * 1024;

/// Where a socket belongs.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// [`number`].
    pub pool: u64,
    /// Who has it, and by which descriptor.
    pub pid: u32,
    pub fd: u32,
}

/// The pools of some sockets, by inode.
#[derive(Debug, Default)]
pub struct Pools {
    of: HashMap<u64, Member>,
    /// How many have a holder that was not found, and why.
    pub untold: Option<(usize, String)>,
}

impl Pools {
    pub fn find(suspects: &[&Suspect], world: &World) -> Pools {
        let wanted: Vec<(u64, u32)> = suspects.iter().map(|suspect| (suspect.inode, suspect.uid)).collect();
        let owners = owner::find(world, &wanted, Holders::First);
        let mut programs = HashMap::new();
        let mut pool = |suspect: &Suspect| {
            let (holder, fd) = owners.descriptors(suspect.inode).next()?;
            let program = (*programs.entry(holder.pid).or_insert_with(|| program(holder, world)))?;
            Some((suspect.inode, Member { pool: number(suspect, program), pid: holder.pid, fd }))
        };
        let of: HashMap<_, _> = suspects.iter().filter_map(|suspect| pool(suspect)).collect();
        let untold = suspects.iter().filter(|suspect| suspect.inode != 0 && !of.contains_key(&suspect.inode)).count();
        // Where all may be read, what nobody has was closed since.
        let is_partial = owners.late || owners.unlisted || owners.refused > 0 || owners.is_nested;
        Pools { untold: (untold > 0 && is_partial).then(|| (untold, owners.why_unowned())), of }
    }

    pub fn of(&self, suspect: &Suspect) -> Option<Member> {
        self.of.get(&suspect.inode).copied()
    }
}

/// A pool on this host, to remember it by.
pub(super) fn number(suspect: &Suspect, program: u64) -> u64 {
    let Suspect { netns, cgroup, uid, .. } = suspect;
    fnv64(format!("{netns} {} {uid} {program}", cgroup.map_or(0, NonZeroU64::get)).as_bytes())
}

/// `None`: it has ended, or may not be read. A UNIX socket's own cgroup isn't known, so its process's counts.
fn program(process: &Process, world: &World) -> Option<u64> {
    let _rights = world.raise();
    let line = read_all(open_process(world, process.pid).ok()?.as_fd(), "cmdline", LONGEST).ok()?;
    let cgroup = process.cgroup.as_deref().unwrap_or_default();
    (!line.is_empty()).then(|| fnv64(&[cgroup.as_bytes(), b"\0", &stable(line)].concat()))
}

/// The command line without what changes while it runs: a program that shows a title of its own
/// (`puma: cluster worker 0: 4711 [shop]`) counts and names processes in it. That is one text with blanks, and nothing behind it.
fn stable(mut line: Vec<u8>) -> Vec<u8> {
    let mut words = line.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    let is_title = words.next().is_some_and(|first| first.contains(&b' ')) && words.next().is_none();
    if is_title {
        line.retain(|byte| !byte.is_ascii_digit() && *byte != 0);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_may_count_and_a_command_line_is_what_it_is() {
        let same = |one: &[u8], other: &[u8]| stable(one.to_vec()) == stable(other.to_vec());
        assert!(same(b"puma: cluster worker 0: 4711 [shop]\0\0", b"puma: cluster worker 12: 98 [shop]\0"));
        assert!(!same(b"puma: cluster worker 0: 4711 [shop]\0", b"puma: cluster worker 0: 4711 [blog]\0"));
        assert!(!same(b"python3\0app1.py\0", b"python3\0app2.py\0"));
        assert!(
            !same(b"/opt/shop app/worker\0--tenant=1\0", b"/opt/shop app/worker\0--tenant=2\0"),
            "a folder with a blank"
        );
        assert!(
            !same(b"java\0-cp\0/opt/*\0com.A\0", b"java\0-cp\0/opt/*\0com.B\0"),
            "behind the first that is no option"
        );
    }
}
