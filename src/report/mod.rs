//! What a check says: metrics, state and owners in one [`Report`], and its forms.

pub mod batch;
pub mod doubt;
pub mod json;
pub mod junit;
mod metric;
mod model;
pub mod nagios;
pub mod prometheus;
pub mod range;
pub mod verdict;
pub mod words;

pub use metric::{Metric, Part, Unit};
pub use model::{Complete, Format, GENERIC, Owner, Peer, Report, Service, Share, ports_text, rounded, seconds};
