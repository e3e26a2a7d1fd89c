//! What runs remember: samples of each service, and the detector's state between runs.
//!
//! One SQLite file in the state directory, for all services. A run reads the state, decides, and
//! stores its sample and the new state in one transaction: two runs at once take turns, and a kill
//! at any point leaves the one before or the one after. What can't be stored is said, and the run
//! still has its answer.

mod connect;
pub mod first_sights;
pub mod last_look;
mod place;
mod read;
mod sample;
mod schema;
pub mod series;
pub mod state_dir;
mod store;
mod trouble;

pub use place::Aside;
pub use read::Usual;
pub use sample::{Condensed, Group, MOST_GROUPS, Recorded, Row, Sample};
pub use store::Tier;

use crate::base::error::{Error, Result};
use connect::connect;
use place::{DatabaseFile, Place};
use rusqlite::Connection;
use std::path::Path;
use std::time::{Duration, Instant};
use trouble::Trouble;

/// A larger state is a mistake: it is written anew by every run.
const LARGEST_STATE: usize = 1024 * 1024;
/// Each run reads the log anew.
const LARGEST_LOG: i64 = 512 * 1024;
const LONGEST_SERVICE: usize = 256;

#[derive(Debug)]
pub struct History {
    /// Before `place`, whose lock must outlive it.
    db: Connection,
    known: DatabaseFile,
    /// Why nothing can be stored; what is there can be read.
    frozen: Option<String>,
    place: Place,
    until: Instant,
}

pub struct Opened {
    pub history: History,
    /// What stood in its place and could not be used.
    pub aside: Option<Aside>,
}

/// What the run before left.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Previous {
    /// The detector's state and the version it was stored with.
    pub state: Option<(u32, Vec<u8>)>,
    /// Since the service's first.
    pub runs: u64,
}

/// What a run adds.
#[derive(Clone, Debug)]
pub struct Step<T> {
    pub sample: Sample,
    pub state: Vec<u8>,
    pub version: u32,
    /// The run's own result.
    pub value: T,
}

#[derive(Debug)]
pub struct Updated<T> {
    pub value: T,
    /// A history found unusable on the way: the run began without one.
    pub aside: Option<Aside>,
    /// Why the run is not remembered, for its first line.
    pub unsaved: Option<Error>,
}

impl History {
    /// Opens the history of a directory as [`crate::history::state_dir::open`] gives it; makes it where there
    /// is none. `left`: all the time that it may wait for others, now and later.
    ///
    /// # Errors
    /// Where it can't even be read, is of a newer version, or lies where another user could plant it.
    pub fn open(dir: &Path, left: Duration) -> Result<Opened> {
        let until = Instant::now() + left;
        let place = Place::open(dir, until)?;
        let mut aside = None;
        // Others may put it aside at the same time.
        for _ in 0..4 {
            let known = place.prepare()?;
            match connect(&place, until) {
                Ok((db, frozen)) => return Ok(Opened { history: History { db, known, frozen, place, until }, aside }),
                Err(Trouble::Unusable(why)) => aside = place.put_aside(known, &why, until)?.or(aside),
                Err(trouble) => return Err(trouble.explain(&place)),
            }
        }
        Err(Error::content(&place.database(), "the history is replaced again and again; is another program at it?"))
    }

    /// Opens the history to look something up. `None`: there is none, and none is made.
    ///
    /// # Errors
    /// Where it can't be read: what is unusable is left to the run that writes.
    pub fn open_existing(dir: &Path, left: Duration) -> Result<Option<History>> {
        let until = Instant::now() + left;
        let place = Place::open(dir, until)?;
        if !place.has_database()? {
            return Ok(None);
        }
        let known = place.prepare()?;
        let (db, frozen) = connect(&place, until).map_err(|trouble| trouble.explain(&place))?;
        Ok(Some(History { db, known, frozen, place, until }))
    }

    /// Reads what the run before left, lets `step` decide, and stores what it gives, in one
    /// transaction: runs at the same time wait for each other. `step` sees to it that samples are
    /// stored in the order they were taken, and is quick.
    ///
    /// # Errors
    /// Where the history can't even be read, and what `step` returns.
    pub fn update<T>(&mut self, service: &str, step: impl FnOnce(Previous) -> Result<Step<T>>) -> Result<Updated<T>> {
        self.update_after(service, None, step)
    }

