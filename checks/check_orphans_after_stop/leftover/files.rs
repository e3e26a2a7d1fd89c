//! What a service that listened on UNIX sockets leaves beside its sockets: files.

use super::Left;
use connleak::kernel::select::Selection;
use connleak::kernel::socket::{State, UnixName};
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
pub fn silent(selection: &Selection, left: &[Left], world: &World) -> Option<String> {
    let listening: Vec<UnixName> = left
        .iter()
        .filter(|left| matches!(left.socket.state, State::Listen | State::Close))
        .filter_map(|left| left.socket.local.unix()?.name)
        .collect();
    let now = |target: &UnixTarget| UnixTarget::resolve(&target.path, false, world).ok();
    let files = selection.unix.iter().filter_map(now).flat_map(|target| target.names());
    let silent: Vec<String> = files.filter(|name| !listening.contains(name)).map(|name| name.text()).collect();
    let (file, is) = if silent.len() == 1 { ("the file", "is") } else { ("the files", "are") };
    (!silent.is_empty()).then(|| format!("{file} {} {is} left, nobody listens there", silent.join(", ")))
}
