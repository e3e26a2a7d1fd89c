//! From the kernel's sockets to a service's own sessions: whose connection it is, and its last statement.

mod export;
pub mod gather;
mod how;
pub mod input;
pub mod join;
mod listing;
mod moment;
mod printed;
pub mod row;
mod session;
mod table;

use crate::cells::json_line;
use crate::screen::{self, Screen, title};
use crate::subcommand::{Shared, guard};
use crate::who::Format;
use argh::{ArgsInfo, FromArgs};
use connleak::base::duration::Span;
use connleak::base::error::{Error, Result};
use connleak::kernel::world::World;
use connleak::options::args::{Args, Command, Top};
use connleak::service::target::{self, Target};
use input::Told;
use row::{Class, Row, Rows};
use serde_json::{Value, json};
use session::{Session, Source};

/// the sessions that a service's own list has, joined to the kernel's sockets: process, state, last statement
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    note = "LIST is a file, or - for standard input, with what the service's own client prints: psql, mariadb, redis-cli, \
    memcached's 'stats conns', PgBouncer's console. Its service is told by its header. No connection is made: you run the \
    client, with your rights. --how prints the least right and the command."
)]
#[argh(
    note = "Worst first: closed by one end, sessions whose client is gone, transactions left open, connections that no \
    session has, then what has been silent for longest."
)]
pub struct Sessions {
    /// print the least right and the command for -p, --unix or -P, without any of them of each service that is known
    #[argh(switch)]
    how: bool,

    /// most rows, 0 for all; default 20
    #[argh(option, arg_name = "N")]
    top: Option<Top>,

    /// output format: table, json or csv; default table
    #[argh(option, short = 'o', arg_name = "FORMAT")]
    output: Option<Format>,

    /// say more: whole statements
    #[argh(switch, short = 'v')]
    verbose: u8,
}

impl Command for Sessions {
    const PROGRAM: &'static str = "connleak sessions";
    const USAGE: &'static str = "-p PORT|--unix PATH|-P PROFILE [OPTIONS] LIST...";
    const FILES: bool = true;
    const WITHOUT: &'static [&'static str] =
        &["--warning", "--critical", "--output-file", "--require-listener", "--by"];
    const CLOSING: &'static str = "Exit status: 0, or 3 with one line on standard error.\n";
}

impl Shared for Sessions {
    fn run(args: Args<Sessions>, world: World) -> std::result::Result<(), String> {
        guard(&world.deadline);
        screen::print(&show(&args, &world).map_err(|why| why.to_string())?)
    }
}

fn show(args: &Args<Sessions>, world: &World) -> Result<String> {
    let (common, own) = (&args.common, &args.own);
    let is_chosen = !common.port.is_empty() || !common.profile.is_empty() || !common.unix.is_empty();
    if own.how {
        let target = is_chosen.then(|| target::resolve(common.request(), world)).transpose()?;
        let wanted = how::Wanted::of(target.as_ref());
        let is_unknown = is_chosen && wanted.service.is_none();
        let note = if is_unknown { how::of_no_service(wanted) } else { String::new() };
        return Ok(note + &how::text(wanted)?);
    }
    let target = target::resolve(common.request(), world)?.of_choice(world)?;
    if args.rest.is_empty() {
        let command = how::command(&target);
        return Err(Error::Usage(format!(
            "which list? pipe it in and name it -; '{command}' prints the client's command"
        )));
    }
    let told = Told::read(&args.rest, &target.profile.service)?;
    // The list first: the sooner the kernel is asked after it, the better both agree.
    let scene = gather::look_settled(&target, world)?;
    let stuck = target.profile.close_wait.min_age.unwrap_or(Span::seconds(60)).as_millis();
    let mut rows = row::rows(&scene, &told.sessions, told.is_pooler(&target.profile.service), stuck);
    let mut notes = notes(&rows, &told, &target);
    notes.extend(scene.notes.iter().cloned());
    let hidden = rows.rows.len().saturating_sub(own.top.map_or(20, |Top(top)| top));
    let headline = headline(&target, &rows);
    let count = rows.rows.len();
    rows.rows.truncate(count - hidden);
    if hidden > 0 {
        notes.push(format!("{hidden} more rows; see --top"));
    }
    Ok(match own.output.unwrap_or_default() {
        Format::Table => {
            let screen = Screen::of_stdout();
            let mut text = screen.folded("", &headline);
            text.push_str(&if count > 0 { table::render(&rows.rows, own.verbose, &screen) } else { String::new() });
            text.extend(notes.iter().map(|note| screen.folded(&screen.paint("33", "note:"), note)));
            text
        }
        Format::Csv => {
            notes.iter().for_each(|note| eprintln!("connleak: note: {}", screen::visible(note)));
            export::csv(&rows.rows)
        }
        Format::Json => json_line(&object(&target, &told, &rows, &notes)),
    })
}

