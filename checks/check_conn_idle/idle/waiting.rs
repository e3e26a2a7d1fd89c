//! Data that lies there for long: unread by the process, or not taken by its peer.

use super::age;
use connleak::base::duration::Span;
use connleak::kernel::owner::{self, Holders, Named};
use connleak::kernel::socket::{Endpoint, Side, Socket, State, StateSet};
use connleak::kernel::source::{self, Query};
use connleak::kernel::world::World;
use connleak::owners::blame::Suspect;
use connleak::report::verdict::{Limits, ServiceState, Verdict};
use connleak::report::{Metric, Unit};
use connleak::service::profile;
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

/// The thresholds in force.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub min_age: Span,
    pub limits: Limits,
}

impl Rule {
    /// `default`: where no profile says it.
    pub fn new(profile: &profile::Waiting, min_age: Option<Span>, limits: Limits, default: Span) -> Rule {
        Rule { min_age: min_age.or(profile.min_age).unwrap_or(default), limits: limits.or(profile.limits()) }
    }
}

/// The connections that one rule is about.
#[derive(Debug, Default)]
pub struct Waiting {
    pub sockets: Vec<Suspect>,
    /// They have such data, but for how long or whose they are isn't told.
    pub unsure: u64,
}

impl Waiting {
    /// `age`: for how long its data has waited; `None`: not told.
    pub fn see(&mut self, rule: &Rule, socket: &Socket, age: Option<u32>, is_sure: bool) {
        match age {
            Some(age) if u64::from(age) < rule.min_age.as_millis() => {}
            Some(age) if is_sure => self.sockets.push(Suspect::new(socket, Some(age))),
            _ => self.unsure += 1,
        }
    }

    fn count(&self) -> u64 {
        self.sockets.len() as u64
    }

    fn oldest(&self) -> u32 {
        self.sockets.iter().filter_map(|socket| socket.age).max().unwrap_or(0)
    }

    pub fn judge_unread(&self, rule: &Rule, verdict: &mut Verdict) {
        let count = self.count();
        verdict.judge(&rule.limits, count as f64, || {
            format!("{count} with data unread for {} or more, {} at most", rule.min_age, age(self.oldest()))
        });
    }

    pub fn judge_unsent(&self, rule: &Rule, world: &World, verdict: &mut Verdict) {
        let count = self.count();
        verdict.judge(&rule.limits, count as f64, || {
            let (peer, of_peer) = self.peer().map_or(("?".to_owned(), 0), |(ip, count)| (ip.to_string(), count));
            let process = self.peers_process(world).map_or(String::new(), |process| format!(" ({process})"));
            let age = age(self.oldest());
            format!(
                "{count} with data not taken for {} or more, {age} at most, {of_peer} by {peer}{process}",
                rule.min_age
            )
        });
    }

    pub fn at_worst(&self, rule: &Rule) -> ServiceState {
        let count = self.count();
        rule.limits.at_worst(count as f64, (count + self.unsure) as f64)
    }

    pub fn metric(&self, name: &'static str, rule: &Rule) -> Metric {
        let known = (self.unsure == 0).then_some(self.count() as f64);
        Metric::new(name, Unit::None, known).within(rule.limits)
    }

    /// The peer of most of them.
    fn peer(&self) -> Option<(IpAddr, u64)> {
        let mut peers: BTreeMap<IpAddr, u64> = BTreeMap::new();
        self.sockets.iter().for_each(|socket| *peers.entry(socket.remote.ip).or_default() += 1);
        peers.into_iter().max_by_key(|(_, count)| *count)
    }

    /// Who has the other end, where it is on this host and may be read: a name more, no verdict rests on it.
    fn peers_process(&self, world: &World) -> Option<String> {
        let (ip, _) = self.peer().filter(|_| world.replay.is_none())?;
        let of_peer = self.sockets.iter().filter(|socket| socket.remote.ip == ip);
        let ends: HashSet<(Endpoint, Endpoint)> = of_peer.map(|socket| (socket.remote, socket.local)).collect();
        let states = StateSet::of(&[State::Established]);
        let query = Query { states, ports: &[], side: Side::Both, times: false, listeners: false };
        let mut others = Vec::new();
        source::visit(world, &query, &mut |socket| {
            if ends.contains(&(socket.local, socket.remote)) {
                others.push((socket.inode, socket.uid));
            }
        })
        .ok()?;
        let owners = owner::find(world, &others, Holders::First);
        let process = others.iter().find_map(|(inode, _)| owners.of(*inode).next())?;
        Some(Named(process).to_string())
    }
}
