//! Connections that have been idle for long: what is known of them, judged and told.

pub mod idler;
pub mod waiting;

use connleak::base::duration::Span;
use connleak::kernel::source::Coverage;
use connleak::owners::blame::Blame;
use connleak::report::verdict::{Limits, ServiceState, Verdict};
use connleak::report::{Metric, Unit, rounded, seconds, words};
use idler::Idler;
use waiting::{Rule, Waiting};

/// The thresholds in force.
pub struct Rules {
    pub min_age: Span,
    pub expected: u64,
    pub count: Limits,
    pub never_used: Limits,
    pub ratio: Limits,
    pub ratio_min_count: u64,
    /// Seconds.
    pub oldest: Limits,
    pub unread: Rule,
    pub unsent: Rule,
}

/// What is judged.
#[derive(Clone, Copy)]
pub struct Numbers {
    pub idle: u64,
    pub never_used: u64,
    /// Milliseconds; `None`: none is idle, or it isn't known.
    pub oldest: Option<u32>,
}

impl Rules {
    pub fn judge(&self, numbers: &Numbers, established: u64, counted: impl FnOnce() -> String) -> Verdict {
        let Numbers { idle, never_used, oldest } = *numbers;
        let mut verdict = Verdict::default();
        verdict.judge(&self.count, idle as f64, counted);
        verdict.judge(&self.never_used, never_used as f64, || format!("{never_used} never used"));
        if idle >= self.ratio_min_count {
            let share = share(idle, established);
            verdict.judge(&self.ratio, share, || format!("{share}% of {established} ESTABLISHED"));
        }
        if let Some(oldest) = oldest {
            verdict.judge(&self.oldest, seconds(oldest), || format!("oldest {}", age(oldest)));
        }
        verdict
    }

    /// Should all that isn't known count: any number of it may be idle, for any time, or never used.
    pub fn at_worst(&self, found: &Found, known: ServiceState) -> ServiceState {
        let (numbers, unknown) = (found.known(), found.unaged + found.unsure);
        let of = |limits: &Limits, low: u64, more: u64| limits.at_worst(low as f64, (low + more) as f64);
        let mut worst = known.max(of(&self.count, numbers.idle, unknown));
        worst = worst.max(of(&self.never_used, numbers.never_used, unknown + found.unused_unknown));
        if unknown > 0 && numbers.idle + unknown >= self.ratio_min_count {
            let [low, high] = [numbers.idle.max(self.ratio_min_count), numbers.idle + unknown];
            worst = worst.max(self.ratio.at_worst(share(low, found.established), share(high, found.established)));
        }
        if unknown > 0 {
            worst = worst.max(self.oldest.at_worst(numbers.oldest.map_or(0.0, seconds), f64::INFINITY));
        }
        worst.max(found.unread.at_worst(&self.unread)).max(found.unsent.at_worst(&self.unsent))
    }

    /// `12 client connections without data for 30m or more beyond 6 spares`.
    pub fn counted(&self, found: &Found) -> String {
        let idle = found.idlers.len();
        let connections = words::sided(idle as u64, "connection", found.sides);
        let spares = if found.spares > 0 { format!(" beyond {} spares", found.spares) } else { String::new() };
        format!("{connections} without data for {} or more{spares}", self.min_age)
    }
}

/// What the tables show of the service.
pub struct Found {
    pub seen: Coverage,
    pub established: u64,
    /// ESTABLISHED ends that are the service's own.
    pub own_ends: u64,
    /// Idle for the minimal age and no spares, longest first.
    pub idlers: Vec<Idler>,
    pub spares: u64,
    /// Idlers on the server's and on the client's side, where both were asked for.
    pub sides: Option<[u64; 2]>,
    /// ESTABLISHED, but their silence isn't told.
    pub unaged: u64,
    /// Idle, or maybe so, but it can't be told whose.
    pub unsure: u64,
    /// Idle, but whether they were ever used isn't told.
    pub unused_unknown: u64,
    pub unread: Waiting,
    pub unsent: Waiting,
}

impl Found {
    pub fn known(&self) -> Numbers {
        let never_used = self.idlers.iter().filter(|idler| idler.never_used).count() as u64;
        let oldest = self.idlers.first().and_then(|idler| idler.suspect.age);
        Numbers { idle: self.idlers.len() as u64, never_used, oldest }
    }

    /// Nothing that was counted is without an age.
    pub fn ages_known(&self) -> bool {
        self.unaged == 0
    }

    /// The first line's text behind the service: the number, how long and who first, as some pagers cut a line
    /// after 160 characters.
    pub fn headline(&self, rules: &Rules, reasons: &[String], blame: &Blame) -> String {
        let (numbers, counted) = (self.known(), rules.counted(self));
        let is_said = |what: &str| reasons.iter().any(|reason| reason.contains(what));
        let oldest = numbers.oldest.map(|oldest| format!("oldest {}", age(oldest)));
        let never_used = numbers.never_used > 0 && !is_said(" never used");
        let [mut parts, rest] = words::lead(self.ages_known().then_some(counted), oldest, reasons);
        parts.extend(if reasons.is_empty() { Vec::new() } else { blame.headline() });
        parts.extend(never_used.then(|| format!("{} never used", numbers.never_used)));
        parts.extend(rest);
        parts.extend(words::both_sides(self.sides));
        parts.extend((!is_said(" ESTABLISHED")).then(|| format!("{} ESTABLISHED", self.established)));
        parts.join(", ")
    }

    /// Always the same set; what isn't known has no value.
    pub fn metrics(&self, rules: &Rules) -> Vec<Metric> {
        let numbers = self.known();
        let aged = |value: f64| self.ages_known().then_some(value);
        let of_idlers =
            |is_one: fn(&Idler) -> bool| aged(self.idlers.iter().filter(|idler| is_one(idler)).count() as f64);
        let never_used = of_idlers(|idler| idler.never_used).filter(|_| self.unused_unknown == 0);
        let share = aged(share(numbers.idle, self.established));
        let oldest = aged(seconds(numbers.oldest.unwrap_or(0)));
        vec![
            Metric::new("idle", Unit::None, aged(numbers.idle as f64)).within(rules.count),
            Metric::new("never_used", Unit::None, never_used).within(rules.never_used),
            Metric::new("no_keepalive", Unit::None, of_idlers(|idler| idler.unguarded)),
            Metric::new("spares", Unit::None, aged(self.spares as f64)),
            Metric::count("established", self.established),
            Metric::new("idle_share", Unit::Percent, share).within(rules.ratio),
            Metric::new("idle_oldest", Unit::Seconds, oldest).within(rules.oldest),
            self.unread.metric("unread", &rules.unread),
            self.unsent.metric("unsent", &rules.unsent),
        ]
    }
}

/// Percent of ESTABLISHED.
fn share(idle: u64, established: u64) -> f64 {
    if idle == 0 { 0.0 } else { rounded(idle as f64 * 100.0 / established.max(idle) as f64, 2) }
}

fn age(millis: u32) -> Span {
    Span::millis(u64::from(millis))
}
