//! Are connections accumulating toward a limit, since when, and when does it run out?

use argh::{ArgsInfo, FromArgs};
use connleak::args::{Args, Command};
use connleak::blame::{Blame, Grouping, Suspect};
use connleak::boot;
use connleak::duration::Span;
use connleak::error::{Error, Result};
use connleak::history::{Group, History, Sample, Step, Updated};
use connleak::limit::{self, EphemeralPorts, PortUse, Room, What};
use connleak::memory::{self, Learned, Memory, Moment};
use connleak::owner::{self, Holders, Owners};
use connleak::pool::{self, Connection, Pool};
use connleak::report::{Metric, Report, Unit, rounded};
use connleak::service::{self, Target};
use connleak::state_dir;
use connleak::trend::{Leak, Verdict as Trend};
use connleak::verdict::{Limits, ServiceState, Verdict};
use connleak::world::World;
use serde_json::json;
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// tell a connection leak from load, early, and say when it runs out
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(note = "Each run adds one look at the service's sockets to a history, and judges whether sockets pile up that \
    fell silent and never come back while new ones are opened. A confirmed leak is at least WARNING.")]
#[argh(note = "The main number (-w, -c) is the connections in percent of the limit; no range is set by default, as a \
    full pool of fixed size is healthy.")]
struct Growth {
    /// connections that the service can hold, or auto: what runs out first of the profile's limit,
    /// the open files of its processes and the ephemeral ports; default auto
    #[argh(option, arg_name = "N|auto")]
    limit: Option<LimitChoice>,

    /// warn when a leak leaves less time than this until the limit; default from the profile
    #[argh(option, arg_name = "DURATION")]
    left_warning: Option<Span>,

    /// be critical when a leak leaves less time than this until the limit; default from the profile
    #[argh(option, arg_name = "DURATION")]
    left_critical: Option<Span>,

    /// where the history is kept; default see the man page
    #[argh(option, arg_name = "DIR")]
    state_dir: Option<PathBuf>,

    /// for rehearsals: judge as if time ran this many times as fast, on a history of its own
    #[argh(option, arg_name = "FACTOR")]
    rehearse: Option<u32>,
}

/// `--limit`.
#[derive(Clone, Copy, Debug)]
enum LimitChoice {
    Auto,
    Number(u32),
}

impl std::str::FromStr for LimitChoice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match (text, text.parse()) {
            ("auto", _) => Ok(LimitChoice::Auto),
            (_, Ok(number @ 1..)) => Ok(LimitChoice::Number(number)),
            _ => Err(format!("bad limit '{text}': write a number of connections or auto")),
        }
    }
}

impl Command for Growth {
    const PROGRAM: &'static str = "check_conn_growth";
}

fn main() {
    connleak::run::main(check)
}

fn check(args: &Args<Growth>, world: &World) -> Result<Report> {
    let target = service::resolve(&args.common, world)?.of_unit(&args.common, world)?;
    if world.replay.is_some() {
        return Err(Error::Usage("--replay shows one moment, growth needs many: see 'connleak backtest'".into()));
    }
    let rules = Rules::new(args, &target);
    let dir = state_dir::open(args.own.state_dir.as_deref())?;
    let mut opened = History::open(&dir, world.deadline.left() / 2)?;
    let look = |stored: Option<&(u32, Vec<u8>)>| look(&target, &rules, stored, world);
    let updated = opened.history.update(&rules.name(args, &target), |previous| look(previous.state.as_ref()))?;
    let Updated { value: found, aside, unsaved } = updated;
    let mut report = found.report(args, &target, &rules, world);
    for aside in opened.aside.iter().chain(&aside) {
        report.missing.push(format!(
            "history begun anew, the old one is kept as {} ({})",
            aside.path.display(),
            aside.why
        ));
    }
    if let Some(why) = unsaved {
        report.is_incomplete(format!("not remembered: {why}"));
    }
    Ok(report)
}

struct Rules {
    /// Percent of the limit.
    used: Limits,
    limit: Option<u32>,
    left_warning: Option<Span>,
    left_critical: Option<Span>,
    /// How many times as fast time runs.
    speed: f64,
}

impl Rules {
    fn new(args: &Args<Growth>, target: &Target) -> Rules {
        let (own, profile) = (&args.own, &target.profile);
        let of_profile = profile.limit.and_then(|limit| u32::try_from(limit).ok());
        Rules {
            used: args.common.limits(),
            limit: match own.limit {
                Some(LimitChoice::Number(limit)) => Some(limit),
                _ => of_profile,
            },
            left_warning: own.left_warning.or(profile.growth.warning),
            left_critical: own.left_critical.or(profile.growth.critical),
            speed: f64::from(own.rehearse.unwrap_or(1).max(1)),
        }
    }

