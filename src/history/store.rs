//! A run into the tables: the history's own clock, three tiers, names by number, bounds.
//!
//! Every run is added to all three tiers at once, and takes a few rows off the old end of each: its
//! cost is the same on the first day and after a year.

use super::sample::{Group, MOST_GROUPS, Row, Sample};
use super::trouble::Trouble;
use rusqlite::{Connection, OptionalExtension, Statement, params};

pub const HOUR: i64 = 3_600_000;
pub const DAY: i64 = 24 * HOUR;
/// A machine may have been off for so long, by a wall clock that may be wrong.
const LONGEST_OFF: i64 = 7 * DAY;
/// Single runs of a service that is checked more often than each half minute: fewer than 48 hours.
const MOST_RUNS: i64 = 6_000;
/// Names known of one service: sessions and containers come and go under new ones.
const MOST_NAMES: i64 = 512;
const LONGEST_NAME: usize = 128;
const MOST_BOOTS: i64 = 1_000;
/// Rows taken off at once.
const FEW: i64 = 8;

/// How finely the past is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Each run, for 48 hours.
    Runs = 0,
    /// For 30 days.
    FiveMinutes = 1,
    /// For 400 days.
    Hours = 2,
}

impl Tier {
    const ALL: [Tier; 3] = [Tier::Runs, Tier::FiveMinutes, Tier::Hours];

    /// Milliseconds in one slot.
    pub fn width(self) -> i64 {
        [1, 300_000, HOUR][self as usize]
    }

    fn keeps(self) -> i64 {
        [2 * DAY, 30 * DAY, 400 * DAY][self as usize]
    }
}

/// A service as it stands.
#[derive(Clone, Copy, Debug)]
pub struct StoredService {
    pub id: i64,
    /// Its last run on the history's clock.
    pub at: i64,
    /// Since its first.
    pub runs: i64,
    /// Rows of [`Tier::Runs`].
    kept: i64,
}

pub fn service(db: &Connection, service: &str) -> Result<Option<StoredService>, Trouble> {
    let sql = "SELECT id, at, runs, kept FROM service WHERE service = ?";
    let found = db.query_row(sql, [service], |row| {
        Ok(StoredService { id: row.get(0)?, at: row.get(1)?, runs: row.get(2)?, kept: row.get(3)? })
    });
    Ok(found.optional()?)
}

/// Adds a run and its state, and trims; inside a transaction of the caller.
pub fn add(db: &Connection, name: &str, sample: &Sample, state: (u32, &[u8])) -> Result<(), Trouble> {
    let boot = boot(db, &sample.boot)?;
    let at = tick(db, sample, boot)?;
    let known = match service(db, name)? {
        Some(known) => known,
        None => {
            db.execute("INSERT INTO service (service, at, runs, kept) VALUES (?, ?, 0, 0)", params![name, at])?;
            StoredService { id: db.last_insert_rowid(), at, runs: 0, kept: 0 }
        }
    };
    let row = row(db, known.id, sample, boot, at / HOUR)?;
    insert(db, known.id, Tier::Runs, at, sample.wall, &row)?;
    for tier in [Tier::FiveMinutes, Tier::Hours] {
        merge(db, known.id, tier, at / tier.width(), sample.wall, &row)?;
    }
    let kept = known.kept + 1 - trim(db, known.id, known.kept + 1, at)?;
    let sql = "UPDATE service SET at = ?, runs = ?, kept = ? WHERE id = ?";
    db.execute(sql, params![at, known.runs.saturating_add(1), kept, known.id])?;
    let (version, state) = state;
    db.execute(
        "INSERT OR REPLACE INTO state (service, version, state) VALUES (?, ?, ?)",
        params![known.id, version, state],
    )?;
    forget(db, at)?;
    shrink(db)
}

/// Moves the history's clock to the sample and tells it: later than any before, in milliseconds.
///
/// Within a boot it goes by the uptime, which no clock step moves. Over a reboot by the wall clock,
/// but at least by the new uptime, as the run before was before this boot.
fn tick(db: &Connection, sample: &Sample, boot: i64) -> Result<i64, Trouble> {
    let uptime = i64::try_from(sample.uptime).unwrap_or(0);
    let sql = "SELECT at, wall, uptime, boot FROM clock";
    let last = db.query_row(sql, [], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?, row.get::<_, i64>(3)?))
    });
    let (at, uptime) = match last.optional()? {
        // The first run; before 1970 there is no time to begin with.
        None => (sample.wall.clamp(0, 1 << 45), uptime),
        Some((at, _, before, last_boot)) if last_boot == boot => {
            (at.saturating_add(uptime.saturating_sub(before).max(1)), uptime.max(before))
        }
        Some((at, wall, ..)) => {
            let off = sample.wall.saturating_sub(wall).max(uptime).clamp(1, LONGEST_OFF);
            (at.saturating_add(off), uptime)
        }
    };
    let sql = "INSERT OR REPLACE INTO clock (one, at, wall, uptime, boot) VALUES (1, ?, ?, ?, ?)";
    db.execute(sql, params![at, sample.wall, uptime, boot])?;
    Ok(at)
}

fn boot(db: &Connection, boot: &str) -> Result<i64, Trouble> {
    let known = db.query_row("SELECT id FROM boot WHERE boot = ?", [boot], |row| row.get(0)).optional()?;
    if let Some(id) = known {
        return Ok(id);
    }
    db.execute("INSERT INTO boot (boot) VALUES (?)", [boot])?;
    let id = db.last_insert_rowid();
    db.execute("DELETE FROM boot WHERE id <= ?", [id - MOST_BOOTS])?;
    Ok(id)
}

