//! The sockets that one owner has of one service, on one side.

use connleak::base::capabilities;
use connleak::base::error::plain;
use connleak::kernel::owner::Process;
use connleak::kernel::socket::{Age, Side, State};
use connleak::kernel::world::World;
use connleak::owners::blame::Suspect;
use std::cmp::Reverse;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::IpAddr;

/// Whose sockets a row counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    Process(u32),
    /// A process that was not found, of this user.
    Unknown(u32),
    /// Nobody: closed by its process, and the kernel has not finished yet.
    Kernel,
}

/// From which ages on sockets look bad, milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    pub stuck: u64,
    pub idle: u64,
}

/// What a row counts of a socket.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    pub state: State,
    pub peer: Option<IpAddr>,
    /// In CLOSE_WAIT or without data, and where that is what it is at least: what it is at most.
    pub age: Option<u32>,
    pub age_at_most: Option<u32>,
    /// Whether data has been unread for longer than the bound.
    pub is_unread: bool,
}

#[derive(Clone, Debug)]
pub struct Row {
    /// What the rows are grouped by: `php-fpm[1234]`, `php-fpm.service`, `10.0.0.5`.
    pub label: String,
    pub holder: Holder,
    /// `None`: not by pid, or not known.
    pub process: Option<Process>,
    /// The user of what has no known process.
    pub user: Option<String>,
    pub pids: BTreeSet<u32>,
    pub side: Side,
    /// The service's; `None`: not known, or of several.
    pub port: Option<u16>,
    /// By TCP state, in the order of [`State::NAMES`].
    pub states: [u64; 11],
    /// Not accepted yet.
    pub waiting: u64,
    /// In CLOSE_WAIT for longer than the bound.
    pub stuck: u64,
    /// ESTABLISHED without data for longer than the bound.
    pub idle: u64,
    /// ESTABLISHED with data unread for longer than the bound.
    pub unread: u64,
    /// Descriptors whose socket no table shows any more.
    pub ghosts: u64,
    /// Milliseconds.
    pub oldest_close_wait: Option<u32>,
    /// Where some are what they are at least: what the oldest of those is at most.
    pub oldest_at_most: Option<u32>,
    pub longest_idle: Option<u32>,
    pub peers: BTreeMap<IpAddr, u64>,
    /// The oldest in CLOSE_WAIT, then the longest idle, where sockets are shown.
    pub sockets: Vec<Suspect>,
    /// Whether there were more: none is kept that is not among the first.
    were_more: bool,
    pub details: Option<Details>,
}

/// What `/proc` tells of a process beside its name.
#[derive(Clone, Debug)]
pub struct Details {
    pub cwd: Result<String, String>,
    pub command_line: Result<String, String>,
}

/// The oldest in CLOSE_WAIT, then the longest idle.
pub fn badness(suspect: &Suspect) -> impl Ord + use<> {
    let is_old = matches!(suspect.state, State::CloseWait);
    (Reverse(is_old), Reverse(suspect.age), suspect.local, suspect.remote)
}

/// Sockets kept of each row.
pub const MOST_SOCKETS: usize = 10;

impl Row {
    pub fn new(holder: Holder, side: Side, port: Option<u16>) -> Row {
        Row {
            label: String::new(),
            holder,
            process: None,
            user: None,
            pids: BTreeSet::new(),
            side,
            port,
            states: [0; 11],
            waiting: 0,
            stuck: 0,
            idle: 0,
            unread: 0,
            ghosts: 0,
            oldest_close_wait: None,
            oldest_at_most: None,
            longest_idle: None,
            peers: BTreeMap::new(),
            sockets: Vec::new(),
            were_more: false,
            details: None,
        }
    }

    pub fn count(&self, state: State) -> u64 {
        self.states[state as usize - 1]
    }

    pub fn port_text(&self) -> String {
        match self.port {
            Some(0) => "unix".to_owned(),
            port => port.map_or("-".to_owned(), |port| port.to_string()),
        }
    }

    pub fn total(&self) -> u64 {
        self.states.iter().sum()
    }

