"""The scene of what_each_tool_counts, which starts this in a network namespace of its own, and what each tool says of it.

A service on port 11211 with its clients in a second namespace, so that each tool sees the service's ends alone. The scene
grows by one kind of connection at a time; a tool's number for a kind is by how much its count of that state rose.
"""
import collections
import glob
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

PORT, MPTCP = 11211, 262
STATES = ["ESTABLISHED", "CLOSE_WAIT", "TIME_WAIT"]
# What is added, the state it is in, and where the service listens for it.
KINDS = [
    ("40 ESTABLISHED, IPv4", "ESTABLISHED", 40, "10.77.0.1"),
    ("10 ESTABLISHED, IPv4 at an IPv6 socket", "ESTABLISHED", 10, "::ffff:10.77.0.2"),
    ("5 ESTABLISHED, IPv6", "ESTABLISHED", 5, "fd77::1"),
    ("6 ESTABLISHED, MPTCP", "ESTABLISHED", 6, "10.77.0.3"),
    ("20 CLOSE_WAIT, accepted", "CLOSE_WAIT", 20, "10.77.0.4"),
    ("8 CLOSE_WAIT, queued", "CLOSE_WAIT", 8, "10.77.0.5"),
    ("12 TIME_WAIT", "TIME_WAIT", 12, "10.77.0.6"),
    ("the 6 by MPTCP, closed by their clients: CLOSE_WAIT", "CLOSE_WAIT", 6, "10.77.0.3"),
]
CLIENT = """
import socket, sys
held = []
for line in sys.stdin:
    word, address, protocol, count = line.split()
    if word == "connect":
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        for _ in range(int(count)):
            end = socket.socket(family, socket.SOCK_STREAM, int(protocol))
            end.connect((address, 11211))
            held.append((address, end))
    else:
        [end.close() for to, end in held if to == address]
        held = [one for one in held if one[0] != address]
    print("done", flush=True)
"""


def run(*words, **options):
    return subprocess.run(words, check=True, capture_output=True, text=True, **options).stdout


