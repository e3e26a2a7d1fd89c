//! The service that is meant, from options and profiles: ports, side, thresholds, selection.

use crate::base::error::{Error, Result};
use crate::history::first_sights::FirstSights;
use crate::kernel::members::Members;
use crate::kernel::scope;
use crate::kernel::select::Selection;
use crate::kernel::socket::Side;
use crate::kernel::source::diag::MOST_PORTS;
use crate::kernel::unix_target::{UnixPath, UnixTarget};
use crate::kernel::user::Users;
use crate::kernel::world::World;
use crate::options::args::{By, Common, Pids};
use crate::report::{Format, GENERIC, Service};
use crate::service::profile::{self, Profile};
use crate::service::tenant_key::Key;
use crate::service::unix;
use std::collections::BTreeSet;
use std::path::Path;

/// What to look at, and by which thresholds to judge it.
#[derive(Debug)]
pub struct Target {
    pub profile: Profile,
    pub service: Service,
    pub selection: Selection,
    /// Processes that were asked for and are not there, to be said.
    pub absent: Vec<String>,
}

/// The `--profile` of each service that the call is about; one, without any where ports tell it.
pub fn each(common: &mut Common) -> Result<Vec<Vec<String>>> {
    let profiles = std::mem::take(&mut common.profile);
    if profiles.len() < 2 {
        return Ok(vec![profiles]);
    }
    if common.output != Some(Format::Prometheus) {
        return Err(Error::Usage(
            "several --profile need -o prometheus; with other outputs run the check once for each".into(),
        ));
    }
    if !common.port.is_empty() || !common.unix.is_empty() {
        return Err(Error::Usage("several --profile have ports of their own: leave out -p and --unix".into()));
    }
    if let Some(twice) = (1..profiles.len()).find(|at| profiles[..*at].contains(&profiles[*at])) {
        return Err(Error::Usage(format!("--profile {} is given twice; once is enough", profiles[twice])));
    }
    Ok(profiles.into_iter().map(|profile| vec![profile]).collect())
}

/// What a profile's service is called until its file has been read, or where it can't be.
pub fn called(common: &Common, profile: &[String]) -> Option<Service> {
    let side = common.side.unwrap_or(Side::Both);
    profile.first().map(|name| Service { profile: name.clone(), ports: Vec::new(), side })
}

/// The service of `-p` or `-P`.
pub fn resolve(common: &Common, world: &World) -> Result<Target> {
    if common.port.is_empty() && common.unix.is_empty() && common.profile.is_empty() {
        return Err(Error::Usage(
            "which service? give its port (-p 11211) or profile (-P memcached); see --help".into(),
        ));
    }
    of_service(common, world)
}

/// The service narrowed to `--unit` or `pids`; without `-p` and `-P` whatever `pids`, `--unit` or `--user` have.
pub fn resolve_any(common: &Common, pids: &[Pids], world: &World) -> Result<Target> {
    name_any(common, pids, world)?.of_unit(common, world)?.of_pids(pids, world)
}

/// [`resolve_any`] before a process is looked at: it is named, but its sockets are not chosen yet.
pub fn name_any(common: &Common, pids: &[Pids], world: &World) -> Result<Target> {
    if !pids.is_empty() && (common.unit.is_some() || world.replay.is_some()) {
        return Err(Error::Usage("--pid names this machine's processes: leave out --unit and --replay".into()));
    }
    match whose(common, &sorted(pids)) {
        Some(whose) if common.port.is_empty() && common.unix.is_empty() && common.profile.is_empty() => {
            if common.side.is_some() {
                return Err(Error::Usage("--side is seen from a service's port: give it with -p or -P".into()));
            }
            on_all_ports(whose, common, world)
        }
        _ if common.port.is_empty() && common.unix.is_empty() && common.profile.is_empty() => Err(Error::Usage(
            "which service? give its port (-p 11211), profile (-P memcached), --pid, --unit or --user; see --help"
                .into(),
        )),
        _ => of_service(common, world),
    }
}

/// All ports under one name.
///
/// # Errors
/// Where the user is unknown, or `generic` can't be read.
pub fn on_all_ports(name: String, common: &Common, world: &World) -> Result<Target> {
    let service = Service { profile: name, ports: Vec::new(), side: Side::Both };
    let selection = selection(common, &service)?;
    let profile = profile::named(GENERIC, &world.thresholds)?;
    Ok(Target { profile, service, selection, absent: Vec::new() })
}

fn sorted(pids: &[Pids]) -> Vec<u32> {
    let pids: BTreeSet<u32> = pids.iter().flat_map(|pids| pids.0.iter().copied()).collect();
    pids.into_iter().collect()
}

