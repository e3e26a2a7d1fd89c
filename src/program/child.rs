//! Under a memory limit the check runs in a child: a process whose allocation fails ends before it can speak.

use rustix::process::{Resource, Signal, getrlimit, set_parent_process_death_signal};
use std::ffi::OsStr;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};

/// The child's name for itself: what it starts doesn't inherit that, as it would an environment.
const CHILD: &str = "connleak-check";

/// Bytes that this process may take of the machine; `None`: as many as there are, or this is the child.
pub fn memory_limit() -> Option<u64> {
    let least = [Resource::As, Resource::Data].into_iter().filter_map(|resource| getrlimit(resource).current).min();
    let is_child = std::env::args_os().next().is_some_and(|name| name == OsStr::new(CHILD));
    if is_child && least.is_some() {
        // A scheduler that ends the one that waits ends the check.
        let _ = set_parent_process_death_signal(Some(Signal::TERM));
    }
    least.filter(|_| !is_child)
}

/// Runs this command line in a child to its end, which keeps the deadline and prints the answer.
/// Returns its exit code, or the signal that ended it.
///
/// # Errors
/// When it can't be started.
pub fn run_child() -> io::Result<Result<i32, i32>> {
    let mut command = Command::new("/proc/self/exe");
    // What the runtime says of a failed allocation is said better by who waits.
    command.arg0(CHILD).args(std::env::args_os().skip(1)).stderr(Stdio::null());
    let status = command.status()?;
    Ok(status.code().ok_or(status.signal().unwrap_or(0)))
}
