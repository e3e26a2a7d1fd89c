//! Sockets that the kernel's tables no longer show while a process still has their descriptor.
//!
//! A reset takes a socket out of the tables, from CLOSE_WAIT too; so does the end of a connection that
//! both sides have closed. All that is left is a descriptor whose inode no table of any network
//! namespace knows. It has no addresses, no state and no age.

mod found;

pub use found::Ghosts;

use crate::base::error::{Error, Result};
use crate::kernel::look;
use crate::kernel::members;
use crate::kernel::netns;
use crate::kernel::owner::descriptors::{self, Descriptor, Descriptors, Scope};
use crate::kernel::select::Match;
use crate::kernel::socket::{Endpoint, Side, Socket, State, StateSet};
use crate::kernel::source::{self, Coverage, Query};
use crate::kernel::unhashed;
use crate::kernel::world::{Netns, World};
use crate::owners::blame::Suspect;
use crate::service::target::Target;
use rustix::process::getuid;
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

/// Between two looks: what a process makes just now, or is about to close, is no ghost.
const PAUSE: Duration = Duration::from_millis(500);

/// So many sockets are asked for their protocol before the tables are.
const FEW: usize = 64;

/// Processes that a line names.
const MOST_NAMED: usize = 3;

/// How ghosts are looked for.
#[derive(Clone, Copy)]
pub enum Looking<'a> {
    /// `--ghosts`: what can't be read leaves the answer open.
    Asked,
    /// Unasked: what can't be read is doubt, as far as the kernel's counters bound it. Tells whether so many
    /// more would change the verdict.
    ByDefault(&'a dyn Fn(u64) -> bool),
}

/// Which processes may have ghosts of the service: those that hold a selected socket, and all of
/// the unit and of the user that the selection names.
struct Suspected<'a> {
    sockets: HashSet<u64>,
    /// Those of `sockets`.
    users: HashSet<u32>,
    unit: Option<&'a str>,
    uid: Option<u32>,
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
        (false, true) => {}
        // The usual case costs no look at any process.
        (false, false) if unhashed::none(world) => return Ok(Some(Ghosts::default())),
        (false, false) => {}
    }
    let nothing = |why: Error| Ghosts { missing: vec![format!("ghosts unknown: {why}")], ..Ghosts::default() };
    let found = search(world, target, unit, looking).unwrap_or_else(nothing);
    Ok(Some(Ghosts { was_asked, ..found }))
}

fn search(world: &World, target: &Target, unit: Option<&str>, looking: Looking) -> Result<Ghosts> {
    let selection = &target.selection;
    let at_most = match looking {
        Looking::Asked => None,
        Looking::ByDefault(matters) => unhashed::at_most(world, matters),
    };
    if at_most == Some(0) {
        return Ok(Ghosts::default());
    }
    let (sockets, users, uid) = (HashSet::new(), HashSet::new(), selection.uid);
    let mut suspected = Suspected { sockets, users, unit, uid, looking, at_most };
    look::visit(world, selection, (StateSet::ALL, false), &mut |socket, matched, _| {
        if socket.inode != 0 && matches!(matched, Match::Yes(_)) {
            suspected.sockets.insert(socket.inode);
            suspected.users.insert(socket.uid);
        }
    })?;
    let mut look = suspected.look(world)?;
    if !look.ghosts.is_empty() {
        let first = look.ghosts;
        thread::sleep(PAUSE.min(world.deadline.left() / 4));
        look = suspected.look(world)?;
        look.ghosts.retain(|inode, descriptor| {
            // A process that let go of its last other socket meanwhile is still the service's.
            let before = first.get(inode);
            descriptor.is_meant |= before.is_some_and(|before| before.is_meant);
            before.is_some()
        });
    }
    let mut found = suspected.finish(&look);
    if !suspected.was_asked() {
        found.doubts.extend(suspected.doubt_silent(&look));
        if !found.missing.is_empty() {
            found.bound(suspected.at_most.map_or_else(|| unhashed::unlisted(world), |all| Ok(Some(all))));
        }
    }
    Ok(found)
}

