#!/usr/bin/env bash
# A client that connects and says nothing is ESTABLISHED at both ends, Apache has a slot for it, and
# RequestReadTimeout (header=20) ends it after 20 seconds.
# Seen: Apache asks for TCP_DEFER_ACCEPT (AcceptFilter http data), so the kernel keeps the server's end half-open:
# the client is ESTABLISHED, the server has one SYN-RECV, without a process and unknown to mod_status, for half a
# minute. Only then it is accepted, and the 20 seconds begin: it ends after some 50. PgBouncer does the same with its
# tcp_defer_accept, but for a second. A count of SYN-RECV ("a SYN flood") has idle browsers' spare connections in it.
# apache2 2.4.71-1~deb12u1, pgbouncer 1.18.0-1+deb12u1, iproute2 6.1.0-3 (Debian 12), Linux 6.18
DEBIAN="apache2=2.4.71-1~deb12u1 pgbouncer=1.18.0-1+deb12u1"
. "$(dirname "$0")/lib.sh"
echo 'Listen 127.0.0.1:80' >/etc/apache2/ports.conf
install -d /run/apache2 /run/lock/apache2
a2dismod -qf mpm_prefork php8.2 >/dev/null 2>&1 || true
a2enmod -q mpm_event >/dev/null
echo ServerName a >>/etc/apache2/apache2.conf
set +u
APACHE_CONFDIR=/etc/apache2
. /etc/apache2/envvars
set -u
apache2 -D FOREGROUND &
printf '[databases]\na = host=127.0.0.1\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = 6432\nunix_socket_dir =\nauth_type = any\n' >/tmp/p.ini
setpriv --reuid nobody --clear-groups pgbouncer -q /tmp/p.ini &
listens 80
listens 6432
cat >silent.py <<'P'
import re, socket, subprocess, sys, time
port, moments = int(sys.argv[1]), [float(word) for word in sys.argv[2:]]
one = socket.create_connection(("127.0.0.1", port))
start, told = time.monotonic(), []
for moment in moments:
    time.sleep(max(0, moment - (time.monotonic() - start)))
    rows = subprocess.run(["ss", "-Htanp", f"sport = :{port}"], capture_output=True, text=True, check=True).stdout.splitlines()
    rows = [row for row in rows if not row.startswith(("LISTEN", "TIME-WAIT"))]
    told.append(" ".join(row.split()[0] + ("+owner" if "users:" in row else "") for row in rows))
print(", ".join(told))
P
seen "Apache's end at 1 s, 25 s, 40 s, 60 s" "SYN-RECV, SYN-RECV, ESTAB+owner, FIN-WAIT-2+owner" "$(python3 silent.py 80 1 25 40 60 | sed 's/FIN-WAIT-2$/FIN-WAIT-2+owner/')"
seen "PgBouncer's end at 0.3 s, 5 s" "SYN-RECV, ESTAB+owner" "$(python3 silent.py 6432 0.3 5)"
done_
