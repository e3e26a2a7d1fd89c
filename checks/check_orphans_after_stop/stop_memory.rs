//! What the regular check keeps of a stop until the service runs again: when it was first seen, and what was there then.

use super::drain::Leftovers;
use connleak::base::atomic_file;
use connleak::base::duration::Span;
use connleak::base::error::{Error, Result};
use connleak::base::read_limited;
use connleak::kernel::boot;
use connleak::report::Service;
use connleak::service::baseline::Baseline;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// With more sockets at the stop than that (3 MB on disk), what came later isn't told apart.
const MOST_SOCKETS: usize = 16_384;

/// On disk.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    boot_id: String,
    /// When the stop was first seen, in seconds since the boot.
    uptime: f64,
    /// When something that came after the stop was first seen, likewise. Absent: there is nothing that did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    newcomers: Option<f64>,
}

/// A stop that was seen, by now or before.
pub struct StopMemory {
    path: PathBuf,
    record: Record,
    /// Seconds since the boot.
    now: f64,
}

impl StopMemory {
    /// The stop that is remembered. `None`: the file is not there, of an earlier boot, or not ours.
    pub fn open(path: &Path) -> Result<Option<StopMemory>> {
        let (boot_id, now) = (boot::boot_id()?, boot::uptime());
        let text = match read_limited::read(path, 4096) {
            Err(Error::File { cause, .. }) if cause.kind() == ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let record = serde_json::from_str::<Record>(&text).ok();
        let record = record.filter(|record| record.boot_id == boot_id && record.uptime <= now);
        Ok(record.map(|record| StopMemory { path: path.to_owned(), record, now }))
    }

    /// A stop that is seen now, with what it left. `netns`: [`connleak::kernel::netns::identity`].
    pub fn begin(path: &Path, view: &Leftovers, service: &Service, netns: u64) -> Result<StopMemory> {
        let now = boot::uptime();
        let record = Record { boot_id: boot::boot_id()?, uptime: now, newcomers: None };
        let memory = StopMemory { path: path.to_owned(), record, now };
        let is_whole = view.seen.missing.is_none() && view.unsure == 0;
        if is_whole && view.left.len() + view.ending.len() <= MOST_SOCKETS {
            let mut at_stop = Baseline::default();
            view.left.iter().chain(&view.ending).for_each(|left| at_stop.add(&left.socket));
            at_stop.save(&memory.sockets_path(), service, netns)?;
        } else {
            remove(&memory.sockets_path())?;
        }
        memory.write()?;
        Ok(memory)
    }

    /// The service runs.
    pub fn forget(path: &Path) -> Result<()> {
        remove(path)?;
        remove(&sockets_path(path))
    }

    pub fn seen_for(&self) -> Span {
        self.since(self.record.uptime)
    }

    /// What was there when the stop was first seen. `None`: it isn't known.
    pub fn sockets(&self, service: &Service, netns: u64) -> Option<Baseline> {
        Baseline::load(&self.sockets_path(), service, netns).ok()
    }

    /// For how long there has been something that came after the stop, as far as this was looked at.
    pub fn newcomers_for(&mut self, are_there: bool) -> Result<Span> {
        let known = self.record.newcomers.filter(|&seen| are_there && seen <= self.now);
        let newcomers = known.or(are_there.then_some(self.now));
        if newcomers != self.record.newcomers {
            self.record.newcomers = newcomers;
            self.write()?;
        }
        Ok(newcomers.map_or(Span::seconds(0), |seen| self.since(seen)))
    }

    fn since(&self, uptime: f64) -> Span {
        Span::millis(((self.now - uptime) * 1000.0) as u64)
    }

    fn sockets_path(&self) -> PathBuf {
        sockets_path(&self.path)
    }

    fn write(&self) -> Result<()> {
        let text = serde_json::to_string(&self.record).map_err(|error| Error::content(&self.path, error))?;
        atomic_file::write(&self.path, text.as_bytes(), 0o600)
    }
}

fn sockets_path(path: &Path) -> PathBuf {
    path.with_extension("sockets.json")
}

fn remove(path: &Path) -> Result<()> {
    // Of a read-only file system the kernel says so before it looks whether the file is there (do_unlinkat, fs/namei.c).
    let is_there = || !fs::symlink_metadata(path).is_err_and(|why| why.kind() == ErrorKind::NotFound);
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != ErrorKind::NotFound && is_there() => {
            Err(Error::File { path: path.to_owned(), doing: "remove", cause })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use connleak::kernel::socket::Side;
    use connleak::kernel::source::{Coverage, Origin};

    fn view() -> Leftovers {
        let seen = Coverage::new(Origin::Netlink, String::new());
        let (left, ending, listening, served) = Default::default();
        Leftovers { seen, left, ending, listening, served, reload: None, time_wait: 0, new: 0, unsure: 0 }
    }

    fn service() -> Service {
        Service { profile: "generic".into(), ports: vec![80], side: Side::Server }
    }

    fn seconds(span: Span) -> f64 {
        span.0.as_secs_f64()
    }

    #[test]
    fn remembers_the_first_sight_of_a_stop_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.json");
        StopMemory::forget(&path).unwrap();
        assert!(StopMemory::open(&path).unwrap().is_none());
        assert_eq!(seconds(StopMemory::begin(&path, &view(), &service(), 1).unwrap().seen_for()), 0.0);
        let boot_id = boot::boot_id().unwrap();
        // As an older version wrote it.
        let old = format!("{{\"boot_id\":\"{boot_id}\",\"uptime\":{}}}", boot::uptime() - 40.0);
        fs::write(&path, old).unwrap();
        let memory = StopMemory::open(&path).unwrap().unwrap();
        assert!((40.0..50.0).contains(&seconds(memory.seen_for())));
        assert!(memory.sockets(&service(), 1).is_some() && memory.sockets(&service(), 2).is_none());
        for foreign in ["rubbish", "{\"boot_id\":\"x\",\"uptime\":1.0}", "{\"boot_id\":\"x\"}"] {
            fs::write(&path, foreign).unwrap();
            assert!(StopMemory::open(&path).unwrap().is_none(), "{foreign}");
        }
        StopMemory::forget(&path).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn newcomers_are_new_as_long_as_there_are_any() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.json");
        StopMemory::begin(&path, &view(), &service(), 1).unwrap();
        let look = |are_there: bool, later: f64| {
            let mut memory = StopMemory::open(&path).unwrap().unwrap();
            memory.now += later;
            seconds(memory.newcomers_for(are_there).unwrap()).round()
        };
        assert_eq!([look(false, 10.0), look(true, 20.0), look(true, 50.0)], [0.0, 0.0, 30.0]);
        assert_eq!([look(false, 60.0), look(true, 70.0), look(true, 71.0)], [0.0, 0.0, 1.0]);
    }

    #[test]
    fn an_incomplete_look_at_the_stop_tells_nothing_apart_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.json");
        let unsure = Leftovers { unsure: 1, ..view() };
        let memory = StopMemory::begin(&path, &unsure, &service(), 1).unwrap();
        assert!(memory.sockets(&service(), 1).is_none());
    }
}
