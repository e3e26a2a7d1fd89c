//! Are connections accumulating toward a limit, since when, and when does it run out?

use argh::{ArgsInfo, FromArgs};
use connleak::args::{Args, Command};
use connleak::blame::{Blame, Grouping, Suspect};
use connleak::boot;
use connleak::duration::Span;
use connleak::error::{Error, Result};
use connleak::growth::{Found, Rules};
use connleak::history::{Group, History, Previous, Sample, Step, Updated};
use connleak::limit::{self, EphemeralPorts, PortUse, Room, What};
use connleak::memory::{self, Memory, Moment};
use connleak::owner::{self, Holders, Owners};
use connleak::pool::{self, Connection, Pool};
use connleak::report::Report;
use connleak::service::{self, Target};
use connleak::source::Origin;
use connleak::state_dir;
use connleak::world::World;
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
    rehearse: Option<Speed>,
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

/// `--rehearse`.
#[derive(Clone, Copy, Debug)]
struct Speed(u32);

impl std::str::FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.parse() {
            Ok(factor @ 1..=3600) => Ok(Speed(factor)),
            _ => Err(format!("bad factor '{text}': use 1 to 3600")),
        }
    }
}

fn main() {
    connleak::run::main(check)
}

fn check(args: &Args<Growth>, world: &World) -> Result<Report> {
    if world.replay.is_some() {
        return Err(Error::Usage("--replay shows one moment, growth needs many: see 'connleak backtest'".into()));
    }
    let target = service::resolve(&args.common, world)?.of_unit(&args.common, world)?;
    let dir = state_dir::open(args.own.state_dir.as_deref())?;
    let mut opened = History::open(&dir, world.deadline.left() / 2)?;
    let updated = opened.history.update(&name(args, &target), |previous| look(args, &target, &previous, world))?;
    let Updated { value: seen, aside, unsaved } = updated;
    let mut report = present(seen, args, &target, world);
    for aside in opened.aside.iter().chain(&aside) {
        let path = aside.path.display();
        report.missing.push(format!("history begun anew, the old one is kept as {path} ({})", aside.why));
    }
    if let Some(why) = unsaved {
        report.is_incomplete(format!("not remembered: {why}"));
    }
    Ok(report)
}

fn speed(args: &Args<Growth>) -> f64 {
    f64::from(args.own.rehearse.map_or(1, |Speed(factor)| factor))
}

/// One history for each selection: other options see other sockets, or the same ones differently.
fn name(args: &Args<Growth>, target: &Target) -> String {
    let (common, mut name) = (&args.common, format!("{} {}", target.service, target.service.side.name()));
    let texts = [("user", &common.user), ("unit", &common.unit)];
    let mut options: Vec<(&str, String)> =
        texts.into_iter().filter_map(|(option, text)| Some((option, text.clone()?))).collect();
    options.extend(common.peer.iter().map(|range| ("peer", format!("{range:?}"))));
    options.extend(common.local.iter().map(|range| ("local", format!("{range:?}"))));
    options.extend(common.netns.iter().map(|netns| ("netns", format!("{netns:?}"))));
    options.extend(common.source.iter().map(|source| ("source", format!("{source:?}"))));
    options.extend(common.proc_root.iter().map(|root| ("proc", root.display().to_string())));
    options.extend(args.own.rehearse.map(|Speed(factor)| ("rehearsal", factor.to_string())));
    options.iter().for_each(|(option, value)| name.push_str(&format!(" {option} {value}")));
    name
}

/// What one look gives to the report.
struct Seen {
    found: Found,
    suspects: Vec<Connection>,
    /// What could not be read, to be said.
    unread: Vec<String>,
}

fn look(args: &Args<Growth>, target: &Target, previous: &Previous, world: &World) -> Result<Step<Seen>> {
    let mut unread = Vec::new();
    let ports = EphemeralPorts::read(world).map(PortUse::new).map_err(|error| unread.push(error.to_string())).ok();
    let pool = pool::look(world, &target.selection, ports)?;
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    let (uptime, boot_id) = (boot::uptime(), boot::boot_id()?);
    let known = previous.state.as_ref().map(|(version, state)| Memory::restore(*version, state));
    if matches!(known, Some(None)) {
        unread.push("what earlier runs learned is of another version: learning anew".into());
    }
    let known = known.flatten();
    let (rooms, unknown) = rooms(args, target, &pool, known.as_ref(), world);
    unread.extend(unknown);
    let connections = pool.connections.len() as u64;
    let capacity = limit::choose(&rooms).and_then(|room| u32::try_from(connections + room.left()).ok());
    let capacity = capacity.unwrap_or(u32::MAX);
    let mut memory = known.unwrap_or_else(|| Memory::new(capacity));
    let moment = Moment { wall, uptime, boot_id: boot_id.clone() };
    let learned = memory.learn(&moment, &pool, capacity, speed(args));
    name_groups(&mut memory, &pool, world);
    let found = Found { pool, learned, names: memory.names.clone(), rooms };
    let suspects = found.leak().map_or_else(Vec::new, |_| memory.suspects(&found.pool));
    let count = |number: f64| number.round().max(0.0) as u64;
    let groups = found.by_group().into_iter().map(|(name, count)| Group { name: name.to_owned(), count });
    let sample = Sample {
        wall: (wall * 1000.0) as i64,
        uptime: (uptime * 1000.0) as u64,
        boot: boot_id,
        instance: found.pool.instance,
        counts: found.pool.counts,
        limit: limit::choose(&found.rooms).map(|room| room.limit),
        sampled: (found.learned.sampled * 1e6) as u32,
        groups: groups.collect(),
        other: 0,
        opened: found.learned.turnover.map(|turnover| count(turnover.opened)),
        closed: found.learned.turnover.map(|turnover| count(turnover.closed)),
    };
    // What an incomplete look lacks has not ended: the next one goes on from the one before.
    let state = match (&found.pool.seen.missing, &previous.state) {
        (Some(_), Some((memory::VERSION, before))) => before.clone(),
        _ => memory.store(),
    };
    Ok(Step { sample, state, version: memory::VERSION, value: Seen { found, suspects, unread } })
}

