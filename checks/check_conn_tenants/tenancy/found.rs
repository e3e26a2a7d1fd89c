//! The service's connections with their tenants, and the poolers among their holders.

use super::census::{Census, Counts, Judged, Looks, Rules};
use super::look::{Connection, Snapshot};
use super::pooler::{self, Pooler};
use super::spared;
use super::whose::Naming;
use super::{People, Whose};
use connleak::kernel::source::Origin;
use connleak::kernel::world::World;
use connleak::owners::blame::Suspect;
use connleak::owners::usual_close_wait::Usual;
use connleak::service::tenant_key::{Key, Plain};
use std::collections::HashSet;

/// The service's connections with their tenants.
pub struct Found {
    pub key: Key,
    pub look: Snapshot,
    pub people: People,
    /// The tenant of each connection.
    pub whose: Vec<Whose>,
    pub census: Census,
    /// Connections that may not be meant at all.
    pub unsure: Counts,
    pub poolers: Vec<Pooler>,
    /// Why poolers may have more.
    pub poolers_missing: Option<String>,
    /// Whether idle times are known of all TCP connections; UNIX sockets have none.
    pub idle_known: bool,
}

impl Found {
    pub fn new(
        world: &World,
        key: Key,
        mut look: Snapshot,
        naming: Naming,
        (rules, usual): (&Rules, &mut Usual),
    ) -> Found {
        let mut people = People::find(world, &look, naming);
        let whose: Vec<Whose> = look.connections.iter().map(|connection| people.whose(connection)).collect();
        spared::take_out(&mut look.connections, rules.expected);
        spared::take_out_usual(&mut look.connections, usual, world);
        let counts = look.connections.iter().map(Connection::counts);
        let mut census = Census::new(whose.iter().cloned().zip(counts));
        let is_by_peer = matches!(key, Key::Plain(Plain::Peer(_)));
        census.is_local = is_by_peer && census.tenants.len() == 1 && look.is_local();
        let mut unsure = Counts::default();
        look.unsure.iter().for_each(|socket| unsure.add(&rules.ages.looks(socket).into()));
        let mut tcp = look.connections.iter().filter(|connection| !connection.is_unix());
        let idle_known = look.has_tcp && look.seen.origin != Origin::Proc && tcp.all(|connection| connection.is_timed);
        let ends = look.connections.iter().flat_map(|connection| [connection.client(), connection.server()]).flatten();
        let ends = ends.chain(look.listeners.iter().copied());
        let masters = ends.filter_map(|end| Some((people.pooler(&end)?, end.uid)));
        let (mut masters, mut uids): (Vec<u32>, Vec<u32>) = masters.unzip();
        uids.extend(
            people.owners.processes.iter().filter(|process| masters.contains(&process.pid)).map(|process| process.uid),
        );
        for numbers in [&mut masters, &mut uids] {
            numbers.sort_unstable();
            numbers.dedup();
        }
        let (poolers, missing) = match masters.is_empty() {
            true => (Vec::new(), None),
            false => pooler::sides(world, &masters, &uids, &rules.ages)
                .unwrap_or_else(|error| (Vec::new(), Some(error.to_string()))),
        };
        let poolers_missing = missing.map(|why| format!("poolers incomplete: {why}"));
        Found { key, look, people, whose, census, unsure, poolers, poolers_missing, idle_known }
    }

    /// With all that may be meant, as of an unknown tenant.
    pub fn with_unsure(&self) -> Census {
        let mut census = self.census.clone();
        census.unknown.add(&self.unsure);
        census.total += self.unsure.connections;
        census
    }

    /// Why a minimal age in CLOSE_WAIT can't be told of some.
    pub fn why_unaged(&self) -> &'static str {
        let is_unaged = |connection: &Connection| !connection.is_unix() && connection.looks == Looks::MaybeStuck;
        match self.look.connections.iter().any(is_unaged) {
            true => "keepalive probes or writes hide ages",
            false => "peers closed at some time since the last run",
        }
    }

    /// The connections that the reasons are about: those of the tenants they name, else all; of these the ones in
    /// CLOSE_WAIT where nothing else is wrong.
    pub fn suspects(&self, judged: &Judged) -> impl Iterator<Item = Suspect> {
        let named: HashSet<&str> = judged.named.iter().map(|index| self.census.tenants[*index].name.as_str()).collect();
        let is_meant = move |whose: &Whose| match whose {
            Whose::Tenant(name) => named.is_empty() || named.contains(&**name),
            _ => named.is_empty(),
        };
        let only_close_wait = judged.only_close_wait;
        let is_bad = move |connection: &Connection| !only_close_wait || connection.looks == Looks::Stuck;
        let all = self.look.connections.iter().zip(&self.whose);
        let meant = all.filter(move |(connection, whose)| is_meant(whose) && is_bad(connection));
        meant.map(|(connection, _)| {
            // Who is to be named is the tenant, at the client's end.
            let end = connection.client().filter(|end| end.inode != 0).or(connection.server());
            Suspect { holder_inode: end.map_or(0, |end| end.inode), ..connection.suspect }
        })
    }
}
