//! From `main` to exit: command line, deadline, panics, printing. The only place that does them.

use crate::base::atomic_file;
use crate::base::capabilities;
use crate::base::deadline::Deadline;
use crate::base::duration::Span;
use crate::base::error::{Error, Result};
use crate::kernel::world::World;
use crate::options::args::{self, Args, Asked, Command, Common, Timeout};
use crate::options::several;
use crate::program::child::{self, Ended};
use crate::program::help;
use crate::program::inherited;
use crate::program::next;
use crate::program::panics;
use crate::program::seccomp::confine;
use crate::report::batch::Batch;
use crate::report::verdict::ServiceState;
use crate::report::{Format, Report, junit, prometheus};
use crate::service::target;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

/// How the outcome is told; known once the command line is read.
#[derive(Clone, Default)]
struct Outlet {
    format: Format,
    file: Option<PathBuf>,
    junit: Option<PathBuf>,
    deadline: Option<Deadline>,
}

static OUTLET: Mutex<Option<Outlet>> = Mutex::new(None);

/// What is told so far.
static BATCH: Mutex<Batch> = Mutex::new(Batch::EMPTY);

/// The deadline and the state it ends in, for the watchdog.
static WATCHED: Mutex<Option<(ServiceState, Deadline)>> = Mutex::new(None);

/// Whoever ends the process first speaks: the check, its panic, or the deadline.
static ENDED: AtomicBool = AtomicBool::new(false);

/// The exit code of what was printed, once it is.
static PRINTED: OnceLock<i32> = OnceLock::new();

/// What the deadline leaves to whoever is printing. Printing wakes the reader, who on a crowded machine has the CPU
/// before us (1 of 8,000 runs at a load of 30 took over half a second to come back).
const PRINTING: Duration = Duration::from_secs(2);

/// Runs a check to its exit. Every way out prints what a scheduler understands.
pub fn main<A: Command + 'static>(check: fn(&Args<A>, &World) -> Result<Report>) -> ! {
    inherited::reset();
    let name = A::PROGRAM.strip_prefix("check_").unwrap_or(A::PROGRAM);
    std::panic::set_hook(Box::new(move |panic| {
        end(Report::failed(name, ServiceState::Unknown, panics::words(panic)));
    }));
    if let Err(refused) = capabilities::lower() {
        end(Report::failed(name, ServiceState::Unknown, refused.to_string()));
    }
    inherited::with_stack(move || run(name, check));
    let why = Error::Kernel { call: "a thread with a stack", cause: std::io::ErrorKind::OutOfMemory.into() };
    end(Report::failed(name, ServiceState::Unknown, why.to_string()))
}

fn run<A: Command>(name: &'static str, check: fn(&Args<A>, &World) -> Result<Report>) {
    // Nothing else of a command line is a file that may hang; help and version take no thread.
    let reads_files = std::env::args_os().any(|word| word.as_encoded_bytes().starts_with(b"--extra-opts"));
    let early = reads_files.then(|| watch(name));
    let mut args = match args::parse::<A>(std::env::args_os().skip(1)) {
        Ok(Asked::Run(args)) => args,
        Ok(Asked::Help) => print_and_exit(&help::text::<A>()),
        Ok(Asked::Version) => print_and_exit(&format!("{} {}\n", A::PROGRAM, env!("CARGO_PKG_VERSION"))),
        Err(refused) => {
            let outlet = Outlet { junit: refused.junit, ..Outlet::default() };
            *OUTLET.lock().unwrap_or_else(PoisonError::into_inner) = Some(outlet);
            end(Report::failed(name, ServiceState::Unknown, refused.why.to_string()))
        }
    };
    let watchdog = early.unwrap_or_else(|| watch(name));
    let common = &mut args.common;
    let timeout = common.timeout.unwrap_or_default();
    let deadline = Deadline::after(timeout.after.0);
    let outlet = Outlet {
        format: common.output.unwrap_or_default(),
        file: common.output_file.clone(),
        junit: args.own.junit().map(Path::to_owned),
        deadline: Some(deadline.clone()),
    };
    *OUTLET.lock().unwrap_or_else(PoisonError::into_inner) = Some(outlet);
    let profiles = profiles(name, common);
    let watch_until = |deadline: &Deadline| {
        *WATCHED.lock().unwrap_or_else(PoisonError::into_inner) = Some((timeout.state, deadline.clone()));
        watchdog.unpark();
    };
    if let Some(limits) = child::limits() {
        // The child keeps the deadline; should it hang in the kernel, this one speaks.
        watch_until(&Deadline::after(timeout.after.0 + PRINTING + Duration::from_secs(1)));
        leave_to_child(name, limits);
    }
    watch_until(&deadline);
    // A stop command would be confined with us.
    if args.rest.is_empty() {
        confine();
    }
    let world = world(common, deadline);
    args.is_of_several = profiles.len() > 1;
    let mut told = None;
    for profile in profiles {
        told.into_iter().for_each(|report| batch().add(report));
        args.common.profile = profile;
        let failed = |error: Error| Report::failed(name, ServiceState::Unknown, error.to_string());
        told = Some(look(&args, &world, check).unwrap_or_else(failed));
    }
    capabilities::give_up();
    // There is one service at least, and its report is not in the batch yet.
    end(told.unwrap_or_else(|| Report::failed(name, ServiceState::Unknown, "no service".to_owned())))
}

