//! Reading below `/proc`: small files, directories of numbers, and what an error means.

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, RawDir, openat};
use rustix::io::Errno;
use std::ffi::CStr;
use std::fs::File;
use std::io::Read;
use std::mem::MaybeUninit;

/// Whether the kernel says by it that a process is no more, or ends while it is read. All else is a refusal.
pub fn is_gone(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::SRCH)
}

/// Whether a process is there but may not be read, or can't be for now.
pub fn was_refused<T>(read: &Result<T, Errno>) -> bool {
    read.as_ref().is_err_and(|errno| !is_gone(*errno))
}

pub fn open(dir: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// A file's content, at most `longest` bytes.
pub fn read_all(dir: BorrowedFd<'_>, name: &str, longest: u64) -> Result<Vec<u8>, Errno> {
    // Most are read by one call so, and not by six.
    let mut bytes = Vec::with_capacity(1024);
    let read = File::from(open(dir, name)?).take(longest).read_to_end(&mut bytes);
    read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(bytes)
}

/// Calls `each` for every entry of a directory whose name is a number.
pub fn each_number(dir: BorrowedFd<'_>, each: &mut dyn FnMut(u64, &CStr)) -> Result<(), Errno> {
    each_number_while(dir, &mut |number, name| {
        each(number, name);
        true
    })
}

/// [`each_number`] until it says no.
pub fn each_number_while(dir: BorrowedFd<'_>, each: &mut dyn FnMut(u64, &CStr) -> bool) -> Result<(), Errno> {
    let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
    let mut entries = RawDir::new(dir, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if let Some(value) = number(entry.file_name().to_bytes())
            && !each(value, entry.file_name())
        {
            break;
        }
    }
    Ok(())
}

/// The decimal number at the start of `bytes`, up to their end or a `]`.
pub fn number(bytes: &[u8]) -> Option<u64> {
    let digits = bytes.strip_suffix(b"]").unwrap_or(bytes);
    let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let value = |value: u64, digit: &u8| value.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
    if all_digits { digits.iter().try_fold(0, value) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers_and_nothing_else() {
        assert_eq!(number(b"4711]"), Some(4711));
        assert_eq!(number(b"17"), Some(17));
        for bad in [&b""[..], b"]", b"-1", b"1a", b"99999999999999999999999"] {
            assert_eq!(number(bad), None);
        }
    }
}
