//! Which sockets a service had before its stop: taken, kept in a file, compared.

use crate::base::atomic_file;
use crate::base::error::{Error, Result};
use crate::base::read_limited;
use crate::kernel::boot;
use crate::kernel::socket::{Endpoint, Socket};
use crate::report::Service;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::Path;

const SCHEMA: u32 = 1;
/// About a million sockets.
const LARGEST_FILE: u64 = 256 * 1024 * 1024;

/// What makes a socket the same one later, within its network namespace: the cookie where the kernel
/// tells it; else inode and addresses, which can repeat, but hardly together within a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    #[serde(default)]
    netns: u32,
    cookie: Option<NonZeroU64>,
    inode: u64,
    local: SocketAddr,
    remote: SocketAddr,
}

impl Identity {
    fn of(socket: &Socket) -> Identity {
        let address = |end: Endpoint| SocketAddr::new(end.ip, end.port);
        Identity {
            netns: socket.netns,
            cookie: socket.cookie,
            inode: socket.inode,
            local: address(socket.local),
            remote: address(socket.remote),
        }
    }
}

/// A process that listened on the service's ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    pub pid: u32,
    pub parent: u32,
}

/// A baseline as its file holds it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    connleak_baseline: u32,
    boot_id: String,
    /// [`crate::kernel::netns::identity`]; 0: all.
    netns: u64,
    ports: Vec<u16>,
    listeners: Vec<Listener>,
    sockets: BTreeSet<Identity>,
}

impl Content {
    /// # Errors
    /// What the text is instead.
    pub fn parse(json: &str) -> std::result::Result<Content, String> {
        serde_json::from_str(json).map_err(|error| match error.is_eof() {
            true => "the baseline is cut short".to_owned(),
            false => format!("not a baseline of connleak ({error})"),
        })
    }

    /// # Errors
    /// None for what a socket can be: numbers, addresses and text.
    pub fn to_json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }
}

/// The sockets that were there.
#[derive(Debug, Default)]
pub struct Baseline {
    identities: BTreeSet<Identity>,
    /// Several processes may listen on one address.
    by_addresses: HashMap<(u32, SocketAddr, SocketAddr), Vec<Identity>>,
    /// Cookies of UNIX sockets, whose peer changes as it closes.
    cookies: HashSet<NonZeroU64>,
    inodes: HashSet<u64>,
    pub listeners: Vec<Listener>,
}

fn is_unix(address: SocketAddr) -> bool {
    Endpoint::new(address.ip(), address.port()).unix().is_some()
}

impl Baseline {
    /// Cookies of clients' ends of UNIX sockets: once their server has closed nothing else tells whose they were.
    pub fn unix_clients(&self) -> impl Iterator<Item = NonZeroU64> {
        let has_name = |address: SocketAddr| {
            Endpoint::new(address.ip(), address.port()).unix().is_some_and(|end| end.name.is_some())
        };
        let clients = self.identities.iter().filter(move |identity| has_name(identity.remote));
        clients.filter_map(|identity| identity.cookie)
    }

    pub fn add(&mut self, socket: &Socket) {
        self.insert(Identity::of(socket));
    }

    fn insert(&mut self, identity: Identity) {
        if is_unix(identity.local) {
            self.cookies.extend(identity.cookie);
            self.inodes.insert(identity.inode);
        }
        if self.identities.insert(identity) {
            self.by_addresses.entry((identity.netns, identity.local, identity.remote)).or_default().push(identity);
        }
    }

    /// How many sockets were there.
    pub fn count(&self) -> usize {
        let same = |a: &Identity, b: &Identity| a.cookie.is_some() && (a.netns, a.cookie) == (b.netns, b.cookie);
        let identities: Vec<&Identity> = self.identities.iter().collect();
        identities.chunk_by(|a, b| same(a, b)).count()
    }

    /// Whether the socket was there. By cookie where both views tell it; else by addresses and
    /// inode, which a socket gets when it is accepted and loses when its process closes it.
    pub fn has(&self, socket: &Socket) -> bool {
        if let Some(end) = socket.local.unix() {
            // What waits to be accepted has no cookie, but its listener's inode.
            let of_listener = || self.inodes.contains(&u64::from(end.inode));
            return socket.cookie.map_or_else(of_listener, |cookie| self.cookies.contains(&cookie));
        }
        let now = Identity::of(socket);
        let is_now = |known: &Identity| match (known.cookie, now.cookie) {
            (Some(cookie), Some(now)) => cookie == now,
            _ => known.inode == 0 || now.inode == 0 || known.inode == now.inode,
        };
        let known = self.by_addresses.get(&(now.netns, now.local, now.remote));
        known.is_some_and(|known| known.iter().any(is_now))
    }

