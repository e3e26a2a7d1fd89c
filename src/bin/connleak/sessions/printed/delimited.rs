//! A line for each row: CSV, and cells apart by tabs or pipes.

use super::{Printed, is_footer};
use csv::{ReaderBuilder, StringRecord};

/// As RFC 4180 has it: a quoted cell may have line breaks.
pub fn csv(text: &str) -> Result<Vec<Printed>, String> {
    let mut reader = ReaderBuilder::new().flexible(true).has_headers(false).from_reader(text.as_bytes());
    let mut lists: Vec<Printed> = Vec::new();
    let mut header = StringRecord::new();
    for record in reader.records() {
        let record = record.map_err(|why| format!("no CSV: {why}"))?;
        let line = record.position().map_or(0, |position| position.line() as usize);
        if lists.is_empty() || record == header {
            lists.push(Printed::new(&record));
            header = record;
            continue;
        }
        let Some(list) = lists.last_mut() else { continue };
        list.add(line, record.iter().map(str::to_owned).collect())?;
    }
    // A quote that is never closed takes all that follows as one cell.
    let is_open = text.matches('"').count() % 2 == 1;
    if is_open { Err("a quoted cell has no end: the list is cut".to_owned()) } else { Ok(lists) }
}

/// As `mariadb` prints into a pipe, with escapes, or `psql -A`, without.
pub fn plain(text: &str, separator: char) -> Result<Vec<Printed>, String> {
    let mut lists: Vec<Printed> = Vec::new();
    let mut header = "";
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !is_footer(line)) {
        if lists.is_empty() || line == header {
            lists.push(Printed::new(line.split(separator)));
            header = line;
            continue;
        }
        let Some(list) = lists.last_mut() else { continue };
        let cells: Vec<String> = match list.is_of_psql() {
            // A statement has the separator, too: it comes last.
            true => line.splitn(list.columns.len(), separator).map(str::to_owned).collect(),
            false => line.split(separator).map(unescaped).collect(),
        };
        list.add(index + 1, cells)?;
    }
    Ok(lists)
}

/// mariadb's `\n`, `\t`, `\\` and `\0`.
fn unescaped(cell: &str) -> String {
    let mut text = String::with_capacity(cell.len());
    let mut characters = cell.chars();
    while let Some(character) = characters.next() {
        text.push(match character {
            '\\' => match characters.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('0') => ' ',
                Some(other) => other,
                None => '\\',
            },
            other => other,
        });
    }
    text
}
