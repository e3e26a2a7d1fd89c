//! Every tenant's counts, and the rules they are held to.

use super::{Whose, Why, outlier};
use connleak::base::duration::Span;
use connleak::kernel::socket::{Socket, State};
use connleak::report::rounded;
use connleak::report::verdict::{Limits, ServiceState, Verdict};
use serde::Serialize;
use std::collections::HashMap;
use std::rc::Rc;

/// From which ages on a connection counts as stuck or idle.
#[derive(Clone, Copy, Debug)]
pub struct Ages {
    pub close_wait: Span,
    pub idle: Span,
}

/// How many each pool may keep: each client host's, on the host itself each unit's and user's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// In CLOSE_WAIT, until it next looks at them.
    pub close_wait: u64,
    pub idle: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub connections: u64,
    /// In CLOSE_WAIT for the minimal age.
    pub close_wait: u64,
    /// ESTABLISHED without data for the minimal age.
    pub idle: u64,
    /// What a pool may keep, of either kind.
    #[serde(skip)]
    pub spares: u64,
    /// More that may be in CLOSE_WAIT for as long: probes or writes hide their age.
    #[serde(skip)]
    pub maybe_close_wait: u64,
    /// More that may be idle: `/proc` tells no times.
    #[serde(skip)]
    pub maybe_idle: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Counts) {
        self.connections += other.connections;
        self.close_wait += other.close_wait;
        self.idle += other.idle;
        self.spares += other.spares;
        self.maybe_close_wait += other.maybe_close_wait;
        self.maybe_idle += other.maybe_idle;
    }

    /// With all that may be counted besides.
    fn at_worst(&self) -> Counts {
        let (close_wait, idle) = (self.close_wait + self.maybe_close_wait, self.idle + self.maybe_idle);
        Counts { connections: self.connections, close_wait, idle, spares: self.spares, ..Counts::default() }
    }

    /// ` beyond 6 spares`, of those that a pool keeps.
    fn beyond_spares(&self) -> String {
        if self.spares > 0 { format!(" beyond {} spares", self.spares) } else { String::new() }
    }
}

impl Ages {
    pub fn looks(&self, socket: &Socket) -> Looks {
        let reaches = |millis: u32, least: Span| u64::from(millis) >= least.as_millis();
        if socket.state == State::CloseWait {
            return match socket.close_wait_age() {
                // An unknown age counts: better a question too many than a leak unseen.
                None => Looks::Stuck,
                Some(age) if reaches(age.at_least, self.close_wait) => Looks::Stuck,
                Some(age) if reaches(age.at_most, self.close_wait) => Looks::MaybeStuck,
                Some(_) => Looks::Used,
            };
        }
        match socket.silence() {
            // Of UNIX sockets nobody knows: they are never judged by that.
            _ if socket.is_unix() => Looks::Used,
            None => Looks::MaybeIdle,
            Some(silence) if reaches(silence, self.idle) => Looks::Idle,
            Some(_) => Looks::Used,
        }
    }
}

/// As what a connection counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looks {
    Used,
    /// In CLOSE_WAIT for the minimal age; or maybe, as probes or writes hide its age.
    Stuck,
    MaybeStuck,
    /// ESTABLISHED without data for the minimal age; or maybe, as `/proc` tells no times.
    Idle,
    MaybeIdle,
}

