//! Who has which sockets of a service: a table of owners by states, worst first.

mod cards;
mod counted;
mod export;
mod gather;
mod ghosts;
mod held;
mod remembered;
mod row;
mod sockets;
mod table;
mod text;
mod tree;

use crate::screen::{self, Screen};
use crate::subcommand::{Shared, guard};
use argh::{ArgsInfo, FromArgs};
use connleak::base::error::{Error, Result};
use connleak::base::word;
use connleak::kernel::owner::{Named, Process};
use connleak::kernel::world::World;
use connleak::options::args::{Args, Command, Common, Top};
use connleak::owners::ghosts::Looking;
use connleak::service::profile::Profile;
use connleak::service::target::{self, Target};
use connleak::service::tenant_key::{Key, Plain};
use gather::View;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// a table of who has which sockets, worst first; replaces 'lsof -i -a -p PID'
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(
    note = "Worst first: most sockets in CLOSE_WAIT for the profile's min_age (else 1m), then most in CLOSE_WAIT, then \
    most ESTABLISHED without data for the profile's idle time (else 30m), then most sockets. What only the kernel \
    has comes last."
)]
pub struct Who {
    /// a row for each pid, unit, user, peer or tenant (the key in the profile); default pid
    #[argh(option, arg_name = "KEY")]
    by: Option<By>,

    /// processes below their parents: a pooler and its workers
    #[argh(switch)]
    tree: bool,

    /// descriptors of sockets that no table shows any more, as after a reset, are told anyway; with
    /// this also in which processes they could not be looked for
    #[argh(switch)]
    ghosts: bool,

    /// don't look for them
    #[argh(switch)]
    no_ghosts: bool,

    /// with -o csv: a row for each socket, with its descriptor, instead of one for each owner
    #[argh(switch)]
    sockets: bool,

    /// where checks remember processes, to know ghosts by, and clients of UNIX sockets and since when these are closed;
    /// as root every user's, default /var/lib/connleak
    #[argh(option, arg_name = "DIR")]
    state_dir: Option<PathBuf>,

    /// most rows, 0 for all; default 20
    #[argh(option, arg_name = "N")]
    top: Option<Top>,

    /// output format: table, json or csv; default table
    #[argh(option, short = 'o', arg_name = "FORMAT")]
    output: Option<Format>,

    /// say more: -v working directory and command line, -vv also the oldest sockets of each row,
    /// with -o json each socket
    #[argh(switch, short = 'v')]
    verbose: u8,
}

impl Command for Who {
    const PROGRAM: &'static str = "connleak who";
    const USAGE: &'static str = "[-p PORT|--unix PATH|-P PROFILE] [OPTIONS]";
    const WITHOUT: &'static [&'static str] = &["--warning", "--critical", "--output-file", "--require-listener"];
    const CLOSING: &'static str = "Exit status: 0, or 3 with one line on standard error.\n";
}

/// `--by`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    #[default]
    Pid,
    Unit,
    User,
    Peer,
    Tenant,
    /// What a profile's tenants are told by.
    Plain(Plain),
}

impl FromStr for By {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        // As the checks call it.
        if text == "owner" {
            return Ok(By::Pid);
        }
        let words =
            [("pid", By::Pid), ("unit", By::Unit), ("user", By::User), ("peer", By::Peer), ("tenant", By::Tenant)];
        word::choose("grouping", text, &words)
    }
}

impl By {
    /// With a tenant as what the profile says that one is.
    ///
    /// # Errors
    /// Where only check_conn_tenants can tell.
    pub fn of_profile(self, profile: &Profile) -> Result<By> {
        match (self, &profile.tenants.key) {
            (By::Tenant, None) => Ok(By::Unit),
            (By::Tenant, Some(Key::Plain(Plain::Unit))) => Ok(By::Unit),
            (By::Tenant, Some(Key::Plain(Plain::User))) => Ok(By::User),
            (By::Tenant, Some(Key::Plain(plain))) => Ok(By::Plain(*plain)),
            (By::Tenant, Some(key)) => Err(Error::Usage(format!(
                "--by tenant: the profile's tenants.key '{key}' is told by check_conn_tenants only; use pid, unit, user or peer"
            ))),
            (by, _) => Ok(by),
        }
    }

