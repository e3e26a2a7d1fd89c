//! A place for one test that nothing else of the host is in, with processes in it that hold sockets.

#![allow(dead_code, reason = "each test file uses a part")]

#[path = "isolated.rs"]
pub mod isolated;
#[path = "run.rs"]
pub mod run;

use run::{PATIENCE, finish, poll};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use tempfile::TempDir;

pub const ESTABLISHED: u8 = 1;
pub const CLOSE_WAIT: u8 = 8;

/// Where the calling thread, and each process it starts, sees only the sockets of its test.
pub struct Lab {
    /// The test's name.
    name: &'static str,
    /// The namespace it came from: its test's too, not the host's.
    outside: File,
}

impl Lab {
    /// Runs a test where it sees no process, network namespace or `/proc` but its own; there once more in
    /// a network namespace, which others of the test can be outside of. Called by the test itself, as its
    /// name is taken from the closure's.
    pub fn test<F: FnOnce(&Lab) + Send>(body: F) {
        let name = test_name::<F>();
        if !isolated::is_inside() {
            isolated::run_again(name).unwrap_or_else(|why| skip_test(name, &why));
            return;
        }
        let in_lab = || match Lab::enter(name) {
            Ok(lab) => body(&lab),
            Err(why) => skip_test(name, &why),
        };
        // On a thread of its own: the harness's stays outside.
        let thread = thread::Builder::new().name(name.to_owned());
        if let Err(panic) = thread::scope(|scope| thread.spawn_scoped(scope, in_lab).unwrap().join()) {
            std::panic::resume_unwind(panic);
        }
    }

    /// For what a test needs beside the namespace and doesn't find.
    pub fn skip(&self, why: &str) {
        skip_test(self.name, why);
    }

    fn enter(name: &'static str) -> Result<Lab, String> {
        let failed = |what: &'static str| move |why: std::io::Error| format!("{what}: {why}");
        let outside = File::open("/proc/thread-self/ns/net").map_err(failed("network namespace"))?;
        // SAFETY: the call is unsafe only for UnshareFlags::FILES, which could take descriptors
        // from other threads; a network namespace has nothing to do with memory or descriptors.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.map_err(|why| failed("unshare")(why.into()))?;
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().map_err(failed("ip"))?;
        if !up.success() {
            return Err("ip link set lo up: refused".to_owned());
        }
        Ok(Lab { name, outside })
    }

    /// A pair of interfaces to the namespace that the lab was entered from: its address and ours.
    pub fn join(&self, theirs: &str, ours: &str) {
        let outside = format!("/proc/{}/fd/{}", std::process::id(), self.outside.as_raw_fd());
        let ip = |line: &str| {
            let status = Command::new("ip").args(line.split(' ')).status().unwrap();
            assert!(status.success(), "ip {line}");
        };
        ip(&format!("link add inner type veth peer name outer netns {outside}"));
        ip(&format!("address add {ours}/24 dev inner"));
        ip("link set inner up");
        self.outside(|| {
            ip(&format!("address add {theirs}/24 dev outer"));
            ip("link set outer up");
        });
    }