impl From<Looks> for Counts {
    fn from(looks: Looks) -> Counts {
        let one = |of| u64::from(looks == of);
        Counts {
            connections: 1,
            close_wait: one(Looks::Stuck),
            idle: one(Looks::Idle),
            spares: 0,
            maybe_close_wait: one(Looks::MaybeStuck),
            maybe_idle: one(Looks::MaybeIdle),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Tenant {
    pub name: String,
    pub counts: Counts,
}

/// All connections by tenant, the largest first.
#[derive(Clone, Debug, Default)]
pub struct Census {
    pub tenants: Vec<Tenant>,
    /// Held by poolers on behalf of tenants.
    pub pooled: Counts,
    pub unknown: Counts,
    /// Unknown for want of a client's end, of a readable process, of a match.
    pub why: [u64; 3],
    pub total: u64,
    /// By peer, where the only one is this host itself: that is no tenant, and its processes are named instead.
    pub is_local: bool,
}

impl Census {
    pub fn new(connections: impl Iterator<Item = (Whose, Counts)>) -> Census {
        let mut census = Census::default();
        let mut tenants: HashMap<Rc<str>, Counts> = HashMap::new();
        for (whose, counts) in connections {
            census.total += counts.connections;
            match whose {
                Whose::Tenant(name) => tenants.entry(name).or_default().add(&counts),
                Whose::Pooler(_) => census.pooled.add(&counts),
                Whose::Unknown(why) => {
                    census.unknown.add(&counts);
                    census.why[why as usize] += counts.connections;
                }
            }
        }
        census.tenants = tenants.into_iter().map(|(name, counts)| Tenant { name: name.to_string(), counts }).collect();
        let size = |tenant: &Tenant| tenant.counts.connections;
        census.tenants.sort_unstable_by(|a, b| size(b).cmp(&size(a)).then_with(|| a.name.cmp(&b.name)));
        census
    }

    pub fn most(&self, count: impl Fn(&Counts) -> u64) -> u64 {
        self.tenants.iter().map(|tenant| count(&tenant.counts)).max().unwrap_or(0)
    }

    /// `3 with clients elsewhere or gone, 2 of unreadable processes`.
    pub fn unknown_words(&self) -> String {
        let words = [
            (Why::Elsewhere, "with clients elsewhere or gone"),
            (Why::Unread, "of processes not found"),
            (Why::Unmatched, "that the key doesn't match"),
        ];
        let said: Vec<_> = words.into_iter().filter(|(why, _)| self.why[*why as usize] > 0).collect();
        match said[..] {
            // That it is all of them is clear.
            [(_, words)] => words.to_owned(),
            _ => said
                .iter()
                .map(|(why, words)| format!("{} {words}", self.why[*why as usize]))
                .collect::<Vec<_>>()
                .join(", "),
        }
    }
}

/// The thresholds in force.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Connections that the service accepts.
    pub limit: Option<u64>,
    pub share: Limits,
    pub close_wait: Limits,
    pub idle: Limits,
    pub outliers: Limits,
    /// A tenant with fewer connections is no outlier.
    pub min_count: u64,
    pub ages: Ages,
    pub expected: Expected,
}

/// What the rules say of a census.
#[derive(Debug, Default)]
pub struct Judged {
    pub verdict: Verdict,
    /// Indices of the tenants that break a rule.
    pub named: Vec<usize>,
    pub outliers: Vec<usize>,
    /// Whether all that is wrong are sockets in CLOSE_WAIT.
    pub only_close_wait: bool,
}

impl Rules {
    /// Percent of the limit, else of all.
    pub fn share(&self, connections: u64, census: &Census) -> f64 {
        match self.limit.unwrap_or(census.total) {
            0 => 0.0,
            whole => rounded(connections as f64 * 100.0 / whole as f64, 2),
        }
    }

    pub fn judge(&self, census: &Census) -> Judged {
        let mut judged = Judged::default();
        let whole = match self.limit {
            Some(limit) => format!("limit {limit}"),
            None => format!("all {}", census.total),
        };
        let shares = |counts: &Counts| self.share(counts.connections, census);
        // Without a limit someone always has the most; what chance alone makes of equal tenants is no news.
        let weighty = |counts: &Counts| {
            !census.is_local && (self.limit.is_some() || is_beyond_chance(counts.connections, census))
        };
        judged.each(&self.share, census, &|counts| weighty(counts).then(|| shares(counts)), &|counts| {
            format!("{}, {}% of {whole}", connections(counts.connections), shares(counts))
        });
        let is_close_wait =
            judged.each(&self.close_wait, census, &|counts| Some(counts.close_wait as f64), &|counts| {
                let (count, least) = (counts.close_wait, self.ages.close_wait);
                format!("{count} in CLOSE_WAIT for {least} or more{}", counts.beyond_spares())
            });
        judged.each(&self.idle, census, &|counts| Some(counts.idle as f64), &|counts| {
            format!("{} idle for {} or more{}", counts.idle, self.ages.idle, counts.beyond_spares())
        });
        let sizes: Vec<u64> = census.tenants.iter().map(|tenant| tenant.counts.connections).collect();
        judged.outliers = outlier::find(&sizes, self.min_count);
        let (count, first) = (judged.outliers.len(), judged.outliers.first().map(|index| &census.tenants[*index]));
        judged.verdict.judge(&self.outliers, count as f64, || match first {
            Some(tenant) => {
                let outliers = if count == 1 { "outlier" } else { "outliers" };
                let (most, median) = (tenant.counts.connections, rounded(outlier::middle(&sizes), 1));
                format!(
                    "{count} {outliers}, tenant {} with {most} connections, median {median}",
                    display_name(&tenant.name)
                )
            }
            None => "0 outliers".to_owned(),
        });
        if self.outliers.breached(count as f64).is_some() {
            judged.named.extend(&judged.outliers);
        }
        judged.only_close_wait = is_close_wait && judged.verdict.reasons.len() == 1;
        judged
    }

    /// The state if all that is unknown were the largest tenant's, or each one's that has most of a kind.
    pub fn at_worst(&self, census: &Census, with_unknown: bool) -> Judged {
        let mut worst = census.clone();
        let unknown = if with_unknown { census.unknown.at_worst() } else { Counts::default() };
        for tenant in &mut worst.tenants {
            tenant.counts = tenant.counts.at_worst();
        }
        if unknown.connections > 0 && worst.tenants.is_empty() {
            worst.tenants.push(Tenant { name: "unknown".into(), counts: unknown });
        } else if let Some(largest) = worst.tenants.first_mut() {
            let connections = largest.counts.connections + unknown.connections;
            let most = |count: fn(&Counts) -> u64| census.most(|counts| count(&counts.at_worst()));
            let close_wait = most(|counts| counts.close_wait) + unknown.close_wait;
            let idle = most(|counts| counts.idle) + unknown.idle;
            largest.counts = Counts { connections, close_wait, idle, ..Counts::default() };
        }
        self.judge(&worst)
    }
}

impl Judged {
    /// Judges every tenant by one number; the worst one is the reason, with how many more there are. Whether there is
    /// one.
    fn each(
        &mut self,
        limits: &Limits,
        census: &Census,
        value: &dyn Fn(&Counts) -> Option<f64>,
        words: &dyn Fn(&Counts) -> String,
    ) -> bool {
        let breach = |(index, tenant): (usize, &Tenant)| {
            let value = value(&tenant.counts)?;
            limits.breached(value).map(|(state, _)| (state, value, index))
        };
        let breaches: Vec<_> = census.tenants.iter().enumerate().filter_map(breach).collect();
        let worse = |a: &&(ServiceState, f64, usize), b: &&(ServiceState, f64, usize)| {
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(b.2.cmp(&a.2))
        };
        let Some((_, value, index)) = breaches.iter().max_by(worse) else { return false };
        let more = if breaches.len() > 1 { format!(" and {} more", breaches.len() - 1) } else { String::new() };
        let tenant = &census.tenants[*index];
        self.verdict.judge(limits, *value, || {
            format!("tenant {}{more}: {}", display_name(&tenant.name), words(&tenant.counts))
        });
        self.named.extend(breaches.iter().map(|(_, _, index)| index));
        true
    }
}

/// Whether a tenant has more than equal ones would have by chance: three standard deviations of a
/// Poisson count above the mean.
fn is_beyond_chance(connections: u64, census: &Census) -> bool {
    let mean = census.total as f64 / census.tenants.len().max(1) as f64;
    connections as f64 > mean + 3.0 * mean.sqrt()
}

/// `1 connection`, `2 connections`.
pub fn connections(count: u64) -> String {
    format!("{count} connection{}", if count == 1 { "" } else { "s" })
}

/// A name as text shows it: command lines and paths make long ones.
pub fn display_name(name: &str) -> String {
    const LONGEST: usize = 48;
    if name.chars().count() <= LONGEST {
        return name.to_owned();
    }
    name.chars().take(LONGEST - 3).collect::<String>() + "..."
}

#[cfg(test)]
mod tests {
    use super::*;
    use connleak::report::verdict::ServiceState::{Critical, Ok as Good, Unknown, Warning};
    use proptest::prelude::*;

    fn census(tenants: &[(&str, u64)], unknown: u64) -> Census {
        let counts = |connections| Counts { connections, ..Counts::default() };
        let known = tenants.iter().map(|(name, size)| (Whose::Tenant((*name).into()), counts(*size)));
        Census::new(known.chain([(Whose::Unknown(Why::Elsewhere), counts(unknown))]))
    }

    fn rules(limit: Option<u64>) -> Rules {
        let limits =
            |warning: &str, critical: &str| Limits { warning: warning.parse().ok(), critical: critical.parse().ok() };
        Rules {
            limit,
            share: limits("50", "80"),
            close_wait: limits("5", "20"),
            idle: limits("50", "200"),
            outliers: limits("0", ""),
            min_count: 10,
            ages: Ages { close_wait: Span::seconds(60), idle: Span::seconds(60) },
            expected: Expected::default(),
        }
    }

    #[test]
    fn the_largest_comes_first_and_equal_ones_by_name() {
        let census = census(&[("b", 3), ("c", 7), ("a", 3), ("c", 1)], 0);
        let order: Vec<_> =
            census.tenants.iter().map(|tenant| (tenant.name.as_str(), tenant.counts.connections)).collect();
        assert_eq!((order, census.total), (vec![("c", 8), ("a", 3), ("b", 3)], 14));
    }

    #[test]
    fn without_a_limit_a_share_counts_beyond_chance() {
        let state = |tenants: &[(&str, u64)]| rules(None).judge(&census(tenants, 0)).verdict.state;
        assert_eq!(state(&[("a", 90), ("b", 10)]), Critical);
        assert_eq!(state(&[("a", 70), ("b", 10), ("c", 12)]), Warning);
        assert_eq!(state(&[("a", 52), ("b", 48)]), Good);
        assert_eq!(state(&[("a", 9), ("b", 1)]), Good);
        assert_eq!(state(&[("a", 5000)]), Good, "one tenant has no others");
        assert_eq!(rules(Some(100)).judge(&census(&[("a", 51)], 0)).verdict.state, Warning);
    }

    #[test]
    fn every_breach_is_said_once_with_its_worst() {
        let judged = rules(Some(100)).judge(&census(&[("a", 60), ("b", 90), ("c", 55), ("d", 1)], 0));
        assert_eq!(judged.verdict.reasons, ["tenant b and 2 more: 90 connections, 90% of limit 100 (critical 80)"]);
        let mut named = judged.named;
        named.sort_unstable();
        assert_eq!(named, [0, 1, 2]);
    }

    #[test]
    fn the_unknown_may_all_be_one_tenants() {
        let state = |unknown| rules(Some(100)).at_worst(&census(&[("a", 30)], unknown), true).verdict.state;
        assert_eq!([state(20), state(21), state(51)], [Good, Warning, Critical]);
        let outliers = |unknown| rules(Some(10_000)).at_worst(&census(&[("a", 5), ("b", 5), ("c", 5)], unknown), true);
        assert_eq!((outliers(10).outliers.len(), outliers(60).outliers.len()), (0, 1));
        assert_eq!(rules(Some(10)).at_worst(&census(&[], 9), true).verdict.state, Critical);
        assert!(Unknown < Warning);
    }

    proptest! {
        /// What can't be told never makes a verdict better.
        #[test]
        fn the_worst_is_no_better(sizes in prop::collection::vec(0u64..60, 0..9), unknown in 0u64..60, limit in 1u64..200) {
            let names: Vec<String> = (0..sizes.len()).map(|index| index.to_string()).collect();
            let tenants: Vec<_> = names.iter().map(String::as_str).zip(sizes).collect();
            let (rules, census) = (rules(Some(limit)), census(&tenants, unknown));
            let shares = |judged: Judged| judged.verdict.reasons.iter().any(|reason| reason.contains("% of limit"));
            let now = rules.judge(&census);
            let worst = rules.at_worst(&census, true);
            prop_assert!(!shares(now) || shares(worst));
        }
    }
}
