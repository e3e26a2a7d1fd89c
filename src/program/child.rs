//! Under a limit of memory or CPU time the check runs in a child: a process that reaches it ends before it can speak.

use super::inherited;
use rustix::process::{Resource, Signal, getrlimit, set_parent_process_death_signal};
use std::ffi::OsStr;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};

/// The child's name for itself: what it starts doesn't inherit that, as it would an environment.
const CHILD: &str = "connleak-check";

fn is_child() -> bool {
    std::env::args_os().next().is_some_and(|name| name == OsStr::new(CHILD))
}

/// What the process may take of the machine; of a kind that isn't limited `None`.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    bytes: Option<u64>,
    cpu_seconds: Option<u64>,
}

/// `None`: nothing is limited, or this is the child.
pub fn limits() -> Option<Limits> {
    let bytes = [Resource::As, Resource::Data].into_iter().filter_map(|resource| getrlimit(resource).current).min();
    let limits = Limits { bytes, cpu_seconds: getrlimit(Resource::Cpu).current };
    let is_limited = limits.bytes.or(limits.cpu_seconds).is_some();
    if is_limited && is_child() {
        // A scheduler that ends the one that waits ends the check.
        let _ = set_parent_process_death_signal(Some(Signal::TERM));
    }
    (is_limited && !is_child()).then_some(limits)
}

impl Limits {
    /// Why a child was ended by a signal, as far as that is known, and what to do.
    pub fn reached(self, signal: i32) -> String {
        let memory = self.bytes.map(|bytes| {
            let mebibytes = bytes >> 20;
            format!("as where memory runs out: it may have {mebibytes} MiB; raise that (ulimit -v)")
        });
        let time = self.cpu_seconds.filter(|_| signal == Signal::XCPU.as_raw() || memory.is_none()).map(|seconds| {
            format!("its CPU time is used up, of which it may have {seconds} s; raise that (ulimit -t)")
        });
        match (time, memory) {
            (Some(time), _) => format!("ended by signal {signal}: {time}"),
            (None, memory) => format!("ended by signal {signal}, {}", memory.unwrap_or_default()),
        }
    }
}

/// How the child ended.
pub enum Ended {
    Code(i32),
    Signal(i32),
    /// It ran, but the kernel doesn't tell.
    Untold,
}

/// Runs this command line in a child to its end, which keeps the deadline and prints the answer.
///
/// # Errors
/// When it can't be started: nothing was done then.
pub fn run_child() -> io::Result<Ended> {
    inherited::ends_of_children_are_kept();
    let mut command = Command::new("/proc/self/exe");
    // What the runtime says of a failed allocation is said better by who waits.
    command.arg0(CHILD).args(std::env::args_os().skip(1)).stderr(Stdio::null());
    let mut child = command.spawn()?;
    Ok(match child.wait() {
        Ok(status) => status.code().map_or(Ended::Signal(status.signal().unwrap_or(0)), Ended::Code),
        Err(_) => Ended::Untold,
    })
}
