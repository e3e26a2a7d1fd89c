//! A mix of states against its thresholds: findings, each with whose sockets it is about, and metrics.

use super::usual::Unusual;
use super::{Queue, StateCounts, TIME_WAIT_LASTS};
use connleak::base::duration::Span;
use connleak::kernel::headroom::{Headroom, Resource};
use connleak::kernel::socket::{Endpoint, Side, State};
use connleak::owners::blame::sockets;
use connleak::report::verdict::{Limits, ServiceState, Verdict};
use connleak::report::{Metric, Unit, rounded, seconds};
use std::cmp::Reverse;
use std::net::IpAddr;

/// The thresholds in force.
#[derive(Debug)]
pub struct Rules {
    /// All sockets but listeners.
    pub sockets: Limits,
    pub by_state: Vec<(State, Limits)>,
    /// Percent, from so many TIME_WAIT on.
    pub ratio: Limits,
    pub ratio_min_count: u64,
    /// Percent of the backlog.
    pub half_open: Limits,
    pub accept_queue: Limits,
    pub min_age: Span,
    pub stuck: Limits,
    /// Percent of the range.
    pub ports: Limits,
    /// Percent above the usual number.
    pub usual: Limits,
}

/// Whose sockets a finding is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Whose {
    All,
    State(State),
    /// Waiting to be accepted there.
    Accept(Queue),
    HalfOpen(Queue),
    Stuck,
    Ports(IpAddr, Endpoint),
}

/// A threshold that is breached.
#[derive(Debug)]
pub struct Finding {
    pub state: ServiceState,
    pub reason: String,
    pub whose: Whose,
}

/// What a judge may take for true.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Doubt {
    /// Only what is known.
    Known,
    /// Whatever isn't known is as bad as it may be.
    Worst,
}

impl Rules {
    pub fn limits_of(&self, state: State) -> Limits {
        self.by_state.iter().find(|(known, _)| *known == state).map_or(Limits::default(), |(_, limits)| *limits)
    }

    /// What is wrong, the worst first. `range_known`: whether the ephemeral ports' range was read, else they aren't judged.
    pub fn judge(&self, mix: &StateCounts, unusual: &[Unusual], range_known: bool, doubt: Doubt) -> Vec<Finding> {
        let mut found = Findings(Vec::new());
        let at_worst = doubt == Doubt::Worst;
        if let Some(queue) = mix.accept_queue(doubt) {
            let percent = queue.percent_at_worst();
            let said = || format!("accept queue of {}", filled(&queue, percent));
            found.judge(&self.accept_queue, percent, Whose::Accept(queue), said);
        }
        if let Some(queue) = mix.half_open(doubt) {
            let percent = queue.percent_at_worst();
            let said = || format!("half-open connections to {}", filled(&queue, percent));
            found.judge(&self.half_open, percent, Whose::HalfOpen(queue), said);
        }
        if let Some((room, source, destination)) = ports(mix).filter(|_| range_known) {
            let percent = ports_percent(&room);
            let said = || format!("{} at {} of {}, {percent}%", room.what, room.used, room.limit);
            found.judge(&self.ports, percent, Whose::Ports(source, destination), said);
        }
        let stuck = mix.stuck_count() + if at_worst { mix.maybe_stuck } else { 0 };
        found
            .judge(&self.stuck, stuck as f64, Whose::Stuck, || format!("{stuck} closing for {} or more", self.min_age));
        for (state, limits) in &self.by_state {
            let count = mix.tally.count(Side::Both, *state);
            found.judge(limits, count as f64, Whose::State(*state), || format!("{count} {state}"));
        }
        let waiting = mix.tally.count(Side::Both, State::TimeWait);
        if waiting >= self.ratio_min_count {
            let (ratio, of) = (rounded(mix.time_wait_ratio(), 2), mix.tally.count(Side::Both, State::Established));
            let is_said = self.limits_of(State::TimeWait).breached(waiting as f64).is_some();
            let many = if is_said { String::new() } else { format!("{waiting} ") };
            let said = || format!("{many}TIME_WAIT are {ratio}% of {of} ESTABLISHED");
            found.judge(&self.ratio, ratio, Whose::State(State::TimeWait), said);
        }
        for unusual in unusual {
            found.judge(&self.usual, unusual.percent_more(), Whose::State(unusual.state), || unusual.to_string());
        }
        let count = mix.sockets(Side::Both);
        found.judge(&self.sockets, count as f64, Whose::All, || sockets(count));
        found.0.sort_by_key(|finding| Reverse(finding.state));
        found.0
    }