/// What may run out, and what of it could not be read. Reading processes is dear: only where nothing
/// else says what the service accepts, and those of a leak.
fn rooms(
    args: &Args<Growth>,
    target: &Target,
    pool: &Pool,
    known: Option<&Memory>,
    world: &World,
) -> (Vec<Room>, Vec<String>) {
    let limit = match args.own.limit {
        Some(LimitChoice::Number(limit)) => Some(u64::from(limit)),
        _ => target.profile.limit,
    };
    let mut rooms = Vec::new();
    let connections = match limit {
        Some(limit) => {
            rooms.push(Room { what: What::Connections, used: pool.connections.len() as u64, limit });
            known.map_or_else(Vec::new, |memory| memory.suspects(pool))
        }
        None => pool.connections.clone(),
    };
    let mut sockets: Vec<(u64, u32)> = connections.iter().map(of_inode).collect();
    if limit.is_none() {
        sockets.extend(&pool.listeners);
    }
    let owners = owner::find(world, &sockets, Holders::First);
    let holders: Vec<_> = owners.processes.iter().map(|process| (process.pid, process.command.clone())).collect();
    let mut files = limit::open_files(world, &holders);
    if owners.late {
        files.unread.push("open files of some processes unknown: no time left to look".to_owned());
    }
    rooms.extend(files.least);
    rooms.extend(pool.ports.as_ref().and_then(PortUse::busiest));
    (rooms, files.unread)
}

fn of_inode(connection: &Connection) -> (u64, u32) {
    (connection.socket.inode, connection.socket.uid)
}

/// Unit, else command and user, of groups seen for the first time: processes are read only then.
fn name_groups(memory: &mut Memory, pool: &Pool, world: &World) {
    let nameless = memory.nameless(pool);
    let sockets: Vec<_> = nameless.values().map(|connection| of_inode(connection)).collect();
    let owners = owner::find(world, &sockets, Holders::First);
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

fn present(seen: Seen, args: &Args<Growth>, target: &Target, world: &World) -> Report {
    let (Seen { found, suspects, unread }, verbose) = (seen, args.common.verbose);
    let growth = &target.profile.growth;
    let rules = Rules {
        used: args.common.limits(),
        left_warning: args.own.left_warning.or(growth.warning),
        left_critical: args.own.left_critical.or(growth.critical),
    };
    let wanted = if verbose > 1 { Holders::All } else { Holders::First };
    let owners = match suspects.is_empty() {
        true => Owners::default(),
        false => owner::find(world, &suspects.iter().map(of_inode).collect::<Vec<_>>(), wanted),
    };
    let silence = |connection: &Connection| connection.silence().map(|seconds| (seconds * 1000.0) as u32);
    let suspect = |connection: &Connection| Suspect::new(&connection.socket, silence(connection));
    let suspects: Vec<Suspect> = suspects.iter().map(suspect).collect();
    let grouping = Grouping::new(&args.common, &target.profile);
    let blame = Blame::new(&suspects, &owners, grouping);
    let verdict = found.judge(&rules);
    let headline = format!("{} {}", target.service, found.headline(&verdict.reasons, &blame));
    let mut report = Report::new("conn_growth", target.service.clone(), &found.pool.seen, verdict);
    report.headline = headline;
    report.metrics = found.metrics(&rules);
    blame.tell(&mut report);
    report.extra.extend(found.extra());
    if found.leak().is_some() {
        report.lacks_owners(blame.unowned, blame.shortfall(&owners));
    }
    if found.pool.seen.origin == Origin::Proc {
        report.missing.push("silences unknown without sock_diag: sees less and later".into());
    }
    if found.pool.unsure > 0 {
        report.is_incomplete(format!("{} more can't be told whose they are", found.pool.unsure));
    }
    if found.learned.sampled < 1.0 && !found.pool.connections.is_empty() {
        report.missing.push(format!("a sample of {:.0}% is followed", found.learned.sampled * 100.0));
    }
    report.missing.extend(unread);
    report.details = blame.details(&suspects, &owners, verbose);
    if verbose > 1 {
        let line = |(name, count): &(&str, u64)| format!("group {name}: {count} connections");
        report.details.extend(found.by_group().iter().take(grouping.top).map(line));
    }
    report
}
