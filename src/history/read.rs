//! What the tables tell: the last state, single runs, condensed ones, and the usual number.

use super::Previous;
use super::sample::{Condensed, Group, Recorded, Row, Sample};
use super::store::{DAY, HOUR, StoredService, Tier, unpack};
use super::trouble::Trouble;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::HashMap;

/// What the service's last run left.
pub fn previous(db: &Connection, known: &StoredService) -> Result<Previous, Trouble> {
    Ok(Previous { state: state(db, known.id)?, runs: known.runs.cast_unsigned() })
}

fn state(db: &Connection, service: i64) -> Result<Option<(u32, Vec<u8>)>, Trouble> {
    let sql = "SELECT version, state FROM state WHERE service = ?";
    Ok(db.query_row(sql, [service], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

/// Single runs of the last `back` milliseconds before the service's last one, oldest first.
pub fn samples(db: &Connection, known: &StoredService, back: i64) -> Result<Vec<Recorded>, Trouble> {
    let mut found = Vec::new();
    each(db, known, Tier::Runs, back, |at, wall, row, names| {
        let (groups, other) = named(&row, names)?;
        let sample = Sample {
            wall,
            uptime: row.uptime,
            boot: names.boot(row.boot)?,
            instance: row.instance,
            counts: row.sums,
            limit: row.limit,
            sampled: row.sampled,
            groups: groups.into_iter().map(|(name, count)| Group { name, count }).collect(),
            other,
            opened: row.opened,
            closed: row.closed,
            leak: row.leaks > 0,
        };
        found.push(Recorded { at, sample });
        Ok(())
    })?;
    Ok(found)
}

/// Five minutes or hours, oldest first; the last one may still grow.
pub fn condensed(db: &Connection, known: &StoredService, tier: Tier, back: i64) -> Result<Vec<Condensed>, Trouble> {
    let mut found = Vec::new();
    each(db, known, tier, back, |slot, wall, row, names| {
        let mean = |sum: u64| sum as f64 / row.runs as f64;
        let (groups, other) = named(&row, names)?;
        found.push(Condensed {
            at: slot.saturating_mul(tier.width()),
            wall,
            runs: row.runs,
            mean: row.sums.map(mean),
            most: row.most,
            boot: names.boot(row.boot)?,
            instance: row.instance,
            limit: row.limit,
            sampled: row.sampled,
            groups: groups.into_iter().map(|(name, sum)| (name, mean(sum))).collect(),
            other: mean(other),
            opened: row.opened,
            closed: row.closed,
            leaks: row.leaks,
        });
        Ok(())
    })?;
    Ok(found)
}

fn each(
    db: &Connection,
    known: &StoredService,
    tier: Tier,
    back: i64,
    mut take: impl FnMut(i64, i64, Row, &mut Names) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    let sql = "SELECT slot, wall, body FROM row WHERE service = ? AND tier = ? AND slot >= ? ORDER BY slot";
    let mut query = db.prepare(sql)?;
    let since = known.at.saturating_sub(back) / tier.width();
    let mut rows = query.query(params![known.id, tier as i64, since])?;
    let mut names = Names { db, groups: HashMap::new(), boots: HashMap::new() };
    while let Some(row) = rows.next()? {
        take(row.get(0)?, row.get(1)?, unpack(&row.get::<_, Vec<u8>>(2)?)?, &mut names)?;
    }
    Ok(())
}

/// What the numbers in rows stand for, looked up once.
struct Names<'a> {
    db: &'a Connection,
    groups: HashMap<u64, Option<String>>,
    boots: HashMap<u64, Option<String>>,
}

impl Names<'_> {
    /// `None`: forgotten since.
    fn group(&mut self, number: u64) -> Result<Option<String>, Trouble> {
        lookup(self.db, &mut self.groups, "SELECT name FROM name WHERE id = ?", number)
    }

    /// Empty: forgotten since.
    fn boot(&mut self, number: u64) -> Result<String, Trouble> {
        Ok(lookup(self.db, &mut self.boots, "SELECT boot FROM boot WHERE id = ?", number)?.unwrap_or_default())
    }
}

fn lookup(
    db: &Connection,
    known: &mut HashMap<u64, Option<String>>,
    sql: &str,
    number: u64,
) -> Result<Option<String>, Trouble> {
    if let Some(name) = known.get(&number) {
        return Ok(name.clone());
    }
    let name: Option<String> = db.query_row(sql, [number.cast_signed()], |row| row.get(0)).optional()?;
    known.insert(number, name.clone());
    Ok(name)
}

/// Groups by name, and what is in none of them.
fn named(row: &Row, names: &mut Names) -> Result<(Vec<(String, u64)>, u64), Trouble> {
    let (mut groups, mut other) = (Vec::new(), row.other);
    for (number, count) in &row.groups {
        match names.group(*number)? {
            Some(name) => groups.push((name, *count)),
            None => other = other.saturating_add(*count),
        }
    }
    Ok((groups, other))
}

/// What is usual at an hour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usual {
    /// The median over days.
    pub number: f64,
    pub days: usize,
    /// Whether the days are of the same day of the week: else of all days.
    pub same_weekday: bool,
}

/// Fewer days have no usual number.
const FEWEST_DAYS: usize = 3;
/// What was usual longer ago is no more.
const LONGEST_MEMORY: i64 = 60 * DAY;
const WEEK: i64 = 7 * DAY;

/// The usual number at this time of the week, else of the day, by the wall clock (UTC). The last
/// twelve hours don't count: what accumulates now must not make itself usual.
pub fn usual(
    db: &Connection,
    known: &StoredService,
    wall: i64,
    number: impl Fn(&Condensed) -> f64,
) -> Result<Option<Usual>, Trouble> {
    let hours = condensed(db, known, Tier::Hours, LONGEST_MEMORY)?;
    // By the middle of each hour, by whatever wall clock ran then.
    let distance = |hour: &Condensed, period: i64| {
        let apart = (hour.wall.saturating_add(HOUR / 2).saturating_sub(wall)).rem_euclid(period);
        apart.min(period - apart)
    };
    let nearest_each = |period: i64| {
        let mut days: HashMap<i64, (i64, f64)> = HashMap::new();
        for hour in hours.iter().filter(|hour| hour.at < known.at - DAY / 2 && distance(hour, period) <= HOUR / 2) {
            let (day, apart) = ((hour.at + DAY / 2 - known.at).div_euclid(DAY), distance(hour, period));
            let best = days.entry(day).or_insert((i64::MAX, 0.0));
            if apart < best.0 {
                *best = (apart, number(hour));
            }
        }
        days.into_values().map(|(_, number)| number).collect::<Vec<_>>()
    };
    for (period, same_weekday) in [(WEEK, true), (DAY, false)] {
        let mut days = nearest_each(period);
        if days.len() >= FEWEST_DAYS {
            return Ok(Some(Usual { number: median(&mut days), days: days.len(), same_weekday }));
        }
    }
    Ok(None)
}

fn median(numbers: &mut [f64]) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    if numbers.len() % 2 == 1 { numbers[middle] } else { f64::midpoint(numbers[middle - 1], numbers[middle]) }
}
