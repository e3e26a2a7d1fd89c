//! What is asserted: the options, else the profile, else what holds for any service.

use super::Orphans;
use connleak::base::duration::Span;
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
