//! The rows for a person: a headline, a table or, where that is too wide, a few lines for each.

use super::row::{Class, Row};
use crate::screen::{Screen, visible, wrapped};
use connleak::base::duration::Span;
use connleak::kernel::cgroup;

/// Characters of a statement where nothing says how many there is room for.
const LONGEST_STATEMENT: usize = 160;
/// With less room for the statement a table tells nothing.
const LEAST_STATEMENT: usize = 24;

type Cell = fn(&Row) -> String;

/// What only sometimes tells something is left out where it doesn't.
const COLUMNS: [(&str, Cell, bool); 9] = [
    ("CLIENT", |row| row.client(), true),
    (
        "UNIT",
        |row| {
            or_dash(
                row.process.and_then(|process| process.unit.as_deref()).map(|unit| cgroup::label(unit).into_owned()),
            )
        },
        false,
    ),
    ("STATE", |row| row.state(), true),
    ("SILENT", |row| or_dash(row.silent().map(|silent| Span::millis(u64::from(silent)).to_string())), true),
    ("USER", |row| or_dash(row.session.and_then(|session| session.user.clone())), false),
    ("DATABASE", |row| or_dash(row.session.and_then(|session| session.database.clone())), false),
    ("APPLICATION", |row| or_dash(row.session.and_then(|session| session.application.clone())), false),
    ("SESSION", session, true),
    ("XACT", |row| or_dash(row.asking().and_then(|asking| asking.transaction).map(age)), false),
];

fn or_dash(text: Option<String>) -> String {
    text.map_or("-".to_owned(), |text| visible(&text))
}

fn age(seconds: u64) -> String {
    Span::seconds(seconds).to_string()
}

/// `idle in transaction 2h13m`.
fn session(row: &Row) -> String {
    let age =
        row.asking().and_then(|asking| asking.state_age).map_or(String::new(), |seconds| format!(" {}", age(seconds)));
    format!("{}{age}", visible(&row.describe()))
}

/// On one line.
fn statement(row: &Row, longest: Option<usize>) -> String {
    let text = row.asking().and_then(|asking| asking.query.as_deref()).unwrap_or("-");
    let line = visible(&text.split_whitespace().collect::<Vec<_>>().join(" "));
    match longest.filter(|longest| line.chars().count() > *longest) {
        Some(longest) => line.chars().take(longest.saturating_sub(3)).chain("...".chars()).collect(),
        None => line,
    }
}

pub fn render(rows: &[Row], verbose: u8, screen: &Screen) -> String {
    let columns: Vec<_> = COLUMNS
        .iter()
        .filter(|(_, cell, always)| *always || rows.iter().any(|row| cell(row) != "-"))
        .map(|(head, cell, _)| {
            let cells: Vec<String> = rows.iter().map(cell).collect();
            let width = cells.iter().map(|cell| cell.chars().count()).chain([head.len()]).max().unwrap_or(0);
            (*head, cells, width)
        })
        .collect();
    let left: usize = columns.iter().map(|(.., width)| width + 2).sum();
    let room = screen.width.map(|width| width.saturating_sub(left));
    if room.is_some_and(|room| room < LEAST_STATEMENT) {
        return rows.iter().map(|row| card(row, verbose, screen)).collect();
    }
    let longest = if verbose > 0 { None } else { Some(room.unwrap_or(LONGEST_STATEMENT)) };
    let mut text = String::new();
    let head: String = columns.iter().map(|(head, _, width)| format!("{head:<width$}  ")).collect();
    text.push_str(&(screen.paint("2", &format!("{head}LAST STATEMENT")) + "\n"));
    for (at, row) in rows.iter().enumerate() {
        let line: String = columns.iter().map(|(_, cells, width)| format!("{:<width$}  ", cells[at])).collect();
        text.push_str(&(tinted(row, format!("{line}{}", statement(row, longest)).trim_end(), screen) + "\n"));
    }
    text
}

/// What a row says, below its client.
fn card(row: &Row, verbose: u8, screen: &Screen) -> String {
    let width = screen.width.unwrap_or(80);
    let mut text = tinted(row, &row.client(), screen) + "\n";
    for (head, cell, always) in &COLUMNS[1..] {
        let cell = cell(row);
        if *always || cell != "-" {
            text.push_str(&wrapped(&format!("{} {cell}", head.to_lowercase()), "  ", width));
        }
    }
    let longest = if verbose > 0 { None } else { Some(LONGEST_STATEMENT) };
    text + &wrapped(&format!("last statement {}", statement(row, longest)), "  ", width)
}

fn tinted(row: &Row, line: &str, screen: &Screen) -> String {
    match row.class {
        Class::Closed | Class::ClientGone => screen.paint("31", line),
        Class::InTransaction | Class::NoSession => screen.paint("33", line),
        Class::Other => line.to_owned(),
    }
}
