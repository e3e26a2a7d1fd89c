//! From cells to sessions: which service's list it is is told by its header.

use super::moment;
use super::printed::{Printed, Row};
use super::session::{Client, Pooled, Session, Source};

/// What the text of one list says.
#[derive(Debug)]
pub struct Listing {
    pub source: Source,
    pub sessions: Vec<Session>,
    /// Statements that the list's reader may not see.
    pub hidden: usize,
}

/// Columns that tell a list, and that it can't be read without.
const KNOWN: [(Source, &[&str]); 6] = [
    (Source::Pooler, &["type", "addr", "port", "ptr", "link", "state"]),
    (Source::Activity, &["pid", "client_addr", "client_port", "state", "query"]),
    (Source::PerformanceSchema, &["socket_id", "ip", "port", "processlist_id", "processlist_user"]),
    (Source::Processlist, &["id", "user", "host", "command", "info"]),
    (Source::ClientList, &["id", "addr", "laddr", "fd", "cmd"]),
    (Source::Conns, &["fd", "addr", "listen_addr", "secs_since_last_cmd"]),
];

/// # Errors
/// One line, where no known service has such a list.
pub fn read(list: &Printed) -> Result<Listing, String> {
    let has = |column: &&str| list.place(column).is_some();
    let Some((source, _)) = KNOWN.iter().find(|(_, columns)| columns.iter().all(has)) else {
        return Err(unknown(list));
    };
    let mut listing = Listing { source: *source, sessions: Vec::new(), hidden: 0 };
    for row in &list.rows {
        let cells = Cells { list, row };
        let session = match source {
            Source::Activity => activity(&cells, &mut listing.hidden),
            Source::Processlist => processlist(&cells),
            Source::PerformanceSchema => performance_schema(&cells),
            Source::ClientList => client_list(&cells),
            Source::Conns => conns(&cells),
            Source::Pooler => pooler(&cells),
        };
        let session = session.map_err(|why| format!("line {}: {why}", row.line))?;
        listing.sessions.extend(session.filter(|session| session.client != Client::Nowhere));
    }
    Ok(listing)
}

fn unknown(list: &Printed) -> String {
    let has = |column: &&&str| list.place(column).is_some();
    let nearest = KNOWN.iter().max_by_key(|(_, columns)| columns.iter().filter(has).count());
    let shown: Vec<&str> = list.columns.iter().take(4).map(String::as_str).collect();
    match nearest.map(|(source, columns)| (source, columns.iter().filter(|column| !has(column)).collect::<Vec<_>>())) {
        Some((source, missing)) if missing.len() < 3 => {
            let missing: Vec<&str> = missing.into_iter().copied().collect();
            format!("nearly {}, but without {}: see --how for the command", source.name(), missing.join(" and "))
        }
        _ => format!("columns '{}' ... are of no list that is known here; see --how", shown.join(", ")),
    }
}

/// A row by the names of its columns.
struct Cells<'a> {
    list: &'a Printed,
    row: &'a Row,
}

impl Cells<'_> {
    fn text(&self, column: &str) -> Option<&str> {
        self.row.cells.get(self.list.place(column)?)?.as_deref()
    }

    fn owned(&self, column: &str) -> Option<String> {
        self.text(column).map(str::to_owned)
    }

    /// A number that must be there.
    fn number(&self, column: &str) -> Result<u32, String> {
        let text = self.text(column).unwrap_or("");
        text.trim().parse().map_err(|_| format!("{column} '{text}' is no number"))
    }

    /// Seconds, from an age or, reckoned by this host's clock, from a moment.
    fn age(&self, ages: &[&str], moment: &str) -> Option<u64> {
        let age = ages.iter().find_map(|column| moment::seconds(self.text(column)?));
        age.or_else(|| moment::since(self.text(moment)?))
    }

    fn session(&self, source: Source, id: &str, client: Client) -> Session {
        Session {
            source,
            id: id.to_owned(),
            pid: None,
            fd: None,
            client,
            user: None,
            database: None,
            application: None,
            state: None,
            state_age: None,
            in_transaction: false,
            transaction: None,
            query: None,
            pooled: None,
        }
    }

    fn client(&self, told: Option<Client>, column: &str) -> Result<Client, String> {
        told.ok_or_else(|| format!("{column} '{}' is no address", self.text(column).unwrap_or("")))
    }
}

type Read = Result<Option<Session>, String>;

fn activity(cells: &Cells, hidden: &mut usize) -> Read {
    let pid = cells.number("pid")?;
    let is_hidden = cells.text("query") == Some("<insufficient privilege>");
    *hidden += usize::from(is_hidden);
    let port = cells.text("client_port").map(str::trim);
    let client = match port {
        // A worker of the service itself; of what may not be seen the pid still tells the socket.
        None if is_hidden => Client::Hidden,
        None => return Ok(None),
        Some(_) => cells.client(Client::of_parts(cells.text("client_addr"), port), "client_addr")?,
    };
    let transaction = cells.age(&["xact_age"], "xact_start");
    // Of a transaction that failed (aborted) the begin is not told (PostgreSQL 15).
    let in_transaction =
        transaction.is_some() || cells.text("state").is_some_and(|state| state.starts_with("idle in transaction"));
    Ok(Some(Session {
        pid: Some(pid),
        user: cells.owned("usename"),
        database: cells.owned("datname"),
        application: cells.owned("application_name"),
        state: cells.owned("state"),
        state_age: cells.age(&["state_age"], "state_change"),
        in_transaction,
        transaction,
        query: cells.owned("query").filter(|_| !is_hidden),
        ..cells.session(Source::Activity, &pid.to_string(), client)
    }))
}

