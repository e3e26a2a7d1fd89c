//! Looks at the sockets at every tick, on a thread of its own: a slow look must not freeze the screen.

use super::Watch;
use super::frame::{Frame, Usage};
use super::list_command::Running;
use super::remembered::Memory;
use crate::screen;
use crate::who::{By, user_of};
use connleak::base::deadline::Deadline;
use connleak::growth::observe::Plan;
use connleak::growth::pool::{self, Connection};
use connleak::growth::rules::Rules;
use connleak::history::first_sights::FirstSights;
use connleak::history::state_dir;
use connleak::history::{History, Updated};
use connleak::kernel::owner::{self, Holders, Owners};
use connleak::kernel::socket::{Age, Socket, State};
use connleak::kernel::world::World;
use connleak::options::args::{Args, Pids};
use connleak::report::doubt;
use connleak::service::target;
use connleak::service::unix::{self, Heard};
use procfs::FromRead;
use procfs::process::Status;
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What the sampler tells.
pub enum Told {
    /// What is watched, once.
    Title(String),
    Frame(Box<Frame>),
    /// A look failed.
    Failed(String),
    /// The process that is watched is no more.
    Gone(String),
}

/// How long the history may be waited for in the beginning.
const PATIENCE: Duration = Duration::from_secs(5);

pub struct Sampler {
    args: Args<Watch>,
    world: World,
    begun: Instant,
    /// Where looks are recorded, or why they are not.
    history: Result<History, String>,
    /// Identities of the connections that the look before saw.
    known: Option<HashSet<u64>>,
    /// `--sessions`.
    memory: Option<Memory>,
}

impl Sampler {
    pub fn new(args: Args<Watch>, world: World, running: Running) -> Sampler {
        let open = |dir: PathBuf| Ok(History::open(&dir, PATIENCE)?.history);
        let history = state_dir::open(args.own.state_dir.as_deref()).and_then(open);
        let history = history.map_err(|why| format!("not recorded: {why}"));
        let memory = args.own.sessions.clone().map(|command| Memory::new(command, running));
        Sampler { args, world, begun: Instant::now(), history, known: None, memory }
    }

    /// Looks at each tick until the end, or until nobody listens any more.
    pub fn run(mut self, told: &Sender<Told>) {
        let interval = self.args.own.interval().0;
        let end = self.args.own.until.map(|span| span.0);
        let mut tick = Duration::ZERO;
        loop {
            thread::sleep(tick.saturating_sub(self.begun.elapsed()));
            let goes_on = match self.look(told) {
                Ok(frame) => told.send(Told::Frame(Box::new(frame))),
                Err(_) if self.known.is_some() && self.has_ended() => {
                    let _ = told.send(Told::Gone("the process has ended".to_owned()));
                    return;
                }
                Err(why) => told.send(Told::Failed(why.to_string())),
            };
            if goes_on.is_err() || end.is_some_and(|end| tick >= end) {
                return;
            }
            // A look that took longer than the interval is not made up for.
            while tick <= self.begun.elapsed() {
                tick += interval;
            }
            tick = end.map_or(tick, |end| tick.min(end));
        }
    }

