//! A seccomp filter: from here on the process can't start programs or processes, talk to a network,
//! signal or trace others, or change the system.
//!
//! It lists what checks need; all else answers ENOSYS, so that a newer C library falls back on what
//! older kernels have. Its cost is the kernel's: it tries a new filter on every call there is, so ours
//! is a tree of ranges, a quarter of the time of a list. It also compiles it: so all branches share two ends.

use super::inherited;
use libc::{BPF_ABS, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W};
use seccompiler::sock_filter;

/// Installs the filter for all threads. A kernel or container without seccomp has none: the filter
/// is a second fence, nothing that a verdict rests on.
///
/// Not where one is installed already, by systemd or a container: it may end who calls seccomp(2) by
/// SIGSYS, as systemd 252's `@system-service` does, and nobody can ask it beforehand.
pub fn confine() {
    if let Some(arch) = AUDIT_ARCH
        && inherited::is_unfiltered()
        && let Some(program) = program(arch)
    {
        let _ = seccompiler::apply_filter_all_threads(&program);
    }
}

/// As `linux/audit.h` numbers it.
const AUDIT_ARCH: Option<u32> = match () {
    () if cfg!(all(target_arch = "x86_64", target_pointer_width = "64")) => Some(0xc000_003e),
    () if cfg!(all(target_arch = "aarch64", target_endian = "little")) => Some(0xc000_00b7),
    () => None,
};

/// Offsets in `struct seccomp_data`; of an argument the lower half, as little-endian machines have it.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();

/// `None`: a jump would be too far.
fn program(arch: u32) -> Option<Vec<sock_filter>> {
    let equal = BPF_JMP | BPF_JEQ | BPF_K;
    let has_bit = BPF_JMP | BPF_JSET | BPF_K;
    let socket = libc::SYS_socket as u32;
    let clone = libc::SYS_clone as u32;
    let mut program = vec![
        load(ARCH),
        step(equal, 1, 0, arch),
        end(REFUSE),
        load(NUMBER),
        // Netlink is how sockets are read; no other kind is opened.
        step(equal, 0, 4, socket),
        load(FIRST_ARGUMENT),
        step(equal, 0, 1, libc::AF_NETLINK.cast_unsigned()),
        end(ALLOW),
        end(REFUSE),
        // A thread, not a process. The flags of clone3 can't be read here: it is refused.
        step(equal, 0, 4, clone),
        load(FIRST_ARGUMENT),
        step(has_bit, 0, 1, libc::CLONE_THREAD.cast_unsigned()),
        end(ALLOW),
        end(REFUSE),
    ];
    let edges = edges();
    let ends = program.len() + edges.len();
    branch(&mut program, &edges, false, ends)?;
    program.extend([end(ALLOW), end(REFUSE)]);
    Some(program)
}

fn step(code: u32, if_true: u8, if_false: u8, value: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: if_true, jf: if_false, k: value }
}

fn load(offset: u32) -> sock_filter {
    step(BPF_LD | BPF_W | BPF_ABS, 0, 0, offset)
}

fn end(action: u32) -> sock_filter {
    step(BPF_RET | BPF_K, 0, 0, action)
}

/// The numbers at which it changes whether a call is allowed; below the first it is not.
fn edges() -> Vec<u32> {
    let mut calls: Vec<u32> = CALLS.iter().chain(CALLS_OF_OLD).map(|call| *call as u32).collect();
    calls.sort_unstable();
    calls.dedup();
    let mut edges: Vec<u32> = Vec::new();
    for call in calls {
        match edges.last_mut() {
            Some(end) if *end == call => *end += 1,
            _ => edges.extend([call, call + 1]),
        }
    }
    edges
}

/// Finds the range of the number by halves; `allowed` is what holds below the first edge, and that refused ends just
/// after what is allowed, which is at `ends`.
fn branch(program: &mut Vec<sock_filter>, edges: &[u32], allowed: bool, ends: usize) -> Option<()> {
    let middle = edges.len() / 2;
    let Some((edge, above)) = edges.get(middle..).and_then(<[u32]>::split_first) else { return Some(()) };
    let (below, above_allowed) = (&edges[..middle], allowed != middle.is_multiple_of(2));
    let next = program.len() + 1;
    let jump = |part: &[u32], allowed: bool, at: usize| {
        let at = if part.is_empty() { ends + usize::from(!allowed) } else { at };
        u8::try_from(at - next).ok()
    };
    let (to_above, to_below) = (jump(above, above_allowed, next + middle)?, jump(below, allowed, next)?);
    program.push(step(BPF_JMP | BPF_JGE | BPF_K, to_above, to_below, *edge));
    branch(program, below, allowed, ends)?;
    branch(program, above, above_allowed, ends)
}

