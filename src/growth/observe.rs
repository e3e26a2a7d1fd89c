//! One look at a service: judged by what earlier ones taught, and recorded for later ones.
//!
//! Processes are searched before the history's turn to write is taken, so that runs at once wait for
//! each other no longer than it takes to look at the sockets and to store a sample.

mod connections;
mod names;
mod observation;
mod processes;
mod stuck;

pub use observation::Observation;

use crate::base::error::{Error, Result};
use crate::base::local_time;
use crate::growth::detector::Verdict;
use crate::growth::detector_state::{self, DetectorState, Learned, Moment};
use crate::growth::measure::Measure;
use crate::growth::outcome::Outcome;

use crate::growth::told_before::ToldBefore;
use crate::history::first_sights::FirstSights;
use crate::history::series;
use crate::history::{Condensed, Group, History, Previous, Sample, Step, Updated, Usual};
use crate::kernel::boot;
use crate::kernel::headroom;
use crate::kernel::owner::{Holders, Owners};
use crate::kernel::scope;
use crate::kernel::socket::{Side, State};

use crate::kernel::world::World;

use crate::owners::known::Known;
use crate::service::target::Target;
use rustix::time::{ClockId, clock_gettime};
use std::cell::RefCell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What is looked at, and how.
#[derive(Debug)]
pub struct Plan<'a> {
    pub target: &'a Target,
    pub measure: Measure,
    /// Connections, descriptors or bytes that there can be; `None`: as many as what runs out allows.
    pub limit: Option<u64>,
    /// Whether the usual number at this hour is wanted.
    pub baseline: bool,
    /// How many times as fast time runs; 1 but in a rehearsal.
    pub speed: u32,
    /// What another check recorded of the service.
    pub recorded: Known,
    /// What is remembered of its UNIX sockets.
    pub sights: RefCell<FirstSights>,
}

impl<'a> Plan<'a> {
    /// # Errors
    /// Options that would be taken and do nothing, and a unit that isn't there: it would be OK for ever.
    pub fn check(&self, world: &World) -> Result<()> {
        let (measure, request) = (self.measure, &self.target.request);
        if measure == Measure::Connections {
            return Ok(());
        }
        let name = measure.name();
        if world.replay.is_some() {
            return Err(Error::Usage(format!("--metric {name} reads this machine's processes: leave out --replay")));
        }
        if self.target.selection.is_any() && !(request.peers.is_empty() && request.locals.is_empty()) {
            let why = "whatever the processes have: leave out --peer and --local, or give a port";
            return Err(Error::Usage(format!("--metric {name} counts {why}")));
        }
        Ok(())
    }

