//! What the caller asks for, in values of this room: which service, which of its sockets, grouped how.

use crate::base::word;
use crate::kernel::select::Cidr;
use crate::kernel::socket::Side;
use crate::kernel::unix_target::UnixPath;
use crate::report::verdict::ServiceState;
use std::str::FromStr;

/// A command line's choice of sockets, or that of whoever asks without one.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Each once, in the order given.
    pub ports: Vec<u16>,
    /// UNIX sockets, each once.
    pub unix: Vec<UnixPath>,
    /// A profile's name or file.
    pub profile: Option<String>,
    pub side: Option<Side>,
    pub peers: Vec<Cidr>,
    pub locals: Vec<Cidr>,
    /// A name or a number.
    pub user: Option<String>,
    /// A systemd unit's name, or a path of cgroups.
    pub unit: Option<String>,
    /// Each once, ascending.
    pub pids: Vec<u32>,
    pub by: By,
    /// Most entries of any list.
    pub top: usize,
    /// Whether each socket is wanted as data, beside the numbers.
    pub lists_sockets: bool,
    /// The state where nothing listens on the port; `None`: that is said and not judged.
    pub without_listener: Option<ServiceState>,
}

impl Request {
    /// Whether a service is named, by port or by profile.
    pub fn names_service(&self) -> bool {
        self.is_typed() || self.profile.is_some()
    }

    /// Whether it says where the service listens: then that of a profile is not meant.
    pub fn is_typed(&self) -> bool {
        !self.ports.is_empty() || !self.unix.is_empty()
    }
}

/// `17,4711`, where there are any.
pub fn pids_text(pids: &[u32]) -> Option<String> {
    let (first, others) = pids.split_first()?;
    let mut text = first.to_string();
    for pid in others {
        text.push(',');
        text.push_str(&pid.to_string());
    }
    Some(text)
}

/// `--by`: what sockets are grouped by.
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

    fn from_str(text: &str) -> Result<Self, String> {
        let words =
            [("owner", By::Owner), ("unit", By::Unit), ("user", By::User), ("peer", By::Peer), ("tenant", By::Tenant)];
        word::choose("grouping", text, &words)
    }
}
