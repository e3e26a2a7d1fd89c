#!/usr/bin/env bash
# A cache with -c 200 serves 200 clients, more threads serve them faster.
# Seen: each worker thread takes four of the 200 away, as do the listener and some more: 187 clients with one
# thread, 175 with the usual four, 63 with 32. Raising -t lowers the limit, and `stats settings` says 200 all the time.
# The next client is told "ERROR Too many open connections". Within 3 of these numbers is "as seen": the count is
# the workers', a client that has just been turned away may still be in it.
# memcached 1.6.18-1+deb12u1 (Debian 12)
DEBIAN="memcached=1.6.18-1+deb12u1"
. "$(dirname "$0")/lib.sh"
serve() { # THREADS: how many clients are served
    memcached -u memcache -l 127.0.0.1 -p 11211 -c 200 -t "$1" 2>/dev/null &
    local server=$!
    listens 11211
    python3 - <<'P'
import socket
kept = []
while True:
    one = socket.create_connection(("127.0.0.1", 11211))
    try:
        one.sendall(b"version\r\n")
        if not one.recv(100).startswith(b"VERSION"):
            break
    except OSError:
        break
    kept.append(one)
kept[0].sendall(b"stats settings\r\n")
assert b"maxconns 200\r\n" in kept[0].recv(8000)
print(len(kept))
P
    kill "$server"
    wait "$server" || true
    until_ 20 sh -c '! ss -Htln "sport = :11211" | grep -q .'
}
for pair in 1:187 4:175 16:127 32:63; do
    served=$(serve "${pair%:*}")
    off=$((served - ${pair#*:}))
    seen "${pair%:*} threads, clients served of 200, about" "${pair#*:}" "$((${off#-} <= 3 ? ${pair#*:} : served))"
done
done_
