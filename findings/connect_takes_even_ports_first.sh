#!/usr/bin/env bash
# Ephemeral ports are picked at random from net.ipv4.ip_local_port_range.
# Seen: connect() takes the range's even half only, as long as one of it is free; the 101st of a range of 200 is the
# first odd one. bind(port 0) followed by connect(), as clients with a source address do, takes the odd half first. So
# a graph of ports in use that stands at 50 % is full for whom the other half isn't meant to be, and two programs of the
# two kinds hardly ever meet. The parity is the range's first port's: with 40001 it is the other way round.
# iproute2 6.1.0-3 (Debian 12), Python 3.11, Linux 6.18
DEBIAN="iproute2=6.1.0-3"
. "$(dirname "$0")/lib.sh"
cat >count.py <<'P'
import socket, sys
low, bound = int(sys.argv[1]), sys.argv[2:] == ["bound"]
with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as file:
    file.write(f"{low} {low + 199}")
listener = socket.create_server(("127.0.0.1", 8000), backlog=1000)
kept = [socket.create_connection(("127.0.0.1", 8000), source_address=("127.0.0.1", 0) if bound else None) for _ in range(150)]
odd = [one.getsockname()[1] % 2 for one in kept]
print(sum(odd[:100]), "of the first 100 are odd,", sum(odd[100:]), "of the next 50")
P
for round in "40000:0 of the first 100 are odd, 50 of the next 50" "40001:100 of the first 100 are odd, 0 of the next 50"; do
    seen "connect(), range from ${round%%:*}" "${round#*:}" "$(unshare -n sh -c "ip link set lo up; python3 count.py ${round%%:*}")"
done
seen "bind(0) and connect(), range from 40000" "100 of the first 100 are odd, 0 of the next 50" "$(unshare -n sh -c "ip link set lo up; python3 count.py 40000 bound")"
done_
