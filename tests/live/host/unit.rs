//! `--unit`: by the cgroup a socket was made in, and by the processes that hold it.

use crate::lab::run::{CLOSEWAIT, Outcome, check, check_unprivileged, unique};
use crate::lab::{CLOSE_WAIT, Lab, Peer};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A cgroup named as systemd names a service's. Removed at the end, when it is empty.
pub struct Service(PathBuf);

impl Service {
    /// `None`: skipped, as there is no cgroup2 or it is not ours to change.
    pub fn new(lab: &Lab) -> Option<Service> {
        Service::with(lab, "")
    }

    /// With this in its name.
    pub fn with(lab: &Lab, part: &str) -> Option<Service> {
        Self::named(lab, &format!("connleak-test-{}{part}.service", unique()))
    }

    /// One of another kind, as a container's.
    pub fn named(lab: &Lab, name: &str) -> Option<Service> {
        let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
        let root = roots.into_iter().find(|root| root.join("cgroup.controllers").exists());
        let Some(root) = root else {
            lab.skip("no cgroup2");
            return None;
        };
        let dir = root.join(name);
        match fs::create_dir(&dir) {
            Ok(()) => Some(Service(dir)),
            Err(why) => {
                lab.skip(&format!("cgroup2: {why}"));
                None
            }
        }
    }

    pub fn name(&self) -> &str {
        self.0.file_name().unwrap().to_str().unwrap()
    }

    pub fn take(&self, peer: &Peer) {
        self.take_process(peer.pid());
    }

    pub fn take_process(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // An exited process leaves its cgroup a little after it was waited for.
        crate::lab::run::poll(Duration::from_secs(5), || fs::remove_dir(&self.0).is_ok());
    }
}

fn look(run: impl Fn(&[&str]) -> Outcome, unit: &str, more: &[&str]) -> Outcome {
    let options =
        ["-p11211", "--side=server", "--min-age=0s", "-w0", "-c100", "--ratio-min-count=1000", "--unit", unit];
    run(&[&options, more].concat())
}

/// Leaks `count` server-side sockets of `address`, listening in one cgroup and accepting in another.
fn leak(lab: &Lab, address: &str, count: u32, listens_in: Option<&Service>, accepts_in: Option<&Service>) -> Peer {
    let (mut server, mut client) = (lab.peer(), lab.peer());
    listens_in.inspect(|service| service.take(&server));
    server.say(&format!("listen l {address}"));
    accepts_in.inspect(|service| service.take(&server));
    client.say(&format!("connect c {address} {count}"));
    server.say(&format!("accept s l {count}"));
    client.say("close c");
    server
}

#[test]
fn a_units_sockets_are_selected_and_no_others() {
    Lab::test(|lab| {
        let (Some(ours), Some(theirs)) = (Service::new(lab), Service::new(lab)) else { return };
        let server = leak(lab, "127.0.0.1:11211", 3, Some(&ours), None);
        let _theirs = leak(lab, "[::1]:11211", 4, Some(&theirs), None);
        let _nobodys = leak(lab, "[::ffff:127.0.0.2]:11211", 5, None, None);
        lab.wait_for(CLOSE_WAIT, 11211, 12);
        let path = format!("/{}", ours.name());
        for unit in [ours.name(), ours.name().strip_suffix(".service").unwrap(), &path] {
            for run in [check, check_unprivileged] {
                let outcome = look(run, unit, &[]);
                assert_eq!((outcome.value("close_wait"), outcome.code), (3.0, 1), "{outcome:?}");
            }
        }
        let json = look(check, ours.name(), &["-ojson"]).json();
        assert_eq!(json["owners"][0]["unit"], ours.name(), "{json}");
        assert_eq!(json["owners"].as_array().unwrap().len(), 1, "{json}");
        let all = check(&["-p11211", "--side=server", "--min-age=0s", "-ojson", "--by=unit"]).json();
        let groups: Vec<_> = all["groups"].as_array().unwrap().iter().map(|group| group["sockets"].as_u64()).collect();
        assert_eq!(groups, [Some(5), Some(4), Some(3)], "{all}");
        drop(server);
        assert_eq!(look(check, ours.name(), &[]).code, 0);
    });
}

#[test]
fn what_nobody_accepted_is_its_listeners_units() {
    Lab::test(|lab| {
        let Some(service) = Service::new(lab) else { return };
        let Some(other) = Service::with(lab, "-other") else { return };
        let (mut server, mut client) = (lab.peer(), lab.peer());
        service.take(&server);
        other.take(&client);
        server.say("listen l 127.0.0.1:11211");
        client.say("connect c 127.0.0.1:11211 2");
        client.say("close c");
        lab.wait_for(CLOSE_WAIT, 11211, 2);
        assert_eq!(look(check, service.name(), &[]).value("close_wait"), 2.0);
        assert_eq!(look(check, other.name(), &[]).value("close_wait"), 0.0);
    });
}

#[test]
fn a_misspelt_unit_is_unknown() {
    let outcome = look(check, "connleak-test-none.service", &[]);
    assert_eq!(outcome.code, 3, "{outcome:?}");
    assert!(outcome.text().contains("'connleak-test-none.service'"), "{outcome:?}");
}

/// As systemd's socket activation: the listener is older than the unit's cgroup.
#[test]
fn sockets_of_a_passed_listener_are_found_by_their_holder() {
    Lab::test(|lab| {
        let Some(ours) = Service::new(lab) else { return };
        let _server = leak(lab, "127.0.0.1:11211", 3, None, Some(&ours));
        lab.wait_for(CLOSE_WAIT, 11211, 3);
        let outcome = look(check, ours.name(), &[]);
        assert_eq!((outcome.value("close_wait"), outcome.code), (3.0, 1), "{outcome:?}");
        let unsure = look(check_unprivileged, ours.name(), &[]);
        assert_eq!(unsure.code, 3, "who can't read the holder can't say OK: {unsure:?}");
        for hide in [1, 2] {
            let hidden = look(|options| CLOSEWAIT.under_hidepid(hide, options), ours.name(), &[]);
            assert_eq!(hidden.code, 3, "nor who doesn't see it: {hidden:?}");
        }
    });
}

/// The same from a service that is no ancestor: a supervisor that hands its listener on. Who may not
/// read the holder counts it for the supervisor, as the man page says.
#[test]
fn sockets_of_another_services_listener_are_found_by_their_holder() {
    Lab::test(|lab| {
        let (Some(ours), Some(supervisor)) = (Service::new(lab), Service::new(lab)) else { return };
        let _server = leak(lab, "127.0.0.1:11211", 3, Some(&supervisor), Some(&ours));
        lab.wait_for(CLOSE_WAIT, 11211, 3);
        let outcome = look(check, ours.name(), &[]);
        assert_eq!((outcome.value("close_wait"), outcome.code), (3.0, 1), "{outcome:?}");
        let unprivileged = look(check_unprivileged, supervisor.name(), &[]);
        assert_eq!((unprivileged.value("close_wait"), unprivileged.code), (3.0, 1), "{unprivileged:?}");
    });
}
