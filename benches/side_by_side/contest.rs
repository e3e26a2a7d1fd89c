//! Who is measured, and how: CPU time, wall time and peak memory of one whole process at a time.

use crate::Result;
use crate::scene::PORT;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use wait4::Wait4;

/// What one run took. Of programs that start others it is the sum, of memory the largest.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Milliseconds of user and system time.
    pub cpu: f64,
    pub wall: f64,
    /// MiB, `ru_maxrss`.
    pub peak: f64,
}

pub struct Contestant {
    /// What the table says.
    pub name: String,
    argv: Vec<String>,
    /// Any other exit code fails the benchmark: an error is quickly told. [`ANY`]: all but UNKNOWN.
    code: i32,
    /// A daemon to be asked there once, and to be ended then.
    scraped_at: Option<SocketAddr>,
}

/// Thresholds that nothing reaches: the cost of counting and ages. Owners are looked for on a problem only.
pub const CALM: &str = "--min-age 0s -w 100000000 -c 100000000 --ratio-warning 100000000 --ratio-critical 100000000";

/// The exit code of who is on to something, or not.
pub const ANY: i32 = -1;

/// What the table calls it.
pub const GROWTH: &str = "check_conn_growth, 30 days";

pub const SIX: &str = "all six checks";

pub const GHOSTS: &str = "ours --side server";
pub const NO_GHOSTS: &str = "ours --side server --no-ghosts";

impl Contestant {
    fn new(name: &str, code: i32, argv: &[&str]) -> Contestant {
        let argv = argv.iter().map(|word| (*word).to_owned()).collect();
        Contestant { name: name.to_owned(), argv, code, scraped_at: None }
    }

    /// Of another program of ours, which ends in 0.
    pub fn of(name: &str, program: &Path, args: &[&str]) -> Contestant {
        let argv: Vec<&str> =
            std::iter::once(program.to_str().unwrap_or_default()).chain(args.iter().copied()).collect();
        Contestant::new(name, 0, &argv)
    }

    /// Of any other, which ends in 0.
    pub fn command(name: &str, argv: &[&str]) -> Contestant {
        Contestant::new(name, 0, argv)
    }

    pub fn ending(self, code: i32) -> Contestant {
        Contestant { code, ..self }
    }

    /// The same program from another folder, if it is one of those in `bin`. With a state of its own: one build begins anew
    /// what another has left in its version. `states`: where ours is, and where that one's.
    pub fn in_folder(&self, bin: &Path, folder: &Path, states: [&Path; 2], before: &str) -> Option<Contestant> {
        let [ours, its] = states.map(|state| state.to_string_lossy());
        let moved = |word: &String| {
            let there = Path::new(word).strip_prefix(bin).ok().map(|name| folder.join(name));
            there.filter(|there| there.is_file()).map(|there| there.to_string_lossy().into_owned())
        };
        let argv = self.argv.iter().map(|word| moved(word).unwrap_or_else(|| word.replace(&*ours, &its)));
        let argv: Vec<String> = argv.collect();
        let (name, code, scraped_at) = (format!("{before}{}", self.name), self.code, self.scraped_at);
        (argv != self.argv).then_some(Contestant { name, argv, code, scraped_at })
    }

    fn ours(bin: &Path, name: &str, code: i32, args: &str) -> Contestant {
        let check = bin.join("check_closewait");
        let mut argv = vec![check.to_str().unwrap_or_default()];
        argv.extend(args.split_whitespace());
        Contestant::new(name, code, &argv)
    }

    fn example(bin: &Path, name: &str, program: &str) -> Contestant {
        Contestant::new(name, 0, &[bin.join("examples").join(program).to_str().unwrap_or_default()])
    }

    /// check_conn_growth on a history of 30 days in `state`; each run counts, however close they are.
    pub fn growth(bin: &Path, state: &Path) -> Contestant {
        let (check, state) = (bin.join("check_conn_growth"), state.to_string_lossy());
        let port = format!("-p{PORT}");
        let argv =
            [check.to_str().unwrap_or_default(), &port, "--limit=100000", "--rehearse=3600", "--state-dir", &state];
        Contestant::new(GROWTH, 0, &argv)
    }

