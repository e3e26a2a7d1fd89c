//! Other network namespaces, and namespaces without IPv6.

use crate::lab::run::{CLOSEWAIT, Outcome, Started, check, check_unprivileged};
use crate::lab::{CLOSE_WAIT, Lab};
use rustix::fs::{CWD, Mode, mkfifoat};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

const LOOK: [&str; 6] = ["-p11211", "--side=server", "--min-age=0s", "-w0", "-c100", "--ratio-min-count=1000"];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&LOOK, more].concat()
}

#[test]
fn a_namespace_is_seen_from_outside_by_one_of_its_pids() {
    Lab::test(|lab| {
        let server = lab.leaking_server("[::1]:11211", 3);
        let pid = server.pid().to_string();
        lab.outside(|| {
            let home = check(&with(&[]));
            assert_eq!(home.value("close_wait"), 0.0, "something else leaks on 11211 here: {home:?}");
            let outcome = check(&with(&["--netns", &pid]));
            assert_eq!((outcome.code, outcome.value("close_wait")), (1, 3.0), "{outcome:?}");
            assert!(outcome.text().contains(&format!("held by peer[{pid}]")), "{outcome:?}");
            assert!(!outcome.text().contains("unknown"), "entered, so with ages: {outcome:?}");
            let proc = check(&with(&["--netns", &pid, "--source=proc"]));
            assert_eq!((proc.code, proc.value("close_wait")), (1, 3.0), "{proc:?}");
        });
    });
}

#[test]
fn without_the_right_to_enter_its_tables_are_read_and_ages_unknown() {
    Lab::test(|lab| {
        let server = lab.leaking_server("[::1]:11211", 3);
        let pid = server.pid().to_string();
        lab.outside(|| {
            let outcome = check_unprivileged(&with(&["--netns", &pid]));
            assert_eq!((outcome.code, outcome.value("close_wait")), (1, 3.0), "{outcome:?}");
            assert!(outcome.text().contains("ages unknown"), "{outcome:?}");
            assert!(outcome.text().contains("owners partial"), "{outcome:?}");
            let refused = check_unprivileged(&with(&["--netns", &pid, "--source=netlink"]));
            assert_eq!(refused.code, 3, "netlink would show our own namespace: {refused:?}");
        });
    });
}

#[test]
fn a_pid_that_is_nobodys_is_unknown() {
    let outcome = check(&with(&["--netns", "4194305"]));
    assert_eq!(outcome.code, 3, "{outcome:?}");
}

/// A name as `ip netns attach` gives it, but without the mount that `ip netns` leaves behind.
pub struct Name(pub String);

const NAMES: &str = "/run/netns";

impl Name {
    pub fn new(pid: u32) -> Option<Name> {
        let name = Name(format!("connleak-test-{pid}"));
        fs::create_dir_all(NAMES).and_then(|()| fs::write(name.path(), "")).ok()?;
        let namespace = format!("/proc/{pid}/ns/net");
        let bound = Command::new("mount").args(["--bind", &namespace, &name.path()]).status();
        bound.is_ok_and(|status| status.success()).then_some(name)
    }

    fn path(&self) -> String {
        format!("{NAMES}/{}", self.0)
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
        let _ = fs::remove_file(self.path());
    }
}

#[test]
fn a_namespace_is_seen_from_outside_by_its_name() {
    Lab::test(|lab| {
        let server = lab.leaking_server("127.0.0.1:11211", 2);
        let Some(name) = Name::new(server.pid()) else {
            return lab.skip("a bind mount in /run/netns is refused");
        };
        lab.outside(|| {
            let outcome = check(&with(&["--netns", &name.0]));
            assert_eq!((outcome.code, outcome.value("close_wait")), (1, 2.0), "{outcome:?}");
            let unknown = check(&with(&["--netns", "connleak-test-none"]));
            assert_eq!(unknown.code, 3, "{unknown:?}");
            let refused = check_unprivileged(&with(&["--netns", &name.0]));
            assert_eq!(refused.code, 3, "{refused:?}");
        });
    });
}

#[test]
fn ipv6_switched_off_is_no_error() {
    Lab::test(|lab| {
        for interface in ["all", "lo"] {
            fs::write(format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"), "1").unwrap();
        }
        let server = lab.leaking_server("127.0.0.1:11211", 2);
        for source in ["auto", "netlink", "proc"] {
            let outcome = check(&with(&["--source", source]));
            assert_eq!((outcome.code, outcome.value("close_wait")), (1, 2.0), "{outcome:?}");
        }
        server.end();
        assert_eq!(check(&with(&[])).code, 0);
    });
}

#[test]
fn no_tcp6_table_is_no_error_but_no_tcp_table_is() {
    Lab::test(|lab| {
        let _server = lab.leaking_server("127.0.0.1:11211", 2);
        let root = tempfile::tempdir().unwrap();
        let net = root.path().join("net");
        fs::create_dir(&net).unwrap();
        let look = || check(&with(&["--proc-root", root.path().to_str().unwrap()]));
        fs::write(net.join("tcp"), fs::read("/proc/thread-self/net/tcp").unwrap()).unwrap();
        let outcome = look();
        assert_eq!((outcome.code, outcome.value("close_wait")), (1, 2.0), "{outcome:?}");
        fs::rename(net.join("tcp"), net.join("tcp6")).unwrap();
        assert_eq!(look().code, 3);
    });
}

/// Then tcp6 is missing, as where IPv6 is switched off.
#[test]
fn a_process_that_ends_while_its_tables_are_read_hides_no_socket() {
    let root = tempfile::tempdir().unwrap();
    let process = root.path().join("7");
    let table = |name: &str| process.join("net").join(name);
    fs::create_dir_all(process.join("net")).unwrap();
    mkfifoat(CWD, table("tcp"), Mode::RWXU).unwrap();
    let header = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
    let (local, remote) = ("00000000000000000000000001000000:2BCB", "00000000000000000000000001000000:C350");
    let row = format!(
        "   0: {local} {remote} 08 00000000:00000001 00:00000000 00000000     0        0 4711 1 0 20 4 30 10 -1\n"
    );
    fs::write(table("tcp6"), format!("{header}{row}")).unwrap();
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut tcp = File::options().write(true).open(table("tcp")).unwrap();
            fs::rename(&process, root.path().join("ended")).unwrap();
            tcp.write_all(header.as_bytes()).unwrap();
        });
        check(&with(&["--netns=7", "--proc-root", root.path().to_str().unwrap()]))
    });
    assert_eq!((outcome.code, outcome.value("close_wait")), (1, 1.0), "{outcome:?}");
}

