//! Visit the sockets of all network namespaces, each once.

use super::{Coverage, Namespaces, Origin, Query, netlink, proc};
use crate::base::error::Result;
use crate::kernel::netns::candidates::Candidates;
use crate::kernel::netns::host::{self, LivedIn};
use crate::kernel::netns::kept::{self, Reading, Visited};
use crate::kernel::netns::{self, Inside};
use crate::kernel::socket::Socket;
use crate::kernel::world::{Source, World};
use rustix::fd::OwnedFd;
use std::fs::File;
use std::path::Path;

/// Shows the sockets of every namespace that can be found, each marked with [`Socket::netns`]. Every
/// namespace that has any costs a walk of the host's whole table; what may not be entered is read
/// from `/proc`.
///
/// # Errors
/// When there is no /proc. All else that can't be seen is said in [`Coverage::missing`].
pub fn visit(
    world: &World,
    query: &Query,
    reading: &mut Reading<'_>,
    each: &mut dyn FnMut(&Socket),
) -> Result<Coverage> {
    visit_some(world, query, (reading, None), each)
}

/// [`visit`] without the namespace of this [`netns::identity_of`]. `candidates`: namespaces that descriptors keep, which
/// have been read.
///
/// # Errors
/// As [`visit`].
pub fn visit_but(
    world: &World,
    query: &Query,
    candidates: &Candidates,
    but: Option<u32>,
    each: &mut dyn FnMut(&Socket),
) -> Result<Coverage> {
    visit_some(world, query, (&mut Reading::Done(candidates), but), each)
}

fn visit_some(
    world: &World,
    query: &Query,
    (reading, but): (&mut Reading<'_>, Option<u32>),
    each: &mut dyn FnMut(&Socket),
) -> Result<Coverage> {
    let _rights = world.raise();
    let origin = if world.source == Source::Proc { Origin::Proc } else { Origin::Netlink };
    let mut seen = Coverage::new(origin, String::new());
    seen.namespaces = Namespaces { seen: 0, refused: 0, late: 0 };
    let mut tour = Tour { world, query, but, seen, empty: 0, by_proc: 0, sockets: 0 };
    let host = kept::visit(&mut || kept::look(world, reading), &mut |host, visited| {
        for some in host.lived_in.chunks(AT_ONCE) {
            tour.lived_in(some, visited, each);
        }
        for path in host.mounted.iter().filter(|path| visited.follow(path)).collect::<Vec<_>>() {
            let late = world.deadline.is_near();
            let view = if late { NamespaceView::Late } else { tour.mounted(path, visited, each) };
            tour.add(view);
        }
    })?;
    let unreached = host.outside.map(|all| all.saturating_sub(tour.sockets));
    let remark = unreached.filter(|count| *count > 0).map(|count| {
        format!("{count} TCP sockets in no network namespace that was reached: reset, unbound, or theirs is kept by them alone")
    });
    tour.seen.remark = tour.seen.remark.or(host.remark).or(remark);
    Ok(tour.end(host.hidden))
}

/// How many namespaces one thread enters, for a descriptor or two of each.
const AT_ONCE: usize = 64;

/// How one namespace was seen.
enum NamespaceView {
    Sockets(Coverage),
    /// It has none: its counters tell.
    Empty,
    Refused,
    Late,
    /// It ended meanwhile, or was seen already.
    Gone,
}

/// A namespace that processes are in, before it is looked at.
struct Room<'a> {
    namespace: &'a LivedIn,
    /// One that is in it; `None`: it is gone, or there is no time.
    process: Option<&'a Path>,
    is_empty: bool,
    socket: Option<OwnedFd>,
}

/// What a thread sees in a namespace without processes.
struct Unpeopled {
    is_empty: bool,
    has_mptcp: bool,
    /// TCP's, by its counters.
    sockets: u64,
    socket: Result<OwnedFd>,
}

impl Unpeopled {
    fn look() -> Unpeopled {
        let ours = Path::new(netns::OURS);
        let sockets = netns::in_tables(ours).unwrap_or(0);
        let (is_empty, has_mptcp) = (netns::is_empty(ours), netns::has_mptcp(ours));
        Unpeopled { is_empty, has_mptcp, sockets, socket: netlink::open() }
    }
}

struct Tour<'a> {
    world: &'a World,
    query: &'a Query<'a>,
    /// One that isn't looked at.
    but: Option<u32>,
    seen: Coverage,
    empty: u64,
    by_proc: u64,
    /// Those in namespaces that no process is in.
    sockets: u64,
}

