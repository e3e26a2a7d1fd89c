//! The service that is meant, from options and profiles: ports, side, thresholds, selection.

use crate::base::error::{Error, Result};
use crate::history::first_sights::FirstSights;
use crate::kernel::members::Members;
use crate::kernel::netns::{self, Elsewhere};
use crate::kernel::scope;
use crate::kernel::select::Selection;
use crate::kernel::socket::{Side, UnixName};
use crate::kernel::source::diag::MOST_PORTS;
use crate::kernel::unix_target::{UnixPath, UnixTarget};
use crate::kernel::user::{self, Users};
use crate::kernel::world::{Source, World};
use crate::report::{GENERIC, Report, Service};
use crate::service::profile::{self, Profile};
use crate::service::request::{By, Request, pids_text};
use crate::service::tenant_key::Key;
use crate::service::unix;
use std::path::Path;

/// What to look at, and by which thresholds to judge it.
#[derive(Debug)]
pub struct Target {
    pub request: Request,
    pub profile: Profile,
    pub service: Service,
    pub selection: Selection,
    /// Processes that were asked for and are not there, to be said.
    pub absent: Vec<String>,
}

/// The service of a port or a profile.
pub fn resolve(request: Request, world: &World) -> Result<Target> {
    refuse_mixed(&request, world)?;
    if !request.names_service() {
        return Err(Error::Usage(
            "which service? give its port (-p 11211), UNIX socket (--unix /run/x.sock) or profile (-P memcached); see --help".into(),
        ));
    }
    of_service(request, world)
}

/// The service narrowed to a unit or processes; without port and profile whatever processes, unit or user have.
pub fn resolve_any(request: Request, world: &World) -> Result<Target> {
    name_any(request, world)?.of_choice(world)
}

/// [`resolve_any`] before a process is looked at: it is named, but its sockets are not chosen yet.
pub fn name_any(request: Request, world: &World) -> Result<Target> {
    refuse_mixed(&request, world)?;
    if request.names_service() {
        return of_service(request, world);
    }
    let Some(name) = whose(&request) else {
        return Err(Error::Usage(
            "which service? give its port (-p 11211), UNIX socket (--unix /run/x.sock), profile (-P memcached), --pid, --unit or --user; see --help"
                .into(),
        ));
    };
    on_all_ports(name, request, world)
}

fn refuse_mixed(request: &Request, world: &World) -> Result<()> {
    if !request.pids.is_empty() && (request.unit.is_some() || world.replay.is_some()) {
        return Err(Error::Usage("--pid names this machine's processes: leave out --unit and --replay".into()));
    }
    Ok(())
}

/// All ports under one name.
///
/// # Errors
/// A side, which is seen from a port; where the user is unknown, or `generic` can't be read.
pub fn on_all_ports(name: String, request: Request, world: &World) -> Result<Target> {
    if request.side.is_some() {
        return Err(Error::Usage("--side is seen from a service's port: give it with -p or -P".into()));
    }
    let service = Service { profile: name, ports: Vec::new(), side: Side::Both };
    let selection = selection(&request, &service, world)?;
    let profile = profile::named(GENERIC, &world.thresholds)?;
    Ok(Target { request, profile, service, selection, absent: Vec::new() })
}

