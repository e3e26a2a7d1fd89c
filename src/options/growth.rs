//! The own options of check_conn_growth, by which its replay too is told what was looked at.

use crate::base::duration::Span;
use crate::growth::measure::{LimitChoice, Measure};
use crate::growth::rules::Rules;
use crate::options::args::{Command, Common, Percent, Speed};
use crate::service::profile::Profile;
use argh::{ArgsInfo, FromArgs};
use std::path::PathBuf;

/// tell a connection leak from load, early, and say when it runs out
#[derive(FromArgs, ArgsInfo, Debug)]
#[argh(note = "Each run adds one look at the service's sockets to a history, and judges whether sockets pile up that \
    fell silent and never come back while new ones are opened. A confirmed leak is at least WARNING.")]
#[argh(note = "The main number (-w, -c) is the connections in percent of the limit; no range is set by default, as a \
    full pool of fixed size is healthy. With --pid, --unit or --user it needs no port.")]
pub struct Growth {
    /// what may leak: connections, fds (open descriptors) or rss (resident memory) of the processes
    /// of --pid, --unit, --user or the port; default connections
    #[argh(option, arg_name = "METRIC")]
    pub metric: Option<Measure>,

    /// connections, descriptors or bytes (512M, 2G) that there can be, or auto: what runs out first
    /// of the profile's limit, the open files of its processes, the ephemeral ports and the cgroup's
    /// memory; default auto
    #[argh(option, arg_name = "N|auto")]
    pub limit: Option<LimitChoice>,

    /// warn when a leak may leave less time than this until the limit; default from the profile
    #[argh(option, arg_name = "DURATION")]
    pub left_warning: Option<Span>,

    /// be critical when a leak may leave less time than this until the limit; default from the profile
    #[argh(option, arg_name = "DURATION")]
    pub left_critical: Option<Span>,

    /// warn when there are this many percent more than usual at this hour, once three days are known;
    /// default never
    #[argh(option, arg_name = "PERCENT")]
    pub usual_warning: Option<Percent>,

    /// where the history is kept; default /var/lib/connleak, see the man page
    #[argh(option, arg_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// for rehearsals: judge as if time ran this many times as fast, thresholds too, on a history of its own
    #[argh(option, arg_name = "FACTOR")]
    pub rehearse: Option<Speed>,
}

impl Command for Growth {
    const PROGRAM: &'static str = "check_conn_growth";
    const ALSO: &'static [(&'static str, &'static str)] = &[("baseline-", "usual-")];
}

impl Growth {
    /// The thresholds in force.
    pub fn rules(&self, common: &Common, profile: &Profile) -> Rules {
        let rules = Rules {
            used: common.limits(),
            left_warning: self.left_warning.or(profile.growth.warning),
            left_critical: self.left_critical.or(profile.growth.critical),
            usual_warning: self.usual_warning.map(|Percent(percent)| percent),
        };
        rules.rehearsed(self.rehearse.map_or(1, |Speed(factor)| factor))
    }
}
