//! A CSV file of counts over time: seconds since 1970, then one number or several.

use super::recording::{Column, Recording};
use super::words;
use connleak::kernel::socket::State;
use std::io::{BufRead, Read};

/// Bytes; a longer line is no row of numbers.
const LONGEST_LINE: u64 = 4096;
const MOST_COLUMNS: usize = 64;
/// What fits into memory with ease.
const MOST_NUMBERS: usize = 40_000_000;
/// Seconds since 1970 of the year 10000: beyond it they are rather milliseconds.
const LATEST: f64 = 253_402_300_800.0;

/// Columns that say what counts against a limit.
const COUNTED: [&str; 3] = ["count", "connections", "total"];

/// Reads rows as they are written: in any order, with or without a header.
pub struct Table {
    /// The names of the columns after the time.
    names: Vec<String>,
    times: Vec<f64>,
    /// Row after row.
    numbers: Vec<f64>,
    /// Numbers of bad lines.
    skipped: Vec<usize>,
}

impl Table {
    pub fn read(mut input: impl BufRead, skip_bad: bool, mut progress: impl FnMut(u64)) -> Result<Table, String> {
        let mut table = Table { names: Vec::new(), times: Vec::new(), numbers: Vec::new(), skipped: Vec::new() };
        let (mut line, mut number, mut done) = (Vec::new(), 0, 0);
        loop {
            line.clear();
            number += 1;
            let read = input.by_ref().take(LONGEST_LINE + 1).read_until(b'\n', &mut line);
            let read = read.map_err(|why| connleak::base::error::plain(&why))? as u64;
            if read == 0 {
                break;
            }
            if read > LONGEST_LINE {
                return Err(format!("line {number}: over {LONGEST_LINE} bytes; is it CSV?"));
            }
            done += read;
            if number % 8192 == 0 {
                progress(done);
            }
            match table.line(&line, number) {
                Err(_) if skip_bad => table.skipped.push(number),
                Err(why) => return Err(format!("line {number}: {why}")),
                Ok(()) => {}
            }
            if table.numbers.len() > MOST_NUMBERS {
                return Err(format!("line {number}: more than {MOST_NUMBERS} numbers; split the file"));
            }
        }
        match (table.times.is_empty(), table.skipped.is_empty()) {
            (true, true) => Err("no samples; lines are timestamp,count".to_owned()),
            (true, false) => Err(format!("no samples, {} bad lines; lines are timestamp,count", table.skipped.len())),
            (false, _) => Ok(table),
        }
    }

    fn line(&mut self, line: &[u8], number: usize) -> Result<(), String> {
        let line = std::str::from_utf8(line).map_err(|_| "not UTF-8; is it CSV?".to_owned())?;
        let line = if number == 1 { line.trim_start_matches('\u{feff}') } else { line };
        let line = line.trim();
        if line.is_empty() {
            return Ok(());
        }
        let fields: Vec<&str> = line.split(',').map(|field| field.trim().trim_matches('"').trim()).collect();
        if fields.len() < 2 || fields.len() > MOST_COLUMNS + 1 {
            let (has, most) = (fields.len(), MOST_COLUMNS + 1);
            return Err(format!("'{}': {has} fields; write timestamp,count with 2 to {most}", quoted(line)));
        }
        if self.names.is_empty() {
            // A first row whose time is broken must not pass as a header.
            if number == 1 && fields.iter().all(|field| field.parse::<f64>().is_err()) {
                return self.header(&fields[1..]);
            }
            self.names = match fields.len() {
                2 => vec!["count".to_owned()],
                fields => (1..fields).map(|field| format!("column {}", field + 1)).collect(),
            };
        }
        self.row(&fields)
    }

    fn header(&mut self, fields: &[&str]) -> Result<(), String> {
        if fields.contains(&"") {
            return Err("a column without a name in the header".to_owned());
        }
        self.names = fields.iter().map(|field| (*field).to_owned()).collect();
        Ok(())
    }

    fn row(&mut self, fields: &[&str]) -> Result<(), String> {
        if fields.len() != self.names.len() + 1 {
            return Err(format!("{} fields where {} were expected", fields.len(), self.names.len() + 1));
        }
        let time = fields[0].parse::<f64>().ok().filter(|time| time.is_finite() && *time >= 0.0);
        let time = time.ok_or_else(|| format!("time '{}': write seconds since 1970", quoted(fields[0])))?;
        if time >= LATEST {
            return Err(format!("time '{}': after the year 9999; write seconds, not milliseconds", quoted(fields[0])));
        }
        let before = self.numbers.len();
        for (field, name) in fields[1..].iter().zip(&self.names) {
            // One of several may be left out where it isn't known.
            if field.is_empty() && self.names.len() > 1 {
                self.numbers.push(f64::NAN);
                continue;
            }
            match field.parse::<f64>() {
                Ok(number) if number.is_finite() && number >= 0.0 => self.numbers.push(number),
                _ => {
                    self.numbers.truncate(before);
                    return Err(format!("{} '{}': write a number from 0", quoted(name), quoted(field)));
                }
            }
        }
        self.times.push(time);
        Ok(())
    }

