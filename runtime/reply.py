"""One answer: its head, its framing, its bytes, on a client's connection.

The framing is ours, whatever the function said: a length where it is known, chunks for
HTTP/1.1 where it is not, else the end of the connection (RFC 9112 section 6).
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.request_reader import RequestReader

_NO_BODY = frozenset({204, 304})
_STATUS = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    for status in HTTPStatus
}


class Reply:
    """Writes one answer. `finished` is called when all of it is written."""

    __slots__ = (
        "_chunked",
        "_keeps_alive",
        "_left",
        "connection",
        "http_version",
        "is_gone",
        "is_whole",
        "method",
        "request_id",
        "sent",
        "status",
    )
    # `date: …\r\n`, renewed by the server's clock.
    date = b""

    def __init__(
        self,
        connection: RequestReader,
        method: str,
        http_version: str,
        *,
        keeps_alive: bool,
    ) -> None:
        self.connection = connection
        self.method = method
        self.http_version = http_version
        self.request_id = ""
        self.status = self.sent = 0
        self.is_gone = False  # the client
        self.is_whole = False  # the request has come to its end
        self._keeps_alive = keeps_alive
        self._left: int | None = None  # bytes of the answer still announced
        self._chunked = False

    def begin(self, status: int, lines: bytes, length: int | None) -> None:
        """Send the head: header lines that end in CRLF, the body's length if known."""
        self._write(self._head(status, lines, length))

    def respond(self, status: int, lines: bytes, body: bytes) -> None:
        """Send a whole answer in one write."""
        if not self.is_whole:
            self._keeps_alive = False  # what is missing would be the next request
        head = self._head(status, lines, len(body))
        self.sent = len(body)
        self._left = None
        self._write(head if self._is_bodyless else head + body)
        self.finished()

    def push(self, data: bytes) -> None:
        """Send a piece of the body."""
        if self._is_bodyless:
            return
        self.sent += len(data)
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        elif self._left is not None:
            self._left -= len(data)
        self._write(data)

    def end(self) -> None:
        """The body is complete."""
        if self._chunked and not self._is_bodyless:
            self._write(b"0\r\n\r\n")
        if self._left and not self._is_bodyless:
            self.abort()  # shorter than announced
        self.finished()

    def hint(self, head: bytes) -> None:
        """Send an interim answer (1xx) to a client that can read one."""
        if self.http_version == "1.1" and not self.status:
            self._write(head)

    def abort(self) -> None:
        """Break the connection off: the answer cannot be completed, and the client has
        to see that. What was written of it still goes out."""
        is_framed = self._chunked or self._left is not None or self._is_bodyless
        self.connection.cut(reset=not is_framed)

    def close_after(self) -> None:
        """End the connection after this answer."""
        self._keeps_alive = False

    def _head(self, status: int, lines: bytes, length: int | None) -> bytes:
        self.status = status
        if status in _NO_BODY:
            framing = b""
        elif length is not None:
            framing = b"content-length: %d\r\n" % length
            self._left = length
        elif self.http_version == "1.1":
            framing, self._chunked = b"transfer-encoding: chunked\r\n", True
        else:
            framing, self._keeps_alive = b"", False
        persistence = b""
        if self.connection.closes or not self._keeps_alive:
            self.connection.closes = True
            persistence = b"connection: close\r\n"
        elif self.http_version != "1.1":
            persistence = b"connection: keep-alive\r\n"
        return b"%b%b%b%bx-request-id: %b\r\n%b\r\n" % (
            _STATUS.get(status) or b"HTTP/1.1 %d \r\n" % status,
            lines,
            framing,
            self.date,
            self.request_id.encode("ascii"),
            persistence,
        )

    @property
    def _is_bodyless(self) -> bool:
        return self.method == "HEAD" or self.status in _NO_BODY

    def _write(self, data: bytes) -> None:
        if not self.is_gone and not self.connection.transport.is_closing():
            self.connection.transport.write(data)

    def finished(self) -> None:
        """All of it is written."""
        raise NotImplementedError
