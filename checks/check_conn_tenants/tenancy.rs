//! Whose connections these are: their tenants by the client's end, and the poolers between.

pub mod census;
pub mod found;
pub mod label;
pub mod look;
pub mod outlier;
pub mod pooler;
pub mod spared;
pub mod whose;

use connleak::base::error::{Error, Result};
use connleak::kernel::cgroup;
use connleak::kernel::owner::lineage::Lineages;
use connleak::kernel::owner::one_each::find_one_each;
use connleak::kernel::owner::{self, Holders, Owners};
use connleak::kernel::user::{Users, unmapped};
use connleak::kernel::world::World;
use connleak::service::profile::map::TenantMap;
use connleak::service::tenant_key::{Key, Plain};
use look::{Connection, End, Snapshot};
use regex_lite::Regex;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::rc::Rc;
use whose::{Naming, Who};

/// What a connection's client turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    Tenant(Rc<str>),
    /// The pid of the pooler's master.
    Pooler(u32),
    Unknown(Why),
}

/// Why a connection has no tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The client's end is not on this host, or its process has closed it.
    Elsewhere,
    /// The process that holds it was not found.
    Unread,
    /// What is known of it names no tenant.
    Unmatched,
}

/// The rule by which a key names tenants; patterns and files are read here.
pub fn naming(key: &Key, world: &World) -> Result<Naming> {
    let pattern = |pattern: &str| {
        Regex::new(pattern).map_err(|error| {
            Error::Usage(format!("tenant key '{key}': {}; see regex(7)", error.to_string().replace('\n', " ")))
        })
    };
    let naming = match key {
        Key::Plain(plain) => Naming::Plain(*plain),
        Key::Cwd(text) => Naming::Cwd(pattern(text)?),
        Key::Cmd(text) => Naming::Cmd(pattern(text)?),
        Key::Map(file) => Naming::Map(TenantMap::from_file(file)?),
    };
    if world.replay.is_some() && naming.needs_processes() {
        return Err(Error::Usage(format!(
            "tenant key '{key}' needs this machine's processes: with --replay use --key user, peer/24, or a map of users and cidrs"
        )));
    }
    Ok(naming)
}

/// What is known of the processes at both ends.
#[derive(Debug)]
pub struct People {
    naming: Naming,
    pub owners: Owners,
    lineages: Lineages,
    /// Paths by cgroup id, for ends whose process may not be read.
    cgroups: HashMap<u64, String>,
    users: Users,
    /// [`unmapped`].
    unmapped: Option<u32>,
    /// The tenants of the service's own listeners.
    services: Vec<Rc<str>>,
    /// Processes in the root of the cgroups, which no unit has: hosts without systemd, containers.
    in_no_unit: HashSet<u32>,
    /// What was named once: patterns are dear, and most connections are of few processes.
    named: BTreeMap<Known, Option<Rc<str>>>,
    /// Whether no process here is a pooler.
    no_poolers: bool,
}

/// From so many connections on with both ends here it is worth to ask first whether there is any pooler.
const MANY: usize = 2_000;

/// What a name depends on: holder, user, cgroup, peer.
type Known = (Option<u32>, Option<u32>, Option<u64>, Option<IpAddr>);

impl People {
    pub fn find(world: &World, look: &Snapshot, naming: Naming) -> People {
        let by_peer = matches!(naming, Naming::Plain(Plain::Peer(_))) && !look.is_local();
        // The inodes and uids of a recorded dump are another time's, maybe another machine's.
        let is_here = world.replay.is_none();
        let of_both = || look.connections.iter().filter(|connection| connection.has_both_ends());
        // Where none can be a pooler's the server's end is only of use if the client's names nobody.
        let no_poolers = is_here && !by_peer && of_both().nth(MANY).is_some() && !pooler::may_be_here(world);
        let is_wanted = |connection: &&Connection| !(no_poolers && connection.has_both_ends());
        let servers = look.connections.iter().filter(is_wanted).filter_map(Connection::server);
        let clients = look.connections.iter().filter_map(Connection::client);
        let listeners = look.listeners.iter().copied().filter(|_| !no_poolers);
        let wanted = clients.chain(servers).filter(|_| !by_peer).chain(listeners);
        let mut wanted = wanted.map(|end| (end.inode, end.uid)).filter(|_| is_here);
        let owners = owner::find_in(world, &mut wanted, Holders::First, None);
        let lineages = Lineages::read(world, owners.processes.iter().map(|process| process.pid));
        let mut cgroups = HashMap::new();
        if is_here && !world.is_foreign() && naming.wants_cgroups() {
            cgroup::each_id(|id, path| drop(cgroups.insert(id, path.to_owned())));
        }
        let users = if is_here && !world.is_foreign() { Users::read() } else { Users::default() };
        let unmapped = if is_here { unmapped() } else { None };
        let (services, named) = (Vec::new(), BTreeMap::new());
        let in_no_unit = HashSet::new();
        let mut people =
            People { naming, owners, lineages, cgroups, users, unmapped, services, in_no_unit, named, no_poolers };
        if no_poolers {
            let nameless = of_both().filter(|connection| people.name_of_client(connection).is_none());
            let servers: Vec<_> = nameless.filter_map(Connection::server).map(|end| (end.inode, end.uid)).collect();
            people.owners.add(owner::find(world, &servers, Holders::First));
            // Their processes have thousands of others.
            let listeners = look.listeners.iter().zip(0..).map(|(end, number)| (end.inode, end.uid, number));
            people.owners.add(find_one_each(world, &listeners.collect::<Vec<_>>()));
            people.lineages = Lineages::read(world, people.owners.processes.iter().map(|process| process.pid));
        }
        people.in_no_unit = people.find_in_no_unit(world);
        for end in &look.listeners {
            let name = people.name(Some(end), None).filter(|name| !people.services.contains(name));
            people.services.extend(name);
        }
        people
    }

