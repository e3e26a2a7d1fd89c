//! Since when UNIX sockets have been without their peer, as the kernel tells no ages of them: each run remembers
//! by cookie when it first saw one so. And clients' ends, which nothing ties to their service once that has closed.

mod recall;

use crate::base::atomic_file;
use crate::base::duration::Span;
use crate::base::error::{Error, Result};
use crate::base::fnv::fnv64;
use crate::base::read_limited;
use crate::history::state_dir;
use crate::kernel::boot;
use crate::kernel::socket::{Age, Side, Socket, State, UnixName};
use crate::kernel::source::exact::Asker;
use crate::kernel::source::unix::File;
use crate::kernel::unix_known::{Known, KnownListener, NumberMap, NumberSet};
use crate::kernel::world::World;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io::ErrorKind;
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

const LARGEST_FILE: u64 = 8 * 1024 * 1024;
/// Sockets and names of servers, all together.
const MOST_SOCKETS: u64 = 100_000;
/// More than any line has.
const LINE: u64 = 1024;
/// For each the kernel walks all of its table: where so many have closed some of them tell of all.
const MOST_ASKED: usize = 256;
const HEADER: &str = "connleak UNIX sockets 3";
/// As wide as any number, so that it can be written in its place.
const WIDTH: usize = 20;

/// Milliseconds since the boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sight {
    first: u64,
    /// The look before, which didn't show it so; 0: there was none.
    before: u64,
    inode: u32,
}

/// What earlier runs saw, and what this one adds.
#[derive(Debug, Default)]
pub struct FirstSights {
    /// What is remembered, in words. Empty: nothing is remembered.
    key: String,
    chosen: Option<PathBuf>,
    /// Whether there is a file, or something to make one for.
    is_used: bool,
    /// Milliseconds: so long it must have been seen whose first sight was the first look, before its age is told.
    min_age: u64,
    /// Why it can't be read.
    unkept: Option<String>,
    /// Whether it was wanted.
    is_missed: bool,
    /// What was read, open still: another run may have put another in its place since.
    file: Option<fs::File>,
    boot_id: String,
    now: u64,
    /// The last look of which all is known; 0: there was none since the boot.
    looked: u64,
    known: BTreeMap<NonZeroU64, Sight>,
    /// Beside them.
    pub sockets: Known,
    stuck: BTreeMap<NonZeroU64, Sight>,
    /// Those of `known` that this look shows, and that the one before it in this run did.
    seen: Option<NumberSet<NonZeroU64>>,
    before: Option<NumberSet<NonZeroU64>>,
    connected: NumberMap<NonZeroU64, UnixName>,
}

impl FirstSights {
    /// The first sights of what `key` names in words. What can't be read is begun anew: it is no reason to say nothing. `has_any`:
    /// whether there may be something to remember; else no directory is made.
    pub fn open(chosen: Option<&Path>, key: String, has_any: bool) -> FirstSights {
        let known = state_dir::existing(chosen).and_then(|dir| FirstSights::read(dir.as_deref(), &key));
        let chosen = chosen.map(Path::to_owned);
        match known {
            Ok(sights) => FirstSights { is_used: sights.is_used || has_any, chosen, key, ..sights },
            Err(why) => FirstSights { unkept: Some(why.to_string()), ..FirstSights::default() },
        }
    }

    /// With ages only where they tell whether a socket has been so for `min_age`, whatever was before the first look.
    pub fn telling(self, min_age: Span) -> FirstSights {
        FirstSights { min_age: min_age.as_millis(), ..self }
    }

    fn name(key: &str) -> String {
        format!("unix-{:016x}.txt", fnv64(key.as_bytes()))
    }

    fn read(dir: Option<&Path>, key: &str) -> Result<FirstSights> {
        let now = (boot::uptime() * 1000.0) as u64;
        let mut sights = FirstSights { boot_id: boot::boot_id()?, now, ..FirstSights::default() };
        let Some(dir) = dir else { return Ok(sights) };
        let path = dir.join(FirstSights::name(key));
        let file = match fs::File::open(&path) {
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(sights),
            file => file.map_err(|cause| Error::reading(&path, cause))?,
        };
        let text = read_limited::read_open(&file, &path, LARGEST_FILE);
        sights.is_used = text.is_ok();
        let text = match text {
            // What is no text, or too long, is not ours.
            Err(Error::Content { .. }) => return Ok(sights),
            text => text?,
        };
        Ok(sights.with(&text, key).map_or(sights, |known| FirstSights { is_used: true, file: Some(file), ..known }))
    }