    /// In CLOSE_WAIT, where the oldest may have been so for longer than is known: for how long at most.
    pub fn open_end(&self) -> Option<u32> {
        let (at_least, at_most) = (self.oldest_close_wait?, self.oldest_at_most?);
        Age { at_least, at_most }.open_end()
    }

    pub fn add(&mut self, one: &Counted, bounds: Bounds) {
        let is_beyond = |bound: u64| one.age.is_some_and(|age| u64::from(age) >= bound);
        self.states[one.state as usize - 1] += 1;
        match one.state {
            State::Listen | State::Close => return,
            State::CloseWait => {
                self.stuck += u64::from(is_beyond(bounds.stuck));
                self.oldest_close_wait = self.oldest_close_wait.max(one.age);
                self.oldest_at_most = self.oldest_at_most.max(one.age_at_most);
            }
            State::Established => {
                self.idle += u64::from(is_beyond(bounds.idle));
                self.longest_idle = self.longest_idle.max(one.age);
                self.unread += u64::from(one.is_unread);
            }
            _ => {}
        }
        if let Some(peer) = one.peer {
            *self.peers.entry(peer).or_default() += 1;
        }
    }

    /// As one of its sockets, which has been added.
    pub fn keep(&mut self, suspect: &Suspect) {
        let is_connected = !matches!(suspect.state, State::Listen | State::Close);
        let is_among = || !self.were_more || badness(suspect) < badness(&self.sockets[MOST_SOCKETS - 1]);
        if is_connected && is_among() {
            self.sockets.push(*suspect);
        }
        if self.sockets.len() >= 8 * MOST_SOCKETS {
            self.keep_oldest();
        }
    }

    pub fn keep_oldest(&mut self) {
        self.sockets.sort_by_key(badness);
        self.were_more |= self.sockets.len() > MOST_SOCKETS;
        self.sockets.truncate(MOST_SOCKETS);
    }

    pub fn merge(&mut self, other: Row) {
        for (sum, more) in self.states.iter_mut().zip(other.states) {
            *sum += more;
        }
        self.waiting += other.waiting;
        self.stuck += other.stuck;
        self.idle += other.idle;
        self.unread += other.unread;
        self.ghosts += other.ghosts;
        self.oldest_close_wait = self.oldest_close_wait.max(other.oldest_close_wait);
        self.oldest_at_most = self.oldest_at_most.max(other.oldest_at_most);
        self.longest_idle = self.longest_idle.max(other.longest_idle);
        for (peer, count) in other.peers {
            *self.peers.entry(peer).or_default() += count;
        }
        self.pids.extend(other.pids);
        self.user = self.user.take().filter(|user| other.user.as_ref() == Some(user));
        self.sockets.extend(other.sockets);
        self.keep_oldest();
    }

    /// Peers with their sockets, most first.
    pub fn top_peers(&self) -> Vec<(IpAddr, u64)> {
        let mut peers: Vec<_> = self.peers.iter().map(|(peer, count)| (*peer, *count)).collect();
        peers.sort_by_key(|(peer, count)| (Reverse(*count), *peer));
        peers
    }

    /// Worst first; what only the kernel has comes last.
    pub fn rank(&self) -> impl Ord + use<> {
        let close_wait = self.count(State::CloseWait);
        let worst = (self.stuck + self.ghosts, close_wait, self.idle, self.total());
        (self.holder == Holder::Kernel, Reverse(worst), self.label.clone(), self.port)
    }

