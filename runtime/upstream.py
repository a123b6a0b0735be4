"""A small HTTP/1.1 client over a unix socket: keep-alive pool, streaming both ways.

For upstreams of our own (the web process), on the gateway's event loop. Messages are
framed by us alone: the caller's Content-Length or `chunked`, never what a client wrote.
Bodies flow with back-pressure in both directions; nothing is collected in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import httptools

from applications.errors import PlatformError

RawHeaders = list[tuple[bytes, bytes]]

HIGH_WATER = 256 * 1024
# Shorter than the server's own idle timeout, so a request never meets its closing.
IDLE_SECONDS = 5.0
IDLE_MAX = 32
CONNECT_SECONDS = 3.0
_NO_BODY = frozenset({204, 304})


class UpstreamAbsent(PlatformError):
    """Nothing listens on the socket, or it takes no more connections."""

    code = "upstream:absent"


class UpstreamFailed(PlatformError):
    """The upstream broke off, spoke no HTTP, or took too long."""

    code = "upstream:failed"


class Connection(asyncio.Protocol):
    """One connection; carries one exchange at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.idle_since = 0.0
        self._writable = asyncio.Event()
        self._writable.set()
        self._lost: Exception | None = None
        self._news = asyncio.Event()
        self._reset(head_only=False)

    def _reset(self, *, head_only: bool) -> None:
        self.status = 0
        self.headers: RawHeaders = []
        self.has_head = self.is_complete = self.keeps_alive = self.has_bytes = False
        self._head_only = head_only
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._parser: Any = httptools.HttpResponseParser(self)

    # -- asyncio.Protocol -------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.has_bytes = True
        if self.is_complete:
            # Bytes after the end of an answer would be taken for the next one's.
            self.keeps_alive = False
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(UpstreamFailed(f"not an HTTP answer: {error}"))
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.has_head and not self.is_complete and self._ends_with_connection():
            self.is_complete = True
        self.keeps_alive = False
        self._fail(UpstreamFailed("the upstream closed the connection"))

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # -- httptools --------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status < 200:  # 100 and 103 come before the answer proper
            self.headers = []
            return
        self.has_head = True
        self.keeps_alive = self._parser.should_keep_alive()
        if self._head_only or self.status in _NO_BODY:
            self.is_complete = True
        self._news.set()

    def on_body(self, body: bytes) -> None:
        if self._head_only:
            return
        self._chunks.append(body)
        self._buffered += len(body)
        if self._buffered > HIGH_WATER:
            self.transport.pause_reading()
        self._news.set()

    def on_message_complete(self) -> None:
        if self.has_head:
            self.is_complete = True
            self._news.set()

    # -- one exchange -----------------------------------------------------------------

    @property
    def is_usable(self) -> bool:
        return self._lost is None and not self.transport.is_closing()

    def begin(self, head: bytes, *, head_only: bool) -> None:
        """Send the request line and headers."""
        self._reset(head_only=head_only)
        self.transport.write(head)

    async def write(self, data: bytes) -> None:
        """Send body bytes; waits while the upstream does not take them."""
        self.transport.write(data)
        await self._writable.wait()
        if self._lost:
            raise self._lost

    async def wait_for_head(self) -> None:
        """Return when status and headers are there; raises UpstreamFailed."""
        while not self.has_head:
            await self._wait()

    async def read(self) -> bytes:
        """The next piece of the body, b"" at its end; raises UpstreamFailed."""
        while not self._chunks:
            if self.is_complete:
                return b""
            await self._wait()
        data = b"".join(self._chunks)
        self._chunks.clear()
        if self._buffered > HIGH_WATER and self.is_usable:
            self.transport.resume_reading()
        self._buffered = 0
        return data

    async def _wait(self) -> None:
        if self._lost:
            raise self._lost
        self._news.clear()
        await self._news.wait()

    def _fail(self, error: UpstreamFailed) -> None:
        self._lost = self._lost or error
        self._writable.set()
        self._news.set()

    def _ends_with_connection(self) -> bool:
        return not any(
            name in {b"content-length", b"transfer-encoding"}
            for name, _ in self.headers
        )


