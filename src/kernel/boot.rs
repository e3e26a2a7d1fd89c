//! Which boot this is and how long it has lasted: a time that no clock step moves.

use crate::base::error::{Error, Result};
use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::path::Path;

/// The kernel's random id of this boot.
pub fn boot_id() -> Result<String> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let id = fs::read_to_string(path).map_err(|cause| Error::reading(path, cause))?;
    Ok(id.trim().to_owned())
}

/// Seconds since the boot, suspended time included (CLOCK_BOOTTIME).
pub fn uptime() -> f64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}
