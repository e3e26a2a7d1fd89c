//! The options that all checks share, and getopt's habits on top of argh.
//!
//! argh parses one struct in its own dialect. A check has two: [`Common`] and its own. The command
//! line is therefore read here by both structs' `ArgsInfo` and handed to each in argh's form.

use crate::duration::Span;
use crate::error::{Error, Result};
use crate::extra_opts;
use crate::range::Range;
use crate::report::Format;
use crate::select::Cidr;
use crate::socket::Side;
use crate::verdict::{Limits, ServiceState};
use crate::world::{Netns, Source};
use argh::{ArgsInfo, FlagInfo, FlagInfoKind, FromArgs, Optionality};
use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

/// options every check has
#[derive(FromArgs, ArgsInfo, Debug)]
pub struct Common {
    /// service port, or several; may be repeated. A port finds its profile by itself
    #[argh(option, short = 'p', arg_name = "N[,N...]")]
    pub port: Vec<Ports>,

    /// thresholds of this service: a name such as memcached, or a YAML file. Without -p also its ports
    #[argh(option, short = 'P', arg_name = "NAME|FILE")]
    pub profile: Option<String>,

    /// warning range for the check's main number
    #[argh(option, short = 'w', arg_name = "RANGE")]
    pub warning: Option<Range>,

    /// critical range for the check's main number
    #[argh(option, short = 'c', arg_name = "RANGE")]
    pub critical: Option<Range>,

    /// which end of the connections: server (the local port is the service's), client (the remote
    /// port is) or both; default from the profile, else both
    #[argh(option, arg_name = "SIDE")]
    pub side: Option<Side>,

    /// only sockets whose remote address is in this range; may be repeated
    #[argh(option, arg_name = "CIDR")]
    pub peer: Vec<Cidr>,

    /// only sockets whose local address is in this range; may be repeated
    #[argh(option, arg_name = "CIDR")]
    pub local: Vec<Cidr>,

    /// only sockets of this user
    #[argh(option, arg_name = "NAME|UID")]
    pub user: Option<String>,

    /// only sockets of this systemd unit, or with a slash of this cgroup path and all below it
    #[argh(option, arg_name = "NAME")]
    pub unit: Option<String>,

    /// network namespace: self, a process id, or a name from 'ip netns'; default self
    #[argh(option, arg_name = "self|PID|NAME")]
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

    /// most entries of any list in the output; default 5
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

    /// say more: -v owners, -vv every socket, -vvv what each stage saw and took
    #[argh(switch, short = 'v')]
    pub verbose: u8,
}

impl Common {
    pub fn limits(&self) -> Limits {
        Limits { warning: self.warning, critical: self.critical }
    }

    pub fn top(&self) -> usize {
        self.top.map_or(5, |Top(top)| top)
    }
}

/// `-p`: one port or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports(pub Vec<u16>);

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let port = |part: &str| match part.parse::<u16>() {
            Ok(port) if port > 0 && part.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
            _ => Err(format!("bad port '{part}': use 1 to 65535, several as 389,636")),
        };
        text.split(',').map(port).collect::<std::result::Result<_, _>>().map(Ports)
    }
}

/// `--top`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Top(pub usize);

impl FromStr for Top {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.parse() {
            Ok(top @ 1..=10_000) => Ok(Top(top)),
            _ => Err(format!("bad number '{text}': use 1 to 10000")),
        }
    }
}

/// `--by`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    #[default]
    Owner,
    Unit,
    User,
    Peer,
    /// By the profile's `tenants.key`.
    Tenant,
}

