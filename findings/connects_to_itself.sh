#!/usr/bin/env bash
# While a service is down its clients get ECONNREFUSED, and it can be started again at any time.
# Seen where its port lies in net.ipv4.ip_local_port_range (32768 and up: MySQL's X protocol 33060, CouchDB's old cluster
# ports, many in-house ones): now and then connect() picks the very port it calls as its own, and TCP connects to itself:
# ESTABLISHED without any server, local and peer address the same, one row that is at once the client's and the
# server's. What is written comes back: redis-py reads its own command as the reply. And as long as it is there the service
# can't be started: "Address already in use", nor for a minute after the client has gone: the TIME_WAIT is one of a socket without
# SO_REUSEADDR, so the server's own doesn't help. A narrow range makes it certain here.
# redis 8.1.0 (PyPI), redis-server 5:7.0.15-1~deb12u10 and iproute2 6.1.0-3 (Debian 12), Linux 6.18
DEBIAN="redis-server=5:7.0.15-1~deb12u10 redis-tools=5:7.0.15-1~deb12u10"
PYPI="redis==8.1.0"
. "$(dirname "$0")/lib.sh"
echo 40000 40001 >/proc/sys/net/ipv4/ip_local_port_range
cat >client.py <<'P'
import socket, subprocess, sys, redis
connection = redis.Connection(host="127.0.0.1", port=40000, socket_timeout=3, protocol=2, lib_name=None, lib_version=None)
for _ in range(20):  # as a program does that waits for its server
    try:
        connection.connect()
        break
    except redis.exceptions.ConnectionError:
        pass
connection.send_command("PING")
print(connection.read_response())
print(subprocess.run(["ss", "-Htan", "( sport = :40000 or dport = :40000 )"], capture_output=True, text=True).stdout.split())
sys.stdout.flush()
sys.stdin.read()
P
start() { (timeout 3 redis-server --bind 127.0.0.1 --port 40000 --save '' --dir /tmp || true) | grep -o 'Address already in use\|Ready to accept' | head -1; }
(sleep 8; true) | venv/bin/python -W ignore client.py >told &
until_ 7 grep -q ESTAB told
seen "the answer to PING" "[b'PING']" "$(sed -n 1p told)"
seen "the tables" "['ESTAB', '0', '0', '127.0.0.1:40000', '127.0.0.1:40000']" "$(sed -n 2p told)"
seen "the server's start" "Address already in use" "$(start)"
wait
seen "and when the client has gone" "Address already in use" "$(start)"
sleep 62
seen "a minute later" "Ready to accept" "$(start)"
done_