/// What one look shows.
struct Look {
    /// By inode.
    ghosts: HashMap<u64, Descriptor>,
    /// Processes that have sockets in the tables, of this service or of another.
    talking: HashSet<u32>,
    missing: Vec<String>,
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

    /// Whether ghosts of all processes count: they may be the service's whose own process can't be told.
    fn counts_all(&self) -> bool {
        match self.looking {
            Looking::Asked => false,
            Looking::ByDefault(matters) => self.at_most.is_none_or(matters),
        }
    }

    /// Few ghosts of the whole machine, which change nothing, are looked for in the service's processes alone.
    fn scope(&self) -> Scope<'_> {
        let asks_few = matches!(self.looking, Looking::ByDefault(_)) && !self.counts_all() && !self.are_named();
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
        let has_service = meant > 0 || self.are_named();
        // Only where no process is known as the service's any other may be.
        open.retain(|_, descriptor| descriptor.is_meant || !has_service || self.counts_all());
        if !self.was_asked() {
            self.leave_other_namespaces(&mut open, world);
        }
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
        if let Some(why) = unseen.filter(|_| !open.is_empty()) {
            missing.push(format!("{} descriptors may be ghosts or not: {why}", open.len()));
            open.clear();
        }
        Ok(Look { ghosts: open, talking, missing })
    }

    /// Who is in another network namespace, and not known as the service's, talked there; nor is another
    /// user's process meant where one is chosen.
    fn leave_other_namespaces(&self, open: &mut HashMap<u64, Descriptor>, world: &World) {
        let here = netns::identity(world).ok().filter(|_| world.netns != Netns::All);
        let mut are_here: HashMap<u32, bool> = HashMap::new();
        open.retain(|_, descriptor| {
            let pid = descriptor.pid;
            let there = || netns::identity_of(&world.proc_root.join(pid.to_string()).join("net"));
            let is_here = || here.is_none_or(|here| there().map_or(true, |there| u64::from(there) == here));
            let is_chosen = self.uid.is_none_or(|uid| uid == descriptor.uid);
            descriptor.is_meant || is_chosen && *are_here.entry(pid).or_insert_with(is_here)
        });
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
        let mut missing = look.missing.clone();
        if elsewhere > 0 && self.was_asked() {
            missing.push(format!(
                "no process has a socket of the service, others have {elsewhere} ghosts: name its --unit or --user"
            ));
        }
        Ghosts { count, sockets, elsewhere, missing, ..Ghosts::default() }
    }

    /// Ghosts of processes that have no other socket, so that nothing tells of which service they were. Who has
    /// some of another service may have forgotten that one's.
    fn doubt_silent(&self, look: &Look) -> Option<(Option<u64>, String)> {
        let of_others = look.ghosts.values().filter(|holder| !holder.is_meant).map(|holder| holder.pid);
        let mut pids: Vec<u32> = of_others.filter(|pid| !look.talking.contains(pid)).collect();
        let count = pids.len() as u64;
        pids.sort_unstable();
        let mut holders: Vec<(u32, usize)> = pids.chunk_by(u32::eq).map(|same| (same[0], same.len())).collect();
        holders.sort_by_key(|(_, count)| Reverse(*count));
        let named: Vec<String> = holders.iter().take(MOST_NAMED).map(|(pid, _)| pid.to_string()).collect();
        let why =
            format!("ghosts of processes without any socket may be the service's, most of pid {}", named.join(", "));
        (count > 0).then_some((Some(count), why))
    }
}

fn suspect(inode: u64, holder: &Descriptor) -> Suspect {
    let nowhere = Endpoint::new(Ipv4Addr::UNSPECIFIED.into(), 0);
    Suspect {
        state: State::Close,
        local: nowhere,
        remote: nowhere,
        netns: 0,
        uid: holder.uid,
        inode,
        interface: 0,
        is_transparent: false,
        cgroup: None,
        holder_inode: inode,
        rivals: 0,
        age: None,
    }
}
