//! Tables that are drawn for a person: psql's, and mariadb's in its frame.

use super::{Printed, is_footer};
use unicode_width::UnicodeWidthChar;

/// `----+-----`, or `+----+-----+` in a frame.
pub fn is_rule(line: &str) -> bool {
    let line = line.trim_end();
    line.len() > 1 && line.contains('-') && line.bytes().all(|byte| matches!(byte, b'-' | b'+'))
}

/// The columns of the screen where the bars between cells are, in a frame also those around.
struct Bars(Vec<usize>);

impl Bars {
    fn of(rule: &str) -> Bars {
        let places = rule.bytes().enumerate().filter(|(_, byte)| *byte == b'+');
        Bars(places.map(|(at, _)| at).collect())
    }

    /// The cells of a line with their padding, by the places of the bars; where letters are wider than is known
    /// here, by the bars alone.
    fn cut<'a>(&self, line: &'a str) -> Option<Vec<&'a str>> {
        let (mut cells, mut begin, mut column) = (Vec::new(), 0, 0);
        let mut bars = self.0.iter().peekable();
        for (at, character) in line.char_indices() {
            if bars.peek().is_some_and(|bar| **bar == column) {
                if character != '|' {
                    return self.split(line);
                }
                cells.push(&line[begin..at]);
                begin = at + 1;
                bars.next();
            }
            column += character.width().unwrap_or(0);
        }
        cells.push(&line[begin..]);
        if bars.next().is_none() { Some(cells) } else { self.split(line) }
    }

    fn split<'a>(&self, line: &'a str) -> Option<Vec<&'a str>> {
        let cells: Vec<&str> = line.split('|').collect();
        (cells.len() == self.0.len() + 1).then_some(cells)
    }
}

/// Tables one below the other, each with its header.
pub fn read(text: &str) -> Result<Vec<Printed>, String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut lists = Vec::new();
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        if line.trim().is_empty() || is_footer(line) {
            at += 1;
            continue;
        }
        let is_framed = is_rule(line);
        let header = at + usize::from(is_framed);
        let Some((names, rule)) = lines.get(header).zip(lines.get(header + 1).filter(|rule| is_rule(rule))) else {
            return Err(format!("line {}: no header with a rule below it", at + 1));
        };
        at = header + 2;
        lists.push(table(names, rule, is_framed, &lines, &mut at)?);
    }
    Ok(lists)
}

fn table(names: &str, rule: &str, is_framed: bool, lines: &[&str], at: &mut usize) -> Result<Printed, String> {
    let bars = Bars::of(rule);
    // In a frame nothing stands before the first bar and after the last.
    let inner = |cells: Vec<&str>| -> Vec<String> {
        let cells = if is_framed { cells[1..cells.len() - 1].to_vec() } else { cells };
        cells.into_iter().map(str::to_owned).collect()
    };
    let cut = |line: &str, number: usize| {
        let cells = bars.cut(line).filter(|cells| cells.len() > 2 || !is_framed).map(inner);
        cells.ok_or_else(|| {
            format!(
                "line {number}: its bars aren't those of the header: the list is cut, or a statement has line breaks \
                that this output doesn't mark (psql: --csv; mariadb: without -t)"
            )
        })
    };
    let names = cut(names, *at - 1)?;
    let mut list = Printed::new(names.iter().map(String::as_str));
    while let Some(line) = lines.get(*at) {
        *at += 1;
        if is_footer(line) || line.trim().is_empty() || (is_framed && is_rule(line)) {
            break;
        }
        let begin = *at;
        let mut cells = cut(line, begin)?;
        let mut goes_on: Vec<bool> = cells.iter().map(|cell| cell.ends_with('+')).collect();
        let mut whole: Vec<String> = cells.iter().map(|cell| value(cell)).collect();
        // psql ends a cell's line with a plus sign where the next line goes on with it.
        while list.is_of_psql() && goes_on.contains(&true) {
            let Some(line) = lines.get(*at) else { return Err(format!("line {}: the list is cut", *at)) };
            *at += 1;
            cells = cut(line, *at)?;
            for ((whole, cell), on) in whole.iter_mut().zip(&cells).zip(&mut goes_on).filter(|(_, on)| **on) {
                *on = cell.ends_with('+');
                whole.extend(["\n", value(cell).as_str()]);
            }
        }
        list.add(begin, whole)?;
    }
    Ok(list)
}

/// A cell without its padding, and the sign that it goes on.
fn value(cell: &str) -> String {
    let cell = cell.strip_suffix('+').unwrap_or(cell).trim_end();
    let bare = cell.strip_prefix(' ').unwrap_or(cell);
    // Numbers and psql's heads stand to the right.
    if bare.trim().parse::<f64>().is_ok() { bare.trim().to_owned() } else { bare.to_owned() }
}