    /// The connections, against the profile's limit.
    pub fn new(target: &'a Target) -> Plan<'a> {
        let (measure, limit) = (Measure::Connections, target.profile.limit);
        let (recorded, sights) = Default::default();
        Plan { target, measure, limit, baseline: false, speed: 1, recorded, sights }
    }

    /// Whether the limit is full by design: that of a pool, which its owner bounded, or of the memory of a heap.
    pub fn may_be_full(&self) -> bool {
        let is_own = self.limit == self.target.profile.limit;
        let is_pool = self.target.service.side == Side::Client && self.limit.is_some() && !is_own;
        is_pool || self.measure == Measure::Memory
    }

    /// The history's key for it: what is looked at, on which host, in which network namespace.
    ///
    /// # Errors
    /// Where the namespace that is meant can't be told.
    pub fn key(&self, world: &World) -> Result<String> {
        Ok(series::key(&self.name(world), &scope::key(world)?))
    }

    /// What is looked at, in words: other options see other sockets, or the same ones differently.
    pub fn name(&self, world: &World) -> String {
        self.with_options(self.target.name_with_unix(world))
    }

    fn with_options(&self, mut name: String) -> String {
        if self.measure != Measure::Connections {
            name.push_str(&format!(" metric {}", self.measure.name()));
        }
        if self.speed != 1 {
            name.push_str(&format!(" rehearsal {}", self.speed));
        }
        name
    }

    /// The keys of earlier versions, the latest first: whether a profile's UNIX sockets are looked at, and where, was in none.
    fn keys_before(&self, world: &World) -> Result<[String; 3]> {
        let [now, before] = [self.name(world), self.with_options(self.target.name(world))];
        Ok([series::key(&before, &scope::key(world)?), now, before])
    }

    /// Looks, judges and records. `holders`: of suspects.
    ///
    /// # Errors
    /// Where the sockets, the processes or the history can't be read. What can't be stored is in the
    /// result.
    pub fn see(&self, history: &mut History, holders: Holders, world: &World) -> Result<Updated<Observation>> {
        match self.measure {
            Measure::Connections => connections::see(self, history, holders, world),
            Measure::Descriptors | Measure::Memory => processes::see(self, history, world),
        }
    }

    /// What the history knows before this run's turn to write.
    fn past(&self, history: &mut History, world: &World) -> Result<Past> {
        let name = self.key(world)?;
        // What is wrong with the history shows again when it is written.
        let mut previous = history.peek(&name).unwrap_or_default();
        if previous.runs == 0 && self.keys_before(world)?.iter().any(|old| history.adopt(old, &name)) {
            previous = history.peek(&name).unwrap_or_default();
        }
        let number =
            |hour: &Condensed| hour.mean[State::Established as usize - 1] + hour.mean[State::CloseWait as usize - 1];
        let usual = || history.usual(&name, (now() * 1000.0) as i64, number).ok().flatten();
        let usual = if self.baseline { usual() } else { None };
        let past = Past::new(name, previous);
        let last = || history.samples(&past.name, Duration::ZERO).ok()?.pop();
        let told_before = if past.is_foreign { last().and_then(|last| ToldBefore::of(&last.sample)) } else { None };
        Ok(Past { usual, told_before, ..past })
    }

    /// Takes the turn to write, lets `judge` judge `look`, and stores what it gives; one `anew` where
    /// another run was faster, as samples are stored in the order in which they were taken.
    fn record<L>(
        &self,
        history: &mut History,
        world: &World,
        past: Past,
        look: L,
        anew: impl FnOnce() -> Result<L>,
        judge: impl FnOnce(L, Past) -> Result<Step<Observation>>,
    ) -> Result<Updated<Observation>> {
        history.wait_at_most(world.deadline.left() / 2);
        let name = past.name.clone();
        history.update_after(&name, Some(past.runs), |previous| {
            if previous.runs == past.runs {
                return judge(look, past);
            }
            let (usual, told_before) = (past.usual, past.told_before);
            judge(anew()?, Past { usual, told_before, ..Past::new(past.name, previous) })
        })
    }
}

/// What earlier runs left.
struct Past {
    name: String,
    runs: u64,
    memory: Option<DetectorState>,
    /// Whether what they learned can't be read.
    is_foreign: bool,
    /// Where they told of a leak then.
    told_before: Option<ToldBefore>,
    /// The detector's state as it is stored: its version and bytes.
    state: Option<(u32, Vec<u8>)>,
    usual: Option<Usual>,
    /// What is to be said of it.
    unread: Vec<String>,
}

impl Past {
    fn new(name: String, previous: Previous) -> Past {
        let known = previous.state.as_ref().map(|(version, state)| DetectorState::restore(*version, state));
        let is_foreign = matches!(known, Some(None));
        let said = is_foreign.then(|| "what earlier runs learned is of another version: learning anew".to_owned());
        Past {
            name,
            runs: previous.runs,
            memory: known.flatten(),
            is_foreign,
            told_before: None,
            state: previous.state,
            usual: None,
            unread: said.into_iter().collect(),
        }
    }
}

/// The service's processes by earlier looks.
struct KnownNow {
    boot_id: String,
    pids: Vec<u32>,
    /// Whether they are to be looked for.
    is_sought: bool,
    before: Known,
}

impl Past {
    /// Who is known, and still runs; those that were chosen are.
    fn known(&self, plan: &Plan, world: &World) -> KnownNow {
        let boot_id = boot::boot_id().unwrap_or_default();
        let mut before = self.memory.as_ref().map_or_else(Known::default, |memory| memory.processes.in_boot(&boot_id));
        let mut pids = before.alive(&boot_id, world);
        let is_sought = self.memory.is_none() || before.are_to_be_met(&pids, world);
        if before.add(&plan.recorded) {
            pids = before.alive(&boot_id, world);
        }
        pids.extend(&plan.target.request.pids);
        KnownNow { boot_id, pids, is_sought, before }
    }
}

impl KnownNow {
    /// With those that this look met.
    fn met(&self, owners: &Owners, looked_at: Option<&[u32]>, world: &World) -> Known {
        let mut known = self.before.clone();
        let met = owners.processes.iter().map(|process| process.pid);
        known.meet(&self.boot_id, &self.pids, met.chain(looked_at.unwrap_or_default().iter().copied()), world);
        known
    }
}

/// When a look is taken.
fn moment() -> Result<Moment> {
    Ok(Moment { wall: now(), uptime: boot::uptime(), boot_id: boot::boot_id()? })
}

/// Seconds since the boot that the host spent in suspend.
fn suspended() -> f64 {
    let awake = clock_gettime(ClockId::Monotonic);
    (boot::uptime() - awake.tv_sec as f64 - awake.tv_nsec as f64 / 1e9).max(0.0)
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// The group that leaks and since when, by the wall clock.
fn leaking(learned: &Learned, moment: &Moment, name: impl Fn(u32) -> String) -> Option<(String, String)> {
    match &learned.verdict {
        Verdict::Leak(leak) => Some((name(leak.group), local_time::describe(moment.wall - leak.onset, moment.wall))),
        _ => None,
    }
}

/// What the history keeps of a look; `counts`: by TCP state.
fn sample(moment: &Moment, found: &Outcome, instance: u64, counts: [u64; 11]) -> Sample {
    let count = |number: f64| number.round().max(0.0) as u64;
    let each = found.measure.each();
    let group = |(name, amount): &(String, u64)| Group { name: name.clone(), count: amount / each };
    // Counted by the run before in the same instant already.
    let turnover = found.learned.turnover.filter(|_| found.learned.is_due);
    Sample {
        wall: (moment.wall * 1000.0) as i64,
        uptime: (moment.uptime * 1000.0) as u64,
        boot: moment.boot_id.clone(),
        instance,
        counts,
        limit: headroom::choose(&found.headrooms).map(|headroom| headroom.limit / each),
        sampled: (found.learned.sampled * 1e6) as u32,
        groups: found.groups.iter().map(group).collect(),
        other: 0,
        opened: turnover.map(|turnover| count(turnover.opened)),
        closed: turnover.map(|turnover| count(turnover.closed)),
        leak: found.leak().is_some(),
    }
}

/// What is to be said where a leak that runs of another version told of is still open.
fn still_open(memory: &mut DetectorState, told: Option<ToldBefore>, now: &Sample, watched: f64) -> Option<String> {
    let told = told.or(memory.told_before.take());
    memory.told_before = told.filter(|told| told.is_open(now, watched));
    let why = "the leak that runs of another version told of may go on: it is learned anew, within a day";
    memory.told_before.is_some().then(|| why.to_owned())
}

/// The state that the next run goes on from: what an incomplete look lacks has not ended, so it is the one before.
fn state(memory: &DetectorState, before: Option<(u32, Vec<u8>)>, is_whole: bool) -> Vec<u8> {
    match before {
        Some((detector_state::VERSION, before)) if !is_whole => before,
        _ => memory.store(),
    }
}

/// How many of the detector's items there can be.
fn capacity(found: &Outcome) -> u32 {
    let each = found.measure.each();
    let left = headroom::choose(&found.headrooms).map(|headroom| (found.amount + headroom.left()) / each);
    left.and_then(|items| u32::try_from(items).ok()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::deadline::Deadline;
    use crate::kernel::world::Source;
    use crate::service::request::Request;
    use crate::service::target;
    use std::time::Duration;

    /// One sees UNIX sockets that the other doesn't: what the one has learned of them must not end at each look of the other.
    #[test]
    fn a_profile_and_its_ports_are_two_series_and_the_profile_goes_on_from_the_one_before() {
        let world = World::here(Deadline::after(Duration::from_secs(9)));
        let by_port = target::resolve(Request { ports: vec![3306], ..Request::default() }, &world).unwrap();
        let by_profile =
            target::resolve(Request { profile: Some("mysql".into()), ..Request::default() }, &world).unwrap();
        let names = [&by_port, &by_profile].map(|target| Plan::new(target).name(&world));
        assert_eq!(names, ["mysql:3306 both", "mysql:3306 both unix"]);
        let dir = tempfile::tempdir().unwrap();
        let mut history = History::open(dir.path(), Duration::from_secs(9)).unwrap().history;
        let sample = Sample { boot: "b".to_owned(), ..Sample::default() };
        history.record(&Plan::new(&by_port).key(&world).unwrap(), &sample, b"x", 1).unwrap();
        let mut runs = |target| Plan::new(target).past(&mut history, &world).unwrap().runs;
        assert_eq!([runs(&by_profile), runs(&by_profile), runs(&by_port)], [1, 1, 0]);
    }

    /// What is on disk goes by these words: a changed one begins every history anew.
    #[test]
    fn the_words_of_a_series_are_pinned() {
        let mut world = World::here(Deadline::after(Duration::from_secs(9)));
        let name = |request: Request, speed, world: &World| {
            let target = target::resolve(request, world).unwrap();
            Plan { speed, ..Plan::new(&target) }.name(world)
        };
        let ports = vec![11211];
        assert_eq!(name(Request { ports: ports.clone(), ..Request::default() }, 1, &world), "memcached:11211 both");
        let narrowed = Request {
            ports,
            user: Some("33".into()),
            unit: Some("a.service".into()),
            peers: vec!["10.1.2.3/8".parse().unwrap(), "::ffff:192.0.2.0/120".parse().unwrap()],
            locals: vec!["2001:db8::1".parse().unwrap()],
            ..Request::default()
        };
        world.source = Source::Proc;
        assert_eq!(
            name(narrowed, 60, &world),
            "memcached:11211 both user 33 unit a.service peer 10.0.0.0/8 peer 192.0.2.0/24 local 2001:db8::1/128 \
             source proc rehearsal 60"
        );
    }
}
