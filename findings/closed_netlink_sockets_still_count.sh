#!/usr/bin/env bash
# "sockets: used" of /proc/net/sockstat (Total of `ss -s`, node_sockstat_sockets_used) is the number of open sockets.
# Seen: a closed netlink socket is taken off /proc/net/protocols at once, but counts as used until every processor has
# passed a grace period, tens of milliseconds later: 300 that are all closed are 300 "used" and 0 listed, and a second
# later 0. TCP, UNIX and packet sockets are off both at once. Tools that look by netlink see the ghosts of their
# own last look: used minus listed is no number of unbound sockets right after one.
# iproute2 6.1.0-3 (Debian 12), Python 3.11, Linux 6.18
DEBIAN="iproute2=6.1.0-3"
. "$(dirname "$0")/lib.sh"
cat >count.py <<'P'
import socket, time
KINDS = {
    "netlink": (socket.AF_NETLINK, socket.SOCK_RAW, 4),
    "tcp": (socket.AF_INET, socket.SOCK_STREAM),
    "unix": (socket.AF_UNIX, socket.SOCK_STREAM),
    "packet": (socket.AF_PACKET, socket.SOCK_RAW),
}
def counts():
    with open("/proc/net/sockstat") as used, open("/proc/net/protocols") as listed:
        return int(used.readline().split()[2]), sum(max(0, int(line.split()[2])) for line in listed.readlines()[1:])
for name, kind in KINDS.items():
    all = [socket.socket(*kind) for _ in range(300)]
    for one in all:
        one.close()
    at_once = counts()
    time.sleep(1)
    print(name, at_once, counts())
P
seen "used and listed of 300 that were closed, at once and a second later" \
    "netlink (300, 0) (0, 0) tcp (0, 0) (0, 0) unix (0, 0) (0, 0) packet (0, 0) (0, 0)" \
    "$(unshare -n sh -c 'ip link set lo up; python3 count.py' | paste -sd ' ')"
done_
