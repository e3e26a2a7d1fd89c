//! Run the command that stops a service, and leave nothing of it running when it must end early.

use connleak::base::backoff::Pauses;
use connleak::base::deadline::Deadline;
use connleak::base::duration::Span;
use connleak::base::error::{Error, Result};
use connleak::kernel::proc_stat::Stat;
use connleak::program::inherited;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, wait};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// As much of the command's output as a report can use: its end, where the reason of a failure is.
const MOST_OUTPUT: u64 = 64 * 1024;

/// How long a command may be told: what became of it must stay in the first line.
const LONGEST_NAME: usize = 120;

/// What [`run`] may take beyond its limit, to end a command that doesn't end itself.
pub const ENDING: Duration = Duration::from_secs(3);

/// A signal that asks us to end. From [`Interrupt::watch`] on it no longer ends us by itself.
#[derive(Clone, Debug)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    pub fn watch() -> Result<Interrupt> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&flag))
                .map_err(|cause| Error::Kernel { call: "a signal handler", cause })?;
        }
        Ok(Interrupt(flag))
    }

    pub fn came(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Runs `command` to its end and calls `meanwhile` now and then, and once after it. Returns its
/// output's lines, standard output and error together.
///
/// # Errors
/// When it can't be run, fails, outlasts `limit`, or a signal comes; in the last two cases it and all
/// that it started are killed first. When `meanwhile` fails, which stops no stop half-way.
pub fn run(
    command: &[String],
    limit: Duration,
    interrupt: &Interrupt,
    meanwhile: &mut dyn FnMut() -> Result<()>,
) -> Result<Vec<String>> {
    let [program, arguments @ ..] = command else {
        return Err(Error::Usage("no command after '--'; write for example -- systemctl stop app".into()));
    };
    let told = |what: String| Error::Usage(format!("stop command '{}' {what}", name(command)));
    let failed = |cause: std::io::Error| told(format!("can't be run: {}", connleak::base::error::plain(&cause)));
    inherited::ends_of_children_are_kept();
    // What the command leaves behind becomes our child, so that it can be found.
    set_child_subreaper(Some(getpid())).map_err(|errno| failed(errno.into()))?;
    // A file, not a pipe: a daemon that a restart starts may write long after we are gone.
    let output = tempfile::tempfile().map_err(failed)?;
    let copy = || output.try_clone().map_err(failed);
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(copy()?)
        .stderr(copy()?)
        .spawn()
        .map_err(failed)?;
    let clock = Deadline::after(limit);
    let mut pauses = Pauses::default();
    let mut looked = Ok(());
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break status;
        }
        if interrupt.came() || clock.left().is_zero() {
            kill_all();
            let why = if interrupt.came() {
                "was ended by a signal to this check".to_owned()
            } else {
                format!("did not end in {}", Span(limit))
            };
            return Err(told(format!("{why}: killed, with all it started")));
        }
        looked = looked.and_then(|()| meanwhile());
        std::thread::sleep(pauses.next(clock.left()).min(Duration::from_millis(50)));
    };
    let output = lines(output).map_err(failed)?;
    if !status.success() {
        let last = output.iter().rev().map(|line| line.trim()).find(|line| !line.is_empty());
        let last = last.map_or(String::new(), |line| format!(": {line}"));
        return Err(told(format!("failed with {}{last}", ended(status))));
    }
    looked.and_then(|()| meanwhile())?;
    Ok(output)
}

/// A command as it was typed, on one line and cut in its middle.
fn name(command: &[String]) -> String {
    let typed = command.join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
    if typed.len() <= LONGEST_NAME {
        return typed;
    }
    let head = &typed[..typed.floor_char_boundary(LONGEST_NAME * 2 / 3)];
    format!("{head}...{}", &typed[typed.ceil_char_boundary(typed.len() - LONGEST_NAME / 3)..])
}

fn ended(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, signal) => format!("signal {}", signal.unwrap_or(0)),
    }
}

fn lines(mut output: File) -> std::io::Result<Vec<String>> {
    let length = output.seek(SeekFrom::End(0))?;
    output.seek(SeekFrom::Start(length.saturating_sub(MOST_OUTPUT)))?;
    let mut bytes = Vec::new();
    output.take(MOST_OUTPUT).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().map(str::to_owned).collect())
}

/// Ends all our descendants: what is told to terminate may clean up, but not for long.
fn kill_all() {
    const GRACE: Duration = Duration::from_millis(300);
    const PATIENCE: Duration = Duration::from_secs(2);
    let clock = Deadline::after(PATIENCE);
    signal_all(Signal::TERM);
    // Something in an uninterruptible call can't be killed: don't wait for it for ever.
    while !clock.left().is_zero() {
        std::thread::sleep(Duration::from_millis(10));
        let alive = if clock.elapsed() < GRACE { descendants().len() } else { signal_all(Signal::KILL) };
        // Reaped even when they are the last: not every init does it for us.
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        if alive == 0 {
            return;
        }
    }
}

/// Signals all our descendants; returns how many there were.
fn signal_all(signal: Signal) -> usize {
    let found = descendants();
    for pid in &found {
        let _ = kill_process(*pid, signal);
    }
    found.len()
}

/// Processes that descend from us and still run, in any order.
fn descendants() -> Vec<Pid> {
    // Parents with their children.
    let mut family: Vec<(u32, u32)> = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(line) = std::fs::read(entry.path().join("stat")) else { continue };
        family.extend(Stat::parse(&line).filter(|stat| !stat.has_ended()).map(|stat| (stat.parent, pid)));
    }
    let (mut found, mut parents) = (Vec::new(), vec![std::process::id()]);
    while let Some(parent) = parents.pop() {
        let children = family.iter().filter(|(of, _)| *of == parent).map(|(_, child)| *child);
        found.extend(children.clone().filter_map(|pid| Pid::from_raw(pid.cast_signed())));
        parents.extend(children);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_sh(script: &str, limit: Duration) -> Result<Vec<String>> {
        let interrupt = Interrupt(Arc::new(AtomicBool::new(false)));
        run(&["sh".to_owned(), "-c".to_owned(), script.to_owned()], limit, &interrupt, &mut || Ok(()))
    }

    #[test]
    fn output_is_kept_and_failure_is_told() {
        let long = Duration::from_secs(20);
        assert_eq!(run_sh("echo a; echo b >&2", long).unwrap(), ["a", "b"]);
        let error = run_sh("echo first; echo no such unit; exit 5", long).unwrap_err().to_string();
        assert!(error.ends_with("failed with exit status 5: no such unit"), "{error}");
        let error = run_sh("kill -9 $$", long).unwrap_err().to_string();
        assert!(error.ends_with("failed with signal 9"), "{error}");
    }
}