/// What stands for a service's name where no port does.
fn whose(request: &Request) -> Option<String> {
    let pids = pids_text(&request.pids).map(|pids| format!("pid {pids}"));
    let unit = request.unit.as_ref().map(|unit| format!("unit {unit}"));
    let user = request.user.as_ref().map(|user| format!("user {user}"));
    let parts: Vec<String> = [pids, unit, user].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

fn of_service(request: Request, world: &World) -> Result<Target> {
    let given = request.ports.len();
    if given > MOST_PORTS {
        return Err(Error::Usage(format!("-p names {given} ports; at most {MOST_PORTS} are checked at once")));
    }
    let profile = match &request.profile {
        Some(name) => profile::named(name, &world.thresholds)?,
        None if given == 0 => of_unix(&request.unix, world)?,
        None => of_ports(&request.ports, world)?,
    };
    let mut profile = profile::complete(profile, &world.thresholds)?;
    if profile.pool.is_some() && are_of_another(&request.ports, &profile, world)? {
        // A pooler's limit is that of its clients: it says nothing of the servers behind it.
        profile.limit = None;
    }
    if let (By::Tenant, Some(key @ (Key::Cwd(_) | Key::Cmd(_) | Key::Map(_)))) = (request.by, &profile.tenants.key) {
        return Err(Error::Usage(format!(
            "--by tenant: the profile's tenants.key '{key}' is told by check_conn_tenants only; group by owner, unit, user or peer"
        )));
    }
    let ports = if request.is_typed() { &request.ports } else { &profile.ports }.clone();
    let targets = unix::targets(&request, &profile, world)?;
    if ports.is_empty() && targets.is_empty() {
        return Err(Error::Usage(format!("profile '{}' has no ports; give them with -p", profile.service)));
    }
    let side = request.side.or(profile.side).unwrap_or(Side::Both);
    let name = match request.unix.is_empty() {
        true => profile.service.clone(),
        false => unix::label(&profile.service, profile.service == GENERIC, &targets),
    };
    let service = Service { profile: name, ports, side };
    let selection = Selection { unix: targets, ..selection(&request, &service, world)? };
    Ok(Target { request, profile, service, selection, absent: Vec::new() })
}

/// Whether there are any, all of another service's profile.
fn are_of_another(ports: &[u16], profile: &Profile, world: &World) -> Result<bool> {
    for port in ports {
        let other = profile::of_port(*port, &world.thresholds)?;
        if other.is_none_or(|other| other.service == profile.service) {
            return Ok(false);
        }
    }
    Ok(!ports.is_empty())
}

fn selection(request: &Request, service: &Service, world: &World) -> Result<Selection> {
    // A recorded dump's uids are another machine's, maybe.
    let is_live = request.user.is_some() && world.replay.is_none();
    Ok(Selection {
        ports: service.ports.clone(),
        side: service.side,
        peers: request.peers.clone(),
        locals: request.locals.clone(),
        uid: request.user.as_ref().map(|user| Users::read().uid(user)).transpose()?,
        unmapped: if is_live { user::unmapped() } else { None },
        ..Selection::default()
    })
}

impl Target {
    /// What of TCP is looked at, in words: other options see other sockets.
    pub fn name(&self, world: &World) -> String {
        match self.selection.is_any() {
            true => format!("all ports{}", self.choice(world)),
            false => format!("{} {}{}", self.service, self.service.side.name(), self.choice(world)),
        }
    }

    /// [`Target::name`], and whether the profile's UNIX sockets are looked at as well: with `-P`, but not with the same ports by `-p`.
    pub fn name_with_unix(&self, world: &World) -> String {
        let name = self.name(world);
        if self.selection.unix.is_empty() || !self.request.unix.is_empty() {
            return name;
        }
        let (service, choice) = name.split_at(name.len() - self.choice(world).len());
        format!("{service} unix{choice}")
    }

    /// ` user www-data unit x.service`, by which it sees others than without.
    fn choice(&self, world: &World) -> String {
        let request = &self.request;
        let texts = [("user", &request.user), ("unit", &request.unit)];
        let mut options: Vec<(&str, String)> =
            texts.into_iter().filter_map(|(option, text)| Some((option, text.clone()?))).collect();
        options.extend(request.pids.iter().map(|pid| ("pid", pid.to_string())));
        options.extend(request.peers.iter().map(|range| ("peer", range.to_string())));
        options.extend(request.locals.iter().map(|range| ("local", range.to_string())));
        options.extend((world.source != Source::Auto).then(|| ("source", world.source.name().to_owned())));
        options.extend(world.is_foreign().then(|| ("proc", world.proc_root.display().to_string())));
        options.iter().map(|(option, value)| format!(" {option} {value}")).collect()
    }

    /// What earlier runs saw of its UNIX sockets, where it has any and they are not a recording's.
    pub fn first_sights(&mut self, state_dir: Option<&Path>, world: &World) -> Result<FirstSights> {
        let selection = &self.selection;
        if selection.unix.is_empty() || world.replay.is_some() {
            return Ok(FirstSights::default());
        }
        let paths: Vec<&str> = selection.unix.iter().map(|target| target.path.text()).collect();
        let has_any = selection.unix.iter().any(UnixTarget::has_file);
        let side = self.service.side.name();
        let key = format!("{} side {side}{} {}", paths.join(" "), self.choice(world), scope::key(world)?);
        let sights = FirstSights::open(state_dir, key.replace('\n', " "), has_any);
        selection.unix_known.replace(sights.sockets.clone());
        Ok(sights)
    }

    /// What checks remember of its UNIX sockets, whichever they are of: `sights`.
    pub fn recall(&self, sights: &FirstSights) {
        let is_its = |name: &UnixName| self.selection.unix.iter().any(|target| target.has_name(*name));
        let mut known = self.selection.unix_known.borrow_mut();
        known.clients =
            sights.sockets.clients.iter().filter(|(_, name)| is_its(name)).map(|(at, name)| (*at, *name)).collect();
        known.heard = sights.sockets.heard.iter().copied().filter(is_its).collect();
    }

    /// Clients' ends of UNIX sockets whose servers had closed before the first look: where it has such a socket here, maybe its.
    pub fn strays(&self, world: &World) -> u64 {
        let selection = &self.selection;
        let is_here = world.replay.is_none() && selection.unix.iter().any(|target| target.asked || target.has_file());
        if is_here { selection.unix_known.borrow().astray.len() as u64 } else { 0 }
    }

    /// Narrowed to the sockets of the unit, or to those that the processes hold, that are asked for, if any are.
    pub fn of_choice(mut self, world: &World) -> Result<Target> {
        if let Some(unit) = &self.request.unit {
            if world.replay.is_some() {
                return Err(Error::Usage(
                    "--unit needs this machine's processes: it can't be used with --replay".into(),
                ));
            }
            let members = Members::find(world, unit)?;
            self.absent.extend(members.elsewhere());
            self.selection.unit = Some(members);
        } else if !self.request.pids.is_empty() {
            let (members, gone) = Members::of(world, &self.request.pids)?;
            self.absent.extend(members.elsewhere());
            self.selection.unit = Some(members);
            self.absent.extend(gone.iter().map(|pid| format!("process {pid} (--pid) is gone")));
        }
        Ok(self)
    }

    /// Says what is missing of the choice, and that a zero is of a network namespace which isn't the host's.
    /// `is_there`: anything of the service is seen.
    pub fn add_to(&self, world: &World, is_there: bool, report: &mut Report) {
        self.absent.iter().for_each(|absent| report.is_incomplete(absent.clone()));
        if is_there {
            return;
        }
        let is_chosen = self.selection.unit.is_some() || self.selection.uid.is_some();
        let Some(Elsewhere { is_empty }) = netns::elsewhere(world) else { return };
        let here = "this network namespace is not the host's";
        let (kind, is_empty) =
            if self.selection.has_tcp() { ("TCP", is_empty) } else { ("UNIX", netns::has_no_unix_socket()) };
        let why = match (is_empty, kind) {
            (true, _) => format!("{here} and has no {kind} socket: see --netns"),
            (false, "TCP") => here.to_owned(),
            (false, _) => format!("{here}, UNIX sockets made outside are not seen: see --netns"),
        };
        if is_chosen && is_empty { report.is_incomplete(why) } else { report.missing.push(why) }
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
