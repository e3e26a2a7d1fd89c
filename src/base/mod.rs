//! What every room stands on: errors, time, files, rights. It knows nothing of sockets.

pub mod atomic_file;
pub mod backoff;
pub mod capabilities;
pub mod deadline;
pub mod duration;
pub mod error;
pub mod fnv;
pub mod local_time;
pub mod read_limited;
pub mod word;