    /// Always the same set; what isn't known has no value.
    pub fn metrics(&self, mix: &StateCounts, range_known: bool) -> Vec<Metric> {
        let queue = |queue: Option<Queue>| queue.map_or(Some(0.0), |queue| queue.percent()).map(tenths);
        let (accept, half_open) = (queue(mix.accept_queue(Doubt::Worst)), queue(mix.half_open(Doubt::Worst)));
        let used = range_known.then(|| ports(mix).map_or(0.0, |(room, ..)| ports_percent(&room)));
        let ratio = rounded(mix.time_wait_ratio(), 2);
        let ages_known = mix.oldest_closing.is_some() || mix.maybe_stuck == 0;
        let stuck = ages_known.then(|| mix.stuck_count() as f64);
        let oldest = ages_known.then(|| mix.oldest_closing.map_or(0.0, |(age, _)| seconds(age)));
        let mut metrics = vec![Metric::count("sockets", mix.sockets(Side::Both)).within(self.sockets)];
        metrics.extend(LABELS.iter().map(|(state, name)| {
            Metric::count(name, mix.tally.count(Side::Both, *state)).within(self.limits_of(*state))
        }));
        metrics.extend([
            Metric::count("new_syn_recv", mix.requests),
            Metric::new("time_wait_ratio", Unit::Percent, Some(ratio)).within(self.ratio),
            Metric::new("accept_queue", Unit::Percent, accept).within(self.accept_queue),
            Metric::new("half_open", Unit::Percent, half_open).within(self.half_open),
            Metric::new("stuck", Unit::None, stuck).within(self.stuck),
            Metric::new("stuck_oldest", Unit::Seconds, oldest),
            Metric::new("ephemeral_ports", Unit::Percent, used).within(self.ports),
        ]);
        metrics
    }
}

const LABELS: [(State, &str); 11] = [
    (State::Established, "established"),
    (State::SynSent, "syn_sent"),
    (State::SynRecv, "syn_recv"),
    (State::FinWait1, "fin_wait1"),
    (State::FinWait2, "fin_wait2"),
    (State::TimeWait, "time_wait"),
    (State::Close, "close"),
    (State::CloseWait, "close_wait"),
    (State::LastAck, "last_ack"),
    (State::Listen, "listen"),
    (State::Closing, "closing"),
];

struct Findings(Vec<Finding>);

impl Findings {
    fn judge(&mut self, limits: &Limits, value: f64, whose: Whose, said: impl FnOnce() -> String) {
        let mut verdict = Verdict::default();
        verdict.judge(limits, value, said);
        let state = verdict.state;
        self.0.extend(verdict.reasons.into_iter().map(|reason| Finding { state, reason, whose }));
    }
}

/// `0.0.0.0:80 at 5 of 5, 100%`.
fn filled(queue: &Queue, percent: f64) -> String {
    let of = queue.limit.map_or("of an unknown number".to_owned(), |limit| format!("of {limit}"));
    format!("{} at {} {of}, {}%", queue.listener, queue.used, tenths(percent))
}

/// The source and destination with the fewest ephemeral ports left.
pub fn ports(mix: &StateCounts) -> Option<(Headroom, IpAddr, Endpoint)> {
    let room = mix.busiest_ports()?;
    match room.what {
        Resource::EphemeralPorts { source, destination } => Some((room, source, destination)),
        _ => None,
    }
}

/// A range of which all is reserved is used up.
pub fn ports_percent(room: &Headroom) -> f64 {
    if room.limit == 0 { 100.0 } else { rounded(room.used as f64 * 100.0 / room.limit as f64, 2) }
}

fn tenths(percent: f64) -> f64 {
    rounded(percent, 1)
}

/// What no kernel as it is released shows.
pub fn oddity(mix: &StateCounts) -> Option<String> {
    let lasts = Span::millis(u64::from(TIME_WAIT_LASTS));
    let longest = Span::millis(u64::from(mix.longest_rest));
    (mix.lasting > 0)
        .then(|| format!("{} TIME_WAIT last over {lasts} ({longest} left): not a stock kernel", mix.lasting))
}
