//! Whether a service runs, told from cgroups and `/proc` alone, and since when it was seen stopped.

use connleak::base::atomic_file;
use connleak::base::error::{Error, Result};
use connleak::base::fnv::fnv64;
use connleak::base::read_limited;
use connleak::kernel::boot;
use connleak::kernel::cgroup;
use connleak::kernel::members;
use connleak::kernel::owner;
use connleak::kernel::proc_stat::Stat;
use connleak::kernel::world::World;
use connleak::report::Service;
use rustix::fd::{AsFd, BorrowedFd};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What to watch. All that are given must hold for the service to run.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// systemd unit, or with a slash a cgroup path.
    pub unit: Option<String>,
    /// A process's name (`comm`: its first 15 bytes).
    pub process: Option<String>,
    pub pid_file: Option<PathBuf>,
}

impl Watched {
    pub fn is_nothing(&self) -> bool {
        self.unit.is_none() && self.process.is_none() && self.pid_file.is_none()
    }

    /// A process of the service, as `name[pid]`; `None`: it is stopped.
    ///
    /// # Errors
    /// When that can't be told, and for an empty name, as a script's unset variable leaves it: every
    /// cgroup belongs to it, no process has it.
    pub fn running(&self, world: &World) -> Result<Option<String>> {
        let pid_file = self.pid_file.as_ref().map(|path| path.as_os_str().is_empty());
        let is_empty = |name: &Option<String>| name.as_ref().map(|name| name.trim_matches('/').is_empty());
        let given =
            [("--unit", is_empty(&self.unit)), ("--process", is_empty(&self.process)), ("--pid-file", pid_file)];
        if let Some((option, _)) = given.iter().find(|(_, empty)| *empty == Some(true)) {
            return Err(Error::Usage(format!("{option} has no name: which service is watched? see --help")));
        }
        let pid = match &self.pid_file {
            Some(path) => match read_pid(path)? {
                Some(pid) => Some(pid),
                None => return Ok(None),
            },
            None => None,
        };
        let root = &world.proc_root;
        if world.hides_processes() {
            let why = "hides other users' processes (hidepid): whether the service runs can't be told; run as root";
            return Err(Error::content(root, why));
        }
        let processes = owner::processes(world);
        if processes.is_empty() {
            return Err(Error::content(root, "its processes can't be listed"));
        }
        let chosen = processes.iter().map(|listed| listed.pid).filter(|listed| pid.is_none_or(|pid| pid == *listed));
        let found = chosen.filter_map(|pid| Some((pid, owner::open_process(world, pid).ok()?)));
        Ok(found.into_iter().find_map(|(pid, dir)| self.names(pid, dir.as_fd())))
    }

    /// The name of the file that remembers the stop: one for each service and way to watch it.
    pub fn memory_name(&self, service: &Service, scope: &str) -> String {
        let name = self.key(service, scope);
        let plain: String =
            name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect();
        // FNV-1a tells apart what looks alike in plain letters or is cut.
        let hash = fnv64(name.as_bytes());
        format!("orphans-{}-{hash:016x}.json", &plain[..plain.len().min(100)])
    }

    /// In words: what is written to disk must not change with a field's name.
    fn key(&self, service: &Service, scope: &str) -> String {
        let mut key = format!("{} ports {} side {}", service.profile, service.ports_text(), service.side.name());
        let file = self.pid_file.as_ref().map(|path| path.display().to_string());
        for (option, value) in [("unit", &self.unit), ("process", &self.process), ("pid-file", &file)] {
            if let Some(value) = value {
                key.push_str(&format!(" {option} {value}"));
            }
        }
        format!("{key} {scope}")
    }

    fn names(&self, pid: u32, dir: BorrowedFd<'_>) -> Option<String> {
        let line = owner::stat(dir)?;
        let stat = Stat::parse(&line)?;
        if stat.has_ended() || self.process.as_ref().is_some_and(|name| stat.comm != comm(name)) {
            return None;
        }
        if let Some(unit) = &self.unit {
            let path = owner::open(dir, "cgroup").ok().and_then(|file| cgroup::cgroup_path(File::from(file)))?;
            members::belongs(&path, unit).then_some(())?;
        }
        Some(format!("{}[{pid}]", String::from_utf8_lossy(stat.comm)))
    }
}

