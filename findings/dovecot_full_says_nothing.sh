#!/usr/bin/env bash
# Dovecot is full with 1024 signed-in clients (service imap, process_limit): the next one is told so. Before the login there are
# 100 imap-login processes of one client each: the 101st client waits.
# Seen the other way round: the 1025th login gets a greeting and then no answer at all, not even BYE or NO, as long as the others stay.
# And before the login nobody waits: each new client is greeted, and the oldest ones that haven't logged in are thrown out for it, many at
# a time (FIN, a CLOSE_WAIT in a forgetful client), after seconds rather than the 3 minutes that it gives a single silent client.
# dovecot-core and dovecot-imapd 1:2.3.19.1+dfsg1-2.1+deb12u7 (Debian 12)
V=1:2.3.19.1+dfsg1-2.1+deb12u7
DEBIAN="dovecot-core=$V dovecot-imapd=$V"
. "$(dirname "$0")/lib.sh"
install -d -m 777 /tmp/mail
rm -f /etc/dovecot/conf.d/*auth*
sed -i 's/^.include auth.*//' /etc/dovecot/conf.d/*.conf
cat >/etc/dovecot/local.conf <<'C'
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
mail_location = maildir:/tmp/mail/%u
mail_max_userip_connections = 10000
passdb {
  driver = static
  args = nopassword=y
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=/tmp/mail/%u
}
C
ulimit -n 10000
dovecot -F 2>/dev/null &
listens 143
cat >fill.py <<'P'
import resource, socket, subprocess, sys, time
def connect():
    one = socket.create_connection(("127.0.0.1", 143))
    one.settimeout(15)
    return one, one.recv(500).startswith(b"* OK")
if sys.argv[1] == "silent":
    kept = [connect() for _ in range(150)]
    time.sleep(1)
    state = lambda name: len(subprocess.run(["ss", "-Htan", "state", name, "dport = :143"], capture_output=True, text=True).stdout.splitlines())
    established, closed = state("established"), state("close-wait")
    print(sum(greeted for _, greeted in kept), "greeted,", "at most 100" if established <= 100 else established, "ESTABLISHED,",
          "the others" if established + closed == 150 else closed, "in CLOSE-WAIT")
else:
    kept = []
    try:
        while len(kept) < 1100:
            one, _ = connect()
            one.sendall(b"a LOGIN u p\r\n")
            if b"a OK" not in one.recv(500):
                break
            kept.append(one)
        told = "a word"
    except TimeoutError:
        told = "no answer"
    print(len(kept), "signed in, the next one gets", told)
P
seen "150 clients that say nothing" "150 greeted, at most 100 ESTABLISHED, the others in CLOSE-WAIT" "$(python3 fill.py silent)"
sleep 1
seen "one client after the other" "1024 signed in, the next one gets no answer" "$(python3 fill.py login)"
seen "its own idea of the limit" 1024 "$(doveconf -h service/imap/process_limit 2>/dev/null)"
done_
