//! Sockets that the kernel's tables no longer show while a process still has their descriptor.
//!
//! A reset takes a socket out of the tables, from CLOSE_WAIT too; so does the end of a connection that
//! both sides have closed. All that is left is a descriptor whose inode no table of any network
//! namespace knows. It has no addresses, no state and no age.

mod found;
mod processes;

pub use found::Ghosts;
use found::suspect;

use crate::base::error::{Error, Result};
use crate::kernel::look;
use crate::kernel::members;
use crate::kernel::owner::descriptors::{self, Descriptor, Descriptors, Scope};
use crate::kernel::select::Match;
use crate::kernel::socket::{Side, Socket, StateSet};
use crate::kernel::source::{self, Coverage, Query};
use crate::kernel::unhashed;
use crate::kernel::world::{Netns, World};
use crate::owners::blame::Suspect;
use crate::service::target::Target;
use rustix::process::getuid;
use std::collections::{HashMap, HashSet};
use std::thread;
use std::time::Duration;

/// Between two looks: what a process makes just now, or is about to close, is no ghost.
const PAUSE: Duration = Duration::from_millis(500);

/// So many sockets are asked for their protocol before the tables are.
const FEW: usize = 64;

/// How ghosts are looked for.
#[derive(Clone, Copy)]
pub enum Looking<'a> {
    /// `--ghosts`: what can't be read leaves the answer open.
    Asked,
    /// Unasked: what can't be read is doubt, as far as the kernel's counters bound it.
    ByDefault {
        /// Whether so many more would change the verdict.
        matters: &'a dyn Fn(u64) -> bool,
        /// Whether their number is wanted also where it doesn't.
        exactly: bool,
    },
}

impl Looking<'_> {
    /// Whether processes must be read where there are no more than these.
    fn needs(self, at_most: u64) -> bool {
        match self {
            Looking::Asked => true,
            Looking::ByDefault { matters, exactly } => at_most > 0 && (exactly || matters(at_most)),
        }
    }
}

/// Which processes may have ghosts of the service: those that hold a selected socket, and all of
/// the unit and of the user that the selection names.
struct Suspected<'a> {
    sockets: HashSet<u64>,
    /// Those of `sockets`.
    users: HashSet<u32>,
    unit: Option<&'a str>,
    uid: Option<u32>,
    /// The profile's: programs that are known to talk to the service.
    clients: &'a [String],
    looking: Looking<'a>,
    /// The kernel's count of all sockets that no table shows.
    at_most: Option<u64>,
}

/// Looks twice where the first look finds any. What can't be read is said, beside what is known already. `None`:
/// not looked for, in a recorded dump.
///
/// # Errors
/// When they were asked for there.
pub fn find(world: &World, target: &Target, unit: Option<&str>, looking: Looking) -> Result<Option<Ghosts>> {
    let was_asked = matches!(looking, Looking::Asked);
    match (world.replay.is_some(), was_asked) {
        (true, true) => {
            let why = "--ghosts needs this machine's processes: it can't be used with --replay";
            return Err(Error::Usage(why.into()));
        }
        (true, false) => return Ok(None),
        (false, _) => {}
    }
    // The usual case costs no look at any process.
    let bound = if was_asked { None } else { unhashed::bound(world) };
    if let Some(at_most) = bound.filter(|at_most| !looking.needs(*at_most)) {
        return Ok(Some(Ghosts::not_sought(at_most)));
    }
    let nothing = |why: Error| Ghosts { missing: vec![format!("ghosts unknown: {why}")], ..Ghosts::default() };
    let found = search(world, target, unit, looking).unwrap_or_else(nothing);
    Ok(Some(Ghosts { was_asked, ..found }))
}

fn search(world: &World, target: &Target, unit: Option<&str>, looking: Looking) -> Result<Ghosts> {
    let selection = &target.selection;
    let at_most = match looking {
        Looking::Asked => None,
        Looking::ByDefault { matters, .. } => unhashed::at_most(world, matters, false),
    };
    if let Some(at_most) = at_most.filter(|at_most| !looking.needs(*at_most)) {
        return Ok(Ghosts::not_sought(at_most));
    }
    let (sockets, users, uid) = (HashSet::new(), HashSet::new(), selection.uid);
    let clients = &target.profile.clients[..];
    let mut suspected = Suspected { sockets, users, unit, uid, clients, looking, at_most };
    look::visit(world, selection, (StateSet::ALL, false), &mut |socket, matched, _| {
        if socket.inode != 0 && matches!(matched, Match::Yes(_)) {
            suspected.sockets.insert(socket.inode);
            suspected.users.insert(socket.uid);
        }
    })?;
    let mut look = suspected.look(world)?;
    if !look.ghosts.is_empty() {
        thread::sleep(PAUSE.min(world.deadline.left() / 4));
        suspected.look_again(&mut look, world)?;
    }
    let mut found = suspected.finish(&look);
    suspected.judge_others(&look, &mut found, world);
    if let Looking::ByDefault { matters, .. } = looking
        && !found.missing.is_empty()
    {
        let exact = |all: u64| unhashed::at_most(world, matters, true).map_or(all, |exact| exact.min(all));
        found.bound(at_most.map_or_else(|| unhashed::unlisted(world), |all| Ok(Some(exact(all)))));
    }
    Ok(found)
}