    /// One history for each selection: other options see other sockets.
    fn name(&self, args: &Args<Growth>, target: &Target) -> String {
        let common = &args.common;
        let mut name = format!("{} {}", target.service, target.service.side.name());
        let options = [("user", &common.user), ("unit", &common.unit)];
        for (option, value) in options.iter().filter_map(|(option, value)| Some((option, value.as_ref()?))) {
            name.push_str(&format!(" {option} {value}"));
        }
        for range in common.peer.iter().chain(&common.local) {
            name.push_str(&format!(" {range:?}"));
        }
        if self.speed > 1.0 {
            name.push_str(&format!(" rehearsal {}", self.speed));
        }
        name
    }
}

/// One look and what it taught.
struct Found {
    pool: Pool,
    memory: Memory,
    learned: Learned,
    /// What may run out, and how much of it is used.
    rooms: Vec<Room>,
    unread: Vec<String>,
}

fn look(target: &Target, rules: &Rules, stored: Option<&(u32, Vec<u8>)>, world: &World) -> Result<Step<Found>> {
    let mut unread = Vec::new();
    let ports = EphemeralPorts::read(world).map(PortUse::new).map_err(|error| unread.push(error.to_string())).ok();
    let pool = pool::look(world, &target.selection, ports)?;
    let mut rooms = Vec::new();
    let connections = pool.connections.len() as u64;
    match rules.limit {
        Some(limit) => rooms.push(Room { what: What::Connections, used: connections, limit: u64::from(limit) }),
        // Nothing says what the service accepts: its processes' open files do.
        None => {
            let holders = holders(&pool.connections, Holders::First, world);
            let files = limit::open_files(world, &named(&holders));
            unread.extend(files.unread);
            rooms.extend(files.least);
        }
    }
    rooms.extend(pool.ports.as_ref().and_then(PortUse::busiest));
    let first = limit::choose(&rooms).map_or(u64::from(u32::MAX), |room| connections + room.left());
    let limit = u32::try_from(first).unwrap_or(u32::MAX);
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    let (uptime, boot_id) = (boot::uptime(), boot::boot_id()?);
    let mut memory = Memory::restore(stored, limit);
    let moment = Moment { wall: wall * rules.speed, uptime: uptime * rules.speed, boot_id: boot_id.clone() };
    let learned = memory.learn(&moment, &pool, limit, rules.speed);
    name_groups(&mut memory, &pool, world);
    let whole = |number: f64| number.round().max(0.0) as u64;
    let mut groups: BTreeMap<&str, u64> = BTreeMap::new();
    for connection in &pool.connections {
        *groups.entry(memory.names.get(&connection.group()).map_or("unknown", String::as_str)).or_default() += 1;
    }
    let sample = Sample {
        wall: (wall * 1000.0) as i64,
        uptime: (uptime * 1000.0) as u64,
        boot: boot_id,
        instance: pool.instance,
        counts: pool.counts,
        limit: rooms.first().map(|room| room.limit),
        sampled: (learned.sampled * 1e6) as u32,
        groups: groups.into_iter().map(|(name, count)| Group { name: name.to_owned(), count }).collect(),
        other: 0,
        opened: learned.turnover.map(|turnover| whole(turnover.opened)),
        closed: learned.turnover.map(|turnover| whole(turnover.closed)),
    };
    let state = memory.store();
    Ok(Step { sample, state, version: memory::VERSION, value: Found { pool, memory, learned, rooms, unread } })
}

/// Unit, else command and user, of groups seen for the first time: processes are read only then.
fn name_groups(memory: &mut Memory, pool: &Pool, world: &World) {
    let nameless = memory.nameless(pool);
    let connections: Vec<Connection> = nameless.values().map(|connection| **connection).collect();
    let owners = holders(&connections, Holders::First, world);
    for (group, connection) in nameless {
        let name = match owners.of(connection.socket.inode).next() {
            Some(owner::Process { unit: Some(unit), .. }) => unit.clone(),
            Some(process) => {
                let user = process.user.clone().unwrap_or_else(|| process.uid.to_string());
                format!("{} ({user})", process.command)
            }
            None => format!("uid {}", connection.socket.uid),
        };
        memory.names.insert(group, name);
    }
}

fn holders(connections: &[Connection], wanted: Holders, world: &World) -> Owners {
    let inodes: Vec<_> =
        connections.iter().map(|connection| (connection.socket.inode, connection.socket.uid)).collect();
    owner::find(world, &inodes, wanted)
}

