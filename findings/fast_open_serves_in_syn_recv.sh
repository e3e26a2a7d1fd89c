#!/usr/bin/env bash
# SYN-RECV is a handshake under way: no process has it, no data, it ends within a minute or becomes ESTABLISHED.
# Seen with TCP Fast Open (nginx: listen ... fastopen=16, curl --tcp-fastopen) when the client's plain ACKs get lost, as at a client that
# goes away: nginx has accepted the connection, answered the request (the client printed it) and logged it, and all the time the row is
# SYN-RECV - with an owner, an inode and the answer in Send-Q. psutil and lsof agree. So a half-open count can hold
# connections of a process, and what ESTABLISHED counts misses a request that was served.
# nginx 1.22.1-9+deb12u11, curl 7.88.1-10+deb12u15, nftables 1.0.6-2+deb12u2, iproute2 6.1.0-3, lsof 4.95.0-1 (Debian 12), psutil 7.2.2 (PyPI), Linux 6.18
DEBIAN="nginx=1.22.1-9+deb12u11 curl=7.88.1-10+deb12u15 nftables=1.0.6-2+deb12u2 lsof=4.95.0-1 iproute2=6.1.0-3"
PYPI="psutil==7.2.2"
. "$(dirname "$0")/lib.sh"
echo 3 >/proc/sys/net/ipv4/tcp_fastopen
cat >/tmp/n.conf <<'C'
daemon off; pid /tmp/n.pid; error_log /tmp/error.log warn; worker_processes 1;
events {}
http { log_format short $status; access_log /tmp/access.log short; server { listen 127.0.0.1:8080 fastopen=16; location / { return 200 ok; } } }
C
nginx -c /tmp/n.conf &
listens 8080
curl --tcp-fastopen -s http://127.0.0.1:8080/ >/dev/null # gets the cookie
nft add table t
nft 'add chain t i { type filter hook input priority 0; }'
nft 'add rule t i tcp dport 8080 tcp flags & (syn|ack|rst) == ack drop'
seen "what the client printed" ok "$(curl --tcp-fastopen -s -m 10 http://127.0.0.1:8080/)"
sleep 1
row=$(ss -Htanpe state syn-recv 'sport = :8080')
seen "rows in SYN-RECV" 1 "$(grep -c . <<<"$row")"
seen "its owner" nginx "$(grep -o '"[a-z]*"' <<<"$row" | tr -d '"')"
seen "it has an inode" 1 "$(grep -c 'ino:[1-9]' <<<"$row")"
seen "bytes of the answer in Send-Q" "more than 100" "$(awk '{ print ($2 > 100 ? "more than 100" : $2) }' <<<"$row")"
seen "lsof" "nginx (SYN_RECV)" "$(lsof -nP -iTCP:8080 -sTCP:SYN_RECV | awk 'NR > 1 { print $1, $NF }')"
seen "psutil" "SYN_RECV with pid" "$(venv/bin/python -c 'import psutil
for row in psutil.net_connections("tcp"):
    if row.laddr.port == 8080 and row.raddr:
        print(row.status, "with pid" if row.pid else "without")')"
seen "nginx's log" "200 200" "$(paste -sd' ' /tmp/access.log)"
done_
