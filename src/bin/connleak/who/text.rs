//! A row in words, the same in a table and on cards.

use super::row::Row;
use crate::screen::{Screen, visible};
use connleak::base::duration::Span;
use connleak::kernel::socket::State;
use connleak::owners::blame::Suspect;

/// `6 ESTABLISHED, 3 CLOSE_WAIT (oldest 2h13m)`.
pub fn states(row: &Row) -> String {
    let part = |(state, name): (State, &str)| {
        let count = row.count(state);
        let oldest = row.oldest_close_wait.filter(|_| state == State::CloseWait);
        let or_more = if row.open_end().is_some() { "at least " } else { "" };
        let oldest = oldest.map_or(String::new(), |age| format!(" (oldest {or_more}{})", age_text(Some(age))));
        (count > 0).then(|| format!("{count} {name}{oldest}"))
    };
    State::NAMES.into_iter().filter_map(part).collect::<Vec<_>>().join(", ")
}

pub fn age_text(millis: Option<u32>) -> String {
    millis.map_or("-".to_owned(), |millis| Span::millis(u64::from(millis)).to_string())
}

pub fn peers_text(row: &Row, most: usize) -> String {
    let peers = row.top_peers();
    let mut shown: Vec<_> = peers.iter().take(most).map(|(peer, count)| format!("{peer} ({count})")).collect();
    if peers.len() > most {
        shown.push(format!("+{} more", peers.len() - most));
    }
    if shown.is_empty() { "-".to_owned() } else { shown.join(", ") }
}

/// The header dim, what has been stuck for long red, what has waited for long yellow.
pub fn tinted(line: &str, is_header: bool, row: Option<&Row>, screen: &Screen) -> String {
    match row {
        _ if is_header => screen.paint("2", line),
        Some(row) if row.stuck > 0 => screen.paint("31", line),
        Some(row) if row.count(State::CloseWait) > 0 || row.idle > 0 => screen.paint("33", line),
        _ => line.to_owned(),
    }
}

/// `-v` and `-vv`.
pub fn more(row: &Row, verbose: u8) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(details) = row.details.as_ref().filter(|_| verbose > 0) {
        let told = |read: &Result<String, String>| match read {
            Ok(text) => visible(text),
            Err(why) => format!("({why})"),
        };
        lines.push(format!("cwd {}", told(&details.cwd)));
        lines.push(format!("cmd {}", told(&details.command_line)));
    }
    if verbose > 1 {
        lines.extend(row.sockets.iter().map(socket_line));
        let counted = row.total() - row.count(State::Listen) - row.count(State::Close);
        let rest = counted.saturating_sub(row.sockets.len() as u64);
        lines.extend((rest > 0).then(|| format!("... {rest} more")));
    }
    lines
}

fn socket_line(suspect: &Suspect) -> String {
    let Suspect { local, remote, state, age, .. } = suspect;
    let age = match (state, age) {
        (State::CloseWait, _) => suspect.age_text(),
        (_, Some(_)) => format!(" idle {}", age_text(*age)),
        _ => String::new(),
    };
    let queued = if suspect.is_waiting() { ", not accepted yet" } else { "" };
    format!("{local} -> {remote} {state}{age}{queued}")
}
