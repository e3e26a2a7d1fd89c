//! What each check says of a recording: those of one moment from a dump of it, growth from the series by `connleak backtest`.

use crate::dump;
use crate::reading::{Look, Recording, Row};
use connleak::base::deadline::Deadline;
use connleak::base::duration::Span;
use connleak::growth::detector::State;
use connleak::growth::pool;
use connleak::history::first_sights::FirstSights;
use connleak::kernel::world::World;
use connleak::service::request::Request;
use connleak::service::target::{self, Target};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Milliseconds between the looks that growth is shown, as a scheduler's; and between those of the checks of one moment, which need no past.
const EACH: i64 = 60_000;
const CHECKED_EACH: i64 = 120_000;

const OF_A_MOMENT: [(&str, &str); 4] = [
    ("closewait", env!("CARGO_BIN_EXE_check_closewait")),
    ("conn_states", env!("CARGO_BIN_EXE_check_conn_states")),
    ("conn_idle", env!("CARGO_BIN_EXE_check_conn_idle")),
    ("conn_tenants", env!("CARGO_BIN_EXE_check_conn_tenants")),
];
const AFTER_STOP: (&str, &str) = ("orphans_after_stop", env!("CARGO_BIN_EXE_check_orphans_after_stop"));

/// The first of its state.
#[derive(Clone, Debug)]
pub struct Alarm {
    pub check: &'static str,
    /// Seconds since the beginning.
    pub at: i64,
    pub state: i64,
    pub text: String,
    /// Whether most of the sockets that it speaks of are held by the process that has the mistake.
    pub names_culprit: bool,
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Alarm { check, at, state, text, names_culprit } = self;
        let minutes = *at as f64 / 60.0;
        write!(
            f,
            "{check} {state} at {minutes:.0} min, process {}: {text}",
            if *names_culprit { "named" } else { "not named" }
        )
    }
}

pub fn alarms(recording: &Recording) -> Vec<Alarm> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dump");
    let (mut found, mut series, mut next) = (Vec::new(), Series::new(recording), 0);
    let wait = series.target.profile.orphans.wait.unwrap().0.as_millis() as i64;
    for look in &recording.looks {
        if look.at < next {
            continue;
        }
        next = look.at - look.at % EACH + EACH;
        std::fs::write(&file, dump::of(look)).unwrap();
        series.add(look, &file);
        if look.at % CHECKED_EACH < EACH || recording.down_since(look.at).is_some() {
            found.extend(of_a_moment(recording, look, &file, wait));
        }
    }
    found.extend(series.alarms());
    let mut seen = BTreeSet::new();
    found.retain(|alarm| seen.insert((alarm.check, alarm.state)));
    found
}

/// `wait`: after a stop, before what is left is an orphan; milliseconds.
fn of_a_moment(recording: &Recording, look: &Look, file: &Path, wait: i64) -> Vec<Alarm> {
    match recording.down_since(look.at) {
        Some(since) if look.at - since < wait => return Vec::new(),
        Some(_) => return one(AFTER_STOP, recording, look, file).into_iter().collect(),
        None => {}
    }
    OF_A_MOMENT.iter().filter_map(|check| one(*check, recording, look, file)).collect()
}

fn one((check, binary): (&'static str, &str), recording: &Recording, look: &Look, file: &Path) -> Option<Alarm> {
    let mut options = recording.options();
    if let Some(at) = options.iter().position(|option| *option == "--limit") {
        options.drain(at..at + 2);
    }
    let mut command = Command::new(binary);
    command.args(options).args(["-o", "json", "-vv", "--top", "0", "--replay"]).arg(file);
    if check == "conn_tenants" {
        // A recording has no units; the clients of one host are one peer.
        command.args(["--key", "user"]);
    }
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let json: Value = serde_json::from_str(&said).unwrap_or_else(|why| panic!("{check} {why}: {said}"));
    let state = json["exit_code"].as_i64().unwrap();
    let text = json["summary"].as_str().unwrap_or(&said).to_owned();
    // What a peer doesn't take is the peer's mistake: live the line names its process.
    let holders = holders(recording, look, check == "conn_idle" && text.contains("data not taken"));
    let is_meant = |socket: &&Value| check != "closewait" || socket["state"] == "CLOSE_WAIT";
    let sockets = json["sockets"].as_array().into_iter().flatten().filter(is_meant);
    let told: Vec<bool> =
        sockets.filter_map(|socket| Some(*holders.get(&socket["inode"].as_i64()?)?)).take(20).collect();
    let names_culprit = told.iter().filter(|is_culprit| **is_culprit).count() * 2 > told.len();
    (state != 0).then_some(Alarm { check, at: look.at / 1000, state, text, names_culprit })
}

/// Whether the holder of each inode is the process that has the mistake. `names_peers`: or that of its other end.
fn holders(recording: &Recording, look: &Look, names_peers: bool) -> BTreeMap<i64, bool> {
    let is_culprit = |number: i64| recording.processes.get(&number).is_some_and(|pid| recording.is_culprit(*pid));
    let by_ends: BTreeMap<_, _> = look.sockets.values().map(|row| (row.ends(), row.get('p'))).collect();
    let peer =
        |row: &Row| by_ends.get(&row.ends_of_peer()).filter(|_| names_peers).is_some_and(|peer| is_culprit(*peer));
    look.sockets.values().map(|row| (row.get('I'), is_culprit(row.get('p')) || peer(row))).collect()
}

/// The lines that `connleak backtest` reads, and who holds the silent connections of each group at each sample.
struct Series<'a> {
    recording: &'a Recording,
    target: Target,
    text: String,
    samples: Vec<Sample>,
}

