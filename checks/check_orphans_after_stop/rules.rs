//! What is asserted: the options, else the profile, else what holds for any service.

use super::Orphans;
use connleak::base::duration::Span;
use connleak::base::error::{Error, Result};
use connleak::kernel::socket::State;
use connleak::options::args::Args;
use connleak::report::range::Range;
use connleak::report::verdict::Limits;
use connleak::service::target::Target;
use std::str::FromStr;

/// `--ignore`.
#[derive(Clone, Copy, Debug)]
pub struct Ignore(Option<State>);

impl FromStr for Ignore {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text == "none" { Ok(Ignore(None)) } else { text.parse().map(|state| Ignore(Some(state))) }
    }
}

pub struct Rules {
    pub wait: Span,
    pub ignore: Vec<State>,
    pub count: Limits,
}

impl Rules {
    pub fn new(args: &Args<Orphans>, target: &Target) -> Rules {
        let profile = &target.profile.orphans;
        let ignore = if args.own.ignore.is_empty() {
            profile.ignore.clone().unwrap_or_else(|| vec![State::TimeWait])
        } else {
            args.own.ignore.iter().filter_map(|ignore| ignore.0).collect()
        };
        let given = args.common.limits();
        let none_left = Limits { warning: None, critical: Some(Range::up_to(0.0)) };
        Rules {
            wait: args.own.wait.or(profile.wait).unwrap_or(Span::seconds(30)),
            ignore,
            count: if given == Limits::default() { none_left } else { given },
        }
    }
}

/// # Errors
/// For ways to use it that exclude each other.
pub fn refuse_mixed_uses(args: &Args<Orphans>) -> Result<()> {
    let own = &args.own;
    let uses = [
        ("--save-baseline", own.save_baseline.is_some()),
        ("--baseline", own.baseline.is_some()),
        ("a stop command", !args.rest.is_empty()),
        ("--unit, --process or --pid-file", own.is_regular()),
        ("--replay", args.common.replay.is_some()),
        ("several --profile", args.is_of_several),
    ];
    if own.reload && own.baseline.is_none() && args.rest.is_empty() {
        return Err(Error::Usage("--reload asks what was there before: add --baseline FILE or '-- COMMAND'".into()));
    }
    let mut used = uses.iter().filter(|(_, is_used)| *is_used).map(|(name, _)| name);
    match (used.next(), used.next()) {
        (Some(one), Some(other)) => Err(Error::Usage(format!("{one} and {other} can't be used together; see --help"))),
        _ => Ok(()),
    }
}
