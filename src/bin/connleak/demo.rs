//! A leak in a nutshell: a server and a client that forgets its sockets, inside this process on
//! loopback, and what the real checks say of them.

#[path = "../../../checks/check_closewait/main.rs"]
#[allow(dead_code, reason = "its main is the check's own")]
mod check_closewait;
#[path = "../../../checks/check_orphans_after_stop/main.rs"]
#[allow(dead_code, reason = "its main is the check's own")]
mod check_orphans_after_stop;

use crate::screen::{self, Screen};
use crate::subcommand::Plain;
use crate::who::Who;
use argh::{ArgsInfo, FromArgs};
use connleak::base::deadline::Deadline;
use connleak::base::error::plain;
use connleak::kernel::world::World;
use connleak::options::args::{self, Args, Asked, Command};
use connleak::report::verdict::ServiceState;
use connleak::report::{Format, Report};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// a leak found and fixed before your eyes in ten seconds, without any service or root
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "demo")]
pub struct Demo {}

/// Connections that the client uses.
const POOL: usize = 5;
/// Between two connections that the server closes.
const BEAT: Duration = Duration::from_millis(300);
const LOOPBACK: &str = "is the loopback interface up ('ip link set lo up')?";
/// A slow machine must not spoil the story.
const PATIENCE: Duration = Duration::from_secs(10);

impl Plain for Demo {
    fn run(self) -> Result<(), String> {
        let mut scene = Scene::open()?;
        scene.play().map_err(|why| format!("the demo can't go on: {why}"))
    }
}

/// Both ends of every connection.
struct Scene {
    screen: Screen,
    address: SocketAddr,
    /// `None`: the server has stopped.
    listener: Option<TcpListener>,
    server: Vec<TcpStream>,
    client: Vec<TcpStream>,
    /// The client's ends of what the server has closed.
    forgotten: Vec<TcpStream>,
    /// What the checks remember of it goes with it.
    state_dir: TempDir,
}

