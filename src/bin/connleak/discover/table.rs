//! The listeners for a person, and what to do next.

use super::Found;
use super::listening::{Listening, Place};
use super::recorded::Watched;
use crate::screen::{Screen, visible, wrapped};
use connleak::base::duration::Span;
use connleak::kernel::cgroup;
use connleak::kernel::owner::Named;
use std::time::{SystemTime, UNIX_EPOCH};

const HEADS: [&str; 9] = ["PORT", "ADDRESS", "OWNER", "UNIT", "CONTAINER", "USER", "PROFILE", "FITS BY", "WATCHED"];
/// Shown even where they tell nothing.
const ALWAYS: [&str; 4] = ["PORT", "OWNER", "PROFILE", "WATCHED"];

pub fn render(found: &Found, all: bool, screen: &Screen) -> String {
    // The desktop's sockets would bury the services.
    let is_shown = |one: &&Listening| all || one.port().is_some() || one.fit.is_some();
    let shown: Vec<&Listening> = found.listening.iter().filter(is_shown).collect();
    let hidden = found.listening.len() - shown.len();
    let rows: Vec<[String; 9]> = shown.iter().map(|one| row(one, found)).collect();
    let tells = |column: &usize| ALWAYS.contains(&HEADS[*column]) || rows.iter().any(|row| row[*column] != "-");
    let columns: Vec<usize> = (0..HEADS.len()).filter(tells).collect();
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).chain([HEADS[column].len()]).max().unwrap_or(0)
    };
    let all_widths: usize = columns.iter().map(|column| width(*column) + 2).sum();
    let mut text = String::new();
    if shown.is_empty() {
        text.push_str("nothing listens here\n");
    } else if screen.width.is_some_and(|screen| all_widths > screen + 2) {
        rows.iter().zip(&shown).for_each(|(row, one)| text.push_str(&card(row, one, &columns, screen)));
    } else {
        let line = |cells: &dyn Fn(usize) -> String| {
            let line: String =
                columns.iter().map(|at| format!("{:<width$}  ", cells(*at), width = width(*at))).collect();
            line.trim_end().to_owned()
        };
        text.push_str(&(screen.paint("2", &line(&|at| HEADS[at].to_owned())) + "\n"));
        for (row, one) in rows.iter().zip(&shown) {
            text.push_str(&(tinted(&line(&|at| row[at].clone()), one, found, screen) + "\n"));
        }
    }
    text.push_str(&closing(found, hidden, screen));
    text
}

/// What is to be said below the table.
fn closing(found: &Found, hidden: usize, screen: &Screen) -> String {
    let mut text = String::new();
    for service in found.offered.iter().filter(|service| service.profile.is_some() && service.watched == Watched::No) {
        text.push_str(&screen.folded(
            &screen.paint("33", "not watched:"),
            &format!("{}; try check_closewait {}", service.name, service.command_line()),
        ));
    }
    let hidden = (hidden > 0).then(|| format!("{hidden} more UNIX sockets that no profile fits; see --all"));
    for note in found.missing.iter().chain(&found.notes).chain(&hidden) {
        text.push_str(&screen.folded(&screen.paint("33", "note:"), note));
    }
    text
}

fn row(one: &Listening, found: &Found) -> [String; 9] {
    let or_dash = |text: Option<String>| text.map_or("-".to_owned(), |text| visible(&text));
    let (port, address) = match &one.place {
        Place::Tcp(port, ips) => {
            let ips: Vec<_> = ips.iter().map(ToString::to_string).collect();
            (port.to_string(), ips.join(","))
        }
        Place::Unix(path) => ("unix".to_owned(), visible(path)),
    };
    let address = if one.is_mptcp { format!("{address} (MPTCP)") } else { address };
    [
        port,
        address,
        or_dash(one.process.as_ref().map(|process| Named(process).to_string())),
        or_dash(one.unit().map(|unit| cgroup::label(unit).into_owned())),
        or_dash(one.container()),
        or_dash(one.user.clone()),
        or_dash(one.fit.as_ref().map(|fit| fit.profile.clone())),
        or_dash(one.fit.as_ref().map(|fit| fit.by.name().to_owned())),
        match found.recorded.of(one) {
            Watched::At(last) => ago(last),
            Watched::No => "no".to_owned(),
            Watched::Unknown => "?".to_owned(),
        },
    ]
}

/// `5s ago`.
fn ago(last: f64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    format!("{} ago", Span::seconds(now.saturating_sub(last as u64)))
}

/// A listener below its port or path.
fn card(row: &[String; 9], one: &Listening, columns: &[usize], screen: &Screen) -> String {
    let title = if one.port().is_some() { row[0].clone() } else { row[1].clone() };
    let rest = columns.iter().filter(|at| **at > usize::from(one.port().is_none()) && row[**at] != "-");
    let rest: Vec<_> = rest.map(|at| format!("{} {}", HEADS[*at].to_lowercase(), row[*at])).collect();
    format!("{title}\n{}", wrapped(&rest.join(", "), "  ", screen.width.unwrap_or(80)))
}

/// What is a known service and not watched stands out.
fn tinted(line: &str, one: &Listening, found: &Found, screen: &Screen) -> String {
    let is_open = one.fit.is_some() && found.recorded.of(one) == Watched::No;
    if is_open { screen.paint("33", line) } else { line.to_owned() }
}
