//! Sort what is left after a stop: who has it, and so what to do next.

pub mod files;

use connleak::base::duration::Span;
use connleak::kernel::cgroup;
use connleak::kernel::owner::{Named, Owners, Process};
use connleak::kernel::socket::{Protocol, Side, Socket, State};
use connleak::owners::blame::sockets;
use connleak::report::words;
use connleak::service::baseline::Listener;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What keeps a socket alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A process has its descriptor.
    Held,
    /// No process: the kernel ends it by itself, or waits for the service to accept it.
    Kernel,
    /// The port is still listened on.
    Listen,
    /// The port is taken by a socket that neither listens nor is connected: one that was shut down, or
    /// never listened. Another one may not be able to listen there (EADDRINUSE).
    Bound,
}

impl Class {
    pub fn name(self) -> &'static str {
        match self {
            Class::Held => "held",
            Class::Kernel => "kernel",
            Class::Listen => "listen",
            Class::Bound => "bound",
        }
    }
}

/// What a holder is to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// It listened itself: the service still runs.
    Service,
    /// A service manager that listens for it (socket activation): the socket unit's, not the service's.
    Manager,
    /// It listened until a reload.
    OldWorker,
    /// It has the server's end and did not open the port, or its parent did.
    Heir,
    /// It has the server's end, and who listened isn't known.
    Server,
    /// It has the other end of a connection.
    Client,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Role::Service => "service",
            Role::Manager => "manager",
            Role::OldWorker => "old-worker",
            Role::Heir => "heir",
            Role::Server => "server",
            Role::Client => "client",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Role::Service => "the service itself, still running",
            Role::Manager => "whose socket unit starts the service anew, and is stopped apart from it",
            Role::OldWorker => "an old worker that still serves",
            Role::Heir => "a process that inherited it",
            Role::Server => "the service or a process that inherited it",
            Role::Client => "a client on this host",
        }
    }
}

/// A socket that should be gone.
#[derive(Clone, Copy, Debug)]
pub struct Left {
    pub socket: Socket,
    pub side: Side,
}

impl Left {
    pub fn class(&self) -> Class {
        match self.socket {
            Socket { state: State::Listen, .. } => Class::Listen,
            socket if socket.is_bound() => Class::Bound,
            Socket { inode: 0, .. } => Class::Kernel,
            _ => Class::Held,
        }
    }

    /// Whether the kernel ends it without anyone's help: in these states it has a timer of what no process has, and gives
    /// up after it (tcp_fin_timeout, tcp_orphan_retries). Nothing waits for it, no one has forgotten it.
    pub fn is_ending(&self) -> bool {
        let states = [State::FinWait1, State::FinWait2, State::Closing, State::LastAck];
        self.class() == Class::Kernel && states.contains(&self.socket.state)
    }
}

/// Who listened before, by which a holder's role is told.
#[derive(Clone, Debug, Default)]
pub struct Before {
    pub listeners: Vec<Listener>,
    /// Those of them that are a service manager's.
    pub managers: Vec<u32>,
    /// Whether the service goes on: then who listened and has something left is an old worker.
    pub is_reload: bool,
}

pub fn role(side: Side, holder: &Process, before: &Before) -> Role {
    // A manager makes the socket that its services inherit, and is none of them.
    let is_manager = |pid: u32| before.managers.contains(&pid);
    let listened = |pid: u32| before.listeners.iter().find(|listener| listener.pid == pid && !is_manager(pid));
    match (side, listened(holder.pid)) {
        (Side::Client, _) => Role::Client,
        _ if is_manager(holder.pid) => Role::Manager,
        (_, Some(_)) if before.is_reload => Role::OldWorker,
        // A worker inherits the listening socket too; its parent is the service.
        (_, Some(listener)) if listened(listener.parent).is_none() => Role::Service,
        _ if before.listeners.is_empty() => Role::Server,
        _ => Role::Heir,
    }
}