impl Tour<'_> {
    fn lived_in(&mut self, namespaces: &[LivedIn], visited: &mut Visited, each: &mut dyn FnMut(&Socket)) {
        let is_wanted = |namespace: &&LivedIn| Some(namespace.identity) != self.but && !visited.has(namespace.identity);
        let looked_at = namespaces.iter().filter(is_wanted);
        let mut rooms: Vec<Room> = looked_at.map(|namespace| self.room(namespace)).collect();
        self.open(&mut rooms);
        for room in rooms {
            let view = match room.process {
                _ if self.world.deadline.is_near() => NamespaceView::Late,
                None => NamespaceView::Gone,
                Some(_) if room.is_empty => NamespaceView::Empty,
                Some(process) => self.peopled(room.namespace, process, room.socket, each),
            };
            match view {
                NamespaceView::Gone => visited.any_left = true,
                _ => drop(visited.enter(room.namespace.identity)),
            }
            self.add(view);
        }
    }

    fn room<'b>(&self, namespace: &'b LivedIn) -> Room<'b> {
        let process = if self.world.deadline.is_near() { None } else { namespace.process() };
        let is_empty = |process: &Path| self.skips_empty() && netns::is_empty(&process.join("net"));
        Room { namespace, process, is_empty: process.is_some_and(is_empty), socket: None }
    }

    /// Opens the sockets that show them.
    fn open(&self, rooms: &mut [Room]) {
        let mut entered = Vec::new();
        for room in rooms.iter_mut().filter(|room| !room.is_empty && self.world.source != Source::Proc) {
            if room.namespace.is_ours {
                room.socket = netlink::open().ok();
            } else if let Some(file) = room.process.and_then(|process| File::open(process.join("ns/net")).ok()) {
                entered.push((file, room));
            }
        }
        if entered.is_empty() {
            return;
        }
        let (files, rooms): (Vec<File>, Vec<&mut Room>) = entered.into_iter().unzip();
        for (room, inside) in rooms.into_iter().zip(netns::inside_each(files, netlink::open).unwrap_or_default()) {
            // The process may have gone elsewhere since.
            let inside = inside.ok().filter(|inside| inside.identity == Some(room.namespace.identity));
            room.socket = inside.and_then(|inside| inside.done.ok());
        }
    }

    fn peopled(
        &self,
        namespace: &LivedIn,
        process: &Path,
        socket: Option<OwnedFd>,
        each: &mut dyn FnMut(&Socket),
    ) -> NamespaceView {
        let net_dir = process.join("net");
        let mut each = |socket: &Socket| each(&Socket { netns: namespace.identity, ..*socket });
        if let Some(socket) = socket {
            let has_mptcp = netns::has_mptcp(&net_dir);
            let count = || netns::in_tables(&net_dir);
            if let Ok(seen) = netlink::visit_counted(&socket, self.query, has_mptcp, &count, &mut each) {
                return NamespaceView::Sockets(seen);
            }
        }
        if self.world.source == Source::Netlink {
            return NamespaceView::Refused;
        }
        match proc::visit(&net_dir, self.query, &mut each) {
            Ok(seen) => NamespaceView::Sockets(seen),
            // Another process of it can still tell, once.
            Err(_) => match namespace.process().filter(|other| *other != process) {
                Some(other) => proc::visit(&other.join("net"), self.query, &mut each)
                    .map_or(NamespaceView::Refused, NamespaceView::Sockets),
                None if namespace.process().is_none() => NamespaceView::Gone,
                None => NamespaceView::Refused,
            },
        }
    }

    fn mounted(&mut self, path: &Path, visited: &mut Visited, each: &mut dyn FnMut(&Socket)) -> NamespaceView {
        let Ok(inside) = File::open(path).and_then(|file| netns::inside(file, Unpeopled::look)) else {
            return if host::is_there(self.world, path) { NamespaceView::Refused } else { NamespaceView::Gone };
        };
        let Inside { identity: Some(identity), done: Unpeopled { is_empty, has_mptcp, sockets, socket: Ok(socket) } } =
            inside
        else {
            return NamespaceView::Refused;
        };
        if Some(identity) == self.but || !visited.enter(identity) {
            return NamespaceView::Gone;
        }
        self.sockets += sockets;
        if self.skips_empty() && is_empty {
            return NamespaceView::Empty;
        }
        // Without a process there is no /proc to read.
        if self.world.source == Source::Proc {
            return NamespaceView::Refused;
        }
        let mut each = |socket: &Socket| each(&Socket { netns: identity, ..*socket });
        netlink::visit(&socket, self.query, has_mptcp, &mut each).map_or(NamespaceView::Refused, NamespaceView::Sockets)
    }

    /// The counters don't count what is only bound.
    fn skips_empty(&self) -> bool {
        !self.query.states.has_bound()
    }

    fn add(&mut self, view: NamespaceView) {
        let namespaces = &mut self.seen.namespaces;
        match view {
            NamespaceView::Gone => {}
            NamespaceView::Late => namespaces.late += 1,
            NamespaceView::Refused => namespaces.refused += 1,
            NamespaceView::Empty => {
                self.empty += 1;
                namespaces.seen += 1;
            }
            NamespaceView::Sockets(seen) => {
                namespaces.seen += 1;
                self.seen.rows += seen.rows;
                if seen.origin == Origin::Proc {
                    // Where a part has no ages, the whole has none.
                    self.seen.origin = Origin::Proc;
                    self.by_proc += 1;
                }
                if self.seen.remark.is_none() {
                    self.seen.remark = seen.remark;
                }
                if self.seen.missing.is_none() {
                    self.seen.missing = seen.missing;
                }
            }
        }
    }

    fn end(self, hidden: Vec<String>) -> Coverage {
        let Tour { mut seen, empty, by_proc, .. } = self;
        let Namespaces { seen: count, refused, late } = seen.namespaces;
        let all = count + refused + late;
        seen.how = format!(
            "{all} network namespaces, {} by sock_diag, {by_proc} by /proc, {empty} without sockets",
            count - by_proc - empty
        );
        let mut missing: Vec<String> = seen.missing.into_iter().chain(hidden).collect();
        if refused > 0 {
            missing.push(format!("{refused} of {all} network namespaces may not be looked into"));
        }
        if late > 0 {
            missing.push(format!("{late} of {all} network namespaces not reached in time"));
        }
        seen.missing = (!missing.is_empty()).then(|| missing.join(", "));
        seen
    }
}
