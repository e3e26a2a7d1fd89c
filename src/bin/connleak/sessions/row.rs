//! One line of the answer: a connection, its session, or what only one side knows.

use super::gather::Scene;
use super::join::{self, Backends, Connection, End, Found};
use super::session::{Client, Session, Source};
use connleak::kernel::owner::{Named, Process};
use connleak::kernel::socket::State;
use std::cmp::Reverse;

/// How bad a row looks; worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// One end has closed: no session is left of it, or the client still waits.
    Closed,
    /// A session whose client is gone.
    ClientGone,
    /// It holds a transaction open and does nothing.
    InTransaction,
    /// A connection that no session has: it never logged in, or waits to be accepted.
    NoSession,
    Other,
}

pub struct Row<'a> {
    pub class: Class,
    pub connection: Option<&'a Connection>,
    pub found: Option<Found>,
    pub session: Option<&'a Session>,
    /// Behind a pooler: the backend's.
    pub behind: Option<&'a Session>,
    /// The process at the client's end, where that is on this host.
    pub process: Option<&'a Process>,
}

/// All rows, and what is left out of them.
pub struct Rows<'a> {
    pub rows: Vec<Row<'a>>,
    pub joined: usize,
    /// Sessions of other hosts' clients, where the service is not here.
    pub elsewhere: usize,
    /// Sessions over UNIX sockets.
    pub unix: usize,
    /// Clients of a pooler that have a server, but no list its backend.
    pub unlinked: usize,
}

/// `sessions`: of all lists. A pooler's clients are the sessions where it has told any: the others are behind them.
/// `stuck`: milliseconds from which on the service's end in CLOSE_WAIT is more than a normal closing.
pub fn rows<'a>(scene: &'a Scene, sessions: &'a [Session], is_pooler: bool, stuck: u64) -> Rows<'a> {
    let backends = Backends::new(sessions);
    let is_primary = |session: &&Session| match &session.pooled {
        Some(pooled) => is_pooler && !pooled.is_server,
        None => !is_pooler,
    };
    let primary: Vec<&Session> = sessions.iter().filter(is_primary).collect();
    let found = join::join(&scene.connections, &primary);
    let mut session_of: Vec<Option<usize>> = vec![None; scene.connections.len()];
    for (at, found) in found.iter().enumerate() {
        found.iter().for_each(|found| session_of[found.connection] = Some(at));
    }
    let mut all = Rows { rows: Vec::new(), joined: 0, elsewhere: 0, unix: 0, unlinked: 0 };
    for (at, connection) in scene.connections.iter().enumerate() {
        let session = session_of[at].map(|at| (primary[at], found[at]));
        if session.is_none() && is_closing(connection) {
            continue;
        }
        all.joined += usize::from(session.is_some());
        let process = connection.client.as_ref().and_then(|end| scene.processes.get(&end.pid?));
        let behind = session.and_then(|(session, _)| join::behind(session, sessions, &backends));
        let (session, found) = session.map_or((None, None), |(session, found)| (Some(session), found));
        let behind = behind.map(|at| &sessions[at]);
        let class = if is_closed(connection, stuck) { Class::Closed } else { class_of(session, behind) };
        all.rows.push(Row { class, connection: Some(connection), found, session, behind, process });
    }
    for (session, _) in primary.iter().zip(&found).filter(|(_, found)| found.is_none()) {
        if session.client == Client::Hidden || asks_itself(session) {
            continue;
        }
        let behind = join::behind(session, sessions, &backends).map(|at| &sessions[at]);
        let is_unix = session.client == Client::Unix;
        let class = match (is_unix, behind.unwrap_or(session).holds_transaction()) {
            (_, true) => Class::InTransaction,
            (false, _) => Class::ClientGone,
            (true, _) => Class::Other,
        };
        // Without any connection the service may be here all the same, at a UNIX socket only.
        if scene.serves || (is_unix && scene.connections.is_empty()) {
            all.unix += usize::from(is_unix);
            all.rows.push(Row { class, connection: None, found: None, session: Some(session), behind, process: None });
        } else {
            all.elsewhere += 1;
        }
    }
    let has_link = |row: &&Row| row.session.and_then(|session| session.pooled.as_ref()?.link.as_ref()).is_some();
    all.unlinked = all.rows.iter().filter(has_link).filter(|row| row.behind.is_none()).count();
    all.rows.sort_by_key(|row| (row.class, Reverse(row.badness()), row.client()));
    all
}