/// What stands for a service's name where no port does.
fn whose(common: &Common, pids: &[u32]) -> Option<String> {
    let all: Vec<_> = pids.iter().map(u32::to_string).collect();
    let pids = (!all.is_empty()).then(|| format!("pid {}", all.join(",")));
    let unit = common.unit.as_ref().map(|unit| format!("unit {unit}"));
    let user = common.user.as_ref().map(|user| format!("user {user}"));
    let parts: Vec<String> = [pids, unit, user].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

fn of_service(common: &Common, world: &World) -> Result<Target> {
    let mut ports: Vec<u16> = Vec::new();
    for port in common.port.iter().flat_map(|ports| &ports.0) {
        if !ports.contains(port) {
            ports.push(*port);
        }
    }
    if ports.len() > MOST_PORTS {
        return Err(Error::Usage(format!("-p names {} ports; at most {MOST_PORTS} are checked at once", ports.len())));
    }
    let profile = match common.profile.first() {
        Some(name) => profile::named(name, &world.thresholds)?,
        None if ports.is_empty() => of_unix(&common.unix, world)?,
        None => of_ports(&ports, world)?,
    };
    let profile = profile::complete(profile, &world.thresholds)?;
    if let (Some(By::Tenant), Some(key @ (Key::Cwd(_) | Key::Cmd(_) | Key::Map(_)))) = (common.by, &profile.tenants.key)
    {
        return Err(Error::Usage(format!(
            "--by tenant: the profile's tenants.key '{key}' is told by check_conn_tenants only; group by owner, unit, user or peer"
        )));
    }
    if ports.is_empty() && common.unix.is_empty() {
        ports.clone_from(&profile.ports);
    }
    let targets = unix::targets(common, &profile, world)?;
    if ports.is_empty() && targets.is_empty() {
        return Err(Error::Usage(format!("profile '{}' has no ports; give them with -p", profile.service)));
    }
    let side = common.side.or(profile.side).unwrap_or(Side::Both);
    let name = match ports.is_empty() && !common.unix.is_empty() {
        true => unix::label(&profile.service, profile.service == GENERIC, &targets),
        false => profile.service.clone(),
    };
    let service = Service { profile: name, ports, side };
    let selection = Selection { unix: targets, ..selection(common, &service)? };
    Ok(Target { profile, service, selection, absent: Vec::new() })
}

fn selection(common: &Common, service: &Service) -> Result<Selection> {
    Ok(Selection {
        ports: service.ports.clone(),
        side: service.side,
        peers: common.peer.clone(),
        locals: common.local.clone(),
        uid: common.user.as_ref().map(|user| Users::read().uid(user)).transpose()?,
        ..Selection::default()
    })
}

impl Target {
    /// What earlier runs saw of its UNIX sockets, where it has any and they are not a recording's.
    pub fn first_sights(&mut self, state_dir: Option<&Path>, world: &World) -> Result<FirstSights> {
        let selection = &mut self.selection;
        if selection.unix.is_empty() || world.replay.is_some() {
            return Ok(FirstSights::default());
        }
        let paths: Vec<&str> = selection.unix.iter().map(|target| target.path.text()).collect();
        let has_any = selection.unix.iter().any(UnixTarget::has_file);
        let key = format!("{} side {} {}", paths.join(" "), self.service.side.name(), scope::key(world)?);
        let sights = FirstSights::open(state_dir, key.replace('\n', " "), has_any);
        selection.unix_clients.get_mut().clone_from(&sights.clients);
        Ok(sights)
    }

    /// Narrowed to the sockets of `--unit`.
    pub fn of_unit(mut self, common: &Common, world: &World) -> Result<Target> {
        if let Some(unit) = &common.unit {
            if world.replay.is_some() {
                return Err(Error::Usage(
                    "--unit needs this machine's processes: it can't be used with --replay".into(),
                ));
            }
            self.selection.unit = Some(Members::find(world, unit)?);
        }
        Ok(self)
    }

    /// Narrowed to the sockets that the processes of `--pid` hold.
    fn of_pids(mut self, pids: &[Pids], world: &World) -> Result<Target> {
        if !pids.is_empty() {
            let (members, gone) = Members::of(world, &sorted(pids))?;
            self.selection.unit = Some(members);
            self.absent.extend(gone.iter().map(|pid| format!("process {pid} (--pid) is gone")));
        }
        Ok(self)
    }
}

/// The one profile of all paths.
fn of_unix(paths: &[UnixPath], world: &World) -> Result<Profile> {
    let mut found: Option<Profile> = None;
    for path in paths {
        let Some(profile) = profile::of_unix(path, &world.thresholds)? else { continue };
        if found.as_ref().is_some_and(|other| other.service != profile.service) {
            return Err(Error::Usage(format!(
                "--unix {} is {}'s, others are of another service; check each by itself or choose one with -P",
                path.text(),
                profile.service
            )));
        }
        found = Some(profile);
    }
    found.map_or_else(|| profile::named(GENERIC, &world.thresholds), Ok)
}

/// The one profile of all ports. Ports without any join that of the others.
fn of_ports(ports: &[u16], world: &World) -> Result<Profile> {
    let mut found: Option<(u16, Profile)> = None;
    for port in ports {
        let Some(profile) = profile::of_port(*port, &world.thresholds)? else { continue };
        match &found {
            Some((first, other)) if other.service != profile.service => {
                return Err(Error::Usage(format!(
                    "ports {first} ({}) and {port} ({}) are different services; check each by itself or choose one with -P",
                    other.service, profile.service
                )));
            }
            Some(_) => {}
            None => found = Some((*port, profile)),
        }
    }
    found.map_or_else(|| profile::named(GENERIC, &world.thresholds), |(_, profile)| Ok(profile))
}
