//! What one run saw, what several runs saw together, and how a row of the history packs them.

use std::collections::HashMap;

/// Groups kept by name in a row; the smaller ones are counted together.
pub const MOST_GROUPS: usize = 16;

/// One run's view of a service. Times are milliseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Since 1970, by a clock that may step: for people and for the hour of the day only.
    pub wall: i64,
    /// Since the boot (CLOCK_BOOTTIME).
    pub uptime: u64,
    /// The kernel's random id of the boot.
    pub boot: String,
    /// The service's own start: its listener's cookie or its process's start; 0 where it can't be known.
    pub instance: u64,
    /// By TCP state, in the order of [`crate::kernel::socket::State::NAMES`].
    pub counts: [u64; 11],
    pub limit: Option<u64>,
    /// Sockets looked at closely, in millionths of all.
    pub sampled: u32,
    /// By owner group, in any order; more than [`MOST_GROUPS`] are cut to the largest.
    pub groups: Vec<Group>,
    /// Sockets of no group above.
    pub other: u64,
    /// Since the run before; `None`: can't be known.
    pub opened: Option<u64>,
    pub closed: Option<u64>,
    /// Whether the run spoke of a leak.
    pub leak: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    pub name: String,
    pub count: u64,
}

/// A sample with its place in the history.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Milliseconds on the history's own clock: always later than the sample before, whatever the
    /// wall clock does. It starts as wall time and counts the time between runs by the uptime.
    pub at: i64,
    pub sample: Sample,
}

/// Several runs in one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Condensed {
    /// Where the row begins, on the clock of [`Recorded::at`].
    pub at: i64,
    /// The first run's wall time.
    pub wall: i64,
    pub runs: u64,
    /// By TCP state.
    pub mean: [f64; 11],
    pub most: [u64; 11],
    /// The boot in which the last run was.
    pub boot: String,
    pub instance: u64,
    pub limit: Option<u64>,
    /// The least of all runs, in millionths.
    pub sampled: u32,
    /// The largest groups by name, with their means.
    pub groups: Vec<(String, f64)>,
    pub other: f64,
    /// In all runs that knew it.
    pub opened: Option<u64>,
    pub closed: Option<u64>,
    /// Runs that spoke of a leak.
    pub leaks: u64,
}

impl Condensed {
    /// As one run that saw the means.
    pub fn as_run(self) -> Recorded {
        let count = |mean: f64| mean.round() as u64;
        let sample = Sample {
            wall: self.wall,
            uptime: 0,
            boot: self.boot,
            instance: self.instance,
            counts: self.mean.map(count),
            limit: self.limit,
            sampled: self.sampled,
            groups: self.groups.into_iter().map(|(name, mean)| Group { name, count: count(mean) }).collect(),
            other: count(self.other),
            opened: self.opened,
            closed: self.closed,
            leak: self.leaks > 0,
        };
        Recorded { at: self.at, sample }
    }
}

/// A row as it is stored: names and boots by number, sums where the reader gets means.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    pub runs: u64,
    pub uptime: u64,
    pub boot: u64,
    pub instance: u64,
    pub limit: Option<u64>,
    pub sampled: u32,
    pub opened: Option<u64>,
    pub closed: Option<u64>,
    pub leaks: u64,
    pub sums: [u64; 11],
    pub most: [u64; 11],
    /// Largest first.
    pub groups: Vec<(u64, u64)>,
    pub other: u64,
}

impl Row {
    /// Adds what a later run saw.
    pub fn add(&mut self, later: &Row) {
        let sum = |a: Option<u64>, b: Option<u64>| a.map_or(b, |a| Some(a.saturating_add(b.unwrap_or(0))));
        self.runs = self.runs.saturating_add(later.runs);
        (self.uptime, self.boot, self.instance) = (later.uptime, later.boot, later.instance);
        self.limit = later.limit;
        self.leaks = self.leaks.saturating_add(later.leaks);
        self.sampled = self.sampled.min(later.sampled);
        self.opened = sum(self.opened, later.opened);
        self.closed = sum(self.closed, later.closed);
        for state in 0..self.sums.len() {
            self.sums[state] = self.sums[state].saturating_add(later.sums[state]);
            self.most[state] = self.most[state].max(later.most[state]);
        }
        self.other = self.other.saturating_add(later.other);
        let mut groups: HashMap<u64, u64> = self.groups.drain(..).collect();
        for (name, count) in &later.groups {
            let group = groups.entry(*name).or_default();
            *group = group.saturating_add(*count);
        }
        self.groups = groups.into_iter().collect();
        self.bound();
    }

