//! What is meant: a service with its profile, its ports and its choice of sockets.

pub mod baseline;
pub mod listener;
pub mod profile;
pub mod request;
pub mod target;
pub mod tenant_key;
pub mod unix;
