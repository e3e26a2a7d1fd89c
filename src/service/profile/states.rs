//! The section `states`: thresholds by TCP state, and of what the states tell together.

use super::Ratio;
use crate::base::duration::Span;
use crate::kernel::socket::State;
use crate::report::range::Range;
use crate::report::verdict::Limits;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use std::collections::HashSet;
use std::fmt;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct States {
    pub by_state: Vec<(State, Limits)>,
    /// TIME_WAIT in percent of ESTABLISHED.
    pub ratio: Ratio,
    /// SYN_RECV in percent of the listener's backlog.
    pub half_open: Limits,
    /// Connections waiting to be accepted, in percent of the same.
    pub accept_queue: Limits,
    pub stuck: Stuck,
    /// Percent of the ephemeral ports between one source and one destination.
    pub ephemeral_ports: Limits,
}

/// Closing sockets whose peer doesn't answer.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stuck {
    pub min_age: Option<Span>,
    pub warning: Option<Range>,
    pub critical: Option<Range>,
}

impl Stuck {
    pub fn limits(&self) -> Limits {
        Limits { warning: self.warning, critical: self.critical }
    }
}

impl States {
    pub fn limits_of(&self, state: State) -> Limits {
        self.by_state.iter().find(|(known, _)| *known == state).map_or(Limits::default(), |(_, limits)| *limits)
    }

    /// With what is missing taken from `other`, also the thresholds of single states.
    pub fn or(mut self, other: &States) -> States {
        let missing = other.by_state.iter().filter(|(state, _)| self.by_state.iter().all(|(known, _)| known != state));
        self.by_state = self.by_state.iter().chain(missing).copied().collect();
        if self.ratio == Ratio::default() {
            self.ratio.clone_from(&other.ratio);
        }
        self.half_open = self.half_open.or(other.half_open);
        self.accept_queue = self.accept_queue.or(other.accept_queue);
        self.ephemeral_ports = self.ephemeral_ports.or(other.ephemeral_ports);
        self.stuck.min_age = self.stuck.min_age.or(other.stuck.min_age);
        self.stuck.warning = self.stuck.warning.or(other.stuck.warning);
        self.stuck.critical = self.stuck.critical.or(other.stuck.critical);
        self
    }
}

impl<'de> Deserialize<'de> for State {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(Error::custom)
    }
}

/// By hand, as serde's own map would keep the last of doubled keys.
impl<'de> Deserialize<'de> for States {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = States;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("thresholds by TCP state")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<States, A::Error> {
                let (mut states, mut seen) = (States::default(), HashSet::new());
                while let Some(key) = map.next_key::<String>()? {
                    if !seen.insert(key.clone()) {
                        return Err(Error::custom(format!("duplicate key {key}")));
                    }
                    match key.as_str() {
                        "ratio" => states.ratio = map.next_value()?,
                        "half_open" => states.half_open = map.next_value()?,
                        "accept_queue" => states.accept_queue = map.next_value()?,
                        "stuck" => states.stuck = map.next_value()?,
                        "ephemeral_ports" => states.ephemeral_ports = map.next_value()?,
                        _ => {
                            let state = state(&key)?;
                            if states.by_state.iter().any(|(known, _)| *known == state) {
                                return Err(Error::custom(format!("duplicate state {state}")));
                            }
                            states.by_state.push((state, map.next_value()?));
                        }
                    }
                }
                Ok(states)
            }
        }
        deserializer.deserialize_map(Map)
    }
}

fn state<E: Error>(key: &str) -> Result<State, E> {
    let others = "ratio, half_open, accept_queue, stuck and ephemeral_ports";
    key.parse().map_err(|why| E::custom(format!("{why}; other keys are {others}")))
}
