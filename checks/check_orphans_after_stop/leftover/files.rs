//! What a service that listened on UNIX sockets leaves beside its sockets: files.

use connleak::kernel::select::Selection;
use connleak::kernel::socket::UnixName;
use connleak::kernel::unix_target::UnixTarget;
use connleak::kernel::world::World;
use connleak::service::baseline::Baseline;

/// Lets a look know the clients' ends that were there before.
pub fn remember(selection: &Selection, baseline: &Baseline) {
    if let Some(target) = selection.unix.first() {
        let name = UnixName::new(target.path.text());
        selection.unix_known.borrow_mut().clients.extend(baseline.unix_clients().map(|cookie| (cookie, name)));
    }
}

/// Socket files that nobody listens on: said, not judged, as a service makes its own anew. Its clients are refused.
/// `served`: [`super::super::drain::Leftovers::served`].
pub fn silent(selection: &Selection, served: &[UnixName], world: &World) -> Option<String> {
    let now = |target: &UnixTarget| UnixTarget::resolve(&target.path, false, world).ok();
    let files = selection.unix.iter().filter_map(now).flat_map(|target| target.names());
    let silent: Vec<String> = files.filter(|name| !served.contains(name)).map(|name| name.text()).collect();
    let (file, is) = if silent.len() == 1 { ("the file", "is") } else { ("the files", "are") };
    (!silent.is_empty()).then(|| format!("{file} {} {is} left, nobody listens there", silent.join(", ")))
}

/// That nothing is at a path that was asked for: its service took the file along, or the path was never right. `served`: as of
/// [`silent`].
pub fn absent(selection: &Selection, served: &[UnixName], world: &World) -> Vec<String> {
    let is_served = |target: &UnixTarget| served.iter().any(|name| target.has_name(*name));
    // The files of a recording are another time's.
    let asked = selection.unix.iter().filter(|target| target.asked && world.replay.is_none() && !is_served(target));
    let words = |target: &UnixTarget| {
        let path = target.path.text();
        if path.starts_with('@') {
            return Some(format!("no socket is called {path}"));
        }
        match target.has_any_file(world) {
            Ok(true) => None,
            Ok(false) => Some(format!("no socket file at {path}")),
            Err(why) => Some(format!("maybe a socket file: {why}")),
        }
    };
    asked.filter_map(words).collect()
}
