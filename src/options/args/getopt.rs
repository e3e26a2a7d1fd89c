//! getopt's habits on top of argh.
//!
//! argh parses one struct in its own dialect. A check has two: [`Common`] and its own.
//! The command line is therefore read here by both structs' `ArgsInfo` and handed to each in argh's form.

use super::{Args, Asked, Command, Common};
use crate::base::error::{Error, Result};
use crate::base::word;
use crate::options::extra_opts;
use argh::{ArgsInfo, FlagInfo, FlagInfoKind, FromArgs, Optionality};
use std::ffi::OsString;
use std::path::PathBuf;

/// One option as it was given.
#[derive(Clone)]
struct Given {
    /// As it was written, without dashes: its own name or one that is also taken.
    name: String,
    flag: &'static FlagInfo<'static>,
    /// Whether it is the check's own.
    own: bool,
    value: Option<String>,
}

pub const HELP: FlagInfo<'static> = FlagInfo {
    kind: FlagInfoKind::Switch,
    optionality: Optionality::Optional,
    long: "--help",
    short: Some('h'),
    description: "show this help",
    hidden: false,
};

/// The options that are dealt with here, as argh has no form for them.
const ALWAYS: [FlagInfo<'static>; 3] = [
    HELP,
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

/// The options of a check in the order help shows them, and whether each is its own. Its own replace
/// shared ones of the same name; what it has no use for it is without.
pub fn all<A: Command>() -> impl Iterator<Item = (&'static FlagInfo<'static>, bool)> {
    let has_use = |flag: &&FlagInfo| !A::WITHOUT.contains(&flag.long);
    let is_shared = |flag: &&FlagInfo| !flags::<A>().any(|own| own.long == flag.long);
    let shared = flags::<Common>().filter(is_shared).filter(has_use).chain(&ALWAYS);
    flags::<A>().filter(has_use).map(|flag| (flag, true)).chain(shared.map(|flag| (flag, false)))
}

/// The options of `A`, without argh's own `--help`.
fn flags<A: ArgsInfo>() -> impl Iterator<Item = &'static FlagInfo<'static>> {
    A::get_args_info().flags.iter().filter(|flag| flag.long != "--help")
}

fn find<A: Command>(wanted: impl Fn(&FlagInfo) -> bool) -> Option<(&'static FlagInfo<'static>, bool)> {
    all::<A>().find(|(flag, _)| wanted(flag))
}

/// Whether a long option is called so, by this check or by others.
fn is_named<A: Command>(flag: &FlagInfo, name: &str) -> bool {
    let long = &flag.long[2..];
    let is_also = |(theirs, ours): &(&str, &str)| {
        name.strip_prefix(theirs).is_some_and(|rest| long.strip_prefix(ours) == Some(rest))
    };
    long == name || A::ALSO.iter().any(is_also)
}

/// Why a command line was refused, and where it wanted a JUnit result, which must tell so.
#[derive(Debug)]
pub struct Refused {
    pub why: Error,
    pub junit: Option<PathBuf>,
}

/// Reads a command line without its program name.
pub fn parse<A: Command>(argv: impl IntoIterator<Item = OsString>) -> std::result::Result<Asked<A>, Refused> {
    let mut typed = Vec::new();
    read(argv, &mut typed).map_err(|why| {
        let junit = typed.iter().rfind(|given| given.flag.long == "--junit").and_then(|given| given.value.as_ref());
        Refused { why, junit: junit.map(PathBuf::from) }
    })
}

fn read<A: Command>(argv: impl IntoIterator<Item = OsString>, typed: &mut Vec<Given>) -> Result<Asked<A>> {
    let text = |word: OsString| {
        word.into_string()
            .map_err(|word| Error::Usage(format!("argument '{}' is not UTF-8; see --help", word.to_string_lossy())))
    };
    let words = argv.into_iter().map(text).collect::<Result<Vec<_>>>()?;
    let rest = split::<A>(words, typed)?;
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
    given.extend(typed.iter().filter(|given| given.flag.long != "--extra-opts").cloned());
    Ok(Asked::Run(Box::new(Args {
        common: build(&given, false, A::PROGRAM)?,
        own: build(&given, true, A::PROGRAM)?,
        rest,
        is_of_several: false,
    })))
}

/// `--require-listener:critical`: the one option whose value is a state and may be left out.
fn with_state(long: &str) -> Option<(&str, &str)> {
    long.split_once(':').filter(|(name, _)| *name == "require-listener")
}

/// getopt's reading of the words: `-p11211`, `-p 11211`, `--port=11211`, `-vvv`, `-w ~:10`. Adds the
/// options to `given`, also those before an error, and returns what follows `--`.
fn split<A: Command>(words: Vec<String>, given: &mut Vec<Given>) -> Result<Vec<String>> {
    let mut words = words.into_iter().peekable();
    let mut files = Vec::new();
    while let Some(word) = words.next() {
        if word == "--" && A::REST.is_some() {
            // An empty variable of a script must not turn a stop into a look.
            words.peek().ok_or_else(|| Error::Usage("no command after '--'; see --help".into()))?;
            return Ok(words.collect());
        }
        if let Some(long) = word.strip_prefix("--").filter(|long| !long.is_empty()) {
            let (name, mut value) = match long.split_once('=').or_else(|| with_state(long)) {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            let (flag, own) = find::<A>(|flag| is_named::<A>(flag, name))
                .ok_or_else(|| Error::Usage(format!("unknown option '--{name}'; {}see --help", meant::<A>(name))))?;
            if flag.long == "--extra-opts" {
                // Its value is optional, as in the Monitoring Plugins.
                value = value.or_else(|| words.next_if(|next| !next.starts_with('-')));
            } else if flag.long == "--require-listener" {
                value = value.or(Some(String::new()));
            } else if matches!(flag.kind, FlagInfoKind::Switch) {
                if value.is_some() {
                    return Err(Error::Usage(format!("option '--{name}' takes no value; see --help")));
                }
            } else {
                value = Some(value.or_else(|| words.next()).ok_or_else(|| needs_value(flag))?);
            }
            given.push(Given { name: name.to_owned(), flag, own, value });
        } else if let Some(cluster) = word.strip_prefix('-').filter(|cluster| !cluster.is_empty() && word != "--") {
            for (at, letter) in cluster.char_indices() {
                let (flag, own) = find::<A>(|flag| flag.short == Some(letter))
                    .ok_or_else(|| Error::Usage(format!("unknown option '-{letter}' in '{word}'; see --help")))?;
                if matches!(flag.kind, FlagInfoKind::Switch) {
                    given.push(Given { name: letter.into(), flag, own, value: None });
                    continue;
                }
                let attached = &cluster[at + letter.len_utf8()..];
                let attached = Some(attached.to_owned()).filter(|value| !value.is_empty());
                let value = Some(attached.or_else(|| words.next()).ok_or_else(|| needs_value(flag))?);
                given.push(Given { name: letter.into(), flag, own, value });
                break;
            }
        } else if A::FILES && word != "--" && !word.is_empty() {
            files.push(word);
        } else {
            return Err(Error::Usage(format!("unexpected argument '{word}'; see --help")));
        }
    }
    Ok(files)
}

fn meant<A: Command>(name: &str) -> String {
    let known: Vec<&str> = all::<A>().map(|(flag, _)| &flag.long[2..]).collect();
    word::suggestion("--", name, known.into_iter())
}

fn needs_value(flag: &FlagInfo) -> Error {
    let FlagInfoKind::Option { arg_name } = flag.kind else { unreachable!("switches take no value") };
    Error::Usage(format!("option '{}' needs a value {arg_name}; see --help", flag.long))
}

/// An option from an INI file: its long or short name without dashes.
fn from_file<A: Command>(key: &str, value: String, place: &str) -> Result<Given> {
    let has_name =
        |flag: &FlagInfo| is_named::<A>(flag, key) || flag.short.is_some_and(|short| key == short.to_string());
    let (flag, own) = find::<A>(|flag| has_name(flag) && !ALWAYS.iter().any(|always| always.long == flag.long))
        .ok_or_else(|| Error::Usage(format!("unknown option '{key}' in {place}; {}see --help", meant::<A>(key))))?;
    match flag.kind {
        FlagInfoKind::Option { .. } => Ok(Given { name: key.to_owned(), flag, own, value: Some(value) }),
        FlagInfoKind::Switch if value.is_empty() || value == "true" => {
            Ok(Given { name: key.to_owned(), flag, own, value: None })
        }
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
    T::from_args(&[program], &words).map_err(|exit| Error::Usage(as_written(explain(&exit.output, &words), given)))
}

/// The message about an option by the name that was written.
fn as_written(message: String, given: &[Given]) -> String {
    let rest_of = |option: &Given| Some((option.name.clone(), message.strip_prefix(option.flag.long)?.to_owned()));
    let written = given.iter().filter(|option| option.name.len() > 1).rev().find_map(rest_of);
    match written {
        Some((name, rest)) if rest.starts_with(':') => format!("--{name}{rest}"),
        _ => message,
    }
}

/// Characters of a bad value that are told.
const LONGEST_VALUE: usize = 120;

/// argh's message with the value told once: our own types name it, the standard library's don't.
pub fn explain(output: &str, words: &[&str]) -> String {
    let told = words.windows(2).find_map(|pair| {
        let (option, value) = (pair[0], pair[1]);
        let why = output.strip_prefix(&format!("Error parsing option '{option}' with value '{value}': "))?.trim_end();
        // The standard library's words about whole numbers.
        let is_foreign =
            [" in string", " target type", " empty string", "-zero type"].iter().any(|end| why.ends_with(end));
        let why = if is_foreign { "write a whole number" } else { why };
        let quoted = format!("'{value}'");
        let told = match why.contains(&quoted) {
            true => format!("{option}: {why}"),
            false => format!("{option}: bad value {quoted}: {why}; see --help"),
        };
        // A line has room for the remedy, too.
        let begin: String = value.chars().take(LONGEST_VALUE).collect();
        Some(if begin == value { told } else { told.replace(&quoted, &format!("'{begin}...'")) })
    });
    told.unwrap_or_else(|| output.trim().replace('\n', " "))
}