    /// `None`: of another boot, or not ours.
    fn with(&self, text: &str, key: &str) -> Option<FirstSights> {
        let mut lines = text.strip_suffix("end\n")?.lines();
        if lines.next()? != HEADER || lines.next()? != key || lines.next()? != self.boot_id {
            return None;
        }
        let looked = lines.next()?.trim_start().parse().ok().filter(|looked| *looked <= self.now)?;
        let (boot_id, now) = (self.boot_id.clone(), self.now);
        let mut sights = FirstSights { boot_id, now, looked, ..FirstSights::default() };
        sights.sockets.has_looked = looked != 0;
        let (mut server, mut is_partial) = (None, false);
        for line in lines {
            let cookie = |text: &str| u64::from_str_radix(text, 16).ok().and_then(NonZeroU64::new);
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match (word, server) {
                ("busy", _) => sights.sockets.is_busy = true,
                ("partial", _) => is_partial = true,
                ("to", _) => server = Some(UnixName::new(rest)),
                ("heard", _) => drop(sights.sockets.heard.insert(UnixName::new(rest))),
                ("stray", _) => drop(sights.sockets.strays.insert(cookie(rest)?)),
                ("listener", _) => sights.sockets.listeners.push(listener(rest, cookie)?),
                (client, Some(name)) => drop(sights.sockets.clients.insert(cookie(client)?, name)),
                (stuck, None) => {
                    let mut numbers = rest.split(' ').map(|number| number.parse::<u64>().ok());
                    let [first, before, inode] = [numbers.next()??, numbers.next()??, numbers.next()??];
                    let sight = Sight { first, before, inode: u32::try_from(inode).ok()? };
                    (sight.before <= sight.first && sight.first <= now).then_some(())?;
                    sights.known.insert(cookie(stuck)?, sight);
                }
            }
        }
        if is_partial {
            // What it left out is not to be taken for new: as if this were the first look.
            (sights.looked, sights.sockets.has_looked) = (0, false);
        }
        Some(sights)
    }

    /// As [`FirstSights::with`] reads it, and how many sockets were too many for it. Without `looked` what doesn't change is
    /// the same text.
    fn text(&self, known: &Known, looked: u64) -> (String, u64) {
        let mut text = format!("{HEADER}\n{}\n{}\n{looked:>WIDTH$}\n", self.key, self.boot_id);
        let (mut kept, mut left) = (0, 0);
        let mut add = |line: std::fmt::Arguments| {
            if kept == MOST_SOCKETS || text.len() as u64 > LARGEST_FILE - 2 * LINE {
                left += 1;
            } else {
                kept += 1;
                text.write_fmt(line).unwrap_or_default();
            }
        };
        if known.is_busy {
            add(format_args!("busy\n"));
        }
        for KnownListener { cookie, file, name } in &known.listeners {
            add(format_args!("listener {cookie:x} {} {} {name}\n", file.device, file.inode));
        }
        for name in &known.heard {
            add(format_args!("heard {}\n", name.text().replace('\n', " ")));
        }
        for cookie in &known.strays {
            add(format_args!("stray {cookie:x}\n"));
        }
        for (cookie, Sight { first, before, inode }) in &self.stuck {
            add(format_args!("{cookie:x} {first} {before} {inode}\n"));
        }
        let mut servers: Vec<UnixName> = self.connected.values().copied().collect();
        servers.sort_unstable();
        servers.dedup();
        for server in servers {
            add(format_args!("to {}\n", server.text().replace('\n', " ")));
            let clients = self.connected.iter().filter(|(_, name)| **name == server);
            clients.for_each(|(cookie, _)| add(format_args!("{cookie:x}\n")));
        }
        if left > 0 {
            text.push_str("partial\n");
        }
        (text + "end\n", left)
    }