    /// [`History::update`] by who has read the state of so many `runs` before: if it still is that one, it isn't read again.
    ///
    /// # Errors
    /// As there.
    pub fn update_after<T>(
        &mut self,
        service: &str,
        runs: Option<u64>,
        step: impl FnOnce(Previous) -> Result<Step<T>>,
    ) -> Result<Updated<T>> {
        let service = &service[..service.floor_char_boundary(LONGEST_SERVICE)];
        let mut aside = None;
        let (previous, mut unsaved) = match self.begin(service, runs) {
            Err(Trouble::Unusable(why)) => {
                aside = self.replace(&why)?;
                self.begin(service, None)
            }
            begun => begun,
        }
        .map_err(|trouble| trouble.explain(&self.place))?;
        let step = step(previous).inspect_err(|_| self.roll_back())?;
        if unsaved.is_none() {
            let stored = match self.store(service, &step) {
                Err(Trouble::Unusable(why)) => self.replace(&why).map_err(Trouble::Refused).and_then(|replaced| {
                    aside = replaced.or(aside.take());
                    self.begin(service, None)?;
                    self.store(service, &step)
                }),
                stored => stored,
            };
            match stored {
                Ok(()) if self.place.log_size() > LARGEST_LOG => self.empty_log(Duration::ZERO),
                Ok(()) => {}
                Err(trouble) => unsaved = Some(self.give_up(trouble)),
            }
        }
        self.roll_back();
        Ok(Updated { value: step.value, aside, unsaved })
    }

    /// What the run before left, as it stands now: another run may be about to change it.
    ///
    /// # Errors
    /// Where it can't be read; [`History::update`] then knows what to do.
    pub fn peek(&self, service: &str) -> Result<Previous> {
        self.read(service, read::previous)
    }

    /// Carries what an earlier version recorded as `old` over to `key`, once. Whether it did.
    pub fn adopt(&mut self, old: &str, key: &str) -> bool {
        let sql = "UPDATE service SET service = ?2 WHERE service = ?1 AND NOT EXISTS (SELECT 1 FROM service WHERE service = ?2)";
        // Where it fails the run begins anew, and says what is wrong with the history.
        let adopted = self.set_patience().and_then(|()| self.db.execute(sql, [old, key]));
        self.frozen.is_none() && adopted.is_ok_and(|rows| rows > 0)
    }

    /// Gives a new measure of all the time that it may wait for others from now on.
    pub fn wait_at_most(&mut self, left: Duration) {
        self.until = Instant::now() + left;
    }

    /// [`History::update`] where the sample doesn't depend on the state before.
    ///
    /// # Errors
    /// Also where it could not be stored.
    pub fn record(&mut self, service: &str, sample: &Sample, state: &[u8], version: u32) -> Result<()> {
        let step = Step { sample: sample.clone(), state: state.to_vec(), version, value: () };
        self.update(service, |_| Ok(step))?.unsaved.map_or(Ok(()), Err)
    }

    /// Single runs of the last `back` (at most 48 hours) before the service's last run, oldest first.
    pub fn samples(&self, service: &str, back: Duration) -> Result<Vec<Recorded>> {
        self.read(service, |db, known| read::samples(db, known, millis(back)))
    }

    /// Five minutes or hours of the last `back` before the service's last run, oldest first.
    pub fn condensed(&self, service: &str, tier: Tier, back: Duration) -> Result<Vec<Condensed>> {
        self.read(service, |db, known| read::condensed(db, known, tier, millis(back)))
    }

    /// The usual `number` at the hour of `wall` (milliseconds since 1970): see [`Usual`]. `None`:
    /// not enough days are known.
    pub fn usual(&self, service: &str, wall: i64, number: impl Fn(&Condensed) -> f64) -> Result<Option<Usual>> {
        self.read(service, |db, known| read::usual(db, known, wall, number))
    }

    /// The services recorded here, by name.
    pub fn services(&self) -> Result<Vec<String>> {
        let read = || -> rusqlite::Result<_> {
            self.set_patience()?;
            let mut query = self.db.prepare("SELECT service FROM service ORDER BY service")?;
            query.query_map([], |row| row.get(0))?.collect()
        };
        read().map_err(|error| Trouble::from(error).explain(&self.place))
    }

