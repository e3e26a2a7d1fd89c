//! The rows for programs: JSON and CSV.

use super::gather::View;
use super::ghosts::Haunted;
use super::row::{Holder, Row};
use super::sockets;
use crate::cells::{json_line, quoted};
use connleak::kernel::socket::State;
use connleak::kernel::source::Origin;
use connleak::report::seconds;
use connleak::service::target::Target;
use serde_json::{Map, Value, json};

/// One object; keys are never removed.
pub fn json(view: &View, target: &Target, verbose: u8) -> String {
    let service = &target.service;
    let is_replay = view.seen.origin == Origin::Replay;
    let mut object = json!({
        "schema": 1,
        "command": "who",
        "service": {"profile": service.profile, "ports": service.ports, "side": service.side.name()},
        "sockets": view.all.total(),
        "states": states(&view.all),
        "owners": view.rows.iter().map(owner).collect::<Vec<_>>(),
        "ghosts": view.ghosts.as_ref().map(|ghosts| ghosts.iter().map(ghost).collect::<Vec<_>>()),
        "missing": view.notes,
        "complete": {
            "source": view.seen.origin.name(),
            "sockets": view.seen.missing.is_none(),
            "owners": view.unowned == 0 && !is_replay,
            "unowned": view.unowned,
            "namespaces": view.seen.namespaces.seen,
            "namespaces_refused": view.seen.namespaces.refused,
            "namespaces_late": view.seen.namespaces.late,
        },
    });
    if verbose > 1 {
        object["sockets"] = sockets::json(view);
        object["sockets_total"] = json!(view.all.total());
    }
    json_line(&object)
}

fn ghost(haunted: &Haunted) -> Value {
    json!({"pid": haunted.process.pid, "command": haunted.process.command, "sockets": haunted.sockets})
}

fn states(row: &Row) -> Value {
    State::NAMES
        .iter()
        .map(|(state, name)| ((*name).to_owned(), json!(row.count(*state))))
        .collect::<Map<_, _>>()
        .into()
}

fn owner(row: &Row) -> Value {
    let process = row.process.as_ref();
    let details = row.details.as_ref();
    let uid = process.map(|process| process.uid).or(match row.holder {
        Holder::Unknown(uid) => Some(uid),
        _ => None,
    });
    let peers = row.top_peers();
    json!({
        "owner": row.label,
        "pid": process.map(|process| process.pid),
        "parent": process.map(|process| process.parent),
        "command": process.map(|process| &process.command),
        "unit": process.and_then(|process| process.unit.as_ref()),
        "uid": uid,
        "user": row.user,
        "processes": row.pids.len(),
        "side": row.side.name(),
        "port": row.port.filter(|port| *port != 0),
        "unix": row.port == Some(0),
        "sockets": row.total(),
        "states": states(row),
        "waiting": row.waiting,
        "stuck": row.stuck,
        "idle": row.idle,
        "unread": row.unread,
        "ghosts": row.ghosts,
        "oldest_close_wait_seconds": row.oldest_close_wait.map(seconds),
        "oldest_close_wait_at_most_seconds": row.open_end().or(row.oldest_close_wait).map(seconds),
        "longest_idle_seconds": row.longest_idle.map(seconds),
        "peers": peers.iter().map(|(peer, count)| json!({"address": peer, "sockets": count})).collect::<Vec<_>>(),
        "cwd": details.and_then(|details| details.cwd.as_ref().ok()),
        "command_line": details.and_then(|details| details.command_line.as_ref().ok()),
    })
}

/// A header and a line for each row; unknown values are empty.
pub fn csv(view: &View) -> String {
    let mut head: Vec<String> =
        ["owner", "pid", "command", "unit", "user", "side", "port", "sockets"].map(str::to_owned).into();
    head.extend(State::NAMES.iter().map(|(_, name)| name.to_lowercase()));
    let last =
        ["waiting", "stuck", "idle", "oldest_close_wait_seconds", "longest_idle_seconds", "peers", "unread", "ghosts"];
    head.extend(last.map(str::to_owned));
    let mut text = head.join(",") + "\n";
    for row in &view.rows {
        text.push_str(&(fields(row).iter().map(|field| quoted(field)).collect::<Vec<_>>().join(",") + "\n"));
    }
    text
}

fn fields(row: &Row) -> Vec<String> {
    let process = row.process.as_ref();
    let or_empty = |text: Option<String>| text.unwrap_or_default();
    let mut fields = vec![
        row.label.clone(),
        or_empty(process.map(|process| process.pid.to_string())),
        or_empty(process.map(|process| process.command.clone())),
        or_empty(process.and_then(|process| process.unit.clone())),
        or_empty(row.user.clone()),
        row.side.name().to_owned(),
        or_empty(row.port.map(|_| row.port_text())),
        row.total().to_string(),
    ];
    fields.extend(row.states.iter().map(u64::to_string));
    fields.extend([row.waiting, row.stuck, row.idle].map(|count| count.to_string()));
    fields
        .extend([row.oldest_close_wait, row.longest_idle].map(|age| or_empty(age.map(|age| seconds(age).to_string()))));
    fields.push(row.top_peers().iter().map(|(peer, count)| format!("{peer} {count}")).collect::<Vec<_>>().join(";"));
    fields.extend([row.unread, row.ghosts].map(|count| count.to_string()));
    fields
}