struct Sample {
    at: i64,
    connections: usize,
    is_down: bool,
    /// Silence and whether the culprit holds it, the longest first.
    silent: Vec<(f64, bool)>,
}

impl<'a> Series<'a> {
    fn new(recording: &'a Recording) -> Series<'a> {
        let side = recording.option("--side").map(|side| side.parse().unwrap());
        let ports = vec![recording.option("-p").unwrap().parse().unwrap()];
        let profile = recording.option("-P").map(str::to_owned);
        let world = World::here(Deadline::after(Duration::from_secs(3600)));
        let target = target::resolve(Request { ports, profile, side, ..Request::default() }, &world).unwrap();
        let limit = &recording.head["limit"];
        Series {
            recording,
            target,
            text: format!("H {} {} {limit}\n", recording.name, EACH / 1000),
            samples: Vec::new(),
        }
    }

    fn add(&mut self, look: &Look, file: &Path) {
        let mut world = World::here(Deadline::after(Duration::from_secs(3600)));
        world.replay = Some(file.to_owned());
        let pool = pool::look(&world, &self.target.selection, None, &mut FirstSights::default()).unwrap();
        let sample = pool.sample();
        let (at, number) = (look.at as f64 / 1000.0, self.samples.len() + 1);
        let (wall, uptime) = (1_700_000_000.0 + at, 100_000.0 + at);
        let (established, closing) = (sample.established, sample.close_wait);
        let (service, time_wait, other) = (sample.service, sample.time_wait, sample.other);
        let sockets = sample.sockets.len();
        writeln!(
            self.text,
            "S {number} {wall} {uptime} 1 {service} {established} {closing} {time_wait} {other} {sockets}"
        )
        .unwrap();
        for socket in &sample.sockets {
            let state = if socket.state == State::CloseWait { 'W' } else { 'E' };
            writeln!(self.text, "K {} {} {state} {:.1}", socket.cookie, socket.group, socket.idle).unwrap();
        }
        self.text.push_str(".\n");
        let holders = holders(self.recording, look, false);
        let silent = |one: &pool::Connection| {
            let inode = i64::try_from(one.socket.inode).unwrap();
            (one.silence().unwrap_or(0.0), holders.get(&inode).copied().unwrap_or(false))
        };
        let mut silent: Vec<_> = pool.connections.iter().map(silent).collect();
        silent.sort_by(|one, other| other.0.total_cmp(&one.0));
        let is_down = self.recording.down_since(look.at).is_some();
        self.samples.push(Sample { at: look.at / 1000, connections: sockets, is_down, silent });
    }

    /// A leak is an alarm where the time left at the earliest is in the profile's thresholds.
    fn alarms(&self) -> Vec<Alarm> {
        if let Some(folder) = std::env::var_os("RECORDED_SERIES") {
            std::fs::write(Path::new(&folder).join(&self.recording.name), &self.text).unwrap();
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_connleak"));
        command.args(["backtest", "--stream"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (mut pipe, text) = (child.stdin.take().unwrap(), self.text.clone());
        let writer = std::thread::spawn(move || pipe.write_all(text.as_bytes()).unwrap());
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        assert!(output.status.success(), "{output:?}");
        let answers = String::from_utf8(output.stdout).unwrap();
        assert_eq!(answers.lines().count(), self.samples.len(), "{}", self.recording.name);
        self.samples.iter().zip(answers.lines()).filter_map(|(sample, line)| self.alarm(sample, line)).collect()
    }

    fn alarm(&self, sample: &Sample, line: &str) -> Option<Alarm> {
        let [left, earliest] = [2, 3].map(|field| Some(line.split(' ').nth(field)?.parse::<f64>().unwrap()));
        let (left, earliest) = (left?, earliest?);
        let (warning, critical) = self.thresholds();
        let state = if earliest < critical { 2 } else { 1 };
        if earliest >= warning || sample.is_down {
            return None;
        }
        let told = &sample.silent[..sample.silent.len().div_ceil(2)];
        let names_culprit = told.iter().filter(|(_, is_culprit)| *is_culprit).count() * 2 > told.len();
        let text = format!("{} connections, full in {left:.0} s", sample.connections);
        Some(Alarm { check: "conn_growth", at: sample.at, state, text, names_culprit })
    }

    /// Seconds left, of WARNING and CRITICAL.
    fn thresholds(&self) -> (f64, f64) {
        let growth = &self.target.profile.growth;
        let seconds = |span: &Option<Span>| span.unwrap().0.as_secs_f64();
        (seconds(&growth.warning), seconds(&growth.critical))
    }
}
