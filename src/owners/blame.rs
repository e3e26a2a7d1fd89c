//! Who has these sockets: owners, peers and groups, largest first.

mod share;
mod suspect;

pub use share::Group;
pub use suspect::Suspect;

use crate::kernel::cgroup::{self, container};
use crate::kernel::owner::{Named, Owners, Process};
use crate::kernel::socket::Age;
use crate::report::{Owner, Peer, Report, Share, rounded, words};
use crate::service::request::By;
use crate::service::target::Target;
use crate::service::tenant_key::{Key, Plain};
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The group of sockets without a holder.
const UNKNOWN: &str = "unknown";

/// How suspects are grouped, and how many entries lists have.
#[derive(Clone, Copy, Debug)]
pub struct Grouping {
    pub by: By,
    /// What [`By::Tenant`] stands for.
    pub tenant: Plain,
    pub top: usize,
}

impl Grouping {
    pub fn new(target: &Target) -> Grouping {
        let tenant = match target.profile.tenants.key {
            Some(Key::Plain(plain)) => plain,
            // What needs more than the holder, target::resolve refuses.
            _ => Plain::Unit,
        };
        Grouping { by: target.request.by, tenant, top: target.request.top }
    }
}

#[derive(Debug)]
pub struct Blame {
    pub owners: Vec<Owner>,
    shares: Vec<Share>,
    pub peers: Vec<Peer>,
    /// By the key that was asked for.
    pub groups: Vec<Group>,
    /// Sockets for which nobody was found.
    pub unowned: u64,
    /// Sockets that no process has accepted yet.
    pub waiting: u64,
    /// [`Suspect::rivals`] of the first owner's sockets.
    rivals: usize,
    orphaned: u64,
    total: u64,
    grouping: Grouping,
}

#[derive(Default)]
struct Count {
    sockets: u64,
    oldest: Option<u32>,
    oldest_at_most: Option<u32>,
    peers: BTreeMap<IpAddr, u64>,
    /// Most of [`Suspect::rivals`].
    rivals: usize,
}

impl Count {
    /// Seconds, and where that is what it is at least: what it is at most.
    fn oldest_seconds(&self) -> [Option<f64>; 2] {
        let span = Age { at_least: self.oldest.unwrap_or(0), at_most: self.oldest_at_most.unwrap_or(0) };
        [self.oldest, span.open_end()].map(|age| age.map(|millis| rounded(f64::from(millis) / 1000.0, 1)))
    }

    fn add(&mut self, suspect: &Suspect) {
        self.sockets += 1;
        self.oldest = self.oldest.max(suspect.age);
        self.oldest_at_most = self.oldest_at_most.max(suspect.age_at_most);
        self.rivals = self.rivals.max(suspect.rivals);
        if !suspect.is_peerless() {
            *self.peers.entry(suspect.remote.ip).or_default() += 1;
        }
    }

    fn merge(&mut self, other: &Count) {
        self.sockets += other.sockets;
        self.oldest = self.oldest.max(other.oldest);
        self.oldest_at_most = self.oldest_at_most.max(other.oldest_at_most);
        self.rivals = self.rivals.max(other.rivals);
        for (peer, sockets) in &other.peers {
            *self.peers.entry(*peer).or_default() += sockets;
        }
    }
}

impl Blame {
    /// [`Blame::of`] these.
    pub fn new(suspects: &[Suspect], owners: &Owners, grouping: Grouping) -> Blame {
        Blame::of(suspects.iter().copied(), owners, grouping)
    }

    /// Counts every suspect for its first holder.
    pub fn of(suspects: impl Iterator<Item = Suspect>, owners: &Owners, grouping: Grouping) -> Blame {
        let mut by_who: BTreeMap<Who, (Suspect, Count)> = BTreeMap::new();
        let (mut orphaned, mut waiting) = (0, 0);
        for suspect in suspects {
            orphaned += u64::from(suspect.is_kernels());
            waiting += u64::from(suspect.is_waiting());
            let who = Who::new(&suspect, owners, grouping);
            by_who.entry(who).or_insert_with(|| (suspect, Count::default())).1.add(&suspect);
        }
        let mut all = Count::default();
        // In the order of pids, as the keys begin with them.
        let mut by_process: Vec<(u32, Option<&Process>, Count)> = Vec::new();
        let mut by_key: BTreeMap<String, Count> = BTreeMap::new();
        let mut by_name: BTreeMap<String, Count> = BTreeMap::new();
        for (who, (suspect, count)) in by_who {
            let holder = owners.of(suspect.holder_inode).next();
            all.merge(&count);
            by_key.entry(key(&suspect, holder, grouping)).or_default().merge(&count);
            if let Some(process) = holder {
                by_name.entry(share::name(process)).or_default().merge(&count);
            }
            match by_process.last_mut() {
                Some((pid, _, sum)) if *pid == who.holder => sum.merge(&count),
                _ => by_process.push((who.holder, holder, count)),
            }
        }
        let unowned = by_process.first().filter(|(pid, ..)| *pid == 0).map_or(0, |(.., all)| all.sockets - orphaned);
        by_process.retain(|(_, process, _)| process.is_some());
        by_process.sort_by_key(|(pid, _, count)| (Reverse(count.sockets), *pid));
        by_process.truncate(grouping.top);
        let rivals = by_process.first().map_or(0, |(.., count)| count.rivals);
        let owner = |(_, process, count): (u32, Option<&Process>, Count)| Some(owner(process?, count, grouping.top));
        let owners: Vec<Owner> = by_process.into_iter().filter_map(owner).collect();
        let groups = share::largest(by_key, grouping.top);
        let shares = share::with_other(share::largest(by_name, grouping.top), all.sockets);
        let (peers, total) = (largest(all.peers, grouping.top), all.sockets);
        Blame { owners, shares, peers, groups, unowned, waiting, rivals, orphaned, total, grouping }
    }