    /// The largest groups first; all beyond the bound counts as other.
    pub fn bound(&mut self) {
        self.groups.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
        for (_, count) in self.groups.drain(MOST_GROUPS.min(self.groups.len())..) {
            self.other = self.other.saturating_add(count);
        }
    }

    pub fn pack(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(128);
        let optional = |value: Option<u64>| value.map_or(0, |value| value.saturating_add(1));
        let head = [self.runs, self.uptime, self.boot, self.instance, optional(self.limit), u64::from(self.sampled)];
        head.into_iter().for_each(|value| put(&mut bytes, value));
        [self.opened, self.closed].into_iter().for_each(|value| put(&mut bytes, optional(value)));
        put(&mut bytes, self.leaks);
        self.sums.iter().for_each(|sum| put(&mut bytes, *sum));
        if self.runs != 1 {
            self.most.iter().for_each(|most| put(&mut bytes, *most));
        }
        put(&mut bytes, self.other);
        for (name, count) in &self.groups {
            put(&mut bytes, *name);
            put(&mut bytes, *count);
        }
        bytes
    }

    /// `None`: not what [`Row::pack`] makes.
    pub fn unpack(bytes: &[u8]) -> Option<Row> {
        let rest = &mut &bytes[..];
        let mut row = Row { runs: take(rest)?, uptime: take(rest)?, boot: take(rest)?, ..Row::default() };
        row.instance = take(rest)?;
        row.limit = take(rest)?.checked_sub(1);
        row.sampled = u32::try_from(take(rest)?).ok()?;
        row.opened = take(rest)?.checked_sub(1);
        row.closed = take(rest)?.checked_sub(1);
        row.leaks = take(rest)?;
        for sum in &mut row.sums {
            *sum = take(rest)?;
        }
        row.most = row.sums;
        if row.runs != 1 {
            for most in &mut row.most {
                *most = take(rest)?;
            }
        }
        row.other = take(rest)?;
        while !rest.is_empty() {
            row.groups.push((take(rest)?, take(rest)?));
        }
        (row.runs > 0 && row.groups.len() <= MOST_GROUPS).then_some(row)
    }
}

/// Seven bits a byte, the lowest first, the high bit where more follow (LEB128).
fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(count: u64) -> Row {
        let counts = std::array::from_fn(|state| count * state as u64);
        Row { runs: 1, sampled: 1_000_000, sums: counts, most: counts, groups: vec![(300, count)], ..Row::default() }
    }

    #[test]
    fn a_row_is_read_back() {
        let mut full = row(7);
        (full.limit, full.opened, full.closed) = (Some(0), Some(5), None);
        (full.uptime, full.instance, full.other, full.leaks) = (u64::MAX - 1, u64::MAX, 1 << 35, 1);
        assert_eq!(Row::unpack(&full.pack()), Some(full.clone()));
        full.add(&row(9));
        assert_eq!(Row::unpack(&full.pack()), Some(full));
    }

    #[test]
    fn what_is_no_row_is_refused() {
        let good = row(7).pack();
        for cut in 0..good.len() {
            assert!(Row::unpack(&good[..cut]).is_none_or(|row| row.groups.is_empty()), "{cut}");
        }
        assert_eq!(Row::unpack(&[0xff; 40]), None);
        assert_eq!(Row::unpack(&[0; 40]), None, "a row of no run");
    }

    #[test]
    fn rows_add_up_to_sums_and_maxima() {
        let mut both = row(7);
        both.add(&row(9));
        assert_eq!((both.runs, both.sums[1], both.most[1]), (2, 16, 9));
        assert_eq!((both.groups, both.opened), (vec![(300, 16)], None));
    }

    #[test]
    fn small_groups_beyond_the_bound_count_as_other() {
        let mut row = Row { groups: (0..20).map(|name| (name, name)).collect(), ..Row::default() };
        row.bound();
        assert_eq!((row.groups.len(), row.groups[0], row.other), (MOST_GROUPS, (19, 19), 1 + 2 + 3));
    }
}