    fn read<T: Default>(
        &self,
        service: &str,
        read: impl FnOnce(&Connection, &store::StoredService) -> std::result::Result<T, Trouble>,
    ) -> Result<T> {
        let service = &service[..service.floor_char_boundary(LONGEST_SERVICE)];
        let read = || -> std::result::Result<T, Trouble> {
            self.set_patience()?;
            let known = store::service(&self.db, service)?;
            known.map_or(Ok(T::default()), |known| read(&self.db, &known))
        };
        read().map_err(|trouble| trouble.explain(&self.place))
    }

    /// Takes the turn to write, or where that can't be had says why; reads what the run before left.
    fn begin(&mut self, service: &str, runs: Option<u64>) -> std::result::Result<(Previous, Option<Error>), Trouble> {
        self.set_patience()?;
        let mut unsaved = self.frozen.clone().map(|why| Error::content(&self.place.database(), why));
        if unsaved.is_none() {
            match self.db.execute_batch("BEGIN IMMEDIATE").map_err(Trouble::from) {
                Ok(()) => {}
                Err(Trouble::Sql(error)) => unsaved = Some(Trouble::Sql(error).explain(&self.place)),
                Err(trouble) => return Err(trouble),
            }
        }
        if unsaved.is_some() {
            // Of one moment all the same.
            self.db.execute_batch("BEGIN")?;
        }
        let previous = match store::service(&self.db, service)? {
            None => Previous::default(),
            Some(known) if runs == Some(known.runs.cast_unsigned()) => {
                Previous { state: None, runs: known.runs.cast_unsigned() }
            }
            Some(known) => read::previous(&self.db, &known)?,
        };
        Ok((previous, unsaved))
    }

    fn store<T>(&mut self, service: &str, step: &Step<T>) -> std::result::Result<(), Trouble> {
        if step.state.len() > LARGEST_STATE {
            let why = format!("a state of {} bytes is more than the {LARGEST_STATE} that are kept", step.state.len());
            return Err(Trouble::Refused(Error::content(&self.place.database(), why)));
        }
        self.set_patience()?;
        store::add(&self.db, service, &step.sample, (step.version, &step.state))?;
        Ok(self.db.execute_batch("COMMIT")?)
    }

    /// Where the disk is full the log is emptied, so that the next run has its room.
    fn give_up(&self, trouble: Trouble) -> Error {
        self.roll_back();
        let error = trouble.explain(&self.place);
        self.empty_log(self.until.saturating_duration_since(Instant::now()));
        error
    }

    /// Writes the log into the database. Where others are in the way a later run does it.
    fn empty_log(&self, patience: Duration) {
        // SQLite's own automatism never gets there: what of the log is in the database already is
        // forgotten when the last process ends, and each run is one.
        let _ = self.db.busy_timeout(patience);
        let _ = self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }

    /// What a failed transaction left open, if it did.
    fn roll_back(&self) {
        if !self.db.is_autocommit() {
            let _ = self.db.execute_batch("ROLLBACK");
        }
    }

    /// Puts the unusable history aside and begins a new one.
    fn replace(&mut self, why: &str) -> Result<Option<Aside>> {
        // No file may be open while it is renamed.
        match Connection::open_in_memory() {
            Ok(nothing) => self.db = nothing,
            Err(error) => return Err(Trouble::from(error).explain(&self.place)),
        }
        let aside = self.place.put_aside(self.known, why, self.until)?;
        self.known = self.place.prepare()?;
        let connected = connect(&self.place, self.until);
        (self.db, self.frozen) = connected.map_err(|trouble| trouble.explain(&self.place))?;
        Ok(aside)
    }

