//! Which recorded services are meant, by the options that the check was given.

use super::Graph;
use connleak::base::deadline::Deadline;
use connleak::base::error::Result;
use connleak::growth::observe::Plan;
use connleak::history::series;
use connleak::kernel::select::Selection;
use connleak::kernel::socket::Side;
use connleak::kernel::world::World;
use connleak::options::args::{Common, Ports};
use connleak::report::{GENERIC, Service};
use connleak::service::profile;
use connleak::service::request::Request;
use connleak::service::target::{self, Target};

impl Graph {
    /// Whether a service is asked for: else it is all of them.
    pub fn chooses(&self) -> bool {
        let without_port = !self.pid.is_empty() || self.unit.is_some() || self.user.is_some();
        without_port || !self.unix.is_empty() || !self.port.is_empty() || !self.profile.is_empty()
    }

    /// Where the check looked.
    pub fn world(&self) -> World {
        let mut world = World::here(Deadline::after(super::PATIENCE));
        world.source = self.source.unwrap_or_default();
        world.netns = self.netns.clone().unwrap_or_default();
        world.proc_root = self.proc_root.clone().unwrap_or(world.proc_root);
        world
    }

    /// What is looked at, as the history names it.
    pub fn services(&self) -> Result<Vec<String>> {
        let world = self.world();
        let ports = self.port.iter().map(|ports| (vec![ports.clone()], None));
        let profiles = self.profile.iter().map(|profile| (Vec::new(), Some(profile.clone())));
        // One of each is one service, as the check takes them.
        let mut chosen: Vec<_> = match (self.port.as_slice(), self.profile.as_slice()) {
            ([port], [profile]) => vec![(vec![port.clone()], Some(profile.clone()))],
            _ => ports.chain(profiles).collect(),
        };
        if chosen.is_empty() && self.chooses() {
            chosen.push((Vec::new(), None));
        }
        let name = |(port, profile): (Vec<Ports>, Option<String>)| {
            let request = self.request(port, profile);
            let target =
                if request.names_service() { target::resolve(request, &world)? } else { all_ports(request, &world)? };
            Ok(Plan { limit: None, speed: self.rehearse.unwrap_or(1), ..Plan::new(&target) }.name(&world))
        };
        chosen.into_iter().map(name).collect()
    }

    fn request(&self, port: Vec<Ports>, profile: Option<String>) -> Request {
        let common = Common {
            port,
            unix: self.unix.clone(),
            profile: profile.into_iter().collect(),
            side: self.side,
            peer: self.peer.clone(),
            local: self.local.clone(),
            user: self.user.clone(),
            unit: self.unit.clone(),
            pid: self.pid.clone(),
            ..Common::default()
        };
        common.request()
    }
}

/// What the check looks at without a port. Its processes and units may be gone by now.
fn all_ports(request: Request, world: &World) -> Result<Target> {
    let profile = profile::named(GENERIC, &world.thresholds)?;
    let service = Service { profile: GENERIC.to_owned(), ports: Vec::new(), side: Side::Both };
    Ok(Target { request, profile, service, selection: Selection::default(), absent: Vec::new() })
}

/// How many times as fast time ran in the rehearsal of this name; 1 where it was none.
pub fn speed(name: &str) -> f64 {
    series::name(name).rsplit_once(" rehearsal ").and_then(|(_, factor)| factor.parse().ok()).unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rehearsal_tells_its_speed() {
        assert_eq!(speed("memcached:11211 both unit x rehearsal 60"), 60.0);
        assert_eq!(speed("memcached:11211 both"), 1.0);
    }
}
