//! Whether connections leak toward a limit: observation, detector, outcome.

pub mod detector;
pub mod detector_state;
pub mod measure;
pub mod near;
pub mod observe;
pub mod outcome;
pub mod pool;
pub mod process_usage;
pub mod rules;
pub mod stuck_pool;
pub mod told_before;