/// `/proc/net` of another machine's or container's procfs is the reader's own namespace.
#[test]
fn a_hidden_process_1_is_not_replaced_by_ourselves() {
    Lab::test(|lab| {
        let shown = CLOSEWAIT.under_hidepid(0, &with(&["--proc-root=/proc/../proc"]));
        if !shown.stderr.is_empty() {
            return lab.skip(&format!("mount: {}", shown.stderr));
        }
        assert!(shown.code == 0, "{shown:?}");
        for hide in [1, 2] {
            let hidden = CLOSEWAIT.under_hidepid(hide, &with(&["--proc-root=/proc/../proc"]));
            assert!(hidden.code == 3 && hidden.text().contains("can't read /proc/../proc/1/net/tcp"), "{hidden:?}");
        }
    });
}

/// Its process is in another one: setns(2) moves a thread alone.
#[test]
fn a_namespace_that_only_a_thread_is_in_is_found() {
    Lab::test(|lab| {
        // The lab's own thread, here, is the only one.
        let listener = TcpListener::bind("127.0.0.1:27780").unwrap();
        let clients: Vec<_> = (0..3).map(|_| TcpStream::connect("127.0.0.1:27780").unwrap()).collect();
        let _servers: Vec<_> = (0..3).map(|_| listener.accept().unwrap()).collect();
        drop(clients);
        lab.wait_for(CLOSE_WAIT, 27780, 3);
        let look = ["-p27780", "--side=server", "--min-age=0s", "-w0", "-c100", "--ratio-min-count=1000"];
        let outcome = lab.outside(|| CLOSEWAIT.run(&[&look[..], &["--netns=all"]].concat()));
        assert_eq!((outcome.code, outcome.value("close_wait")), (1, 3.0), "{outcome:?}");
    });
}

/// Sockets in CLOSE_WAIT of port 27781, made in a namespace in which no thread is afterwards, and a descriptor of it.
fn left_alone(lab: &Lab) -> (File, TcpListener, Vec<TcpStream>) {
    lab.in_another(|inner| {
        let listener = TcpListener::bind("127.0.0.1:27781").unwrap();
        let clients: Vec<_> = (0..3).map(|_| TcpStream::connect("127.0.0.1:27781").unwrap()).collect();
        let servers: Vec<_> = (0..3).map(|_| listener.accept().unwrap().0).collect();
        drop(clients);
        inner.wait_for(CLOSE_WAIT, 27781, 3);
        (File::open("/proc/thread-self/ns/net").unwrap(), listener, servers)
    })
}

fn look_everywhere() -> Outcome {
    let look = ["-p27781", "--side=server", "--min-age=0s", "-w0", "-c100", "--ratio-min-count=1000"];
    CLOSEWAIT.run(&[&look[..], &["--netns=all"]].concat())
}

#[test]
fn a_namespace_that_only_a_descriptor_keeps_is_found() {
    Lab::test(|lab| {
        let (namespace, _listener, servers) = left_alone(lab);
        let found = look_everywhere();
        assert_eq!((found.code, found.value("close_wait"), found.value("ghosts")), (1, 3.0, 0.0), "{found:?}");
        assert!(found.text().contains("all held by"), "{found:?}");
        // Then its sockets alone keep it, and nobody can enter it: not OK either.
        drop(namespace);
        let alone = look_everywhere();
        assert_eq!(alone.code, 3, "{alone:?}");
        drop(servers);
    });
}

#[test]
fn a_namespace_that_is_mounted_for_others_alone_is_found() {
    Lab::test(|lab| {
        let (namespace, _listener, _servers) = left_alone(lab);
        let path = format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd());
        let script = "touch /run/kept && mount --bind \"$0\" /run/kept && echo kept && exec cat";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation=private", "sh", "-c", script, &path]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = Started(command.spawn().unwrap());
        let mut line = String::new();
        BufReader::new(keeper.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line != "kept\n" {
            return lab.skip("a bind mount is refused");
        }
        drop(namespace);
        let found = look_everywhere();
        assert_eq!((found.code, found.value("close_wait"), found.value("ghosts")), (1, 3.0, 0.0), "{found:?}");
    });
}
