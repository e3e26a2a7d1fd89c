//! A service's past out of the history: runs of the last two days, five minutes and hours before.

use super::recording::{Column, Recording, Restart, largest};
use connleak::base::error::Result;
use connleak::history::{Condensed, History, Recorded, Tier};
use connleak::kernel::socket::State;
use std::collections::BTreeMap;
use std::time::Duration;

/// Milliseconds by which the clock may differ from the uptime without a word: time is kept so.
const STEP: i64 = 30_000;

/// One row of the history, of whatever tier.
struct Row {
    /// Milliseconds on the history's own clock.
    at: i64,
    counts: [f64; 11],
    limit: Option<u64>,
    boot: String,
    instance: u64,
    owners: Vec<(String, f64)>,
    other: f64,
    leak: bool,
}

/// `None`: nothing is recorded under this name.
pub fn read(history: &History, service: &str, since: Duration) -> Result<Option<Recording>> {
    let runs = history.samples(service, since)?;
    let Some(last) = runs.last() else { return Ok(None) };
    // The history's clock counts on where a wall clock steps: the last run is when the wall says.
    let (end, shift) = (last.at, last.sample.wall.saturating_sub(last.at));
    let begin = end.saturating_sub(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
    let mut first = runs.first().map_or(end, |run| run.at);
    let mut notes = steps(&runs);
    let mut tiers: Vec<Vec<Row>> = vec![runs.into_iter().map(of_run).collect()];
    for (tier, name) in [(Tier::FiveMinutes, "five minutes"), (Tier::Hours, "each hour")] {
        let rows = history.condensed(service, tier, since)?;
        let older = |row: &Condensed| row.at >= begin && row.at.saturating_add(tier.width()) <= first;
        let rows: Vec<Row> = rows.into_iter().filter(older).map(of_condensed).collect();
        if let Some(row) = rows.first() {
            let until = clock(first.saturating_add(shift));
            notes.push(format!("Before {until} the highest of {name} is drawn, and the owners' mean."));
            first = row.at;
            tiers.push(rows);
        }
    }
    let rows: Vec<Row> = tiers.into_iter().rev().flatten().collect();
    let times = rows.iter().map(|row| row.at.saturating_add(shift) as f64 / 1000.0).collect();
    Ok(Some(Recording { notes, times, ..recording(service, &rows) }))
}

fn clock(millis: i64) -> String {
    super::words::instant(millis as f64 / 1000.0)
}

fn recording(service: &str, rows: &[Row]) -> Recording {
    let column = |index: usize| rows.iter().map(|row| row.counts[index]).collect::<Vec<f64>>();
    let states = State::NAMES.iter().enumerate();
    let columns: Vec<Column> =
        states.map(|(index, (_, name))| Column { name: (*name).to_owned(), values: column(index) }).collect();
    let counted = |row: &Row| row.counts[State::Established as usize - 1] + row.counts[State::CloseWait as usize - 1];
    let always = [State::Established.name(), State::CloseWait.name()];
    let is_seen =
        |column: &Column| always.contains(&column.name.as_str()) || column.values.iter().any(|value| *value > 0.0);
    let limits: Vec<f64> = rows.iter().map(|row| row.limit.map_or(f64::NAN, |limit| limit as f64)).collect();
    let limit = limits.iter().any(|limit| limit.is_finite());
    Recording {
        name: service.to_owned(),
        columns: columns.into_iter().filter(is_seen).collect(),
        connections: rows.iter().map(counted).collect(),
        counted: "ESTABLISHED + CLOSE_WAIT".to_owned(),
        limit: limit.then(|| Column { name: "limit".to_owned(), values: limits }),
        owners: owners(rows),
        restarts: restarts(rows),
        spoken: Some(rows.iter().map(|row| row.leak).collect()),
        ..Recording::default()
    }
}

fn of_run(run: Recorded) -> Row {
    let Recorded { at, sample } = run;
    Row {
        at,
        counts: sample.counts.map(|count| count as f64),
        limit: sample.limit,
        boot: sample.boot,
        instance: sample.instance,
        owners: sample.groups.into_iter().map(|group| (group.name, group.count as f64)).collect(),
        other: sample.other as f64,
        leak: sample.leak,
    }
}

fn of_condensed(row: Condensed) -> Row {
    Row {
        at: row.at,
        counts: row.most.map(|count| count as f64),
        limit: row.limit,
        boot: row.boot,
        instance: row.instance,
        owners: row.groups,
        other: row.other,
        leak: row.leaks > 0,
    }
}

fn owners(rows: &[Row]) -> Vec<Column> {
    let mut owners: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (index, row) in rows.iter().enumerate() {
        for (name, count) in &row.owners {
            owners.entry(name).or_insert_with(|| vec![0.0; rows.len()])[index] += count;
        }
    }
    let owners = owners.into_iter().map(|(name, values)| Column { name: name.to_owned(), values });
    let mut owners = largest(owners.collect(), rows.len());
    if rows.iter().any(|row| row.other > 0.0) {
        let others = "all others";
        if owners.last().is_none_or(|column| column.name != others) {
            owners.push(Column { name: others.to_owned(), values: vec![0.0; rows.len()] });
        }
        if let Some(column) = owners.last_mut() {
            column.values.iter_mut().zip(rows).for_each(|(sum, row)| *sum += row.other);
        }
    }
    owners
}

/// A service that isn't listening for a while has no instance: it began anew with its next one.
fn restarts(rows: &[Row]) -> Vec<Restart> {
    let (mut found, mut instance) = (Vec::new(), rows.first().map_or(0, |row| row.instance));
    for (at, pair) in rows.windows(2).enumerate() {
        let [before, row] = pair else { continue };
        let of_machine = row.boot != before.boot && !row.boot.is_empty() && !before.boot.is_empty();
        let of_service = row.instance != instance && row.instance != 0 && instance != 0;
        if of_machine || of_service {
            found.push(Restart { at: at + 1, of_machine });
        }
        if row.instance != 0 {
            instance = row.instance;
        }
    }
    found
}

/// Says where the wall clock stepped.
fn steps(runs: &[Recorded]) -> Vec<String> {
    let ahead = |run: &Recorded| run.sample.wall.saturating_sub(run.at);
    let steps: Vec<i64> = runs
        .windows(2)
        .map(|pair| ahead(&pair[1]).saturating_sub(ahead(&pair[0])))
        .filter(|step| step.saturating_abs() > STEP)
        .collect();
    let Some(largest) = steps.iter().max_by_key(|step| step.saturating_abs()) else { return Vec::new() };
    let by = super::words::span(*largest as f64 / 1000.0);
    let way = if *largest < 0 { "back" } else { "forward" };
    vec![format!(
        "The clock was set {} in this time, once {way} by {by}: samples are drawn by the machine's uptime.",
        if steps.len() == 1 { "once".to_owned() } else { format!("{} times", steps.len()) }
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use connleak::history::Sample;

    const MINUTE: i64 = 60_000;
    const HOUR: u64 = 3600;

    /// A run each five minutes for these hours, with a restart, a wrong clock and a leak on the way.
    fn recorded(hours: u64) -> (tempfile::TempDir, History) {
        let dir = tempfile::tempdir().unwrap();
        let mut history = History::open(dir.path(), Duration::from_secs(60)).unwrap().history;
        let runs = hours * 12;
        for run in 0..runs {
            let stepped = if run == runs - 4 { -86_400_000 } else { 0 };
            let mut sample = Sample {
                wall: 1_700_000_000_000 + run as i64 * 5 * MINUTE + stepped,
                uptime: (run as i64 * 5 * MINUTE).cast_unsigned(),
                boot: "boot".into(),
                instance: if run < runs - 10 { 7 } else { 8 },
                leak: run >= runs - 20 && run < runs - 10,
                limit: Some(500),
                ..Sample::default()
            };
            sample.counts[State::Established as usize - 1] = run;
            history.record("s", &sample, b"", 0).unwrap();
        }
        (dir, history)
    }

    #[test]
    fn tiers_follow_each_other_without_overlap() {
        let (_dir, history) = recorded(60);
        let past = read(&history, "s", Duration::from_secs(55 * HOUR)).unwrap().unwrap();
        assert!(past.times.windows(2).all(|pair| pair[1] > pair[0]));
        let hours = (past.times[past.times.len() - 1] - past.times[0]) / 3600.0;
        assert!((53.0..=55.1).contains(&hours), "{hours}");
        assert!(past.notes.iter().any(|note| note.contains("the highest of five minutes")), "{:?}", past.notes);
        let short = read(&history, "s", Duration::from_secs(HOUR)).unwrap().unwrap();
        assert_eq!((short.times.len(), short.notes.len()), (13, 1), "{:?}", short.notes);
        assert!(read(&history, "unknown", Duration::from_secs(HOUR)).unwrap().is_none());
    }

    #[test]
    fn restarts_alarms_and_a_stepped_clock_are_told() {
        let (_dir, history) = recorded(10);
        let past = read(&history, "s", Duration::from_secs(24 * HOUR)).unwrap().unwrap();
        assert_eq!(past.restarts, [Restart { at: 110, of_machine: false }]);
        let spoken = past.spoken.unwrap();
        assert!(!spoken[99] && spoken[100] && spoken[109] && !spoken[110]);
        assert_eq!(past.times[119], 1_700_000_000.0 + 119.0 * 300.0);
        assert_eq!(past.times[116] - past.times[115], 300.0);
        assert!(past.notes[0].contains("set 2 times") && past.notes[0].contains("by 1d"), "{:?}", past.notes);
        let names: Vec<&str> = past.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["ESTABLISHED", "CLOSE_WAIT"]);
    }
}