    /// Those that count or list sockets.
    pub fn counters(bin: &Path) -> Vec<Contestant> {
        let pipeline = format!("grep :{PORT:X} /proc/net/tcp | awk '{{print $4}}' | sort | uniq -c");
        let zabbix_key = format!("net.tcp.socket.count[,{PORT},,,close_wait]");
        let mut all = Contestant::floor(bin);
        all.extend([
            Contestant::ours(bin, "ours --side server", 0, &format!("-p {PORT} --side server {CALM}")),
            Contestant::new(
                "ss state+port",
                0,
                &["ss", "-Htan", "state", "close-wait", &format!("( sport = :{PORT} )")],
            ),
            Contestant::ours(bin, "ours --side both", 0, &format!("-p {PORT} --side both {CALM}")),
            Contestant::new("ss port", 0, &["ss", "-Htan", &format!("( sport = :{PORT} or dport = :{PORT} )")]),
            Contestant::new("grep, awk, sort, uniq", 0, &["sh", "-c", &pipeline]),
            Contestant::example(bin, "procfs crate", "procfs_crate"),
            Contestant::new("netstat -ant", 0, &["netstat", "-ant"]),
            Contestant::new("zabbix_agent2 -t", 0, &["zabbix_agent2", "-t", &zabbix_key]),
            Contestant::node_exporter(),
            Contestant::ours(
                bin,
                "ours --side both, owners",
                2,
                &format!("-p {PORT} --side both --min-age 0s -w 5 -c 20"),
            ),
        ]);
        all
    }

    /// What a scheduler runs each minute on a host of one service, and what a person would look at instead.
    pub fn of_a_minute(bin: &Path, state: &Path) -> Vec<Contestant> {
        let state = state.display();
        let all = format!(
            "run() {{ check=$1; shift; \"${{0%/*}}/$check\" -p{PORT} -t60 \"$@\"; [ $? -lt 3 ] || exit 3; }}
             run check_closewait; run check_conn_states; run check_conn_idle; run check_conn_tenants --key user
             run check_conn_growth --limit 100000 --state-dir {state}
             run check_orphans_after_stop --process peer --state-dir {state}"
        );
        let first = bin.join("check_closewait").to_string_lossy().into_owned();
        let mut contestants = Contestant::starters(bin);
        contestants.extend([
            Contestant::command(SIX, &["sh", "-c", &all, &first]),
            Contestant::command("ss -Htanp", &["ss", "-Htanp"]),
        ]);
        contestants
    }

    /// Those that look at UNIX sockets.
    pub fn of_unix(bin: &Path, path: &str, state: &Path) -> Vec<Contestant> {
        let mut contestants = Contestant::starters(bin);
        let anew = format!("exec \"$0\" --unix {path} --state-dir {}/$$ {CALM}", state.display());
        contestants.extend([
            Contestant::example(bin, "kernel's dump with names", "unix_dump"),
            Contestant::new(
                "ours --unix, first run",
                0,
                &["sh", "-c", &anew, &bin.join("check_closewait").to_string_lossy()],
            ),
            Contestant::ours(bin, "ours --unix", 0, &format!("--unix {path} --state-dir {} {CALM}", state.display())),
            Contestant::ours(bin, "ours --unix --side server", 0, &format!("--unix {path} --side server {CALM}")),
            Contestant::new("ss -Hxa src PATH", 0, &["ss", "-Hxa", "src", path]),
            Contestant::new("ss -Hxap src PATH", 0, &["ss", "-Hxap", "src", path]),
        ]);
        contestants
    }

    /// Those that name processes.
    pub fn blamers(bin: &Path) -> Vec<Contestant> {
        let port = format!("( sport = :{PORT} )");
        let mut all = Contestant::floor(bin);
        all.extend([
            Contestant::ours(bin, "ours, owners", 2, &format!("-p {PORT} --side server --min-age 0s -w 5 -c 20")),
            Contestant::new("ss -Htanp", 0, &["ss", "-Htanp"]),
            Contestant::new("ss -Htanp state+port", 0, &["ss", "-Htanp", "state", "close-wait", &port]),
            Contestant::new("lsof", 0, &["lsof", "-nP", "-i", &format!(":{PORT}")]),
        ]);
        all
    }

    /// Those that look for ghosts, or don't, with the usual thresholds.
    pub fn seekers(bin: &Path) -> Vec<Contestant> {
        let mut all = Contestant::floor(bin);
        all.extend([NO_GHOSTS, GHOSTS].map(|name| {
            let options = name.strip_prefix("ours ").unwrap_or_default();
            Contestant::ours(bin, name, 0, &format!("-p {PORT} {options}"))
        }));
        all
    }

