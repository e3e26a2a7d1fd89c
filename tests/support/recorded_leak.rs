//! Records a day of a cache whose client begins to leak, as check_conn_growth would have: for the
//! tests of `connleak graph` and the picture in the README.
//!
//! `recorded_leak STATE_DIR [MINUTES]`: ends now, at one look a minute. The leak begins at 5/8 of it.

use connleak::growth::detector::Verdict;
use connleak::growth::detector_state::{self, DetectorState, Moment};
use connleak::growth::pool::{Connection, Pool};
use connleak::history::state_dir;
use connleak::history::{Group, History, Sample, Step};
use connleak::kernel::socket::{Endpoint, Side, Socket, State, Times};
use connleak::kernel::source::{Coverage, Origin};
use connleak::owners::ghosts::Rows;
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const LIMIT: u32 = 512;
const SERVICE: &str = "memcached:11211 both";
/// Unit, user id, and share of the load.
const CLIENTS: [(&str, u32, f64); 3] =
    [("php-fpm@shop.service", 33, 0.6), ("queue-worker.service", 1001, 0.3), ("report.service", 1002, 0.1)];

/// A connection: its owner, its birth and its last data, in minutes.
#[derive(Clone, Copy)]
struct Held {
    cookie: u64,
    client: usize,
    last: f64,
    until: f64,
}

struct Story {
    minutes: usize,
    held: Vec<Held>,
    cookies: u64,
    /// Of a small generator: the same day each time.
    seed: u64,
}

impl Story {
    /// 0 to 1.
    fn chance(&mut self) -> f64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) as f64 / f64::from(1u32 << 31)
    }

    fn restart(&self) -> usize {
        self.minutes * 3 / 8
    }

    fn onset(&self) -> usize {
        self.minutes * 5 / 8
    }

    fn open(&mut self, minute: usize, client: usize, lives: f64) {
        self.cookies += 1;
        let now = minute as f64;
        self.held.push(Held { cookie: self.cookies, client, last: now, until: now + lives });
    }

    fn minute(&mut self, minute: usize) {
        if minute == self.restart() {
            self.held.clear();
        }
        let now = minute as f64;
        self.held.retain(|held| held.until > now);
        // A day's load, and connections that are in use for some minutes.
        let load = 96.0 - 22.0 * (now / 1440.0 * std::f64::consts::TAU).cos();
        let count = self.held.iter().filter(|held| held.until.is_finite()).count();
        let arrivals = (load - count as f64).max(0.0) * 0.3 + 6.0 * self.chance();
        for _ in 0..arrivals as usize {
            let at = self.chance();
            let client = usize::from(at > CLIENTS[0].2) + usize::from(at > CLIENTS[0].2 + CLIENTS[1].2);
            let lives = 2.0 + 16.0 * self.chance();
            self.open(minute, client, lives);
        }
        for held in self.held.iter_mut().filter(|held| held.until.is_finite()) {
            held.last = now;
        }
        if minute >= self.onset() && self.chance() < 0.62 {
            self.open(minute, 0, f64::INFINITY);
        }
    }

    fn pool(&mut self, minute: usize) -> Pool {
        let here = |port| Endpoint::new([10, 0, 0, 7].into(), port);
        let socket = |held: &Held| {
            let idle = ((minute as f64 - held.last) * 60_000.0) as u32 + 900;
            let local = 40_000 + (held.cookie % 20_000) as u16;
            Socket {
                uid: CLIENTS[held.client].1,
                inode: held.cookie,
                cookie: NonZeroU64::new(held.cookie),
                cgroup: NonZeroU64::new(500 + held.client as u64),
                times: Some(Times {
                    data_sent: idle,
                    data_recv: idle,
                    ack_recv: idle,
                    stalled: 0,
                    carried: None,
                    ack_delay: 0,
                }),
                ..Socket::bare(State::Established, here(local), Endpoint::new([10, 0, 0, 5].into(), 11_211))
            }
        };
        let connections: Vec<_> = self.held.iter().map(|held| Connection::new(&socket(held), Side::Client)).collect();
        let mut counts = [0; 11];
        counts[State::Established as usize - 1] = connections.len() as u64;
        counts[State::TimeWait as usize - 1] = 30 + (self.chance() * 12.0) as u64;
        counts[State::Listen as usize - 1] = 1;
        let seen = Coverage::new(Origin::Netlink, String::new());
        let instance = 1 + u64::from(minute >= self.restart());
        Pool {
            seen,
            connections,
            counts,
            instance,
            listeners: Vec::new(),
            ports: None,
            rows: Rows::default(),
            unsure: 0,
        }
    }
}

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let minutes = words.get(2).map_or(1440, |text| text.parse().expect("a number of minutes"));
    let dir = state_dir::open(Some(Path::new(&words[1]))).expect("a state directory");
    let mut history = History::open(&dir, Duration::from_secs(600)).expect("a history").history;
    let end = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
    let mut story = Story { minutes, held: Vec::new(), cookies: 0, seed: 7 };
    let mut memory = DetectorState::new(LIMIT);
    for minute in 0..minutes {
        story.minute(minute);
        let pool = story.pool(minute);
        let (wall, uptime) = (end - ((minutes - 1 - minute) * 60) as f64, 90_000.0 + 60.0 * minute as f64);
        let moment = Moment { wall, uptime, boot_id: "a-boot".to_owned() };
        let learned = memory.learn(&moment, pool.sample(), LIMIT, 1.0);
        let name = |connection: &Connection| {
            CLIENTS.iter().find(|client| client.1 == connection.socket.uid).map_or("?", |client| client.0).to_owned()
        };
        let mut groups: BTreeMap<String, u64> = BTreeMap::new();
        for connection in &pool.connections {
            memory.names.insert(connection.group(), name(connection));
            *groups.entry(name(connection)).or_default() += 1;
        }
        let sample = Sample {
            wall: (wall * 1000.0) as i64,
            uptime: (uptime * 1000.0) as u64,
            boot: moment.boot_id.clone(),
            instance: pool.instance,
            counts: pool.counts,
            limit: Some(u64::from(LIMIT)),
            sampled: (learned.sampled * 1e6) as u32,
            leak: matches!(learned.verdict, Verdict::Leak(_)),
            groups: groups.into_iter().map(|(name, count)| Group { name, count }).collect(),
            ..Sample::default()
        };
        let step = Step { sample, state: memory.store(), version: detector_state::VERSION, value: () };
        let stored = history.update(SERVICE, |_| Ok(step)).expect("the history takes it");
        assert!(stored.unsaved.is_none(), "{:?}", stored.unsaved);
    }
}
