//! Sockets that the kernel's tables no longer show while a process still has their descriptor.
//!
//! A reset takes a socket out of the tables, from CLOSE_WAIT too; so does the end of a connection that
//! both sides have closed. All that is left is a descriptor whose inode no table of any network
//! namespace knows. It has no addresses, no state and no age.

use crate::base::error::{Error, Result};
use crate::kernel::look;
use crate::kernel::members;
use crate::kernel::owner::descriptors::{self, Descriptor, Descriptors};
use crate::kernel::select::Match;
use crate::kernel::socket::{Endpoint, Side, Socket, State, StateSet};
use crate::kernel::source::{self, Coverage, Query};
use crate::kernel::world::{Netns, World};
use crate::owners::blame::Suspect;
use crate::report::Report;
use crate::service::target::Target;
use rustix::process::getuid;
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

/// Between two looks: what a process makes just now, or is about to close, is no ghost.
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
pub struct Ghosts {
    pub count: u64,
    /// Of the service's processes, by inode.
    pub sockets: Vec<Suspect>,
    /// Of other processes, where none is known as the service's. A ghost has no port that could tell.
    pub elsewhere: u64,
    /// Why there may be more.
    pub missing: Vec<String>,
}

/// Which processes may have ghosts of the service: those that hold a selected socket, and all of
/// the unit and of the user that the selection names.
struct Suspected<'a> {
    sockets: HashSet<u64>,
    unit: Option<&'a str>,
    uid: Option<u32>,
}

/// Looks twice. What can't be read is said in [`Ghosts::missing`], beside what is known already.
///
/// # Errors
/// When a recorded dump is judged.
pub fn find(world: &World, target: &Target, unit: Option<&str>) -> Result<Ghosts> {
    if world.replay.is_some() {
        return Err(Error::Usage("--ghosts needs this machine's processes: it can't be used with --replay".into()));
    }
    let nothing = |why: Error| Ghosts { missing: vec![format!("ghosts unknown: {why}")], ..Ghosts::default() };
    Ok(search(world, target, unit).unwrap_or_else(nothing))
}

fn search(world: &World, target: &Target, unit: Option<&str>) -> Result<Ghosts> {
    let selection = &target.selection;
    let mut suspected = Suspected { sockets: HashSet::new(), unit, uid: selection.uid };
    look::visit(world, selection, (StateSet::ALL, false), &mut |socket, matched, _| {
        if socket.inode != 0 && matches!(matched, Match::Yes(_)) {
            suspected.sockets.insert(socket.inode);
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
    Ok(suspected.finish(look))
}

/// What one look shows.
struct Look {
    /// By inode.
    ghosts: HashMap<u64, Descriptor>,
    missing: Vec<String>,
}

/// What the tables lack.
struct Tables {
    /// Why sockets may be missing in them.
    unseen: Option<String>,
    /// Sockets of which it can't be told whether they are TCP's.
    untold: u64,
    /// Whether a socket of the service is held by nobody who can be read.
    any_unheld: bool,
}

type Visit = fn(&World, &Query, &mut dyn FnMut(&Socket)) -> Result<Coverage>;

impl Suspected<'_> {
    fn are_named(&self) -> bool {
        self.unit.is_some() || self.uid.is_some()
    }

    /// Whether a hidden process may be the service's: one's own are always seen.
    fn may_be_hidden(&self) -> bool {
        self.are_named() && self.uid != Some(getuid().as_raw())
    }

    fn look(&self, world: &World) -> Result<Look> {
        let belongs = |uid: u32, cgroup: &dyn Fn() -> Option<String>| {
            let in_unit = |name| cgroup().is_some_and(|path| members::belongs(&path, name));
            self.are_named() && self.uid.is_none_or(|wanted| wanted == uid) && self.unit.is_none_or(in_unit)
        };
        let is_theirs = |inode| self.sockets.contains(&inode);
        let Descriptors { mut open, meant, refused, refused_meant, is_hidden, late } =
            descriptors::read(world, is_theirs, belongs);
        let has_service = meant > 0 || self.are_named();
        // Only where no process is known as the service's any other may be.
        open.retain(|_, descriptor| descriptor.is_meant || !has_service);
        // The tables come second: what is in none of them now was open before.
        let Tables { unseen, untold, any_unheld } = self.forget_known(&mut open, world)?;
        open.retain(|inode, descriptor| descriptor.is_open(world, *inode));
        let may_be_theirs = (refused > 0 && (any_unheld || !has_service)) || (is_hidden && self.may_be_hidden());
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
        Ok(Look { ghosts: open, missing })
    }

    /// Leaves only TCP sockets that are in no table.
    fn forget_known(&self, open: &mut HashMap<u64, Descriptor>, world: &World) -> Result<Tables> {
        let held: HashSet<u64> = self.sockets.iter().copied().filter(|inode| open.contains_key(inode)).collect();
        let mut any_unheld = false;
        let mut forget = |open: &mut HashMap<u64, Descriptor>, visit: Visit| {
            let query =
                Query { states: StateSet::ALL_AND_BOUND, ports: &[], side: Side::Both, times: false, listeners: false };
            let seen = visit(world, &query, &mut |socket| {
                open.remove(&socket.inode);
                any_unheld |= self.sockets.contains(&socket.inode) && !held.contains(&socket.inode);
            });
            seen.map(|seen| seen.missing)
        };
        let mut unseen = forget(open, source::visit)?;
        let mut untold = 0;
        open.retain(|_, descriptor| {
            let is_tcp = descriptor.is_tcp(world);
            untold += u64::from(is_tcp.is_err());
            is_tcp.unwrap_or(false)
        });
        if !open.is_empty() && world.netns != Netns::All {
            // A process may hold sockets of namespaces that it isn't in.
            unseen = unseen.or(forget(open, source::visit_all)?);
        }
        Ok(Tables { unseen, untold, any_unheld })
    }

    fn finish(&self, look: Look) -> Ghosts {
        let Look { ghosts, mut missing } = look;
        let mut sockets: Vec<Suspect> = ghosts
            .iter()
            .filter(|(_, holder)| holder.is_meant)
            .map(|(inode, holder)| suspect(*inode, holder))
            .collect();
        sockets.sort_by_key(|ghost| ghost.inode);
        let elsewhere = ghosts.len() - sockets.len();
        if elsewhere > 0 {
            missing.push(format!(
                "no process has a socket of the service, others have {elsewhere} ghosts: name its --unit or --user"
            ));
        }
        Ghosts { count: sockets.len() as u64, sockets, elsewhere: elsewhere as u64, missing }
    }
}

impl Ghosts {
    /// Adds what a report says beside the number.
    pub fn add_to(&self, report: &mut Report) {
        report.extra.insert("ghosts".into(), json!({"sockets": self.count, "elsewhere": self.elsewhere}));
        self.missing.iter().for_each(|why| report.is_incomplete(why.clone()));
    }
}

impl fmt::Display for Ghosts {
    /// `3 ghosts`; `3 or more ghosts`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_more = if self.missing.is_empty() { "" } else { " or more" };
        write!(f, "{}{or_more} ghost{}", self.count, if self.count == 1 { "" } else { "s" })
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
