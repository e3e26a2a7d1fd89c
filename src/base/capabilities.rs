//! Rights that the caller doesn't have himself (file capabilities, setuid): used to look at
//! processes, and for nothing else.
//!
//! From the first line of `main` on the thread acts as the caller: what he names is read, written and
//! run with his own rights. What may be needed later stays permitted, but not effective, until
//! [`raise`]. Whoever runs us as root has all rights by himself: then nothing is changed.

use crate::base::error::{Error, Result};
use rustix::process::{getegid, geteuid, getgid, getuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_ambient_set, set_capabilities, set_keep_capabilities,
    set_thread_res_gid, set_thread_res_uid,
};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// What other users' processes and other network namespaces need.
const USEFUL: CapabilitySet =
    CapabilitySet::SYS_PTRACE.union(CapabilitySet::DAC_READ_SEARCH).union(CapabilitySet::SYS_ADMIN);

static BORROWED: AtomicBool = AtomicBool::new(false);

/// Whether the program's file gave us rights that the caller lacks: then his environment isn't
/// followed. Capabilities that the caller handed on himself (ambient ones) don't count.
pub fn are_borrowed() -> bool {
    BORROWED.load(Ordering::Relaxed)
}

/// Becomes the caller. Before other threads are started: the kernel keeps rights by thread.
///
/// # Errors
/// When the kernel refuses; nothing may be done then.
pub fn lower() -> Result<()> {
    become_caller().map_err(|cause| Error::Kernel { call: "giving up borrowed rights", cause })
}

fn become_caller() -> io::Result<()> {
    let (uid, gid) = (getuid(), getgid());
    let is_other = uid != geteuid() || gid != getegid();
    if uid.is_root() && !is_other {
        return Ok(());
    }
    let given = capabilities(None)?.permitted;
    let handed_on = || capability_is_in_ambient_set(CapabilitySet::SYS_PTRACE).unwrap_or(false);
    BORROWED.store(is_other || !given.is_empty() && !handed_on(), Ordering::Relaxed);
    if is_other {
        set_keep_capabilities(true)?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
        set_keep_capabilities(false)?;
    }
    if uid.is_root() || given.is_empty() {
        return Ok(());
    }
    // Not inheritable: a command that we start gets none of them.
    let (effective, inheritable) = (CapabilitySet::empty(), CapabilitySet::empty());
    Ok(set_capabilities(None, CapabilitySets { effective, permitted: given & USEFUL, inheritable })?)
}

/// Makes the permitted rights effective for the calling thread, as long as the value lives.
///
/// Only around reads of the kernel's own files: never where a path comes from the caller.
pub fn raise() -> Raised {
    let raised = !getuid().is_root() && set_effective(|permitted| permitted);
    Raised { raised }
}

pub struct Raised {
    raised: bool,
}

impl Drop for Raised {
    fn drop(&mut self) {
        if self.raised {
            set_effective(|_| CapabilitySet::empty());
        }
    }
}

/// Whether there was anything to change, and it was.
fn set_effective(choose: impl Fn(CapabilitySet) -> CapabilitySet) -> bool {
    let Ok(sets) = capabilities(None) else { return false };
    let has_any = !sets.permitted.is_empty();
    has_any && set_capabilities(None, CapabilitySets { effective: choose(sets.permitted), ..sets }).is_ok()
}

/// Gives up for good what [`raise`] could still use.
pub fn give_up() {
    if are_borrowed() {
        let none = CapabilitySet::empty();
        let _ = set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none });
    }
}
