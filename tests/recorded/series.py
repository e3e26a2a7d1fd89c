"""One look after the other as the lines of a recording: what is new, what has changed, what is gone.

The format is told in README.md. Ages are written as the moment that they count from, so that a silent socket has no line.
"""
import os
import socket
import struct

# Where struct tcp_info has what the programs read of it (include/uapi/linux/tcp.h), by the letter of a recording.
INFO = {"b": ("B", 4), "R": ("I", 8), "u": ("I", 24), "A": ("Q", 120), "V": ("Q", 128), "N": ("I", 144), "i": ("I", 152), "o": ("I", 156),
        "S": ("Q", 200), "T": ("Q", 208), "W": ("I", 228)}
AGES = {"d": 44, "v": 52, "a": 56}
LISTEN = 10  # its ages are always 0
# Kernel clocks and ours are read one after the other: a moment that moves by less has not moved.
SAME = 400


def rows(dump):
    """The sockets of a raw dump as {cookie: fields}; moments are ages still."""
    at, found, ends = 0, {}, 0
    while at + 16 <= len(dump):
        length, kind = struct.unpack_from("IH", dump, at)
        if kind == 3:
            ends += 1
        elif kind in (18, 20):
            cookie, row = fields(dump[at + 16:at + length])
            found[cookie] = row
        at += (length + 3) & ~3
    return found if ends else None


def address(family, data):
    return socket.inet_ntop(family, data[:4] if family == socket.AF_INET else data[:16])


def fields(body):
    family, state, timer, retransmits = body[:4]
    local_port, remote_port = struct.unpack_from("!HH", body, 4)
    cookie, rest, received, sent, uid, inode = struct.unpack_from("=QIIIII", body, 44)
    if state == 6:  # TIME_WAIT has no cookie of its own that stays
        cookie = f"{local_port}-{remote_port}"
    row = {"id": f"{address(family, body[8:])} {local_port} {address(family, body[24:])} {remote_port} {uid}", "s": state, "t": timer,
           "e": rest if timer else None, "r": received, "w": sent, "I": inode}
    at = 72
    while at + 4 <= len(body):
        length, kind = struct.unpack_from("HH", body, at)
        if kind == 2 and state != LISTEN:
            info = body[at + 4:at + length]
            for letter, (shape, offset) in INFO.items():
                row[letter] = struct.unpack_from("=" + shape, info, offset)[0]
            for letter, offset in AGES.items():
                row[letter] = struct.unpack_from("=I", info, offset)[0]
        at += (length + 3) & ~3
    return cookie, row


def holders(roots):
    """{inode of a socket: (pid, comm)} of all processes."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) in roots:
            continue
        try:
            with open(f"/proc/{name}/comm", encoding="utf-8", errors="replace") as file:
                comm = file.read().strip()
            for number in os.listdir(f"/proc/{name}/fd"):
                target = os.readlink(f"/proc/{name}/fd/{number}")
                if target.startswith("socket:["):
                    found.setdefault(int(target[8:-1]), (int(name), comm))
        except OSError:
            pass
    return found


class Series:
    def __init__(self, write):
        self.write, self.known, self.numbers, self.owners, self.count = write, {}, {}, {}, 0

    def look(self, now, dump, held):
        """now: milliseconds since the beginning."""
        seen = rows(dump)
        if seen is None:
            self.write(f"X {now}")
            return
        self.write(f"L {now}")
        for cookie in [cookie for cookie in self.known if cookie not in seen]:
            self.write(f"- {self.numbers.pop(cookie)}")
            del self.known[cookie]
        for cookie, row in seen.items():
            self.row(now, cookie, row, held)

    def row(self, now, cookie, row, held):
        for letter in AGES:
            if letter in row:
                row[letter] = now - row[letter]
        if row["e"] is not None:
            row["e"] += now
        row["p"] = self.owner(held.get(row["I"]))
        old = self.known.get(cookie)
        name = row.pop("id")
        if old is None or old["id"] != name:
            if old is not None:  # its user has gone with its owner
                self.write(f"- {self.numbers[cookie]}")
            self.count += 1
            self.numbers[cookie] = self.count
            self.write(f"+ {self.count} {name}")
            old = {"id": name}
        changed = []
        for letter, value in row.items():
            before = old.get(letter)
            if letter in "dave" and None not in (before, value) and abs(value - before) < SAME:
                row[letter] = before
            elif value != before:
                changed.append(f"{letter}{'' if value is None else value}")
        if changed:
            self.write(f"{self.numbers[cookie]} " + " ".join(changed))
        self.known[cookie] = {"id": name, **row}

    def owner(self, holder):
        if holder is None:
            return 0
        if holder not in self.owners:
            self.owners[holder] = len(self.owners) + 1
            self.write(f"P {self.owners[holder]} {holder[0]} {holder[1]}")
        return self.owners[holder]
