//! Draw services' history, or CSV files, as one page that needs nothing else.

mod choice;
mod estimate;
mod figure;
mod output;
mod page;
mod past;
mod progress;
mod recording;
mod replay;
mod rows;
mod table;
mod words;

use crate::everyone;
use crate::screen;
use crate::subcommand::Plain;
use argh::{ArgsInfo, FromArgs};
use connleak::base::duration::Span;
use connleak::base::error::{Result, plain};
use connleak::growth::detector::Verdict;
use connleak::growth::detector_state::DetectorState;
use connleak::history::History;
use connleak::history::series;
use connleak::kernel::scope;
use connleak::kernel::select::Cidr;
use connleak::kernel::socket::Side;
use connleak::kernel::unix_target::UnixPath;
use connleak::kernel::world::{Netns, Source};
use connleak::options::args::{Pids, Ports};
use estimate::Estimate;
use figure::Drawn;
use output::Target;
use page::{Calm, Chart};
use recording::Recording;
use replay::Alarm;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use table::Table;

/// Charts on one page.
const MOST_CHARTS: usize = 32;
/// Fewer counts are judged by nobody.
const FEWEST: usize = 4;
/// The history may be in use by a check.
const PATIENCE: Duration = Duration::from_secs(10);

/// draw the past of services, from the history or CSV files, as one HTML page
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "graph")]
pub struct Graph {
    /// service port, or several of one service; repeated, each is a chart of its own
    #[argh(option, short = 'p', arg_name = "N[,N...]")]
    port: Vec<Ports>,

    /// UNIX socket, as the check was given it; repeated, all are one service's
    #[argh(option, arg_name = "PATH")]
    unix: Vec<UnixPath>,

    /// the service of this profile; repeated, each is a chart of its own
    #[argh(option, short = 'P', arg_name = "NAME|FILE")]
    profile: Vec<String>,

    /// as the check was given it: server, client or both
    #[argh(option, arg_name = "SIDE")]
    side: Option<Side>,

    /// as the check was given it; like --unit and --user it needs no port
    #[argh(option, arg_name = "N[,N...]")]
    pid: Vec<Pids>,

    /// as the check was given it
    #[argh(option, arg_name = "CIDR")]
    peer: Vec<Cidr>,

    /// as the check was given it
    #[argh(option, arg_name = "CIDR")]
    local: Vec<Cidr>,

    /// as the check was given it
    #[argh(option, arg_name = "NAME|UID")]
    user: Option<String>,

    /// as the check was given it
    #[argh(option, arg_name = "NAME")]
    unit: Option<String>,

    /// as the check was given it
    #[argh(option, arg_name = "self|PID|NAME")]
    netns: Option<Netns>,

    /// as the check was given it
    #[argh(option, arg_name = "SOURCE")]
    source: Option<Source>,

    /// as the check was given it
    #[argh(option, arg_name = "DIR")]
    proc_root: Option<PathBuf>,

    /// as the check was given it
    #[argh(option, arg_name = "FACTOR")]
    rehearse: Option<u32>,

    /// where the history is kept; default as for the check
    #[argh(option, arg_name = "DIR")]
    state_dir: Option<PathBuf>,

    /// how far back from the last sample; default 24h, of a CSV file all
    #[argh(option, arg_name = "DURATION")]
    since: Option<Span>,

    /// connections that a CSV file's service can hold; default its column limit, the history knows it
    #[argh(option, arg_name = "N")]
    limit: Option<u32>,

    /// the page's title
    #[argh(option, arg_name = "TEXT")]
    title: Option<String>,

    /// the file to write, whole or not at all; - is standard output; default connleak.html
    #[argh(option, short = 'O', arg_name = "FILE")]
    output_file: Option<PathBuf>,

    /// skip a CSV file's bad lines, and say how many
    #[argh(switch)]
    skip_bad: bool,

    /// show the page in the browser
    #[argh(switch)]
    open: bool,

    /// CSV files of timestamp,count: seconds since 1970, then one number or several
    #[argh(positional)]
    files: Vec<PathBuf>,
}

/// What was found in one history.
#[derive(Default)]
struct Found {
    known: Vec<String>,
    /// With their services' names there.
    judged: Vec<(String, Judged)>,
}

/// A recording with what is known of it.
struct Judged {
    recording: Recording,
    estimate: Option<Estimate>,
    alarms: Vec<Alarm>,
    calm: Calm,
}

impl Plain for Graph {
    fn run(self) -> std::result::Result<(), String> {
        let target = Target::of(self.output_file.as_deref(), self.open)?;
        if let Some(path) = self.files.iter().find(|path| target.is(path)) {
            return Err(format!(
                "{}: the page would replace what it is drawn from; name another with -O",
                path.display()
            ));
        }
        if self.files.is_empty() && (self.limit.is_some() || self.skip_bad) {
            return Err("--limit and --skip-bad are for CSV files, and none is given; see --help".to_owned());
        }
        let judged = self.judged()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        let names: Vec<&str> = judged.iter().map(|judged| judged.recording.name.trim_end_matches(" both")).collect();
        let title = self.title.clone().unwrap_or_else(|| format!("Connections of {}", names.join(", ")));
        let charts: Vec<Chart> = judged.iter().map(Judged::chart).collect();
        let page = page::html(&words::plain(&title), &charts, now)?;
        target.write(&page)?;
        if target.is_file() {
            judged.iter().try_for_each(|judged| describe(&target, &judged.recording))?;
        }
        target.open()
    }
}

