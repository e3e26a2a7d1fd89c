//! What a parent may leave behind in a process, and a check can't work with: put right before anything else.

use crate::base::read_limited::read_small;
use nix::sys::signal::SigSet;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGCHLD, SIGXFSZ};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

/// What a distribution gives the first thread, and no check comes near.
const STACK: u64 = 8 << 20;

/// Below it a thread of our own is needed. The unoptimised programs take 100 KiB.
const LEAST_STACK: u64 = 512 << 10;

/// Puts right the size of the stack, what a file that may not grow does, and blocked signals. Before
/// other threads are started.
///
/// Signals to terminate that are ignored stay so: `nohup` and a shell's `&` mean it.
pub fn reset() {
    // Of the first thread the kernel asks for this limit at each growth, so that it holds at once.
    let stack = getrlimit(Resource::Stack);
    if stack.current.is_some_and(|bytes| bytes < STACK) {
        let current = Some(stack.maximum.map_or(STACK, |most| most.min(STACK)));
        let _ = setrlimit(Resource::Stack, Rlimit { current, ..stack });
    }
    // With a handler a write that is too long fails; without one it ends the process.
    if getrlimit(Resource::Fsize).current.is_some() {
        handle(SIGXFSZ);
    }
    let _ = SigSet::empty().thread_set_mask();
}

/// Before a child is started: of one whose parent ignores SIGCHLD the kernel keeps no end, and what ran
/// looks as if it could not. A handler ends that, and a program that is executed has its default.
pub fn ends_of_children_are_kept() {
    handle(SIGCHLD);
}

/// Runs `body`, which ends the process, where there is room for it.
pub fn with_stack(body: impl FnOnce() + Send + 'static) {
    if getrlimit(Resource::Stack).maximum.is_none_or(|most| most >= LEAST_STACK) {
        return body();
    }
    // What it is given is mapped, not grown.
    if let Ok(thread) = thread::Builder::new().stack_size(STACK as usize / 4).spawn(body) {
        let _ = thread.join();
    }
}

fn handle(signal: i32) {
    let _ = signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)));
}

/// Whether it is known that no seccomp filter is installed.
pub fn is_unfiltered() -> bool {
    let status = read_small(Path::new("/proc/self/status")).unwrap_or_default();
    status.lines().any(|line| line == "Seccomp:\t0")
}
