//! The rows for programs: JSON and CSV.

use super::join::End;
use super::row::Row;
use super::session::Session;
use crate::cells::quoted;
use connleak::kernel::owner::Process;
use connleak::report::seconds;
use serde_json::{Value, json};

pub fn json(row: &Row) -> Value {
    let connection = row.connection;
    let end = |end: Option<&End>| end.map(|end| socket(end, row.process));
    json!({
        "client": row.client(),
        "client_socket": end(connection.and_then(|connection| connection.client.as_ref())),
        "server_socket": connection.and_then(|connection| connection.server.as_ref()).map(|end| socket(end, None)),
        "joined_by": row.found.map(|found| found.by.name()),
        "addresses_agree": row.found.map(|found| found.agrees),
        "session_state": row.describe(),
        "session": row.session.map(session),
        "behind": row.behind.map(session),
    })
}

fn socket(end: &End, process: Option<&Process>) -> Value {
    let suspect = &end.suspect;
    json!({
        "local": suspect.local.to_string(),
        "remote": suspect.remote.to_string(),
        "state": suspect.state.name(),
        "age_seconds": suspect.age.map(seconds),
        "age_at_most_seconds": suspect.age_at_most.or(suspect.age).map(seconds),
        "idle_seconds": suspect.silence.map(seconds),
        "inode": Some(suspect.inode).filter(|inode| *inode != 0),
        "cookie": suspect.cookie,
        "pid": end.pid,
        "fd": end.fd,
        "command": process.map(|process| &process.command),
        "unit": process.and_then(|process| process.unit.as_ref()),
        "uid": suspect.uid,
    })
}

fn session(session: &Session) -> Value {
    json!({
        "source": session.source.name(),
        "id": session.id,
        "pid": session.pid,
        "fd": session.fd,
        "client": session.client.text(),
        "user": session.user,
        "database": session.database,
        "application": session.application,
        "state": session.state,
        "state_seconds": session.state_age,
        "in_transaction": session.in_transaction,
        "transaction_seconds": session.transaction,
        "statement": session.query,
    })
}

const COLUMNS: &str = "client,pid,fd,command,unit,state,silent_seconds,server_pid,server_fd,joined_by,session,user,database,application,\
    session_state,state_seconds,transaction_seconds,statement";

/// A header and a line for each row; unknown values are empty.
pub fn csv(rows: &[Row]) -> String {
    let line = |row: &Row| cells(row).iter().map(|cell| quoted(cell)).collect::<Vec<_>>().join(",") + "\n";
    format!("{COLUMNS}\n{}", rows.iter().map(line).collect::<String>())
}

fn cells(row: &Row) -> [String; 18] {
    let text = |text: Option<&String>| text.cloned().unwrap_or_default();
    let number = |number: Option<u64>| number.map_or(String::new(), |number| number.to_string());
    let client = row.connection.and_then(|connection| connection.client.as_ref());
    let server = row.connection.and_then(|connection| connection.server.as_ref());
    let (session, asking) = (row.session, row.asking());
    [
        row.client(),
        number(client.and_then(|end| end.pid).map(u64::from)),
        number(client.and_then(|end| end.fd).map(u64::from)),
        text(row.process.map(|process| &process.command)),
        text(row.process.and_then(|process| process.unit.as_ref())),
        row.state(),
        row.silent().map_or(String::new(), |silent| seconds(silent).to_string()),
        number(server.and_then(|end| end.pid).map(u64::from)),
        number(server.and_then(|end| end.fd).map(u64::from)),
        row.found.map_or(String::new(), |found| found.by.name().to_owned()),
        text(session.map(|session| &session.id)),
        text(session.and_then(|session| session.user.as_ref())),
        text(session.and_then(|session| session.database.as_ref())),
        text(session.and_then(|session| session.application.as_ref())),
        row.describe(),
        number(asking.and_then(|asking| asking.state_age)),
        number(asking.and_then(|asking| asking.transaction)),
        text(asking.and_then(|asking| asking.query.as_ref())),
    ]
}