fn named(owners: &Owners) -> Vec<(u32, String)> {
    owners.processes.iter().map(|process| (process.pid, process.command.clone())).collect()
}

impl Found {
    fn leak(&self) -> Option<&Leak> {
        match &self.learned.verdict {
            Trend::Leak(leak) => Some(leak),
            _ => None,
        }
    }

    /// What runs out first.
    fn first(&self) -> Option<&Room> {
        limit::choose(&self.rooms)
    }

    fn report(mut self, args: &Args<Growth>, target: &Target, rules: &Rules, world: &World) -> Report {
        let verbose = args.common.verbose;
        let suspects = self.suspects();
        let blamed: Vec<Connection> = suspects.iter().map(|(connection, _)| *connection).collect();
        let wanted = if verbose > 1 { Holders::All } else { Holders::First };
        let owners = if blamed.is_empty() { Owners::default() } else { holders(&blamed, wanted, world) };
        if !blamed.is_empty() && rules.limit.is_some() {
            let files = limit::open_files(world, &named(&owners));
            self.rooms.extend(files.least);
            self.unread.extend(files.unread);
        }
        let grouping = Grouping::new(&args.common, &target.profile);
        let suspects: Vec<Suspect> = suspects.into_iter().map(|(_, suspect)| suspect).collect();
        let blame = Blame::new(&suspects, &owners, grouping);
        let verdict = self.judge(rules);
        let mut report = Report::new("conn_growth", target.service.clone(), &self.pool.seen, verdict);
        report.headline = format!("{} {}", target.service, self.headline(rules, &blame));
        report.metrics = self.metrics(rules);
        report.owners = blame.owners.clone();
        report.extra = blame.extra();
        report.extra.insert("trend".into(), json!(self.word()));
        if let Some(leak) = self.leak() {
            report.extra.insert(
                "leak".into(),
                json!({
                    "group": self.group(leak),
                    "onset_seconds": (leak.onset / rules.speed).round(),
                    "per_minute": rounded(leak.rate * 60.0 * rules.speed, 2),
                    "suspects": leak.suspects,
                    "left_seconds": {
                        "likely": (leak.left.likely / rules.speed).round(),
                        "earliest": (leak.left.earliest / rules.speed).round(),
                        "latest": (leak.left.latest / rules.speed).round(),
                    },
                }),
            );
            report.lacks_owners(blame.unowned, blame.shortfall(&owners));
        }
        if self.pool.connections.iter().any(|connection| connection.silence().is_none()) {
            report.missing.push("silences unknown without sock_diag: sees less and later".into());
        }
        if self.pool.unsure > 0 {
            report.is_incomplete(format!("{} more can't be told whose they are", self.pool.unsure));
        }
        if self.learned.sampled < 1.0 && !self.pool.connections.is_empty() {
            report.missing.push(format!("a sample of {:.0}% is followed", self.learned.sampled * 100.0));
        }
        report.missing.extend(std::mem::take(&mut self.unread));
        report.details = blame.details(&suspects, &owners, verbose);
        if verbose > 1 {
            report.details.extend(self.group_lines(grouping.top));
        }
        report
    }

    fn judge(&self, rules: &Rules) -> Verdict {
        let mut verdict = Verdict::default();
        if let Some(leak) = self.leak() {
            verdict.state = ServiceState::Warning;
            verdict.reasons.push(format!("leak in {}", self.group(leak)));
            let left = leak.left.likely / rules.speed;
            for (limit, state) in
                [(rules.left_critical, ServiceState::Critical), (rules.left_warning, ServiceState::Warning)]
            {
                if let Some(limit) = limit.filter(|limit| left < limit.0.as_secs_f64()) {
                    let word = state.to_string().to_lowercase();
                    verdict.reasons.push(format!("full in {} ({word} under {limit})", shown(left)));
                    verdict.state = verdict.state.max(state);
                    break;
                }
            }
        }
        if let Some(used) = self.used() {
            verdict.judge(&rules.used, used, || format!("{used}% of the limit"));
        }
        verdict
    }

    /// Percent of what runs out first.
    fn used(&self) -> Option<f64> {
        let room = self.rooms.first()?;
        Some(rounded(room.used as f64 * 100.0 / room.limit.max(1) as f64, 1))
    }

    /// The connections that speak for a leak.
    fn suspects(&self) -> Vec<(Connection, Suspect)> {
        if self.leak().is_none() {
            return Vec::new();
        }
        let cookies: HashSet<u64> = self.memory.detector.suspects().collect();
        let suspect = |connection: &Connection| {
            Suspect::new(&connection.socket, connection.silence().map(|seconds| (seconds * 1000.0) as u32))
        };
        let of = self.pool.connections.iter().filter(|connection| cookies.contains(&connection.identity()));
        of.map(|connection| (*connection, suspect(connection))).collect()
    }

