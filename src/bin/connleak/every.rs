//! A check again and again, where nothing else would run it: an image without a shell or a scheduler.

use crate::subcommand::{Plain, plain as in_words};
use argh::{ArgsInfo, FromArgs};
use connleak::base::duration::Span;
use connleak::base::error::plain;
use connleak::program::inherited;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::ffi::OsString;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How soon a signal is seen.
const LOOK: Duration = Duration::from_millis(100);
/// A check keeps its own time limit; who asks to end doesn't wait for it.
const PATIENCE: Duration = Duration::from_secs(5);
/// More often no check has anything new to say.
const SHORTEST: Duration = Duration::from_secs(1);

/// run a check at every interval until SIGTERM, for images without a shell: connleak every 60s -- check_closewait ...
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    subcommand,
    name = "every",
    note = "One child at a time; one that takes longer than the interval delays the next."
)]
pub struct Every {
    /// the interval, then -- and the command, which is looked for in $PATH
    #[argh(positional)]
    words: Vec<String>,
}

impl Plain for Every {
    fn run(self) -> Result<(), String> {
        run(self.words.into_iter().map(OsString::from).collect())
    }
}

/// What is typed after `every`: the command's own options are not ours.
pub fn run(mut words: Vec<OsString>) -> Result<(), String> {
    let of_ours = words.iter().position(|word| word == "--").unwrap_or(words.len());
    if words[..of_ours].iter().any(|word| word == "-h" || word == "--help") {
        return in_words::<Every>(vec!["--help".into()]);
    }
    let usage = || "use 'connleak every 60s -- check_closewait -p 11211'; see 'connleak every --help'".to_owned();
    let command = words.split_off(of_ours);
    let ([interval], [_, program, args @ ..]) = (&words[..], &command[..]) else { return Err(usage()) };
    let interval: Span = interval.to_string_lossy().parse().map_err(|why| format!("{why}; {}", usage()))?;
    if interval.0 < SHORTEST {
        return Err(format!("every {interval}: use 1s or more"));
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(|why| format!("signals: {}", plain(&why)))?;
    }
    inherited::ends_of_children_are_kept();
    let is_over = || stop.load(Ordering::Relaxed);
    let mut next = Instant::now();
    while !is_over() {
        let mut command = Command::new(program);
        let child = command.args(args).stdin(Stdio::null()).spawn();
        let mut child = child.map_err(|why| format!("can't run {}: {}", program.to_string_lossy(), plain(&why)))?;
        while !is_over() && child.try_wait().is_ok_and(|ended| ended.is_none()) {
            std::thread::sleep(LOOK);
        }
        end(&mut child);
        // What took too long is not made up for.
        next = (next + interval.0).max(Instant::now());
        while !is_over() && Instant::now() < next {
            std::thread::sleep(LOOK.min(next.saturating_duration_since(Instant::now())));
        }
    }
    Ok(())
}

/// Asks a check to end that still runs, and ends it where it doesn't.
fn end(child: &mut Child) {
    let asked = Instant::now();
    while child.try_wait().is_ok_and(|ended| ended.is_none()) {
        if asked.elapsed() > PATIENCE {
            let _ = child.kill();
        } else {
            let _ = kill_process(Pid::from_child(child), Signal::TERM);
        }
        std::thread::sleep(LOOK);
    }
}
