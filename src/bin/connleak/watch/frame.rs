//! What one look of a watch shows, and what the looks so far tell together. No I/O.

use connleak::base::duration::Span;
use connleak::kernel::socket::{Age, State};
use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Upper ends of the classes that ages are counted in, seconds; the last class has none.
pub const CLASSES: [(&str, f64); 6] =
    [("<1s", 1.0), ("<10s", 10.0), ("<1m", 60.0), ("<10m", 600.0), ("<1h", 3600.0), (">=1h", f64::INFINITY)];

/// How many are how old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ages {
    pub classes: [u64; CLASSES.len()],
    /// Milliseconds.
    pub oldest: Option<u64>,
    /// Where some are what they are at least: what the oldest of those is at most.
    pub at_most: Option<u32>,
}

impl Ages {
    pub fn add(&mut self, seconds: f64) {
        let class = CLASSES.iter().position(|(_, below)| seconds < *below).unwrap_or(CLASSES.len() - 1);
        self.classes[class] += 1;
        self.oldest = self.oldest.max(Some((seconds * 1000.0) as u64));
    }

    /// ` (oldest 2m)`; ` (oldest at least 2m)`; nothing, where there are none.
    pub fn oldest_text(&self) -> String {
        let Some(oldest) = self.oldest else { return String::new() };
        let span = self.at_most.map(|at_most| Age { at_least: u32::try_from(oldest).unwrap_or(u32::MAX), at_most });
        let or_more = if span.and_then(Age::open_end).is_some() { "at least " } else { "" };
        format!(" (oldest {or_more}{})", Span::millis(oldest))
    }
}

/// Descriptors and memory of the one process that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub descriptors: u64,
    /// Bytes of resident memory.
    pub rss: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Frame {
    /// Milliseconds since 1970.
    pub wall: i64,
    /// Since the watch began.
    pub after: Duration,
    /// By TCP state, in the order of [`State::NAMES`]; each connection once.
    pub counts: [u64; 11],
    /// Since the frame before.
    pub opened: Option<u64>,
    pub closed: Option<u64>,
    /// Time in CLOSE_WAIT.
    pub close_wait: Ages,
    /// Time without data in ESTABLISHED.
    pub idle: Ages,
    /// Connections by owner.
    pub owners: BTreeMap<String, u64>,
    pub usage: Option<Usage>,
    /// What could not be seen or kept.
    pub notes: Vec<String>,
    /// Sockets in CLOSE_WAIT, each with the last session that its service told.
    pub left: Vec<String>,
}

impl Frame {
    pub fn count(&self, state: State) -> u64 {
        self.counts[state as usize - 1]
    }

    /// ESTABLISHED and CLOSE_WAIT: what counts against a limit.
    pub fn connections(&self) -> u64 {
        self.count(State::Established) + self.count(State::CloseWait)
    }
}

/// Points kept for the chart. Then every other one goes: a watch may last for days.
const MOST_POINTS: usize = 4096;

/// The looks so far.
#[derive(Debug, Default)]
pub struct Story {
    pub first: Option<Frame>,
    pub last: Option<Frame>,
    pub looks: u64,
    pub opened: u64,
    pub closed: u64,
    /// Seconds since the beginning, with counts by state.
    pub points: Vec<(f64, [u64; 11])>,
    /// The looks of the last minute: when, opened, closed.
    recent: VecDeque<(f64, u64, u64)>,
}

/// Seconds over which rates are taken.
const RECENT: f64 = 60.0;

impl Story {
    pub fn add(&mut self, frame: Frame) {
        self.looks += 1;
        self.opened += frame.opened.unwrap_or(0);
        self.closed += frame.closed.unwrap_or(0);
        if self.points.len() >= MOST_POINTS {
            let mut keep = false;
            self.points.retain(|_| {
                keep = !keep;
                keep
            });
        }
        let after = frame.after.as_secs_f64();
        self.points.push((after, frame.counts));
        self.recent.push_back((after, frame.opened.unwrap_or(0), frame.closed.unwrap_or(0)));
        while self.recent.len() > 2 && self.recent[1].0 <= after - RECENT {
            self.recent.pop_front();
        }
        if self.first.is_none() {
            self.first = Some(frame.clone());
        }
        self.last = Some(frame);
    }

    /// Connections opened and closed in a minute, as in the last one. `None`: there was one look only.
    pub fn rates(&self) -> Option<(f64, f64)> {
        let minutes = (self.recent.back()?.0 - self.recent.front()?.0) / 60.0;
        // What the first look found was opened before.
        let sum = |count: fn(&(f64, u64, u64)) -> u64| self.recent.iter().skip(1).map(count).sum::<u64>() as f64;
        (minutes > 0.0).then(|| (sum(|look| look.1) / minutes, sum(|look| look.2) / minutes))
    }

    /// Owners of now and of the beginning with connections now and their growth, those that grew most first.
    pub fn growth(&self) -> Vec<(&str, u64, i64)> {
        let (Some(first), Some(last)) = (&self.first, &self.last) else { return Vec::new() };
        let count = |frame: &Frame, name: &str| frame.owners.get(name).copied().unwrap_or(0);
        let names = first.owners.keys().filter(|name| !last.owners.contains_key(*name)).chain(last.owners.keys());
        let mut grown: Vec<_> = names
            .map(|name| {
                let (before, now) = (count(first, name), count(last, name));
                (name.as_str(), now, now.cast_signed() - before.cast_signed())
            })
            .collect();
        grown.sort_by_key(|(name, now, growth)| (Reverse(*growth), Reverse(*now), *name));
        grown
    }

