"""The least that makes a client one that is served, for each protocol. EOFError: what the service said instead."""
import struct

from service import printable


def read(one, size):
    data = b""
    while len(data) < size:
        part = one.recv(size - len(data))
        if not part:
            raise EOFError(printable(data))
        data += part
    return data


def line(one, request, expected):
    if request:
        one.sendall(request)
    answer = one.recv(500)
    if not answer.startswith(expected):
        raise EOFError(printable(answer))
    return answer


def memcached(one):
    line(one, b"version\r\n", b"VERSION")


def redis(one):
    line(one, b"PING\r\n", b"+PONG")


def http(path="/", status=b"HTTP/1.1 "):
    def hello(one):
        answer = line(one, f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode(), b"HTTP/1.")
        if answer[9:12] in (b"503", b"429"):
            raise EOFError(printable(answer.split(b"\r\n")[0]))
    return hello


def mysql_packet(one):
    head = read(one, 4)
    return read(one, head[0] | head[1] << 8 | head[2] << 16)


def mysql_login(user):
    def hello(one):
        greeting = mysql_packet(one)
        if greeting[0] == 0xFF:
            raise EOFError(printable(greeting[3:]))
        flags = 0x00000200 | 0x00008000 | 0x00080000 | 1
        body = struct.pack("<IIB23x", flags, 1 << 24, 33) + user + b"\0\0mysql_native_password\0"
        one.sendall(struct.pack("<I", len(body))[:3] + b"\1" + body)
        answer = mysql_packet(one)
        if answer[0] == 0xFF:
            raise EOFError(printable(answer[3:]))
        if answer[0] == 0xFE:  # asks again, for the plugin that it names: with no password the answer is empty
            one.sendall(b"\0\0\0\3")
            answer = mysql_packet(one)
            if answer[0] != 0:
                raise EOFError(printable(answer[3:]))
    return hello


def postgres(user=b"postgres", database=b"postgres"):
    def hello(one):
        body = struct.pack("!I", 196608) + b"user\0" + user + b"\0database\0" + database + b"\0\0"
        one.sendall(struct.pack("!I", len(body) + 4) + body)
        kind = b""
        while kind != b"Z":
            kind = read(one, 1)
            text = read(one, struct.unpack("!I", read(one, 4))[0] - 4)
            if kind == b"E":
                message = [field[1:] for field in text.split(b"\0") if field[:1] == b"M"]
                raise EOFError(printable(message[0] if message else text))
    return hello


def amqp_frame(one):
    kind, channel, size = struct.unpack("!BHI", read(one, 7))
    return read(one, size + 1)[:-1]


def amqp_send(one, payload):
    one.sendall(struct.pack("!BHI", 1, 0, len(payload)) + payload + b"\xce")


def amqp(heartbeat=0):
    def hello(one):
        one.sendall(b"AMQP\0\0\x09\x01")
        amqp_frame(one)
        login = b"\0guest\0guest"
        amqp_send(one, struct.pack("!HHI", 10, 11, 0) + b"\5PLAIN" + struct.pack("!I", len(login)) + login + b"\5en_US")
        tune = amqp_frame(one)
        if tune[:4] != struct.pack("!HH", 10, 30):
            raise EOFError(printable(tune))
        hello.offered = struct.unpack("!HIH", tune[4:12])[2]
        amqp_send(one, struct.pack("!HHHIH", 10, 31, 2047, 131072, heartbeat))
        amqp_send(one, struct.pack("!HH", 10, 40) + b"\1/\0\0")
        answer = amqp_frame(one)
        if answer[:4] != struct.pack("!HH", 10, 41):
            raise EOFError(printable(answer[7:]))
    return hello


def ldap(one):
    one.sendall(bytes.fromhex("300c020101600702010304008000"))
    answer = read(one, 14)
    if answer[7:10] != b"\x0a\x01\x00":
        raise EOFError(printable(answer))


def imap(user, password):
    def hello(one):
        line(one, b"", b"* OK")
        answer = line(one, b"a LOGIN " + user + b" " + password + b"\r\n", b"")
        if b"a OK" not in answer:
            raise EOFError(printable(answer))
    return hello


def mqtt(keep_alive):
    def hello(one):
        hello.count += 1
        name = b"c%d" % hello.count
        body = b"\0\4MQTT\4\2" + struct.pack("!HH", keep_alive, len(name)) + name
        one.sendall(bytes([0x10, len(body)]) + body)
        answer = read(one, 4)
        if answer[3] != 0:
            raise EOFError(f"CONNACK {answer[3]}")
    hello.count = 0
    return hello


def ssh(one):
    line(one, b"", b"SSH-2.0")


def fastcgi(one):
    """A ping to php-fpm that asks to keep the connection."""
    def pair(name, value):
        return bytes([len(name), len(value)]) + name + value
    body = pair(b"SCRIPT_NAME", b"/ping") + pair(b"SCRIPT_FILENAME", b"/ping") + pair(b"REQUEST_METHOD", b"GET")
    record = lambda kind, data: struct.pack("!BBHHBB", 1, kind, 1, len(data), 0, 0) + data
    one.sendall(record(1, struct.pack("!HB5x", 1, 1)) + record(4, body) + record(4, b"") + record(5, b""))
    answer = one.recv(4096)
    if b"pong" not in answer:
        raise EOFError(printable(answer))