/// What one look shows.
struct Look {
    /// By inode.
    ghosts: HashMap<u64, Descriptor>,
    /// The service's processes that have sockets.
    meant: Vec<u32>,
    /// Whether any is known.
    has_service: bool,
    /// Processes that have sockets in the tables, of this service or of another.
    talking: HashSet<u32>,
    missing: Vec<String>,
}

impl Look {
    /// None is known as one where a table was not read to its end.
    fn drop_uncertain(&mut self, unseen: Option<String>) {
        if let Some(why) = unseen.filter(|_| !self.ghosts.is_empty()) {
            self.missing.push(format!("{} descriptors may be ghosts or not: {why}", self.ghosts.len()));
            self.ghosts.clear();
        }
    }
}

/// What the tables lack.
struct Tables {
    talking: HashSet<u32>,
    /// Why sockets may be missing in them.
    unseen: Option<String>,
    /// Sockets of which it can't be told whether they are TCP's.
    untold: u64,
    /// Whether a socket of the service is held by nobody who can be read.
    any_unheld: bool,
}

type Visit = fn(&World, &Query, &mut dyn FnMut(&Socket)) -> Result<Coverage>;

impl Suspected<'_> {
    fn was_asked(&self) -> bool {
        matches!(self.looking, Looking::Asked)
    }

    fn are_named(&self) -> bool {
        self.unit.is_some() || self.uid.is_some()
    }

    /// Whether a hidden process may be the service's: one's own are always seen.
    fn may_be_hidden(&self) -> bool {
        self.are_named() && self.uid != Some(getuid().as_raw())
    }

    /// Whether ghosts of all processes matter: they may be the service's whose own process can't be told.
    fn counts_all(&self) -> bool {
        match self.looking {
            Looking::Asked => !self.are_named(),
            Looking::ByDefault { matters, .. } => self.at_most.is_none_or(matters),
        }
    }

    /// Few ghosts of the whole machine, which change nothing, are looked for in the service's processes alone.
    fn scope(&self) -> Scope<'_> {
        let asks_few = !self.counts_all() && !self.are_named() && self.clients.is_empty();
        if asks_few { Scope::Users(&self.users) } else { Scope::All }
    }

    fn look(&self, world: &World) -> Result<Look> {
        let belongs = |uid: u32, cgroup: &dyn Fn() -> Option<String>| {
            let in_unit = |name| cgroup().is_some_and(|path| members::belongs(&path, name));
            // Unasked, a user's processes are not all the service's.
            let are_meant = self.unit.is_some() || (self.uid.is_some() && self.was_asked());
            are_meant && self.uid.is_none_or(|wanted| wanted == uid) && self.unit.is_none_or(in_unit)
        };
        let Descriptors { mut open, meant, refused, refused_meant, is_hidden, late } =
            descriptors::read(world, &self.sockets, self.scope(), belongs);
        let clients = processes::mark(&mut open, self.clients, world);
        let has_service = meant + clients > 0 || self.are_named();
        // Only where no process is known as the service's any other may be.
        open.retain(|_, descriptor| descriptor.is_meant || !has_service || self.counts_all());
        self.leave_other_namespaces(&mut open, world);
        let meant = processes::holders(open.values().filter(|descriptor| descriptor.is_meant));
        let meant = meant.into_iter().map(|(pid, _)| pid).collect();
        // The tables come second: what is in none of them now was open before.
        let Tables { talking, unseen, untold, any_unheld } = self.forget_known(&mut open, refused > 0, world)?;
        open.retain(|inode, descriptor| descriptor.is_open(world, *inode));
        // Unasked, nothing is said of processes that nothing speaks against.
        let may_be_theirs =
            (refused > 0 && (any_unheld || (!has_service && self.was_asked()))) || (is_hidden && self.may_be_hidden());
        let mut missing = Vec::new();
        if late {
            missing.push("no time left to look for ghosts".to_owned());
        } else if refused_meant > 0 || may_be_theirs {
            missing.push("ghosts unknown: processes of the service may not be read".to_owned());
        }
        if untold > 0 {
            missing.push(format!("ghosts unknown: the kernel doesn't tell the protocol of {untold} sockets"));
        }
        let mut look = Look { ghosts: open, meant, has_service, talking, missing };
        look.drop_uncertain(unseen);
        Ok(look)
    }

    /// Leaves those that still are what they were: all other descriptors have been read.
    fn look_again(&self, look: &mut Look, world: &World) -> Result<()> {
        look.ghosts.retain(|inode, descriptor| descriptor.is_open(world, *inode));
        let Tables { unseen, .. } = self.forget_known(&mut look.ghosts, false, world)?;
        look.ghosts.retain(|inode, descriptor| descriptor.is_open(world, *inode));
        look.drop_uncertain(unseen);
        Ok(())
    }

    /// Who is in another network namespace, and not known as the service's, talked there; nor is another
    /// user's process meant where one is chosen.
    fn leave_other_namespaces(&self, open: &mut HashMap<u64, Descriptor>, world: &World) {
        let is_chosen = |descriptor: &Descriptor| self.uid.is_none_or(|uid| uid == descriptor.uid);
        let mut are_here = processes::Here::new(world);
        open.retain(|_, descriptor| descriptor.is_meant || is_chosen(descriptor) && are_here.has(descriptor.pid));
    }

    /// Leaves only TCP sockets that are in no table.
    fn forget_known(&self, open: &mut HashMap<u64, Descriptor>, any_refused: bool, world: &World) -> Result<Tables> {
        let mut unheld = self.sockets.clone();
        unheld.retain(|inode| open.remove(inode).is_none());
        let mut tables = Tables { talking: HashSet::new(), unseen: None, untold: 0, any_unheld: false };
        let mut forget = |open: &mut HashMap<u64, Descriptor>, visit: Visit| {
            let query =
                Query { states: StateSet::ALL_AND_BOUND, ports: &[], side: Side::Both, times: false, listeners: false };
            let seen = visit(world, &query, &mut |socket| {
                tables.talking.extend(open.remove(&socket.inode).map(|descriptor| descriptor.pid));
                tables.any_unheld |= unheld.contains(&socket.inode);
            });
            seen.map(|seen| seen.missing)
        };
        // A process of one service has few other sockets; of all processes most are in a table.
        if open.len() <= FEW {
            open.retain(|_, descriptor| descriptor.is_tcp(world).unwrap_or(true));
        }
        // One of the service's that nobody here has may have been closed since.
        if open.is_empty() && (unheld.is_empty() || !any_refused) {
            return Ok(tables);
        }
        let mut unseen = forget(open, source::visit)?;
        let mut untold = 0;
        open.retain(|_, descriptor| {
            let is_tcp = descriptor.is_tcp(world);
            untold += u64::from(is_tcp.is_err() && (descriptor.is_meant || self.was_asked()));
            is_tcp.unwrap_or(false)
        });
        if !open.is_empty() && world.netns != Netns::All {
            // A process may hold sockets of namespaces that it isn't in.
            unseen = unseen.or(forget(open, source::visit_all)?);
        }
        (tables.unseen, tables.untold) = (unseen, untold);
        Ok(tables)
    }

    fn finish(&self, look: &Look) -> Ghosts {
        let meant = look.ghosts.iter().filter(|(_, holder)| holder.is_meant);
        let mut sockets: Vec<Suspect> = meant.map(|(inode, holder)| suspect(*inode, holder)).collect();
        sockets.sort_by_key(|ghost| ghost.inode);
        let (count, elsewhere) = (sockets.len() as u64, (look.ghosts.len() - sockets.len()) as u64);
        let (missing, looked_at) = (look.missing.clone(), Some(look.meant.clone()));
        Ghosts { count, sockets, elsewhere, missing, looked_at, ..Ghosts::default() }
    }

    /// Ghosts of processes that have no other socket: nothing tells of which service they were. Who has sockets of
    /// another service may have forgotten that one's, but nothing tells that either.
    fn judge_others(&self, look: &Look, found: &mut Ghosts, world: &World) {
        let others = || look.ghosts.values().filter(|holder| !holder.is_meant);
        if self.was_asked() && !look.has_service && found.elsewhere > 0 {
            let why = "no process has a socket of the service, others have";
            return found.missing.push(format!("{why} {} ghosts: name its --unit or --user", found.elsewhere));
        }
        let silent = processes::holders(others().filter(|holder| !look.talking.contains(&holder.pid)));
        let count = processes::ghosts_of(&silent);
        if count > 0 {
            let why = "ghosts of processes without any socket may be the service's, most of pid";
            let why = format!("{why} {}", processes::pids(&silent));
            match self.looking {
                Looking::Asked => found.missing.push(Ghosts::at_most(count, &why)),
                Looking::ByDefault { .. } => found.doubts.push((Some(count), why)),
            }
        }
        let talking = processes::holders(others().filter(|holder| look.talking.contains(&holder.pid)));
        let count = processes::ghosts_of(&talking);
        if count > 0 && self.looking.needs(count) {
            let (of, service) = (processes::named(talking.iter().map(|(pid, _)| *pid), world), found.looked_at(world));
            found.remarks.push(format!("{count} ghosts of processes with other sockets don't count ({of}): {service}"));
        }
    }
}
