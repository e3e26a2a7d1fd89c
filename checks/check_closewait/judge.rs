//! What the tables show of sockets in CLOSE_WAIT, judged: thresholds, counts, metrics.

use super::behind_nat::Redirected;
use connleak::base::duration::Span;
use connleak::kernel::select::Selection;
use connleak::kernel::socket::{Age, Side, State, UnixName};
use connleak::kernel::source::{Coverage, Origin};
use connleak::kernel::tally::Tally;
use connleak::kernel::world::World;
use connleak::owners::blame::Suspect;
use connleak::owners::ghosts::{Ghosts, Rows};
use connleak::owners::usual_close_wait::Usual;
use connleak::report::verdict::{Limits, ServiceState, Verdict, word};
use connleak::report::{Metric, Unit, rounded, seconds, words};
use connleak::service::target::Target;
use std::collections::{BTreeMap, BTreeSet};

/// Sockets that are remembered: of very many each process has some among those that the kernel lists first.
pub const MOST_INODES: usize = 16_384;

/// The thresholds in force.
pub struct Rules {
    pub min_age: Span,
    /// In CLOSE_WAIT that each pool may keep until it next looks at them.
    pub expected: u64,
    /// What comes and goes of each pool.
    pub usual: Usual,
    pub count: Limits,
    pub ratio: Limits,
    pub ratio_min_count: u64,
    /// Seconds.
    pub oldest: Limits,
}

impl Rules {
    pub fn judge(&self, stuck: u64, oldest: Option<u32>, found: &Found) -> Verdict {
        let mut verdict = Verdict::default();
        verdict.judge(&self.count, stuck as f64, || self.counted(stuck, found));
        if let Some((ratio, limits)) = self.ratio_at(found, stuck, stuck) {
            verdict.judge(&limits, ratio, || found.part(stuck));
        }
        if let Some(oldest) = oldest.filter(|_| found.ages_known()) {
            verdict.judge(&self.oldest, seconds(oldest), || found.aged(oldest));
        }
        verdict
    }

    fn count_at(&self, low: u64, high: u64) -> ServiceState {
        // Without a critical range for the count the percentage is all that can be critical.
        match self.count.critical {
            Some(_) => self.count.at_worst(low as f64, high as f64),
            None => ServiceState::Critical,
        }
    }

    /// The percentage that `high` sockets are, and its thresholds where it is judged. Few sockets may be most of a pool
    /// at a moment when its server has just closed what was idle: how large a part they are makes no count from `low` on
    /// critical that isn't.
    fn ratio_at(&self, found: &Found, low: u64, high: u64) -> Option<(f64, Limits)> {
        let ratio = (high >= self.ratio_min_count).then(|| found.ratio(high))?;
        let limits = match self.ratio.critical {
            Some(critical) if self.count_at(low, high) < ServiceState::Critical => {
                let warning = self.ratio.warning.filter(|warning| warning.alerts(ratio));
                Limits { warning: warning.or(Some(critical)), critical: None }
            }
            _ => self.ratio,
        };
        Some((ratio, limits))
    }

    /// Should all that isn't known count: up to so many more sockets, of up to any age, and `ghosts`.
    pub fn at_worst(&self, found: &Found, ghosts: u64) -> ServiceState {
        let low = found.stuck.len() as u64;
        // Should they be one pool's, it may keep so many more of them.
        let spare = self.expected.saturating_sub(found.spares());
        let high = low + (found.maybe_stuck + found.unsure + found.strays + ghosts).saturating_sub(spare);
        let mut worst = self.count.at_worst(low as f64, high as f64);
        if high >= self.ratio_min_count {
            let count = self.count_at(low, high);
            let [low, high] = [low.max(self.ratio_min_count), high].map(|stuck| found.ratio(stuck));
            worst = worst.max(self.ratio.at_worst(low, high).min(count.max(ServiceState::Warning)));
        }
        let of = |age: Option<u32>| age.map_or(0.0, seconds);
        let are_known = found.ages_known() && found.strays == 0;
        let oldest = if are_known { of(found.oldest_at_most) } else { f64::INFINITY };
        worst.max(self.oldest.at_worst(of(found.oldest).min(oldest), oldest))
    }

