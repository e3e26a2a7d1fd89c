//! What a profile says for each check, but for states.

use crate::base::duration::Span;
use crate::kernel::socket::State;
use crate::report::range::Range;
use crate::report::verdict::Limits;
use crate::service::tenant_key::Key;
use serde::Deserialize;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloseWait {
    pub min_age: Option<Span>,
    pub warning: Option<Range>,
    pub critical: Option<Range>,
    /// Normal in each pool until it next looks at them: as [`Idle::expected`].
    pub expected: Option<u64>,
    #[serde(default)]
    pub ratio: Ratio,
    #[serde(default)]
    pub oldest: Spans,
}

/// Upper limits for a time.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spans {
    pub warning: Option<Span>,
    pub critical: Option<Span>,
}

impl Spans {
    /// Seconds; each given here, else that of `self`.
    pub fn limits(&self, warning: Option<Span>, critical: Option<Span>) -> Limits {
        let up_to = |span: Span| Range::up_to(span.as_millis() as f64 / 1000.0);
        Limits { warning: warning.or(self.warning).map(up_to), critical: critical.or(self.critical).map(up_to) }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ratio {
    /// Percent of ESTABLISHED; those in CLOSE_WAIT are of all that were it.
    pub warning: Option<Range>,
    pub critical: Option<Range>,
    pub min_count: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Orphans {
    pub wait: Option<Span>,
    pub ignore: Option<Vec<State>>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Idle {
    pub min_age: Option<Span>,
    /// Idle connections beyond the expected ones.
    pub warning: Option<Range>,
    pub critical: Option<Range>,
    /// Normal spares of one pool: of one client host, on the host itself of one unit and user.
    pub expected: Option<u64>,
    /// Idle connections in percent of ESTABLISHED.
    #[serde(default, alias = "share")]
    pub ratio: Ratio,
    /// Idle ones that never carried a byte.
    #[serde(default)]
    pub never_used: Limits,
    /// Connections with data that nobody reads, and with data that the peer doesn't take. Where they are left
    /// out those of `generic`, for the check that judges them: [`Waiting::or`].
    #[serde(default)]
    pub unread: Waiting,
    #[serde(default)]
    pub unsent: Waiting,
    #[serde(default)]
    pub oldest: Spans,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiting {
    pub min_age: Option<Span>,
    pub warning: Option<Range>,
    pub critical: Option<Range>,
}

impl Waiting {
    /// Each value given here, else that of `other`.
    pub fn or(&self, other: &Waiting) -> Waiting {
        Waiting {
            min_age: self.min_age.or(other.min_age),
            warning: self.warning.or(other.warning),
            critical: self.critical.or(other.critical),
        }
    }

    pub fn limits(&self) -> Limits {
        Limits { warning: self.warning, critical: self.critical }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tenants {
    pub key: Option<Key>,
    /// Percent of the pool.
    #[serde(default)]
    pub share: Limits,
    /// Connections from which on a tenant may be an outlier.
    pub min_count: Option<u64>,
}

impl CloseWait {
    /// Whether any number is judged: an age alone is none.
    pub fn judges(&self) -> bool {
        [self.limits(), self.ratio.limits()].iter().any(|limits| *limits != Limits::default())
    }

    /// The thresholds of `other`, and what else is missing here.
    pub fn judged_as(&mut self, other: &CloseWait) {
        let CloseWait { min_age, expected, oldest, .. } = self.clone();
        *self = CloseWait {
            min_age: min_age.or(other.min_age),
            expected: expected.or(other.expected),
            oldest: if oldest == Spans::default() { other.oldest.clone() } else { oldest },
            ..other.clone()
        };
    }

    pub fn limits(&self) -> Limits {
        Limits { warning: self.warning, critical: self.critical }
    }
}

impl Idle {
    /// As [`CloseWait::judges`].
    pub fn judges(&self) -> bool {
        [self.limits(), self.ratio.limits(), self.never_used].iter().any(|limits| *limits != Limits::default())
    }

    /// As [`CloseWait::judged_as`].
    pub fn judged_as(&mut self, other: &Idle) {
        let Idle { min_age, expected, unread, unsent, oldest, .. } = self.clone();
        *self = Idle {
            min_age: min_age.or(other.min_age),
            expected: expected.or(other.expected),
            unread: unread.or(&other.unread),
            unsent: unsent.or(&other.unsent),
            oldest: if oldest == Spans::default() { other.oldest.clone() } else { oldest },
            ..other.clone()
        };
    }

    pub fn limits(&self) -> Limits {
        Limits { warning: self.warning, critical: self.critical }
    }
}

impl Ratio {
    pub fn limits(&self) -> Limits {
        Limits { warning: self.warning, critical: self.critical }
    }
}
