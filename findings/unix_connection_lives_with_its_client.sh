#!/usr/bin/env bash
# Redis on the host has a UNIX socket that is mounted into containers. Redis accepts the connections, its process holds their descriptors, so
# `ss -x`, lsof and psutil on the host show ten connections of ten clients.
# Seen: clients in the host's network namespace are listed at both ends. Of clients in one of their own, as every container has, the
# host's tables have neither end: Redis counts ten clients and has ten descriptors more, ss and psutil list the listener alone, and of
# the ten lsof says "protocol: UNIX-STREAM" without a path. The kernel makes the accepted socket when the client connects, in the
# client's namespace: in there ss lists those of Redis too, with the path of the host's file. A UNIX
# socket's file belongs to the mount namespace, its connections to the network namespace of who connected.
# redis-server 5:7.0.15-1~deb12u10, iproute2 6.1.0-3, lsof 4.95.0-1 (Debian 12), redis 8.1.0 and psutil 7.2.2 (PyPI), Linux 6.18
DEBIAN="redis-server=5:7.0.15-1~deb12u10 redis-tools=5:7.0.15-1~deb12u10 iproute2=6.1.0-3 lsof=4.95.0-1"
PYPI="redis==8.1.0 psutil==7.2.2"
. "$(dirname "$0")/lib.sh"
redis-server --port 0 --unixsocket /mnt/redis.sock --save '' --dir /mnt >/dev/null &
server=$!
until_ 20 redis-cli -s /mnt/redis.sock ping
cat >clients.py <<'P'
import redis, time
kept = [redis.Redis(unix_socket_path="/mnt/redis.sock") for _ in range(10)]
for one in kept:
    one.ping()
time.sleep(600)
P
clients() { redis-cli -s /mnt/redis.sock info clients | tr -d '\r' | sed -n 's/^connected_clients://p'; }
connections() { "$@" ss -Hxa state established | grep -c ' /mnt/redis.sock ' || true; }
by_lsof() { lsof -a -p "$server" 2>/dev/null | grep -c "$1" || true; }
by_psutil() { venv/bin/python -c "
import psutil
print(sum(c.laddr == '/mnt/redis.sock' for c in psutil.Process($server).net_connections('unix')) - 1)"; }
descriptors() { find "/proc/$server/fd" -lname 'socket:*' | wc -l; }
look() { # NAME SS LSOF PSUTIL COMMAND...
    local name=$1 ss=$2 lsof=$3 psutil=$4 before program
    shift 4
    before=$(descriptors)
    "$@" venv/bin/python clients.py &
    program=$!
    until_ 20 bash -c "[[ \$(redis-cli -s /mnt/redis.sock info clients | tr -d '\r' | sed -n 's/^connected_clients://p') == 11 ]]"
    # Less redis-cli's own.
    seen "$name: clients that Redis counts" 10 "$(($(clients) - 1))"
    seen "$name: descriptors of Redis more than before" 10 "$(($(descriptors) - before))"
    seen "$name: connections of Redis by ss -x on the host" "$ss" "$(connections)"
    seen "$name: by lsof of its process" "$lsof" "$(by_lsof '/mnt/redis.sock.*CONNECTED')"
    seen "$name: 'protocol: UNIX-STREAM' by lsof" "$((10 - lsof))" "$(by_lsof 'protocol: UNIX-STREAM')"
    seen "$name: by psutil of its process, beside the listener" "$psutil" "$(by_psutil)"
    [[ -z ${1:-} ]] || seen "$name: by ss -x in there" 10 "$(connections nsenter -n -t "$program")"
    kill $program
    wait $program 2>/dev/null || true
    until_ 20 bash -c "[[ \$(redis-cli -s /mnt/redis.sock info clients | tr -d '\r' | sed -n 's/^connected_clients://p') == 1 ]]"
}
look "clients on the host" 10 10 10
look "clients in a network namespace of their own" 0 0 0 unshare -n
done_
