//! Which listeners are a service manager's (socket activation).

use connleak::base::read_limited::read_line;
use connleak::kernel::world::World;
use connleak::service::baseline::Listener;

/// Process numbers of those that are systemd, of the system or of a user: it keeps listening for a service that was
/// stopped. By name, as process 1 of a container is the service itself.
pub fn of(listeners: &[Listener], world: &World) -> Vec<u32> {
    let is_manager = |pid: &u32| {
        let name = read_line(&world.proc_root.join(format!("{pid}/comm")));
        name.is_ok_and(|name| name == "systemd")
    };
    listeners.iter().map(|listener| listener.pid).filter(is_manager).collect()
}
