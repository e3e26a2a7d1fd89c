//! What check_conn_growth has recorded, and so is watched.

use super::listening::Listening;
use crate::everyone;
use connleak::history::{History, series, state_dir};
use connleak::kernel::scope;
use connleak::kernel::world::World;
use rustix::process::geteuid;
use std::path::Path;
use std::time::Duration;

/// Another run may be writing.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub struct Recorded {
    series: Vec<Series>,
    /// Why there may be more; then nothing is known to be unwatched.
    pub unread: Option<String>,
}

/// What the history keeps under one key: `mysql:3306 both unix`.
#[derive(Debug, PartialEq)]
struct Series {
    /// `mysql:3306`, `4711`, `/run/x.sock`, `/run/x.sock,4711`; `all ports` where a unit's or user's are followed.
    what: String,
    /// Whether its profile's UNIX sockets are looked at as well.
    has_unix: bool,
    unit: Option<String>,
    /// Seconds since 1970.
    last: f64,
}

/// Whether a listener is watched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Watched {
    /// Recorded last then, in seconds since 1970.
    At(f64),
    No,
    /// A history can't be read.
    Unknown,
}

impl Recorded {
    /// As root everyone's, else one's own. A recording is of another host.
    pub fn read(chosen: Option<&Path>, world: &World) -> Recorded {
        if world.replay.is_some() {
            return Recorded {
                unread: Some("a recording: what is watched there isn't known".to_owned()),
                ..Self::default()
            };
        }
        let mut all = Recorded::default();
        let scope = match scope::key(world) {
            Ok(scope) => scope,
            Err(why) => return Recorded { unread: Some(format!("what is watched is unknown: {why}")), ..all },
        };
        let places = everyone::places(chosen).unwrap_or_else(|why| {
            all.unread = Some(why);
            Vec::new()
        });
        for (uid, dir) in places {
            match everyone::as_user(uid, || series_in(&dir, &scope)) {
                Ok(series) => all.series.extend(series),
                Err(why) => drop(all.unread.get_or_insert(why)),
            }
        }
        let others = state_dir::of_everyone(chosen).unwrap_or_default();
        let others = others.iter().filter(|(uid, _)| *uid != geteuid().as_raw()).count();
        if !geteuid().is_root() && others > 0 {
            let more = format!("what {others} other users' checks have recorded can't be read; run as root to see all");
            all.unread.get_or_insert(more);
        }
        all
    }

    pub fn of(&self, one: &Listening) -> Watched {
        let last = self.series.iter().filter(|series| series.is_of(one)).map(|series| series.last).reduce(f64::max);
        let unknown = if self.unread.is_some() { Watched::Unknown } else { Watched::No };
        last.map_or(unknown, Watched::At)
    }
}

fn series_in(dir: &Path, scope: &str) -> Result<Vec<Series>, String> {
    let read = || {
        let Some(history) = History::open_existing(dir, PATIENCE)? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for key in history.services()? {
            if let Some(series) = Series::parse(&key, scope) {
                let last = history.samples(&key, Duration::ZERO)?.last().map(|run| run.sample.wall as f64 / 1000.0);
                found.extend(last.map(|last| Series { last, ..series }));
            }
        }
        Ok(found)
    };
    read().map_err(|why: connleak::base::error::Error| format!("what is watched is partly unknown: {why}"))
}

impl Series {
    /// `None`: of another host or namespace, of clients, of a rehearsal, or no connections.
    fn parse(key: &str, scope: &str) -> Option<Series> {
        let name = series::name(key);
        let of = key.strip_prefix(name)?.trim_start_matches(" on ");
        let host = |scope: &str| scope.split(" netns ").next().map(str::to_owned);
        let is_here = of == scope || (of.ends_with(" netns all") && host(of) == host(scope));
        if !is_here || name.contains(" rehearsal ") || name.contains(" metric ") {
            return None;
        }
        let unit = name.split_once(" unit ").map(|(_, unit)| unit.split(' ').next().unwrap_or(unit).to_owned());
        if name.starts_with("all ports") {
            return Some(Series { what: "all ports".to_owned(), has_unix: false, unit, last: 0.0 });
        }
        let what = name.strip_prefix("port ").unwrap_or(name).replacen(" and port ", ",", 1);
        let mut words = what.split(' ');
        let (what, side) = (words.next()?.to_owned(), words.next()?);
        let has_unix = words.next() == Some("unix");
        (side != "client").then_some(Series { what, has_unix, unit, last: 0.0 })
    }