    /// Working directory and command line, of a row that is one process.
    pub fn read_process(&mut self, world: &World) {
        let Some(process) = &self.process else { return };
        // With the caller's own rights: borrowed ones are for the names of processes.
        let _rights = (!capabilities::are_borrowed()).then(|| world.raise());
        let dir = world.proc_root.join(process.pid.to_string());
        let cwd = std::fs::read_link(dir.join("cwd")).map(|path| path.to_string_lossy().into_owned());
        let command_line = std::fs::read(dir.join("cmdline")).map(|bytes| {
            let words = bytes.split(|byte| *byte == 0).filter(|word| !word.is_empty());
            words.map(|word| String::from_utf8_lossy(word).into_owned()).collect::<Vec<_>>().join(" ")
        });
        let told = |read: std::io::Result<String>| {
            read.map_err(|why| match why.kind() {
                // It was there a moment ago, for who has more rights.
                ErrorKind::NotFound => "ended meanwhile, or hidden by /proc's hidepid".to_owned(),
                _ => plain(&why),
            })
        };
        self.details = Some(Details { cwd: told(cwd), command_line: told(command_line) });
    }
}

/// One row for each label, side and port, where `is_by_pid` for each holder, worst first.
pub fn merged(rows: impl Iterator<Item = Row>, is_by_pid: bool) -> Vec<Row> {
    let mut by_label: BTreeMap<(String, bool, Option<u16>, Option<Holder>), Row> = BTreeMap::new();
    for row in rows {
        let holder = is_by_pid.then(|| row.holder.clone());
        match by_label.entry((row.label.clone(), row.side == Side::Client, row.port, holder)) {
            Entry::Occupied(mut known) => known.get_mut().merge(row),
            Entry::Vacant(free) => drop(free.insert(row)),
        }
    }
    let mut rows: Vec<Row> = by_label.into_values().collect();
    rows.iter_mut().for_each(Row::keep_oldest);
    rows.sort_by_key(Row::rank);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use connleak::kernel::socket::{Endpoint, Socket};

    fn suspect(state: State, age: u32, peer: u8) -> Suspect {
        let end = |host, port| Endpoint::new([10, 0, 0, host].into(), port);
        let (local, remote) = (end(1, 3306), end(peer, 40_000));
        Suspect::new(&Socket { inode: 1, ..Socket::bare(state, local, remote) }, Some(age))
    }

    const BOUNDS: Bounds = Bounds { stuck: 60_000, idle: 1_800_000 };

    fn add(row: &mut Row, suspect: &Suspect) {
        let Suspect { state, remote, age, age_at_most, .. } = *suspect;
        row.add(&Counted { state, peer: Some(remote.ip), age, age_at_most, is_unread: false }, BOUNDS);
        row.keep(suspect);
    }

    fn row(label: &str, sockets: &[(State, u32)]) -> Row {
        let mut row = Row::new(Holder::Process(1), Side::Server, Some(3306));
        label.clone_into(&mut row.label);
        sockets.iter().for_each(|(state, age)| add(&mut row, &suspect(*state, *age, 2)));
        row
    }

    #[test]
    fn worst_first() {
        use State::{CloseWait, Established};
        let mut rows = [
            row("idle", &[(Established, 9_000_000), (Established, 1)]),
            row("busy", &[(Established, 1); 9]),
            row("young", &[(CloseWait, 1), (CloseWait, 2)]),
            row("stuck", &[(CloseWait, 60_000)]),
            Row { holder: Holder::Kernel, ..row("kernel", &[(CloseWait, 99_000); 50]) },
        ];
        rows.sort_by_key(Row::rank);
        let order: Vec<_> = rows.iter().map(|row| row.label.as_str()).collect();
        assert_eq!(order, ["stuck", "young", "idle", "busy", "kernel"]);
    }

    #[test]
    fn keeps_the_oldest_sockets_only() {
        let mut row = row("x", &[(State::Established, 5); 200]);
        add(&mut row, &suspect(State::Established, 7, 3));
        add(&mut row, &suspect(State::CloseWait, 1, 4));
        row.keep_oldest();
        assert_eq!(row.sockets.len(), MOST_SOCKETS);
        let firsts: Vec<_> = row.sockets.iter().take(3).map(|socket| (socket.state, socket.age)).collect();
        let (old, idle) = ((State::CloseWait, Some(1)), |age| (State::Established, Some(age)));
        assert_eq!(firsts, [old, idle(7), idle(5)]);
        assert_eq!((row.total(), row.top_peers()[0]), (202, ([10, 0, 0, 2].into(), 200)));
    }
}
