//! What the growth check remembers beside its samples: the detector, the names of groups, the pace.

use crate::pool::{Connection, Pool, is_sampled};
use crate::socket::State as TcpState;
use crate::trend::{Detector, Sample, Socket, State, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};

/// Of [`Memory`] as it is stored; another one is begun anew.
pub const VERSION: u32 = 1;
/// Sockets that are followed one by one; above it a sample of them.
const MOST_SOCKETS: usize = 4096;
/// Times between runs from which the schedule is told.
const PACES: usize = 9;
/// Before any two runs are known: what schedulers do.
const USUAL_PACE: f64 = 60.0;
/// Group names that are kept.
const MOST_NAMES: usize = 256;

#[derive(Debug, Serialize, Deserialize)]
pub struct Memory {
    pub detector: Detector,
    /// By [`Connection::group`].
    pub names: BTreeMap<u32, String>,
    /// One socket in 2^n is followed. It never falls: sockets that come back would look like new ones.
    thinning: u32,
    paces: Vec<f64>,
    last: Option<(String, f64)>,
}

/// When a sample was taken. Seconds.
#[derive(Clone, Debug)]
pub struct Moment {
    pub wall: f64,
    pub uptime: f64,
    pub boot_id: String,
}

/// What one run adds to what was known.
#[derive(Debug)]
pub struct Learned {
    pub verdict: Verdict,
    /// Connections since the run before, and minutes between; `None`: there was none in this boot.
    pub turnover: Option<Turnover>,
    /// Sockets followed, of all.
    pub sampled: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Turnover {
    pub opened: f64,
    pub closed: f64,
    pub minutes: f64,
}

impl Memory {
    /// `stored` is what the run before gave; unreadable or of another version it is begun anew.
    pub fn restore(stored: Option<&(u32, Vec<u8>)>, limit: u32) -> Memory {
        let known = stored.filter(|(version, _)| *version == VERSION);
        known.and_then(|(_, bytes)| postcard::from_bytes(bytes).ok()).unwrap_or_else(|| Memory {
            detector: Detector::new(USUAL_PACE, limit),
            names: BTreeMap::new(),
            thinning: 0,
            paces: Vec::new(),
            last: None,
        })
    }

    pub fn store(&self) -> Vec<u8> {
        // Serialising plain numbers into memory can't fail; an empty state would be begun anew.
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// Takes one look at the service. `limit`: connections it can hold. `speed`: how many times as
    /// fast time runs in a rehearsal; [`Moment`] is told in that time.
    pub fn learn(&mut self, moment: &Moment, pool: &Pool, limit: u32, speed: f64) -> Learned {
        let before = self.last.replace((moment.boot_id.clone(), moment.uptime));
        let elapsed = before.filter(|(boot, _)| *boot == moment.boot_id).map(|(_, uptime)| moment.uptime - uptime);
        self.keep_pace(elapsed);
        self.detector.set_pace(self.pace(), limit);
        let followed = self.follow(&pool.connections, speed);
        let turnover = elapsed.filter(|elapsed| *elapsed > 0.0).map(|elapsed| self.turnover(&followed, pool, elapsed));
        let count = |state: TcpState| pool.counts[state as usize - 1].min(u64::from(u32::MAX)) as u32;
        let (established, close_wait) = (count(TcpState::Established), count(TcpState::CloseWait));
        let all: u64 = pool.counts.iter().sum();
        let time_wait = count(TcpState::TimeWait);
        let other = (all as u32).saturating_sub(established + close_wait + time_wait);
        let sampled = followed.len() as f64 / pool.connections.len().max(1) as f64;
        let verdict = self.detector.step(&Sample {
            wall: moment.wall,
            uptime: moment.uptime,
            boot: u64::from_str_radix(&moment.boot_id.replace('-', "")[..16.min(moment.boot_id.len())], 16)
                .unwrap_or(0),
            service: pool.instance,
            established,
            close_wait,
            time_wait,
            other,
            sockets: followed,
        });
        self.names.retain(|group, _| pool.connections.iter().any(|connection| connection.group() == *group));
        Learned { verdict, turnover, sampled }
    }

    /// Groups of the pool that have no name yet, with a connection of each.
    pub fn nameless<'a>(&self, pool: &'a Pool) -> BTreeMap<u32, &'a Connection> {
        let unnamed = pool.connections.iter().filter(|connection| !self.names.contains_key(&connection.group()));
        unnamed.map(|connection| (connection.group(), connection)).take(MOST_NAMES).collect()
    }

    fn follow(&mut self, connections: &[Connection], speed: f64) -> Vec<Socket> {
        let sampled =
            |thinning| connections.iter().filter(move |connection| is_sampled(connection.identity(), thinning));
        let thinning = self.thinning;
        while sampled(self.thinning).count() > MOST_SOCKETS {
            self.thinning += 1;
        }
        if self.thinning > thinning {
            let thinning = self.thinning;
            self.detector.keep(|cookie| is_sampled(cookie, thinning));
        }
        let socket = |connection: &Connection| Socket {
            cookie: connection.identity(),
            group: connection.group(),
            state: if connection.socket.state == TcpState::CloseWait { State::CloseWait } else { State::Established },
            idle: connection.silence().unwrap_or(0.0) * speed,
        };
        sampled(self.thinning).map(socket).collect()
    }

    fn turnover(&self, followed: &[Socket], pool: &Pool, elapsed: f64) -> Turnover {
        let before: HashSet<u64> = self.detector.cookies().collect();
        let scale = pool.connections.len() as f64 / followed.len().max(1) as f64;
        let stayed = followed.iter().filter(|socket| before.contains(&socket.cookie)).count();
        Turnover {
            opened: (followed.len() - stayed) as f64 * scale,
            closed: (before.len() - stayed) as f64 * scale.max(1.0),
            minutes: elapsed / 60.0,
        }
    }

    fn keep_pace(&mut self, elapsed: Option<f64>) {
        self.paces.extend(elapsed.filter(|elapsed| *elapsed > 0.0));
        let old = self.paces.len().saturating_sub(PACES);
        self.paces.drain(..old);
    }

    /// Seconds between runs as scheduled: the median, as gaps and rechecks are not the schedule.
    fn pace(&self) -> f64 {
        let mut paces = self.paces.clone();
        paces.sort_by(f64::total_cmp);
        paces.get(paces.len() / 2).copied().unwrap_or(USUAL_PACE)
    }
}
