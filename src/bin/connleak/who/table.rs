//! The rows for a person: a headline, a table or, where that is too wide, a card for each.

use super::gather::View;
use super::row::Row;
use super::text::{age_text, more, peers_text, states, tinted};
use super::tree::Branch;
use super::{By, cards};
use crate::screen::{Screen, title, visible};
use connleak::kernel::socket::State;
use connleak::owners::blame::sockets;
use connleak::service::target::Target;

/// Peers shown in a row.
const MOST_PEERS: usize = 3;

struct Column {
    head: String,
    right: bool,
    cell: Box<dyn Fn(&Row) -> String>,
}

pub fn render(view: &View, target: &Target, branches: &[Branch], verbose: u8, screen: &Screen) -> String {
    let mut text = headline(view, target, screen);
    if view.rows.is_empty() {
        text.push_str("nobody has any socket of it here\n");
    } else {
        let columns = columns(view, target);
        let (table, width) = table(view, branches, &columns, verbose, screen);
        let fits = screen.width.is_none_or(|columns| width <= columns);
        let cards = || cards::render(view, branches, verbose, screen);
        text.push_str(&if fits { table } else { cards() });
    }
    for note in &view.notes {
        text.push_str(&screen.folded(&screen.paint("33", "note:"), note));
    }
    text
}

/// `memcached:11211, both sides: 12 sockets of 3 owners: 6 ESTABLISHED, 3 CLOSE_WAIT (oldest 2m5s)`.
fn headline(view: &View, target: &Target, screen: &Screen) -> String {
    let owners = if view.owners == 1 { "1 owner".to_owned() } else { format!("{} owners", view.owners) };
    let states = states(&view.all);
    let states = if states.is_empty() { String::new() } else { format!(": {states}") };
    let line = format!("{}: {} of {owners}{states}", title(target), sockets(view.all.total()));
    screen.folded("", &line)
}

/// Only what tells something: states that occur, ports where there are several.
fn columns(view: &View, target: &Target) -> Vec<Column> {
    let column = |head: &str, right: bool, cell: Box<dyn Fn(&Row) -> String>| Column { head: head.into(), right, cell };
    let or_none = |text: Option<&str>| text.map_or("-".to_owned(), visible);
    let any = |test: fn(&Row) -> bool| view.rows.iter().any(test);
    let mut columns = Vec::new();
    if target.selection.ports.len() + target.selection.unix.len() != 1 {
        columns.push(column("PORT", true, Box::new(Row::port_text)));
    }
    columns.push(column("SIDE", false, Box::new(|row| row.side.name().to_owned())));
    if any(|row| row.process.as_ref().is_some_and(|process| process.unit.is_some())) {
        let unit = move |row: &Row| or_none(row.process.as_ref().and_then(|process| process.unit.as_deref()));
        columns.push(column("UNIT", false, Box::new(unit)));
    }
    if view.by == By::Pid {
        columns.push(column("USER", false, Box::new(move |row| or_none(row.user.as_deref()))));
    }
    for (state, name) in State::NAMES {
        let always = matches!(state, State::Established | State::CloseWait);
        if always || view.all.count(state) > 0 {
            let head = match state {
                State::Established => "ESTAB",
                // In no state of a connection.
                State::Close => "BOUND",
                _ => name,
            };
            columns.push(column(head, true, Box::new(move |row| row.count(state).to_string())));
        }
    }
    if any(|row| row.waiting > 0) {
        columns.push(column("QUEUED", true, Box::new(|row| row.waiting.to_string())));
    }
    if any(|row| row.unread > 0) {
        columns.push(column("UNREAD", true, Box::new(|row| row.unread.to_string())));
    }
    if any(|row| row.ghosts > 0) {
        columns.push(column("GHOSTS", true, Box::new(|row| row.ghosts.to_string())));
    }
    if view.ages_known {
        columns.push(column("CW_OLDEST", true, Box::new(oldest)));
        columns.push(column("IDLE_MAX", true, Box::new(|row| age_text(row.longest_idle))));
    }
    columns.push(column("PEERS", false, Box::new(|row| peers_text(row, MOST_PEERS))));
    columns
}

/// The table, and how wide its widest line is.
fn table(view: &View, branches: &[Branch], columns: &[Column], verbose: u8, screen: &Screen) -> (String, usize) {
    let mut lines: Vec<Vec<String>> =
        vec![std::iter::once("OWNER".to_owned()).chain(columns.iter().map(|column| column.head.clone())).collect()];
    for branch in branches {
        let row = branch.row.and_then(|index| view.rows.get(index));
        let cells = columns.iter().map(|column| row.map_or(String::new(), |row| (column.cell)(row)));
        lines.push(std::iter::once(format!("{}{}", branch.prefix, visible(&branch.label))).chain(cells).collect());
    }
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..=columns.len()).map(width).collect();
    let is_right = |column: usize| column > 0 && columns[column - 1].right;
    let mut text = String::new();
    let mut widest = 0;
    for (index, line) in lines.iter().enumerate() {
        let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            let width = *width;
            if is_right(column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        widest = widest.max(line.trim_end().chars().count());
        let branch = index.checked_sub(1).map(|index| &branches[index]);
        let row = branch.and_then(|branch| view.rows.get(branch.row?));
        text.push_str(&(tinted(line.trim_end(), branch.is_none(), row, screen) + "\n"));
        if let (Some(branch), Some(row)) = (branch, row) {
            text.extend(more(row, verbose).iter().map(|line| format!("{}    {line}\n", branch.below)));
        }
    }
    (text, widest)
}

/// `>=2s` where it is known only that it is so old at least.
fn oldest(row: &Row) -> String {
    let or_more = if row.open_end().is_some() { ">=" } else { "" };
    format!("{or_more}{}", age_text(row.oldest_close_wait))
}
