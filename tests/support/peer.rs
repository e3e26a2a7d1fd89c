//! Opens, holds and releases TCP sockets on command: the other processes of the live tests.
//!
//! One command a line on standard input, one answer a line on standard output: `ok`, with a value
//! where the command has one, or `error WHY`. At the end of its input it exits, and with it the
//! process that `share` made, so a test that dies leaves nobody behind.
//!
//! ```text
//! listen NAME ADDR:PORT [BACKLOG]      listen there; /PATH or @NAME instead: on a UNIX socket
//! accept NAME LISTENER N               take N connections off a listener's queue
//! connect NAME ADDR:PORT N [SOURCES]   open N connections, over as many addresses from 127.0.0.1 on
//! connect_from NAME FROM ADDR:PORT     one from this address and port
//! send NAME                            one byte on each
//! fill NAME                            send until the peer, which doesn't read, takes no more
//! shutdown NAME                        no more data from here: FIN, but stay
//! close NAME                           release all of that name
//! reset NAME                           the same, but by a reset (RST) instead of a FIN
//! socket NAME N                        N sockets that are never connected
//! mptcp                                from now on new sockets are of MPTCP
//! churn                                from now on a new socket each 25 ms, each closed after 250
//! bind NAME ADDR:PORT                  one that is bound, but neither listens nor connects
//! open NAME FILE N                     hold N descriptors of a file
//! keepalive NAME SECONDS               probe each after so long without traffic, then as often
//! share                                let one more process hold all sockets; answers its pid
//! rename HEX                           the process's name (comm) as the bytes that HEX tells
//! enter FILE                           go on in the network namespace that the file is; the sockets stay in theirs
//! ```
//!
//! Sockets of one name may be made by several commands. Port 0 is no name: give every port.

use rustix::fd::{AsFd, OwnedFd};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::net::sockopt::{
    Timeout, set_socket_keepalive, set_socket_linger, set_socket_reuseaddr, set_socket_timeout, set_tcp_keepidle,
    set_tcp_keepintvl,
};
use rustix::net::{AddressFamily, Protocol, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType};
use rustix::net::{accept_with, bind, connect, ipproto, listen, send, shutdown, socket_with};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space, set_name};
use std::collections::{HashMap, VecDeque};
use std::ffi::CString;
use std::io::{Read, Write, stdin, stdout};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

/// How long any one accept or connect may take.
const PATIENCE: Duration = Duration::from_secs(60);

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    if std::env::args().nth(1).as_deref() == Some("hold") {
        // The sharer: it inherited the sockets and lets go of them when its parent does.
        stdin().read_to_end(&mut Vec::new())?;
        return Ok(());
    }
    raise_limit()?;
    let mut peer = Peer::default();
    for line in stdin().lines() {
        let answer = match peer.obey(&line?) {
            Ok(value) => format!("ok {value}"),
            Err(why) => format!("error {why}"),
        };
        writeln!(stdout(), "{}", answer.trim_end())?;
    }
    Ok(())
}

#[derive(Default)]
struct Peer {
    sockets: HashMap<String, Vec<OwnedFd>>,
    sharers: Vec<(Child, ChildStdin)>,
    /// `None`: TCP.
    protocol: Option<Protocol>,
}