    /// In order of time; of rows of one time the last counts.
    pub fn recording(self, name: String, place: String, limit: Option<f64>) -> Recording {
        let backwards = self.times.windows(2).filter(|pair| pair[1] < pair[0]).count();
        let mut order: Vec<usize> = (0..self.times.len()).collect();
        order.sort_by(|a, b| self.times[*a].total_cmp(&self.times[*b]));
        let mut rows: Vec<usize> = Vec::with_capacity(order.len());
        for row in order {
            match rows.last_mut() {
                Some(last) if self.times[*last] == self.times[row] => *last = row,
                _ => rows.push(row),
            }
        }
        let again = self.times.len() - rows.len();
        let width = self.names.len();
        let values = |column: usize| rows.iter().map(|row| self.numbers[row * width + column]).collect();
        let names = self.names.iter().enumerate();
        let mut columns: Vec<Column> =
            names.map(|(at, name)| Column { name: name.clone(), values: values(at) }).collect();
        let given = columns.iter().position(|column| column.name.eq_ignore_ascii_case("limit")).filter(|_| width > 1);
        let given = given.map(|at| columns.remove(at));
        let beside = set_apart(&mut columns);
        let limit = limit.map(|limit| vec![limit; rows.len()]).or(given.map(|column| column.values));
        let (counted, connections) = counted(&columns);
        let mut notes = Vec::new();
        if backwards > 0 {
            let places = words::many(backwards, "place");
            notes
                .push(format!("Time goes back in {places} (a clock set back, or lines out of order): drawn in order."));
        }
        if again > 0 {
            notes.push(format!("Of {} with the time of another the last counts.", words::many(again, "line")));
        }
        if !self.skipped.is_empty() {
            let first: Vec<String> = self.skipped.iter().take(5).map(usize::to_string).collect();
            let more = if self.skipped.len() > first.len() { ", …" } else { "" };
            notes.push(format!("{} skipped: {}{more}.", words::many(self.skipped.len(), "bad line"), first.join(", ")));
        }
        Recording {
            name,
            place,
            times: rows.iter().map(|row| self.times[*row]).collect(),
            columns,
            beside,
            connections,
            counted,
            limit: limit.map(|values| Column { name: "limit".to_owned(), values }),
            notes,
            ..Recording::default()
        }
    }
}

/// Where states are named, as `connleak watch --csv` does, what is neither a state nor their sum is of
/// another unit; states that never were and numbers never known are left out.
fn set_apart(columns: &mut Vec<Column>) -> Vec<Column> {
    let mut states = false;
    for column in columns.iter_mut() {
        if let Ok(state) = column.name.to_ascii_uppercase().parse::<State>() {
            column.name = state.name().to_owned();
            states = true;
        }
    }
    if !states {
        return Vec::new();
    }
    let any = |column: &Column, is: fn(f64) -> bool| column.values.iter().any(|value| is(*value));
    let is_state = |column: &Column| column.name.parse::<State>().is_ok();
    let is_drawn =
        |column: &Column| is_state(column) || COUNTED.iter().any(|name| column.name.eq_ignore_ascii_case(name));
    let beside = columns.extract_if(.., |column| !is_drawn(column)).filter(|column| any(column, f64::is_finite));
    let beside = beside.collect();
    let always = [State::Established.name(), State::CloseWait.name()];
    let was = |column: &Column| {
        always.contains(&column.name.as_str()) || !is_state(column) || any(column, |value| value > 0.0)
    };
    if columns.iter().any(was) {
        columns.retain(was);
    } else {
        // A chart has a line, be it of zeros.
        columns.truncate(1);
    }
    beside
}

/// What counts against a limit: a column that says so, else ESTABLISHED and CLOSE_WAIT, else the first.
fn counted(columns: &[Column]) -> (String, Vec<f64>) {
    let find = |name: &str| columns.iter().find(|column| column.name.eq_ignore_ascii_case(name));
    if let Some(column) = COUNTED.into_iter().find_map(find) {
        return (column.name.clone(), column.values.clone());
    }
    match (find("established"), find("close_wait")) {
        (Some(established), Some(close_wait)) => {
            let pairs = established.values.iter().zip(&close_wait.values);
            ("ESTABLISHED + CLOSE_WAIT".to_owned(), pairs.map(|(a, b)| a + b).collect())
        }
        (Some(column), None) | (None, Some(column)) => (column.name.clone(), column.values.clone()),
        (None, None) => columns.first().map(|column| (column.name.clone(), column.values.clone())).unwrap_or_default(),
    }
}

/// A bad token as it can be shown: short, one line.
fn quoted(text: &str) -> String {
    let text: String = text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect();
    let short: String = text.chars().take(40).collect();
    if short.len() < text.len() { format!("{short}…") } else { short }
}
