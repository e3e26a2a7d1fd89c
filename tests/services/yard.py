"""A client library and its server under every check for long: which check alarms, and after how long."""
import os
import random
import signal
import subprocess
import time

import lab

CHECKS = ("closewait", "conn_growth", "conn_states", "conn_idle", "conn_tenants")
STATES = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
PACE = 15.0  # seconds from one forgotten connection to the next
PROFILES = {"memcached": "memcached", "redis": "redis", "postgresql": "postgresql", "mariadb": "mysql", "ldap": "ldap", "nginx": "http",
            "rabbitmq": "rabbitmq", "mongodb": "mongodb"}


class Watch:
    """Runs the checks by default thresholds and keeps what each has said first."""

    def __init__(self, recipe):
        folder = os.environ.get("CONNLEAK_BIN", os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../target/debug"))
        self.commands = {check: [f"{folder}/check_{check}", "-P", PROFILES[recipe.server_name], "-p", str(recipe.server.port)] for check in CHECKS}
        for check in ("conn_growth", "conn_states"):
            self.commands[check] += ["--state-dir", "/mnt/state"]
        lab.sh("mkdir -p /mnt/state")
        self.start, self.first, self.runs = time.monotonic(), {}, 0
        self.name = recipe.name

    def look(self):
        self.runs += 1
        for check, command in self.commands.items():
            # A run or two without any history say so; what comes of it is told all the same.
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            if done.returncode and (check, done.returncode) not in self.first:
                minutes = (time.monotonic() - self.start) / 60
                self.first[check, done.returncode] = minutes
                print(f"{self.name}: {check} {STATES[done.returncode] if done.returncode < 4 else done.returncode} after {minutes:.1f} min: {done.stdout.split('|')[0].strip()[:300]}")


def run(recipe, is_leaking, minutes):
    recipe.server = __import__("servers").__dict__[recipe.server_name]().start()
    client = recipe.program()
    client.say("bound", 60)
    client.say(f"burst {recipe.width}")
    watch = Watch(recipe)
    chance = random.Random(recipe.name)
    end = watch.start + minutes * 60
    next_look, next_use = watch.start, watch.start
    restarts = [] if is_leaking else [watch.start + minutes * 60 / 3, watch.start + minutes * 40]
    waits = False
    while (now := time.monotonic()) < end:
        if now >= next_look:
            watch.look()
            next_look += 60
        if now >= next_use and not waits:
            if is_leaking:
                answer = client.say("leak", 20)
                waits = answer == "waits"
                next_use = now + PACE
            else:
                for _ in range(chance.randint(1, 4)):
                    client.say("one")
                if chance.random() < 0.3:
                    client.say(f"burst {recipe.width}")
                # Uneven: mostly seconds, now and then minutes without a request.
                next_use = now + chance.choice([1, 2, 5, 10, 100])
        if restarts and now > restarts[0]:
            restarts.pop(0)
            recipe.server.end(getattr(recipe.server, "stop", signal.SIGTERM))
            recipe.server.kill_all()
            recipe.server.start()
        time.sleep(0.5)
    alarms = ", ".join(f"{check} {STATES[code]} {after:.0f} min" for (check, code), after in watch.first.items())
    print(f"yard: | {recipe.name} | {'leaking' if is_leaking else 'healthy'} {minutes:g} min | {alarms or 'no alarm'} | {client.states()} |")
