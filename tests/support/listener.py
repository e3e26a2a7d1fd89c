"""Listens as the peer program can't: the other processes of the live tests that need Python's socket options.

One command a line, one answer a line, as in peer.rs; at the end of its input it exits, with all that it forked.

    listen NAME ADDR:PORT [OPTION...]    options: reuseport, transparent, device=IFACE, uid=UID (whose it is
                                         to be), serve (take all that comes, and close it at once)
    accept NAME LISTENER N               take N connections off a listener's queue
    connect NAME ADDR:PORT N [FROM]      open N connections, from this address and port, which may be listened on
    end NAME                             shutdown(2) of the reading side: of a listener, so that it is only bound
    close NAME
    fork [UID]                           one more process that has all sockets, of this user; answers its pid
"""
import os
import socket
import sys
import threading

held = {}
forked = []


def end(text):
    host, port = text.rsplit(":", 1)
    return host.strip("[]"), int(port)


def new(host):
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.settimeout(10)
    return made


def listen(name, address, *options):
    made = new(end(address)[0])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    uid, serves = None, False
    for option in options:
        word, _, value = option.partition("=")
        if word == "reuseport":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        elif word == "transparent":
            of_ipv6 = made.family == socket.AF_INET6
            made.setsockopt(*((socket.IPPROTO_IPV6, 75) if of_ipv6 else (socket.SOL_IP, 19)), 1)  # *_TRANSPARENT
        elif word == "device":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, value.encode())
        elif word == "uid":
            uid = int(value)
        elif word == "serve":
            serves = True
        else:
            raise ValueError("unknown option")
    made.bind(end(address))
    made.listen(64)
    # Only sockets of one user may share a port.
    if uid is not None:
        os.fchown(made.fileno(), uid, -1)
    if serves:
        made.settimeout(None)
        threading.Thread(target=serve, args=[made], daemon=True).start()
    held.setdefault(name, []).append(made)


def serve(made):
    while True:
        made.accept()[0].close()


def connect(name, address, count, source=None):
    for _ in range(int(count)):
        made = new(end(address)[0])
        if source:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            made.bind(end(source))
        made.connect(end(address))
        held.setdefault(name, []).append(made)


def fork(uid=None):
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(theirs)
        if uid:
            os.setuid(int(uid))
        os.read(ours, 1)
        os._exit(0)
    os.close(ours)
    os.set_inheritable(theirs, False)
    forked.append(theirs)
    return pid


def obey(command, *words):
    if command == "listen":
        listen(*words)
    elif command == "accept":
        held.setdefault(words[0], []).extend(held[words[1]][0].accept()[0] for _ in range(int(words[2])))
    elif command == "connect":
        connect(*words)
    elif command == "end":
        for one in held[words[0]]:
            one.shutdown(socket.SHUT_RD)
    elif command == "close":
        for one in held.pop(words[0]):
            one.close()
    elif command == "fork":
        return fork(*words)
    else:
        raise ValueError("unknown command")
    return ""


for line in sys.stdin:
    try:
        answer = f"ok {obey(*line.split())}"
    except Exception as why:
        answer = f"error {why}"
    print(answer.rstrip(), flush=True)