class Reply:
    """An answer whose body is still to be read. Close it, read to its end or not."""

    def __init__(self, upstream: Upstream, connection: Connection) -> None:
        self.status = connection.status
        self.headers = connection.headers
        self._upstream, self._connection = upstream, connection

    async def read(self) -> bytes:
        """The next piece of the body, b"" at its end; raises UpstreamFailed."""
        return await self._connection.read()

    def abort(self) -> None:
        """Break off; a read that waits raises UpstreamFailed."""
        self._connection.transport.abort()

    def close(self) -> None:
        """Give the connection back, or drop it where something is left on it."""
        self._upstream.give_back(self._connection)


class Upstream:
    """Requests to the server on one unix socket."""

    def __init__(self, path: Path, answer_seconds: float) -> None:
        self._path = str(path)
        self._answer_seconds = answer_seconds
        self._idle: list[Connection] = []

    async def send(
        self,
        method: str,
        target: str,
        headers: RawHeaders,
        body: AsyncIterator[bytes] | None = None,
        length: int | None = 0,
    ) -> Reply:
        """Send a request and return when the head of its answer is there.

        `length` is the body's size, None to send it in chunks. `headers` must not hold
        hop-by-hop ones. Raises UpstreamAbsent and UpstreamFailed.
        """
        head = _head(method, target, headers, length)
        while True:
            connection, is_fresh = await self._connect()
            try:
                connection.begin(head, head_only=method == "HEAD")
                await self._exchange(connection, body, chunked=length is None)
            except UpstreamFailed:
                connection.transport.abort()
                # A pooled connection may have been closed under us; nothing was sent.
                if is_fresh or body is not None or connection.has_bytes:
                    raise
            except BaseException:
                connection.transport.abort()
                raise
            else:
                return Reply(self, connection)

    async def _exchange(
        self,
        connection: Connection,
        body: AsyncIterator[bytes] | None,
        *,
        chunked: bool,
    ) -> None:
        try:
            async with asyncio.timeout(self._answer_seconds):
                if body is not None:
                    await _send_body(connection, body, chunked=chunked)
                await connection.wait_for_head()
        except TimeoutError:
            raise UpstreamFailed(
                f"no answer within {self._answer_seconds:g} s"
            ) from None

    async def _connect(self) -> tuple[Connection, bool]:
        while self._idle:
            connection = self._idle.pop()
            fresh_enough = time.monotonic() - connection.idle_since < IDLE_SECONDS
            if connection.is_usable and fresh_enough:
                return connection, False
            connection.transport.abort()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, connection = await loop.create_unix_connection(
                    Connection, self._path
                )
        except (OSError, TimeoutError) as error:
            raise UpstreamAbsent(f"{self._path}: {error}") from error
        return connection, True

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next request if its answer was read to the end."""
        is_clean = connection.is_complete and connection.keeps_alive
        if is_clean and connection.is_usable and len(self._idle) < IDLE_MAX:
            connection.idle_since = time.monotonic()
            self._idle.append(connection)
        else:
            connection.transport.abort()

    def close(self) -> None:
        """Drop the idle connections."""
        while self._idle:
            self._idle.pop().transport.abort()


def _head(method: str, target: str, headers: RawHeaders, length: int | None) -> bytes:
    lines = [b"%b %b HTTP/1.1" % (method.encode("ascii"), target.encode("ascii"))]
    lines += [b"%b: %b" % item for item in headers if item[0] != b"content-length"]
    if length is None:
        lines.append(b"transfer-encoding: chunked")
    elif length or method in {"POST", "PUT", "PATCH"}:
        lines.append(b"content-length: %d" % length)
    return b"\r\n".join(lines) + b"\r\n\r\n"


async def _send_body(
    connection: Connection, body: AsyncIterator[bytes], *, chunked: bool
) -> None:
    """Send the body until its end, or until the upstream has answered already."""
    sending = asyncio.ensure_future(_pump(connection, body, chunked=chunked))
    answered = asyncio.ensure_future(connection.wait_for_head())
    try:
        await asyncio.wait({sending, answered}, return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
        else:
            connection.keeps_alive = False
    finally:
        for task in (sending, answered):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, UpstreamFailed):
                await task


async def _pump(
    connection: Connection, body: AsyncIterator[bytes], *, chunked: bool
) -> None:
    async for data in body:
        if data:
            await connection.write(
                b"%x\r\n%b\r\n" % (len(data), data) if chunked else data
            )
    if chunked:
        await connection.write(b"0\r\n\r\n")
