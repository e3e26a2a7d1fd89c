//! The rows one below the other, for a terminal that is too narrow for a table.

use super::gather::View;
use super::row::Row;
use super::text::{age_text, more, peers_text, states, tinted};
use super::tree::Branch;
use crate::screen::{Screen, visible, wrapped};

pub fn render(view: &View, branches: &[Branch], verbose: u8, screen: &Screen) -> String {
    let width = screen.width.unwrap_or(80);
    let mut text = String::new();
    for branch in branches {
        let row = branch.row.and_then(|index| view.rows.get(index));
        let title = format!("{}{}", branch.prefix, visible(&branch.label));
        text.push_str(&(tinted(&title, false, row, screen) + "\n"));
        let lines = row.map_or_else(Vec::new, |row| [card(row), more(row, verbose)].concat());
        let indent = format!("{}  ", branch.below);
        text.extend(lines.iter().map(|line| wrapped(line, &indent, width)));
    }
    text
}

fn card(row: &Row) -> Vec<String> {
    let of = match row.port {
        Some(0) => format!("{} side of a UNIX socket", row.side.name()),
        Some(port) => format!("{} side of {port}", row.side.name()),
        None => "no known service".to_owned(),
    };
    let mut lines = vec![format!("{of}: {}", states(row))];
    let unit = row.process.as_ref().and_then(|process| process.unit.as_deref());
    let whose = [("unit", unit), ("user", row.user.as_deref())];
    let whose: Vec<_> = whose.iter().filter_map(|(what, name)| Some(format!("{what} {}", visible((*name)?)))).collect();
    lines.extend((!whose.is_empty()).then(|| whose.join(", ")));
    lines.extend((row.waiting > 0).then(|| format!("{} not accepted yet", row.waiting)));
    lines.extend(row.longest_idle.map(|idle| format!("idle for up to {}", age_text(Some(idle)))));
    lines.extend((!row.peers.is_empty()).then(|| format!("peers {}", peers_text(row, 2))));
    lines
}
