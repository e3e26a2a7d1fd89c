//! What one check has seen: values only.

use serde::{Deserialize, Serialize};

/// State of a socket that counts against the limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum State {
    #[default]
    Established,
    CloseWait,
}

/// One line of the socket table.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Socket {
    /// Unique within a boot.
    pub cookie: u64,
    /// Owner: a unit, else a user and command.
    pub group: u32,
    pub state: State,
    /// Seconds since the last data in either direction; in CLOSE_WAIT since the FIN.
    pub idle: f64,
}

impl Socket {
    pub fn key(&self) -> Key {
        Key { group: self.group, state: self.state }
    }
}

/// Sockets that share their habits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    pub group: u32,
    pub state: State,
}

/// What one check has seen.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    /// Epoch seconds; may step.
    pub wall: f64,
    /// Seconds since boot (CLOCK_BOOTTIME), read after the sockets.
    pub uptime: f64,
    /// Seconds of the uptime that were spent in suspend, where that is known: the kernel's ages of sockets don't grow in it.
    pub suspended: f64,
    /// Seconds that it took to read the sockets: so much older may each age be than `uptime` says.
    pub took: f64,
    /// Changes at a reboot.
    pub boot: u64,
    /// Changes when the service restarts; 0 where that cannot be known.
    pub service: u64,
    pub established: u32,
    pub close_wait: u32,
    pub time_wait: u32,
    pub other: u32,
    /// All sockets that count against the limit, or a sample of them by cookie.
    pub sockets: Vec<Socket>,
}

impl Sample {
    /// Connections that count against the limit.
    pub fn total(&self) -> f64 {
        f64::from(self.established) + f64::from(self.close_wait)
    }
}
