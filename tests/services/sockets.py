"""What the kernel says of the sockets of this namespace: rows of ss, and options read from a copy of a descriptor."""
import ctypes
import os
import socket
import struct
from collections import Counter

import lab

PIDFD_OPEN, PIDFD_GETFD = 434, 438
SO_PROTOCOL, MPTCP, LIBC = 38, 262, ctypes.CDLL(None, use_errno=True)
SHORT = {"ESTAB": "ESTABLISHED", "LISTEN": "LISTEN"}


class Row:
    def __init__(self, line):
        self.line = line
        fields = line.split()
        self.state, self.receive, self.send = fields[0], int(fields[1]), int(fields[2])
        self.local, self.peer = fields[3], fields[4]
        self.local_port, self.peer_port = int(self.local.rsplit(":", 1)[1]), self.peer.rsplit(":", 1)[1]
        self.state = SHORT.get(self.state, self.state.replace("-", "_"))

    def number(self, name):
        for word in self.line.split():
            if word.startswith(name + ":"):
                return int(word[len(name) + 1:])
        return 0


def rows(filter_, options="-Htani"):
    text = lab.sh(f"ss {options} '{filter_}'").replace("\n\t", " ")
    return [Row(line) for line in text.splitlines() if line.strip()]


def server_side(port):
    return [row for row in rows(f"sport = :{port}") if row.state != "LISTEN"]


def client_side(port):
    return rows(f"dport = :{port}")


def listeners(port):
    return [row for row in rows(f"sport = :{port}") if row.state == "LISTEN"]


def states(found):
    """Counts in words: 3 FIN_WAIT_2, 1 TIME_WAIT."""
    counts = Counter(row.state for row in found)
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "none"


def processes():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def copies(wanted):
    """(pid, descriptor's number, a copy of the socket) for each TCP socket that wanted(socket) picks."""
    found = []
    for pid in processes():
        if pid == os.getpid():
            continue
        pidfd = LIBC.syscall(PIDFD_OPEN, pid, 0)
        if pidfd < 0:
            continue
        try:
            for number in os.listdir(f"/proc/{pid}/fd"):
                if not os.readlink(f"/proc/{pid}/fd/{number}").startswith("socket:"):
                    continue
                copy = LIBC.syscall(PIDFD_GETFD, pidfd, int(number), 0)
                if copy < 0:
                    continue
                one = socket.socket(fileno=copy)
                if one.family in (socket.AF_INET, socket.AF_INET6) and one.type == socket.SOCK_STREAM and wanted(one):
                    found.append((pid, int(number), one))
                else:
                    one.close()
        except OSError:
            pass
        finally:
            os.close(pidfd)
    return found


def is_listener_of(port):
    return lambda one: one.getsockname()[1] == port and one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)


def is_accepted_at(port):
    return lambda one: one.getsockname()[1] == port and not one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)


def is_client_of(port):
    def wanted(one):
        try:
            return one.getpeername()[1] == port
        except OSError:
            return False
    return wanted


def keepalive(wanted):
    """Of the first socket that is picked, in words."""
    found = copies(wanted)
    if not found:
        return "not seen"
    told = set()
    for _, _, one in found:
        tcp = [one.getsockopt(socket.IPPROTO_TCP, option) for option in (4, 5, 6)]
        user_timeout = one.getsockopt(socket.IPPROTO_TCP, 18)
        linger = struct.unpack("ii", one.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8))
        words = "off"
        if one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE):
            words = "kernel's (7200 s, then 9 each 75 s)" if tcp == [7200, 75, 9] else f"after {tcp[0]} s, then {tcp[2]} each {tcp[1]} s"
        if user_timeout:
            words += f", TCP_USER_TIMEOUT {user_timeout / 1000:g} s"
        if linger[0]:
            words += f", SO_LINGER {linger[1]}"
        told.add(words)
        one.close()
    return " / ".join(sorted(told))


def listener_kind(port):
    """Backlog and kind of what listens on the port, in words."""
    backlog = sorted({row.send for row in listeners(port)})
    sockets = len(listeners(port))
    found = copies(is_listener_of(port))
    holders = {pid for pid, _, _ in found}
    words = []
    if any(one.getsockopt(socket.SOL_SOCKET, SO_PROTOCOL) == MPTCP for _, _, one in found):
        words.append("MPTCP")
    if any(one.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) for _, _, one in found):
        words.append("SO_REUSEPORT")
    if sockets > 1:
        words.append(f"{sockets} sockets")
    words.append("one process" if len(holders) == 1 else f"inherited by {len(holders)} processes")
    for _, _, one in found:
        one.close()
    return ", ".join(map(str, backlog)) or "?", ", ".join(words)
