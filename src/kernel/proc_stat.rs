//! The line of `/proc/PID/stat`, as far as checks need it: by hand, as the crate's parser of all 52 fields
//! is 18 KiB of each binary.

/// Who a process is, and whose child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat<'a> {
    /// At most 15 bytes, whatever the process calls itself: parentheses and newlines too.
    pub comm: &'a [u8],
    /// `R`, `S`, `D`, `Z` ...
    pub state: u8,
    pub parent: u32,
    /// Kernel flags of the first thread (include/linux/sched.h).
    flags: u64,
    /// Threads that have not ended, and the first.
    threads: u32,
}

/// The first thread has begun to end.
const PF_EXITING: u64 = 4;

impl<'a> Stat<'a> {
    /// `None`: not such a line.
    pub fn parse(line: &'a [u8]) -> Option<Stat<'a>> {
        let (comm, mut fields) = parted(line)?;
        let [state] = fields.next()? else { return None };
        let parent = std::str::from_utf8(fields.next()?).ok()?.trim_end().parse().ok()?;
        let mut number = |nth: usize| std::str::from_utf8(fields.nth(nth)?).ok()?.trim_end().parse::<u64>().ok();
        // Fields 9 and 20; a line that is cut before them is of a process without other threads.
        let (flags, threads) = (number(4).unwrap_or(0), number(10).unwrap_or(1));
        Some(Stat { comm, state: *state, parent, flags, threads: threads.try_into().unwrap_or(u32::MAX) })
    }

    /// A zombie has closed everything: it only waits for its parent. One whose first thread alone has ended runs on.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X') && self.threads < 2
    }

    /// Whether it has ended or is about to: its descriptors are gone or go.
    pub fn is_exiting(&self) -> bool {
        self.has_ended() || (self.flags & PF_EXITING != 0 && self.threads < 2)
    }
}

/// When the process was started, in clock ticks since the boot: with its pid what tells it from others.
pub fn started(line: &[u8]) -> Option<u64> {
    // Field 22; the first after the name is the third.
    std::str::from_utf8(parted(line)?.1.nth(19)?).ok()?.trim_end().parse().ok()
}

/// Where its stack begins, which is another place after each execve(2). `None`: it may not be read, or is a kernel's thread.
pub fn stack_start(line: &[u8]) -> Option<u64> {
    // Field 28.
    let start = std::str::from_utf8(parted(line)?.1.nth(25)?).ok()?.trim_end().parse().ok()?;
    (start != 0).then_some(start)
}

/// The name, which may hold anything, and the fields behind it.
fn parted(line: &[u8]) -> Option<(&[u8], impl Iterator<Item = &[u8]>)> {
    let begin = line.iter().position(|byte| *byte == b'(')?;
    let end = line.iter().rposition(|byte| *byte == b')')?;
    let fields = line[end + 1..].split(|byte| *byte == b' ').filter(|field| !field.is_empty());
    Some((line.get(begin + 1..end)?, fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_hold_anything() {
        let stat = |comm, state, parent| Some(Stat { comm, state, parent, flags: 0, threads: 1 });
        assert_eq!(Stat::parse(b"7 (sh) S 6 7 7 0"), stat(b"sh", b'S', 6));
        assert_eq!(Stat::parse(b"7 (a) S 9 (b)) R 12 7"), stat(b"a) S 9 (b)", b'R', 12));
        assert_eq!(Stat::parse(b"7 (\n) Z 1\n"), stat(b"\n", b'Z', 1));
        assert!(Stat::parse(b"7 (x) Z 1").is_some_and(|stat| stat.has_ended()));
        let line = b"7 (a b) S 6 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9\n";
        assert_eq!((started(line), started(b"7 (sh) S 6 7"), started(b"")), (Some(4711), None, None));
        let whole = b"7 (a b) S 6 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9 1 2 3 140732 0 0\n";
        let refused = b"7 (a b) S 6 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9 1 1 1 0 0 0\n";
        assert_eq!((stack_start(whole), stack_start(refused), stack_start(line)), (Some(140_732), None, None));
        // Linux 6.18, the first thread has called pthread_exit(3).
        let first_ended = b"7 (threads) Z 19802 19801 21496 0 -1 4227084 93 0 1 0 0 0 0 0 20 0 2 0 738868 0 0 1\n";
        assert!(Stat::parse(first_ended).is_some_and(|stat| !stat.has_ended() && !stat.is_exiting()));
        let exiting = b"7 (x) R 1 7 7 0 -1 4194564 93 0 1 0 0 0 0 0 20 0 1 0 738868 0 0 1\n";
        assert!(Stat::parse(exiting).is_some_and(|stat| !stat.has_ended() && stat.is_exiting()));
        for bad in [&b""[..], b"7 (sh", b"7 sh) S 6", b"7 (sh)", b"7 (sh) S", b"7 (sh) S x", b"7 (sh) SS 6", b")7( S 6"]
        {
            assert_eq!(Stat::parse(bad), None, "{bad:?}");
        }
    }
}