    /// Does something in the namespace that the lab was entered from.
    pub fn outside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let there = || {
            move_into_link_name_space(self.outside.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            act()
        };
        thread::scope(|scope| scope.spawn(there).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Does something in one more network namespace, in which no thread is afterwards.
    pub fn in_another<T: Send>(&self, act: impl FnOnce(&Lab) -> T + Send) -> T {
        let there = || act(&Lab::enter(self.name).unwrap());
        thread::scope(|scope| scope.spawn(there).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Whether strace can tell, or delay, what a check asks; else a skip.
    #[allow(dead_code, reason = "not all that use the lab do")]
    pub fn traces(&self) -> bool {
        let done = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status();
        let traces = done.is_ok_and(|done| done.success());
        if !traces {
            self.skip("no strace, or it may not trace");
        }
        traces
    }

    pub fn peer(&self) -> Peer {
        Peer::start(Command::new(example("peer")), None)
    }

    /// A peer that is called in its own way: with arguments, in a directory, by a parent.
    pub fn peer_by(&self, command: Command) -> Peer {
        Peer::start(command, None)
    }

    /// A peer that runs as nobody, who then may read its descriptors.
    pub fn peer_of_nobody(&self) -> Peer {
        let (dir, copy) = run::public_copy(&example("peer"));
        Peer::start(run::as_nobody(&copy), Some(dir))
    }

    /// A server that has `count` connections on `address`, and its client: names `s` and `c`.
    pub fn connected(&self, address: &str, count: u32) -> (Peer, Peer) {
        let (mut server, mut client) = (self.peer(), self.peer());
        server.say(&format!("listen l {address}"));
        client.say(&format!("connect c {address} {count}"));
        server.say(&format!("accept s l {count}"));
        (server, client)
    }

    /// A server with `count` sockets in CLOSE_WAIT: its client has closed.
    pub fn leaking_server(&self, address: &str, count: u32) -> Peer {
        let (server, mut client) = self.connected(address, count);
        client.say("close c");
        let port = address.rsplit_once(':').unwrap().1.parse().unwrap();
        self.wait_for(CLOSE_WAIT, port, count as usize);
        server
    }

    /// Waits until the kernel shows `count` sockets of a port, on either side, in this state.
    pub fn wait_for(&self, state: u8, port: u16, count: usize) {
        let mut seen = 0;
        let reached = poll(PATIENCE, || {
            seen = count_in_proc(state, port);
            seen == count
        });
        assert!(reached, "{seen} sockets of port {port} in state {state}, wanted {count}");
    }
}

/// Counts by the text of /proc/net alone, so that the library is not its own witness.
fn count_in_proc(state: u8, port: u16) -> usize {
    let tables = ["tcp", "tcp6"].map(|name| fs::read_to_string(format!("/proc/thread-self/net/{name}")));
    let (port, state) = (format!(":{port:04X}"), format!("{state:02X}"));
    let is_wanted = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[3] == state && (fields[1].ends_with(&port) || fields[2].ends_with(&port))
    };
    tables.iter().flatten().flat_map(|table| table.lines().skip(1)).filter(is_wanted).count()
}

/// Says that a test could not show what it should; where nothing may be skipped that is a failure.
pub fn skip_test(name: &str, why: &str) {
    assert!(std::env::var_os("REQUIRE_LIVE").is_none_or(|value| value != "1"), "REQUIRE_LIVE: {name}: {why}");
    // Not by println, which the harness keeps to itself where a test passes.
    std::io::stdout().write_all(format!("SKIP {name}: {why}\n").as_bytes()).unwrap();
}

/// As the harness has it, `module::test`, from the type name of its closure, `live::module::test::{{closure}}`.
fn test_name<F>() -> &'static str {
    let name = std::any::type_name::<F>().trim_end_matches("::{{closure}}");
    name.split_once("::").map_or(name, |(_, name)| name)
}

/// As the harness has it: so that a name stays true where a file moves.
pub fn test_name_of<F>(_test: &F) -> &'static str {
    test_name::<F>()
}

/// A process that holds sockets on command; the commands are in peer.rs.
pub struct Peer {
    process: Child,
    commands: Option<ChildStdin>,
    answers: Receiver<String>,
    /// Where its program is, if it is a copy.
    _dir: Option<TempDir>,
}

impl Peer {
    /// The program may be started by another, as into a namespace: [`Peer::pid`] is that one's then.
    pub fn start(mut program: Command, dir: Option<TempDir>) -> Peer {
        let mut process = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the peer program runs");
        let (commands, output) = (process.stdin.take(), process.stdout.take().unwrap());
        let (sender, answers) = channel();
        thread::spawn(move || {
            BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Peer { process, commands, answers, _dir: dir }
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Gives one command; returns its answer's value.
    pub fn say(&mut self, command: &str) -> String {
        writeln!(self.commands.as_mut().unwrap(), "{command}").unwrap();
        let answer = self.answers.recv_timeout(PATIENCE).unwrap_or_else(|why| panic!("'{command}': {why}"));
        let value = answer.strip_prefix("ok").unwrap_or_else(|| panic!("'{command}': {answer}"));
        value.trim().to_owned()
    }

    /// Lets the process exit, and with it all its sockets.
    pub fn end(mut self) {
        self.commands = None;
        assert!(finish(&mut self.process, PATIENCE).is_some_and(|status| status.success()));
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.commands = None;
        finish(&mut self.process, PATIENCE);
    }
}

/// Cargo tells tests where binaries are, but not examples; `--test` alone doesn't build them.
pub fn example(name: &str) -> PathBuf {
    let program = Path::new(run::CHECK).with_file_name("examples").join(name);
    let source = format!("{}/tests/support/{name}.rs", env!("CARGO_MANIFEST_DIR"));
    let changed = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    assert!(
        changed(&program) >= changed(Path::new(&source)) && program.exists(),
        "the example '{name}' is missing or old: build it with 'cargo build --examples' in the same profile"
    );
    program
}