impl FromStr for By {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "owner" => Ok(By::Owner),
            "unit" => Ok(By::Unit),
            "user" => Ok(By::User),
            "peer" => Ok(By::Peer),
            "tenant" => Ok(By::Tenant),
            _ => Err(format!("unknown grouping '{text}'; use owner, unit, user, peer or tenant")),
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
        let bad = || format!("bad timeout '{text}': write for example 10, 30s or 10:critical");
        let (after, state) = match text.split_once(':') {
            Some((after, state)) => (after, state.parse().map_err(|_| bad())?),
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
}

/// A check's whole command line.
#[derive(Debug)]
pub struct Args<A> {
    pub common: Common,
    pub own: A,
}

/// What the caller asks for.
#[derive(Debug)]
pub enum Asked<A> {
    Help,
    Version,
    Run(Box<Args<A>>),
}

/// One option as it was given.
struct Given {
    flag: &'static FlagInfo<'static>,
    /// Whether it is the check's own.
    own: bool,
    value: Option<String>,
}

/// The options that are dealt with here, as argh has no form for them.
pub const ALWAYS: [FlagInfo<'static>; 3] = [
    FlagInfo {
        kind: FlagInfoKind::Switch,
        optionality: Optionality::Optional,
        long: "--help",
        short: Some('h'),
        description: "show this help",
        hidden: false,
    },
    FlagInfo {
        kind: FlagInfoKind::Switch,
        optionality: Optionality::Optional,
        long: "--version",
        short: Some('V'),
        description: "show the version",
        hidden: false,
    },
    FlagInfo {
        kind: FlagInfoKind::Option { arg_name: "[SECTION][@FILE]" },
        optionality: Optionality::Repeating,
        long: "--extra-opts",
        short: None,
        description: "read more options from a section of an INI file; what is typed here wins",
        hidden: false,
    },
];

/// The options of `A`, without argh's own `--help`.
pub fn flags<A: ArgsInfo>() -> impl Iterator<Item = &'static FlagInfo<'static>> {
    A::get_args_info().flags.iter().filter(|flag| flag.long != "--help")
}

fn find<A: Command>(wanted: impl Fn(&FlagInfo) -> bool) -> Option<(&'static FlagInfo<'static>, bool)> {
    let of = |own: bool| move |flag: &'static FlagInfo<'static>| (flag, own);
    let mut all =
        ALWAYS.iter().map(of(false)).chain(flags::<A>().map(of(true))).chain(flags::<Common>().map(of(false)));
    all.find(|(flag, _)| wanted(flag))
}

/// Reads a command line without its program name.
pub fn parse<A: Command>(argv: impl IntoIterator<Item = OsString>) -> Result<Asked<A>> {
    let text = |word: OsString| {
        word.into_string()
            .map_err(|word| Error::Usage(format!("argument '{}' is not UTF-8; see --help", word.to_string_lossy())))
    };
    let words = argv.into_iter().map(text).collect::<Result<Vec<_>>>()?;
    let typed = split::<A>(words)?;
    let asks = |long: &str| typed.iter().any(|given| given.flag.long == long);
    if asks("--help") {
        return Ok(Asked::Help);
    }
    if asks("--version") {
        return Ok(Asked::Version);
    }
    let mut given = Vec::new();
    for extra in typed.iter().filter(|given| given.flag.long == "--extra-opts") {
        for (key, value, place) in extra_opts::read(extra.value.as_deref().unwrap_or(""), A::PROGRAM)? {
            given.push(from_file::<A>(&key, value, &place)?);
        }
    }
    // What is typed replaces what the file says, also for options that may be repeated.
    given.retain(|from_file| !typed.iter().any(|given| given.flag.long == from_file.flag.long));
    given.extend(typed.into_iter().filter(|given| given.flag.long != "--extra-opts"));
    Ok(Asked::Run(Box::new(Args { common: build(&given, false, A::PROGRAM)?, own: build(&given, true, A::PROGRAM)? })))
}

/// getopt's reading of the words: `-p11211`, `-p 11211`, `--port=11211`, `-vvv`, `-w ~:10`.
fn split<A: Command>(words: Vec<String>) -> Result<Vec<Given>> {
    let mut given = Vec::new();
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        if let Some(long) = word.strip_prefix("--").filter(|long| !long.is_empty()) {
            let (name, mut value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            let (flag, own) = find::<A>(|flag| &flag.long[2..] == name)
                .ok_or_else(|| Error::Usage(format!("unknown option '--{name}'; see --help")))?;
            if flag.long == "--extra-opts" {
                // Its value is optional, as in the Monitoring Plugins.
                value = value.or_else(|| words.next_if(|next| !next.starts_with('-')));
            } else if matches!(flag.kind, FlagInfoKind::Switch) {
                if value.is_some() {
                    return Err(Error::Usage(format!("option '--{name}' takes no value; see --help")));
                }
            } else {
                value = Some(value.or_else(|| words.next()).ok_or_else(|| needs_value(flag))?);
            }
            given.push(Given { flag, own, value });
        } else if let Some(cluster) = word.strip_prefix('-').filter(|cluster| !cluster.is_empty() && word != "--") {
            for (at, letter) in cluster.char_indices() {
                let (flag, own) = find::<A>(|flag| flag.short == Some(letter))
                    .ok_or_else(|| Error::Usage(format!("unknown option '-{letter}' in '{word}'; see --help")))?;
                if matches!(flag.kind, FlagInfoKind::Switch) {
                    given.push(Given { flag, own, value: None });
                    continue;
                }
                let attached = &cluster[at + letter.len_utf8()..];
                let attached = Some(attached.to_owned()).filter(|value| !value.is_empty());
                let value = Some(attached.or_else(|| words.next()).ok_or_else(|| needs_value(flag))?);
                given.push(Given { flag, own, value });
                break;
            }
        } else {
            return Err(Error::Usage(format!("unexpected argument '{word}'; see --help")));
        }
    }
    Ok(given)
}

fn needs_value(flag: &FlagInfo) -> Error {
    let FlagInfoKind::Option { arg_name } = flag.kind else { unreachable!("switches take no value") };
    Error::Usage(format!("option '{}' needs a value {arg_name}; see --help", flag.long))
}

/// An option from an INI file: its long or short name without dashes.
fn from_file<A: Command>(key: &str, value: String, place: &str) -> Result<Given> {
    let is_named = |flag: &FlagInfo| &flag.long[2..] == key || flag.short.is_some_and(|short| key == short.to_string());
    let (flag, own) = find::<A>(|flag| is_named(flag) && !ALWAYS.iter().any(|always| always.long == flag.long))
        .ok_or_else(|| Error::Usage(format!("unknown option '{key}' in {place}; see --help")))?;
    match flag.kind {
        FlagInfoKind::Option { .. } => Ok(Given { flag, own, value: Some(value) }),
        FlagInfoKind::Switch if value.is_empty() || value == "true" => Ok(Given { flag, own, value: None }),
        FlagInfoKind::Switch => {
            Err(Error::Usage(format!("option '{key}' in {place} takes no value but 'true'; found '{value}'")))
        }
    }
}

/// Hands the options of one struct to argh. Of an option that can't be repeated the last counts.
fn build<T: FromArgs>(given: &[Given], own: bool, program: &str) -> Result<T> {
    let mut words = Vec::new();
    for (index, option) in given.iter().enumerate().filter(|(_, option)| option.own == own) {
        let later = given[index + 1..].iter().any(|later| later.flag.long == option.flag.long);
        let is_value = matches!(option.flag.kind, FlagInfoKind::Option { .. });
        if later && is_value && option.flag.optionality != Optionality::Repeating {
            continue;
        }
        words.push(option.flag.long);
        words.extend(option.value.as_deref());
    }
    T::from_args(&[program], &words).map_err(|exit| Error::Usage(explain(&exit.output, &words)))
}

/// argh's message with the value told once: our own types name it, the standard library's don't.
fn explain(output: &str, words: &[&str]) -> String {
    let told = words.windows(2).find_map(|pair| {
        let (option, value) = (pair[0], pair[1]);
        let why = output.strip_prefix(&format!("Error parsing option '{option}' with value '{value}': "))?.trim_end();
        let named = why.contains(&format!("'{value}'"));
        Some(if named {
            format!("{option}: {why}")
        } else {
            format!("{option}: bad value '{value}': {why}; see --help")
        })
    });
    told.unwrap_or_else(|| output.trim().replace('\n', " "))
}