    fn set_patience(&self) -> rusqlite::Result<()> {
        self.db.busy_timeout(self.until.saturating_duration_since(Instant::now()))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    const PATIENCE: Duration = Duration::from_secs(9);
    const MINUTE: u64 = 60_000;

    fn open_in(dir: &TempDir) -> History {
        let opened = History::open(dir.path(), PATIENCE).unwrap();
        assert_eq!(opened.aside, None);
        opened.history
    }

    fn sample(uptime: u64) -> Sample {
        Sample { wall: 1_700_000_000_000 + uptime as i64, uptime, boot: "b1".into(), ..Sample::default() }
    }

    fn counted(uptime: u64, established: u64) -> Sample {
        let mut sample = sample(uptime);
        sample.counts[0] = established;
        sample
    }

    fn uptimes(history: &History, service: &str) -> Vec<u64> {
        history.samples(service, PATIENCE * 100_000).unwrap().iter().map(|run| run.sample.uptime).collect()
    }

    #[test]
    fn a_sample_and_the_state_are_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let group = |name: &str, count| Group { name: name.into(), count };
        let full = Sample {
            instance: 77,
            counts: std::array::from_fn(|state| state as u64),
            limit: Some(512),
            sampled: 250_000,
            groups: vec![group("php-fpm.service", 9), group("x.service", 2)],
            other: 3,
            opened: Some(0),
            leak: true,
            ..sample(5)
        };
        open_in(&dir).record("mysql:3306", &full, b"first", 1).unwrap();
        let mut history = open_in(&dir);
        let updated = history.update("mysql:3306", |previous| {
            assert_eq!((previous.state, previous.runs), (Some((1, b"first".to_vec())), 1));
            Ok(Step { sample: sample(6), state: b"second".to_vec(), version: 2, value: 42 })
        });
        let updated = updated.unwrap();
        assert!(updated.value == 42 && updated.unsaved.is_none() && updated.aside.is_none());
        assert_eq!(uptimes(&history, "mysql:3306"), [5, 6]);
        assert_eq!(history.samples("mysql:3306", PATIENCE).unwrap()[0].sample, full);
        assert_eq!(uptimes(&history, "unknown"), [0; 0]);
    }

    #[test]
    fn services_share_a_file_without_harm() {
        let dir = tempfile::tempdir().unwrap();
        let mut history = open_in(&dir);
        history.record("b", &sample(1), b"state b", 1).unwrap();
        history.record("a", &sample(2), b"state a", 1).unwrap();
        assert_eq!(history.services().unwrap(), ["a", "b"]);
        let state = |history: &mut History, service| history.begin(service, None).unwrap().0.state.unwrap().1;
        assert_eq!(state(&mut history, "b"), b"state b");
        history.roll_back();
        assert_eq!(state(&mut history, "a"), b"state a");
    }

    #[test]
    fn a_state_that_was_read_is_read_again_only_after_another_run() {
        let dir = tempfile::tempdir().unwrap();
        let mut history = open_in(&dir);
        let mut given = |runs: Option<u64>| {
            let updated = history.update_after("a", runs, |previous| {
                let state = previous.runs.to_string().into_bytes();
                Ok(Step { sample: sample(previous.runs), state, version: 1, value: (previous.runs, previous.state) })
            });
            updated.unwrap().value
        };
        assert_eq!(given(Some(0)), (0, None), "nothing is known");
        assert_eq!(given(Some(1)), (1, None));
        assert_eq!(given(Some(1)), (2, Some((1, b"1".to_vec()))), "another run was faster");
        assert_eq!(given(None), (3, Some((1, b"2".to_vec()))));
    }

