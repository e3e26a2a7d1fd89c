"""Opens a page in headless Chromium and tells as JSON what it drew: browser.py PAGE SHOTS_DIR."""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
import zlib

import websocket

PATIENCE = 60
QUIET = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --hide-scrollbars --window-size=1360,1100 --remote-debugging-port=0
--remote-allow-origins=*""".split()

# The first chart has its lines.
DRAWN = "document.querySelector('#chart-0 .scatterlayer .trace path') ? performance.now() : 0"
DATA = """JSON.stringify([...document.querySelectorAll('.chart')].map(chart => ({
    range: chart.layout.xaxis.range.map(Number),
    lines: chart.data.map(line => ({name: line.name, x: [...line.x], y: [...line.y]}))})))"""
RANGE = "JSON.stringify(document.getElementById('chart-0').layout.xaxis.range.map(end => +new Date(end)))"
PLACE = "JSON.stringify(document.querySelector('#chart-0 .nsewdrag').getBoundingClientRect())"
HOVER = "[...document.querySelectorAll('#chart-0 .hoverlayer text')].map(text => text.textContent).join(' ')"
TABLE = """(() => { const numbers = document.getElementById('numbers-0'); numbers.open = true;
    return new Promise(done => setTimeout(() => done(JSON.stringify({
        names: [...numbers.querySelectorAll('th')].map(cell => cell.textContent),
        rows: numbers.querySelectorAll('tbody tr').length,
        first: [...numbers.querySelectorAll('tbody tr:first-child td')].map(cell => cell.textContent)})), 300)); })()"""


class Page:
    def __init__(self, profile):
        self.chromium = subprocess.Popen(
            ["chromium", *QUIET, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port = wait(lambda: ready(os.path.join(profile, "DevToolsActivePort")), "Chromium starts")
        pages = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=PATIENCE))
        address = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
        self.socket = websocket.create_connection(address, timeout=PATIENCE)
        self.number, self.wrong, self.requests = 0, [], []
        for domain in ["Page", "Runtime", "Network", "Log"]:
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == self.number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self.note(message)

    def note(self, message):
        method, params = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.wrong.append(json.dumps(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.wrong.append(json.dumps(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.wrong.append(json.dumps(params["entry"]))
        elif method == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if not url.startswith(("data:", "blob:", "about:")):
                self.requests.append(url)
        elif method == "Page.javascriptDialogOpening":
            self.wrong.append("dialog: " + params["message"])

    def ask(self, script):
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{script}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def mouse(self, kind, x, y, **more):
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def shot(self, path):
        """Takes a picture; tells the colour of its first pixel."""
        png = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        with open(path, "wb") as file:
            file.write(png)
        body, at = b"", 8
        while at < len(png):
            length = int.from_bytes(png[at:at + 4], "big")
            if png[at + 4:at + 8] == b"IDAT":
                body += png[at + 8:at + 8 + length]
            at += 12 + length
        # Whatever the first row's filter, its first pixel stands as it is.
        return list(zlib.decompress(body)[1:4])


def ready(path):
    try:
        with open(path) as file:
            return int(file.readline())
    except (OSError, ValueError):
        return None


def wait(ask, what):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.02)
    raise RuntimeError(f"{what}: not in {PATIENCE} s")


def look(page, url, shots):
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
    page.call("Page.navigate", url=url)
    seen = {"drawn_millis": wait(lambda: page.ask(DRAWN), "the chart is drawn")}
    seen["charts"] = json.loads(page.ask(DATA))
    seen["light"] = page.shot(os.path.join(shots, "light.png"))
    seen["title"] = page.ask("document.title")
    seen["text"] = page.ask("document.body.innerText")
    place = json.loads(page.ask(PLACE))
    across = lambda share: place["x"] + share * place["width"]
    middle = place["y"] + place["height"] / 2

    def hover():
        for share in (0.40, 0.41):
            page.mouse("mouseMoved", across(share), middle)
            time.sleep(0.1)
        return page.ask(HOVER)
    seen["hover"] = wait(hover, "hovering shows a label")
    seen["before"] = json.loads(page.ask(RANGE))
    page.mouse("mousePressed", across(0.3), middle, button="left", clickCount=1)
    for share in (0.4, 0.5, 0.6):
        page.mouse("mouseMoved", across(share), middle, button="left")
    page.mouse("mouseReleased", across(0.6), middle, button="left", clickCount=1)
    wait(lambda: json.loads(page.ask(RANGE)) != seen["before"], "dragging zooms")
    time.sleep(0.3)
    seen["zoomed"] = json.loads(page.ask(RANGE))
    seen["zoomed_charts"] = json.loads(page.ask(DATA))
    seen["table"] = json.loads(page.ask(TABLE))
    page.ask("document.getElementById('numbers-0').open = false")
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    time.sleep(0.5)
    seen["dark"] = page.shot(os.path.join(shots, "dark.png"))
    page.ask("document.getElementById('theme').click()")
    time.sleep(0.5)
    seen["toggled"] = page.shot(os.path.join(shots, "toggled.png"))
    seen["wrong"], seen["requests"] = page.wrong, page.requests
    return seen


def main():
    path, shots = sys.argv[1:]
    profile = tempfile.mkdtemp(prefix="connleak-chromium")
    page = None
    try:
        page = Page(profile)
        print(json.dumps(look(page, "file://" + os.path.abspath(path), shots)))
    finally:
        if page:
            page.chromium.terminate()
            page.chromium.wait(PATIENCE)
        shutil.rmtree(profile, ignore_errors=True)


main()
