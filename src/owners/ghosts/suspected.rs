//! One look for ghosts: descriptors of sockets that no table knows, of whom, and what may be missing.

use super::found::suspect;
use super::table_search::{TableSearch, Tables};
use super::{Ghosts, Looking, Rows, processes};
use crate::base::error::Result;
use crate::kernel::members;
use crate::kernel::opened::Opened;
use crate::kernel::owner::descriptors::{self, Belongs, Cgroup, Descriptor, Descriptors, Scope};
use crate::kernel::owner::read_tables::ReadTables;
use crate::kernel::owner::{Listed, Sought};
use crate::kernel::socket::Side;
use crate::kernel::unhashed;
use crate::kernel::world::World;
use crate::owners::blame::Suspect;
use crate::owners::known::Known;
use crate::service::target::Target;
use rustix::io::Errno;
use rustix::process::getuid;
use std::collections::{BTreeSet, HashMap, HashSet};

/// So many sockets are asked for their protocol before the tables are.
const FEW: usize = 64;

/// Which processes may have ghosts of the service: those that hold a selected socket or are known to have held one,
/// and all of the unit and of the user that the selection names.
pub struct Suspected<'a> {
    rows: Sought,
    /// Ports of the rows, and at which end.
    of_ports: (&'a [u16], Side),
    /// [`Rows::others`].
    others: Option<HashSet<u64>>,
    /// [`Rows::are_everyones`].
    are_everyones: bool,
    /// [`Rows::opened`].
    opened: Option<Opened>,
    /// Those of the rows.
    users: BTreeSet<u32>,
    unit: Option<&'a str>,
    uid: Option<u32>,
    /// The profile's: programs that are known to talk to the service.
    clients: &'a [String],
    /// From earlier looks, or by the caller's choice.
    known: Vec<u32>,
    /// Processes that are chosen, if any are: no other's ghosts are meant, also of one that shares a socket by fork(2).
    chosen: &'a [u32],
    pub(super) before: &'a Known,
    /// Inodes of its sockets.
    earlier: HashSet<u64>,
    pub(super) looking: Looking<'a>,
    /// The kernel's count of all sockets that no table shows.
    at_most: Option<u64>,
}

/// What one look shows.
pub struct Look {
    /// By inode.
    pub ghosts: HashMap<u64, Descriptor>,
    /// The service's processes that have sockets.
    pub(super) meant: Vec<u32>,
    /// Whether any is known.
    pub(super) has_service: bool,
    /// Processes that have sockets in the tables, of this service or of another.
    pub(super) talking: HashSet<u32>,
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

impl<'a> Suspected<'a> {
    /// `at_most`: the kernel's count of all sockets that no table shows.
    pub fn new(
        target: &'a Target,
        Rows { inodes, users, others, are_everyones, opened, .. }: Rows,
        known: Vec<u32>,
        before: &'a Known,
        looking: Looking<'a>,
        at_most: Option<u64>,
    ) -> Suspected<'a> {
        let (unit, uid) = (target.request.unit.as_deref(), target.selection.uid);
        let chosen = &target.request.pids[..];
        let clients = if chosen.is_empty() { &target.profile.clients[..] } else { &[] };
        let (rows, of_ports) = (Sought::new(inodes), (&target.selection.ports[..], target.selection.side));
        let earlier = before.rows.iter().copied().collect();
        Suspected {
            rows,
            of_ports,
            others,
            are_everyones,
            opened,
            users,
            unit,
            uid,
            clients,
            known,
            chosen,
            before,
            earlier,
            looking,
            at_most,
        }
    }

    pub(super) fn was_asked(&self) -> bool {
        matches!(self.looking, Looking::Asked)
    }

    fn may_be_of(&self, pid: u32) -> bool {
        self.chosen.is_empty() || self.chosen.contains(&pid)
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
        let asks_few = !self.counts_all() && !self.are_named() && self.clients.is_empty() && self.known.is_empty();
        if asks_few { Scope::Users(&self.users) } else { Scope::All }
    }

    /// Whether a process is the service's, whatever it holds.
    fn has(&self, process: &Listed, cgroup: &Cgroup<'_>) -> std::result::Result<bool, Errno> {
        // Unasked, a user's processes are not all the service's.
        let are_meant = self.unit.is_some() || (self.uid.is_some() && self.was_asked());
        if self.known.contains(&process.pid) || self.chosen.contains(&process.pid) {
            return Ok(true);
        }
        if !are_meant || self.uid.is_some_and(|wanted| wanted != process.uid) {
            return Ok(false);
        }
        let in_unit = |name| Ok(cgroup()?.is_some_and(|path| members::belongs(&path, name)));
        self.unit.map_or(Ok(true), in_unit)
    }

    fn read(&mut self, world: &World, tables: &mut ReadTables) -> Descriptors {
        let mut rows = std::mem::take(&mut self.rows);
        let belongs: &Belongs = &|process, cgroup| self.has(process, cgroup);
        let mut found = descriptors::read(world, &mut rows, &self.earlier, self.scope(), belongs, tables);
        if self.are_everyones && rows.left() > 0 {
            // What was opened during the look is in its rows alone. Of others it can't tell.
            tables.forget_processes();
            let before = found.open;
            found = descriptors::read(world, &mut rows, &self.earlier, self.scope(), belongs, tables);
            found.open.retain(|inode, _| before.contains_key(inode));
        }
        self.rows = rows;
        found
    }