/// `1 session`, `2 sessions`.
fn counted(count: usize, one: &str) -> String {
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
}

/// `postgresql:5432, both sides: 6 connections, 5 of them with a session; 1 session without a connection`.
fn headline(target: &Target, rows: &Rows) -> String {
    let connections = rows.rows.iter().filter(|row| row.connection.is_some()).count();
    let alone = rows.rows.len() - connections;
    let without =
        if alone > 0 { format!("; {} without a connection here", counted(alone, "session")) } else { String::new() };
    let joined = rows.joined;
    format!("{}: {}, {joined} with a session{without}", title(target), counted(connections, "connection"))
}

/// What the rows don't say of themselves.
fn notes(rows: &Rows, told: &Told, target: &Target) -> Vec<String> {
    let how = format!("'{}'", how::command(target));
    let of = |is_one: &dyn Fn(&Row) -> bool| rows.rows.iter().filter(|row| is_one(row)).count();
    let mut notes = Vec::new();
    if told.hidden > 0 {
        notes.push(format!("{} statements may not be read by the list's user: {how} has the right", told.hidden));
    }
    let closed = of(&|row| {
        row.class == Class::Closed
            && row.session.is_none()
            && row.connection.is_some_and(|connection| connection.client.is_some())
    });
    if closed > 0 {
        notes.push(format!(
            "{} in CLOSE_WAIT without a session any more: 'connleak watch --sessions' keeps the last list of each \
            socket beforehand, else the server's connection log tells",
            counted(closed, "connection")
        ));
    }
    let disagree = of(&|row| row.found.is_some_and(|found| !found.agrees));
    if disagree > 0 {
        notes.push(format!(
            "{disagree} joined by process or descriptor where the addresses differ: a proxy told another (PROXY protocol)"
        ));
    }
    let sleeps = |asking: &Session| asking.source == Source::Processlist && asking.state.as_deref() == Some("Sleep");
    let asleep = of(&|row| row.asking().is_some_and(sleeps));
    if asleep > 0 {
        notes.push(format!(
            "{asleep} sleep, of which processlist tells no statement: performance_schema does, see {how}"
        ));
    }
    if rows.unlinked > 0 {
        notes.push(format!(
            "{} clients have a server whose statement is PostgreSQL's to tell: see {how}",
            rows.unlinked
        ));
    }
    if rows.unix > 0 {
        notes.push(format!(
            "{} over UNIX sockets: whose they are is told with --unix PATH",
            counted(rows.unix, "session")
        ));
    }
    if rows.elsewhere > 0 {
        notes.push(format!("{} of other hosts' clients left out", counted(rows.elsewhere, "session")));
    }
    notes
}

fn object(target: &Target, told: &Told, rows: &Rows, notes: &[String]) -> Value {
    let service = &target.service;
    let sources: Vec<&str> = told.sources.iter().map(|source| source.name()).collect();
    json!({
        "schema": 1,
        "command": "sessions",
        "service": {"profile": service.profile, "ports": service.ports, "side": service.side.name()},
        "sources": sources,
        "joined": rows.joined,
        "hidden_statements": told.hidden,
        "elsewhere": rows.elsewhere,
        "rows": rows.rows.iter().map(export::json).collect::<Vec<_>>(),
        "missing": notes,
    })
}