    /// Whose a socket is, by what is known of it; `user`: the process's, or that of the socket.
    pub fn name(self, process: Option<&Process>, user: Option<&str>, peer: IpAddr) -> Option<String> {
        match self {
            By::Unit => process.map(|process| process.unit.clone().unwrap_or_else(|| "no unit".to_owned())),
            By::User => user.map(str::to_owned),
            By::Plain(plain) => plain.name(peer, user, process.and_then(|process| process.cgroup.as_deref())),
            By::Peer => Some(peer.to_string()),
            By::Pid | By::Tenant => process.map(|process| Named(process).to_string()),
        }
    }

    /// Whether sockets of one process can be of several rows.
    pub fn is_by_peer(self) -> bool {
        matches!(self, By::Peer | By::Plain(Plain::Peer(_)))
    }
}

/// By name, else by number.
pub fn user_of(process: &Process) -> String {
    process.user.clone().unwrap_or_else(|| process.uid.to_string())
}

/// `-o`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Table,
    Json,
    Csv,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        word::choose("output", text, &[("table", Format::Table), ("json", Format::Json), ("csv", Format::Csv)])
    }
}

impl Shared for Who {
    fn run(args: Args<Who>, world: World) -> std::result::Result<(), String> {
        guard(&world.deadline);
        screen::print(&args.own.show(&args, &world).map_err(|why| why.to_string())?)
    }
}

impl Who {
    /// Without any choice every service of this host.
    fn target(&self, common: &Common, world: &World) -> Result<Target> {
        if common.profile.len() > 1 {
            return Err(Error::Usage("who shows one service: give one --profile, or none for all of this host".into()));
        }
        let request = common.request();
        let is_chosen = request.names_service() || !request.pids.is_empty();
        if is_chosen || request.unit.is_some() || request.user.is_some() {
            return target::resolve_any(request, world);
        }
        target::on_all_ports("all services".to_owned(), request, world)
    }

    /// The whole output.
    pub fn show(&self, args: &Args<Who>, world: &World) -> Result<String> {
        let target = self.target(&args.common, world)?;
        let by = self.by.unwrap_or_default().of_profile(&target.profile)?;
        if self.tree && by != By::Pid {
            return Err(Error::Usage("--tree shows processes: leave --by out, or give --by pid".into()));
        }
        let shows_sockets = self.sockets || self.verbose > 1;
        if self.ghosts && self.no_ghosts {
            return Err(Error::Usage("--ghosts and --no-ghosts contradict each other; give one".into()));
        }
        let by_default = Looking::ByDefault { matters: &|more| more > 0, exactly: true };
        let looking = if self.ghosts { Looking::Asked } else { by_default };
        let looking = (!self.no_ghosts && target.selection.has_tcp()).then_some(looking);
        let remembered = remembered::recall(&target, self.state_dir.as_deref(), looking.is_some(), world);
        let unread = remembered.unread.clone();
        let mut view = View::gather(&target, by, shows_sockets, (looking, remembered), world)?;
        view.notes.extend(unread);
        view.notes.extend(remembered::absent(&target, !view.rows.is_empty(), world));
        view.add_ghosts(target.selection.side);
        let top = self.top.map_or(20, |Top(top)| top);
        let format = self.output.unwrap_or_default();
        if self.sockets && format != Format::Csv {
            return Err(Error::Usage("--sockets is for -o csv; with -o json say -vv".into()));
        }
        let all = if self.sockets { view.sockets.len() } else { view.rows.len() };
        let hidden = all.saturating_sub(top);
        view.rows.truncate(top);
        view.sockets.truncate(top);
        if hidden > 0 {
            view.notes.push(format!("{hidden} more rows; see --top"));
        }
        if self.verbose > 0 || format == Format::Json {
            view.rows.iter_mut().for_each(|row| row.read_process(world));
        }
        Ok(match format {
            Format::Json => export::json(&view, &target, self.verbose),
            Format::Csv => {
                // Rows have no place for them; that a recording has no owners is known to who gives it.
                let notes = view.notes.iter().filter(|note| **note != gather::replayed(&view.seen));
                notes.for_each(|note| eprintln!("connleak: note: {}", screen::visible(note)));
                if self.sockets { sockets::csv(&view) } else { export::csv(&view) }
            }
            Format::Table => {
                let screen = Screen::of_stdout();
                let branches = if self.tree { tree::arrange(&view.rows, world) } else { tree::flat(&view.rows) };
                table::render(&view, &target, &branches, self.verbose, &screen)
            }
        })
    }
}