impl Peer {
    fn obey(&mut self, line: &str) -> Result<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            // The kernel lowers it to net.core.somaxconn.
            ["listen", name, path] if is_unix(path) => self.hold(name, unix_listener(path, 65535)?),
            ["listen", name, path, backlog] if is_unix(path) => self.hold(name, unix_listener(path, backlog.parse()?)?),
            ["connect", name, path, count] if is_unix(path) => {
                for _ in 0..count.parse()? {
                    let socket = unix_socket()?;
                    set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
                    connect(&socket, &unix_address(path)?)?;
                    self.hold(name, socket);
                }
            }
            ["listen", name, address] => self.hold(name, listener(address.parse()?, 65535, self.protocol)?),
            ["listen", name, address, backlog] => {
                self.hold(name, listener(address.parse()?, backlog.parse()?, self.protocol)?)
            }
            ["accept", name, listener, count] => {
                for _ in 0..count.parse()? {
                    let accepted = accept_with(self.of(listener)?.first().ok_or("no listener")?, SocketFlags::CLOEXEC)?;
                    self.hold(name, accepted);
                }
            }
            ["connect", name, address, count] => self.connect(name, address.parse()?, count.parse()?, 0)?,
            ["connect", name, address, count, sources] => {
                self.connect(name, address.parse()?, count.parse()?, sources.parse()?)?;
            }
            ["connect_from", name, from, address] => {
                let address: SocketAddr = address.parse()?;
                let socket = new_socket(address.ip(), self.protocol)?;
                bind(&socket, &from.parse::<SocketAddr>()?)?;
                connect(&socket, &address)?;
                self.hold(name, socket);
            }
            ["send", name] => self.each(name, |socket| send(socket, b"x", SendFlags::NOSIGNAL).map(drop))?,
            ["fill", name] => self.each(name, fill)?,
            ["shutdown", name] => self.each(name, |socket| shutdown(socket, Shutdown::Write))?,
            ["close", name] => drop(self.sockets.remove(name).ok_or("no such name")?),
            ["reset", name] => {
                self.each(name, |socket| set_socket_linger(socket, Some(Duration::ZERO)))?;
                self.sockets.remove(name);
            }
            ["socket", name, count] => {
                for _ in 0..count.parse()? {
                    self.hold(name, new_socket(Ipv4Addr::LOCALHOST.into(), self.protocol)?);
                }
            }
            ["mptcp"] => self.protocol = Some(ipproto::MPTCP),
            ["churn"] => drop(std::thread::spawn(|| {
                let mut young = VecDeque::new();
                while let Ok(socket) = new_socket(Ipv4Addr::LOCALHOST.into(), None) {
                    young.push_back(socket);
                    drop(if young.len() > 10 { young.pop_front() } else { None });
                    std::thread::sleep(Duration::from_millis(25));
                }
            })),
            ["bind", name, address] => {
                let address: SocketAddr = address.parse()?;
                let socket = new_socket(address.ip(), self.protocol)?;
                bind(&socket, &address)?;
                self.hold(name, socket);
            }
            ["open", name, file, count] => {
                for _ in 0..count.parse()? {
                    self.hold(name, std::fs::File::open(file)?.into());
                }
            }
            ["keepalive", name, seconds] => {
                let every = Duration::from_secs(seconds.parse()?);
                self.each(name, |socket| {
                    set_tcp_keepidle(socket, every)?;
                    set_tcp_keepintvl(socket, every)?;
                    set_socket_keepalive(socket, true)
                })?;
            }
            ["share"] => return self.share(),
            ["enter", file] => {
                let namespace = std::fs::File::open(file)?;
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            }
            ["rename", hex] => set_name(&CString::new(bytes(hex)?)?)?,
            _ => return Err("unknown command".into()),
        }
        Ok(String::new())
    }

    fn of(&self, name: &str) -> Result<&[OwnedFd]> {
        Ok(self.sockets.get(name).ok_or("no such name")?)
    }

    fn hold(&mut self, name: &str, socket: OwnedFd) {
        self.sockets.entry(name.to_owned()).or_default().push(socket);
    }

    fn each(&self, name: &str, act: impl Fn(&OwnedFd) -> rustix::io::Result<()>) -> Result<()> {
        Ok(self.of(name)?.iter().try_for_each(act)?)
    }

    /// One source address has some 28,000 ports towards one service; `sources` multiplies them.
    fn connect(&mut self, name: &str, to: SocketAddr, count: u32, sources: u32) -> Result<()> {
        for index in 0..count {
            let socket = new_socket(to.ip(), self.protocol)?;
            if sources > 0 {
                let source = Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + index % sources);
                bind(&socket, &SocketAddr::from((source, 0)))?;
            }
            set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
            connect(&socket, &to)?;
            self.hold(name, socket);
        }
        Ok(())
    }

    /// A second holder by inheritance, as fork(2) makes one, without the `unsafe` of fork(2).
    fn share(&mut self) -> Result<String> {
        for socket in self.sockets.values().flatten() {
            fcntl_setfd(socket, FdFlags::empty())?;
        }
        let mut child = Command::new("/proc/self/exe").arg("hold").stdin(Stdio::piped()).spawn()?;
        let input = child.stdin.take().ok_or("no pipe")?;
        let pid = child.id();
        self.sharers.push((child, input));
        Ok(pid.to_string())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        for (mut child, input) in self.sharers.drain(..) {
            drop(input);
            let _ = child.wait();
        }
    }
}

fn new_socket(family_of: IpAddr, protocol: Option<Protocol>) -> Result<OwnedFd> {
    let family = if family_of.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    Ok(socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, protocol)?)
}

/// As many descriptors as one may have; root may go up to fs.nr_open.
fn raise_limit() -> Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let most = Some(std::fs::read_to_string("/proc/sys/fs/nr_open")?.trim().parse()?);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most });
    Ok(raised.or_else(|_| setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }))?)
}

fn fill(socket: &OwnedFd) -> rustix::io::Result<()> {
    loop {
        match send(socket, &[0; 65536], SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Err(Errno::AGAIN) => return Ok(()),
            sent => drop(sent?),
        }
    }
}

fn listener(address: SocketAddr, backlog: i32, protocol: Option<Protocol>) -> Result<OwnedFd> {
    let socket = new_socket(address.ip(), protocol)?;
    set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, backlog)?;
    set_socket_timeout(socket.as_fd(), Timeout::Recv, Some(PATIENCE))?;
    Ok(socket)
}

fn is_unix(address: &str) -> bool {
    address.starts_with(['/', '@'])
}

fn unix_address(text: &str) -> Result<SocketAddrUnix> {
    Ok(match text.strip_prefix('@') {
        Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes())?,
        None => SocketAddrUnix::new(text)?,
    })
}

fn unix_socket() -> Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

fn unix_listener(path: &str, backlog: i32) -> Result<OwnedFd> {
    let socket = unix_socket()?;
    bind(&socket, &unix_address(path)?)?;
    listen(&socket, backlog)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    Ok(socket)
}

fn bytes(hex: &str) -> Result<Vec<u8>> {
    let byte = |at| Ok(u8::from_str_radix(hex.get(at..at + 2).ok_or("odd hex")?, 16)?);
    (0..hex.len()).step_by(2).map(byte).collect()
}