/// The kernel keeps 15 bytes of a name.
fn comm(name: &str) -> &[u8] {
    &name.as_bytes()[..name.len().min(15)]
}

/// `None`: no file, so no service.
fn read_pid(path: &Path) -> Result<Option<u32>> {
    let text = match read_limited::read(path, 4096) {
        Err(Error::File { cause, .. }) if cause.kind() == ErrorKind::NotFound => return Ok(None),
        text => text?,
    };
    match text.trim().parse() {
        Ok(pid @ 1..) => Ok(Some(pid)),
        _ => Err(Error::content(path, format!("'{}' is not a process id", text.trim()))),
    }
}

/// When a stop was first seen.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StopRecord {
    boot_id: String,
    /// Seconds since the boot.
    uptime: f64,
}

/// Forgets a stop: the service runs.
pub fn started(memory: &Path) -> Result<()> {
    match fs::remove_file(memory) {
        Err(cause) if cause.kind() != ErrorKind::NotFound => {
            Err(Error::File { path: memory.to_owned(), doing: "remove", cause })
        }
        _ => Ok(()),
    }
}

/// Seconds since the stop was first seen: 0 when that is now. A stop of an earlier boot, or a file
/// that is not ours, is begun anew.
pub fn stopped_for(memory: &Path) -> Result<f64> {
    let (boot_id, uptime) = (boot::boot_id()?, boot::uptime());
    let known = match read_limited::read(memory, 4096) {
        Ok(text) => serde_json::from_str::<StopRecord>(&text).ok(),
        Err(Error::File { cause, .. }) if cause.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    match known {
        Some(seen) if seen.boot_id == boot_id && seen.uptime <= uptime => Ok(uptime - seen.uptime),
        _ => {
            let seen = serde_json::to_string(&StopRecord { boot_id, uptime })
                .map_err(|error| Error::content(memory, error))?;
            atomic_file::write(memory, &seen, 0o600)?;
            Ok(0.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use connleak::kernel::socket::Side;

    #[test]
    fn remembers_the_first_sight_of_a_stop_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let memory = dir.path().join("m.json");
        started(&memory).unwrap();
        assert_eq!(stopped_for(&memory).unwrap(), 0.0);
        let old = StopRecord { boot_id: boot::boot_id().unwrap(), uptime: boot::uptime() - 40.0 };
        fs::write(&memory, serde_json::to_string(&old).unwrap()).unwrap();
        assert!((40.0..50.0).contains(&stopped_for(&memory).unwrap()));
        for foreign in ["rubbish", "{\"boot_id\":\"x\",\"uptime\":1.0}", "{\"boot_id\":\"x\"}"] {
            fs::write(&memory, foreign).unwrap();
            assert_eq!(stopped_for(&memory).unwrap(), 0.0, "{foreign}");
        }
        started(&memory).unwrap();
        assert!(!memory.exists());
    }

    /// What is on disk goes by these words.
    #[test]
    fn the_words_of_a_memory_are_pinned() {
        let service = Service { profile: "mysql".into(), ports: vec![3306, 3307], side: Side::Server };
        let watched = |unit, process, file: Option<&str>| Watched { unit, process, pid_file: file.map(PathBuf::from) };
        let key = |watched: Watched| watched.key(&service, "host a netns home");
        let here = "mysql ports 3306,3307 side server";
        assert_eq!(
            key(watched(Some("m.service".into()), None, None)),
            format!("{here} unit m.service host a netns home")
        );
        assert_eq!(
            key(watched(None, Some("mysqld".into()), Some("/run/m.pid"))),
            format!("{here} process mysqld pid-file /run/m.pid host a netns home")
        );
        let name = watched(None, Some("mysqld".into()), None).memory_name(&service, "host a netns home");
        assert_eq!(
            name,
            "orphans-mysql_ports_3306_3307_side_server_process_mysqld_host_a_netns_home-5cfe96627b8e3359.json"
        );
    }

    #[test]
    fn a_pid_file_holds_a_pid() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.pid");
        assert_eq!(read_pid(&path).unwrap(), None);
        fs::write(&path, " 17\n").unwrap();
        assert_eq!(read_pid(&path).unwrap(), Some(17));
        for bad in ["", "x", "-5", "0", "99999999999"] {
            fs::write(&path, bad).unwrap();
            assert!(read_pid(&path).unwrap_err().to_string().contains("not a process id"), "{bad}");
        }
    }
}