    fn look(&mut self, told: &Sender<Told>) -> connleak::base::error::Result<Frame> {
        let (common, own) = (&self.args.common, &self.args.own);
        // Each look has its own time.
        self.world.deadline = Deadline::after(common.timeout.unwrap_or_default().after.0);
        let world = &self.world;
        let target = target::resolve_any(common.request(), world)?;
        let plan = Plan::new(&target);
        let Looked { connections, counts, mut notes } = record(&plan, &mut self.history, world)?;
        if connections.is_empty()
            && target.selection.asks_unix()
            && let Ok(Heard { missing: Some(why), .. }) = unix::heard(&target.selection, world, false)
        {
            notes.push(why);
        }
        let by = own.by.map(|by| by.of_profile(&target.profile)).transpose()?;
        let sockets: Vec<_> = connections.iter().map(|held| (held.socket.inode, held.socket.uid)).collect();
        let owners = owner::find(world, &sockets, Holders::First);
        let mut frame = Frame {
            wall: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64),
            after: self.begun.elapsed(),
            counts,
            owners: by_owner(&connections, &owners, by),
            usage: usage(world, &common.pid),
            notes,
            ..Frame::default()
        };
        let has_unknown = connections.iter().any(|held| owners.of(held.socket.inode).next().is_none());
        if has_unknown && owners.refused > 0 {
            frame.notes.push(format!("owners partial: {} processes may not be read", owners.refused));
        }
        if let Some(memory) = &mut self.memory {
            let remembered = memory.look(&target, world)?;
            frame.notes.extend(remembered.notes);
            frame.left = remembered.left;
        }
        for connection in &connections {
            let is_stuck = connection.socket.state == State::CloseWait;
            let ages = if is_stuck { &mut frame.close_wait } else { &mut frame.idle };
            connection.silence().into_iter().for_each(|seconds| ages.add(seconds));
            ages.at_most = ages.at_most.max(connection.socket.span().and_then(Age::open_end));
        }
        // Where the first look fails there is nothing to watch.
        if self.known.is_none() {
            let _ = told.send(Told::Title(screen::title(&target)));
        }
        self.turn_over(&mut frame, &connections);
        Ok(frame)
    }

    /// What was opened and closed since the look before.
    fn turn_over(&mut self, frame: &mut Frame, connections: &[Connection]) {
        let now: HashSet<u64> = connections.iter().map(Connection::identity).collect();
        if let Some(before) = &self.known {
            frame.opened = Some(now.difference(before).count() as u64);
            frame.closed = Some(before.difference(&now).count() as u64);
        }
        self.known = Some(now);
    }

    /// Whether all processes that are watched are gone.
    fn has_ended(&self) -> bool {
        let mut pids = self.args.common.pid.iter().flat_map(|pids| &pids.0).peekable();
        pids.peek().is_some() && pids.all(|pid| !self.world.proc_root.join(pid.to_string()).exists())
    }
}

struct Looked {
    connections: Vec<Connection>,
    counts: [u64; 11],
    /// What is to be said of it.
    notes: Vec<String>,
}

/// One look, into the history as check_conn_growth's are.
fn record(plan: &Plan, history: &mut Result<History, String>, world: &World) -> connleak::base::error::Result<Looked> {
    let (view, lacking, mut looked) = match history {
        Ok(history) => {
            let Updated { value: seen, unsaved, .. } = plan.see(history, Holders::First, world)?;
            let mut notes = seen.found.judge(&Rules::default()).reasons;
            notes.extend(unsaved.map(|why| format!("not recorded: {why}")));
            notes.extend(doubt::whose(seen.unsure, ""));
            notes.extend(seen.ghosts.into_iter().flat_map(|ghosts| ghosts.missing));
            (seen.view, seen.lacking, Looked { connections: seen.connections, counts: seen.counts, notes })
        }
        Err(why) => {
            let pool = pool::look(world, &plan.target.selection, None, &mut FirstSights::default())?;
            let notes = [why.clone()].into_iter().chain(doubt::whose(pool.unsure, "")).collect();
            let looked = Looked { connections: pool.connections, counts: pool.counts, notes };
            (pool.seen, plan.target.absent.clone(), looked)
        }
    };
    looked.notes.extend(lacking);
    looked.notes.extend(view.missing.map(|missing| format!("sockets incomplete: {missing}")));
    Ok(looked)
}

/// Connections by owner; by default one for all processes of a command.
fn by_owner(connections: &[Connection], owners: &Owners, by: Option<By>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for connection in connections {
        let process = owners.of(connection.socket.inode).next();
        let user = process.map(user_of);
        let name = match by {
            None => process.map(|process| process.command.clone()),
            Some(by) if by.is_by_peer() && connection.socket.is_unix() => Some("(UNIX socket)".to_owned()),
            Some(by) => by.name(process, user.as_deref(), connection.socket.remote.ip),
        };
        let name = name.unwrap_or_else(|| match (by, connection.socket) {
            (Some(By::Plain(_)), _) => "(unknown)".to_owned(),
            (_, Socket { inode: 0, .. }) => "(not accepted)".to_owned(),
            (_, Socket { uid, .. }) => format!("(unknown, uid {uid})"),
        });
        *counts.entry(name).or_default() += 1;
    }
    counts
}

/// Open descriptors and resident memory, where one process is watched.
fn usage(world: &World, pids: &[Pids]) -> Option<Usage> {
    let [pid] = pids.iter().flat_map(|pids| &pids.0).collect::<Vec<_>>()[..] else { return None };
    let _rights = world.raise();
    let dir = world.proc_root.join(pid.to_string());
    let status = Status::from_read(std::fs::File::open(dir.join("status")).ok()?).ok()?;
    let descriptors = std::fs::read_dir(dir.join("fd")).ok()?.count() as u64;
    // In KiB; a process that is ending has none.
    Some(Usage { descriptors, rss: status.vmrss.unwrap_or(0) * 1024 })
}