    pub fn save(&self, path: &Path, service: &Service, netns: u64) -> Result<()> {
        let content = Content {
            connleak_baseline: SCHEMA,
            boot_id: boot::boot_id()?,
            netns,
            ports: service.ports.clone(),
            listeners: self.listeners.clone(),
            sockets: self.identities.clone(),
        };
        let json = content.to_json().map_err(|error| Error::content(path, error))?;
        atomic_file::write(path, json.as_bytes(), 0o600)
    }

    /// Reads a saved baseline; refuses one that says nothing about this boot, namespace or service.
    pub fn load(path: &Path, service: &Service, netns: u64) -> Result<Baseline> {
        let json = read_limited::read(path, LARGEST_FILE)?;
        let refuse = |why: &str| Err(Error::content(path, format!("{why}; take a new one with --save-baseline")));
        let content = match Content::parse(&json) {
            Ok(content) => content,
            Err(why) => return refuse(&why),
        };
        if content.connleak_baseline != SCHEMA {
            return refuse(&format!("a baseline of format {}, this is {SCHEMA}", content.connleak_baseline));
        }
        if content.boot_id != boot::boot_id()? {
            return refuse("the baseline is from another boot");
        }
        if content.netns != netns {
            return refuse("the baseline is from another network namespace");
        }
        if content.ports != service.ports {
            return refuse(&format!("the baseline is of ports {:?}, not {}", content.ports, service.ports_text()));
        }
        let mut baseline = Baseline { listeners: content.listeners, ..Baseline::default() };
        content.sockets.into_iter().for_each(|identity| baseline.insert(identity));
        Ok(baseline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::socket::State;
    use std::fs;

    fn socket(cookie: u64, inode: u64, remote: u16) -> Socket {
        let end = |port| Endpoint::new([127, 0, 0, 1].into(), port);
        let bare = Socket::bare(State::Established, end(80), end(remote));
        Socket { inode, cookie: NonZeroU64::new(cookie), ..bare }
    }

    #[test]
    fn a_cookie_is_the_identity_and_a_reused_port_is_not() {
        let mut baseline = Baseline::default();
        baseline.add(&socket(1, 10, 5000));
        assert!(baseline.has(&socket(1, 0, 5000)), "orphaned since");
        assert!(!baseline.has(&socket(2, 10, 5000)), "a new socket on the same ports");
        assert!(baseline.has(&socket(0, 10, 5000)), "now seen through /proc");
    }

    #[test]
    fn without_cookies_inode_and_addresses_decide() {
        let mut baseline = Baseline::default();
        baseline.add(&socket(0, 10, 5000));
        assert!(baseline.has(&socket(7, 10, 5000)));
        assert!(baseline.has(&socket(0, 0, 5000)), "orphaned since");
        assert!(!baseline.has(&socket(0, 11, 5000)));
        assert!(!baseline.has(&socket(0, 10, 5001)));
        baseline.add(&socket(0, 20, 5000));
        assert!(baseline.has(&socket(0, 10, 5000)) && baseline.has(&socket(0, 20, 5000)), "one address, two listeners");
        baseline.add(&socket(0, 0, 5002));
        assert!(baseline.has(&socket(0, 12, 5002)), "accepted since");
        let elsewhere = Socket { netns: 7, ..socket(0, 0, 5002) };
        assert!(!baseline.has(&elsewhere), "the same addresses in another network namespace");
        assert_eq!(baseline.count(), 3);
    }

    #[test]
    fn a_file_is_read_back_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b.json");
        let service = |ports| Service { profile: "x".into(), ports, side: crate::kernel::socket::Side::Both };
        let mut baseline = Baseline { listeners: vec![Listener { pid: 7, parent: 1 }], ..Baseline::default() };
        baseline.add(&socket(1, 10, 5000));
        baseline.add(&socket(2, 11, 5001));
        baseline.save(&path, &service(vec![80]), 5).unwrap();
        let read = Baseline::load(&path, &service(vec![80]), 5).unwrap();
        assert_eq!((read.identities, read.listeners), (baseline.identities, baseline.listeners));
        let json = fs::read_to_string(&path).unwrap();
        let boot = boot::boot_id().unwrap();
        for (content, why) in [
            (json[..json.len() / 2].to_owned(), "cut short"),
            (String::new(), "cut short"),
            ("{\"a\": 1}".to_owned(), "not a baseline"),
            (json.replace(&boot, "1234"), "another boot"),
            (json.replace("\"netns\":", "\"netns\":9"), "another network namespace"),
            (json.replace("baseline\":1", "baseline\":2"), "format 2"),
        ] {
            fs::write(&path, content).unwrap();
            let error = Baseline::load(&path, &service(vec![80]), 5).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("--save-baseline"), "{error}");
        }
        fs::write(&path, json).unwrap();
        assert!(Baseline::load(&path, &service(vec![81]), 5).unwrap_err().to_string().contains("not 81"));
    }
}
