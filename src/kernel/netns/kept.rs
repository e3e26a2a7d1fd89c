//! Network namespaces that nobody is in, and no mount of ours keeps: a descriptor does, or a mount that others see.
//!
//! One that only its sockets keep can't be entered: to tell a socket's namespace takes its descriptor.

use super::candidates::{self, Candidates};
use super::host::{self, Host, LivedIn};
use crate::base::error::Result;
use crate::kernel::owner::listing::{Walk, walk};
use crate::kernel::owner::read_tables::ReadTables;
use crate::kernel::owner::reading::read_all;
use crate::kernel::owner::tables::{Others, each_descriptor, each_descriptor_of_others, each_thread, threads};
use crate::kernel::owner::{self, is_gone};
use crate::kernel::proc_stat::Stat;
use crate::kernel::unhashed;
use crate::kernel::world::World;
use rustix::fd::BorrowedFd;
use rustix::fs::{AtFlags, stat, statat};
use rustix::io::Errno;
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where descriptors are read, which is dear.
pub enum Reading<'a> {
    /// Here, and forgotten.
    Passing,
    /// Here, and kept for who looks for sockets in them.
    Kept(&'a mut ReadTables),
    /// They have been, elsewhere.
    Done(&'a Candidates),
}

/// All network namespaces with TCP sockets that can be found. Where so many are in none of those that processes are in
/// that it may pay, every descriptor is read.
///
/// # Errors
/// As [`host::look`].
pub fn look(world: &World, reading: &mut Reading<'_>) -> Result<Host> {
    let mut host = look_at_processes(world)?;
    if matches!(reading, Reading::Done(_)) || host.outside != Some(0) {
        look_for_more(world, &mut host, Some(reading));
    }
    Ok(host)
}

/// All namespaces as for [`look`], but with UNIX sockets, which no counter of the machine has: mounts are read in any case.
///
/// # Errors
/// As [`host::look`].
pub fn look_for_unix(world: &World) -> Result<Host> {
    let mut host = look_at_processes(world)?;
    let mut reading = Some(Reading::Passing).filter(|_| host.outside != Some(0));
    look_for_more(world, &mut host, reading.as_mut());
    Ok(host)
}

/// What has been looked into.
#[derive(Debug, Default)]
pub struct Visited {
    namespaces: HashSet<u32>,
    paths: HashSet<PathBuf>,
    /// Whether one that processes were in had none any more.
    pub any_left: bool,
}

impl Visited {
    /// Whether a namespace, by its [`super::identity_of`], is new.
    pub fn enter(&mut self, identity: u32) -> bool {
        self.namespaces.insert(identity)
    }

    pub fn has(&self, identity: u32) -> bool {
        self.namespaces.contains(&identity)
    }

    /// Whether a path of [`Host::mounted`] is new.
    pub fn follow(&mut self, path: &Path) -> bool {
        self.paths.insert(path.to_owned())
    }
}

/// Visits what `look` finds. Who passes through a namespace (a check, `ip netns exec`) hides what keeps it: where one
/// was left meanwhile it is looked for again.
///
/// # Errors
/// Of `look`.
pub fn visit(look: &mut dyn FnMut() -> Result<Host>, each: &mut dyn FnMut(&Host, &mut Visited)) -> Result<Host> {
    const MOST_LOOKS: usize = 5;
    let (mut visited, mut host) = (Visited::default(), look()?);
    for _ in 1..MOST_LOOKS {
        each(&host, &mut visited);
        if !std::mem::take(&mut visited.any_left) {
            return Ok(host);
        }
        host = look()?;
    }
    each(&host, &mut visited);
    if visited.any_left {
        host.hidden.push("network namespaces come and go faster than they are looked into".to_owned());
    }
    Ok(host)
}

fn look_at_processes(world: &World) -> Result<Host> {
    let mut host = host::look(world)?;
    host.outside = unhashed::outside(world, &host.lived_in);
    Ok(host)
}

/// `reading`: `None` where mounts alone are read.
fn look_for_more(world: &World, host: &mut Host, mut reading: Option<&mut Reading<'_>>) {
    let of_process = |namespace: &LivedIn| Some(fs::metadata(namespace.process()?.join("ns/net")).ok()?.ino());
    let by_path = host.mounted.iter().filter_map(|path| Some(fs::metadata(path).ok()?.ino()));
    let mut known: HashSet<u64> = host.lived_in.iter().filter_map(of_process).chain(by_path).collect();
    let ours = stat(world.proc_root.join("self/ns/mnt"));
    let mut mounts = Mounts { read: ours.iter().map(|stat| stat.st_ino).collect(), unread: Vec::new() };
    let (mut found, mut refused, mut unread) = (Candidates::new(), 0, 0);
    let walked = walk(world, &mut |process, dir| {
        let mut is_refused = false;
        let read = dir.and_then(|dir| {
            is_refused = mounts.add_of_process(world, process.pid, dir, &mut found)?;
            let read = unless_refused_twice(|| match &mut reading {
                Some(Reading::Passing) => add_kept(&mut found, world, process.pid, dir),
                Some(Reading::Kept(tables)) => tables.read_anew(world, process.pid, dir),
                Some(Reading::Done(_)) | None => Ok(()),
            });
            match read {
                // Even root is refused those of some.
                Err(errno) if is_refusal(errno) => is_refused = true,
                added => added?,
            }
            Ok(())
        });
        refused += u64::from(is_refused);
        unread += u64::from(read.is_err_and(|errno| !is_gone(errno)));
        read
    });
    let may_keep = "that may keep more network namespaces";
    unread += mounts.unread();
    if unread > 0 {
        host.hidden.push(format!("{unread} processes can't be read {may_keep}"));
    }
    if walked != Walk::Whole {
        host.hidden.push(format!("not all processes read {may_keep}"));
    }
    if refused > 0 {
        host.remark = Some(format!("{refused} processes may not be read {may_keep}"));
    }
    match reading {
        Some(Reading::Kept(tables)) => found.extend(tables.namespaces.clone()),
        Some(Reading::Done(candidates)) => found.extend(candidates.clone()),
        Some(Reading::Passing) | None => {}
    }
    found.retain(|inode, _| known.insert(*inode));
    let mut paths: Vec<PathBuf> = found.into_values().collect();
    paths.sort_unstable();
    host.mounted.extend(paths);
}

/// Adds the network namespaces to which a process's descriptors lead.
fn add_kept(found: &mut Candidates, world: &World, pid: u32, dir: BorrowedFd<'_>) -> std::result::Result<(), Errno> {
    let (mut links, mut each) = (usize::MAX, |place, link: &[u8]| candidates::add(found, world, pid, place, link));
    each_descriptor(dir, &mut each)?;
    each_descriptor_of_others(dir, Others::Differing, &mut links, &mut each).map(drop)
}

/// Does it again where it was refused: who changes his user or program is nobody's to read for a moment.
fn unless_refused_twice<T>(mut act: impl FnMut() -> std::result::Result<T, Errno>) -> std::result::Result<T, Errno> {
    match act() {
        Err(errno) if is_refusal(errno) => act(),
        done => done,
    }
}

fn is_refusal(errno: Errno) -> bool {
    matches!(errno, Errno::ACCESS | Errno::PERM)
}

/// The mount namespaces that processes are in.
struct Mounts {
    /// By inode.
    read: HashSet<u64>,
    /// The namespace of each table that couldn't be read; `None`: not told.
    unread: Vec<Option<u64>>,
}

impl Mounts {
    /// Adds to `found` the network namespaces that are mounted where a process sees them, or one of its threads. Returns
    /// whether it was refused to tell where threads are.
    fn add_of_process(
        &mut self,
        world: &World,
        pid: u32,
        process: BorrowedFd<'_>,
        found: &mut Candidates,
    ) -> std::result::Result<bool, Errno> {
        let first = self.add_of_task(world, pid, process, found);
        let mut is_refused = false;
        if threads(process)? > 1 {
            // They run on also where the first has ended.
            each_thread(process, &mut |id, thread| {
                if id != pid {
                    // Of each that may not be told to read the table would be dear.
                    match statat(thread, "ns/mnt", AtFlags::empty()) {
                        Err(errno) if is_refusal(errno) => is_refused = true,
                        told => {
                            told?;
                            self.add_of_task(world, id, thread, found)?;
                        }
                    }
                }
                Ok(true)
            })?;
            return Ok(is_refused);
        }
        first.map(|()| false)
    }

    fn add_of_task(
        &mut self,
        world: &World,
        id: u32,
        task: BorrowedFd<'_>,
        found: &mut Candidates,
    ) -> std::result::Result<(), Errno> {
        // Anyone may read the table, whether he may know whose it is or not.
        let namespace = statat(task, "ns/mnt", AtFlags::empty()).ok().map(|stat| stat.st_ino);
        if namespace.is_some_and(|inode| self.read.contains(&inode)) {
            return Ok(());
        }
        match unless_refused_twice(|| read_all(task, "mountinfo", u64::MAX)) {
            // Said of one that has ended: it is in none any more.
            Err(Errno::INVAL) if has_ended(task)? => return Err(Errno::SRCH),
            Err(errno) if is_gone(errno) => return Err(errno),
            Err(_) => self.unread.push(namespace),
            Ok(table) => {
                self.read.extend(namespace);
                let root = world.proc_root.join(id.to_string()).join("root");
                for (inode, path) in host::mounts_of(&table) {
                    let below = path.strip_prefix("/").map(|path| root.join(path));
                    found.entry(inode).or_insert(below.unwrap_or(path));
                }
            }
        }
        Ok(())
    }

    /// How many weren't read, by whichever process.
    fn unread(&self) -> u64 {
        let is_unread = |namespace: &&Option<u64>| namespace.is_none_or(|inode| !self.read.contains(&inode));
        self.unread.iter().filter(is_unread).count() as u64
    }
}

/// Whether a task is no more, whatever others of its process do.
fn has_ended(task: BorrowedFd<'_>) -> std::result::Result<bool, Errno> {
    let line = owner::stat(task)?;
    let stat = Stat::parse(&line).ok_or(Errno::IO)?;
    Ok(matches!(stat.state, b'Z' | b'X') || stat.is_exiting())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_meanwhile_is_looked_for_again() {
        let mut look =
            || Ok(Host { lived_in: Vec::new(), mounted: Vec::new(), remark: None, hidden: Vec::new(), outside: None });
        let mut visits = |leaves: usize| {
            let mut count = 0;
            let seen = visit(&mut look, &mut |_, visited| {
                count += 1;
                visited.any_left = count <= leaves;
            });
            (count, seen.unwrap().hidden.len())
        };
        assert_eq!([visits(0), visits(1), visits(9)], [(1, 0), (2, 0), (5, 1)]);
    }
}
