//! A line for each cell: `psql -x` and `mariadb -E`.

use super::{Printed, is_footer};

pub fn begins_mariadb(line: &str) -> bool {
    line.starts_with("***") && line.ends_with("***") && line.contains(". row ")
}

pub fn begins_psql(line: &str) -> bool {
    line.starts_with("-[ RECORD ")
}

/// One row's names and values, and where it begins.
#[derive(Default)]
struct Record {
    line: usize,
    cells: Vec<(String, String)>,
}

/// `Name: value`, names to the right of one column of colons; a value's further lines are as they are.
pub fn mariadb(text: &str) -> Result<Printed, String> {
    let mut records: Vec<Record> = Vec::new();
    let mut colon = None;
    for (index, line) in text.lines().enumerate() {
        if begins_mariadb(line) {
            records.push(Record { line: index + 1, cells: Vec::new() });
            colon = None;
            continue;
        }
        let Some(record) = records.last_mut() else { continue };
        let at = colon.or_else(|| line.find(": ").or_else(|| line.strip_suffix(':').map(str::len)));
        let named = at.and_then(|at| Some((line.get(..at)?.trim_start(), line.get(at..)?.strip_prefix(':')?)));
        let is_name = |name: &str| !name.is_empty() && name.chars().all(|one| one.is_alphanumeric() || one == '_');
        match (named.filter(|(name, _)| is_name(name)), record.cells.last_mut()) {
            (Some((name, value)), _) => {
                colon = at;
                record.cells.push((name.to_owned(), value.strip_prefix(' ').unwrap_or(value).to_owned()));
            }
            (None, Some((_, value))) => value.extend(["\n", line]),
            (None, None) => return Err(format!("line {}: neither 'Name: value' nor a row's begin", index + 1)),
        }
    }
    table(records)
}

/// `name | value`; a value goes on below where its line ends with a plus sign.
pub fn psql(text: &str) -> Result<Printed, String> {
    let mut records: Vec<Record> = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !is_footer(line)) {
        if begins_psql(line) {
            records.push(Record { line: index + 1, cells: Vec::new() });
            continue;
        }
        let record = records.last_mut();
        let Some((record, (name, value))) = record.zip(line.split_once('|')) else {
            return Err(format!("line {}: neither 'name | value' nor a row's begin", index + 1));
        };
        let value = value.strip_prefix(' ').unwrap_or(value);
        match record.cells.last_mut() {
            Some((_, above)) if name.trim().is_empty() => {
                let whole = above.strip_suffix('+').map(str::trim_end).unwrap_or(above).to_owned();
                *above = format!("{whole}\n{value}");
            }
            _ => record.cells.push((name.trim().to_owned(), value.trim_end().to_owned())),
        }
    }
    table(records)
}

/// Every record has the same names in the same order.
fn table(records: Vec<Record>) -> Result<Printed, String> {
    let Some(first) = records.first() else { return Err("an empty list".to_owned()) };
    let mut list = Printed::new(first.cells.iter().map(|(name, _)| name.as_str()));
    for Record { line, cells } in records {
        let differs = cells.iter().zip(&list.columns).find(|((name, _), column)| name.to_lowercase() != **column);
        if let Some(((name, _), column)) = differs {
            return Err(format!("line {line}: this row has '{name}' where the first has '{column}'"));
        }
        list.add(line, cells.into_iter().map(|(_, value)| value).collect())?;
    }
    Ok(list)
}
