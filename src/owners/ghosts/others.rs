//! Ghosts of processes that aren't known as the service's: what of them is doubt, and what is only said.

use super::suspected::{Look, Suspected};
use super::{Ghosts, Looking, processes};
use crate::kernel::world::{Netns, World};
use std::collections::HashSet;

impl Suspected<'_> {
    /// Ghosts of processes that have no other socket: nothing tells of which service they were. Who has sockets of
    /// another service may have forgotten that one's, but nothing tells that either.
    pub fn judge_others(&self, look: &Look, found: &mut Ghosts, world: &World) {
        let names = |holders: &[(u32, usize)]| processes::named(holders.iter().map(|(pid, _)| *pid), world);
        let others = || look.ghosts.values().filter(|holder| !holder.is_meant);
        if self.was_asked() && !look.has_service && found.elsewhere > 0 {
            let why = "no process has a socket of the service, others have";
            return found.missing.push(format!("{why} {} ghosts: name its --unit or --user", found.elsewhere));
        }
        let untold = processes::holders(others().filter(|holder| holder.is_untold));
        let count = processes::ghosts_of(&untold);
        if count > 0 {
            let why = format!("ghosts of processes whose cgroup can't be read, most of {}", names(&untold));
            found.doubts.push((Some(count), why));
        }
        let others = || others().filter(|holder| !holder.is_untold);
        let silent = processes::holders(others().filter(|holder| !look.talking.contains(&holder.pid)));
        let mut rest = processes::holders(others().filter(|holder| look.talking.contains(&holder.pid)));
        let all_talk = silent.is_empty();
        let suspicious = self.suspicious(look, silent, &mut rest, found, world);
        let count = processes::ghosts_of(&suspicious);
        if count > 0 {
            let why =
                format!("ghosts of processes without any socket may be the service's, most of {}", names(&suspicious));
            match self.looking {
                Looking::Asked => found.missing.push(Ghosts::at_most(count, &why)),
                Looking::ByDefault { .. } => found.doubts.push((Some(count), why)),
            }
        }
        let count = processes::ghosts_of(&rest);
        if count > 0 && self.looking.needs(count) {
            let kind = if all_talk { "with other sockets" } else { "not known to talk to it" };
            let (of, service) = (names(&rest), found.looked_at(world));
            let said = format!("{count} ghosts of processes {kind} don't count ({of}): {service}");
            found.remarks.push((count, said));
        }
    }

    /// Those of the silent processes, with their number, whose ghosts may be the service's: they are called as one is
    /// that talks to it, or have more of them than when they were first met. A pool of sockets made ahead doesn't grow.
    /// All the others go to `rest`, and are to be remembered.
    fn suspicious(
        &self,
        look: &Look,
        silent: Vec<(u32, usize)>,
        rest: &mut Vec<(u32, usize)>,
        found: &mut Ghosts,
        world: &World,
    ) -> Vec<(u32, usize)> {
        let (mut suspicious, mut strangers) = (Vec::new(), Vec::new());
        let calls: HashSet<_> = match silent.is_empty() {
            true => HashSet::new(),
            false => look.meant.iter().filter_map(|pid| processes::call(*pid, world)).collect(),
        };
        for (pid, count) in silent {
            // Of all namespaces: they may be living sockets of one that nobody can enter any more.
            let is_stranger =
                world.netns != Netns::All && processes::call(pid, world).is_some_and(|call| !calls.contains(&call));
            let usual = if is_stranger { self.before.at_first(pid, count as u64, world) as usize } else { 0 };
            strangers.extend(is_stranger.then_some((pid, count as u64)));
            let usual = if self.was_asked() { 0 } else { usual };
            suspicious.extend((count > usual).then_some((pid, count - usual)));
            rest.extend((usual > 0).then_some((pid, usual)));
        }
        found.strangers = Some(strangers);
        suspicious
    }
}
