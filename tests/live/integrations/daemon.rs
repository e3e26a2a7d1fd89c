//! Monitoring systems that a test starts with its own configuration, and the service that they watch.

use crate::host::unit::Service;
use crate::lab::run::{CLOSEWAIT, GROWTH, IDLE, ORPHANS, PATIENCE, STATES, Started, TENANTS, finish, poll};
use crate::lab::{CLOSE_WAIT, Lab, Peer};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A file of contrib/.
pub fn contrib(name: &str) -> String {
    let path = format!("{}/contrib/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|why| panic!("{path}: {why}"))
}

/// The first of `programs` that isn't installed; Debian's place for plugins and daemons counts.
pub fn missing(programs: &[&str]) -> Option<String> {
    let is_there = |program: &&&str| {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let dirs = std::env::split_paths(&paths).chain(["/usr/sbin", "/usr/lib/nagios/plugins"].map(PathBuf::from));
        dirs.into_iter().any(|dir| dir.join(program).exists())
    };
    programs.iter().find(|program| !is_there(program)).map(|program| format!("{program} is not installed"))
}

/// A directory of plugins as the packages make one, of what was just built.
pub fn plugins(dir: &Path) -> PathBuf {
    let plugins = dir.join("plugins");
    fs::create_dir(&plugins).unwrap();
    for check in [CLOSEWAIT, GROWTH, IDLE, ORPHANS, STATES, TENANTS] {
        let binary = Path::new(check.0);
        // Copies, as daemons may run as users who don't come to where they were built.
        fs::copy(binary, plugins.join(binary.file_name().unwrap())).unwrap();
    }
    plugins
}

/// A layer over /etc for one program; `$0` is the layer.
const LAYERED: &str = "mount -t overlay overlay -o lowerdir=\"$0\":/etc /etc && exec \"$@\"";

/// Starts it where /etc has what is in `dir`/etc, too.
pub fn layered(dir: &Path, words: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", LAYERED]).arg(dir.join("etc")).args(words);
    command
}

/// A daemon with all that it starts; ended with its test, also where that fails.
pub struct Daemon {
    process: Started,
    name: String,
    log: PathBuf,
}

impl Daemon {
    pub fn start(command: &mut Command, log: PathBuf) -> Daemon {
        let output = File::create(&log).unwrap();
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output).process_group(0);
        let process = command.spawn().unwrap_or_else(|why| panic!("{command:?}: {why}"));
        Daemon { process: Started(process), name: command.get_program().to_string_lossy().into_owned(), log }
    }

    /// Waits for what `seen` looks for.
    pub fn until<T>(&mut self, what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
        let mut found = None;
        let reached = poll(PATIENCE, || {
            found = seen();
            let ended = self.process.0.try_wait().unwrap();
            assert!(found.is_some() || ended.is_none(), "{} ended: {ended:?}\n{}", self.name, self.log());
            found.is_none().then(|| std::thread::sleep(Duration::from_millis(50)));
            found.is_some()
        });
        assert!(reached, "{}: no {what}\n{}", self.name, self.log());
        found.unwrap()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let Some(pid) = i32::try_from(self.process.0.id()).ok().and_then(Pid::from_raw) else { return };
        if self.process.0.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = kill_process(pid, Signal::TERM);
            finish(&mut self.process.0, Duration::from_secs(10));
        }
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

/// Runs a tool to its end; its output, where it succeeds.
pub fn tool(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|why| panic!("{command:?}: {why}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok(text) } else { Err(format!("{text}{}", String::from_utf8_lossy(&output.stderr))) }
}

/// Asks a web server of the namespace; `None` where it doesn't answer yet or not so.
pub fn ask(arguments: &[&str], url: &str) -> Option<String> {
    let mut curl = Command::new("curl");
    tool(curl.args(["--silent", "--fail", "--max-time", "10", "--globoff"]).args(arguments).arg(url)).ok()
}

pub fn ask_json(arguments: &[&str], url: &str) -> Option<Value> {
    serde_json::from_str(&ask(arguments, url)?).ok()
}

/// What the client of each story calls itself, and its unit: a metric to whom believes it.
const FORGED: &str = "x|evil=1;;;\n\"'";
const FORGED_UNIT: &str = "| evil=2;;;0 'evil'=3 \\\"%n";
/// The same as it may be shown.
pub const SHOWN: &str = "x/evil:1;;;?\"'";

/// A service on memcached's port and its client, which leaks when the service goes.
pub struct Story {
    server: Option<Peer>,
    client: Peer,
    /// Of the client. Gone after it.
    _unit: Option<Service>,
    /// The service's process name.
    pub name: String,
}

impl Story {
    /// Two connections, as they should be.
    pub fn begin(lab: &Lab) -> Story {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("s{}-{}", NEXT.fetch_add(1, Ordering::Relaxed), std::process::id());
        let (mut server, mut client) = lab.connected("127.0.0.1:11211", 2);
        let hex = |name: &str| name.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
        server.say(&format!("rename {}", hex(&name)));
        client.say(&format!("rename {}", hex(FORGED)));
        let unit = Service::with(lab, FORGED_UNIT);
        unit.iter().for_each(|unit| unit.take(&client));
        Story { server: Some(server), client, _unit: unit, name }
    }

    /// 25 sockets that the client doesn't close when the service stops.
    pub fn leak(&mut self, lab: &Lab) {
        let mut server = self.server.take().unwrap();
        self.client.say("connect c 127.0.0.1:11211 23");
        server.say("accept s l 23");
        server.end();
        lab.wait_for(CLOSE_WAIT, 11211, 25);
    }

    pub fn release(&mut self) {
        self.client.say("close c");
    }

    pub fn client_pid(&self) -> u32 {
        self.client.pid()
    }
}