    /// What is in `tables` needn't be read again.
    pub fn look(&mut self, world: &World, tables: &mut ReadTables) -> Result<Look> {
        let Descriptors { mut open, holders, meant, refused, refused_meant, is_hidden, late } =
            self.read(world, tables);
        let clients = processes::mark(&mut open, self.clients, world);
        let mut has_service = meant.len() + clients > 0 || self.are_named();
        // Only where no process is known as the service's any other may be.
        open.retain(|_, one| {
            self.may_be_of(one.pid) && (one.is_meant || self.chosen.is_empty() && (!has_service || self.counts_all()))
        });
        self.leave_other_namespaces(&mut open, world);
        let of_clients = open.values().filter(|one| one.is_meant && !holders.contains_key(&one.pid));
        let of_clients = processes::holders(of_clients);
        let mut holders = processes::ordered(holders.into_iter().chain(of_clients));
        let unheld = self.rows.unmet().filter(|_| refused > 0).collect();
        // The tables come second: what is in none of them now was open before.
        let Tables { talking, unseen, mut untold, any_unheld } =
            self.forget_known(&mut open, &unheld, (world, &*tables))?;
        open.retain(|inode, descriptor| descriptor.is_open(world, *inode));
        // Unasked, nothing is said of processes that nothing speaks against.
        let may_be_theirs =
            (refused > 0 && (any_unheld || (!has_service && self.was_asked()))) || (is_hidden && self.may_be_hidden());
        let mut missing = Vec::new();
        if late {
            missing.push("no time left to look for ghosts".to_owned());
        } else if refused_meant > 0 || may_be_theirs {
            missing.push(
                "ghosts unknown: processes of the service may not be read (see RIGHTS in the man page)".to_owned(),
            );
        }
        if self.may_be_more(open.len(), world) {
            let is_theirs = |inode| self.rows.has(inode) || self.earlier.contains(&inode);
            let mut alike = descriptors::read_alike(world, &is_theirs, &self.users, &meant);
            has_service |= alike.values().any(|descriptor| descriptor.is_meant);
            alike.retain(|inode, one| one.is_meant && self.may_be_of(one.pid) && !open.contains_key(inode));
            holders.extend(processes::holders(alike.values()));
            alike.retain(|inode, _| !self.rows.has(*inode));
            untold += self.forget_known(&mut alike, &HashSet::new(), (world, &*tables))?.untold;
            open.extend(alike);
        }
        if untold > 0 {
            missing.push(format!("ghosts unknown: the kernel doesn't tell the protocol of {untold} sockets"));
        }
        let mut met = HashSet::new();
        let meant = holders.into_iter().map(|(pid, _)| pid).filter(|pid| met.insert(*pid)).collect();
        let mut look = Look { ghosts: open, meant, has_service, talking, missing };
        look.drop_uncertain(unseen);
        Ok(look)
    }

    /// Whether so many ghosts were not found that they matter.
    fn may_be_more(&self, found: usize, world: &World) -> bool {
        let Looking::ByDefault { matters, .. } = self.looking else { return true };
        let rest = |all: u64| matters(all.saturating_sub(found as u64));
        match self.at_most {
            Some(all) => rest(all),
            None => unhashed::unlisted(world).map_or(true, |all| all.is_some_and(rest)),
        }
    }

    /// Leaves those that still are what they were: all other descriptors have been read.
    pub fn look_again(&self, look: &mut Look, world: &World, tables: &ReadTables) -> Result<()> {
        look.ghosts.retain(|inode, descriptor| descriptor.is_open(world, *inode));
        if look.ghosts.is_empty() {
            return Ok(());
        }
        let nothing = HashSet::new();
        let mut search = TableSearch::new((self.of_ports, self.was_asked()), &nothing, (world, tables));
        search.rest(&mut look.ghosts, self.opened.as_ref())?;
        let unseen = search.tables.unseen;
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

    /// Leaves only TCP sockets that are in no table. `unheld`: sockets of the service that nobody has who was read,
    /// where others were refused.
    fn forget_known(
        &self,
        open: &mut HashMap<u64, Descriptor>,
        unheld: &HashSet<u64>,
        (world, read): (&World, &ReadTables),
    ) -> Result<Tables> {
        let mut search = TableSearch::new((self.of_ports, self.was_asked()), unheld, (world, read));
        if let Some(others) = &self.others {
            search.known(open, others);
        }
        if self.are_everyones {
            // A look takes long there, and each further one as long again.
            open.retain(|inode, descriptor| descriptor.is_open(world, *inode));
        }
        // A process of one service has few other sockets; of all processes most are in a table.
        if open.len() <= FEW {
            open.retain(|_, descriptor| descriptor.is_tcp(world).unwrap_or(true));
        }
        // One of the service's that nobody here has may have been closed since.
        if open.is_empty() && unheld.is_empty() {
            return Ok(search.tables);
        }
        let were_seen = unheld.is_empty() && search.others(open);
        if were_seen && open.is_empty() {
            return Ok(search.tables);
        }
        let opened = self.opened.as_ref().filter(|_| were_seen && search.tables.unseen.is_none());
        search.rest(open, opened)?;
        Ok(search.tables)
    }

    pub fn finish(&self, look: &Look) -> Ghosts {
        let meant = look.ghosts.iter().filter(|(_, holder)| holder.is_meant);
        let mut sockets: Vec<Suspect> = meant.map(|(inode, holder)| suspect(*inode, holder)).collect();
        sockets.sort_by_key(|ghost| ghost.inode);
        let (count, elsewhere) = (sockets.len() as u64, (look.ghosts.len() - sockets.len()) as u64);
        let (missing, looked_at) = (look.missing.clone(), Some(look.meant.clone()));
        Ghosts { count, sockets, elsewhere, missing, looked_at, ..Ghosts::default() }
    }
}
