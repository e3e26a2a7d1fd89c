//! The numbers of a report: with their units and limits, under names that never change.

use crate::report::verdict::Limits;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    None,
    Seconds,
    Percent,
    Bytes,
}

impl Unit {
    pub fn symbol(self) -> &'static str {
        match self {
            Unit::None => "",
            Unit::Seconds => "s",
            Unit::Percent => "%",
            Unit::Bytes => "B",
        }
    }
}

/// One number with its limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// `[a-z0-9_]` only.
    pub name: &'static str,
    /// `None`: unknown this time; left out of the output.
    pub value: Option<f64>,
    pub unit: Unit,
    pub limits: Limits,
}

impl Metric {
    /// What it means stands in Prometheus' table, beside this file.
    pub fn new(name: &'static str, unit: Unit, value: Option<f64>) -> Metric {
        Metric { name, value, unit, limits: Limits::default() }
    }

    /// A number that is known.
    pub fn count(name: &'static str, value: u64) -> Metric {
        Metric::new(name, Unit::None, Some(value as f64))
    }

    pub fn within(self, limits: Limits) -> Metric {
        Metric { limits, ..self }
    }
}

/// A number of one tenant, beside the metrics that are always there.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The label of performance data, `[a-z0-9_]` only and nobody else's.
    pub label: String,
    /// As it calls itself.
    pub tenant: String,
    pub metric: Metric,
}
