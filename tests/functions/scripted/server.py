"""A server function that does what a test tells it, byte for byte.

    PUT /script/NAME    JSON, a list of steps: done for each request to /run/NAME
    GET /journal/NAME   JSON: for each such request what came, and how it ended
    GET /go/NAME        lets the step "wait" go on
    GET /network/NAME   /proc/net/tcp: what waits in the sandbox's connections
    anything else       is answered with the request as it came

Runs in a container; nothing but the standard library is there.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import socket
import struct
import threading
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

KEPT = 256 * 1024  # bytes of a request that the journal shows
PIECE = 64 * 1024
ACCEPT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3


@dataclass
class Record:
    """One request to /run/NAME."""

    connection: int = 0  # which of them
    got: str = ""  # its raw bytes, the first KEPT
    received: int = 0
    sent: int = 0
    end: str = ""  # of the connection: "eof", "reset" or ours: "closed"


scripts: dict[str, list[Any]] = {}
journal: dict[str, list[Record]] = defaultdict(list)
numbers = count(1)
signals: dict[str, threading.Event] = defaultdict(threading.Event)


class Connection:
    """One client; counts in `record` what it brings."""

    def __init__(self, raw: socket.socket) -> None:
        self.raw = raw
        self.number = next(numbers)
        self.buffer = b""
        self.name, self.head = "", b""
        self.record = Record()

    def serve(self) -> None:
        try:
            while self.answer(self.until(b"\r\n\r\n")):
                pass
            self.record.end = "closed"
        except EOFError:
            self.record.end = "eof"
        except OSError:
            self.record.end = "reset"
        finally:
            self.raw.close()

    def answer(self, head: bytes) -> bool:
        """Answer one request; False to end the connection."""
        path = head.split(b" ")[1].decode("latin-1")
        match = re.match(r"/(script|journal|go|network|run)/(\w+)", path)
        kind, name = match.groups() if match else ("", "")
        if kind == "run":
            self.begin(name, head)
            return all(
                getattr(self, f"do_{verb}")(*given) for verb, *given in scripts[name]
            )
        body, said = self.body(head), b"done"
        if kind == "script":
            scripts[name] = json.loads(body)
        elif kind == "go":
            signals[name].set()
        elif kind == "journal":
            rows = [asdict(record) for record in journal[name]]
            said = json.dumps(rows).encode()
        elif kind == "network":
            said = Path("/proc/net/tcp").read_bytes()
        else:
            self.echo(head, head + body)
            return True
        self.reply(said)
        return True

    def echo(self, head: bytes, request: bytes) -> None:
        extra = b""
        if head.startswith(b"HEAD "):
            extra = b"X-Request: %b\r\n" % base64.b64encode(request)
        self.reply(request, extra)

    def reply(
        self, body: bytes, extra: bytes = b"", *, only_head: bool = False
    ) -> None:
        self.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
            b"%bContent-Length: %d\r\n\r\n%b"
            % (extra, len(body), b"" if only_head else body)
        )

    # -- steps: each says whether the connection goes on ------------------------------

    def begin(self, name: str, head: bytes) -> None:
        self.name, self.head = name, head
        self.record = Record(self.number, head.decode("latin-1"), len(head))
        journal[name].append(self.record)

    def do_send(self, text: str) -> bool:
        """Send exactly these bytes."""
        self.send(text.encode("latin-1"))
        return True

    def do_last(self, text: str) -> bool:
        """Send these bytes and the end of the connection in one packet."""
        self.raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        self.send(text.encode("latin-1"))
        self.raw.shutdown(socket.SHUT_WR)
        return False

    def do_body(self) -> bool:
        """Read the request's body."""
        self.note(self.body(self.head))
        return True

    def do_count(self, size: int) -> bool:
        """Read so many bytes and only count them."""
        wanted = self.record.received + size
        while True:
            self.record.received += len(self.buffer)
            self.buffer = b""
            if self.record.received >= wanted:
                return True
            self.more()

    def do_drain(self) -> bool:
        """Read to the end of the connection."""
        while True:
            self.note(self.buffer)
            self.buffer = b""
            self.more()

    def do_flood(self, size: int) -> bool:
        """Send so many bytes, and count how far it got."""
        for _ in range(size // PIECE):
            self.send(bytes(PIECE))
        return True

    def do_pause(self, seconds: float) -> bool:
        time.sleep(seconds)
        return True

    def do_wait(self) -> bool:
        signals[self.name].wait(20)
        return True

    def do_eof(self) -> bool:
        """End our side of the connection."""
        self.raw.shutdown(socket.SHUT_WR)
        return True

    def do_close(self) -> bool:
        return False

    def do_reset(self) -> bool:
        linger = struct.pack("ii", 1, 0)
        self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        return False

    def do_websocket(self) -> bool:
        WebSocket(self, self.head).serve()
        return False

    # -- bytes ------------------------------------------------------------------------

    def note(self, data: bytes) -> None:
        record = self.record
        record.received += len(data)
        if len(record.got) < KEPT:
            record.got += data.decode("latin-1")

    def body(self, head: bytes) -> bytes:
        """The raw body behind a head, with the chunks' framing."""
        if re.search(rb"(?i)\r\ntransfer-encoding: *chunked\r\n", head):
            return self.chunks()
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)\r\n", head)
        return self.exactly(int(length[1])) if length else b""

    def chunks(self) -> bytes:
        got = b""
        while True:
            line = self.until(b"\r\n")
            got += line
            if not (size := int(line, 16)):
                return got + self.until(b"\r\n")
            got += self.exactly(size + 2)

    def until(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            self.more()
        found, _, self.buffer = self.buffer.partition(mark)
        return found + mark

    def exactly(self, size: int) -> bytes:
        while len(self.buffer) < size:
            self.more()
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def more(self) -> None:
        data = self.raw.recv(PIECE)
        if not data:
            raise EOFError
        self.buffer += data

    def send(self, data: bytes) -> None:
        self.raw.sendall(data)
        self.record.sent += len(data)


class WebSocket:
    """Sends back every frame it gets (RFC 6455)."""

    def __init__(self, connection: Connection, head: bytes) -> None:
        self.connection = connection
        key = re.search(rb"(?i)\r\nsec-websocket-key: *(\S+)\r\n", head)
        assert key is not None
        accept = base64.b64encode(hashlib.sha1(key[1] + ACCEPT).digest())
        connection.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n" % accept
        )

    def serve(self) -> None:
        exactly = self.connection.exactly
        while True:
            first, second = exactly(2)
            size = second & 0x7F
            if size >= 126:
                size = int.from_bytes(exactly(2 if size == 126 else 8), "big")
            mask, data = exactly(4), exactly(size)
            self.connection.record.received += size
            long_mask = (mask * (size // 4 + 1))[:size]
            plain = int.from_bytes(data, "big") ^ int.from_bytes(long_mask, "big")
            self.frame(first, plain.to_bytes(size, "big"))
            if first & 0x0F == 8:  # close
                return

    def frame(self, first: int, data: bytes) -> None:
        if len(data) < 126:
            head = struct.pack("!BB", first, len(data))
        elif len(data) < 1 << 16:
            head = struct.pack("!BBH", first, 126, len(data))
        else:
            head = struct.pack("!BBQ", first, 127, len(data))
        self.connection.send(head + data)


def main() -> None:
    listening = socket.create_server(("", int(os.environ["PORT"])), backlog=128)
    while True:
        raw, _ = listening.accept()
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=Connection(raw).serve, daemon=True).start()


if __name__ == "__main__":
    main()
