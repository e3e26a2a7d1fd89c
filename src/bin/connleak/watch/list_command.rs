//! Runs the command that prints a service's session list: in bounded time and size, and never beyond our own end.

use connleak::base::deadline::Deadline;
use connleak::base::duration::Span;
use connleak::base::error::plain;
use connleak::program::inherited;
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// As much as [`crate::sessions`] reads of a list.
const LARGEST: u64 = 64 << 20;

/// The command that runs now, by its process group; with the last of its handles it ends.
#[derive(Clone, Debug, Default)]
pub struct Running(Arc<Mutex<Option<Pid>>>);

impl Running {
    fn set(&self, group: Option<Pid>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = group;
    }

    /// Ends what runs, with all that it started.
    pub fn end(&self) {
        if let Some(group) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Its standard output, once it has ended well.
///
/// # Errors
/// One line: it can't be started, fails, prints too much, or doesn't end in `limit`.
pub fn run(command: &str, limit: Duration, running: &Running) -> Result<String, String> {
    let failed = |cause: io::Error| format!("--sessions '{command}' can't be run: {}", plain(&cause));
    inherited::ends_of_children_are_kept();
    // Files, not pipes: a full pipe would stop it.
    let (output, errors) = (tempfile::tempfile().map_err(failed)?, tempfile::tempfile().map_err(failed)?);
    let copy = |file: &File| file.try_clone().map_err(failed);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]).stdin(Stdio::null()).stdout(copy(&output)?).stderr(copy(&errors)?);
    let mut child = shell.process_group(0).spawn().map_err(failed)?;
    running.set(Some(Pid::from_child(&child)));
    let clock = Deadline::after(limit);
    let ended = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break Ok(status);
        }
        let is_large = output.metadata().is_ok_and(|meta| meta.len() > LARGEST);
        if clock.left().is_zero() || is_large {
            running.end();
            let _ = child.wait();
            let limit = Span(limit);
            break Err(if is_large {
                format!("printed over {} MiB", LARGEST >> 20)
            } else {
                format!("did not end in {limit}")
            });
        }
        thread::sleep(Duration::from_millis(10));
    };
    running.set(None);
    let status = ended.map_err(|why| format!("--sessions '{command}' {why}: killed"))?;
    if !status.success() {
        let errors = text(errors, 4096).unwrap_or_default();
        let last =
            errors.lines().rfind(|line| !line.trim().is_empty()).map_or(String::new(), |line| format!(": {line}"));
        let code = status.code().map_or("a signal".to_owned(), |code| format!("exit status {code}"));
        return Err(format!("--sessions '{command}' failed with {code}{last}"));
    }
    text(output, LARGEST).map_err(failed)
}

fn text(mut file: File, most: u64) -> io::Result<String> {
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_sh(command: &str, millis: u64) -> Result<String, String> {
        run(command, Duration::from_millis(millis), &Running::default())
    }

    #[test]
    fn a_command_prints_fails_or_is_ended() {
        assert_eq!(run_sh("echo a; echo b >&2", 60_000).unwrap(), "a\n");
        let why = run_sh("echo a; echo no password >&2; exit 2", 60_000).unwrap_err();
        assert!(why.ends_with("failed with exit status 2: no password"), "{why}");
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("pid");
        let why = run_sh(&format!("sleep 600 & echo $! > {}; wait", mark.display()), 500).unwrap_err();
        assert!(why.ends_with("did not end in 500ms: killed"), "{why}");
        // And with it what it started: gone, or a zombie that init has not reaped yet.
        let pid = std::fs::read_to_string(mark).unwrap();
        let is_gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        };
        let clock = Deadline::after(Duration::from_secs(60));
        while !is_gone() && !clock.left().is_zero() {
            thread::sleep(Duration::from_millis(10));
        }
        assert!(is_gone());
    }
}
