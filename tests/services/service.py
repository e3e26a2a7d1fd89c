"""What each recipe of a service does to it: fill it, leave it idle, stop, reload, restart and kill it."""
import os
import re
import signal
import socket
import subprocess
import time

import lab
import sockets

KEPT = 3  # clients that are connected, and stay so, when the service ends


class Service:
    """A service that runs in the foreground. hello(socket) makes a client one that is served; it returns what was answered."""

    def __init__(self, port, command, hello, user=None, before=None, name=None, environment=None):
        self.port, self.command, self.hello = port, command, hello
        self.user, self.before, self.process, self.name = user, before, None, name
        self.environment = {**os.environ, **(environment or {})}

    def start(self, command=None):
        if self.before:
            lab.sh(self.before)
        words = command or self.command
        if self.user:
            words = f"setpriv --reuid {self.user} --regid {self.user} --init-groups {words}"
        self.log = open("/mnt/service.log", "ab")
        self.process = subprocess.Popen("exec " + words, shell=True, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                        start_new_session=True, env=self.environment)
        if lab.poll(self.answers) is None:
            raise SystemExit(f"{words}: doesn't answer\n" + open("/mnt/service.log", errors="replace").read()[-1500:])
        time.sleep(0.3)
        return self

    def answers(self):
        try:
            with self.connect(2) as one:
                self.hello(one)
            return True
        except (OSError, EOFError):
            return False

    def connect(self, timeout=5):
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def client(self):
        one = self.connect()
        self.hello(one)
        return one

    def end(self, how=signal.SIGTERM, patience=60):
        """Seconds until the process had ended; None: it lives on (then it is killed)."""
        start = time.monotonic()
        self.process.send_signal(how)
        try:
            self.process.wait(patience)
            return time.monotonic() - start
        except subprocess.TimeoutExpired:
            self.kill_all()
            return None

    def kill_all(self):
        """The processes of its session, as a unit's stop ends what is left."""
        for pid in sockets.processes():
            try:
                if os.getsid(pid) == self.process.pid:
                    os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait(10)
        time.sleep(0.3)

    def names(self):
        """The names of processes that hold a socket of the port."""
        found = sockets.copies(lambda one: one.getsockname()[1] == self.port)
        for _, _, one in found:
            one.close()
        names = {open(f"/proc/{pid}/comm").read().strip() for pid, _, _ in found}
        return ", ".join(sorted(names))


def ending(one, patience):
    """How the server's end of a connection looks to its client that does nothing, and after how many seconds."""
    start = time.monotonic()
    one.settimeout(patience)
    text = b""
    try:
        while True:
            data = one.recv(4096)
            if not data:
                return "FIN", time.monotonic() - start, text
            text += data
    except ConnectionResetError:
        return "reset", time.monotonic() - start, text
    except (socket.timeout, TimeoutError):
        return "never", patience, text


def printable(data, most=70):
    return re.sub(r"[^ -{}~]+", " ", data.decode("latin-1")).strip()[:most].strip().replace("|", "/")


def fill(service, most):
    """Opens served clients until one isn't: (those that were, what happened to the next)."""
    kept = []
    while len(kept) < most:
        try:
            one = service.connect(3)
        except EOFError as why:
            return kept, f"closed before TLS is set up ({why})"
        except OSError as why:
            return kept, f"connect fails: {why.strerror or why}"
        try:
            service.hello(one)
        except (socket.timeout, TimeoutError):
            kept.append(one)
            row = [row for row in sockets.client_side(service.port) if row.local_port == one.getsockname()[1]]
            return kept[:-1], f"connects ({sockets.states(row)}), no answer while the others stay"
        except ConnectionError as why:
            return kept, f"accepted and {'reset' if isinstance(why, ConnectionResetError) else 'closed'} without a word"
        except EOFError as why:
            how = ending(one, 2)
            return kept, f"answered \"{why}\", then {how[0]}" if str(why) else "closed without a word (FIN)"
        kept.append(one)
    told = left(service, kept)[1]
    return kept, f"{most} are answered; of these {told} at the clients"


