#!/usr/bin/env bash
# RabbitMQ ends a connection as other servers do: FIN, then the client has a CLOSE_WAIT until it closes too.
# Seen: its listener has SO_LINGER 0 (tcp_listen_options.linger, {true,0}), so whenever the server closes first it resets: a missed
# heartbeat, a client that doesn't log in, a stop of the node. No CLOSE_WAIT and no FIN_WAIT2 come of it, nothing is left in the
# tables a moment later, and a leaked connection in a client has no row at all after a restart of the broker, only a
# descriptor with ECONNRESET. The orderly end (connection.close, close-ok) is one too: the server is the one that
# closes, and has no TIME_WAIT. What it wrote last is lost for a client that hasn't read yet.
# rabbitmq-server 3.10.8-1.1+deb12u1 and iproute2 6.1.0-3 (Debian 12), Linux 6.18
DEBIAN="rabbitmq-server=3.10.8-1.1+deb12u1"
. "$(dirname "$0")/lib.sh"
hostname a
grep -q ' a$' /etc/hosts || echo '127.0.0.1 a' >>/etc/hosts
install -d -o rabbitmq /run/rabbitmq
setpriv --reuid rabbitmq --regid rabbitmq --init-groups env HOME=/var/lib/rabbitmq RABBITMQ_NODENAME=r@localhost ERL_EPMD_ADDRESS=127.0.0.1 \
    prlimit --nofile=1024 /usr/lib/rabbitmq/bin/rabbitmq-server >/mnt/rabbit.log 2>&1 &
listens 5672
cat >ends.py <<'P'
import os, signal, socket, struct, subprocess, sys, time
def read(one, size):
    data = b""
    while len(data) < size:
        part = one.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data
def frame(one):
    while True:
        kind, _, size = struct.unpack("!BHI", read(one, 7))
        body = read(one, size + 1)
        if kind == 1:
            return body
def send(one, body):
    one.sendall(struct.pack("!BHI", 1, 0, len(body)) + body + b"\xce")
def login(heartbeat):
    one = socket.create_connection(("127.0.0.1", 5672))
    one.sendall(b"AMQP\0\0\x09\x01")
    frame(one)
    words = b"\0guest\0guest"
    send(one, struct.pack("!HHI", 10, 11, 0) + b"\5PLAIN" + struct.pack("!I", len(words)) + words + b"\5en_US")
    frame(one)
    send(one, struct.pack("!HHHIH", 10, 31, 2047, 131072, heartbeat))
    send(one, struct.pack("!HH", 10, 40) + b"\1/\0\0")
    frame(one)
    return one
def tell(one):
    """How it ends, and what the tables have then."""
    one.settimeout(30)
    try:
        while one.recv(1000):
            pass
        how = "FIN"
    except ConnectionResetError:
        how = "reset"
    except TimeoutError:
        how = "nothing"
    time.sleep(0.5)
    rows = subprocess.run(["ss", "-Htan", f"( sport = :{one.getsockname()[1]} or dport = :{one.getsockname()[1]} )"], capture_output=True, text=True)
    print(how + ",", len(rows.stdout.splitlines()), "rows", flush=True)
tell(socket.create_connection(("127.0.0.1", 5672)))
tell(login(2))
one = login(0)
send(one, struct.pack("!HHH", 10, 50, 200) + b"\0" + struct.pack("!HH", 0, 0))
frame(one)
tell(one)
one = login(0)
subprocess.run("ps -eo pid,comm | awk '$2 == \"beam.smp\" { print $1 }' | xargs kill", shell=True, check=True)
tell(one)
P
# The port listens before users may log in.
until_ 60 grep -q 'completed with' /mnt/rabbit.log || true
sleep 2
python3 ends.py >told
seen "no login within 10 s" "reset, 0 rows" "$(sed -n 1p told)"
seen "heartbeat of 2 s missed" "reset, 0 rows" "$(sed -n 2p told)"
seen "connection.close, after close-ok" "reset, 0 rows" "$(sed -n 3p told)"
seen "the node is stopped" "reset, 0 rows" "$(sed -n 4p told)"
done_
