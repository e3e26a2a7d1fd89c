#!/usr/bin/env bash
# Transactions that somebody left open are found by their age: pg_stat_activity, now() - xact_start beyond some minutes.
# Seen: a transaction in which a statement failed, and which nobody has rolled back, has no xact_start any more (it is NULL, and so is the
# comparison): of two sessions that forgot theirs, only the one without an error is found, and the column says nothing of how old the
# other is. Its locks are gone with the error, its connection isn't: it stays one of max_connections. Its state is "idle in transaction (aborted)",
# which state = 'idle in transaction' misses too; state_change has the time.
# postgresql-15 15.20-0+deb12u1 (Debian 12), psycopg2-binary 2.9.13 (PyPI)
DEBIAN="postgresql-15=15.20-0+deb12u1 postgresql-client-15=15.20-0+deb12u1"
PYPI="psycopg2-binary==2.9.13"
. "$(dirname "$0")/lib.sh"
BIN=/usr/lib/postgresql/15/bin
install -d -o postgres /run/postgresql pg
as() { setpriv --reuid postgres --regid postgres --init-groups "$@"; }
as $BIN/initdb -A trust -U postgres --no-sync -D pg/d >/dev/null
as $BIN/postgres -D pg/d -h 127.0.0.1 >pg.log 2>&1 &
listens 5432
until_ 20 $BIN/psql -h 127.0.0.1 -U postgres -c 'select 1'
ask() { $BIN/psql -h 127.0.0.1 -U postgres -Atc "$1"; }
ask 'create table t (a int); insert into t values (1)' >/dev/null
cat >app.py <<'P'
import sys, time, psycopg2
c = psycopg2.connect(host="127.0.0.1", user="postgres", application_name="x")
cursor = c.cursor()
cursor.execute("update t set a = 2")
if sys.argv[1] == "failed":
    try:
        cursor.execute("select 1/0")
    except psycopg2.Error:
        pass  # and the connection is forgotten
time.sleep(60)
P
look() { # KIND EXPECTED
    venv/bin/python app.py "$1" &
    local program=$!
    until_ 20 sh -c "$BIN/psql -h 127.0.0.1 -U postgres -Atc \"select state from pg_stat_activity where application_name = 'x'\" | grep -q transaction"
    sleep 2.5
    seen "$1: state" "$2" "$(ask "select state from pg_stat_activity where application_name = 'x'")"
    seen "$1: found by xact_start older than 2 s" "$3" "$(ask "select count(*) from pg_stat_activity where application_name = 'x' and now() - xact_start > '2 s'")"
    seen "$1: found by state_change" 1 "$(ask "select count(*) from pg_stat_activity where application_name = 'x' and state like 'idle in transaction%' and now() - state_change > '2 s'")"
    seen "$1: locks on the table" "$4" "$(ask "select count(*) from pg_locks where relation = 't'::regclass")"
    kill $program
    wait $program 2>/dev/null || true
    until_ 20 sh -c "! $BIN/psql -h 127.0.0.1 -U postgres -Atc \"select 'there' from pg_stat_activity where application_name = 'x'\" | grep -q there"
}
look open "idle in transaction" 1 1
look failed "idle in transaction (aborted)" 0 0
done_