    /// `grew 14 in 10m, all by php-fpm`.
    pub fn summary(&self) -> String {
        let (Some(first), Some(last)) = (&self.first, &self.last) else { return "nothing was seen".to_owned() };
        let took = Span::seconds((last.after - first.after).as_secs_f64().round() as u64);
        let growth = last.connections().cast_signed() - first.connections().cast_signed();
        let mut parts = vec![match growth {
            0 => format!("no growth in {took}, {} connections", last.connections()),
            1.. => format!("grew {growth} in {took}{}", self.culprits(growth)),
            _ => format!("shrank {} in {took}, {} connections left", -growth, last.connections()),
        }];
        parts.push(format!("opened {}, closed {}", self.opened, self.closed));
        let stuck = (first.count(State::CloseWait), last.count(State::CloseWait));
        if stuck != (0, 0) {
            let oldest = last.close_wait.oldest_text();
            parts.push(format!("CLOSE_WAIT {} to {}{oldest}", stuck.0, stuck.1));
        }
        if let (Some(before), Some(now)) = (first.usage, last.usage) {
            parts.push(format!("descriptors {} to {}", before.descriptors, now.descriptors));
            parts.push(format!("memory {} to {}", mebibytes(before.rss), mebibytes(now.rss)));
        }
        parts.join("; ")
    }

    fn culprits(&self, growth: i64) -> String {
        let growers: Vec<_> = self.growth().into_iter().filter(|(.., growth)| *growth > 0).collect();
        match growers[..] {
            [] => String::new(),
            [(name, ..)] => format!(", all by {name}"),
            [(name, _, most), ..] if most >= growth => format!(", all by {name} and more"),
            _ => {
                let shares: Vec<_> = growers.iter().take(3).map(|(name, _, by)| format!("{by} by {name}")).collect();
                format!(": {}", shares.join(", "))
            }
        }
    }
}

pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(seconds: u64, owners: &[(&str, u64)]) -> Frame {
        let mut frame =
            Frame { after: Duration::from_secs(seconds), opened: Some(2), closed: Some(1), ..Frame::default() };
        frame.owners = owners.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        frame.counts[0] = owners.iter().map(|(_, count)| count).sum();
        frame
    }

    fn story(first: &[(&str, u64)], last: &[(&str, u64)]) -> Story {
        let mut story = Story::default();
        story.add(frame(0, first));
        story.add(frame(600, last));
        story
    }

    #[test]
    fn the_summary_names_who_grew() {
        let says = |first: &[(&str, u64)], last: &[(&str, u64)], says: &str| {
            let summary = story(first, last).summary();
            assert_eq!(summary, format!("{says}; opened 4, closed 2"), "{first:?} {last:?}");
        };
        says(&[("php-fpm", 3)], &[("php-fpm", 17)], "grew 14 in 10m, all by php-fpm");
        says(&[("a", 3), ("b", 1)], &[("a", 12), ("c", 5)], "grew 13 in 10m: 9 by a, 5 by c");
        says(&[("a", 3), ("b", 9)], &[("a", 12), ("b", 4), ("c", 1)], "grew 5 in 10m, all by a and more");
        says(&[("a", 3)], &[("a", 3)], "no growth in 10m, 3 connections");
        says(&[("a", 3)], &[], "shrank 3 in 10m, 0 connections left");
        assert_eq!(Story::default().summary(), "nothing was seen");
    }

    #[test]
    fn the_summary_tells_of_close_wait_and_memory() {
        let mut story = story(&[("a", 1)], &[("a", 1)]);
        let last = story.last.as_mut().unwrap();
        last.counts[State::CloseWait as usize - 1] = 2;
        last.close_wait.add(75.0);
        last.usage = Some(Usage { descriptors: 9, rss: 3 << 20 });
        story.first.as_mut().unwrap().usage = Some(Usage { descriptors: 7, rss: 1 << 20 });
        let summary = story.summary();
        assert!(summary.starts_with("grew 2 in 10m; "), "{summary}");
        assert!(summary.ends_with("CLOSE_WAIT 0 to 2 (oldest 1m15s); descriptors 7 to 9; memory 1.0 MiB to 3.0 MiB"));
    }

    #[test]
    fn rates_are_those_of_the_last_minute() {
        let mut story = Story::default();
        story.add(frame(0, &[]));
        assert_eq!(story.rates(), None);
        (1..=600).for_each(|second| story.add(frame(10 * second, &[])));
        assert_eq!(story.rates(), Some((12.0, 6.0)));
        assert_eq!((story.opened, story.recent.len()), (1202, 7));
    }

    #[test]
    fn ages_fall_into_their_class() {
        let mut ages = Ages::default();
        [0.0, 0.99, 1.0, 59.9, 3600.0, 1e9].iter().for_each(|age| ages.add(*age));
        assert_eq!((ages.classes, ages.oldest), ([2, 1, 1, 0, 0, 2], Some(1_000_000_000_000)));
    }

    #[test]
    fn a_long_watch_keeps_its_beginning_and_is_bounded() {
        let mut story = Story::default();
        (0..50_000).for_each(|second| story.add(frame(second, &[])));
        assert!(story.points.len() <= MOST_POINTS && story.points.len() > MOST_POINTS / 4);
        assert!(story.points.is_sorted_by(|a, b| a.0 < b.0) && story.points[0].0 < 100.0);
        assert_eq!(story.points.last().map(|point| point.0), Some(49_999.0));
    }
}