def client():
    """The clients' end of a cable, in a namespace of its own."""
    peer = subprocess.Popen(
        ["unshare", "-n", "--kill-child", "--fork", "python3", "-c", CLIENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    own = os.readlink("/proc/self/ns/net")
    while True:
        children = run("pgrep", "-P", str(peer.pid)).split() if subprocess.run(["pgrep", "-P", str(peer.pid)], capture_output=True).returncode == 0 else []
        if children and os.readlink(f"/proc/{children[0]}/ns/net") != own:
            break
        time.sleep(0.05)
    run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1", "netns", children[0])
    for address in [f"10.77.0.{n}/24" for n in range(1, 7)] + ["fd77::1/64"]:
        run("ip", "address", "add", address, "dev", "v0", *(["nodad"] if ":" in address else []))
    run("ip", "link", "set", "v0", "up")
    within = ["nsenter", "-t", children[0], "-n", "ip"]
    run(*within, "address", "add", "10.77.0.99/24", "dev", "v1")
    run(*within, "address", "add", "fd77::99/64", "dev", "v1", "nodad")
    run(*within, "link", "set", "v1", "up")

    def say(line):
        peer.stdin.write(line + "\n")
        peer.stdin.flush()
        assert peer.stdout.readline() == "done\n", line

    return say


class Service:
    def __init__(self, say):
        self.say, self.listeners, self.held = say, {}, []
        for name, _, _, address in KINDS[:-1]:
            protocol = MPTCP if "MPTCP" in name else 0
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            listener = socket.socket(family, socket.SOCK_STREAM, protocol)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind((address, PORT))
            listener.listen(64)
            self.listeners[address] = listener

    def add(self, name, state, count, address):
        to = address.removeprefix("::ffff:")
        if "closed by" in name:
            self.say(f"close {to} 0 0")
            return
        self.say(f"connect {to} {MPTCP if 'MPTCP' in name else 0} {count}")
        if "queued" in name:
            self.say(f"close {to} 0 0")
            return
        ends = [self.listeners[address].accept()[0] for _ in range(count)]
        if state == "TIME_WAIT":
            [end.close() for end in ends]
            self.say(f"close {to} 0 0")
        elif state == "CLOSE_WAIT":
            self.say(f"close {to} 0 0")
            self.held += ends
        else:
            self.held += ends


def by_state(words):
    """Counts of TCP states under anyone's names for them."""
    names = {"ESTAB": "ESTABLISHED", "TIMEWAIT": "TIME_WAIT", "CLOSEWAIT": "CLOSE_WAIT"}
    plain = (word.upper().replace("-", "_") for word in words)
    return collections.Counter(names.get(word.replace("_", ""), names.get(word, word)) for word in plain)


def ss():
    return by_state(line.split()[0] for line in run("ss", "-Htan", f"( sport = :{PORT} )").splitlines())


def netstat():
    rows = [line.split() for line in run("netstat", "-ant").splitlines() if line.startswith("tcp")]
    return by_state(row[5] for row in rows if row[3].endswith(f":{PORT}"))


def psutil_():
    import psutil

    return by_state(one.status for one in psutil.net_connections("tcp") if one.laddr.port == PORT)


def snmp():
    """tcpConnectionTable, which has a row for each connection: its state, by the numbers of the MIB. The agent keeps
    the table for a minute, so one is started for each look."""
    words = ["snmpd", "-f", "-LE", "0", "-C", "-c", "/mnt/snmpd2.conf", "-p", "/mnt/snmpd2.pid"]
    agent = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(1)
    try:
        return snmp_table()
    finally:
        agent.terminate()
        agent.wait()


def snmp_table():
    names = {"5": "ESTABLISHED", "8": "CLOSE_WAIT", "11": "TIME_WAIT"}
    found = collections.Counter()
    for line in run("snmpwalk", "-v2c", "-c", "public", "-On", "-Oe", "127.0.0.1:162", ".1.3.6.1.2.1.6.19.1.7").splitlines():
        oid, state = line.split(" = ")
        # type, length, address, port, type, length, address, port; of an empty table no such row
        parts = oid.removeprefix(".1.3.6.1.2.1.6.19.1.7.").split(".")
        if len(parts) < 8:
            continue
        if parts[2 + int(parts[1])] == str(PORT):
            found[names.get(re.search(r"\d+", state).group(), "other")] += 1
    return found


def snmp_established():
    return {"ESTABLISHED": int(run("snmpget", "-v2c", "-c", "public", "-Oqv", "127.0.0.1", ".1.3.6.1.2.1.6.9.0"))}


def zabbix():
    def count(state):
        told = run("zabbix_agent2", "-c", "/mnt/zabbix.conf", "-t", f"net.tcp.socket.count[,{PORT},,,{state.lower()}]")
        return int(re.search(r"\|(\d+)\]", told).group(1))

    return {state: count(state) for state in STATES}


def node_exporter():
    told = run("curl", "-s", "http://127.0.0.1:9100/metrics")
    found = re.findall(r'node_tcp_connection_states{state="(\w+)"} (\S+)', told)
    return {state.upper(): int(float(number)) for state, number in found}


def sar():
    """Sockets of the host in use; TIME_WAIT by itself."""
    row = [line.split() for line in run("sar", "-n", "SOCK", "1", "1").splitlines() if line.startswith("Average:")][-1]
    return {"any": int(float(row[2])), "TIME_WAIT": int(float(row[6]))}


def collectd():
    time.sleep(3)
    found = {}
    for state in STATES:
        files = sorted(glob.glob(f"/mnt/collectd/x/tcpconns-{PORT}-local/tcp_connections-{state}-*"))
        found[state] = int(float(open(files[-1]).read().split()[-1].split(",")[1]))
    return found


def ours(root):
    built = [f"{root}/target/{profile}/check_conn_states" for profile in ("release", "debug")]
    built = max((path for path in built if os.path.exists(path)), key=os.path.getmtime)

    def count():
        told = subprocess.run([built, "-p", str(PORT), "--side", "server", "-o", "json"], capture_output=True, text=True).stdout
        return {metric["name"].upper(): metric["value"] for metric in json.loads(told)["metrics"]}

    return count


def daemons():
    with open("/mnt/collectd.conf", "w") as file:
        file.write(
            "Hostname \"x\"\nFQDNLookup false\nInterval 1\nLoadPlugin csv\nLoadPlugin tcpconns\n<Plugin csv>\nDataDir \"/mnt/collectd\"\n</Plugin>\n"
            f"<Plugin tcpconns>\nListeningPorts false\nLocalPort {PORT}\n</Plugin>\n"
        )
    with open("/mnt/snmpd.conf", "w") as file:
        file.write("rocommunity public 127.0.0.1\nagentAddress udp:127.0.0.1:161\n")
    with open("/mnt/snmpd2.conf", "w") as file:
        file.write("rocommunity public 127.0.0.1\nagentAddress udp:127.0.0.1:162\n")
    with open("/mnt/zabbix.conf", "w") as file:
        file.write("Server=127.0.0.1\nHostname=x\nLogFile=/mnt/zabbix.log\n")
    commands = [
        ["collectd", "-f", "-C", "/mnt/collectd.conf", "-P", "/mnt/collectd.pid"],
        ["snmpd", "-f", "-LE", "0", "-C", "-c", "/mnt/snmpd.conf", "-p", "/mnt/snmpd.pid"],
        ["prometheus-node-exporter", "--collector.tcpstat", "--web.listen-address=127.0.0.1:9100"],
    ]
    logs = [open(f"/mnt/{command[0]}.log", "w") for command in commands]
    return [subprocess.Popen(command, stdout=log, stderr=log) for command, log in zip(commands, logs)]


def main(root):
    run("ip", "link", "set", "lo", "up")
    service, started = Service(client()), daemons()
    tools = [
        ("**ours**: `check_conn_states -p 11211`", ours(root)),
        ("`ss -tan '( sport = :11211 )'`", ss),
        ("`netstat -ant \\| grep :11211`", netstat),
        ("psutil `net_connections`", psutil_),
        ("collectd `tcpconns`, `LocalPort 11211`", collectd),
        ("net-snmp `tcpConnectionTable`", snmp),
        ("net-snmp `tcpCurrEstab` (the host's)", snmp_established),
        ("Zabbix agent 2 `net.tcp.socket.count`", zabbix),
        ("node_exporter `tcpstat` (the host's)", node_exporter),
        ("sar `-n SOCK` (the host's, any state)", sar),
    ]
    time.sleep(4)
    numbers, before, broken = {name: [] for name, _ in tools}, {}, {}
    for kind in [None, *KINDS]:
        if kind:
            service.add(*kind)
            # The kernel's work queue handles the end of MPTCP connections.
            time.sleep(5 if "MPTCP" in kind[0] else 1)
        for name, count in tools:
            try:
                now = count()
            except Exception as why:
                broken[name] = why
                continue
            if kind:
                state = kind[1] if kind[1] in now else "any"
                known = state in now or state in before[name] or "any" not in now and len(now) > 1
                rise = now.get(state, 0) - before[name].get(state, 0)
                numbers[name].append(str(rise) if known else "-")
            before[name] = now
    for process in started:
        process.send_signal(signal.SIGTERM)
    print("| tool | " + " | ".join(name for name, *_ in KINDS) + " |")
    print("| --- |" + " --- |" * len(KINDS))
    for name, counted in numbers.items():
        if name not in broken:
            print(f"| {name} | " + " | ".join(counted) + " |")
    for name, why in broken.items():
        print(f"left out: {name}: {why!r}", file=sys.stderr)
        os.system("tail -n 5 /mnt/collectd.log /mnt/snmpd.log >&2")


main(sys.argv[1])