    /// What keepalive probes and writes may hide, or the time before a UNIX socket's first sight, and the threshold that it
    /// would break.
    pub fn hidden(&self, found: &Found) -> String {
        let known = found.stuck.len() as u64;
        let (stuck, oldest) = (known + found.maybe_stuck, found.oldest_at_most.unwrap_or(0));
        let hidden = age(oldest);
        let many = self.count.breached(stuck as f64).map(|limit| (limit, stuck.to_string()));
        let much = self.ratio_at(found, known, stuck).and_then(|(ratio, limits)| limits.breached(ratio));
        let much = much.map(|limit| (limit, found.part(stuck)));
        let old = self.oldest.breached(seconds(oldest)).map(|limit| (limit, hidden.to_string()));
        let worst = [many, much, old].into_iter().flatten().reduce(|a, b| if b.0.0 > a.0.0 { b } else { a });
        let broken = worst.map(|((state, range), what)| format!(": {what} would break {} {range}", word(state)));
        let what = match found.maybe_stuck {
            0 => format!("the oldest may be {hidden} old"),
            count => format!("{count} younger may be {hidden} old"),
        };
        let [of_tcp, of_unix] = match found.maybe_stuck {
            0 => [!found.is_longest_unix, found.is_longest_unix],
            count => [count > found.maybe_unix, found.maybe_unix > 0],
        };
        let why = match (of_tcp, of_unix) {
            (_, false) => "keepalive probes or writes hide when the peer closed",
            (false, _) => "the peer closed some time before the run that first saw it",
            _ => "keepalive probes or writes, and of UNIX sockets the time between two runs, hide when the peer closed",
        };
        format!("{what}, as {why}{}", broken.unwrap_or_default())
    }

    /// `12 client sockets in CLOSE_WAIT for 1m or more and 3 ghosts`.
    pub fn counted(&self, stuck: u64, found: &Found) -> String {
        let (stuck, and_ghosts) = match &found.ghosts {
            Some(ghosts) if ghosts.count > 0 || ghosts.was_asked => (stuck - ghosts.count, format!(" and {ghosts}")),
            _ => (stuck, String::new()),
        };
        let sockets = words::sided(stuck, "socket", found.sides);
        let spares = match (found.spares(), found.usual) {
            (0, 0) => String::new(),
            (0, usual) => format!(" beyond {usual} usual ones"),
            (spares, _) => format!(" beyond {spares} spares"),
        };
        if found.ages_known() && self.min_age > Span::seconds(0) {
            format!("{sockets} in CLOSE_WAIT for {} or more{spares}{and_ghosts}", self.min_age)
        } else {
            format!("{sockets} in CLOSE_WAIT{spares}{and_ghosts}")
        }
    }
}

