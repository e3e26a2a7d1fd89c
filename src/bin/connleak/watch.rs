//! The connections of a service over time: a live chart on a terminal, else plain lines.

mod csv;
mod dashboard;
mod frame;
mod lines;
mod list_command;
mod remembered;
mod sampler;

use crate::screen::{self, Screen};
use crate::subcommand::Shared;
use crate::who::By;
use argh::{ArgsInfo, FromArgs};
use connleak::base::duration::Span;
use connleak::base::error::plain;
use connleak::kernel::world::World;
use connleak::options::args::{Args, Command};
use csv::Csv;
use dashboard::Heading;
use frame::Story;
use list_command::Running;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use rustix::event::{PollFd, PollFlags};
use sampler::{Sampler, Told};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::thread;
use std::time::Duration;

/// the states of a service's connections over time, and whose grow
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    note = "A live chart on a terminal (q or Ctrl-C ends it), else a line for each look. Each connection counts once: \
    where both ends are here, the client's. Of one --pid also its descriptors and memory are shown. At the end it \
    says what grew, and whose."
)]
pub struct Watch {
    /// time between two looks, 100ms to 1d; default 5s
    #[argh(option, arg_name = "DURATION")]
    interval: Option<Interval>,

    /// end after this time; default: watch until told to end
    #[argh(option, long = "for", arg_name = "DURATION")]
    until: Option<Span>,

    /// write each look as a row to this file, or go on with one of an earlier watch
    #[argh(option, arg_name = "FILE")]
    csv: Option<PathBuf>,

    /// where looks are recorded, for check_conn_growth and connleak graph; default see the man page
    #[argh(option, arg_name = "DIR")]
    state_dir: Option<PathBuf>,

    /// a shell command that prints the service's session list, as 'connleak sessions --how' tells it up to the pipe;
    /// run at each look, at most once a second. Of each socket the last session is kept, and told once the service
    /// has closed it and its client has not
    #[argh(option, arg_name = "CMD")]
    sessions: Option<String>,

    /// owners by pid, unit, user, peer or tenant (the key in the profile); default by command
    #[argh(option, arg_name = "KEY")]
    by: Option<By>,
}

/// `--interval`.
#[derive(Clone, Copy, Debug)]
struct Interval(Span);

impl std::str::FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let span: Span = text.parse()?;
        let sane = Span::millis(100)..=Span::seconds(86_400);
        if sane.contains(&span) { Ok(Interval(span)) } else { Err(format!("bad interval '{text}': use 100ms to 1d")) }
    }
}

impl Watch {
    fn interval(&self) -> Span {
        self.interval.map_or(Span::seconds(5), |Interval(span)| span)
    }
}

impl Command for Watch {
    const PROGRAM: &'static str = "connleak watch";
    const USAGE: &'static str = "-p PORT|--unix PATH|-P PROFILE|--pid N|--unit NAME|--user NAME [OPTIONS]";
    const WITHOUT: &'static [&'static str] = &[
        "--warning",
        "--critical",
        "--output",
        "--output-file",
        "--replay",
        "--require-listener",
        "--top",
        "--verbose",
    ];
    const CLOSING: &'static str = "Exit status: 0, or 3 with one line on standard error.\n";
}

impl Shared for Watch {
    fn run(args: Args<Watch>, world: World) -> Result<(), String> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&stop))
                .map_err(|why| format!("can't watch for signals: {}", plain(&why)))?;
        }
        let csv = args.own.csv.as_deref().map(Csv::open).transpose()?;
        let interval = args.own.interval();
        let (sender, told) = channel();
        let running = Running::default();
        let _last = AtTheEnd(running.clone());
        thread::spawn(move || Sampler::new(args, world, running).run(&sender));
        let title = match told.recv() {
            Ok(Told::Title(title)) => title,
            Ok(Told::Failed(why) | Told::Gone(why)) => return Err(why),
            _ => return Err("no look could be taken".to_owned()),
        };
        let heading = Heading { title, interval, colour: Screen::of_stdout().colour };
        let mut audience = Audience { told, stop, csv, story: Story::default(), ended: None };
        let shown = audience.attend(&heading);
        audience.farewell(&heading)?;
        shown
    }
}

/// Ends a client that still prints a list, however the watch ends.
struct AtTheEnd(Running);

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Whoever the looks are shown to.
struct Audience {
    told: Receiver<Told>,
    stop: Arc<AtomicBool>,
    csv: Option<Csv>,
    story: Story,
    /// Why nothing more is to be seen, or was when it ended.
    ended: Option<String>,
}

