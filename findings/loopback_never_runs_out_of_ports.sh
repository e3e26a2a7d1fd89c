#!/usr/bin/env bash
# A client that opens and closes a connection for each request runs out of ephemeral ports after (ports / 60 s)
# connections a second, as each rests in TIME_WAIT for a minute; a test on one machine shows it.
# Seen: on loopback it doesn't. net.ipv4.tcp_tw_reuse is 2 by default: ports in TIME_WAIT for over a second
# (tcp_tw_reuse_delay) are taken again for 127.0.0.1, and only there. With ten ports, forty connections in six seconds all
# work there; over a veth the eleventh fails with EADDRNOTAVAIL, and so it does towards an address of the own machine
# that isn't in 127.0.0.0/8, though it goes over lo as well.
# iproute2 6.1.0-3 (Debian 12), Python 3.11, Linux 6.18 (tcp_tw_reuse 2)
DEBIAN="iproute2=6.1.0-3"
. "$(dirname "$0")/lib.sh"
echo 40000 40009 >/proc/sys/net/ipv4/ip_local_port_range
seen "net.ipv4.tcp_tw_reuse" 2 "$(cat /proc/sys/net/ipv4/tcp_tw_reuse)"
unshare -n sleep 300 &
other=$!
sleep 0.5
ip link add va type veth peer name vb netns $other
ip addr add 192.0.2.1/24 dev va
ip link set va up
ip addr add 192.0.2.9/32 dev lo
nsenter -t $other -n sh -c 'ip addr add 192.0.2.2/24 dev vb; ip link set vb up'
cat >server.py <<'P'
import socket, sys
listener = socket.create_server((sys.argv[1], 8000))
while True:
    one, _ = listener.accept()
    one.recv(1)
    one.close()
P
python3 server.py 127.0.0.1 &
python3 server.py 192.0.2.9 &
nsenter -t $other -n python3 server.py 192.0.2.2 &
cat >client.py <<'P'
import errno, socket, sys, time
count = 0
try:
    while count < 40:
        one = socket.create_connection((sys.argv[1], 8000))
        one.shutdown(socket.SHUT_WR)  # the client ends first: TIME_WAIT is its
        one.recv(1)
        one.close()
        count += 1
        time.sleep(0.15)
    print(count, "connections")
except OSError as why:
    print(count, "connections, then", errno.errorcode[why.errno])
P
sleep 2
seen "127.0.0.1" "40 connections" "$(python3 client.py 127.0.0.1)"
seen "another namespace" "10 connections, then EADDRNOTAVAIL" "$(python3 client.py 192.0.2.2)"
seen "an own address outside of 127.0.0.0/8" "10 connections, then EADDRNOTAVAIL" "$(python3 client.py 192.0.2.9)"
done_
