#!/usr/bin/env bash
# A web server with worker_connections 64 is full with 64 clients; the next one is refused or waits.
# Seen: it is never full as long as anybody is idle. nginx takes the new one and closes the keep-alive connection that has
# been idle longest (once a sixteenth of the slots is left, "reusing connections" in the log at warn), whoever's it is and
# long before keepalive_timeout. So a client that leaks fills nothing: the pools of all the others get CLOSE_WAITs. Of 100
# clients that were answered once, 100 got their answer, and some 60 still have a connection.
# nginx 1.22.1-9+deb12u11, iproute2 6.1.0-3 (Debian 12), requests 2.34.2 with urllib3 2.8.0 (PyPI)
DEBIAN="nginx=1.22.1-9+deb12u11"
PYPI="requests==2.34.2 urllib3==2.8.0"
. "$(dirname "$0")/lib.sh"
cat >/tmp/n.conf <<'C'
daemon off; pid /tmp/n.pid; error_log /tmp/error.log warn; worker_processes 1;
events { worker_connections 64; }
http { access_log off; keepalive_timeout 1h; server { listen 127.0.0.1:8080; location / { return 200 ok; } } }
C
nginx -c /tmp/n.conf &
listens 8080
cat >others.py <<'P'
import socket, subprocess, sys, time, requests
def states():
    text = subprocess.run(["ss", "-Htan", "dport = :8080"], capture_output=True, text=True).stdout
    return text.count("ESTAB"), text.count("CLOSE-WAIT")
innocent = [requests.Session() for _ in range(10)]
for one in innocent:
    one.get("http://127.0.0.1:8080/")
time.sleep(0.5)
print(*states())
kept, answered = [], 0
for _ in range(100):
    one = socket.create_connection(("127.0.0.1", 8080))
    one.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    answered += one.recv(500).startswith(b"HTTP/1.1 200")
    kept.append(one)
time.sleep(0.5)
established, closed = states()
ports = {one.getsockname()[1] for one in kept}
lines = subprocess.run(["ss", "-Htan", "state", "close-wait", "dport = :8080"], capture_output=True, text=True).stdout.splitlines()
others = [line for line in lines if int(line.split()[2].rsplit(":", 1)[1]) not in ports]
print(answered, "about 60" if 50 <= established <= 63 else established, len(others))
P
venv/bin/python others.py >told
seen "ten sessions: ESTABLISHED, CLOSE-WAIT" "10 0" "$(sed -n 1p told)"
seen "a hundred more: answered, ESTABLISHED in all, sessions in CLOSE-WAIT" "100 about 60 10" "$(sed -n 2p told)"
seen "its log" 1 "$(grep -q 'worker_connections are not enough, reusing connections' /tmp/error.log && echo 1)"
done_