/// Whether one end waits for its process to close it: at the client's nothing else will.
fn is_closed(connection: &Connection, stuck: u64) -> bool {
    let age = |end: &Option<End>| {
        let closed = end.as_ref().filter(|end| end.suspect.state == State::CloseWait)?;
        Some(u64::from(closed.suspect.age.unwrap_or(u32::MAX)))
    };
    age(&connection.client).is_some() || age(&connection.server).is_some_and(|age| age >= stuck)
}

/// Whether its client has left a moment ago, as who printed the list.
fn is_closing(connection: &Connection) -> bool {
    const MOMENT: u32 = 1000;
    let is_left = |end: &End| end.suspect.state == State::CloseWait && end.suspect.age.is_some_and(|age| age < MOMENT);
    connection.client.is_none() && connection.server.as_ref().is_some_and(is_left)
}

fn class_of(session: Option<&Session>, behind: Option<&Session>) -> Class {
    match session {
        None => Class::NoSession,
        Some(session) if behind.unwrap_or(session).holds_transaction() => Class::InTransaction,
        Some(_) => Class::Other,
    }
}

/// The session that printed the list: it is gone with its client.
fn asks_itself(session: &Session) -> bool {
    let query = session.query.as_deref().unwrap_or("").to_lowercase();
    match session.source {
        Source::Activity => query.contains("pg_stat_activity"),
        Source::Processlist => query.contains("processlist"),
        Source::PerformanceSchema => query.contains("performance_schema"),
        Source::ClientList => query == "client|list" || query == "client",
        Source::Conns => session.state_age == Some(0),
        Source::Pooler => session.database.as_deref() == Some("pgbouncer"),
    }
}

impl Row<'_> {
    /// Milliseconds without data, in CLOSE_WAIT since the FIN.
    pub fn silent(&self) -> Option<u32> {
        let connection = self.connection?;
        let of = |end: &Option<End>| end.as_ref().and_then(|end| end.suspect.age.or(end.suspect.silence));
        of(&connection.client).or_else(|| of(&connection.server))
    }

    /// Who at the client's end: a process, else an address.
    pub fn client(&self) -> String {
        match (self.process, self.connection, self.session) {
            (Some(process), ..) => Named(process).to_string(),
            (None, Some(connection), _) => connection.clients().next().map_or(String::new(), |end| end.to_string()),
            (None, None, Some(session)) => session.client.text(),
            (None, None, None) => String::new(),
        }
    }

    /// The kernel's states: the client's, then the server's where it is another.
    pub fn state(&self) -> String {
        let Some(connection) = self.connection else { return "-".to_owned() };
        let states = [&connection.client, &connection.server];
        let mut states: Vec<&str> = states.into_iter().flatten().map(|end| end.suspect.state.name()).collect();
        states.dedup();
        states.join("/")
    }

    /// The session that has the statement.
    pub fn asking(&self) -> Option<&Session> {
        self.behind.or(self.session)
    }

    /// What the service says, or why it says nothing.
    pub fn describe(&self) -> String {
        let Some(session) = self.session else { return self.describe_missing().to_owned() };
        let gone = match (self.class, session.pid) {
            (Class::ClientGone, Some(_)) => ", its client is gone",
            (Class::ClientGone, None) => ", its client is gone or behind a proxy",
            _ => "",
        };
        let state = self.asking().and_then(|asking| asking.state.as_deref()).unwrap_or("not logged in");
        let pooled = match (&session.pooled, self.behind, session.state.as_deref()) {
            (Some(_), None, _) => return format!("pooler: {state}{gone}"),
            (Some(_), Some(_), Some(own)) if own != "active" => format!(" (pooler: {own})"),
            _ => String::new(),
        };
        format!("{state}{pooled}{gone}")
    }

    fn describe_missing(&self) -> &'static str {
        let Some(connection) = self.connection else { return "" };
        let of = |end: &Option<End>| end.as_ref().map(|end| (end.suspect.state, end.suspect.is_waiting()));
        match (of(&connection.client), of(&connection.server)) {
            (_, Some((_, true))) => "none: not accepted yet",
            (Some((State::CloseWait, _)), _) => "none any more: the service has closed it",
            (_, Some((State::CloseWait, _))) => "none: its client has closed it",
            (Some((State::Established, _)), _) | (None, Some((State::Established, _))) => "none: not logged in",
            _ => "none",
        }
    }

    fn badness(&self) -> u64 {
        let ages = self.asking().map(|asking| (asking.transaction, asking.state_age));
        let (transaction, state) = ages.unwrap_or_default();
        let silent = self.silent().map(|silent| u64::from(silent) / 1000);
        if self.class == Class::InTransaction { transaction.or(state) } else { silent.or(state) }.unwrap_or(0)
    }
}
