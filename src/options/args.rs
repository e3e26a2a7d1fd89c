//! The options that all checks share, and what a command line asks for.

mod amounts;
mod getopt;
pub mod pids;

pub use amounts::{Percent, Speed};
pub use getopt::{HELP, Refused, all, explain, parse};
pub use pids::Pids;

use crate::base::duration::Span;
use crate::base::word;
use crate::kernel::owner::Holders;
use crate::kernel::select::Cidr;
use crate::kernel::socket::Side;
use crate::kernel::source::diag::MOST_PORTS;
use crate::kernel::unix_target::UnixPath;
use crate::kernel::world::{Netns, Source};
use crate::report::Format;
use crate::report::range::Range;
use crate::report::verdict::{self, Limits, ServiceState};
use crate::service::request::{By, Request};
use argh::{ArgsInfo, FromArgs};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// options every check has
#[derive(FromArgs, ArgsInfo, Debug, Default)]
pub struct Common {
    /// service port, several or a range as 8000-8100. A port finds its profile by itself
    #[argh(option, short = 'p', arg_name = "N[,N...]")]
    pub port: Vec<Ports>,

    /// UNIX socket that the service listens on: its path, @NAME for an abstract one, or a pattern with * and ?
    #[argh(option, arg_name = "PATH")]
    pub unix: Vec<UnixPath>,

    /// thresholds of this service: a name such as memcached, or a YAML file. Without -p
    /// and --unix also its ports and UNIX sockets.
    /// Several, for -o prometheus only, are checked one after the other
    #[argh(option, short = 'P', arg_name = "NAME|FILE")]
    pub profile: Vec<String>,

    /// warning range for the check's main number; default from the profile, as far as it has one
    #[argh(option, short = 'w', arg_name = "RANGE")]
    pub warning: Option<Range>,

    /// critical range for the check's main number; default as for --warning
    #[argh(option, short = 'c', arg_name = "RANGE")]
    pub critical: Option<Range>,

    /// which end of the connections: server (the local port is the service's), client (the remote
    /// port is) or both; default from the profile, else both
    #[argh(option, arg_name = "SIDE")]
    pub side: Option<Side>,

    /// only sockets whose remote address is in this range
    #[argh(option, arg_name = "CIDR")]
    pub peer: Vec<Cidr>,

    /// only sockets whose local address is in this range
    #[argh(option, arg_name = "CIDR")]
    pub local: Vec<Cidr>,

    /// only sockets of this user
    #[argh(option, arg_name = "NAME|UID")]
    pub user: Option<String>,

    /// only sockets of this systemd unit, or with a slash of this cgroup path and all below it
    #[argh(option, arg_name = "NAME")]
    pub unit: Option<String>,

    /// only sockets that these processes hold
    #[argh(option, arg_name = "N[,N...]")]
    pub pid: Vec<Pids>,

    /// be UNKNOWN, or with :critical CRITICAL, where nothing listens on the port; by default that is only
    /// said
    #[argh(option, arg_name = "[:STATE]")]
    pub require_listener: Option<RequireListener>,

    /// network namespace: self, all of this host's (containers), that of a process id, or a name from
    /// 'ip netns'; default self
    #[argh(option, arg_name = "self|all|PID|NAME")]
    pub netns: Option<Netns>,

    /// where sockets are read: auto, netlink or proc (without ages); default auto
    #[argh(option, arg_name = "SOURCE")]
    pub source: Option<Source>,

    /// read processes and socket tables below this directory, as /host/proc in a container
    #[argh(option, arg_name = "DIR")]
    pub proc_root: Option<PathBuf>,

    /// judge a dump recorded with 'ss -tanie -D FILE' instead of this machine
    #[argh(option, arg_name = "FILE")]
    pub replay: Option<PathBuf>,

    /// group what is found by owner, unit, user, peer or tenant; default owner
    #[argh(option, arg_name = "KEY")]
    pub by: Option<By>,

    /// most entries of any list in the output, 0 for all; default 5
    #[argh(option, arg_name = "N")]
    pub top: Option<Top>,

    /// output format: nagios, json or prometheus; default nagios
    #[argh(option, short = 'o', arg_name = "FORMAT")]
    pub output: Option<Format>,

    /// write the output to this file, whole or not at all, and the plain line to standard output
    #[argh(option, arg_name = "FILE")]
    pub output_file: Option<PathBuf>,

    /// time limit in seconds and the state it ends in; default 10:unknown
    #[argh(option, short = 't', arg_name = "SECONDS[:STATE]")]
    pub timeout: Option<Timeout>,