/// The profile of each service that is asked for.
fn profiles(name: &'static str, common: &mut Common) -> Vec<Vec<String>> {
    let profiles = several::each(common).unwrap_or_else(|error| {
        // No measurement: a plain line, as for all that is wrong in a command line.
        *OUTLET.lock().unwrap_or_else(PoisonError::into_inner) = None;
        end(Report::failed(name, ServiceState::Unknown, error.to_string()))
    });
    // Before the deadline is kept: who ends the call by it speaks for each of them.
    if common.output == Some(Format::Prometheus) {
        profiles.iter().for_each(|profile| batch().announce(several::service(common, profile)));
    }
    profiles
}

fn world(common: &Common, deadline: Deadline) -> World {
    let mut world = World::here(deadline);
    world.source = common.source.unwrap_or_default();
    world.netns = common.netns.clone().unwrap_or_default();
    world.replay.clone_from(&common.replay);
    if let Some(root) = &common.proc_root {
        world.proc_root.clone_from(root);
    }
    world
}

/// Looks at one service. For Prometheus it is named before: a series that fails stays the same.
fn look<A: Command>(args: &Args<A>, world: &World, check: fn(&Args<A>, &World) -> Result<Report>) -> Result<Report> {
    if args.common.output == Some(Format::Prometheus)
        && let Ok(target) = target::resolve(args.common.request(), world)
    {
        batch().name(target.service)?;
    }
    let mut report = check(args, world)?;
    next::add(&mut report, &args.common);
    if let (Some(warning), Some(critical)) = (args.common.warning, args.common.critical)
        && critical.is_left_before(&warning)
    {
        report
            .details
            .push(format!("-w {warning} -c {critical}: critical is reached before warning, which is never seen"));
    }
    Ok(report)
}

fn batch() -> MutexGuard<'static, Batch> {
    BATCH.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends as the child does, or speaks for it. Returns where there can be no child.
fn leave_to_child(name: &'static str, limits: child::Limits) {
    match child::run_child() {
        Ok(Ended::Code(code)) => exit(code),
        Ok(Ended::Signal(signal)) => end(Report::failed(name, ServiceState::Unknown, limits.reached(signal))),
        // It has spoken; never twice, nor a stop command run again.
        Ok(Ended::Untold) => exit(ServiceState::Unknown.exit_code()),
        Err(_) => {}
    }
}

/// Ends the process at the deadline, whatever call the check then hangs in. Until the deadline is
/// told the default one holds: reading `--extra-opts` may hang as well.
///
/// It parks rather than waits on a channel, which is another 13 KiB in each binary.
fn watch(name: &'static str) -> Thread {
    let default = Timeout::default();
    let fallback = (default.state, Deadline::after(default.after.0));
    let alarm = move || loop {
        let told = WATCHED.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (state, deadline) = told.as_ref().unwrap_or(&fallback);
        if deadline.left().is_zero() {
            let why = format!("timed out after {}", Span(deadline.budget()));
            end(Report::failed(name, *state, why));
        }
        thread::park_timeout(deadline.left());
    };
    match thread::Builder::new().stack_size(128 * 1024).spawn(alarm) {
        Ok(watchdog) => watchdog.thread().clone(),
        Err(cause) => {
            let why = Error::Kernel { call: "a thread for the deadline", cause };
            end(Report::failed(name, ServiceState::Unknown, why.to_string()))
        }
    }
}

/// Prints help or version, which are no verdict: 3.
fn print_and_exit(text: &str) -> ! {
    let _ = std::io::stdout().write_all(text.as_bytes());
    exit(ServiceState::Unknown.exit_code())
}

/// Prints the report and exits with its state.
fn end(last: Report) -> ! {
    let outlet = OUTLET.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default();
    // Rendered before speaking is claimed: a panic in here must still find a way out.
    let (reports, mut report) = batch().clone().end(&last);
    let mut output = match outlet.format {
        Format::Prometheus => prometheus::render(&reports),
        format => format.render(&report),
    };
    if ENDED.swap(true, Ordering::SeqCst) {
        // The other one is printing. Should it hang there, the deadline holds all the same.
        thread::sleep(PRINTING);
        exit(PRINTED.get().copied().unwrap_or(ServiceState::Unknown.exit_code()));
    }
    let took = outlet.deadline.map_or(Duration::ZERO, |deadline| deadline.elapsed());
    let junit = outlet.junit.map(|path| (path, junit::render(&report, took)));
    if outlet.file.is_some() || junit.is_some() {
        // node_exporter and CI systems read as other users.
        let format = if outlet.file.is_some() { Format::Nagios } else { outlet.format };
        for (path, content) in outlet.file.map(|path| (path, output)).into_iter().chain(junit) {
            if let Err(error) = atomic_file::write(&path, content.as_bytes(), 0o644) {
                report.is_incomplete(error.to_string());
            }
        }
        output = format.render(&report);
    }
    let mut stdout = std::io::stdout();
    let printed = stdout.write_all(output.as_bytes()).and_then(|()| stdout.flush());
    // An answer that nobody can read is no answer.
    let state = if printed.is_ok() { report.state } else { ServiceState::Unknown };
    exit(*PRINTED.get_or_init(|| state.exit_code()))
}