    /// The socket with its age, where it is a UNIX socket without its peer and an earlier look tells it.
    pub fn see<'a>(&mut self, socket: &'a Socket, side: Side) -> Cow<'a, Socket> {
        let Some(cookie) = socket.cookie.filter(|_| socket.is_unix()) else { return Cow::Borrowed(socket) };
        self.is_used = true;
        if !self.remembers() {
            self.is_missed |= socket.state == State::CloseWait;
            return Cow::Borrowed(socket);
        }
        if side == Side::Client
            && let Some(name) = socket.remote.unix().and_then(|end| end.name)
        {
            self.connected.insert(cookie, name);
        }
        if socket.state != State::CloseWait {
            return Cow::Borrowed(socket);
        }
        let new = || Sight { first: self.now, before: self.looked, inode: u32::try_from(socket.inode).unwrap_or(0) };
        let sight = self.known.get(&cookie).copied().unwrap_or_else(new);
        self.stuck.insert(cookie, sight);
        if self.known.contains_key(&cookie) {
            self.seen.get_or_insert_default().insert(cookie);
        }
        let since = |then: u64| u32::try_from(self.now.saturating_sub(then)).unwrap_or(u32::MAX);
        let age = Age { at_least: since(sight.first), at_most: since(sight.before) };
        // Found by the first look: it may have been so for long, and isn't young for having been seen for a moment.
        let is_told = |millis: u32| millis > 0 && u64::from(millis) >= self.min_age;
        if sight.before == 0 && !is_told(age.at_least) && is_told(age.at_most) {
            return Cow::Borrowed(socket);
        }
        Cow::Owned(socket.first_seen(age))
    }

    /// Whether the next run will know what this one sees.
    pub fn remembers(&self) -> bool {
        !self.key.is_empty()
    }

    /// Before each look at the sockets, of which a run may make several.
    pub fn begin_look(&mut self) {
        self.before = self.seen.replace(NumberSet::default());
    }

    /// Whether all that were stuck at two looks at least are seen again, by one of this run's. Those that aren't have
    /// closed, or the dump has lost them, as it does while others come and go: the kernel is asked for each alone. Where it
    /// can't be, two looks that lack the same agree on that.
    pub fn is_settled(&self, world: &World) -> bool {
        let unseen =
            |(cookie, sight): &(&NonZeroU64, &Sight)| sight.first != self.looked && !self.stuck.contains_key(cookie);
        let unseen: Vec<_> = self.known.iter().filter(unseen).collect();
        if unseen.is_empty() {
            return true;
        }
        match Asker::here(world) {
            // An answer that is neither is no proof that it has gone.
            Some(asker) => unseen
                .iter()
                .step_by(unseen.len().div_ceil(MOST_ASKED))
                .all(|(cookie, sight)| asker.has_unix(sight.inode, **cookie) == Ok(false)),
            None => self.seen.is_some() && self.seen == self.before,
        }
    }

    /// Inodes of those that earlier looks showed and none of this run's.
    pub fn vanished(&self) -> Vec<u64> {
        let gone = self.known.iter().filter(|(cookie, _)| !self.stuck.contains_key(cookie));
        gone.map(|(_, sight)| u64::from(sight.inode)).collect()
    }

    /// Remembers this look, and what it tells of `known`. `is_whole`: whether it saw all sockets; else what it didn't see stays
    /// known. Returns why the next run won't know of it, where that is to be said.
    pub fn keep(mut self, known: &Known, is_whole: bool) -> Option<String> {
        if !self.remembers() || !self.is_used {
            return self.unkept.filter(|_| self.is_missed).map(FirstSights::describe);
        }
        let (looked, known) = if is_whole { (self.now, known) } else { (self.looked, &self.sockets) };
        if !is_whole {
            for (cookie, sight) in &self.known {
                self.stuck.entry(*cookie).or_insert(*sight);
            }
            for (cookie, name) in &self.sockets.clients {
                self.connected.entry(*cookie).or_insert(*name);
            }
        }
        let written = state_dir::open(self.chosen.as_deref()).and_then(|dir| {
            let file = dir.join(FirstSights::name(&self.key));
            if is_whole && self.is_unchanged(known) && self.date(&file).is_ok() {
                return Ok(0);
            }
            let (text, left) = self.text(known, looked);
            atomic_file::write(&file, text.as_bytes(), 0o600).map(|()| left)
        });
        match written {
            Ok(0) => None,
            Ok(left) => Some(FirstSights::describe(format!("{left} UNIX sockets more than fit the file"))),
            // Where nothing is stuck nobody misses it.
            Err(why) => Some(FirstSights::describe(why.to_string())).filter(|_| !self.stuck.is_empty()),
        }
    }

    /// Whether the file tells all of this look but its time.
    fn is_unchanged(&self, known: &Known) -> bool {
        let Known { clients, listeners, heard, strays, has_looked, is_busy, .. } = &self.sockets;
        *has_looked
            && self.stuck == self.known
            && self.connected == *clients
            && (listeners, heard) == (&known.listeners, &known.heard)
            && (strays, is_busy) == (&known.strays, &known.is_busy)
    }

    /// Writes the time of this look in the place of the last one's: to make the file anew costs the disk, too. Where another
    /// run's file stands there by now, that one's tells more: it is left as it is.
    fn date(&self, path: &Path) -> std::io::Result<()> {
        let before = HEADER.len() + self.key.len() + self.boot_id.len() + 3;
        let file = fs::OpenOptions::new().write(true).open(path)?;
        let identity = |file: &fs::File| file.metadata().map(|meta| (meta.dev(), meta.ino()));
        let read = self.file.as_ref().map(identity).transpose()?;
        if read.is_some_and(|read| identity(&file).is_ok_and(|now| now != read)) {
            return Ok(());
        }
        file.write_all_at(format!("{:>WIDTH$}", self.now).as_bytes(), before as u64)
    }

    fn describe(why: String) -> String {
        format!("since when is not remembered: {why}")
    }
}

