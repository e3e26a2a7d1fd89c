//! Each thing that a check's answer depends on: asked as a check asks it, nothing is changed.

use connleak::base::capabilities;
use connleak::base::error::Result;
use connleak::history::{History, state_dir};
use connleak::kernel::netns::{self, host};
use connleak::kernel::owner;
use connleak::kernel::socket::{Side, State, StateSet};
use connleak::kernel::source::{self, Origin, Query, unix};
use connleak::kernel::user::{self, Users};
use connleak::kernel::world::{Netns, World};
use rustix::fd::AsFd;
use rustix::fs::{Access, access};
use rustix::process::geteuid;
use std::path::Path;
use std::time::Duration;

pub struct Finding {
    pub topic: &'static str,
    /// Whether answers lack something for it.
    pub is_partial: bool,
    pub says: String,
}

impl Finding {
    pub fn good(topic: &'static str, says: String) -> Finding {
        Finding { topic, is_partial: false, says }
    }

    pub fn partial(topic: &'static str, says: String) -> Finding {
        Finding { topic, is_partial: true, says }
    }
}

pub fn all(world: &World, state_dir: Option<&Path>) -> Vec<Finding> {
    vec![
        rights(world),
        processes(world),
        users(),
        network(world),
        sockets(world),
        unix_sockets(world),
        state(state_dir),
    ]
}

/// Whose descriptors may be read: that names owners, and finds ghosts.
fn rights(world: &World) -> Finding {
    const TOPIC: &str = "rights";
    let _rights = world.raise();
    let (mut count, mut refused) = (0, 0);
    for process in owner::processes(world) {
        let read =
            owner::open_process(world, process.pid).and_then(|dir| owner::each_descriptor(dir.as_fd(), &mut |_, _| {}));
        count += usize::from(!read.is_err_and(owner::is_gone));
        refused += usize::from(owner::was_refused(&read));
        if world.deadline.is_near() {
            return Finding::partial(TOPIC, "no time left to look at all processes; see --timeout".to_owned());
        }
    }
    let own = Users::read();
    let uid = geteuid().as_raw();
    let given = if capabilities::are_borrowed() { ", with rights of this program's file" } else { "" };
    let who = format!("as {}{given}", own.name(uid).map_or_else(|| format!("user {uid}"), str::to_owned));
    match (count, refused) {
        (0, _) => Finding::partial(TOPIC, format!("{who}: processes can't be listed, so no owner is known")),
        (_, 0) => Finding::good(TOPIC, format!("{who}: every process may be read ({count})")),
        _ => {
            let remedy = if geteuid().is_root() {
                "the kernel or a security module refuses even root"
            } else {
                "owners of others' sockets are unknown; give checks CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH (setcap, SECURITY.md) or sudo"
            };
            Finding::partial(TOPIC, format!("{who}: {refused} of {count} processes may not be read: {remedy}"))
        }
    }
}

/// Which processes can be seen at all.
fn processes(world: &World) -> Finding {
    const TOPIC: &str = "processes";
    if world.hides_processes() {
        let why = "hides processes of others (hidepid): owners and containers are missed";
        return Finding::partial(TOPIC, format!("{} {why}", world.proc_root.display()));
    }
    if !world.sees_the_hosts_processes() {
        let why = "this PID namespace is not the host's: processes outside are not seen; use --pid=host, or --proc-root with the host's /proc";
        return Finding::partial(TOPIC, why.to_owned());
    }
    let of = if world.is_foreign() { "those of the named /proc" } else { "the host's" };
    Finding::good(TOPIC, format!("{of} are seen"))
}

/// Whether users are who they seem.
fn users() -> Finding {
    const TOPIC: &str = "users";
    match user::unmapped() {
        Some(uid) => {
            let why = "this user namespace doesn't map all users: others all show as";
            Finding::partial(TOPIC, format!("{why} {uid}, and --user can't tell them apart"))
        }
        None => Finding::good(TOPIC, "each has its own number here".to_owned()),
    }
}