/// What the tables show of the service.
pub struct Found {
    pub seen: Coverage,
    pub tally: Tally,
    /// All of TCP, and the listeners.
    pub rows: Rows,
    /// Inodes of TCP's connections, to know their descriptors by later.
    pub inodes: Vec<u64>,
    /// In CLOSE_WAIT for the minimal age at least and no spares, and ghosts.
    pub stuck: Vec<Suspect>,
    /// Those of them that a pool may keep, by user.
    pub spares_of: BTreeMap<u32, u64>,
    /// Maybe as long in CLOSE_WAIT, but that is usual of their pools.
    pub usual: u64,
    /// What would be usual, beyond them.
    pub usual_left: Usual,
    /// Whether some of the others might be.
    pub may_be_usual: bool,
    /// `None`: not looked for.
    pub ghosts: Option<Ghosts>,
    /// Stuck sockets on the server's and on the client's side, where both were asked for.
    pub sides: Option<[u64; 2]>,
    /// In CLOSE_WAIT, but not as long.
    pub young: u64,
    /// Among the young those that may be older: keepalive probes hide the time of the FIN.
    pub maybe_stuck: u64,
    /// Those of them over UNIX sockets: their peer closed between two runs.
    pub maybe_unix: u64,
    /// Among the stuck those whose probes hide the age, for data arrived long enough ago.
    pub probed: u64,
    /// In CLOSE_WAIT, maybe for the minimal age, but it can't be told whose.
    pub unsure: u64,
    /// The age of the oldest CLOSE_WAIT that is no spare, milliseconds.
    pub oldest: Option<u32>,
    /// The age of the oldest, should probes and writes hide as much as they can, and all be meant that may be.
    pub oldest_at_most: Option<u32>,
    /// Whether that one is a UNIX socket.
    pub is_longest_unix: bool,
    /// In CLOSE_WAIT for a time that is not known: counted as stuck.
    pub ageless: u64,
    /// Those of them over UNIX sockets whose age later runs will know.
    pub undated: u64,
    /// ESTABLISHED over UNIX sockets.
    pub over_unix: u64,
    /// Clients' ends of UNIX sockets that may be the service's: their servers had closed before the first look.
    pub strays: u64,
    /// Who holds them and what ends the doubt, where they matter.
    pub remedy: String,
    /// Server's ends that came in by another port.
    pub redirected: Redirected,
}

impl Found {
    /// As many as the service had before these were closed: all in CLOSE_WAIT were ESTABLISHED, and the
    /// others alone may be few at an idle moment.
    fn of(&self, stuck: u64) -> u64 {
        let [established, closed] =
            [State::Established, State::CloseWait].map(|state| self.tally.count(Side::Both, state));
        established + closed.max(stuck)
    }

    /// `52.27% of 44 connections`.
    fn part(&self, stuck: u64) -> String {
        format!("{}% of {} connections", self.ratio(stuck), self.of(stuck))
    }

    /// To what is stuck, but for a pool's spares whose keepalive probes were answered by a reset, and what is usual.
    pub fn add_ghosts(&mut self, expected: u64) {
        let Some(ghosts) = &mut self.ghosts else { return };
        let before = ghosts.sockets.len();
        ghosts.sockets.retain(|ghost| {
            let taken = self.spares_of.entry(ghost.uid).or_default();
            let is_beyond = *taken >= expected;
            *taken += u64::from(!is_beyond);
            is_beyond
        });
        self.usual += self.usual_left.take_out_ghosts(&mut ghosts.sockets);
        ghosts.count -= (before - ghosts.sockets.len()) as u64;
        self.stuck.append(&mut ghosts.sockets);
    }

    /// Those that a look just before this one showed to be stuck: either may have lost some.
    pub fn add_unseen(&mut self, before: &Found) {
        let here: BTreeSet<u64> = self.stuck.iter().map(|suspect| suspect.inode).collect();
        self.stuck.extend(before.stuck.iter().filter(|suspect| !here.contains(&suspect.inode) && suspect.inode != 0));
        let longest = |found: &Found| (found.oldest_at_most, found.is_longest_unix);
        (self.oldest_at_most, self.is_longest_unix) = longest(self).max(longest(before));
        self.oldest = self.oldest.max(before.oldest);
    }

    pub fn is_connected(&self) -> bool {
        let established = self.tally.count(Side::Both, State::Established);
        established + self.young + self.unsure + self.spares() + self.usual > 0 || !self.stuck.is_empty()
    }

    pub fn spares(&self) -> u64 {
        self.spares_of.values().sum()
    }

    /// Percent of [`Found::of`].
    pub fn ratio(&self, stuck: u64) -> f64 {
        if stuck == 0 { 0.0 } else { rounded(stuck as f64 * 100.0 / self.of(stuck) as f64, 2) }
    }

