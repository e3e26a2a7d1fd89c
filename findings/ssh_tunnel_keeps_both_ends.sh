#!/usr/bin/env bash
# A server closes, its client forgets to: the client has a CLOSE_WAIT, the server's FIN_WAIT2 ends after a minute.
# Seen with `ssh -L` between the two: one forgotten descriptor is four rows. sshd has a CLOSE-WAIT towards the server
# (and is the "leaking" process there, on a host where the application isn't), ssh has a FIN-WAIT-2 towards the
# client - with an owner, so net.ipv4.tcp_fin_timeout doesn't apply: it stays without end. Only the server's own
# row ends after 60 s. When the client closes at last, all of them go at once.
# openssh-server and openssh-client 1:9.2p1-2+deb12u10, iproute2 6.1.0-3 (Debian 12), Linux 6.18
V=1:9.2p1-2+deb12u10
DEBIAN="openssh-server=$V openssh-client=$V openssh-sftp-server=$V"
. "$(dirname "$0")/lib.sh"
install -d /run/sshd
ssh-keygen -q -t ed25519 -N '' -f /tmp/key
install -m 600 /tmp/key.pub /tmp/authorized
/usr/sbin/sshd -D -o ListenAddress=127.0.0.1 -o PermitRootLogin=yes -o AuthorizedKeysFile=/tmp/authorized -o StrictModes=no 2>/dev/null &
listens 22
ssh -F none -i /tmp/key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -N \
    -L 127.0.0.1:7000:127.0.0.1:8000 root@127.0.0.1 &
listens 7000
cat >leak.py <<'P'
import re, socket, subprocess, time
def rows():
    text = subprocess.run(["ss", "-Htanp", "( sport = :8000 or dport = :8000 or sport = :7000 or dport = :7000 )"],
                          capture_output=True, text=True, check=True).stdout
    found = [re.search(r'^(\S+).*?(?:"([^"]+)"|$)', line).groups() for line in text.splitlines()]
    return "; ".join(sorted(f"{owner or 'nobody'} {state}" for state, owner in found if state not in ("LISTEN", "TIME-WAIT")))
listener = socket.create_server(("127.0.0.1", 8000))
client = socket.create_connection(("127.0.0.1", 7000))
server, _ = listener.accept()
client.sendall(b"a"); server.recv(1); server.sendall(b"b"); client.recv(1)
server.close(); time.sleep(1); print(rows())
time.sleep(64); print(rows())
client.close(); time.sleep(1); print(rows() or "none")
P
python3 leak.py >told
seen "a second after the server's close()" "nobody FIN-WAIT-2; python3 CLOSE-WAIT; ssh FIN-WAIT-2; sshd CLOSE-WAIT" "$(sed -n 1p told)"
seen "65 s after it" "python3 CLOSE-WAIT; ssh FIN-WAIT-2; sshd CLOSE-WAIT" "$(sed -n 2p told)"
seen "after the client's close()" none "$(sed -n 3p told)"
done_
