//! The sockets and processes that a case is measured on, all on loopback and all in this namespace.

use crate::Result;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

pub const PORT: u16 = 11211;

/// Both ends of a connection are held by one filler: under any usual limit of descriptors.
const CONNECTIONS_OF_ONE: u32 = 9_000;
/// Under the queue that a listener may have (net.core.somaxconn, 4096).
const AT_ONCE: u32 = 1_500;
/// The kernel keeps TIME_WAIT for 60 s.
const TIME_WAIT_RENEWED: Duration = Duration::from_secs(25);
/// A listener of each kind on the service's port: IPv4, IPv6, IPv4 in IPv6. And how clients reach it.
const LISTENERS: [(&str, &str); 3] = [
    ("127.1.0.1:11211", "127.1.0.1:11211 COUNT 64"),
    ("[::1]:11211", "[::1]:11211 COUNT"),
    ("[::ffff:127.2.0.1]:11211", "127.2.0.1:11211 COUNT 64"),
];

/// A process of the load generator. Commands are told ahead and their answers read later, so that
/// several work at once.
struct Peer {
    process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    unanswered: usize,
}

impl Peer {
    fn start(program: &Path, uid: u32) -> Result<Peer> {
        let mut command = Command::new(program);
        if uid != 0 {
            command.uid(uid).gid(uid);
        }
        Peer::run(command)
    }

    /// In a network namespace of its own.
    fn apart(program: &Path) -> Result<Peer> {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "ip link set lo up && exec \"$0\""]).arg(program);
        Peer::run(command)
    }

    fn run(mut command: Command) -> Result<Peer> {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let commands = process.stdin.take().ok_or("no pipe")?;
        let answers = BufReader::with_capacity(256, process.stdout.take().ok_or("no pipe")?);
        Ok(Peer { process, commands, answers, unanswered: 0 })
    }

    fn tell(&mut self, command: &str) -> Result<()> {
        self.unanswered += 1;
        Ok(writeln!(self.commands, "{command}")?)
    }

    fn settle(&mut self) -> Result<()> {
        for _ in 0..std::mem::take(&mut self.unanswered) {
            let mut answer = String::new();
            self.answers.read_line(&mut answer)?;
            if !answer.starts_with("ok") {
                return Err(format!("the load generator: {answer}").into());
            }
        }
        Ok(())
    }

    fn say(&mut self, command: &str) -> Result<()> {
        self.tell(command)?;
        self.settle()
    }
}

pub struct Scene {
    program: PathBuf,
    /// They hold what the service doesn't have.
    others: Vec<Peer>,
    /// One for each of [`LISTENERS`], or fewer.
    servers: Vec<Peer>,
    client: Peer,
    /// Kept in TIME_WAIT for each listener, and since when.
    time_wait: u32,
    renewed: Option<Instant>,
}

impl Scene {
    /// `program`: the load generator, runnable by any user.
    fn new(program: &Path) -> Result<Scene> {
        // What closes before its peer shall be gone before the measuring begins.
        std::fs::write("/proc/sys/net/ipv4/tcp_fin_timeout", "1")?;
        let client = Peer::start(program, 0)?;
        let (others, servers) = (Vec::new(), Vec::new());
        Ok(Scene { program: program.to_owned(), others, servers, client, time_wait: 0, renewed: None })
    }

    /// `total` sockets, a tenth of them of the service: half of those in CLOSE_WAIT, a tenth in
    /// FIN_WAIT2, a twentieth in TIME_WAIT, the rest ESTABLISHED.
    pub fn of_sockets(program: &Path, total: u32) -> Result<Scene> {
        let mut scene = Scene::new(program)?;
        let connections = total * 9 / 20;
        let mut left = connections;
        while left > 0 {
            let count = left.min(CONNECTIONS_OF_ONE);
            scene.filler(count)?;
            left -= count;
            if left == 0 || scene.others.len().is_multiple_of(2) {
                scene.others.iter_mut().try_for_each(Peer::settle)?;
            }
        }
        let of_each = |parts: u32| (total / 10 * parts).div_ceil(1000 * LISTENERS.len() as u32);
        for kind in 0..LISTENERS.len() {
            scene.listen(kind, 0)?;
            scene.serve(kind, "gone", of_each(400), Some("close gone"))?;
            scene.serve(kind, "half", of_each(100), None)?;
            scene.serve(kind, "used", of_each(175), None)?;
        }
        scene.client.say("shutdown half")?;
        scene.time_wait = of_each(50);
        scene.settle_down()?;
        Ok(scene)
    }