    /// Whether UNIX sockets are going to be told with their users and processes.
    pub fn shows_unix(&self, rules: &Rules, selection: &Selection) -> bool {
        let is_problem = || rules.judge(self.stuck.len() as u64, self.oldest, self).state != ServiceState::Ok;
        // What else is found of TCP may be one, too.
        self.stuck.iter().any(|suspect| suspect.unix_name().is_some()) && (selection.has_tcp() || is_problem())
    }

    /// How many are over UNIX sockets, where TCP's are meant too or there are several.
    pub fn over_unix(&self, selection: &Selection) -> Option<String> {
        let mut by_name: BTreeMap<UnixName, u64> = BTreeMap::new();
        for name in self.stuck.iter().filter_map(Suspect::unix_name) {
            *by_name.entry(name).or_default() += 1;
        }
        if !selection.has_tcp() && selection.unix.len() + by_name.len() < 3 {
            return None;
        }
        let (name, most) = by_name.iter().max_by_key(|(_, count)| **count)?;
        let (stuck, count) = (by_name.values().sum::<u64>(), by_name.len());
        Some(match count {
            1 => format!("{stuck} over {}", name.text()),
            _ => format!("{stuck} over {count} UNIX sockets, {most} over {}", name.text()),
        })
    }

    /// Counts strays where a UNIX socket was asked for. Of a profile's usual ones it returns what is to be said: nothing
    /// speaks for theirs but that the service could have them.
    pub fn count_strays(&mut self, target: &Target, world: &World) -> Option<String> {
        let count = target.strays(world);
        let is_asked = target.selection.asks_unix();
        self.strays = if is_asked { count } else { 0 };
        (count > self.strays).then(|| words::strayed(count))
    }

    /// `oldest 2m`; `oldest at least 2m`.
    pub fn aged(&self, oldest: u32) -> String {
        let span = Age { at_least: oldest, at_most: self.oldest_at_most.unwrap_or(oldest) };
        let or_more = if span.open_end().is_some() { "at least " } else { "" };
        format!("oldest {or_more}{}", age(oldest))
    }

    /// What to expect where all are too young, for who looks at a leak that has just begun.
    pub fn judged_later(&self, min_age: Span) -> Option<String> {
        let is_beginning = self.stuck.is_empty() && self.young > self.maybe_stuck && self.seen.origin != Origin::Replay;
        let oldest = u64::from(self.oldest.filter(|_| is_beginning)?);
        let left = Span::seconds(min_age.as_millis().checked_sub(oldest)?.div_ceil(1000));
        let (young, are) = (self.young, if self.young == 1 { "is" } else { "are" });
        Some(format!(
            "{young} younger than {min_age} {are} judged in {left}; --min-age 0s judges now and names who has them"
        ))
    }

    pub fn ages_known(&self) -> bool {
        self.ageless == 0
    }

    pub fn oldest_seconds(&self) -> Option<f64> {
        self.ages_known().then(|| seconds(self.oldest.unwrap_or(0)))
    }
}

/// As the kernel gives it, milliseconds.
pub fn age(millis: u32) -> Span {
    Span::millis(u64::from(millis))
}

/// Always the same set; what isn't known has no value.
pub fn metrics(rules: &Rules, found: &Found, established: u64) -> Vec<Metric> {
    let stuck = found.stuck.len() as u64;
    let young = found.ages_known().then_some(found.young as f64);
    let ghosts = found.ghosts.as_ref().and_then(Ghosts::known).map(|count| count as f64);
    vec![
        Metric::count("close_wait", stuck).within(rules.count),
        Metric::new("close_wait_young", Unit::None, young),
        Metric::count("established", established),
        Metric::new("close_wait_ratio", Unit::Percent, Some(found.ratio(stuck))).within(rules.ratio),
        Metric::new("close_wait_oldest", Unit::Seconds, found.oldest_seconds()).within(rules.oldest),
        Metric::new("ghosts", Unit::None, ghosts),
        Metric::count("spares", found.spares() + found.usual),
    ]
}
