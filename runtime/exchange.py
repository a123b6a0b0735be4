"""One HTTP request and its one answer, on a client's connection.

Two kinds of code use it: coroutines (request_body.py, `start`, `write`, `answer`), and
the relay to a server function, which is called back instead (`on_news`, `on_writable`)
and so spends no task and no turn of the event loop on a warm request.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any

from runtime import access, http_request
from runtime.errors import BadRequest, InvocationError
from runtime.http_request import Headers, RawHeaders
from runtime.problem import Problem
from runtime.reply import Reply

if TYPE_CHECKING:
    from runtime.request_reader import RequestReader
    from runtime.tunnel import Tunnel

# A request's body in memory before its client is held back.
BODY_HIGH = 256 * 1024
CLIENT_CLOSED = 499
_SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n"
    b"upgrade: websocket\r\n%bx-request-id: %b\r\n\r\n"
)
_BY_PROXIES = frozenset({b"via", b"forwarded", b"x-forwarded-for"})
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class ClientGone(Exception):
    """The client closed the connection; nobody reads an answer."""


def ignore(_: Any = None) -> None:
    """Nobody wants to know."""


class Exchange(Reply):
    """The request as it came, what is known about it so far, and the way to answer."""

    __slots__ = (
        "_buffered",
        "_chunks",
        "_gone",
        "_headers",
        "_is_continued",
        "asks_upgrade",
        "id",
        "is_over",
        "is_truncated",
        "notes",
        "on_news",
        "on_writable",
        "raw_headers",
        "raw_path",
        "raw_query",
        "refusal",
        "started",
    )

    def __init__(
        self,
        connection: RequestReader,
        method: bytes,
        url: bytes,
        headers: RawHeaders,
        parser: Any,
    ) -> None:
        self.started = perf_counter()
        super().__init__(
            connection,
            method.decode("ascii"),
            parser.get_http_version() if parser else "1.1",
            keeps_alive=parser is not None and parser.should_keep_alive(),
        )
        self.raw_path, _, self.raw_query = url.partition(b"?")
        self.raw_headers = headers
        self.id = self.request_id = http_request.new_id()
        # What the access line says beside the request itself, as JSON members.
        self.notes = ""
        self.refusal: InvocationError | None = None
        self.asks_upgrade = False  # to a WebSocket, and may get it
        self.is_truncated = self.is_over = False
        self.on_news: Callable[[], None] = ignore
        self.on_writable: Callable[[bool], None] = ignore
        self._headers: Headers | None = None
        self._chunks: deque[bytes] | None = None
        self._buffered = 0
        self._is_continued = False
        self._gone: asyncio.Future[None] | None = None

    # -- from the connection ----------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """A piece of the body has come."""
        if self._chunks is None:
            self._chunks = deque()
        self._chunks.append(data)
        self._buffered += len(data)
        if self._buffered > BODY_HIGH:
            self.connection.regulate()

    @property
    def is_full(self) -> bool:
        """Whether more of the body has come than is wanted in memory."""
        return self._buffered > BODY_HIGH

    def truncated(self) -> None:
        """No more of the body will come, and its end is missing."""
        self.is_truncated = True
        self.on_news()

    def lost(self) -> None:
        self.is_gone = True
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)
        self.on_news()
        self.on_writable(True)  # whoever waits has to see that nobody takes it

    def writable(self, is_writable: bool) -> None:  # noqa: FBT001
        self.on_writable(is_writable)

    # -- the request ------------------------------------------------------------------

    @property
    def peer(self) -> str:
        return self.connection.peer

    @property
    def scheme(self) -> str:
        return self.connection.scheme

    @property
    def is_proxied(self) -> bool:
        """Whether it came through somebody else, by what that somebody says."""
        return any(name in _BY_PROXIES for name, _ in self.raw_headers)

    @property
    def headers(self) -> Headers:
        """Header lines as text, names in lower case; empty before `read_head`."""
        return self._headers or []

    def read_head(self) -> http_request.Target:
        """Check headers and target; raises the BadRequest family."""
        # First, so that an error about the rest is found under the caller's own id.
        self.request_id = http_request.request_id(self.raw_headers, self.id)
        if self.refusal is not None:
            raise self.refusal
        path = self.raw_path
        if not path.startswith(b"/"):
            self.raw_path, self.raw_headers = http_request.origin_form(
                path, self.raw_headers
            )
        self._headers = http_request.read_headers(self.raw_headers, self.http_version)
        return http_request.read_target(self.raw_path, self.raw_query)

    def take(self) -> bytes:
        """What has come of the body since the last time."""
        if not self._chunks:
            return b""
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        was_full = self._buffered > BODY_HIGH
        self._buffered = 0
        if was_full:
            self.connection.regulate()
        return data

    def asks_for_websocket(self) -> bool:
        """Whether it asks, with `Connection: Upgrade`, for a WebSocket as RFC 6455
        section 4.1 has it. Other requests to upgrade are ignored."""
        return (
            self.method == "GET"
            and self.http_version == "1.1"
            and http_request.first_raw(self.raw_headers, b"upgrade").lower()
            == "websocket"
            and not http_request.has_body(self.raw_headers)
        )

    def ask_for_body(self) -> None:
        """Send `100 Continue` to a client that waits for it (RFC 9110 10.1.1)."""
        if self.is_whole or self._is_continued or self.status:
            return
        self._is_continued = True
        if self.http_version == "1.1" and http_request.expects_continue(
            self.raw_headers
        ):
            self._write(_CONTINUE)

    async def disconnected(self) -> None:
        """Return when the client has gone."""
        if self.is_gone:
            return
        if self._gone is None:
            self._gone = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._gone)

    # -- the answer, as coroutines ----------------------------------------------------

    async def start(self, status: int, headers: Headers) -> None:
        """Send the head of the answer; every answer carries X-Request-Id."""
        length = http_request.first(headers, "content-length")
        self.begin(status, lines_of(headers), int(length) if length else None)

    async def write(self, data: bytes, *, more: bool) -> None:
        """Send a piece of the answer's body; waits while the client takes nothing."""
        if data:
            self.push(data)
        if not more:
            self.end()
        elif not self.connection.is_writable:
            await self._drained()
        if more and self.is_gone:
            raise ClientGone

    async def _drained(self) -> None:
        ready = asyncio.get_running_loop().create_future()
        self.on_writable = lambda can: (
            ready.set_result(None) if can and not ready.done() else None
        )
        try:
            await ready
        finally:
            self.on_writable = ignore

    async def answer(self, status: int, headers: Headers, body: bytes = b"") -> None:
        """Send a whole answer; to HEAD without the body, but with its length."""
        await self.start(status, headers)
        await self.write(body, more=False)

    # -- the answer, at once ----------------------------------------------------------

    def fail(self, problem: Problem, lines: bytes = b"") -> None:
        """Answer with a platform error, and with header lines beside its own."""
        self.note(error_code=problem.code)
        if problem.status == BadRequest.status:
            self.close_after()  # where it began another server may see differently
        accept = http_request.first_raw(self.raw_headers, b"accept")
        headers, body = problem.render(self.request_id, accept)
        self.respond(problem.status, lines_of(headers) + lines, body)

    def refuse(self, error: InvocationError, lines: bytes = b"") -> None:
        """Answer with the documented form of an error."""
        self.fail(Problem.of(error), lines)

    def hijack(self, tunnel: Tunnel, lines: bytes) -> None:
        """Leave HTTP: from here on the connection's bytes are the tunnel's."""
        self.status = 101
        self._write(_SWITCHED % (lines, self.request_id.encode("ascii")))
        self.connection.leave_http(tunnel)

    def finished(self) -> None:
        """The answer has been written to its end."""
        self.on_news = self.on_writable = ignore
        self.is_over = True
        if not self.is_gone:
            self.connection.finished(self)

    # -- the access line --------------------------------------------------------------

    def note(self, **facts: str) -> None:
        """Add to the access line."""
        self.notes += access.members(facts)

    def log(self, ended: float = 0.0) -> None:
        """One access line: what came, what went, how long it took, until now or a
        moment ago (`perf_counter`)."""
        access.put(
            self.method,
            self.raw_path,
            self.request_id,
            self.status,
            (ended or perf_counter()) - self.started,
            self.sent,
            self.notes,
        )


def lines_of(headers: Headers) -> bytes:
    """Header lines for `begin` and `respond`, which write the length themselves."""
    return "".join(
        f"{name}: {value}\r\n" for name, value in headers if name != "content-length"
    ).encode("latin-1")
