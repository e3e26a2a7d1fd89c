//! What the kernel knows, read and given as values: sockets, processes, namespaces, limits.

pub mod boot;
pub mod cgroup;
pub mod ends;
pub mod headroom;
pub mod listeners;
pub mod look;
pub mod members;
pub mod netns;
pub mod opened;
pub mod own_addresses;
pub mod owner;
pub mod proc_stat;
pub mod release;
pub mod scope;
pub mod select;
pub mod socket;
pub mod source;
pub mod tally;
pub mod unhashed;
pub mod unix_known;
pub mod unix_target;
pub mod user;
pub mod world;
