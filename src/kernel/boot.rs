//! Which boot this is and how long it has lasted: a time that no clock step moves.

use crate::base::error::{Error, Result};
use crate::base::read_limited::read_line;
use rustix::time::{ClockId, clock_gettime};
use std::path::Path;

/// The kernel's random id of this boot.
pub fn boot_id() -> Result<String> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    read_line(path).map_err(|cause| Error::reading(path, cause))
}

/// Seconds since the boot, suspended time included (CLOCK_BOOTTIME).
pub fn uptime() -> f64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}