    /// Who to look at first, for the first line.
    pub fn headline(&self) -> Vec<String> {
        let mut parts = Vec::new();
        if let Some(owner) = self.owners.first() {
            let or_another = match self.rivals {
                0 => String::new(),
                rivals => format!(" or another of {rivals} listeners with connections waiting"),
            };
            parts.push(format!("{}held by {owner}{or_another}", words::among(owner.sockets, self.total)));
        }
        if self.waiting > 0 {
            parts.push(format!("{}not accepted yet", words::part(self.waiting, self.total)));
        }
        let is_part = (1..self.total).contains(&self.orphaned);
        parts.extend(is_part.then(|| format!("{} of no process any more", self.orphaned)));
        if let Some(group) = self.groups.first().filter(|group| self.names(group)) {
            let of = match self.grouping.by {
                By::User => "of user",
                By::Tenant => "of tenant",
                _ => "in",
            };
            let among = words::among(group.sockets, self.total);
            parts.push(format!("{among}{of} {}", cgroup::label(&group.key)));
        }
        if let Some(peer) = self.peers.first() {
            parts.push(format!("{}with peer {}", words::part(peer.sockets, self.total), peer.address));
        }
        parts
    }

    /// How many sockets it is about.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Whether a group tells more than owners and peers do.
    fn names(&self, group: &Group) -> bool {
        !matches!(self.grouping.by, By::Owner | By::Peer) && group.key != UNKNOWN
    }

    /// What the first line must say where owners were looked for and not all were found.
    pub fn shortfall(&self, owners: &Owners) -> Option<String> {
        let why = owners.why_unowned();
        let (unowned, total) = (self.unowned, self.total);
        // Of all the line says how many there are.
        let of = if unowned == total { String::new() } else { format!(" for {unowned} of {total} sockets") };
        (unowned > 0).then(|| format!("owners partial: none known{of}, {why}"))
    }

    /// Long text: owners and groups, from `-vv` the sockets with all their holders.
    pub fn details(&self, suspects: &[Suspect], owners: &Owners, verbose: u8) -> Vec<String> {
        let mut lines = Vec::new();
        if verbose >= 1 {
            lines.extend(self.owners.iter().map(|owner| {
                let peers: Vec<_> =
                    owner.peers.iter().map(|peer| format!("{} ({})", peer.address, peer.sockets)).collect();
                let oldest = share::aged(owner.oldest_seconds, owner.oldest_at_most_seconds);
                let peers = if peers.is_empty() { String::new() } else { format!(", peers {}", peers.join(", ")) };
                format!("owner {owner}: {}{oldest}{peers}", sockets(owner.sockets))
            }));
            if self.grouping.by != By::Owner {
                let line = |group: &Group| {
                    let oldest = share::aged(group.oldest_seconds, group.oldest_at_most_seconds);
                    format!("group {}: {}{oldest}", group.key, sockets(group.sockets))
                };
                lines.extend(self.groups.iter().map(line));
            }
        }
        if verbose >= 2 {
            lines.extend(
                oldest_first(suspects).iter().take(self.grouping.top).map(|suspect| socket_line(suspect, owners)),
            );
            if suspects.len() > self.grouping.top {
                lines.push(format!("... {} more sockets; see --top", suspects.len() - self.grouping.top));
            }
        }
        lines
    }

    /// Adds owners, groups and peers to a report.
    pub fn add_to(&self, report: &mut Report) {
        report.owners.clone_from(&self.owners);
        report.shares.clone_from(&self.shares);
        let mut put = |key: &str, value: Value| report.extra.insert(key.to_owned(), value);
        put("peers", json!(self.peers));
        put("groups", json!(self.groups));
        put("waiting", json!(self.waiting));
    }
}