    fn group(&self, leak: &Leak) -> String {
        self.memory.names.get(&leak.group).cloned().unwrap_or_else(|| "a group that is gone".to_owned())
    }

    fn word(&self) -> &'static str {
        match self.learned.verdict {
            Trend::Learning { .. } => "learning",
            Trend::Steady => "steady",
            Trend::Growing { .. } => "growing",
            Trend::Leak(_) => "leak",
        }
    }

    fn headline(&self, rules: &Rules, blame: &Blame) -> String {
        let count = self.pool.connections.len();
        let of = |room: &Room| match room.what {
            What::Connections => format!("{count} of {}", room.limit),
            _ => format!("{count} connections, {} of {} {}", room.used, room.limit, room.what),
        };
        let level = self.first().map_or_else(|| format!("{count} connections"), of);
        let per_minute = |rate: f64| rounded(rate * 60.0 * rules.speed, 2);
        match &self.learned.verdict {
            Trend::Learning { samples } => format!("learning, {samples} samples, {level}"),
            Trend::Steady => format!("steady, {level}"),
            Trend::Growing { rate } => format!("growing (load), {:+}/min, {level}", per_minute(*rate)),
            Trend::Leak(leak) => {
                let left =
                    [leak.left.likely, leak.left.earliest, leak.left.latest].map(|left| shown(left / rules.speed));
                let [likely, earliest, latest] = left;
                let mut parts = vec![
                    format!(
                        "leak in {}: {:+}/min since {} ago",
                        self.group(leak),
                        per_minute(leak.rate),
                        shown(leak.onset / rules.speed)
                    ),
                    level,
                    format!("full in {likely} ({earliest} to {latest})"),
                ];
                parts.extend(blame.headline());
                parts.join(", ")
            }
        }
    }

    fn group_lines(&self, top: usize) -> Vec<String> {
        let mut groups: BTreeMap<u32, u64> = BTreeMap::new();
        for connection in &self.pool.connections {
            *groups.entry(connection.group()).or_default() += 1;
        }
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let name = |group: &u32| self.memory.names.get(group).map_or("unknown", String::as_str);
        groups.iter().take(top).map(|(group, count)| format!("group {}: {count} connections", name(group))).collect()
    }

    fn metrics(&self, rules: &Rules) -> Vec<Metric> {
        let leak = self.leak();
        let rate = match &self.learned.verdict {
            Trend::Leak(leak) => leak.rate,
            Trend::Growing { rate } => *rate,
            _ => 0.0,
        };
        let per_minute = |count: fn(&memory::Turnover) -> f64| {
            self.learned.turnover.as_ref().map(|turnover| rounded(count(turnover) / turnover.minutes * rules.speed, 2))
        };
        let longest = |longest: f64, connection: &Connection| longest.max(connection.silence().unwrap_or(0.0));
        let idle = self.pool.connections.iter().fold(0.0, longest);
        let knows_idle = self.pool.connections.iter().all(|connection| connection.silence().is_some());
        let metric = |name, value, unit, help| Metric { name, value, unit, limits: Limits::default(), help };
        let mut metrics = vec![
            metric("connections", Some(self.pool.connections.len() as f64), Unit::None, "ESTABLISHED and CLOSE_WAIT."),
            metric("used", self.used(), Unit::Percent, "Connections in percent of the limit."),
            metric("limit", self.rooms.first().map(|room| room.limit as f64), Unit::None, "Connections it can hold."),
            metric("growth", Some(rounded(rate * 60.0 * rules.speed, 3)), Unit::None, "Connections a minute."),
            metric(
                "left",
                leak.map(|leak| (leak.left.likely / rules.speed).round()),
                Unit::Seconds,
                "Seconds until full.",
            ),
            metric(
                "suspects",
                Some(leak.map_or(0.0, |leak| leak.suspects as f64)),
                Unit::None,
                "Sockets that speak for a leak.",
            ),
            metric(
                "idle_oldest",
                knows_idle.then(|| rounded(idle, 1)),
                Unit::Seconds,
                "Seconds of the longest silence.",
            ),
            metric("opened", per_minute(|turnover| turnover.opened), Unit::None, "Connections opened a minute."),
            metric("closed", per_minute(|turnover| turnover.closed), Unit::None, "Connections closed a minute."),
        ];
        metrics[1].limits = rules.used;
        metrics
    }
}

fn shown(seconds: f64) -> Span {
    Span::seconds(seconds.clamp(0.0, 1e9).round() as u64)
}