    fn is_of(&self, one: &Listening) -> bool {
        if self.unit.as_deref().is_some_and(|unit| one.unit().is_some_and(|own| own != unit)) {
            return false;
        }
        if self.what == "all ports" {
            return self.unit.is_some() && self.unit.as_deref() == one.unit();
        }
        let places = self.what.split_once(':').map_or(self.what.as_str(), |(_, places)| places);
        let profile = self.what.split_once(':').map_or("", |(profile, _)| profile);
        let is_at = |place: &str| places.split(',').any(|known| known == place);
        let ports: Option<Vec<u16>> = places.split(',').map(|port| port.parse().ok()).collect();
        match (one.port(), one.path(), ports) {
            (Some(port), ..) => is_at(&port.to_string()),
            // By its profile's name a check looks at the profile's ports and paths together.
            (_, Some(_), Some(ports)) if self.has_unix => {
                one.fit.as_ref().is_some_and(|fit| fit.is_at_home() && fit.profile == profile && fit.ports == ports)
            }
            (_, Some(path), None) => is_at(path),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fit::{By, Fit};
    use super::super::listening::Place;
    use super::*;

    const HERE: &str = "host 0123456789ab netns home";

    fn parse(name: &str) -> Option<String> {
        Series::parse(&series::key(name, HERE), HERE).map(|series| series.what)
    }

    #[test]
    fn a_key_names_what_is_watched() {
        assert_eq!(parse("mysql:3306 both").as_deref(), Some("mysql:3306"));
        assert_eq!(parse("mysql:3306 both unix user 3").as_deref(), Some("mysql:3306"));
        assert_eq!(parse("port 4711 server peer 10.0.0.0/8").as_deref(), Some("4711"));
        assert_eq!(parse("all ports unit x.service").as_deref(), Some("all ports"));
        assert_eq!(parse("/run/x and port 80,81 both user 3").as_deref(), Some("/run/x,80,81"));
        for other in [
            "mysql:3306 client",
            "mysql:/run/x and port 80 client",
            "mysql:3306 both metric fds",
            "mysql:3306 both rehearsal 60",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
        let there = |scope| Series::parse(&series::key("mysql:3306 both", scope), HERE).is_some();
        assert!(there("host 0123456789ab netns all"));
        assert!(
            !there("host 0123456789ab netns 4026531840") && !there("host f netns home") && !there("host f netns all")
        );
    }

    #[test]
    fn a_listener_is_found_among_them() {
        let series = |name: &str| Series::parse(&series::key(name, HERE), HERE).unwrap();
        let fit = |by| Some(Fit { profile: "mysql".to_owned(), by, ports: vec![3306], is_named: true });
        let one = |place, by| Listening { place, netns: 0, is_mptcp: false, process: None, user: None, fit: fit(by) };
        let tcp = |port, by| one(Place::Tcp(port, vec![]), by);
        let unix = |path: &str, by| one(Place::Unix(path.to_owned()), by);
        assert!(series("mysql:3306 both").is_of(&tcp(3306, By::Port)));
        assert!(!series("mysql:3306 both").is_of(&tcp(3307, By::Program)));
        assert!(series("mysql:3306,3307 both").is_of(&tcp(3307, By::Program)));
        assert!(series("port 3307 both").is_of(&tcp(3307, By::Program)));
        assert!(series("mysql:3306 both unix").is_of(&unix("/run/mysqld/mysqld.sock", By::Path)));
        assert!(!series("mysql:3306 both").is_of(&unix("/run/mysqld/mysqld.sock", By::Path)), "by -p alone");
        assert!(!series("mysql:3307 both unix").is_of(&unix("/run/mysqld/mysqld.sock", By::Path)));
        assert!(!series("mysql:3306 both unix").is_of(&unix("/srv/mysqlx.sock", By::Program)));
        assert!(series("mysql:/srv/x.sock,/srv/y.sock both").is_of(&unix("/srv/y.sock", By::Program)));
        assert!(series("/srv/y.sock both").is_of(&unix("/srv/y.sock", By::Program)));
        let both = series("mysql:/srv/y.sock and port 3307 both");
        assert!(both.is_of(&unix("/srv/y.sock", By::Program)) && both.is_of(&tcp(3307, By::Program)));
        assert!(!both.is_of(&unix("/run/mysqld/mysqld.sock", By::Path)) && !both.is_of(&tcp(3306, By::Port)));
        assert!(!series("all ports unit x.service").is_of(&tcp(3306, By::Port)), "its unit isn't known");
    }
}
