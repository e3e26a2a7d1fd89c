//! What else may be at a service's path: a socket of datagrams, one that doesn't listen, a listener that somebody else made.

use super::unix_sockets::{Place, says};
use crate::lab::run::{CLOSEWAIT, CONNLEAK, GROWTH, IDLE, ORPHANS, PATIENCE, STATES, TENANTS, poll, run};
use crate::lab::{Lab, Peer};
use rustix::fd::OwnedFd;
use rustix::net::{
    AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType, bind, listen, shutdown, socket_with,
};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;

fn bound(kind: SocketType, path: &str) -> OwnedFd {
    let socket = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
    bind(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    socket
}

/// None of them takes connections: no zero of theirs is health, and none is nothing.
#[test]
fn what_is_there_instead_of_a_listener_is_named() {
    Lab::test(|_| {
        let place = Place::new();
        let [datagram, idle, shut] = ["d.sock", "b.sock", "s.sock"].map(|name| place.at(name));
        let server = UnixDatagram::bind(&datagram).unwrap();
        // Connected datagram sockets are ESTABLISHED at both ends.
        let client = UnixDatagram::unbound().unwrap();
        client.connect(&datagram).unwrap();
        let _idle = bound(SocketType::STREAM, &idle);
        let listener = bound(SocketType::SEQPACKET, &shut);
        listen(&listener, 4).unwrap();
        let state = place.at("state");
        let look = |path: &str| STATES.run(&["--unix", path]);
        says(&look(&shut), 0, &["1 LISTEN"]);
        shutdown(&listener, Shutdown::Read).unwrap();
        let by = format!("[{}]", std::process::id());
        for (path, what, class) in [
            (&datagram, " is a datagram socket, which has no connections", "bound"),
            (&idle, " is a socket that is bound but doesn't listen", "bound"),
            (&shut, " is a listener that was shut down: nobody can connect", "listen"),
        ] {
            let of = ["--unix", path.as_str()];
            let more = ["--limit=9", "--state-dir", &state];
            for outcome in [
                CLOSEWAIT.run(&of),
                look(path),
                GROWTH.run(&[&of[..], &more].concat()),
                TENANTS.run(&[&of[..], &more, &["--key=user"]].concat()),
            ] {
                says(&outcome, 3, &["no such listener: ", what, ", held by ", &by]);
            }
            says(&IDLE.run(&of), 3, &["doesn't tell when a UNIX socket"]);
            let left = ORPHANS.run(&[&of[..], &["--wait=0s"]].concat());
            says(&left, 2, &["1 socket left", &by]);
            assert_eq!(left.value(class), 1.0, "{left:?}");
            assert!(!left.text().contains("nobody listens there"), "{left:?}");
            let who = run(Command::new(CONNLEAK).args(["who", "--unix", path]));
            assert!(who.code == 0 && who.stdout.contains(&by) && !who.stdout.contains("nobody has"), "{who:?}");
        }
        let unprivileged = CLOSEWAIT.unprivileged(&["--unix", &datagram]);
        says(&unprivileged, 3, &["is a datagram socket"]);
        drop((server, client));
        let gone = ORPHANS.run(&["--unix", &datagram, "--wait=0s"]);
        says(&gone, 0, &["nothing left", &format!("the file {datagram} is left, nobody listens there")]);
    });
}

/// As a socket unit does: the manager listens, the service inherits descriptor 3 over execve(2).
const MANAGER: &str = "
import os, socket, sys
made = socket.socket(socket.AF_UNIX)
made.bind(sys.argv[1])
made.listen(64)
open('/proc/self/comm', 'w').write('systemd')
serve = 'import socket; made = socket.socket(fileno=3); held = []\\nwhile True: held.append(made.accept()[0])'
service = 0
def stop():
    global service
    if service:
        os.kill(service, 9)
        os.waitpid(service, 0)
    service = 0
for line in sys.stdin:
    stop()
    if line.strip() == 'start':
        service = os.fork()
        if service == 0:
            os.dup2(made.fileno(), 3)
            os.set_inheritable(3, True)
            os.execv(sys.executable, [sys.executable, '-c', serve])
    print('ok', service, flush=True)
stop()
";

fn manager(lab: &Lab, path: &str) -> Peer {
    let mut command = Command::new("python3");
    command.args(["-c", MANAGER, path]);
    lab.peer_by(command)
}

#[test]
fn a_listener_that_the_service_inherited_is_its_managers() {
    Lab::test(|lab| {
        let place = Place::new();
        let path = place.at("x.sock");
        let (mut manager, mut client) = (manager(lab, &path), lab.peer());
        let by_manager = format!("systemd[{}]", manager.pid());
        let state = place.at("state");
        let stuck = || CLOSEWAIT.run(&["--unix", &path, "--min-age=0s", "-w0", "-c99", "--state-dir", &state]);
        let orphans = |more: &[&str]| ORPHANS.run(&[&["--unix", &path, "--wait=0s"], more].concat());
        let baseline = place.at("baseline");
        let kept = format!("socket still listened on by {by_manager}, whose socket unit starts the service anew");
        for _ in 0..2 {
            let service = format!("[{}]", manager.say("start"));
            client.say(&format!("connect c {path} 3"));
            // Until it has taken them off the queue.
            assert!(poll(PATIENCE, || STATES.run(&["--unix", &path]).value("accept_queue") == 0.0));
            says(&orphans(&[]), 2, &["7 sockets left", &kept, &format!("{service}, the service itself")]);
            let saved = orphans(&["--save-baseline", &baseline]);
            says(&saved, 0, &["baseline of 7 sockets"]);
            assert!(!saved.text().contains("nobody listens"), "{saved:?}");
            client.say("close c");
            says(&stuck(), 1, &["3 server sockets", "all held by python3", &service]);
            manager.say("stop");
            let left = orphans(&["--baseline", &baseline]);
            says(&left, 2, &["1 socket left", &kept]);
            assert!(!left.text().contains("the service itself"), "{left:?}");
            says(&orphans(&["--ignore=LISTEN"]), 0, &["nothing left"]);
            // Who comes now waits for it to be started.
            let waiting = UnixStream::connect(&path).unwrap();
            says(&STATES.run(&["--unix", &path]), 0, &["2 ESTABLISHED, 1 LISTEN"]);
            drop(waiting);
            says(&stuck(), 1, &["1 server socket", "not accepted yet", &by_manager]);
            // It takes also what has closed meanwhile.
            manager.say("start");
            assert!(poll(PATIENCE, || STATES.run(&["--unix", &path]).value("accept_queue") == 0.0));
        }
    });
}
