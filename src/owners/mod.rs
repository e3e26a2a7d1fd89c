//! Whose sockets they are, and who is to be named.

pub mod blame;
pub mod ghosts;
pub mod holders;
pub mod holding;
pub mod known;
pub mod recorded;
pub mod sockets;
pub mod spares;
pub mod strays;
pub mod usual_close_wait;