fn owner(process: &Process, count: Count, top: usize) -> Owner {
    let Process { pid, command, unit, cgroup, uid, user, .. } = process.clone();
    let container = cgroup.as_deref().and_then(container::name);
    let [oldest_seconds, oldest_at_most_seconds] = count.oldest_seconds();
    let (sockets, peers) = (count.sockets, largest(count.peers, top));
    Owner { pid, command, unit, container, uid, user, sockets, oldest_seconds, oldest_at_most_seconds, peers }
}

/// In the order that text and data name them.
pub fn oldest_first(suspects: &[Suspect]) -> Vec<&Suspect> {
    let mut sorted: Vec<&Suspect> = suspects.iter().collect();
    sorted.sort_unstable_by_key(|suspect| (Reverse(suspect.age), suspect.local, suspect.remote, suspect.inode));
    sorted
}

/// `1 socket`, `2 sockets`.
pub fn sockets(count: u64) -> String {
    format!("{count} socket{}", if count == 1 { "" } else { "s" })
}

fn socket_line(suspect: &Suspect, owners: &Owners) -> String {
    let Suspect { state, local, remote, inode, .. } = *suspect;
    let age = suspect.age_text();
    let holders: Vec<_> = owners.of(suspect.holder_inode).map(|process| Named(process).to_string()).collect();
    let held = match (suspect.is_waiting(), holders.is_empty()) {
        (true, true) => "not accepted yet".to_owned(),
        (true, false) if suspect.rivals > 0 => {
            format!("not accepted yet by {} or another listener", holders.join(", "))
        }
        (true, false) => format!("not accepted yet by {}", holders.join(", ")),
        (false, true) if suspect.is_kernels() => "of no process any more".to_owned(),
        (false, true) => format!("inode {inode}, holder unknown"),
        (false, false) => format!("inode {inode} of {}", holders.join(", ")),
    };
    if suspect.is_ghost() {
        return format!("ghost, {held}");
    }
    if suspect.is_bound() {
        return format!("socket {local} bound without listening, {held}");
    }
    format!("socket {local} from {remote} {state}{age}, {held}")
}

/// What decides on a socket's holder and group. Names are made once for all sockets of one.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Who {
    /// Its pid; 0: nobody is known.
    holder: u32,
    /// Where the group is not the holder's.
    user: Option<u32>,
    peer: Option<IpAddr>,
}

impl Who {
    fn new(suspect: &Suspect, owners: &Owners, grouping: Grouping) -> Who {
        let holder = owners.of(suspect.holder_inode).next().map_or(0, |process| process.pid);
        let by_peer = matches!((grouping.by, grouping.tenant), (By::Peer, _) | (By::Tenant, Plain::Peer(_)));
        let user = (holder == 0 && !suspect.is_waiting()).then_some(suspect.uid);
        Who { holder, user, peer: by_peer.then_some(suspect.remote.ip) }
    }
}

fn key(suspect: &Suspect, holder: Option<&Process>, grouping: Grouping) -> String {
    let of_holder = |text: &dyn Fn(&Process) -> String| holder.map_or_else(|| UNKNOWN.to_owned(), text);
    let unit = |process: &Process| process.unit.clone().unwrap_or_else(|| "no unit".to_owned());
    // The socket itself tells its user, but not while it waits in an accept queue.
    let user = |process: &Process| process.user.clone().unwrap_or_else(|| process.uid.to_string());
    match (grouping.by, grouping.tenant) {
        (By::Owner, _) => of_holder(&|process| Named(process).to_string()),
        (By::Unit, _) | (By::Tenant, Plain::Unit) => of_holder(&unit),
        (By::User, _) | (By::Tenant, Plain::User) => match holder {
            None if suspect.inode != 0 => suspect.uid.to_string(),
            _ => of_holder(&user),
        },
        (By::Peer, _) | (By::Tenant, Plain::Peer(_)) if suspect.is_peerless() => UNKNOWN.to_owned(),
        (By::Peer, _) => suspect.remote.ip.to_string(),
        (By::Tenant, tenant) => {
            let cgroup = holder.and_then(|process| process.cgroup.as_deref());
            tenant.name(suspect.remote.ip, None, cgroup).unwrap_or_else(|| UNKNOWN.to_owned())
        }
    }
}

fn largest(counts: BTreeMap<IpAddr, u64>, top: usize) -> Vec<Peer> {
    let peer = |(address, sockets): (IpAddr, u64)| Peer { address: address.to_string(), sockets };
    let mut peers: Vec<Peer> = counts.into_iter().map(peer).collect();
    peers.sort_unstable_by(|a, b| b.sockets.cmp(&a.sockets).then_with(|| a.address.cmp(&b.address)));
    peers.truncate(top);
    peers
}