/// Which network namespaces a check sees.
fn network(world: &World) -> Finding {
    const TOPIC: &str = "network";
    if let Some(elsewhere) = netns::elsewhere(world) {
        let empty = if elsewhere.is_empty { " and has no TCP socket" } else { "" };
        let why = format!(
            "this network namespace is not the host's{empty}: nothing outside is seen; use --network=host, or --netns"
        );
        return Finding::partial(TOPIC, why);
    }
    let _rights = world.raise();
    let host = match host::look(world) {
        Ok(host) => host,
        Err(why) => return Finding::partial(TOPIC, format!("namespaces can't be listed: {why}")),
    };
    let others = host.lived_in.iter().filter(|one| !one.is_ours).count() + host.mounted.len();
    let unseen = match (others, world.netns == Netns::All) {
        (0, _) => "no other namespace is known".to_owned(),
        (_, true) => format!("{others} other namespaces are looked at, too"),
        (_, false) => format!("{others} other namespaces (containers) are seen with --netns all only"),
    };
    match host.hidden.is_empty() {
        true => Finding::good(TOPIC, unseen),
        false => Finding::partial(TOPIC, format!("{unseen}; {}", host.hidden.join("; "))),
    }
}

/// Where sockets come from, and whether their ages do.
fn sockets(world: &World) -> Finding {
    const TOPIC: &str = "sockets";
    let mut count = 0;
    let states = StateSet::of(&[State::Listen, State::Established, State::CloseWait]);
    let query = Query { states, ports: &[], side: Side::Both, times: true, listeners: true };
    let mut dated = (0, 0);
    let seen = source::visit(world, &query, &mut |socket| {
        count += 1;
        if socket.state != State::Listen {
            dated.0 += usize::from(socket.times.is_some());
            dated.1 += 1;
        }
    });
    match seen {
        Err(why) => Finding::partial(TOPIC, format!("can't be read: {why}")),
        Ok(seen) if seen.missing.is_some() => Finding::partial(TOPIC, seen.missing.unwrap_or_default()),
        Ok(seen) if seen.origin == Origin::Proc => {
            Finding::partial(TOPIC, format!("from {}: no ages, so nothing can be told old from young", seen.how))
        }
        Ok(_) if dated.0 < dated.1 => {
            Finding::partial(TOPIC, format!("{} of {} without ages (tcp_info)", dated.1 - dated.0, dated.1))
        }
        Ok(seen) => {
            let remark = seen.remark.map_or(String::new(), |remark| format!("; {remark}"));
            Finding::good(TOPIC, format!("{count} from {}, with ages{remark}", seen.how))
        }
    }
}

fn unix_sockets(world: &World) -> Finding {
    const TOPIC: &str = "UNIX";
    let mut count = 0;
    match unix::visit(world, unix::Query::BRIEF, &mut |_, _| count += 1) {
        Err(why) => Finding::partial(TOPIC, format!("sockets can't be read: {why}")),
        Ok(seen) if seen.missing.is_some() => Finding::partial(TOPIC, seen.missing.unwrap_or_default()),
        Ok(seen) if seen.origin == Origin::Proc => {
            Finding::partial(TOPIC, "only from /proc: whether a peer has closed isn't told".to_owned())
        }
        Ok(_) => Finding::good(TOPIC, format!("{count} streams from sock_diag; the kernel tells no ages of them")),
    }
}

/// Where check_conn_growth keeps its history, as this user's checks would find it.
fn state(chosen: Option<&Path>) -> Finding {
    const TOPIC: &str = "history";
    match kept(chosen) {
        Ok(says) => Finding::good(TOPIC, says),
        Err(why) => Finding::partial(TOPIC, format!("{why}; check_conn_growth is then UNKNOWN or forgets")),
    }
}

fn kept(chosen: Option<&Path>) -> std::result::Result<String, String> {
    let told = |why: connleak::base::error::Error| why.to_string();
    let existing: Result<_> = state_dir::existing(chosen);
    let Some(dir) = existing.map_err(told)? else {
        return Ok("none yet; check_conn_growth makes it at its first run, as the user it runs as".to_owned());
    };
    let history = History::open_existing(&dir, Duration::from_secs(2)).map_err(told)?;
    access(&dir, Access::WRITE_OK).map_err(|errno| format!("{} can't be written: {errno}", dir.display()))?;
    let services = history.map(|history| history.services()).transpose().map_err(told)?.map_or(0, |all| all.len());
    let place = dir.display();
    Ok(if services == 0 { format!("{place}, empty yet") } else { format!("{place} with {services} services") })
}