    /// A service with so many used connections, both ends of which are here, of several processes and users; and `others`
    /// that aren't its own.
    pub fn of_rows(program: &Path, connections: u32, others: u32) -> Result<Scene> {
        let mut scene = Scene::new(program)?;
        for (mut left, is_its) in [(others, false), (connections, true)] {
            while left > 0 {
                let count = left.min(CONNECTIONS_OF_ONE);
                if is_its {
                    scene.couple(count)?
                } else {
                    scene.filler(count)?
                }
                scene.others.iter_mut().try_for_each(Peer::settle)?;
                left -= count;
            }
        }
        scene.settle_down()?;
        Ok(scene)
    }

    /// A process of the service on an address of its own, and a client with all of its connections.
    fn couple(&mut self, connections: u32) -> Result<()> {
        let number = self.others.len() as u32;
        let address = format!("127.{}.0.1:{PORT}", 100 + number);
        let (mut server, mut client) = (Peer::start(&self.program, 0)?, Peer::start(&self.program, 20_000 + number)?);
        server.say(&format!("listen l {address}"))?;
        let mut left = connections;
        while left > 0 {
            let count = left.min(AT_ONCE);
            client.say(&format!("connect c {address} {count} 64"))?;
            server.say(&format!("accept s l {count}"))?;
            left -= count;
        }
        self.others.extend([server, client]);
        Ok(())
    }

    /// A service with some leaked sockets among `processes` others, which hold 40 sockets and 50
    /// files each. `uid_of` gives each process's user, that of the service under number 0.
    pub fn of_processes(program: &Path, processes: u32, uid_of: fn(u32) -> u32) -> Result<Scene> {
        let mut scene = Scene::new(program)?;
        for number in 1..processes {
            // The service is neither the first nor the last that a walk finds.
            if number == processes / 2 {
                scene.listen(0, uid_of(0))?;
                scene.serve(0, "gone", 60, Some("close gone"))?;
            }
            let address = format!("127.9.{}.{}:{}", number / 200, number % 200 + 1, 3000 + number);
            let mut other = Peer::start(&scene.program, uid_of(number))?;
            other.tell(&format!("listen l {address}"))?;
            other.tell(&format!("connect c {address} 20"))?;
            other.tell("accept s l 20")?;
            other.say("open f /dev/null 50")?;
            scene.others.push(other);
        }
        scene.settle_down()?;
        Ok(scene)
    }

    /// `namespaces` with a process each, of which the first `used` have ten leaked sockets, beside
    /// `total` sockets of the namespace that is one's own.
    pub fn of_namespaces(program: &Path, namespaces: u32, used: u32, total: u32) -> Result<Scene> {
        let mut scene = Scene::of_sockets(program, total)?;
        for number in 0..namespaces {
            let mut other = Peer::apart(&scene.program)?;
            if number < used {
                let address = format!("127.0.0.1:{PORT}");
                other.say(&format!("listen l {address}"))?;
                other.say(&format!("connect gone {address} 10"))?;
                other.say("accept s l 10")?;
                other.say("close gone")?;
            }
            scene.others.push(other);
        }
        scene.settle_down()?;
        Ok(scene)
    }

    /// 20,000 UNIX sockets: ten services with 1,000 connections each, of that at `path` a tenth leaked.
    pub fn of_unix(program: &Path, path: &str) -> Result<Scene> {
        let mut scene = Scene::new(program)?;
        for number in 0..10 {
            let path = if number == 5 { path.to_owned() } else { format!("{path}.{number}") };
            let mut server = Peer::start(&scene.program, 0)?;
            server.say(&format!("listen l {path}"))?;
            for (name, count) in [("used", 900), ("gone", 100)] {
                scene.client.say(&format!("connect {name}{number} {path} {count}"))?;
                server.say(&format!("accept {name} l {count}"))?;
            }
            scene.others.push(server);
        }
        scene.client.say("close gone5")?;
        Ok(scene)
    }