/// How long a look at the keyboard or at the signals may be put off.
const PATIENCE: Duration = Duration::from_millis(100);

impl Audience {
    /// Shows every look until the end, on the terminal if there is one.
    fn attend(&mut self, heading: &Heading) -> Result<(), String> {
        // Where it can't be prepared (no keyboard) plain lines will do.
        match Screen::of_stdout().redraws.then(ratatui::try_init) {
            Some(Ok(terminal)) => {
                let shown = self.draw(terminal, heading);
                ratatui::restore();
                shown.map_err(|why| format!("can't draw on the terminal: {}", plain(&why)))
            }
            refused => {
                if refused.is_some() {
                    let _ = ratatui::try_restore();
                }
                self.print(heading)
            }
        }
    }

    fn print(&mut self, heading: &Heading) -> Result<(), String> {
        screen::print(&format!("{}, every {}\n", heading.title, heading.interval))?;
        while !self.stop.load(Ordering::Relaxed) {
            match self.told.recv_timeout(PATIENCE) {
                Ok(told) => {
                    let looks = self.story.looks;
                    self.take(told);
                    let Some(last) = &self.story.last else { continue };
                    let is_new = self.story.looks > looks;
                    let failure = || last.notes.iter().map(|why| format!("note: {}\n", screen::visible(why))).collect();
                    screen::print(&if is_new { lines::line(&self.story, last) } else { failure() })?;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        Ok(())
    }

    fn draw(&mut self, mut terminal: DefaultTerminal, heading: &Heading) -> std::io::Result<()> {
        while !self.stop.load(Ordering::Relaxed) {
            let mut is_stale = true;
            match self.told.try_recv() {
                Ok(told) => self.take(told),
                Err(TryRecvError::Empty) => is_stale = false,
                Err(TryRecvError::Disconnected) => break,
            }
            if !is_there(if is_stale { Duration::ZERO } else { PATIENCE }) {
                break;
            }
            if event::poll(Duration::ZERO)? {
                let event = event::read()?;
                is_stale |= matches!(event, Event::Resize(..));
                if ends(&event) {
                    break;
                }
            }
            if is_stale {
                terminal.draw(|canvas| heading.draw(canvas, &self.story))?;
            }
        }
        Ok(())
    }

    fn take(&mut self, told: Told) {
        match told {
            Told::Title(_) => {}
            Told::Gone(why) => self.ended = Some(why),
            Told::Failed(why) => {
                self.story.last.iter_mut().for_each(|last| last.notes = vec![format!("this look failed: {why}")]);
                self.ended = Some(format!("the last look failed: {why}"));
            }
            Told::Frame(mut frame) => {
                self.ended = None;
                if let Some(csv) = &mut self.csv {
                    csv.add(&frame);
                    frame.notes.extend(csv.broken.clone());
                }
                self.story.add(*frame);
            }
        }
    }

    /// What the watch has shown, in one line; and what of it is lost.
    fn farewell(&self, heading: &Heading) -> Result<(), String> {
        let ended = self.ended.as_ref().map_or(String::new(), |why| format!("; {why}"));
        let summary = format!("{}: {}{ended}", heading.title, self.story.summary());
        let screen = Screen::of_stdout();
        let left = self.story.last.iter().flat_map(|last| &last.left);
        let left: String = left.map(|line| screen.folded("left in CLOSE_WAIT:", line)).collect();
        screen::print(&(screen.folded("", &summary) + &left))?;
        match self.csv.as_ref().and_then(|csv| csv.broken.clone()) {
            Some(why) => Err(format!("{why}; what was written before is whole")),
            None => Ok(()),
        }
    }
}

/// Waits for a key, and says whether there still is a terminal. Asked for first, as crossterm reads the end
/// of one that was closed for ever.
fn is_there(wait: Duration) -> bool {
    let stdout = std::io::stdout();
    let mut terminal = [PollFd::new(&stdout, PollFlags::IN)];
    let wait = wait.try_into().ok();
    let asked = rustix::event::poll(&mut terminal, wait.as_ref());
    asked.is_err() || !terminal[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

/// q, Escape or Ctrl-C, which a raw terminal makes no signal of.
fn ends(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    let is_interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    is_interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
}