def closed(kept):
    for one in kept:
        one.close()


def idle(service, patience, one=None):
    """What a client that says nothing more sees."""
    one = one or service.client()
    how, seconds, text = ending(one, patience)
    row = [row for row in sockets.client_side(service.port) if row.local_port == one.getsockname()[1]] if how == "FIN" else []
    one.close()
    told = f' after "{printable(text)}"' if text else ""
    if how == "never":
        return f"never (looked {patience} s)"
    return f"{how}{told} at {seconds:.1f} s" + (f", client {sockets.states(row)}" if row else "")


def remains(service, how=signal.SIGTERM, patience=60):
    """Ends the service while clients hold their connections; says what is left when it is gone, and 3 s later."""
    kept = [service.client() for _ in range(KEPT)]
    time.sleep(0.5)
    took = service.end(how, patience)
    service.kill_all()
    server, client = left(service, kept)
    words = f"ends in {took:.1f} s" if took is not None else f"lives on for {patience} s while clients stay"
    return kept, f"{words}; service's side {server}, clients {client}"


def left(service, kept):
    """The states of both ends of these connections."""
    ports = {one.getsockname()[1] for one in kept}
    server = [row for row in sockets.server_side(service.port) if int(row.peer_port) in ports]
    client = [row for row in sockets.client_side(service.port) if row.local_port in ports]
    return sockets.states(server), sockets.states(client)


def restarted(service, kept):
    """Starts it again over what is left."""
    over = left(service, kept)[0]
    start = time.monotonic()
    service.start()
    words = f"listens again in {time.monotonic() - start:.1f} s over {over}"
    closed(kept)
    time.sleep(0.3)
    return words


def all_ends(service, stop=signal.SIGTERM, patience=60):
    """(after the stop, after a restart, after kill -9)"""
    kept, stopped = remains(service, stop, patience)
    again = restarted(service, kept)
    kept, killed = remains(service, signal.SIGKILL)
    closed(kept)
    return stopped, again, killed


def reloaded(service, action, look=3):
    """Reloads with clients connected: are they kept, and who serves new ones."""
    kept = [service.client() for _ in range(KEPT)]
    old = {pid for pid, _, one in sockets.copies(sockets.is_accepted_at(service.port)) if not one.close()}
    action()
    time.sleep(look)
    rows = sockets.states([row for row in sockets.server_side(service.port) if row.state != "TIME_WAIT"])
    held = {pid for pid, _, one in sockets.copies(sockets.is_accepted_at(service.port)) if not one.close()}
    closed(kept)
    who = "the same process" if held & old == old and held else "no process"
    return f"{rows} after {look} s, held by {who}" if rows != "none" else f"none left after {look} s"


def unit(package):
    """The units of a package, and what they say about stopping."""
    files = [path for path in lab.sh(f"dpkg -L {package}").splitlines() if "/systemd/system/" in path and path.endswith(".service")]
    return ", ".join(sorted({os.path.basename(path) for path in files}))


def unit_says(name, *keys):
    text = lab.sh(f"cat /lib/systemd/system/{name}", check=False)
    found = [line for key in keys for line in text.splitlines() if line.startswith(key + "=")]
    return ", ".join(found)


def rows(name, **columns):
    """Prints the three lines of docs/services.md."""
    tables = {"limits": ("version", "limit", "full", "idle"), "sockets": ("keepalive", "backlog", "listener", "unix", "names"),
              "remains": ("stop", "reload", "restart", "kill")}
    for table, keys in tables.items():
        print(f"{table}: | {name} | " + " | ".join(str(columns[key]) for key in keys) + " |")


def client_keepalive(service):
    """Of an accepted socket."""
    one = service.client()
    told = sockets.keepalive(sockets.is_accepted_at(service.port))
    one.close()
    return told