/// What is on the page.
fn describe(target: &Target, recording: &Recording) -> std::result::Result<(), String> {
    let Recording { name, times, notes, .. } = recording;
    let notes: String = notes.iter().map(|note| format!(" {note}")).collect();
    let said = format!("{target}: {name}: {}.{notes}", words::many(times.len(), "sample"));
    screen::print(&format!("{}\n", screen::visible(&said)))
}

impl Graph {
    /// Files first, then services.
    fn judged(&self) -> std::result::Result<Vec<Judged>, String> {
        let mut judged = Vec::new();
        for path in &self.files {
            let recording = self.file(path).map_err(|why| format!("{}: {why}", path.display()))?;
            judged.push(judge(recording, None, 1.0));
        }
        if self.files.is_empty() || self.chooses() {
            judged.extend(self.recorded()?);
        }
        let charts = judged.len();
        if charts > MOST_CHARTS {
            return Err(format!("{charts} charts on one page, at most {MOST_CHARTS}; choose some with -p"));
        }
        Ok(judged)
    }

    fn file(&self, path: &Path) -> std::result::Result<Recording, String> {
        let file = File::open(path).map_err(|why| format!("can't read: {}", plain(&why)))?;
        let size = file.metadata().map_or(0, |meta| meta.len());
        let mut bar = progress::Bar::new(&format!("reading {}", path.display()));
        let table = Table::read(BufReader::new(file), self.skip_bad, |done| bar.at(done, size))?;
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let mut recording = table.recording(name, path.display().to_string(), self.limit.map(f64::from));
        if let Some(since) = self.since {
            recording.keep_last(since.0.as_secs_f64());
        }
        Ok(recording)
    }

    /// The services that were asked for, or all that are recorded; for root by any user.
    fn recorded(&self) -> std::result::Result<Vec<Judged>, String> {
        let none = "no history; check_conn_growth records it: run this as its user, or name its --state-dir";
        let wanted = self.services().map_err(|why| why.to_string())?;
        let (mut judged, mut known, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for (uid, dir) in everyone::places(self.state_dir.as_deref())? {
            let found = everyone::as_user(uid, || self.recorded_in(&dir, &wanted))?;
            places.push(dir.display().to_string());
            known.extend(found.known);
            judged.extend(found.judged.into_iter().map(|(service, mut judged)| {
                if let Some(user) = uid.and_then(everyone::name) {
                    judged.recording.name = format!("{} (of {user})", judged.recording.name);
                }
                (service, judged)
            }));
        }
        let places = places.join(", ");
        if known.is_empty() {
            return Err(if places.is_empty() { none.to_owned() } else { format!("{places}: {none}") });
        }
        let missing = wanted.iter().find(|name| judged.iter().all(|(service, _)| service != *name));
        if let Some(name) = missing {
            let mut names: Vec<&str> = known.iter().map(|key| series::name(key)).collect();
            names.dedup();
            let known: Vec<String> = names.iter().take(8).map(|name| format!("'{}'", words::plain(name))).collect();
            return Err(format!("{places}: no history of '{name}'; recorded are {}", known.join(", ")));
        }
        Ok(judged.into_iter().map(|(_, judged)| judged).collect())
    }

    /// What one user has recorded, of the services that are wanted; of none all.
    fn recorded_in(&self, dir: &Path, wanted: &[String]) -> std::result::Result<Found, String> {
        let mut found = Found::default();
        let history = History::open_existing(dir, PATIENCE).map_err(|why| why.to_string())?;
        let Some(history) = history else { return Ok(found) };
        found.known = history.services().map_err(|why| why.to_string())?;
        // A namespace that is gone has no key any more; what was recorded there is found by its name.
        let scope = scope::key(&self.world()).unwrap_or_default();
        let keys: Vec<(String, String)> = match wanted.is_empty() {
            true => found.known.iter().map(|key| (key.clone(), key.clone())).collect(),
            false => {
                let key = |name: &String| Some((name.clone(), series::find(&found.known, name, &scope)?.to_owned()));
                wanted.iter().filter_map(key).collect()
            }
        };
        for (name, key) in &keys {
            let judged = self.service(&history, key).map_err(|why| why.to_string())?;
            // Which host's it is matters where several are drawn.
            let is_only = keys.iter().filter(|(_, other)| series::name(other) == series::name(key)).count() == 1;
            found.judged.extend(judged.map(|mut judged| {
                if is_only {
                    judged.recording.name = series::name(key).to_owned();
                }
                (name.clone(), judged)
            }));
        }
        Ok(found)
    }

    fn service(&self, history: &History, name: &str) -> Result<Option<Judged>> {
        let since = self.since.unwrap_or(Span::seconds(86_400));
        let Some(recording) = past::read(history, name, since.0)? else { return Ok(None) };
        let memory = history.peek(name)?.state.and_then(|(version, state)| DetectorState::restore(version, &state));
        Ok(Some(judge(recording, memory.as_ref(), choice::speed(name))))
    }
}

impl Judged {
    fn chart(&self) -> Chart<'_> {
        let Judged { recording, estimate, alarms, calm } = self;
        Chart { drawn: Drawn { recording, estimate: estimate.as_ref(), alarms }, calm: *calm }
    }
}

fn judge(recording: Recording, memory: Option<&DetectorState>, speed: f64) -> Judged {
    let mut bar = progress::Bar::new("replaying");
    let alarms = replay::alarms(&recording, |done, all| bar.at(done as u64, all as u64));
    let estimate = estimate::of(&recording, memory, speed);
    let calm = match memory.map(|memory| memory.verdict(speed)) {
        None if recording.times.len() > FEWEST => Calm::Unjudged,
        None | Some(Verdict::Learning { .. }) => Calm::Learning,
        Some(_) => Calm::Steady,
    };
    Judged { recording, estimate, alarms, calm }
}