/// What the checks, SQLite and the C library below them call.
#[rustfmt::skip]
const CALLS: &[i64] = &[
    // Files: the kernel's tables, profiles, the history, the output.
    libc::SYS_openat, libc::SYS_openat2, libc::SYS_close, libc::SYS_read, libc::SYS_write, libc::SYS_readv, libc::SYS_writev,
    libc::SYS_pread64, libc::SYS_pwrite64, libc::SYS_lseek, libc::SYS_newfstatat, libc::SYS_fstat, libc::SYS_statx,
    libc::SYS_statfs, libc::SYS_fstatfs, libc::SYS_getdents64, libc::SYS_readlinkat, libc::SYS_faccessat,
    libc::SYS_faccessat2, libc::SYS_getcwd, libc::SYS_getxattr, libc::SYS_fgetxattr, libc::SYS_fcntl, libc::SYS_flock,
    libc::SYS_dup, libc::SYS_dup3, libc::SYS_ftruncate, libc::SYS_fallocate, libc::SYS_fsync, libc::SYS_fdatasync,
    libc::SYS_fchmod, libc::SYS_fchmodat, libc::SYS_fchown, libc::SYS_mkdirat, libc::SYS_mknodat, libc::SYS_unlinkat,
    libc::SYS_linkat, libc::SYS_renameat, libc::SYS_renameat2, libc::SYS_utimensat, libc::SYS_ioctl,
    // Memory.
    libc::SYS_brk, libc::SYS_mmap, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_mprotect, libc::SYS_madvise,
    // Sockets of the kind let through above.
    libc::SYS_bind, libc::SYS_getsockname, libc::SYS_setsockopt, libc::SYS_getsockopt, libc::SYS_sendto,
    libc::SYS_sendmsg, libc::SYS_recvfrom, libc::SYS_recvmsg, libc::SYS_ppoll,
    // Threads, time, signals to ourselves.
    libc::SYS_futex, libc::SYS_set_robust_list, libc::SYS_rseq, libc::SYS_sched_yield, libc::SYS_sched_getaffinity,
    libc::SYS_membarrier, libc::SYS_clock_gettime, libc::SYS_clock_nanosleep, libc::SYS_nanosleep,
    libc::SYS_gettimeofday, libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack, libc::SYS_restart_syscall, libc::SYS_exit, libc::SYS_exit_group,
    // Who and where we are; giving up rights; the namespace to look at.
    libc::SYS_getpid, libc::SYS_gettid, libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid,
    libc::SYS_capget, libc::SYS_capset, libc::SYS_prctl, libc::SYS_prlimit64, libc::SYS_setns, libc::SYS_uname,
    libc::SYS_sysinfo, libc::SYS_getrandom, libc::SYS_umask,
];

/// What newer architectures left out.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const CALLS_OF_OLD: &[i64] = &[
    libc::SYS_open, libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_readlink, libc::SYS_mkdir,
    libc::SYS_rmdir, libc::SYS_unlink, libc::SYS_rename, libc::SYS_link, libc::SYS_chmod, libc::SYS_poll,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const CALLS_OF_OLD: &[i64] = &[];

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::net::TcpListener;
    use std::process::Command;

    /// What the filter says of a call, run as the kernel would.
    fn verdict(program: &[sock_filter], number: u32, argument: u32) -> u32 {
        let (mut at, mut loaded) = (0, 0);
        loop {
            let line = &program[at];
            at += 1;
            let condition = match u32::from(line.code) {
                code if code == BPF_LD | BPF_W | BPF_ABS => {
                    loaded = match line.k {
                        NUMBER => number,
                        ARCH => AUDIT_ARCH.unwrap(),
                        FIRST_ARGUMENT => argument,
                        other => panic!("reads at {other}"),
                    };
                    continue;
                }
                code if code == BPF_JMP | BPF_JEQ | BPF_K => loaded == line.k,
                code if code == BPF_JMP | BPF_JGE | BPF_K => loaded >= line.k,
                code if code == BPF_JMP | BPF_JSET | BPF_K => loaded & line.k != 0,
                _ => return line.k,
            };
            at += usize::from(if condition { line.jt } else { line.jf });
        }
    }

    #[test]
    fn exactly_the_listed_calls_are_allowed() {
        let Some(arch) = AUDIT_ARCH else { return };
        let program = program(arch).unwrap();
        for number in 0..1000 {
            let listed = CALLS.iter().chain(CALLS_OF_OLD).any(|call| *call == i64::from(number));
            let expected = if listed { ALLOW } else { REFUSE };
            assert_eq!(verdict(&program, number, 0), expected, "call {number}");
        }
        let thread = libc::CLONE_THREAD.cast_unsigned() | libc::CLONE_VM.cast_unsigned();
        assert_eq!(verdict(&program, libc::SYS_clone as u32, thread), ALLOW);
        assert_eq!(verdict(&program, libc::SYS_socket as u32, libc::AF_NETLINK.cast_unsigned()), ALLOW);
        assert_eq!(verdict(&program, libc::SYS_socket as u32, libc::AF_INET.cast_unsigned()), REFUSE);
    }

    /// In the kernel itself, on a thread of its own.
    #[test]
    fn a_confined_thread_reads_and_starts_nothing() {
        let Some(arch) = AUDIT_ARCH else { return };
        let confined = std::thread::spawn(move || {
            seccompiler::apply_filter(&program(arch).unwrap()).unwrap();
            assert!(std::fs::read_to_string("/proc/thread-self/status").unwrap().contains("Seccomp:\t2"));
            std::thread::spawn(|| ()).join().unwrap();
            let refused = |error: std::io::Error| assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            refused(TcpListener::bind("127.0.0.1:0").map(drop).unwrap_err());
            refused(Command::new("true").spawn().map(drop).unwrap_err());
        });
        confined.join().unwrap();
    }
}
