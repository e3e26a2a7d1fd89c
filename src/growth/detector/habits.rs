//! What is normal here: how long silences last, how long connections live, how many there are.

use std::collections::BTreeMap;

use super::Key;
use super::histogram::Histogram;
use super::series::Series;
use super::table::{Changes, Table};
use serde::{Deserialize, Serialize};

/// Habits fade by 1/e in this time, seconds: a month of other behaviour makes another habit.
const MEMORY: f64 = 30.0 * 86_400.0;
/// Keys and groups kept; beyond it those without sockets go first. An owner is a unit or a user: hosts have dozens.
const CAPACITY: usize = 64;

/// How sockets of one key fall silent and come back.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Silences {
    /// Lengths in seconds of silences that ended, by traffic or by a close.
    pub ended: Histogram,
    /// Seconds for which this key has been watched, faded like the counts.
    pub watched: f64,
}

/// How the connections of one owner come and go.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Ages in seconds at which connections were closed.
    pub ages: Histogram,
    /// Connections seen to be closed, faded like the ages.
    pub closed: f64,
    /// Places that connections have left when their lifetime was over, and those of them that others took at once, faded likewise.
    pub left: f64,
    pub taken: f64,
    /// Connections that outlived the rush of short requests, by sample.
    pub settled: Series,
    /// Places taken for as long, by sample.
    pub held: Series,
    /// Those among them that nobody works with, by sample.
    pub unused: Series,
}

impl Group {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.settled.bytes() + self.held.bytes() + self.unused.bytes()
    }
}

/// Habits by key and by owner group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Habits {
    pub silences: BTreeMap<Key, Silences>,
    pub groups: BTreeMap<u32, Group>,
}

impl Habits {
    /// Learns from one step; `settled_age` in seconds separates requests from lasting connections.
    pub fn learn(&mut self, changes: &Changes, table: &Table, now: f64, elapsed: f64, settled_age: f64) {
        self.fade(elapsed);
        for ended in &changes.ended {
            self.silences.entry(ended.key).or_default().ended.add(ended.length);
        }
        for death in &changes.deaths {
            let group = self.groups.entry(death.group).or_default();
            group.closed += 1.0;
            if let Some(age) = death.age {
                group.ages.add(age);
            }
        }
        for &(group, is_taken) in &changes.places {
            let group = self.groups.entry(group).or_default();
            group.left += 1.0;
            group.taken += f64::from(u8::from(is_taken));
        }
        self.count(table, now, settled_age);
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let groups: usize = self.groups.values().map(Group::bytes).sum();
        groups + self.silences.len() * (size_of::<Key>() + size_of::<Silences>())
    }

    fn fade(&mut self, elapsed: f64) {
        let factor = (-elapsed / MEMORY).exp();
        for silences in self.silences.values_mut() {
            silences.ended.fade(factor);
            silences.watched = silences.watched * factor + elapsed;
        }
        for group in self.groups.values_mut() {
            group.ages.fade(factor);
            group.closed *= factor;
            group.left *= factor;
            group.taken *= factor;
        }
    }

    fn count(&mut self, table: &Table, now: f64, settled_age: f64) {
        let mut counts: BTreeMap<u32, [u32; 3]> = self.groups.keys().map(|&group| (group, [0; 3])).collect();
        for socket in table.iter() {
            self.silences.entry(socket.key).or_default();
            let lasts = !socket.birth_seen || socket.age(now) > settled_age;
            let keeps = socket.keeps_place(now, settled_age);
            let [settled, held, unused] = counts.entry(socket.key.group).or_default();
            *settled += u32::from(lasts);
            *held += u32::from(keeps);
            *unused += u32::from(keeps && socket.is_unused());
        }
        for (group, [settled, held, unused]) in counts {
            let group = self.groups.entry(group).or_default();
            group.settled.push(now, f64::from(settled));
            group.held.push(now, f64::from(held));
            group.unused.push(now, f64::from(unused));
        }
        self.bound(table);
    }

    /// Forgets owners that are gone once there are too many to keep.
    fn bound(&mut self, table: &Table) {
        if self.silences.len() > CAPACITY {
            self.silences.retain(|key, _| table.iter().any(|socket| socket.key == *key));
        }
        if self.groups.len() > CAPACITY {
            self.groups.retain(|group, _| table.iter().any(|socket| socket.key.group == *group));
        }
    }
}