    /// Those that look into every network namespace.
    pub fn travellers(bin: &Path) -> Vec<Contestant> {
        let in_each = format!(
            "for pid in $(lsns -n -t net -o PID); do \
             nsenter -t $pid -n ss -Htan state close-wait '( sport = :{PORT} )'; done"
        );
        let mut all = Contestant::floor(bin);
        let walk = bin.join("examples/empty_walk");
        all.extend([
            Contestant::new("kernel's empty walk, 200 times", 0, &[&walk.to_string_lossy(), "200"]),
            Contestant::ours(bin, "ours, own namespace", 0, &format!("-p {PORT} --side server {CALM}")),
            Contestant::ours(bin, "ours --netns all", 0, &format!("-p {PORT} --side server --netns all {CALM}")),
            Contestant::ours(
                bin,
                "ours --netns all --source proc",
                0,
                &format!("-p {PORT} --side server --netns all --source proc {CALM}"),
            ),
            Contestant::new("lsns, nsenter, ss", 0, &["sh", "-c", &in_each]),
        ]);
        all
    }

    /// Those that do nothing.
    pub fn starters(bin: &Path) -> Vec<Contestant> {
        vec![Contestant::example(bin, "hello world", "hello"), Contestant::ours(bin, "ours --version", 3, "--version")]
    }

    fn floor(bin: &Path) -> Vec<Contestant> {
        let mut all = Contestant::starters(bin);
        all.push(Contestant::example(bin, "kernel's empty walk", "empty_walk"));
        all
    }

    fn node_exporter() -> Contestant {
        let at = SocketAddr::from(([127, 0, 0, 1], 9100));
        let listen = format!("--web.listen-address={at}");
        let argv = ["prometheus-node-exporter", "--collector.disable-defaults", "--collector.tcpstat", &listen];
        Contestant { scraped_at: Some(at), ..Contestant::new("node_exporter tcpstat", 0, &argv) }
    }

    pub fn run(&self) -> Result<Cost> {
        let started = Instant::now();
        let child = self.start(Stdio::null())?;
        if let Some(at) = self.scraped_at {
            let scraped = scrape(at);
            kill_process(Pid::from_child(&child), Signal::TERM)?;
            scraped?;
        }
        let used = child.wait4()?;
        let wall = millis(started.elapsed());
        let is_expected = |code: i32| code == self.code || (self.code == ANY && code != 3);
        if self.scraped_at.is_none() && !used.status.code().is_some_and(is_expected) {
            return Err(format!("{}: {}, expected exit code {}", self.name, used.status, self.code).into());
        }
        let usage = used.rusage;
        Ok(Cost { cpu: millis(usage.utime + usage.stime), wall, peak: usage.maxrss as f64 / 1_048_576.0 })
    }

    /// What it prints.
    pub fn output(&self) -> Result<String> {
        let mut child = self.start(Stdio::piped())?;
        let mut text = String::new();
        child.stdout.take().ok_or("no pipe")?.read_to_string(&mut text)?;
        child.wait()?;
        Ok(text)
    }

    /// Whether it is installed.
    pub fn is_here(&self) -> bool {
        let Some(program) = self.argv.first() else { return false };
        let paths = std::env::var_os("PATH").unwrap_or_default();
        program.contains('/') || std::env::split_paths(&paths).any(|dir| dir.join(program).exists())
    }

    fn start(&self, stdout: Stdio) -> Result<Child> {
        let (program, args) = self.argv.split_first().ok_or("no program")?;
        let child = Command::new(program).args(args).stdin(Stdio::null()).stdout(stdout).stderr(Stdio::null()).spawn();
        child.map_err(|why| format!("{program}: {why}").into())
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Waits for the daemon and reads its metrics.
fn scrape(at: SocketAddr) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(10);
    let mut stream = loop {
        match TcpStream::connect(at) {
            Ok(stream) => break stream,
            Err(why) if Instant::now() > until => return Err(format!("{at}: {why}").into()),
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let told = answer.contains("node_tcp_connection_states{");
    if told { Ok(()) } else { Err("node_exporter: no TCP states in its answer".into()) }
}