    fn find_in_no_unit(&self, world: &World) -> HashSet<u32> {
        if !matches!(self.naming, Naming::Plain(Plain::Unit)) {
            return HashSet::new();
        }
        // A cgroup that can't be read may be any unit's.
        let is_in_root =
            |pid: &u32| owner::open_process(world, *pid).and_then(|dir| owner::cgroup_of(dir.as_fd())) == Ok(None);
        let without = self.owners.processes.iter().filter(|process| process.cgroup.is_none());
        without.map(|process| process.pid).filter(is_in_root).collect()
    }

    /// The tenant of one connection: its client's end tells, else the service's own process where that
    /// serves one tenant.
    pub fn whose(&mut self, connection: &Connection) -> Whose {
        let client = connection.client().filter(|end| end.inode != 0);
        let pooler = client.and_then(|end| self.pooler(&end));
        if pooler.is_none()
            && let Some(name) = self.name_of_client(connection)
        {
            return Whose::Tenant(name);
        }
        let server = connection.server().filter(|end| end.inode != 0);
        if let Some(name) = server.and_then(|end| self.name(Some(&end), None)).filter(|name| self.is_telling(name)) {
            return Whose::Tenant(name);
        }
        match (pooler, client) {
            (Some(pid), _) => Whose::Pooler(pid),
            (None, None) => Whose::Unknown(Why::Elsewhere),
            (None, Some(end)) if self.naming.needs_processes() && self.owners.of(end.inode).next().is_none() => {
                Whose::Unknown(Why::Unread)
            }
            (None, Some(_)) => Whose::Unknown(Why::Unmatched),
        }
    }

    fn name_of_client(&mut self, connection: &Connection) -> Option<Rc<str>> {
        let client = connection.client().filter(|end| end.inode != 0);
        self.name(client.as_ref(), Some(connection.peer()).filter(|_| !connection.is_unix()))
    }

    /// Whether a name that the service's end gives tells its clients apart: each listener has another
    /// one, or a worker names what its master doesn't. A preforking master is of another user than its
    /// workers, which says nothing of whom they serve.
    fn is_telling(&self, name: &str) -> bool {
        let of_worker =
            !matches!(self.naming, Naming::Plain(_)) && !self.services.iter().any(|service| **service == *name);
        self.services.len() > 1 || of_worker
    }

    /// The master of the pooler that holds this end.
    pub fn pooler(&self, end: &End) -> Option<u32> {
        if self.no_poolers {
            return None;
        }
        self.owners.of(end.inode).find_map(|process| pooler::master(&self.lineages, process.pid))
    }

    fn name(&mut self, end: Option<&End>, peer: Option<IpAddr>) -> Option<Rc<str>> {
        let holder = end.and_then(|end| self.owners.of(end.inode).next()).map(|process| process.pid);
        let cgroup = end.and_then(|end| end.cgroup).map(|id| id.get());
        let known = (holder, end.map(|end| end.uid), cgroup, peer.filter(|_| self.naming.wants_peers()));
        if let Some(name) = self.named.get(&known) {
            return name.clone();
        }
        let name: Option<Rc<str>> = self.name_anew(end, peer).map(Into::into);
        self.named.insert(known, name.clone());
        name
    }

    fn name_anew(&self, end: Option<&End>, peer: Option<IpAddr>) -> Option<String> {
        let holder = end.and_then(|end| self.owners.of(end.inode).next());
        let cgroup_id = end.and_then(|end| end.cgroup).map(|id| id.get());
        let of_id = || cgroup_id.and_then(|id| self.cgroups.get(&id)).map(String::as_str);
        let uid = holder.map(|process| process.uid).or(end.map(|end| end.uid));
        // It stands for many users.
        let uid = uid.filter(|uid| Some(*uid) != self.unmapped);
        let who = Who {
            peer,
            uid,
            user: uid.and_then(|uid| self.users.name(uid)),
            cgroup: holder.and_then(|process| process.cgroup.as_deref()).or_else(of_id),
            lineage: holder.map(|process| self.lineages.up(process.pid).collect()).unwrap_or_default(),
        };
        let is_in_no_unit = || holder.is_some_and(|process| self.in_no_unit.contains(&process.pid));
        let of_user = || Some(format!("user {}", Naming::Plain(Plain::User).name(&who)?));
        self.naming.name(&who).or_else(|| is_in_no_unit().then(of_user)?)
    }
}
