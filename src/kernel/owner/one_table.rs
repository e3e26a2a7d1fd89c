//! One descriptor table: each descriptor, and where it leads.

use super::reading::{each_number_while, is_gone};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, PROC_SUPER_MAGIC, SeekFrom, fstat, fstatfs, openat, readlinkat_raw, seek};
use rustix::io::Errno;
use rustix::path::DecInt;
use std::ffi::CStr;
use std::mem::MaybeUninit;

/// A table of so many is asked for one number after the other: to list each before it is read costs a fifth more
/// (Linux 6.18: 0.7 µs beside 3.0).
const MANY: u64 = 64;
/// Where the first so many are refused all are: the kernel asks for rights to the process, not to each.
const ALL_REFUSED: usize = 16;
/// As long as there is no more than one gap for so many descriptors.
const DENSE: u64 = 8;

/// The table of a thread, by its folder in /proc.
pub fn open(thread: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    openat(thread, "fd", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Is given a descriptor and at most 64 bytes of where it leads; says whether to go on.
pub type EachLink<'a> = dyn FnMut(u32, &[u8]) -> bool + 'a;

/// Returns how many there are, as far as `each` went on.
///
/// # Errors
/// Where one can't be read, after all others have been, or all are refused.
pub fn each_link(thread: BorrowedFd<'_>, each: &mut EachLink<'_>) -> Result<usize, Errno> {
    let fds = open(thread)?;
    let mut target = [MaybeUninit::uninit(); 64];
    let (mut count, mut refused, mut done) = (0, 0, Ok(()));
    let mut meet = |fd: u32, name: &CStr| match readlinkat_raw(&fds, name, &mut target) {
        Ok((link, _)) => {
            count += 1;
            (true, each(fd, link))
        }
        // Closed meanwhile, or never opened.
        Err(errno) if is_gone(errno) => (false, true),
        // Its user may list them; to read them takes all rights that the process has.
        Err(errno) => {
            (count, done) = (count + 1, Err(errno));
            refused += usize::from(matches!(errno, Errno::ACCESS | Errno::PERM));
            (true, count > refused || refused < ALL_REFUSED)
        }
    };
    let many = size(&fds).filter(|size| *size >= MANY).unwrap_or(0);
    if let Some(next) = by_number(many, &mut meet) {
        // What was opened behind the last one that was counted is listed as ever: so no descriptor is passed over
        // that was open all the time.
        if next > 0 {
            let _ = seek(&fds, SeekFrom::Start(u64::from(next) + 2));
        }
        each_number_while(fds.as_fd(), &mut |fd, name| fd < u64::from(next) || meet(fd as u32, name).1)?;
    }
    done.map(|()| count)
}

/// How many descriptors a table has: the directory's size since Linux 6.2. `None`: not told, as before that, or in a copy,
/// whose folders have other sizes, and places that are no numbers.
pub fn size(fds: &OwnedFd) -> Option<u64> {
    let size = fstat(fds).map_or(0, |stat| stat.st_size.cast_unsigned());
    let is_procs = || fstatfs(fds).is_ok_and(|fs| fs.f_type == PROC_SUPER_MAGIC);
    (size > 0 && is_procs()).then_some(size)
}

/// Asks for each number from 0 on until so many were there. `meet`: whether one is, and whether to go on. Returns
/// the first number that was not asked for; `None`: it doesn't go on.
fn by_number(size: u64, meet: &mut dyn FnMut(u32, &CStr) -> (bool, bool)) -> Option<u32> {
    let (mut next, mut left, mut gaps) = (0, size, size / DENSE);
    while left > 0 && gaps > 0 {
        let (is_there, goes_on) = meet(next, DecInt::new(next).as_c_str());
        if !goes_on {
            return None;
        }
        next += 1;
        if is_there {
            left -= 1;
        } else {
            gaps -= 1;
        }
    }
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers that are asked for where `open` are, and where the list begins.
    fn asked(open: &[u32]) -> (usize, Option<u32>) {
        let mut count = 0;
        let next = by_number(open.len() as u64, &mut |fd, name| {
            assert_eq!(name.to_str().unwrap(), fd.to_string());
            count += 1;
            (open.contains(&fd), true)
        });
        (count, next)
    }

    #[test]
    fn a_dense_table_is_asked_by_number_and_a_sparse_one_soon_listed() {
        let dense: Vec<u32> = (0..200).filter(|fd| fd % 20 != 7).collect();
        assert_eq!(asked(&dense), (200, Some(200)));
        let sparse: Vec<u32> = (0..10).chain((90..180).map(|fd| fd * 100)).collect();
        assert_eq!(asked(&sparse), (10 + 12, Some(22)), "a gap for each eighth");
        assert_eq!(asked(&[]), (0, Some(0)));
        assert_eq!(by_number(9, &mut |fd, _| (true, fd < 3)), None);
    }

    #[test]
    fn each_descriptor_is_met_once_in_dense_and_sparse_tables() {
        use rustix::io::fcntl_dupfd_cloexec;
        let file = std::fs::File::open("/proc/self/stat").unwrap();
        let dense: Vec<_> = (0..150).map(|_| fcntl_dupfd_cloexec(&file, 0).unwrap()).collect();
        let far: Vec<_> = (0..40).map(|at| fcntl_dupfd_cloexec(&file, 600 + 9 * at).unwrap()).collect();
        let me = std::fs::File::open("/proc/self").unwrap();
        let mut met = Vec::new();
        each_link(me.as_fd(), &mut |fd, link| {
            if link.ends_with(b"/stat") {
                met.push(fd);
            }
            true
        })
        .unwrap();
        use std::os::fd::AsRawFd;
        let of = |all: &[OwnedFd]| all.iter().map(|fd| fd.as_raw_fd() as u32).collect::<Vec<_>>();
        for fd in [of(&dense), of(&far), vec![file.as_raw_fd() as u32]].concat() {
            assert_eq!(met.iter().filter(|known| **known == fd).count(), 1, "{fd}");
        }
    }
}
