"""One client's connection: reads HTTP/1.1 requests in turn and writes their answers.

llhttp (through httptools) parses, in its strict mode: what two servers could read
differently is refused here, before anything else sees it. One request is answered at a
time; those a client pipelines behind it wait in order. Both directions are held back by
the slower side, and nothing waits without an end (`tick`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol, cast

import httptools

from runtime.errors import (
    BadRequest,
    HeadersTooLarge,
    InvocationError,
    MethodNotAllowed,
    UriTooLong,
)
from runtime.exchange import Exchange
from runtime.http_request import HEADERS_MAX, METHODS, TARGET_MAX, RawHeaders

Handler = Callable[[Exchange], None]

# Seconds. The head of a request has to be there this long after its first byte.
HEAD_SECONDS = 20.0
# Between two requests; longer than the proxies in front of us keep theirs.
IDLE_SECONDS = 75.0
# A client that has taken nothing of what we write for so long is cut off.
STALL_SECONDS = 30.0
# After an answer to a request whose body we did not read: RFC 9112 section 9.6.
LINGER_SECONDS = 2.0
# Requests that may wait behind the one being answered, on one connection.
PIPELINE_MAX = 32
HEAD_MAX = HEADERS_MAX + TARGET_MAX + 4096
WRITE_HIGH = 256 * 1024


class Tunnel(Protocol):
    """Where bytes go once a connection has left HTTP (WebSocket)."""

    def from_client(self, data: bytes) -> None: ...

    def client_writable(self, can: bool) -> None: ...  # noqa: FBT001

    def client_lost(self) -> None: ...


class Memory:
    """The last request's header lines, and what was made of them (runtime.forward)."""

    __slots__ = ("headers", "passed")

    def __init__(self) -> None:
        self.headers: RawHeaders | None = None
        self.passed: Any = None