fn row(db: &Connection, service: i64, sample: &Sample, boot: i64, hour: i64) -> Result<Row, Trouble> {
    let mut largest: Vec<&Group> = sample.groups.iter().filter(|group| group.count > 0).collect();
    largest.sort_by_key(|group| std::cmp::Reverse(group.count));
    let mut row = Row {
        runs: 1,
        uptime: sample.uptime,
        boot: boot.cast_unsigned(),
        instance: sample.instance,
        limit: sample.limit,
        sampled: sample.sampled,
        opened: sample.opened,
        closed: sample.closed,
        leaks: u64::from(sample.leak),
        sums: sample.counts,
        most: sample.counts,
        groups: Vec::new(),
        other: sample.other,
    };
    let mut find = db.prepare("SELECT id, hour FROM name WHERE service = ? AND name = ?")?;
    for (index, group) in largest.into_iter().enumerate() {
        // What would be cut below needs no number.
        if index < MOST_GROUPS {
            row.groups.push((name(db, &mut find, service, &group.name, hour)?, group.count));
        } else {
            row.other = row.other.saturating_add(group.count);
        }
    }
    row.bound();
    Ok(row)
}

/// The number of a group's name. Numbers aren't used again: rows of a forgotten name count as other.
fn name(db: &Connection, find: &mut Statement, service: i64, name: &str, hour: i64) -> Result<u64, Trouble> {
    let name = &name[..name.floor_char_boundary(LONGEST_NAME)];
    let known = find.query_row(params![service, name], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)));
    if let Some((id, seen)) = known.optional()? {
        if seen != hour {
            db.execute("UPDATE name SET hour = ? WHERE id = ?", [hour, id])?;
        }
        return Ok(id.cast_unsigned());
    }
    let names: i64 = db.query_row("SELECT count(*) FROM name WHERE service = ?", [service], |row| row.get(0))?;
    if names >= MOST_NAMES {
        let sql = "DELETE FROM name WHERE id = (SELECT id FROM name WHERE service = ? ORDER BY hour, id LIMIT 1)";
        db.execute(sql, [service])?;
    }
    db.execute("INSERT INTO name (service, name, hour) VALUES (?, ?, ?)", params![service, name, hour])?;
    Ok(db.last_insert_rowid().cast_unsigned())
}

fn insert(db: &Connection, service: i64, tier: Tier, slot: i64, wall: i64, row: &Row) -> Result<(), Trouble> {
    let sql = "INSERT OR REPLACE INTO row (service, tier, slot, wall, body) VALUES (?, ?, ?, ?, ?)";
    db.execute(sql, params![service, tier as i64, slot, wall, row.pack()])?;
    Ok(())
}

fn merge(db: &Connection, service: i64, tier: Tier, slot: i64, wall: i64, row: &Row) -> Result<(), Trouble> {
    let sql = "SELECT wall, body FROM row WHERE service = ? AND tier = ? AND slot = ?";
    let before =
        db.query_row(sql, params![service, tier as i64, slot], |row| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?)));
    match before.optional()? {
        None => insert(db, service, tier, slot, wall, row),
        Some((first_wall, body)) => {
            let mut sum = unpack(&body)?;
            sum.add(row);
            insert(db, service, tier, slot, first_wall, &sum)
        }
    }
}

pub fn unpack(body: &[u8]) -> Result<Row, Trouble> {
    Row::unpack(body).ok_or_else(|| Trouble::Unusable("corrupt".to_owned()))
}

/// Takes a few rows off each tier's old end; tells how many runs.
fn trim(db: &Connection, service: i64, kept: i64, at: i64) -> Result<i64, Trouble> {
    let sql = "DELETE FROM row WHERE service = ?1 AND tier = ?2 AND slot IN
        (SELECT slot FROM row WHERE service = ?1 AND tier = ?2 AND slot < ?3 ORDER BY slot LIMIT ?4)";
    let mut runs = 0;
    for tier in Tier::ALL {
        let oldest = (at - tier.keeps()) / tier.width();
        let taken = db.execute(sql, params![service, tier as i64, oldest, FEW])? as i64;
        if tier == Tier::Runs {
            let over = (kept - taken - MOST_RUNS).clamp(0, FEW);
            runs = taken + db.execute(sql, params![service, tier as i64, i64::MAX, over])? as i64;
        }
    }
    Ok(runs)
}

/// Takes some rows off a service that nobody has checked for as long as anything is kept.
fn forget(db: &Connection, at: i64) -> Result<(), Trouble> {
    let sql = "SELECT id FROM service WHERE at < ? ORDER BY at LIMIT 1";
    let gone: Option<i64> = db.query_row(sql, [at - Tier::Hours.keeps()], |row| row.get(0)).optional()?;
    let Some(gone) = gone else { return Ok(()) };
    let sql = "DELETE FROM row WHERE service = ?1 AND (tier, slot) IN
        (SELECT tier, slot FROM row WHERE service = ?1 ORDER BY tier, slot LIMIT ?2)";
    if db.execute(sql, [gone, 8 * FEW])? == 0 {
        for sql in [
            "DELETE FROM name WHERE service = ?",
            "DELETE FROM state WHERE service = ?",
            "DELETE FROM service WHERE id = ?",
        ] {
            db.execute(sql, [gone])?;
        }
    }
    Ok(())
}

/// Gives free pages back to the file system, a few at once; a reserve stays for the next runs.
fn shrink(db: &Connection) -> Result<(), Trouble> {
    let free: i64 = db.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
    if free > 64 {
        db.execute_batch("PRAGMA incremental_vacuum(8)")?;
    }
    Ok(())
}
