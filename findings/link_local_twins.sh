#!/usr/bin/env bash
# Two addresses and two ports are one connection.
# Seen with IPv6 link-local addresses on a machine with two links: fe80::1 port 40000 to fe80::2 port 8000 can exist once
# on each, to two different hosts. ss tells them apart ([fe80::1]%e1), /proc/net/tcp6 has no scope: lsof and psutil show two rows
# that are equal but for the descriptor. In TIME_WAIT there is none: ss lists two, psutil, which keeps rows in a set,
# one. A tool that drops doubles by addresses and ports loses a connection.
# psutil 7.2.2 (PyPI), iproute2 6.1.0-3 and lsof 4.95.0-1 (Debian 12), Linux 6.18
DEBIAN="iproute2=6.1.0-3 lsof=4.95.0-1"
PYPI="psutil==7.2.2"
. "$(dirname "$0")/lib.sh"
cat >server.py <<'P'
import socket, sys
listener = socket.socket(socket.AF_INET6)
listener.bind(("fe80::2", 8000, 0, socket.if_nametoindex(sys.argv[1])))
listener.listen()
one, _ = listener.accept()
one.recv(1)  # the client ends first
P
for n in 1 2; do
    unshare -n sleep 300 &
    host=$!
    sleep 0.5
    ip link add e$n type veth peer name f$n netns $host
    ip link set e$n addrgenmode none
    ip link set e$n up
    ip addr add fe80::1/64 dev e$n nodad
    nsenter -t $host -n sh -c "ip link set f$n addrgenmode none; ip link set f$n up; ip addr add fe80::2/64 dev f$n nodad"
    nsenter -t $host -n python3 server.py f$n &
done
sleep 2
cat >client.py <<'P'
import socket, subprocess, time, psutil
def sh(command):
    return subprocess.run(command, shell=True, capture_output=True, text=True).stdout.split("\n")[:-1]
def ours():
    return [row for row in psutil.net_connections("tcp6") if row.raddr]
kept = []
for name in ("e1", "e2"):
    one = socket.socket(socket.AF_INET6)
    index = socket.if_nametoindex(name)
    one.bind(("fe80::1", 40000, 0, index))
    one.connect(("fe80::2", 8000, 0, index))
    kept.append(one)
print("ss", len({row.split()[3] for row in sh("ss -Htan 'dport = :8000'")}), "different of", len(sh("ss -Htan 'dport = :8000'")))
found = [row.split()[-2] for row in sh("lsof -nP -iTCP:8000 -sTCP:ESTABLISHED | tail -n +2")]
print("lsof", len(set(found)), "different of", len(found))
print("psutil", len({(row.laddr, row.raddr) for row in ours()}), "different of", len(ours()))
for one in kept:
    one.close()
time.sleep(1)
print("TIME_WAIT: ss", len(sh("ss -Htan state time-wait 'dport = :8000'")), "psutil", len(ours()))
P
venv/bin/python client.py >told
seen ss "ss 2 different of 2" "$(sed -n 1p told)"
seen lsof "lsof 1 different of 2" "$(sed -n 2p told)"
seen psutil "psutil 1 different of 2" "$(sed -n 3p told)"
seen "after the end" "TIME_WAIT: ss 2 psutil 1" "$(sed -n 4p told)"
done_
