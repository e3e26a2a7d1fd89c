#!/usr/bin/env bash
# A server that has no descriptor left: accept() fails, and the client waits in the backlog until one is free.
# Seen with 256 descriptors and clients that stay, by the first one that isn't served: slapd takes it and ends it
# without a word (FIN), Mosquitto takes it and resets it, etcd lets it wait, and that 151 descriptors before the end, as
# it keeps those for its files. Redis, which has maxclients 10000 by its file, has lowered it to 224 and answers with an error text.
# The tables show nothing of the first two, an ESTABLISHED without owner in the third; "connect works" says nothing in any.
# slapd 2.5.13+dfsg-5, mosquitto 2.0.11-1.2+deb12u2, etcd-server 3.4.23-4+b4, redis-server 5:7.0.15-1~deb12u10 (Debian 12)
DEBIAN="slapd=2.5.13+dfsg-5 mosquitto=2.0.11-1.2+deb12u2 etcd-server=3.4.23-4+b4 redis-server=5:7.0.15-1~deb12u10 redis-tools=5:7.0.15-1~deb12u10"
. "$(dirname "$0")/lib.sh"
cat >fill.py <<'P'
import socket, struct, sys
port, kind = int(sys.argv[1]), sys.argv[2]
def ask(one, number):
    if kind == "ldap":
        one.sendall(bytes.fromhex("300c020101600702010304008000"))
    elif kind == "mqtt":
        name = b"c%d" % number
        body = b"\0\4MQTT\4\2\0\0" + struct.pack("!H", len(name)) + name
        one.sendall(bytes([0x10, len(body)]) + body)
    elif kind == "http":
        one.sendall(b"GET /version HTTP/1.1\r\nHost: a\r\n\r\n")
    else:
        one.sendall(b"PING\r\n")
    return one.recv(500)
kept, told = [], "was served"
for number in range(400):
    one = socket.create_connection(("127.0.0.1", port))
    one.settimeout(4)
    try:
        answer = ask(one, number)
    except TimeoutError:
        told = "no answer"
        break
    except ConnectionError:
        told = "reset"
        break
    if not answer:
        told = "FIN"
        break
    if answer.startswith(b"-ERR"):
        told = answer[1:].decode().strip()
        break
    kept.append(one)
print(len(kept), "served, then", told)
P
install -d /tmp/ldap
printf 'include /etc/ldap/schema/core.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\ndatabase mdb\nsuffix o=a\ndirectory /tmp/ldap\n' >/tmp/slapd.conf
printf 'listener 1883 127.0.0.1\nallow_anonymous true\n' >/tmp/m.conf
few="prlimit --nofile=256:256"
$few slapd -f /tmp/slapd.conf -h ldap://127.0.0.1 -d 0 2>/dev/null &
$few mosquitto -c /tmp/m.conf 2>/dev/null &
$few etcd --data-dir /tmp/etcd >/dev/null 2>&1 &
setpriv --reuid redis --clear-groups $few redis-server --bind 127.0.0.1 --save '' --dir /tmp >/dev/null &
for port in 389 1883 2379 6379; do listens $port; done
sleep 2
seen slapd "243 served, then FIN" "$(python3 fill.py 389 ldap)"
seen Mosquitto "247 served, then reset" "$(python3 fill.py 1883 mqtt)"
seen etcd "105 served, then no answer" "$(python3 fill.py 2379 http)"
seen Redis "224 served, then ERR max number of clients reached" "$(python3 fill.py 6379 redis)"
done_