    /// One process with `count` leaked sockets.
    pub fn of_one_process(program: &Path, count: u32) -> Result<Scene> {
        let mut scene = Scene::new(program)?;
        scene.listen(0, 0)?;
        scene.serve(0, "gone", count, Some("close gone"))?;
        scene.settle_down()?;
        Ok(scene)
    }

    /// `count` connections that are used. The listener is MPTCP's, as Go's are; another process has a socket that is
    /// in no table.
    pub fn of_healthy_service(program: &Path, count: u32) -> Result<Scene> {
        let mut scene = Scene::new(program)?;
        let mut server = Peer::start(&scene.program, 0)?;
        server.say("mptcp")?;
        server.say(&format!("listen l {}", LISTENERS[0].0))?;
        scene.servers.push(server);
        scene.serve(0, "used", count, None)?;
        let mut other = Peer::start(&scene.program, 0)?;
        other.say("socket c 1")?;
        scene.others.push(other);
        scene.settle_down()?;
        Ok(scene)
    }

    /// A service with `count` connections, both ends of which are here.
    pub fn of_sessions(program: &Path, count: u32) -> Result<Scene> {
        let mut scene = Scene::new(program)?;
        scene.listen(0, 0)?;
        scene.serve(0, "used", count, None)?;
        scene.settle_down()?;
        Ok(scene)
    }

    /// Between rounds: puts new sockets into TIME_WAIT before the old ones are gone.
    pub fn refresh(&mut self) -> Result<()> {
        if self.time_wait == 0 || self.renewed.is_some_and(|at| at.elapsed() < TIME_WAIT_RENEWED) {
            return Ok(());
        }
        for kind in 0..self.servers.len() {
            self.serve(kind, "brief", self.time_wait, Some("close brief"))?;
            self.servers[kind].say("close brief")?;
        }
        self.renewed = Some(Instant::now());
        Ok(())
    }

    fn filler(&mut self, connections: u32) -> Result<()> {
        let number = self.others.len();
        let mut filler = Peer::start(&self.program, 0)?;
        let mut left = connections;
        for batch in 0.. {
            let count = left.min(AT_ONCE);
            let address = format!("127.{}.{batch}.1:{}", 10 + number, 20_000 + number * 16 + batch);
            filler.tell(&format!("listen l{batch} {address}"))?;
            filler.tell(&format!("connect c {address} {count} 64"))?;
            filler.tell(&format!("accept s l{batch} {count}"))?;
            left -= count;
            if left == 0 {
                break;
            }
        }
        self.others.push(filler);
        Ok(())
    }

    fn listen(&mut self, kind: usize, uid: u32) -> Result<()> {
        let mut server = Peer::start(&self.program, uid)?;
        server.say(&format!("listen l {}", LISTENERS[kind].0))?;
        self.servers.push(server);
        Ok(())
    }

    /// Opens connections to the service and lets the client do `then` with them.
    fn serve(&mut self, kind: usize, name: &str, count: u32, then: Option<&str>) -> Result<()> {
        let mut left = count;
        while left > 0 {
            let count = left.min(AT_ONCE);
            self.client.say(&format!("connect {name} {}", LISTENERS[kind].1.replace("COUNT", &count.to_string())))?;
            self.servers[kind].say(&format!("accept {name} l {count}"))?;
            if let Some(then) = then {
                self.client.say(then)?;
            }
            left -= count;
        }
        Ok(())
    }

    /// Waits until the orphaned ends of closed connections are gone.
    fn settle_down(&mut self) -> Result<()> {
        std::thread::sleep(Duration::from_secs(3));
        self.refresh()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let peers = self.others.drain(..).chain(self.servers.drain(..));
        for Peer { mut process, commands, .. } in peers {
            drop(commands);
            let _ = process.wait();
        }
        let _ = self.client.process.kill();
        let _ = self.client.process.wait();
    }
}
