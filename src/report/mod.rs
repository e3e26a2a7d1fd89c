//! What a check says: metrics, state and owners in one [`Report`], and its forms.

pub mod batch;
pub mod doubt;
pub mod json;
pub mod junit;
mod model;
pub mod nagios;
pub mod prometheus;
pub mod range;
pub mod verdict;

pub use model::{Complete, Format, GENERIC, Metric, Owner, Part, Peer, Report, Service, Share, Unit, rounded, seconds};
