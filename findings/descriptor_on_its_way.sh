#!/usr/bin/env bash
# A connection in the tables with an inode has a process that holds it, if one may look everywhere.
# Seen: a descriptor that was sent over a UNIX socket (as HAProxy, PgBouncer, systemd's store and Postfix's connection
# cache do) and closed by the sender belongs to nobody until it is received: ESTABLISHED with inode, no process in `ss -p`,
# lsof doesn't list it, psutil says pid None. When the peer closes it becomes a CLOSE_WAIT of nobody, and it stays as
# long as the message isn't read. It ends when the UNIX socket is closed: the only holder to be found is who has that.
# psutil 7.2.2 (PyPI), iproute2 6.1.0-3 and lsof 4.95.0-1 (Debian 12), Python 3.11, Linux 6.18
DEBIAN="iproute2=6.1.0-3 lsof=4.95.0-1"
PYPI="psutil==7.2.2"
. "$(dirname "$0")/lib.sh"
cat >send.py <<'P'
import os, socket, subprocess, time, psutil
listener = socket.create_server(("127.0.0.1", 8000))
here, there = socket.socketpair()
client = socket.create_connection(("127.0.0.1", 8000))
served, _ = listener.accept()
inode = os.fstat(served.fileno()).st_ino
socket.send_fds(here, [b"x"], [served.fileno()])
served.close()
def tell():
    row = subprocess.run(["ss", "-Htanpe", "sport = :8000"], capture_output=True, text=True).stdout.splitlines()
    row = [line for line in row if not line.startswith(("LISTEN", "FIN", "TIME"))]
    if not row:
        return print("none")
    listed = subprocess.run(["lsof", "-nP", "-iTCP:8000"], capture_output=True, text=True).stdout
    pids = [one.pid for one in psutil.net_connections("tcp") if one.laddr.port == 8000 and one.raddr]
    print(row[0].split()[0], "inode" if f"ino:{inode} " in row[0] else "no inode", "users" if "users:" in row[0] else "no users",
          "psutil", pids, "lsof", "lists it" if "127.0.0.1:8000->" in listed else "doesn't")
tell()
client.close()
time.sleep(2)
tell()
there.close()
time.sleep(2)
tell()
P
venv/bin/python send.py >told
seen "on its way" "ESTAB inode no users psutil [None] lsof doesn't" "$(sed -n 1p told)"
seen "the peer has closed" "CLOSE-WAIT inode no users psutil [None] lsof doesn't" "$(sed -n 2p told)"
seen "the UNIX socket is closed" none "$(sed -n 3p told)"
done_