/// `COOKIE DEVICE INODE NAME`.
fn listener(line: &str, cookie: impl Fn(&str) -> Option<NonZeroU64>) -> Option<KnownListener> {
    let mut fields = line.splitn(4, ' ');
    let (cookie, device, inode) = (cookie(fields.next()?)?, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(KnownListener { cookie, file: File { device, inode }, name: fields.next()?.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::deadline::Deadline;
    use crate::kernel::socket::{Protocol, UnixEnd};
    use crate::kernel::world::Source;
    use std::os::unix::fs::MetadataExt;
    use std::time::Duration;

    fn socket(cookie: u64, state: State, side: Side) -> Socket {
        let end = |name: Option<&str>| UnixEnd { name: name.map(UnixName::new), inode: 7 }.endpoint();
        let (local, remote) = match side {
            Side::Client => (end(None), end(Some("/run/x"))),
            _ => (end(Some("/run/x")), end(None)),
        };
        let cookie = NonZeroU64::new(cookie);
        Socket { protocol: Protocol::Unix, inode: 7, cookie, ..Socket::bare(state, local, remote) }
    }

    fn age(sights: &mut FirstSights, cookie: u64) -> Option<Age> {
        sights.see(&socket(cookie, State::CloseWait, Side::Server), Side::Server).close_wait_age()
    }

    /// What a look leaves that showed no listener.
    fn kept(sights: FirstSights, is_whole: bool) -> Option<String> {
        let known = Known { has_looked: true, ..sights.sockets.clone() };
        sights.keep(&known, is_whole)
    }

    /// As it is read again so many milliseconds later.
    fn later(dir: &Path, millis: u64) -> FirstSights {
        let now = FirstSights::open(Some(dir), "x".into(), true);
        let file = fs::read_dir(dir.join(rustix::process::geteuid().as_raw().to_string())).unwrap().next();
        let text = fs::read_to_string(file.unwrap().unwrap().path()).unwrap();
        let base = FirstSights { boot_id: boot::boot_id().unwrap(), now: now.now + millis, ..FirstSights::default() };
        FirstSights { key: "x".into(), chosen: Some(dir.to_owned()), is_used: true, ..base.with(&text, "x").unwrap() }
    }

    #[test]
    fn ages_are_between_two_looks() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let mut first = FirstSights::open(Some(dir), "x".into(), false);
        assert_eq!(age(&mut first, 1), None, "it may have been so for long");
        let client = socket(9, State::Established, Side::Client);
        assert_eq!(*first.see(&client, Side::Client), client);
        assert_eq!(kept(first, true), None);
        let near = |age: Option<Age>, at_least: u32, at_most: u32| {
            let age = age.unwrap();
            (at_least..at_least + 5000).contains(&age.at_least)
                && (at_most..at_most.saturating_add(5000)).contains(&age.at_most)
        };
        let mut second = later(dir, 60_000);
        assert!(near(age(&mut second, 1), 60_000, boot::uptime() as u32 * 1000 + 60_000));
        assert!(near(age(&mut second, 2), 0, 60_000));
        let asks = World::here(Deadline::after(Duration::from_secs(9)));
        assert!(second.is_settled(&asks), "what was seen once only may have been passing");
        let clients = later(dir, 60_000).sockets.clients;
        assert_eq!(clients.get(&NonZeroU64::new(9).unwrap()).map(|name| name.text()), Some("/run/x".into()));
        assert_eq!(kept(second, true), None);
        let third = later(dir, 120_000);
        assert_eq!((third.known.len(), third.sockets.clients.len()), (2, 0));
        let mut third = third;
        third.begin_look();
        assert!(third.is_settled(&asks), "the kernel has none that is it");
        let can_t_ask = World { source: Source::Proc, ..asks };
        assert!(!third.is_settled(&can_t_ask), "one was there in both");
        third.begin_look();
        assert!(third.is_settled(&can_t_ask), "two looks agree that it is gone");
        assert_eq!(kept(third, false), None);
        let mut fourth = later(dir, 180_000);
        assert!(near(age(&mut fourth, 2), 120_000, 180_000), "what was not seen by one stays known");
        let mut fifth = later(dir, 180_000);
        fifth.see(&socket(2, State::Established, Side::Server), Side::Server);
        assert_eq!(kept(fifth, true), None);
        assert_eq!(later(dir, 180_000).known.len(), 0);
    }

    /// Found by the first look it may be older than any run knows; once it has been seen for long enough that no longer matters.
    #[test]
    fn what_the_first_look_found_is_of_no_known_age_until_it_is_old() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let minute = |sights: FirstSights| sights.telling(Span::seconds(60));
        let mut first = minute(FirstSights::open(Some(dir), "x".into(), true));
        assert_eq!(age(&mut first, 1), None);
        assert_eq!(kept(first, true), None);
        let mut second = minute(later(dir, 1000));
        assert_eq!(age(&mut second, 1), None, "it was the first run that saw it a second ago");
        let between = age(&mut second, 2).unwrap();
        assert!(between.at_least == 0 && between.at_most < 60_000, "{between:?}");
        assert_eq!(kept(second, true), None);
        let mut old = minute(later(dir, 61_000));
        assert!(age(&mut old, 1).unwrap().at_least >= 60_000);
        // The machine runs for an hour: nothing can have been so for longer.
        let mut booted = FirstSights { now: 3_600_000, key: "x".into(), ..FirstSights::default() };
        booted.min_age = 3_600_001;
        assert_eq!(age(&mut booted, 3), Some(Age { at_least: 0, at_most: 3_600_000 }));
    }

    /// As with `--netns all`, where a namespace may not be looked into.
    #[test]
    fn a_look_that_is_not_whole_remembers_what_it_saw() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let mut first = FirstSights::open(Some(dir), "x".into(), true);
        assert_eq!(age(&mut first, 1), None);
        assert_eq!(kept(first, false), None);
        let mut second = later(dir, 60_000);
        assert!(age(&mut second, 1).unwrap().at_least >= 60_000);
        assert_eq!(age(&mut second, 2), None, "the look before may not have shown it");
    }

    #[test]
    fn what_is_not_ours_is_begun_anew() {
        let base = FirstSights { boot_id: "b".into(), now: 99, ..FirstSights::default() };
        let text = format!(
            "{HEADER}\nx\nb\n90\nbusy\nlistener 3 4 5 /run/x y\nheard /run/x\nstray 6\n1f 80 70 5\nto /run/x\n2\n7\nto @y\n8\nend\n"
        );
        let known = base.with(&text, "x").unwrap();
        assert_eq!((known.sockets.is_busy, known.sockets.strays.len(), known.sockets.clients.len()), (true, 1, 3));
        let listener = &known.sockets.listeners[0];
        assert_eq!((listener.file, &listener.name[..]), (File { device: 4, inode: 5 }, "/run/x y"));
        let sight = Sight { first: 80, before: 70, inode: 5 };
        assert_eq!((known.looked, known.known.get(&NonZeroU64::new(0x1f).unwrap())), (90, Some(&sight)));
        for foreign in [
            "".to_owned(),
            "rubbish".to_owned(),
            text.replace("end\n", ""),
            text.replace("sockets 3", "sockets 2"),
            text.replace("\nb\n", "\nc\n"),
            text.replace("\n90\n", "\n100\n"),
            text.replace("80 70", "80 81"),
            text.replace("80 70", "100 70"),
            text.replace("70 5", "70"),
            text.replace("70 5", "70 4294967296"),
            text.replace("1f", "0"),
            text.replace("stray 6", "stray x"),
            text.replace("3 4 5", "3 4 x"),
            text.replace("3 4 5 /run/x y", "3 4 5"),
            text.replace("\n7\n", "\nx\n"),
            text.replace("80", "x"),
        ] {
            assert!(base.with(&foreign, "x").is_none(), "{foreign}");
        }
        assert!(base.with(&text, "y").is_none(), "another service's");
    }

    /// Only the time is written where a look shows what the one before did.
    #[test]
    fn what_stays_is_not_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let look = |mut sights: FirstSights, count| {
            (1..=count).for_each(|cookie| _ = age(&mut sights, cookie));
            sights.see(&socket(9, State::Established, Side::Client), Side::Client);
            assert_eq!(kept(sights, true), None);
            let file = fs::read_dir(dir.join(rustix::process::geteuid().as_raw().to_string())).unwrap().next();
            let file = file.unwrap().unwrap();
            (file.metadata().unwrap().ino(), fs::read_to_string(file.path()).unwrap())
        };
        let (first, text) = look(FirstSights::open(Some(dir), "x".into(), true), 2);
        std::thread::sleep(std::time::Duration::from_millis(20));
        let (second, dated) = look(FirstSights::open(Some(dir), "x".into(), true), 2);
        assert!(first == second && text != dated && text.len() == dated.len(), "{text} {dated}");
        let again = FirstSights::open(Some(dir), "x".into(), true);
        assert_eq!((again.known.len(), again.sockets.clients.len(), again.sockets.has_looked), (2, 1, true));
        assert_ne!(look(again, 3).0, first, "one more");
    }

    /// Each tells its own look: a time of one before the sights of another would make that file nobody's.
    #[test]
    fn a_run_that_is_late_dates_no_other_runs_file() {
        let dir = tempfile::tempdir().unwrap();
        let open = || FirstSights::open(Some(dir.path()), "x".into(), true);
        let seen = |mut sights: FirstSights, count| {
            (1..=count).for_each(|cookie| _ = age(&mut sights, cookie));
            sights
        };
        assert_eq!(kept(seen(open(), 2), true), None);
        let late = open();
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert_eq!(kept(seen(open(), 3), true), None);
        assert_eq!(kept(seen(late, 2), true), None);
        assert_eq!(open().known.len(), 3);
    }

    #[test]
    fn more_than_can_be_remembered_is_said_and_never_taken_for_new() {
        let dir = tempfile::tempdir().unwrap();
        let open = || FirstSights::open(Some(dir.path()), "x".into(), true);
        let mut many = open();
        (1..=MOST_SOCKETS + 7).for_each(|cookie| _ = age(&mut many, cookie));
        let said = kept(many, true).unwrap();
        assert!(said.contains("not remembered: 7 UNIX sockets more than fit"), "{said}");
        std::thread::sleep(std::time::Duration::from_millis(20));
        let mut next = open();
        assert!(!next.sockets.has_looked, "clients' ends that it doesn't know may be the service's");
        assert!(age(&mut next, 1).is_some());
        assert_eq!(age(&mut next, MOST_SOCKETS + 1), None, "it may have been so for long");
        let mut clients = FirstSights::open(Some(dir.path()), "y".into(), true);
        for cookie in 1..=MOST_SOCKETS {
            clients.see(&socket(cookie, State::Established, Side::Client), Side::Client);
        }
        assert!(kept(clients, true).is_some(), "no line for their server");
        assert!(!FirstSights::open(Some(dir.path()), "y".into(), true).sockets.has_looked);
    }

    #[test]
    fn nothing_is_made_where_nothing_is_to_be_remembered() {
        let parent = tempfile::tempdir().unwrap();
        let at = |name: &str| parent.path().join(name);
        let open = |name: &str, has_any| FirstSights::open(Some(&at(name)), "x".into(), has_any);
        assert_eq!(kept(open("new", false), true), None);
        assert!(!at("new").exists());
        assert_eq!(kept(open("new", true), true), None);
        assert!(at("new").exists());
        fs::write(at("file"), "").unwrap();
        let mut unused = open("file", true);
        assert_eq!(unused.see(&socket(1, State::Established, Side::Client), Side::Client).times, None);
        assert_eq!(kept(unused, true), None, "nobody misses it");
        let mut missed = open("file", true);
        assert_eq!(age(&mut missed, 1), None);
        assert!(kept(missed, true).unwrap().contains("Not a directory"));
        assert_eq!(age(&mut FirstSights::default(), 1), None);
    }
}
