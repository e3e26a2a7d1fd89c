//! A file system of a test's own, to be full, read-only or without inodes.

use crate::lab::skip_test;
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

/// Runs a test beside a file system of its own, mounted on the directory that it is given.
pub fn on_tmpfs(name: &'static str, options: &str, body: impl FnOnce(&Path) + Send) {
    let dir = tempfile::tempdir().unwrap();
    let mounted = || -> Result<(), String> {
        // SAFETY: unsafe only for UnshareFlags::FILES; mounts have nothing to do with memory or
        // descriptors, and the thread ends with the test.
        unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.map_err(|why| format!("unshare: {why}"))?;
        mount(&["--make-rprivate", "/"])?;
        let options = format!("{options},mode=700");
        mount(&["-t", "tmpfs", "-o", &options, "none", &dir.path().to_string_lossy()])
    };
    let ended = thread::scope(|scope| {
        let all = || match mounted() {
            Ok(()) => body(dir.path()),
            Err(why) => skip_test(name, &why),
        };
        scope.spawn(all).join()
    });
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}

pub fn mount(args: &[&str]) -> Result<(), String> {
    let done = Command::new("mount").args(args).output().map_err(|why| format!("mount: {why}"))?;
    done.status.success().then_some(()).ok_or_else(|| String::from_utf8_lossy(&done.stderr).trim().to_owned())
}

/// Takes all that is left of a file system.
pub fn fill(path: &Path) {
    fs::write(path, vec![0; 4 << 20]).unwrap_err();
}