    /// say more: -v owners, -vv every socket (with -o json its descriptor, too), -vvv what each stage saw and took
    #[argh(switch, short = 'v')]
    pub verbose: u8,
}

impl Common {
    pub fn limits(&self) -> Limits {
        Limits { warning: self.warning, critical: self.critical }
    }

    /// Whether owners are to be named, and which of a socket's: a problem has them always.
    pub fn wants_owners(&self, has_problem: bool) -> Option<Holders> {
        let wants = has_problem || self.verbose > 0 || self.output.is_some_and(Format::names_owners);
        wants.then_some(if self.verbose > 1 { Holders::All } else { Holders::First })
    }

    pub fn request(&self) -> Request {
        let mut ports: Vec<u16> = Vec::new();
        for port in self.port.iter().flat_map(|ports| &ports.0) {
            if !ports.contains(port) {
                ports.push(*port);
            }
        }
        Request {
            ports,
            unix: self.unix.clone(),
            profile: self.profile.first().cloned(),
            side: self.side,
            peers: self.peer.clone(),
            locals: self.local.clone(),
            user: self.user.clone(),
            unit: self.unit.clone(),
            pids: pids::all(&self.pid),
            by: self.by.unwrap_or_default(),
            top: self.top.map_or(5, |Top(top)| top),
            lists_sockets: self.verbose > 1 && self.output == Some(Format::Json),
            without_listener: self.require_listener.map(|RequireListener(state)| state),
        }
    }
}

/// `-p`: one port or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports(pub Vec<u16>);

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let port = |part: &str| part.parse::<u16>().ok().filter(|port| *port > 0 && is_number(part));
        let mut ports = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            match (port(first), port(last)) {
                (Some(first), Some(last)) if usize::from(last.saturating_sub(first)) >= MOST_PORTS => {
                    let count = last - first + 1;
                    return Err(format!("bad port '{part}': {count} ports; at most {MOST_PORTS} are checked at once"));
                }
                (Some(first), Some(last)) if first <= last => ports.extend(first..=last),
                _ if part.starts_with(|letter: char| letter.is_ascii_alphabetic()) => {
                    return Err(format!("bad port '{part}': a number, 1 to 65535; a service by its name is -P {part}"));
                }
                _ => {
                    return Err(format!("bad port '{part}': use 1 to 65535, several as 389,636, a range as 8000-8100"));
                }
            }
        }
        Ok(Ports(ports))
    }
}

/// `--require-listener`, alone or with a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequireListener(pub ServiceState);

impl FromStr for RequireListener {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        // Alone it stands for the mildest.
        let text = if text.is_empty() { "unknown" } else { text };
        let states = [
            ("unknown", ServiceState::Unknown),
            ("warning", ServiceState::Warning),
            ("critical", ServiceState::Critical),
        ];
        word::choose("state", text, &states).map(RequireListener)
    }
}

/// `--top`; of all where 0 was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Top(pub usize);

impl FromStr for Top {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.parse() {
            Ok(0) => Ok(Top(usize::MAX)),
            Ok(top @ 1..=10_000) => Ok(Top(top)),
            _ => Err(format!("bad number '{text}': use 1 to 10000, or 0 for all")),
        }
    }
}

/// `-t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout {
    pub after: Span,
    pub state: ServiceState,
}

impl Default for Timeout {
    fn default() -> Self {
        Timeout { after: Span::seconds(10), state: ServiceState::Unknown }
    }
}

impl FromStr for Timeout {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let bad = || format!("bad timeout '{text}': write for example 10, 30s, 10:critical or 10:2");
        let (after, state) = match text.split_once(':') {
            Some((after, state)) => (after, verdict::named_or_numbered(state).ok_or_else(bad)?),
            None => (text, ServiceState::Unknown),
        };
        let after: Span = after.parse().map_err(|_| bad())?;
        let sane = Span::millis(1)..=Span::seconds(86_400);
        if sane.contains(&after) { Ok(Timeout { after, state }) } else { Err(bad()) }
    }
}