class ClientConnection(asyncio.Protocol):
    """Parses requests and hands each as an Exchange to `handle`."""

    def __init__(
        self, handle: Handler, connections: set[ClientConnection], scheme: str = "http"
    ) -> None:
        self.transport: asyncio.Transport
        self.peer = ""
        self.scheme = scheme
        self.is_lost = False
        self.is_writable = True
        self.closes = False  # after the answer that is being written
        self.tunnel: Tunnel | None = None
        self.memory = Memory()
        self._handle = handle
        self._connections = connections
        self._current: Exchange | None = None
        self._receiving: Exchange | None = None
        self._queue: deque[Exchange] = deque()
        self._since = monotonic()  # what `tick` measures: head, idle, stall or linger
        self._lingers = False
        self._held = False
        self._parser: Any = httptools.HttpRequestParser(self)
        self._forget_head()

    def _forget_head(self) -> None:
        self._url = b""
        self._headers: RawHeaders = []
        self._head_bytes = 0

    # -- asyncio.Protocol -------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=WRITE_HIGH)
        self.peer = (transport.get_extra_info("peername") or ("",))[0]
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self.tunnel is not None:
            self.tunnel.from_client(data)
            return
        if self.closes and self._receiving is None:
            return  # what follows a request we answered with `close` is nobody's
        self._parse(data)
        receiving = self._receiving
        if receiving is not None:
            receiving.news()
        self._next()

    def _parse(self, data: bytes) -> None:
        if self._receiving is None:
            if not self._head_bytes:
                self._since = monotonic()
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgraded(data[upgrade.args[0] :])
        except httptools.HttpParserInvalidMethodError:
            self._refuse(MethodNotAllowed("This method is not allowed here.", METHODS))
        except httptools.HttpParserError:
            self._refuse(BadRequest("The request is not well-formed HTTP/1.1."))
        else:
            if self._head_bytes > HEAD_MAX:
                self._refuse(HeadersTooLarge("The head of the request is too large."))

    def eof_received(self) -> bool:
        """A client that ends its side has gone, unless it is owed an error: one whose
        request ended early can still read what is wrong with it."""
        self.closes = True
        receiving, self._receiving = self._receiving, None
        if receiving is None or receiving is not self._current:
            return False
        receiving.truncated()
        return True  # keeps our side open

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self._connections.discard(self)
        if self.tunnel is not None:
            self.tunnel.client_lost()
        for exchange in [self._current, *self._queue]:
            if exchange is not None:
                exchange.lost()
        self._queue.clear()
        self._receiving = None

    def pause_writing(self) -> None:
        self.is_writable, self._since = False, monotonic()
        self._tell_writable()

    def resume_writing(self) -> None:
        self.is_writable = True
        self._tell_writable()

    def _tell_writable(self) -> None:
        if self.tunnel is not None:
            self.tunnel.client_writable(self.is_writable)
        elif self._current is not None:
            self._current.writable(self.is_writable)

    # -- httptools --------------------------------------------------------------------

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._receiving is None:  # else it is a trailer, which nobody gets
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        parser = self._parser
        exchange = Exchange(self, parser.get_method(), self._url, self._headers, parser)
        self._forget_head()
        self._receiving = exchange
        self._queue.append(exchange)

    def on_body(self, data: bytes) -> None:
        if self._receiving is not None:
            self._receiving.feed(data)

    def on_message_complete(self) -> None:
        if self._receiving is not None:
            self._receiving.is_whole = True
            self._receiving.news()
            self._receiving = None

    # -- the requests in turn ---------------------------------------------------------

    def _next(self) -> None:
        """Have the next request answered, if it is its turn."""
        if len(self._queue) > PIPELINE_MAX:
            self.hold(held=True)
        while self._current is None and self._queue and not self.is_lost:
            self._current = self._queue.popleft()
            self._handle(self._current)

    def finished(self, exchange: Exchange) -> None:
        """The answer has been written; go on, or end the connection."""
        self._current = None
        self._since = monotonic()
        if exchange is self._receiving:
            # The rest of its body is not wanted; RFC 9112 section 9.6 says how to end.
            self._linger()
        elif self.closes:
            self.transport.close()
        else:
            if exchange.upgrade_rest is not None:
                self._stay_http(exchange.upgrade_rest)
            if not self._queue:
                self.hold(held=False)
            else:
                asyncio.get_running_loop().call_soon(self._next)

    def _linger(self) -> None:
        """Close our side and read on for a moment, or the client may lose the answer:
        data that meets a closed socket resets the connection."""
        self._receiving, self.closes, self._lingers = None, True, True
        self.hold(held=False)
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()

    def _refuse(self, error: InvocationError) -> None:
        """Answer what cannot be parsed, behind what was asked before, and close."""
        self.closes = True
        if self._receiving is not None:
            self._receiving.truncated()
            self._receiving = None
            return
        if len(self._url) > TARGET_MAX:
            error = UriTooLong(f"Path and query may be at most {TARGET_MAX} bytes.")
        exchange = Exchange(self, b"GET", self._url[:200], [], None)
        exchange.refusal = error
        exchange.is_whole = True
        self._queue.append(exchange)
        self._parser = None

    def _upgraded(self, rest: bytes) -> None:
        """The parser stops at `Upgrade`; whether we upgrade is not its decision.

        Until the exchange has been answered nothing more is read: those bytes belong
        to the new protocol, or are the next request where there is none.
        """
        exchange = self._queue[-1] if self._queue else self._current
        if exchange is not None:
            exchange.upgrade_rest = rest
            exchange.is_whole = True
            exchange.news()
        self._receiving = None
        self.hold(held=True)

    def _stay_http(self, rest: bytes) -> None:
        """The upgrade was not taken: what follows is the next request."""
        self._parser = httptools.HttpRequestParser(self)
        if rest:
            asyncio.get_running_loop().call_soon(self._resume_with, rest)

    def _resume_with(self, rest: bytes) -> None:
        if not self.is_lost:
            self.data_received(rest)

    # -- holding back -----------------------------------------------------------------

    def hold_back(self, exchange: Exchange, *, held: bool) -> None:
        """Stop or go on reading while `exchange` has too much in memory."""
        if exchange is self._receiving:
            self.hold(held=held)

    def hold(self, *, held: bool) -> None:
        """Stop reading, or go on."""
        if held == self._held or self.is_lost or self.transport.is_closing():
            return
        self._held = held
        if held:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def send(self, data: bytes) -> None:
        """Write bytes that are not HTTP."""
        if not self.is_lost and not self.transport.is_closing():
            self.transport.write(data)

    # -- time -------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """End what has waited too long."""
        waited = now - self._since
        if self._lingers:
            is_over = waited > LINGER_SECONDS
        elif not self.is_writable:
            is_over = waited > STALL_SECONDS
        elif self._current is not None:
            is_over = False
        elif self._head_bytes:
            is_over = waited > HEAD_SECONDS
        else:
            is_over = self.is_idle and waited > IDLE_SECONDS
        if is_over:
            self.transport.abort()

    @property
    def is_idle(self) -> bool:
        """Whether it carries nothing now."""
        return (
            self._current is None
            and not self._queue
            and not self._head_bytes
            and self.tunnel is None
        )

    def drain(self) -> None:
        """The server stops: finish what was asked, take nothing new."""
        self.closes = True
        if self.is_idle:
            self.transport.close()