    #[test]
    fn a_step_that_fails_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut history = open_in(&dir);
        history.record("a", &sample(1), b"", 1).unwrap();
        let failed: Result<Updated<()>> = history.update("a", |_| Err(Error::Usage("why".into())));
        assert_eq!(failed.unwrap_err().to_string(), "why");
        history.record("a", &sample(2), b"", 1).unwrap();
        assert_eq!(uptimes(&history, "a"), [1, 2]);
        let large = history.record("a", &sample(3), &vec![0; LARGEST_STATE + 1], 1).unwrap_err();
        assert!(large.to_string().contains("1048577 bytes"), "{large}");
        assert_eq!(uptimes(&history, "a"), [1, 2]);
    }

    #[test]
    fn a_clock_that_steps_moves_no_sample() {
        let dir = tempfile::tempdir().unwrap();
        let mut history = open_in(&dir);
        let far = 20 * 365 * 86_400_000i64;
        for (run, step) in [0, far, -far, 0, i64::MAX / 2, i64::MIN / 2].into_iter().enumerate() {
            let normal = sample(run as u64 * MINUTE);
            let stepped = Sample { wall: normal.wall.saturating_add(step), ..normal };
            history.record("a", &stepped, b"", 1).unwrap();
        }
        assert_eq!(uptimes(&history, "a"), [0, 1, 2, 3, 4, 5].map(|run| run * MINUTE));
        let at: Vec<_> = history.samples("a", PATIENCE * 100).unwrap().iter().map(|run| run.at).collect();
        assert!(at.windows(2).all(|pair| pair[1] - pair[0] == MINUTE as i64), "{at:?}");
        assert_eq!(
            history.condensed("a", Tier::Hours, PATIENCE * 1000).unwrap().iter().map(|row| row.runs).sum::<u64>(),
            6
        );
    }

    #[test]
    fn runs_in_the_same_instant_and_late_ones_keep_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let mut history = open_in(&dir);
        for uptime in [5000, 5000, 5000, 4000, 9000] {
            history.record("a", &sample(uptime), b"", 1).unwrap();
        }
        let at: Vec<_> = history.samples("a", PATIENCE).unwrap().iter().map(|run| run.at - 1_700_000_000_000).collect();
        assert_eq!(at, [5000, 5001, 5002, 5003, 9003]);
    }

    #[test]
    fn a_reboot_is_as_long_as_the_clocks_tell_within_reason() {
        let dir = tempfile::tempdir().unwrap();
        let mut history = open_in(&dir);
        let mut last = 0;
        let mut passed = |boot: &str, uptime: u64, wall: i64| {
            let booted = Sample { boot: boot.into(), uptime, wall, ..Sample::default() };
            history.record("a", &booted, b"", 1).unwrap();
            let at = history.samples("a", Duration::ZERO).unwrap()[0].at;
            std::mem::replace(&mut last, at).abs_diff(at)
        };
        passed("b1", 900_000, 1_000_000_000);
        assert_eq!(passed("b2", 10_000, 1_000_090_000), 90_000, "by the wall clock");
        assert_eq!(passed("b3", 30_000, 500), 30_000, "a clock that forgot: at least the uptime");
        assert_eq!(passed("b4", 30_000, 1 << 60), 7 * 86_400_000, "a clock that leapt");
        assert_eq!(passed("b5", 0, i64::MIN), 1);
    }

    #[test]
    fn many_groups_are_bounded_and_forgotten_names_count_as_other() {
        let dir = tempfile::tempdir().unwrap();
        let mut history = open_in(&dir);
        for run in 0..100u64 {
            let group = |index: u64| Group { name: format!("session-{run}-{index}.scope"), count: index };
            let crowd = Sample { groups: (0..20).map(group).collect(), ..sample(run * MINUTE) };
            history.record("a", &crowd, b"", 1).unwrap();
        }
        let names: i64 = history.db.query_row("SELECT count(*) FROM name", [], |row| row.get(0)).unwrap();
        assert_eq!(names, 512);
        let runs = history.samples("a", PATIENCE * 100_000).unwrap();
        let total = |run: &Recorded| run.sample.groups.iter().map(|group| group.count).sum::<u64>() + run.sample.other;
        assert!(runs.len() == 100 && runs.iter().all(|run| total(run) == 190));
        let (old, new) = (&runs[0].sample, &runs[99].sample);
        assert_eq!((old.groups.len(), new.groups.len(), new.other), (0, 16, 1 + 2 + 3));
        assert_eq!(new.groups[0], Group { name: "session-99-19.scope".into(), count: 19 });
    }

    #[test]
    fn means_and_maxima_of_five_minutes_and_hours() {
        let dir = tempfile::tempdir().unwrap();
        let mut history = open_in(&dir);
        // 1,700,000,000 s is 13 min 20 s after a full hour: the next one begins after 2,800 s.
        let begin = 2_800_000;
        for run in 0..60 {
            history.record("a", &counted(begin + run * MINUTE, run), b"", 1).unwrap();
        }
        let minutes = history.condensed("a", Tier::FiveMinutes, PATIENCE * 1000).unwrap();
        assert_eq!(minutes.len(), 12);
        assert_eq!((minutes[1].runs, minutes[1].mean[0], minutes[1].most[0]), (5, 7.0, 9));
        let hours = history.condensed("a", Tier::Hours, PATIENCE * 1000).unwrap();
        assert_eq!((hours.len(), hours[0].runs, hours[0].mean[0], hours[0].most[0]), (1, 60, 29.5, 59));
        assert_eq!(hours[0].wall, 1_700_000_000_000 + begin as i64);
    }

    #[test]
    fn what_is_usual_at_this_hour() {
        let dir = tempfile::tempdir().unwrap();
        let history = open_in(&dir);
        history.db.execute_batch("BEGIN").unwrap();
        let hour = 60 * MINUTE;
        let established = |row: &Condensed| row.mean[0];
        for run in 0..24 * 30 {
            // The number is the hour of the day, and 100 more on each seventh day; two days are wild.
            let (day, of_day) = (run / 24, run % 24);
            let number = of_day + if day % 7 == 0 { 100 } else { 0 } + if day == 22 || day == 25 { 9000 } else { 0 };
            let step = counted(2_800_000 + run * hour, number);
            store::add(&history.db, "a", &step, (1, b"")).unwrap();
        }
        history.db.execute_batch("COMMIT").unwrap();
        let wall = |day: u64, of_day: u64| 1_700_000_000_000 + (2_800_000 + (day * 24 + of_day) * hour) as i64;
        let usual = |wall| history.usual("a", wall + 1_800_000, established).unwrap().unwrap();
        assert_eq!(usual(wall(30, 9)), Usual { number: 9.0, days: 4, same_weekday: true });
        assert_eq!(usual(wall(35, 9)), Usual { number: 109.0, days: 5, same_weekday: true });
        assert_eq!(usual(wall(32, 3)).number, 3.0, "the wild day is outvoted by three");
        assert_eq!(usual(wall(36, 3)), Usual { number: 3.0, days: 5, same_weekday: true }, "and by four");
        assert_eq!(history.usual("unknown", 0, established).unwrap(), None);
    }

    #[test]
    fn few_days_are_known_by_the_hour_of_the_day_and_fewer_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let mut history = open_in(&dir);
        let hour = 60 * MINUTE;
        let usual = |history: &History, run: u64| {
            history.usual("a", 1_700_000_000_000 + (run * hour) as i64 + 1_800_000, |row| row.mean[0]).unwrap()
        };
        for run in 0..24 * 4 {
            history.record("a", &counted(run * hour, run % 24), b"", 1).unwrap();
            if run == 24 * 2 {
                assert_eq!(usual(&history, run), None, "two days");
            }
        }
        assert_eq!(usual(&history, 24 * 4 + 7), Some(Usual { number: 7.0, days: 4, same_weekday: false }));
        let late = usual(&history, 24 * 4 + 20).unwrap();
        assert_eq!((late.number, late.days), (20.0, 3), "the last twelve hours don't count");
    }

    #[test]
    fn the_log_of_single_runs_is_emptied_now_and_then() {
        let dir = tempfile::tempdir().unwrap();
        let mut largest = 0;
        for run in 0..100 {
            open_in(&dir).record("a", &sample(run), &[7; 30_000], 1).unwrap();
            largest = largest.max(fs::metadata(dir.path().join("history.db-wal")).map_or(0, |log| log.len()));
        }
        assert!((200_000..600_000).contains(&largest), "{largest} bytes");
        assert_eq!(uptimes(&open_in(&dir), "a").len(), 100);
    }

    #[test]
    fn a_lock_is_waited_for_no_longer_than_allowed_and_costs_no_answer() {
        let dir = tempfile::tempdir().unwrap();
        let holder = open_in(&dir);
        holder.db.execute_batch("BEGIN IMMEDIATE").unwrap();
        let began = Instant::now();
        let mut history = History::open(dir.path(), Duration::from_millis(300)).unwrap().history;
        let step = Step { sample: sample(1), state: vec![], version: 1, value: "answer" };
        let updated = history.update("a", |_| Ok(step)).unwrap();
        assert!((300..600).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
        assert_eq!(updated.value, "answer");
        assert!(updated.unsaved.unwrap().to_string().contains("locked by another process"));
    }

    #[test]
    fn planted_files_and_open_directories_are_refused() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let refusal = |dir: &TempDir| History::open(dir.path(), PATIENCE).err().unwrap().to_string();
        let elsewhere = tempfile::tempdir().unwrap();
        let victim = elsewhere.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        for name in ["history.db", "history.db-wal", "history.db-journal"] {
            let dir = tempfile::tempdir().unwrap();
            symlink(&victim, dir.path().join(name)).unwrap();
            assert!(refusal(&dir).contains("not a plain file of our own"));
            fs::remove_file(dir.path().join(name)).unwrap();
            fs::hard_link(&victim, dir.path().join(name)).unwrap();
            assert!(refusal(&dir).contains("not a plain file of our own"));
            fs::remove_file(dir.path().join(name)).unwrap();
            fs::create_dir(dir.path().join(name)).unwrap();
            assert!(refusal(&dir).contains("not a plain file of our own"));
        }
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(refusal(&dir).contains("others may write there"));
    }

    #[test]
    fn the_path_may_hold_anything_and_lead_over_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let odd = dir.path().join("a?mode=memory#%41 é");
        fs::create_dir(&odd).unwrap();
        fs::set_permissions(&odd, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&odd, &link).unwrap();
        History::open(&link, PATIENCE).unwrap().history.record("a", &sample(1), b"", 1).unwrap();
        assert!(fs::metadata(odd.join("history.db")).unwrap().len() > 0);
    }

    /// Runs each `step` milliseconds, with all the groups that are kept.
    fn fill(history: &History, begin: u64, end: u64, step: u64, scale: u64) {
        history.db.execute_batch("BEGIN").unwrap();
        for (run, uptime) in (begin..end).step_by(step as usize).enumerate() {
            if run % 10_000 == 9_999 {
                history.db.execute_batch("COMMIT; PRAGMA wal_checkpoint(TRUNCATE); BEGIN").unwrap();
            }
            // A cheap scatter: numbers must not be small by being alike.
            let scattered = |index: u64| (uptime / step + index).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 55;
            let group = |index: u64| Group {
                name: format!("customer-{}.service", (scattered(index) + 31 * index) % 400),
                count: scale * (scattered(index + 50) + 1),
            };
            let sample = Sample {
                instance: 0x1234_5678_9abc + uptime / 86_400_000,
                counts: std::array::from_fn(|state| scale * scattered(state as u64)),
                limit: Some(1024),
                sampled: 1_000_000,
                groups: (0..16).map(group).collect(),
                other: scale * scattered(99),
                opened: Some(scale * scattered(7)),
                closed: Some(scale * scattered(8)),
                ..sample(uptime)
            };
            store::add(&history.db, "a", &sample, (1, b"")).unwrap();
        }
        // As large as the state of some thousand sockets.
        store::add(&history.db, "a", &sample(end), (1, &vec![7; 100_000])).unwrap();
        history.db.execute_batch("COMMIT").unwrap();
    }

    fn bytes(history: &History) -> i64 {
        let number = |pragma| history.db.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).unwrap();
        number("page_count") * number("page_size")
    }

    const DAY: u64 = 86_400_000;
    const MOST_BYTES: i64 = 5_000_000;

    /// As after a year of minutes: the hours are filled by two runs each with thirty times the
    /// numbers, the five minutes by two runs each, the last days by real minutes.
    #[test]
    fn a_year_stays_below_five_megabytes() {
        let dir = tempfile::tempdir().unwrap();
        let history = open_in(&dir);
        fill(&history, 0, 380 * DAY, 30 * MINUTE, 30);
        fill(&history, 380 * DAY, 409 * DAY, 5 * MINUTE / 2, 2);
        fill(&history, 409 * DAY, 411 * DAY + MINUTE, MINUTE, 1);
        let rows = |tier| history.condensed("a", tier, Duration::from_secs(1 << 32)).unwrap().len();
        assert_eq!([Tier::FiveMinutes, Tier::Hours].map(rows), [30 * 288 + 1, 400 * 24 + 1]);
        assert_eq!(uptimes(&history, "a").len(), 2 * 1440 + 1);
        println!("{} bytes", bytes(&history));
        assert!(bytes(&history) < MOST_BYTES, "{} bytes", bytes(&history));
    }

    #[test]
    fn runs_each_second_are_bounded_too() {
        let dir = tempfile::tempdir().unwrap();
        let history = open_in(&dir);
        fill(&history, 0, 9_000_000, 1000, 1);
        assert_eq!(uptimes(&history, "a").len(), 6000);
    }
}