/// The processes that hold a listening socket among `left`, or one that may have listened.
pub fn listeners(left: &[Left], owners: &Owners) -> Vec<Listener> {
    let mut listeners: Vec<Listener> = Vec::new();
    for left in left.iter().filter(|left| matches!(left.class(), Class::Listen | Class::Bound)) {
        for process in owners.of(left.socket.inode) {
            if !listeners.iter().any(|known| known.pid == process.pid) {
                listeners.push(Listener { pid: process.pid, parent: process.parent });
            }
        }
    }
    listeners
}

/// For the first line: each class with its number, what it is, and so what to do next.
pub fn headline(left: &[Left], owners: &Owners, before: &Before) -> Vec<String> {
    let of = |class: Class| left.iter().filter(move |left| left.class() == class);
    let mut parts = Vec::new();
    let mut listener = None;
    if of(Class::Listen).next().is_some() {
        let holder = of(Class::Listen).find_map(|left| owners.of(left.socket.inode).next());
        listener = holder.map(|process| called(process, role(Side::Server, process, before)));
        let is_unix = of(Class::Listen).all(|left| left.socket.is_unix());
        let what = if is_unix { "socket still listened on" } else { "port still bound" };
        parts.push(listener.as_ref().map_or_else(|| what.to_owned(), |holder| format!("{what} by {holder}")));
    }
    let bound = of(Class::Bound).count();
    if bound > 0 {
        let holder = of(Class::Bound).find_map(|left| owners.of(left.socket.inode).next());
        let by = holder.map_or(String::new(), |process| format!(" by {}", named(process)));
        let of_datagrams = of(Class::Bound).filter(|left| left.socket.protocol == Protocol::Datagram).count();
        let what = if of_datagrams == bound { "bound for datagrams" } else { "bound without listening" };
        parts.push(format!("{bound} {what}{by}: a restart may get EADDRINUSE"));
    }
    let mut holders: BTreeMap<u32, (u64, &Process, Role)> = BTreeMap::new();
    for left in of(Class::Held) {
        if let Some(process) = owners.of(left.socket.inode).next() {
            let role = role(left.side, process, before);
            holders.entry(process.pid).or_insert((0, process, role)).0 += 1;
        }
    }
    let held = of(Class::Held).count();
    // Who has the server's ends keeps its clients' connections alive, however many they have.
    let first = |(count, process, role): &&(u64, &Process, Role)| (std::cmp::Reverse(*role), *count, process.pid);
    if let Some((count, process, role)) = holders.values().max_by_key(first) {
        let holder = Some(called(process, *role)).filter(|holder| listener.as_ref() != Some(holder));
        let holder = holder.unwrap_or_else(|| "it too".to_owned());
        parts.push(format!("{}held by {holder}", words::among(*count, held as u64)));
    } else if held > 0 {
        parts.push(format!("{held} held by unknown processes"));
    }
    parts.extend(of_kernel(left));
    parts
}

/// `3 in the kernel in FIN_WAIT2, gone in 29s`: each state's.
pub fn of_kernel(left: &[Left]) -> Vec<String> {
    let mut states: BTreeMap<State, (u64, Option<u32>)> = BTreeMap::new();
    for left in left.iter().filter(|left| left.class() == Class::Kernel) {
        let (count, rest) = states.entry(left.socket.state).or_default();
        *count += 1;
        *rest = (*rest).max(left.socket.timer_rest);
    }
    states
        .into_iter()
        .map(|(state, (count, rest))| format!("{count} in the kernel in {state}{}", fate(state, rest)))
        .collect()
}

/// What becomes of a socket that only the kernel has.
fn fate(state: State, rest: Option<u32>) -> String {
    let rest = rest.map(|millis| Span::millis(u64::from(millis)));
    match (state, rest) {
        (State::Established | State::CloseWait | State::SynRecv, _) => ", not accepted by anyone".to_owned(),
        (State::FinWait2 | State::TimeWait, Some(rest)) => format!(", gone in {rest}"),
        (_, Some(rest)) => format!(", tried again in {rest}"),
        (_, None) => String::new(),
    }
}

