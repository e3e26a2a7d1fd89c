#!/usr/bin/env bash
# A TCP relay hands on what it gets: the server's FIN reaches the client, and what the client forgets to close is the
# client's affair.
# Seen, 0.3 s, 2 s and 25 s after the server's close(), rows that the relay itself has: HAProxy in TCP mode keeps a
# CLOSE-WAIT and a FIN-WAIT-2 until its "timeout server" (20 s here; a real one is often an hour for databases) is
# over, socat for half a second (its -t), nginx's stream module, xinetd's redirect and redir never: they take a FIN of one side
# as the end of both. A client that half-closes to send the rest gets its answer through the first two only.
# haproxy 2.6.12-1+deb12u4, socat 1.7.4.4-2, nginx 1.22.1-9+deb12u11 with libnginx-mod-stream, xinetd 1:2.3.15.3-1+b1, redir 3.3-1 (Debian 12)
V=1.22.1-9+deb12u11
DEBIAN="haproxy=2.6.12-1+deb12u4 nginx=$V libnginx-mod-stream=$V socat=1.7.4.4-2 xinetd=1:2.3.15.3-1+b1 redir=3.3-1"
. "$(dirname "$0")/lib.sh"
cat >/tmp/h.cfg <<'C'
defaults
    mode tcp
    timeout connect 5s
    timeout client 20s
    timeout server 20s
listen a
    bind 127.0.0.1:7001
    server s 127.0.0.1:8000
C
haproxy -f /tmp/h.cfg -db 2>/dev/null &
socat TCP-LISTEN:7002,bind=127.0.0.1,fork,reuseaddr TCP:127.0.0.1:8000 &
cat >/tmp/n.conf <<'C'
daemon off; pid /tmp/n.pid; error_log stderr crit;
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
events {}
stream { server { listen 127.0.0.1:7003; proxy_pass 127.0.0.1:8000; } }
C
nginx -c /tmp/n.conf &
cat >/tmp/x.conf <<'C'
service r
{
    type = UNLISTED
    socket_type = stream
    protocol = tcp
    wait = no
    user = root
    bind = 127.0.0.1
    port = 7004
    redirect = 127.0.0.1 8000
}
C
xinetd -dontfork -f /tmp/x.conf 2>/dev/null &
redir -n 127.0.0.1:7005 127.0.0.1:8000 2>/dev/null &
for port in 7001 7002 7003 7004 7005; do listens $port; done
cat >ask.py <<'P'
import re, socket, subprocess, time
NAMES = {7001: "haproxy", 7002: "socat", 7003: "nginx", 7004: "xinetd", 7005: "redir"}
listener = socket.create_server(("127.0.0.1", 8000))
def pair(port):
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(b"a")
    server, _ = listener.accept()
    server.recv(1); server.sendall(b"b"); client.recv(1)
    return client, server
def rows(name):
    text = subprocess.run(["ss", "-Htanp"], capture_output=True, text=True, check=True).stdout
    return "+".join(sorted(line.split()[0] for line in text.splitlines() if f'"{name}"' in line and not line.startswith("LISTEN"))) or "-"
kept, told = [], {}
for port in NAMES:
    client, server = pair(port)
    kept.append(client)
    server.close()
    time.sleep(0.3)
    told[port] = [rows(NAMES[port])]
for wait in (2, 23):
    time.sleep(wait)
    for port in NAMES:
        told[port].append(rows(NAMES[port]))
for one in kept:
    one.close()
for port, words in told.items():
    client, server = pair(port)
    client.shutdown(socket.SHUT_WR)
    time.sleep(0.2)
    try:
        server.sendall(b"rest")
        client.settimeout(1)
        rest = client.recv(10) == b"rest"
    except OSError:
        rest = False
    print(NAMES[port], *words, "rest comes" if rest else "no rest")
    client.close(); server.close()
P
python3 ask.py >told
seen HAProxy "haproxy CLOSE-WAIT+FIN-WAIT-2 CLOSE-WAIT+FIN-WAIT-2 - rest comes" "$(sed -n 1p told)"
seen socat "socat CLOSE-WAIT+FIN-WAIT-2 - - rest comes" "$(sed -n 2p told)"
seen nginx "nginx - - - no rest" "$(sed -n 3p told)"
seen xinetd "xinetd - - - no rest" "$(sed -n 4p told)"
seen redir "redir - - - no rest" "$(sed -n 5p told)"
done_
