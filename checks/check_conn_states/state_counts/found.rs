//! What one look at a service's states found: the mix, the sockets behind a finding, words and JSON.

use super::judge::{Doubt, Finding, Rules, Whose, ports};
use super::{Queue, StateCounts};
use connleak::kernel::socket::{Side, State};
use connleak::kernel::source::Coverage;
use connleak::owners::blame::Suspect;
use connleak::report::words;
use serde_json::{Map, Value, json};
use std::cmp::Reverse;

/// What the tables show of the service.
pub struct Found {
    pub seen: Coverage,
    pub mix: StateCounts,
    /// With those of which it can't be told whose they are.
    pub with_unsure: StateCounts,
    pub unsure: u64,
    /// Where they are kept.
    pub sockets: Vec<(Side, Suspect)>,
    /// Why the range of ephemeral ports isn't known; the usual one stands for it then.
    pub no_range: Option<String>,
}

impl Found {
    /// The sockets that the worst finding is about; without one all.
    pub fn of(&self, worst: Option<&Finding>, rules: &Rules) -> Vec<Suspect> {
        let is_at = |suspect: &Suspect, queue: Queue| {
            let of = |suspect: &Suspect| self.mix.listener_of(suspect.netns, suspect.local, suspect.interface);
            let (listener, interface) = of(suspect).unwrap_or((suspect.local, suspect.interface));
            (suspect.netns, listener, interface) == (queue.netns, queue.listener, queue.interface)
        };
        let is_old = |suspect: &Suspect| suspect.age.is_some_and(|age| u64::from(age) >= rules.min_age.as_millis());
        let is_meant = |side: Side, suspect: &Suspect| match worst.map_or(Whose::All, |worst| worst.whose) {
            Whose::All => suspect.state != State::Listen,
            Whose::State(state) => suspect.state == state,
            Whose::Accept(queue) => suspect.is_waiting() && suspect.state != State::SynRecv && is_at(suspect, queue),
            Whose::HalfOpen(queue) => suspect.state == State::SynRecv && is_at(suspect, queue),
            Whose::Stuck => {
                let closing = [State::FinWait1, State::FinWait2, State::Closing, State::LastAck];
                closing.contains(&suspect.state) && is_old(suspect)
            }
            Whose::Ports(source, destination) => {
                side == Side::Client && suspect.local.ip == source && suspect.remote == destination
            }
        };
        let meant = self.sockets.iter().filter(|(side, suspect)| is_meant(*side, suspect));
        meant.map(|(_, suspect)| *suspect).collect()
    }

    /// `412 sockets (server 206, client 206): 300 ESTABLISHED, 112 TIME_WAIT`; where the findings say such numbers
    /// already `besides 300 ESTABLISHED`.
    pub fn counted(&self, side: Side, findings: &[Finding]) -> String {
        let mix = &self.mix;
        let is_said = |state: State, name: &str| {
            let says = |finding: &Finding| finding.reason.split(' ').any(|word| word == name);
            findings.iter().any(|finding| finding.whose == Whose::State(state) || says(finding))
        };
        let is_total_said = findings.iter().any(|finding| finding.whose == Whose::All);
        let sides = (side == Side::Both).then(|| [Side::Server, Side::Client].map(|side| mix.sockets(side)));
        let unsaid = State::NAMES.iter().filter(|(state, name)| !is_said(*state, name));
        let mut counts: Vec<(u64, &str)> =
            unsaid.map(|(state, name)| (mix.tally.count(Side::Both, *state), *name)).collect();
        counts.retain(|(count, _)| *count > 0);
        counts.sort_by_key(|(count, _)| Reverse(*count));
        let counts: Vec<_> = counts.iter().map(|(count, name)| format!("{count} {name}")).collect();
        let counts = counts.join(", ");
        if is_total_said {
            return format!("of these {counts}");
        }
        if State::NAMES.iter().any(|(state, name)| is_said(*state, name)) {
            return if counts.is_empty() { "no other".to_owned() } else { format!("besides {counts}") };
        }
        let of = if counts.is_empty() { "" } else { ": " };
        let split = match sides {
            Some([server @ 1..=u64::MAX, client @ 1..=u64::MAX]) => format!(" (server {server}, client {client})"),
            _ => String::new(),
        };
        format!("{}{split}{of}{counts}", words::sided(mix.sockets(Side::Both), "socket", sides))
    }

    /// For the JSON object.
    pub fn extra(&self) -> Map<String, Value> {
        let mix = &self.mix;
        let states = State::NAMES.iter().map(|(state, name)| {
            let [server, client] = [Side::Server, Side::Client].map(|side| mix.tally.count(side, *state));
            ((*name).to_owned(), json!({"server": server, "client": client}))
        });
        let mut extra = Map::new();
        extra.insert("states".into(), Value::Object(states.collect()));
        let queue =
            |queue: &Queue| json!({"listener": queue.listener.to_string(), "used": queue.used, "limit": queue.limit});
        extra.insert("accept_queues".into(), mix.accept_queues.iter().map(queue).collect());
        extra.insert("half_open".into(), mix.half_open(Doubt::Worst).as_ref().map_or(Value::Null, queue));
        let ports = ports(mix).filter(|_| self.no_range.is_none()).map_or(Value::Null, |(room, source, to)| {
        json!({"source": source, "destination": to.to_string(), "used": room.used, "limit": room.limit})
    });
        extra.insert("ephemeral_ports".into(), ports);
        extra
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use connleak::kernel::headroom::{EphemeralPorts, PortUse};
    use connleak::kernel::socket::{Endpoint, Socket};
    use connleak::kernel::source::Origin;
    use connleak::report::verdict::ServiceState;

    #[test]
    fn a_count_is_left_out_only_where_a_reason_has_that_states_name() {
        let mut mix = StateCounts::new(60_000, 60_000, PortUse::new(EphemeralPorts::usual()));
        let end = |port| Endpoint::new("10.0.0.1".parse().unwrap(), port);
        for state in [State::Close, State::CloseWait, State::Established, State::TimeWait] {
            mix.add(&Socket::bare(state, end(80), end(7)), Side::Server);
        }
        let seen = Coverage::new(Origin::Replay, String::new());
        let found = Found { seen, with_unsure: mix.clone(), mix, unsure: 0, sockets: Vec::new(), no_range: None };
        let of = |reason: &str, state| {
            let finding =
                Finding { state: ServiceState::Warning, reason: reason.to_owned(), whose: Whose::State(state) };
            found.counted(Side::Server, &[finding])
        };
        let told = of("1 CLOSE_WAIT (warning 0)", State::CloseWait);
        assert_eq!(told, "besides 1 ESTABLISHED, 1 TIME_WAIT, 1 CLOSE");
        let told = of("1 TIME_WAIT are 100% of 1 ESTABLISHED (warning 0)", State::TimeWait);
        assert_eq!(told, "besides 1 CLOSE, 1 CLOSE_WAIT");
    }
}
