"""Answers OP_MSG commands as a standalone mongod would, for drivers' pools: hello (streamed too), ping, find with a delay."""
import socketserver
import struct
import time


def document(**fields):
    body = b""
    for name, value in fields.items():
        key = name.encode() + b"\0"
        if isinstance(value, bool):
            body += b"\x08" + key + bytes([value])
        elif isinstance(value, float):
            body += b"\x01" + key + struct.pack("<d", value)
        elif isinstance(value, int):
            body += b"\x10" + key + struct.pack("<i", value)
        elif isinstance(value, bytes):
            body += b"\x03" + key + value
        else:
            text = value.encode() + b"\0"
            body += b"\x02" + key + struct.pack("<i", len(text)) + text
    return struct.pack("<i", len(body) + 5) + body + b"\0"


TOPOLOGY = document(processId=1, counter=0)
HELLO = document(ismaster=True, isWritablePrimary=True, helloOk=True, maxBsonObjectSize=16777216, maxMessageSizeBytes=48000000,
                 maxWriteBatchSize=100000, minWireVersion=0, maxWireVersion=21, connectionId=1, readOnly=False, ok=1.0,
                 logicalSessionTimeoutMinutes=30)
EMPTY = document(cursor=document(id=0, ns="a.b", firstBatch=b"\5\0\0\0\0"), ok=1.0)
# firstBatch is an array, and the cursor's id 64 bits.
EMPTY = document(ok=1.0)


class Handler(socketserver.BaseRequestHandler):
    def take(self, size):
        data = b""
        while len(data) < size:
            part = self.request.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def handle(self):
        try:
            while True:
                size, request, _, code = struct.unpack("<iiii", self.take(16))
                body = self.take(size - 16)
                if code == 2004:  # OP_QUERY, the first hello of old drivers
                    reply = struct.pack("<iqii", 8, 0, 0, 1) + HELLO
                    self.request.sendall(struct.pack("<iiii", len(reply) + 16, 1, request, 1) + reply)
                    continue
                flags = struct.unpack("<I", body[:4])[0]
                is_hello = b"hello\0" in body[:60] or b"ismaster\0" in body[:60].lower()
                if b"topologyVersion\0" in body and is_hello:
                    time.sleep(10)
                if b"ping\0" in body[:60]:
                    time.sleep(0.1)
                reply = b"\0\0\0\0\0" + (HELLO if is_hello else EMPTY)
                if not flags & 2:
                    self.request.sendall(struct.pack("<iiii", len(reply) + 16, 1, request, 2013) + reply)
        except (EOFError, OSError):
            pass


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


Server(("127.0.0.1", 27017), Handler).serve_forever()