/// What a check's own options need beside argh's derives.
pub trait Command: FromArgs + ArgsInfo {
    /// The binary's name.
    const PROGRAM: &'static str;
    /// What its usage line says after the program's name.
    const USAGE: &'static str = "-p PORT|--unix PATH|-P PROFILE [OPTIONS]";
    /// Whether it takes a command after `--`, and how its usage line names it.
    const REST: Option<&'static str> = None;
    /// Whether its words may be names of files, which then are the rest; `-` is one, too.
    const FILES: bool = false;
    /// How other checks call the beginnings of its long options: each is taken for its own.
    const ALSO: &'static [(&'static str, &'static str)] = &[];
    /// Options that it has no use for, by their long names.
    const WITHOUT: &'static [&'static str] = &[];
    /// What its help ends with: how values are written, and what the exit status means.
    const CLOSING: &'static str = "\
RANGE is Nagios' [@][start:][end]: 10 alerts above 10 (and below 0), 5: below 5, ~:10 above 10, 5:10
outside, @5:10 inside. DURATION is seconds or 500ms, 60s, 20m, 2h, 1d.
The profile, /etc/connleak/thresholds/NAME.yaml or the one built in, is that of --profile, else of the port;
where the port has none it is generic. What is typed wins.
Exit status: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN (also for this help).
";

    /// Where a JUnit result is wanted.
    fn junit(&self) -> Option<&Path> {
        None
    }
}

/// A check's whole command line.
#[derive(Debug)]
pub struct Args<A> {
    pub common: Common,
    pub own: A,
    /// What follows `--`, or files.
    pub rest: Vec<String>,
    /// Whether this is one of several services that the call is about.
    pub is_of_several: bool,
}

/// What the caller asks for.
#[derive(Debug)]
pub enum Asked<A> {
    Help,
    Version,
    Run(Box<Args<A>>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(FromArgs, ArgsInfo, Debug)]
    /// a check
    struct Own {
        /// a number of its own
        #[argh(option)]
        own: Option<u64>,
    }

    impl Command for Own {
        const PROGRAM: &'static str = "check_own";
    }

    fn run(line: &str) -> std::result::Result<Args<Own>, String> {
        match parse::<Own>(line.split_whitespace().map(Into::into)) {
            Ok(Asked::Run(args)) => Ok(*args),
            Ok(_) => Err("help or version".to_owned()),
            Err(refused) => Err(refused.why.to_string()),
        }
    }

    #[test]
    fn no_option_has_anothers_name() {
        let all: Vec<_> = all::<Own>().map(|(flag, _)| flag).collect();
        let mut names: Vec<String> = all.iter().map(|flag| flag.long.to_owned()).collect();
        names.extend(all.iter().filter_map(|flag| Some(format!("-{}", flag.short?))));
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count, "{names:?}");
    }

    #[test]
    fn the_checks_own_options_and_the_shared_ones_may_mix() {
        let args = run("-vp1,2 --own=7 -v -p 3 --own 8 -w -5:5 --peer ::1").unwrap();
        assert_eq!((args.own.own, args.common.verbose), (Some(8), 2));
        assert_eq!(args.common.port, [Ports(vec![1, 2]), Ports(vec![3])]);
        assert_eq!(args.common.limits().warning, "-5:5".parse().ok());
        assert_eq!(args.common.peer.len(), 1);
        assert_eq!(run("-p1 --own x").unwrap_err(), "--own: bad value 'x': write a whole number; see --help");
        assert_eq!(run("-p1 -hV").unwrap_err(), "help or version");
        // A value that looks like an option is still the value.
        assert!(run("--unit --help").unwrap().common.unit.is_some_and(|unit| unit == "--help"));
    }

    #[test]
    fn timeouts_have_a_state() {
        let of = |text: &str| text.parse::<Timeout>().map(|timeout| (timeout.after, timeout.state));
        assert_eq!(of("10"), Ok((Span::seconds(10), ServiceState::Unknown)));
        assert_eq!(of("30s:critical"), Ok((Span::seconds(30), ServiceState::Critical)));
        assert_eq!(of("10:2"), Ok((Span::seconds(10), ServiceState::Critical)));
        for bad in ["", ":", "0", "0s", "10:", ":critical", "10:3x", "10:4", "10:02", "2d", "10:critical:5"] {
            assert!(of(bad).unwrap_err().contains(&format!("'{bad}'")), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn ports_read_back(ports in prop::collection::vec(1u16..=65_535, 1..9)) {
            let text = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
            prop_assert_eq!(text.parse(), Ok(Ports(ports)));
        }

        #[test]
        fn no_command_line_panics(words in prop::collection::vec("-{0,2}[a-zV]{0,3}=?[0-9:,~@%ä]{0,4}", 0..5)) {
            // Files and their sections are another matter.
            prop_assume!(!words.iter().any(|word| word.starts_with("--extra")));
            let _ = run(&words.join(" "));
        }
    }
}
