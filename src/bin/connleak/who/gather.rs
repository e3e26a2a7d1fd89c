//! One look at the sockets of a service, counted by who has them.

use super::counted::Sockets;
use super::ghosts::{self, Haunted};
use super::remembered::Remembered;
use super::row::{Holder, Row};
use super::{By, user_of};
use connleak::base::error::Result;
use connleak::kernel::owner::Owners;
use connleak::kernel::owner::read_tables::ReadTables;
use connleak::kernel::socket::Side;
use connleak::kernel::source::{Coverage, Origin};
use connleak::kernel::user::Users;
use connleak::kernel::world::World;
use connleak::owners::blame::Suspect;
use connleak::owners::ghosts::Looking;
use connleak::service::target::Target;
use rustix::process::geteuid;
use std::net::Ipv4Addr;

/// What one look shows.
pub struct View {
    pub by: By,
    /// Worst first.
    pub rows: Vec<Row>,
    pub seen: Coverage,
    /// All rows together.
    pub all: Row,
    /// Owners of all rows, also of those that are not shown.
    pub owners: usize,
    /// Sockets whose process was looked for in vain.
    pub unowned: u64,
    pub ages_known: bool,
    /// All sockets, worst first, where these are shown, and who holds them.
    pub sockets: Vec<Suspect>,
    pub holders: Owners,
    /// `None`: not asked for.
    pub ghosts: Option<Vec<Haunted>>,
    /// What is to be said of the view's limits.
    pub notes: Vec<String>,
}

impl View {
    /// `keeps_sockets`: they are shown, not counted alone. `looking`: for ghosts, `None` is not. `remembered`: by checks.
    pub fn gather(
        target: &Target,
        by: By,
        keeps_sockets: bool,
        (looking, remembered): (Option<Looking>, Remembered),
        world: &World,
    ) -> Result<View> {
        let Remembered { mut sights, known, .. } = remembered;
        let (mut sockets, seen) = Sockets::read(target, keeps_sockets, &mut sights, world)?;
        // What is read for ghosts tells owners too.
        let mut tables = ReadTables::default();
        let mut of_ghosts = Vec::new();
        let ghosts = match looking {
            Some(looking) => {
                let rows = std::mem::take(&mut sockets.all);
                ghosts::find(target, looking, (rows, &known), &mut tables, world, &mut of_ghosts)?
            }
            None => None,
        };
        let mut tables = Some(tables).filter(|tables| !tables.is_empty());
        let owners = sockets.owners(world, tables.as_mut());
        let users = if world.is_foreign() || world.replay.is_some() { Users::default() } else { Users::read() };
        let (rows, all) = sockets.rows(target, by, &owners, &users);
        let unowned = sockets.unowned(&owners);
        let mut notes = target.absent.clone();
        notes.extend(seen.remark.clone());
        if let Some(missing) = &seen.missing {
            notes.push(format!("sockets incomplete: {missing}"));
        }
        if seen.origin == Origin::Replay {
            notes.push(replayed(&seen));
        } else if unowned > 0 {
            // A container's root may lack rights that other processes have.
            let is_remedy = owners.refused > 0 && !owners.late && !geteuid().is_root();
            let why = owners.why_unowned() + if is_remedy { "; run as root to see all" } else { "" };
            notes.push(format!("owners of {unowned} of {} sockets unknown: {why}", sockets.held.len()));
        }
        if !sockets.ages_known {
            let why = match seen.origin {
                Origin::Replay => "the dump was recorded without tcp_info; 'ss -tanie -D FILE' records it",
                _ => "only /proc could be read",
            };
            notes.push(format!("ages unknown: {why}"));
        }
        if sockets.held.is_empty() && target.selection.has_tcp() {
            let recorded = (seen.origin == Origin::Replay).then_some("recordings may lack what is only bound");
            notes.extend(seen.lacks_bound().or(recorded).map(|why| format!("listeners and connections only: {why}")));
        }
        if sockets.undated > 0 {
            notes.push(format!("{} in CLOSE_WAIT over UNIX sockets: the kernel tells no ages", sockets.undated));
        }
        if sockets.datagram > 0 {
            notes.push(format!("{} of datagrams, which have no connections", sockets.datagram));
        }
        let bound = sockets.bound - sockets.datagram;
        if bound > 0 {
            notes.push(format!("{bound} bound without listening: nobody can connect there"));
        }
        if sockets.unsure > 0 {
            notes.push(format!("{} more have no process: whose they were can't be told", sockets.unsure));
        }
        let portless = sockets.portless();
        if portless > 0 {
            notes.push(format!(
                "{portless} closed ones between clients' ports are in one row: their service can't be told"
            ));
        }
        notes.append(&mut of_ghosts);
        let (holders, unowned) = (owners, unowned as u64);
        let (owners, ages_known) = (holders.processes.len(), sockets.ages_known);
        let sockets = sockets.shown();
        Ok(View { by, rows, seen, all, owners, unowned, ages_known, sockets, holders, ghosts, notes })
    }
}

impl View {
    /// Ghosts go to their process's first row; one that has nothing else gets a row of its own.
    pub fn add_ghosts(&mut self, side: Side) {
        if self.by.is_by_peer() {
            // A ghost has no peer any more.
            return;
        }
        for Haunted { process, sockets } in self.ghosts.iter().flatten() {
            let user = user_of(process);
            let Some(label) = self.by.name(Some(process), Some(&user), Ipv4Addr::UNSPECIFIED.into()) else { continue };
            let at = self.rows.iter().position(|row| row.label == label).unwrap_or_else(|| {
                let mut row = Row::new(Holder::Process(process.pid), side, None);
                (row.label, row.user) = (label, Some(user));
                row.process = (self.by == By::Pid).then(|| process.clone());
                self.rows.push(row);
                self.rows.len() - 1
            });
            self.rows[at].ghosts += sockets;
            self.rows[at].pids.insert(process.pid);
            let is_known = self.holders.processes.iter().any(|known| known.pid == process.pid);
            self.owners += usize::from(!is_known);
        }
        self.rows.sort_by_key(Row::rank);
    }
}

/// The note of a recording.
pub fn replayed(seen: &Coverage) -> String {
    format!("replayed from {}, so without owners", seen.how)
}
