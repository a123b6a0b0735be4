"""A small HTTP client whose own cost is the same for whatever stands behind it."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

PIECE = 1 << 20


class Client:
    """One keep-alive connection to a URL's host, or through a unix socket."""

    def __init__(self, url: str, unix: Path | None = None) -> None:
        parts = urlsplit(url)
        self._path = parts.path
        self._connection: http.client.HTTPConnection
        if unix is None:
            assert parts.hostname is not None
            self._connection = http.client.HTTPConnection(
                parts.hostname, parts.port, timeout=120
            )
        else:
            self._connection = _Unix(unix)

    def get(self, below: str = "") -> bytes:
        """The body of an answer that has to be 200."""
        self._connection.request("GET", self._path + below)
        return self._answer().read()

    def download(self, size: int) -> None:
        """GET so many bytes, piece by piece, and keep none."""
        self._connection.request("GET", f"{self._path}/bytes/{size}")
        answer = self._answer()
        piece = bytearray(PIECE)
        received = 0
        while count := answer.readinto(piece):
            received += count
        if received != size:
            raise RuntimeError(f"{received} bytes instead of {size}")

    def upload(self, size: int) -> None:
        """POST so many bytes; the server says how many it got."""
        piece = b"x" * min(size, PIECE)
        body = (piece for _ in range(size // len(piece)))
        headers = {"Content-Length": str(size)}
        self._connection.request("POST", f"{self._path}/sink", body, headers)
        said = self._answer().read()
        if said != b'{"received":%d}' % size:
            raise RuntimeError(f"{said!r} instead of {size}")

    def close(self) -> None:
        self._connection.close()

    def _answer(self) -> http.client.HTTPResponse:
        answer = self._connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {answer.read()!r}")
        return answer


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=120)
        self._unix = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._unix))


def answers(url: str, unix: Path | None = None) -> bool:
    """Whether a GET is answered with 200 right now."""
    client = Client(url, unix)
    try:
        client.get()
    except (OSError, http.client.HTTPException, RuntimeError):
        return False
    finally:
        client.close()
    return True


def until(done: Callable[[], bool], seconds: float = 60, every: float = 0.05) -> None:
    """Wait until something is so; raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not so after {seconds} s: {done}")
        time.sleep(every)