/// `Query: Sending data`, `Sleep`.
fn state_of(command: Option<&str>, state: Option<&str>) -> Option<String> {
    match (command, state.filter(|state| !state.is_empty())) {
        (Some(command), Some(state)) => Some(format!("{command}: {state}")),
        (command, _) => command.map(str::to_owned),
    }
}

fn processlist(cells: &Cells) -> Read {
    let id = cells.number("id")?.to_string();
    let (user, host) = (cells.text("user").unwrap_or(""), cells.text("host").unwrap_or(""));
    if matches!(user, "system user" | "event_scheduler") || cells.text("command") == Some("Daemon") {
        return Ok(None);
    }
    let transaction = cells.age(&["trx_age"], "trx_started");
    Ok(Some(Session {
        user: cells.owned("user"),
        database: cells.owned("db"),
        state: state_of(cells.text("command"), cells.text("state")),
        state_age: cells.text("time").and_then(moment::seconds),
        in_transaction: transaction.is_some(),
        transaction,
        query: cells.owned("info"),
        ..cells.session(Source::Processlist, &id, Client::of_host(host))
    }))
}

fn performance_schema(cells: &Cells) -> Read {
    let Some(id) = cells.text("processlist_id") else { return Ok(None) };
    let port = cells.text("port").filter(|port| *port != "0");
    let client = match port {
        None => Client::Unix,
        Some(_) => cells.client(Client::of_parts(cells.text("ip"), port), "ip")?,
    };
    let transaction = cells.age(&["trx_age"], "trx_started");
    let query = ["last_query", "processlist_info", "sql_text"].iter().find_map(|column| cells.owned(column));
    Ok(Some(Session {
        fd: Some(cells.number("socket_id")?),
        user: cells.owned("processlist_user"),
        database: cells.owned("processlist_db"),
        state: state_of(cells.text("processlist_command"), cells.text("processlist_state")),
        state_age: cells.text("processlist_time").and_then(moment::seconds),
        in_transaction: transaction.is_some(),
        transaction,
        query,
        ..cells.session(Source::PerformanceSchema, id, client)
    }))
}

fn client_list(cells: &Cells) -> Read {
    let address = cells.text("addr").unwrap_or("");
    let client = cells.client(Client::of_address(address), "addr")?;
    let is_multi = cells.text("multi").is_some_and(|count| count != "-1");
    let flags = cells.text("flags").unwrap_or("");
    let words = [('b', "blocked"), ('P', "subscribed"), ('S', "replica"), ('M', "master"), ('O', "monitor")];
    let words = words.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, word)| *word);
    let words: Vec<&str> = words.chain(is_multi.then_some("in MULTI")).collect();
    Ok(Some(Session {
        fd: Some(cells.number("fd")?),
        user: cells.owned("user"),
        database: cells.owned("db"),
        application: cells.owned("name"),
        state: Some(if words.is_empty() { "idle".to_owned() } else { words.join(", ") }),
        state_age: cells.text("idle").and_then(moment::seconds),
        in_transaction: is_multi,
        query: cells.owned("cmd"),
        ..cells.session(Source::ClientList, cells.text("id").unwrap_or(""), client)
    }))
}

fn conns(cells: &Cells) -> Read {
    let fd = cells.number("fd")?;
    let state = cells.text("state").unwrap_or("");
    if state == "conn_listening" {
        return Ok(None);
    }
    let client = cells.client(Client::of_address(cells.text("addr").unwrap_or("")), "addr")?;
    Ok(Some(Session {
        fd: Some(fd),
        state: Some(state.to_owned()),
        state_age: cells.text("secs_since_last_cmd").and_then(moment::seconds),
        ..cells.session(Source::Conns, &fd.to_string(), client)
    }))
}

fn pooler(cells: &Cells) -> Read {
    let own = cells.text("ptr").unwrap_or("").to_owned();
    let client = cells.client(Client::of_parts(cells.text("addr"), cells.text("port")), "addr")?;
    let local = Client::of_parts(cells.text("local_addr"), cells.text("local_port")).unwrap_or(Client::Nowhere);
    let remote_pid = cells.text("remote_pid").and_then(|pid| pid.parse().ok()).filter(|pid| *pid != 0);
    let is_server = cells.text("type") == Some("S");
    let pooled = Pooled { is_server, own: own.clone(), link: cells.owned("link"), remote_pid, local };
    Ok(Some(Session {
        user: cells.owned("user"),
        database: cells.owned("database"),
        application: cells.owned("application_name"),
        state: cells.owned("state"),
        pooled: Some(pooled),
        ..cells.session(Source::Pooler, &own, client)
    }))
}