fn called(process: &Process, role: Role) -> String {
    format!("{}, {}", named(process), role.words())
}

fn named(process: &Process) -> String {
    let unit = process.unit.as_ref().map_or(String::new(), |unit| format!(" of {}", cgroup::label(unit)));
    format!("{}{unit}", Named(process))
}

/// Long text: a line for each socket, at most `top` of them.
pub fn lines(left: &[Left], owners: &Owners, before: &Before, top: usize) -> Vec<String> {
    let mut lines: Vec<_> = left.iter().take(top).map(|left| line(left, owners, before)).collect();
    if left.len() > top {
        lines.push(format!("... {} more sockets; see --top", left.len() - top));
    }
    lines
}

fn line(left: &Left, owners: &Owners, before: &Before) -> String {
    let Socket { state, local, remote, inode, timer_rest, .. } = left.socket;
    let holders: Vec<_> = owners.of(inode).map(|process| called(process, role(left.side, process, before))).collect();
    let whose = match left.class() {
        Class::Kernel => format!("in the kernel{}", fate(state, timer_rest)),
        _ if holders.is_empty() => format!("inode {inode}, holder unknown"),
        _ => format!("held by {}", holders.join("; ")),
    };
    match left.class() {
        Class::Listen => format!("listen {local} {state}, {whose}"),
        Class::Bound if holders.is_empty() => format!("bound {local}, inode {inode}, holder unknown"),
        Class::Bound => {
            format!("bound {local}, held by {}", owners.of(inode).map(named).collect::<Vec<_>>().join("; "))
        }
        class => format!("{} {local} from {remote} {state}, {whose}", class.name()),
    }
}

pub fn json(left: &Left, owners: &Owners, before: &Before) -> Value {
    let socket = &left.socket;
    let holder = owners.of(socket.inode).next();
    json!({
        "class": left.class().name(),
        "side": left.side.name(),
        "state": socket.state.name(),
        "local": socket.local.to_string(),
        "remote": socket.remote.to_string(),
        "inode": socket.inode,
        "pid": holder.map(|process| process.pid),
        "role": holder.map(|process| role(left.side, process, before).name()),
        "timer_seconds": socket.timer_rest.map(|millis| f64::from(millis) / 1000.0),
    })
}

/// `3 sockets left`.
pub fn counted(left: &[Left]) -> String {
    format!("{} left", sockets(left.len() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, parent: u32) -> Process {
        Process { pid, parent, command: "x".into(), unit: None, cgroup: None, uid: 0, user: None }
    }

    #[test]
    fn roles_are_told_by_who_listened() {
        let listeners = vec![Listener { pid: 10, parent: 1 }, Listener { pid: 11, parent: 10 }];
        let mut before = Before { listeners, ..Before::default() };
        assert_eq!(role(Side::Server, &process(10, 1), &before), Role::Service);
        assert_eq!(role(Side::Server, &process(11, 1), &before), Role::Heir, "a worker whose parent is gone");
        assert_eq!(role(Side::Server, &process(12, 1), &before), Role::Heir, "never listened");
        assert_eq!(role(Side::Client, &process(10, 1), &before), Role::Client);
        assert_eq!(role(Side::Server, &process(10, 1), &Before::default()), Role::Server, "nothing is known of before");
        before.is_reload = true;
        assert_eq!(role(Side::Server, &process(11, 10), &before), Role::OldWorker);
        let before = Before { is_reload: false, managers: vec![10], ..before };
        assert_eq!(role(Side::Server, &process(10, 1), &before), Role::Manager, "it made the socket for the service");
        assert_eq!(role(Side::Server, &process(11, 10), &before), Role::Service);
    }

    #[test]
    fn the_kernels_sockets_say_what_becomes_of_them() {
        assert_eq!(fate(State::FinWait2, Some(42_000)), ", gone in 42s");
        assert_eq!(fate(State::LastAck, Some(800)), ", tried again in 800ms");
        assert_eq!(fate(State::CloseWait, None), ", not accepted by anyone");
        assert_eq!(fate(State::Closing, None), "");
    }
}
