//! A service's session list as its own client prints it: which shape it has, and its cells.

mod aligned;
mod delimited;
mod pairs;
mod vertical;

use serde_json::{Map, Value};

/// One list: a header and its rows.
#[derive(Debug, Default, PartialEq)]
pub struct Printed {
    /// In lower case.
    pub columns: Vec<String>,
    pub rows: Vec<Row>,
}

#[derive(Debug, Default, PartialEq)]
pub struct Row {
    /// Where it begins, from 1.
    pub line: usize,
    /// As many as columns. `None`: NULL, or empty.
    pub cells: Vec<Option<String>>,
}

impl Printed {
    fn new<'a>(columns: impl IntoIterator<Item = &'a str>) -> Printed {
        Printed { columns: columns.into_iter().map(|name| name.trim().to_lowercase()).collect(), rows: Vec::new() }
    }

    pub fn place(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|name| name == column)
    }

    /// Whether psql printed it, which marks what it changes, or mariadb, which writes escapes.
    fn is_of_psql(&self) -> bool {
        ["pid", "ptr"].iter().any(|column| self.place(column).is_some())
    }

    /// Whether its console prints several lists one after the other.
    fn is_pooler(&self) -> bool {
        self.place("ptr").is_some() && self.place("link").is_some()
    }

    /// Adds a row; where cells are missing or too many it says so.
    fn add(&mut self, line: usize, cells: Vec<String>) -> Result<(), String> {
        if cells.len() != self.columns.len() {
            return Err(format!(
                "line {line}: {} of {} cells: the list is cut, or a statement has line breaks that this output \
                doesn't mark (psql: --csv; mariadb: without -t and -E)",
                cells.len(),
                self.columns.len()
            ));
        }
        let told = |cell: String| Some(cell).filter(|cell| !cell.is_empty() && cell != "NULL");
        self.rows.push(Row { line, cells: cells.into_iter().map(told).collect() });
        Ok(())
    }
}

/// All lists of a text; one, but for PgBouncer's console.
///
/// # Errors
/// One line: where, what and the remedy.
pub fn read(text: &str) -> Result<Vec<Printed>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some(at) = text.find(|character: char| character.is_control() && !matches!(character, '\t' | '\n' | '\r')) {
        let line = 1 + text[..at].matches('\n').count();
        return Err(format!("line {line}: a control character: no list that a client prints"));
    }
    let Some((first, line)) = text.lines().enumerate().find(|(_, line)| !line.trim().is_empty()) else {
        return Err("empty: no list came; did the client fail?".to_owned());
    };
    let next = text.lines().nth(first + 1).unwrap_or("");
    let lists = match line {
        _ if line.starts_with(['{', '[']) => vec![json(text)?],
        _ if line.starts_with("STAT ") => vec![pairs::memcached(text)?],
        _ if line.starts_with("id=") => vec![pairs::redis(text)?],
        _ if vertical::begins_mariadb(line) => vec![vertical::mariadb(text)?],
        _ if vertical::begins_psql(line) => vec![vertical::psql(text)?],
        _ if line.starts_with("+-") || aligned::is_rule(next) => aligned::read(text)?,
        _ if line.contains('\t') => delimited::plain(text, '\t')?,
        _ if line.contains('|') => delimited::plain(text, '|')?,
        _ if line.contains(',') => delimited::csv(text)?,
        _ => {
            let line = line.chars().take(40).collect::<String>();
            return Err(format!("line {}: '{line}' begins no list that is known here", first + 1));
        }
    };
    match lists.iter().enumerate().skip(1).find(|(_, list)| !list.is_pooler()) {
        Some((_, second)) => {
            let line = second.rows.first().map_or(String::new(), |row| format!("line {}: ", row.line - 1));
            Err(format!("{line}a second header: give each list as a file of its own"))
        }
        None => Ok(lists),
    }
}

/// A line of JSON for each row, or an array of them.
fn json(text: &str) -> Result<Printed, String> {
    let bad = |why: serde_json::Error| format!("line {}: no JSON: {why}", why.line());
    let objects: Vec<(usize, Map<String, Value>)> = if text.trim_start().starts_with('[') {
        let all: Vec<Map<String, Value>> = serde_json::from_str(text).map_err(bad)?;
        all.into_iter().enumerate().map(|(index, object)| (index + 1, object)).collect()
    } else {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let object = |(index, line)| match serde_json::from_str(line) {
            Ok(object) => Ok((index + 1, object)),
            Err(why) => Err(format!("line {}: no JSON object: {why}", index + 1)),
        };
        lines.map(object).collect::<Result<_, String>>()?
    };
    let Some((_, first)) = objects.first() else { return Err("an empty list".to_owned()) };
    let mut list = Printed::new(first.keys().map(String::as_str));
    for (line, object) in objects {
        let by_name: Map<String, Value> =
            object.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
        let cell = |name: &String| match by_name.get(name) {
            None => Err(format!("line {line}: no '{name}', which the first row has")),
            Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(other) => Ok(other.to_string()),
        };
        let cells = list.columns.iter().map(cell).collect::<Result<_, _>>()?;
        list.add(line, cells)?;
    }
    Ok(list)
}

/// `(8 rows)`, which psql writes below a list.
fn is_footer(line: &str) -> bool {
    let count = line.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).and_then(|rest| rest.split_once(' '));
    count.is_some_and(|(count, word)| matches!(word, "row" | "rows") && count.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests;