impl Scene {
    fn open() -> Result<Scene, String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| {
            let address = listener.local_addr()?;
            Ok((listener, address))
        });
        let (listener, address) =
            listener.map_err(|why| format!("can't listen on 127.0.0.1: {}; {LOOPBACK}", plain(&why)))?;
        let (server, client, forgotten) = Default::default();
        let screen = Screen::of_stdout();
        let state_dir = tempfile::tempdir().map_err(|why| format!("no temporary directory: {}", plain(&why)))?;
        let mut scene = Scene { screen, address, listener: Some(listener), server, client, forgotten, state_dir };
        for _ in 0..POOL {
            scene.connect()?;
        }
        Ok(scene)
    }

    fn play(&mut self) -> Result<(), String> {
        let port = self.address.port();
        let closewait = format!("check_closewait -p {port} --side client --min-age 1s -w 3 -c 8");
        let look = |scene: &Scene, wanted| scene.judge(&closewait, wanted, check_closewait::check);
        self.narrate(
            "connleak demo: a connection leak, found and fixed. All of it happens inside this process, on \
            127.0.0.1, and takes about ten seconds.\n",
        )?;
        self.narrate(&format!(
            "1. A server on port {port}, and a client with a pool of {POOL} connections to it. All is \
            well, and a check says so, each minute:\n"
        ))?;
        look(self, ServiceState::Ok)?;
        self.narrate(
            "2. Now and then the server closes a connection, as servers do. The client opens a new one, but has a \
            bug: it forgets to close the old one. The kernel keeps such a socket in CLOSE_WAIT for ever.\n",
        )?;
        self.leak(4)?;
        look(self, ServiceState::Warning)?;
        self.narrate("3. The service still answers, CPU and memory look fine, nobody looks. The leak goes on.\n")?;
        self.leak(8)?;
        look(self, ServiceState::Critical)?;
        self.who(&format!("connleak who -p {port} --side client"))?;
        self.narrate(
            "Both say how many, since when, and who: this very process. Unfixed, the client runs out \
            of descriptors or the server out of connections, and everything fails at once.\n",
        )?;
        self.narrate("4. The fix: the client closes what it no longer uses.\n")?;
        self.forgotten.clear();
        look(self, ServiceState::Ok)?;
        self.narrate("5. A deploy stops server and client. Is anything left?\n")?;
        (self.listener, self.server) = (None, Vec::new());
        self.client.clear();
        let orphans = format!("check_orphans_after_stop -p {port} --wait 5s");
        self.judge(&orphans, ServiceState::Ok, check_orphans_after_stop::check)?;
        self.narrate(
            "Now yours: 'check_closewait -p 3306 -v' judges a service's sockets, 'connleak who' shows who has \
            which. See 'man connleak'.",
        )
    }

    fn connect(&mut self) -> Result<(), String> {
        let failed = |why: io::Error| format!("no connection to {}: {}; {LOOPBACK}", self.address, plain(&why));
        let Some(listener) = &self.listener else { return Ok(()) };
        self.client.push(TcpStream::connect_timeout(&self.address, Duration::from_secs(3)).map_err(failed)?);
        // It waits in the queue already.
        self.server.push(listener.accept().map_err(failed)?.0);
        Ok(())
    }

    /// The server closes its oldest connection, the client replaces it, and so on.
    fn leak(&mut self, count: usize) -> Result<(), String> {
        for done in 1..=count {
            sleep(BEAT);
            drop(self.server.remove(0));
            self.forgotten.push(self.client.remove(0));
            self.connect()?;
            let bar = format!("[{}{}]", "#".repeat(done), ".".repeat(count - done));
            self.progress(&format!("{bar} {} forgotten", self.forgotten.len()))?;
        }
        // Until the youngest is older than the check's --min-age.
        self.progress("looking ...")?;
        sleep(Duration::from_millis(1100));
        Ok(())
    }

    /// Shows the command, runs it until it comes to the state, and shows what it says.
    fn judge<A: Command>(
        &self,
        line: &str,
        wanted: ServiceState,
        check: fn(&Args<A>, &World) -> connleak::base::error::Result<Report>,
    ) -> Result<(), String> {
        let words = line.split(' ').skip(1).map(Into::into);
        let state_dir = ["--state-dir".into(), self.state_dir.path().into()];
        let Ok(Asked::Run(args)) = args::parse::<A>(words.chain(state_dir)) else {
            return Err(format!("'{line}' is refused"));
        };
        let begun = Instant::now();
        let report = loop {
            let world = World::here(Deadline::after(PATIENCE));
            let report = check(&args, &world).map_err(|why| why.to_string())?;
            if report.state == wanted {
                break report;
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("{wanted} was expected, and '{line}' says {}: {}", report.state, report.headline));
            }
            sleep(Duration::from_millis(100));
        };
        let said = Format::Nagios.render(&report);
        // The performance data are for graphs: one number tells their form.
        let said = said.lines().next().unwrap_or_default();
        let said = match said.split_once(" | ") {
            Some((text, data)) => format!("{text} | {} ...", data.split(' ').next().unwrap_or_default()),
            None => said.to_owned(),
        };
        let state = report.state.to_string();
        let painted = self.screen.paint(screen::sgr(&state), &state);
        let said = self.wrapped(&said, "   ").replacen(&state, &painted, 1);
        self.clear()?;
        screen::print(&format!("   $ {line}\n{said}\n"))?;
        // Who watches wants to read.
        if self.screen.redraws {
            sleep(Duration::from_secs(1));
        }
        Ok(())
    }

    /// Shows the command and the table that it prints.
    fn who(&self, line: &str) -> Result<(), String> {
        let words = line.split(' ').skip(2).map(Into::into);
        let Ok(Asked::Run(args)) = args::parse::<Who>(words) else { return Err(format!("'{line}' is refused")) };
        let world = World::here(Deadline::after(PATIENCE));
        let table = args.own.show(&args, &world).map_err(|why| why.to_string())?;
        screen::print(&format!("   $ {line}\n{table}\n"))
    }

    fn narrate(&self, text: &str) -> Result<(), String> {
        self.clear()?;
        screen::print(&(self.wrapped(text.trim_end(), "") + if text.ends_with('\n') { "\n" } else { "" }))
    }

    fn wrapped(&self, text: &str, indent: &str) -> String {
        screen::wrapped(text, indent, self.screen.width.unwrap_or(100).min(100))
    }

    /// What goes on, on a line that is drawn over; nothing where that can't be.
    fn progress(&self, text: &str) -> Result<(), String> {
        if self.screen.redraws { screen::print(&format!("\r\u{1b}[K   {text}")) } else { Ok(()) }
    }

    fn clear(&self) -> Result<(), String> {
        if self.screen.redraws { screen::print("\r\u{1b}[K") } else { Ok(()) }
    }
}
