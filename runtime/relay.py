"""One request on its way through one connection, and its answer on the way back.

Driven by what happens on either connection; no task waits anywhere. What depends on
where it leads (headers, limits, errors, what becomes of the connection) is in the hooks
at the end of the class.
"""

from __future__ import annotations

from time import perf_counter

from runtime.errors import BadRequest, InvocationError, RequestTimeout
from runtime.exchange import CLIENT_CLOSED, Exchange
from runtime.http_request import RawHeaders
from runtime.tunnel import Tunnel
from runtime.upstream_connection import UpstreamConnection

_MIN_STATUS, _MAX_STATUS = 200, 599


class Relay:
    """Request and answer between a client and an upstream, held back by the slower."""

    __slots__ = (
        "_chunked",
        "_has_begun",
        "_is_over",
        "_sent",
        "_since",
        "_tunnel",
        "connection",
        "error",
        "exchange",
        "is_clean",
        "received",
        "started",
        "streams_since",
        "timed_out",
        "timeout",
        "was_cancelled",
    )

    def __init__(
        self, exchange: Exchange, connection: UpstreamConnection, timeout: float
    ) -> None:
        self.exchange = exchange
        self.connection = connection
        self.timeout = timeout  # seconds until the answer's head
        self.started = self._since = perf_counter()
        self.error: InvocationError | None = None
        self.received = 0  # bytes of the request's body
        self.streams_since = 0.0  # when an answer of unknown length began
        self.is_clean = False
        self.timed_out = False  # no answer came, although all of the request was sent
        self.was_cancelled = False  # by the client, or because there is no more time
        self._chunked = self._has_begun = self._is_over = self._sent = False
        self._tunnel: Tunnel | None = None

    # -- the request ------------------------------------------------------------------

    def begin(self, head: bytes, length: int | None) -> None:
        """Send the request's head, and of its body what is there."""
        exchange, connection = self.exchange, self.connection
        self._chunked = length is None
        connection.begin(self, head_only=exchange.method == "HEAD")
        if length == 0 and exchange.is_whole:
            self._sent = True
            connection.transport.write(head)
        else:
            connection.transport.write(head)
            if not exchange.is_whole:
                connection.keep_readable()
            exchange.ask_for_body()
            self._send_body()
        if not self._is_over:
            exchange.on_news = self._client_news
            exchange.on_writable = self.client_writable
            if exchange.is_truncated:
                self._client_news()

    def _client_news(self) -> None:
        exchange = self.exchange
        if exchange.is_gone:
            self.client_lost()
        elif self._sent:
            return
        elif exchange.is_truncated:
            self._fail(BadRequest("The request body ended early or is malformed."))
        else:
            self._send_body()

    def _send_body(self) -> None:
        exchange, connection = self.exchange, self.connection
        if not connection.is_writable or connection.transport.is_closing():
            return  # what comes now is kept, and its client held back by its amount
        data = exchange.take()
        if data:
            self._since = perf_counter()
            self.received += len(data)
            try:
                self.check_size(self.received)
            except InvocationError as error:
                self._fail(error)
                return
            if self._chunked:
                data = b"%x\r\n%b\r\n" % (len(data), data)
            connection.transport.write(data)
        if exchange.is_whole:
            self._sent = True
            self._since = perf_counter()
            if self._chunked:
                connection.transport.write(b"0\r\n\r\n")

    def upstream_writable(self, *, can: bool) -> None:
        if can and not self._sent:
            self._send_body()

    # -- the answer -------------------------------------------------------------------

    def advance(self) -> None:
        connection, exchange = self.connection, self.exchange
        if not self._has_begun:
            if not connection.has_head:
                return
            if self._begin_answer():
                return
        data = connection.take()
        if data:
            exchange.push(data)
        if connection.is_complete:
            exchange.end()
            self._complete()
        elif not exchange.connection.is_writable and not connection.is_lost:
            connection.transport.pause_reading()

    def _begin_answer(self) -> bool:
        """Send the answer's head; True when that was all of it."""
        connection, exchange = self.connection, self.exchange
        status = connection.status
        if not _MIN_STATUS <= status <= _MAX_STATUS:
            self.failed(f"it answered with status {status}")
            return True
        try:
            lines, length = self.answer_lines(connection.headers)
        except InvocationError as error:
            self._fail(error)
            return True
        self._has_begun = True
        if connection.is_complete and exchange.method != "HEAD":
            exchange.respond(status, lines, connection.take())
            self._complete()
            return True
        if length is None:
            self.streams_since = perf_counter()
        exchange.begin(status, lines, length)
        return False

    def hinted(self, headers: RawHeaders) -> None:
        links = [b"link: %b\r\n" % value for name, value in headers if name == b"link"]
        # nginx before 1.29 takes an interim answer for the answer.
        if links and not self._has_begun and not self.exchange.is_proxied:
            self.exchange.hint(b"HTTP/1.1 103 Early Hints\r\n%b\r\n" % b"".join(links))

    def client_writable(self, can: bool) -> None:  # noqa: FBT001
        if self._is_over or self.connection.transport.is_closing():
            return
        if can:
            self.connection.transport.resume_reading()

    # -- leaving HTTP -----------------------------------------------------------------

    def upgraded(self, rest: bytes) -> None:
        exchange, headers = self.exchange, self.connection.headers
        protocols = [value.lower() for name, value in headers if name == b"upgrade"]
        if not exchange.asks_upgrade or protocols != [b"websocket"]:
            self.failed("it switched the protocol without being asked")
            return
        lines, _ = self.answer_lines(headers)
        self._has_begun = self._sent = True
        self.streams_since = perf_counter()
        self._tunnel = tunnel = Tunnel(exchange, self.connection, self._complete)
        self.connection.tunnel = tunnel
        self.connection.keep_readable()
        exchange.hijack(tunnel, lines)
        if rest:
            tunnel.from_upstream(rest)

    # -- the end ----------------------------------------------------------------------

    @property
    def awaits_answer(self) -> bool:
        """Whether its client is still owed one, from the first byte."""
        return not self._has_begun and not self._is_over

    def failed(self, reason: str) -> None:
        """The upstream is gone, or no use."""
        self._fail(self.failure(reason))

    def fail(self, error: InvocationError) -> None:
        """End it with this error, unless it has ended otherwise meanwhile."""
        if self.awaits_answer:
            self._fail(error)

    def tick(self, now: float) -> None:
        """End the wait for an answer that does not come."""
        if self._tunnel is not None:
            self._tunnel.tick(now)
        if self._has_begun or now - self._since < self.timeout:
            return
        if not self.exchange.is_whole and self.connection.is_writable:
            self._fail(RequestTimeout("The request body did not arrive in time."))
        else:
            self.timed_out = True
            self._fail(self.too_late())

    def cut(self) -> None:
        """Break off: there is no more time."""
        if not self._is_over:
            self.client_lost()
            self.exchange.abort()

    def _fail(self, error: InvocationError) -> None:
        self.error = error
        self.connection.abort()
        if self._has_begun:
            self.exchange.note(error_code=error.code)
            self.exchange.abort()
        else:
            self.exchange.refuse(error, self.marks())
        self._complete()

    def client_lost(self) -> None:
        """Nobody wants the answer: the function sees its connection close."""
        if self._is_over:
            return
        self.was_cancelled = True
        if not self._has_begun:
            self.exchange.status = CLIENT_CLOSED
        self.connection.abort()
        self._complete()

    def _complete(self) -> None:
        """Once: the connection is free, or gone."""
        if self._is_over:
            return
        self._is_over = True
        connection = self.connection
        if self._tunnel is not None:
            self.received = self._tunnel.received
        self.is_clean = (
            self._sent
            and connection.is_complete
            and connection.is_usable
            # Servers that answer HEAD with a body are not rare.
            and self.exchange.method != "HEAD"
        )
        connection.end()
        if not self.is_clean and not connection.is_lost:
            connection.abort()
        self.done()

    # -- where it leads ---------------------------------------------------------------

    def answer_lines(self, headers: RawHeaders) -> tuple[bytes, int | None]:
        """Header lines for the client, and the length of the body if known."""
        raise NotImplementedError

    def failure(self, reason: str) -> InvocationError:
        """The error to answer with when no answer came."""
        raise NotImplementedError

    def too_late(self) -> InvocationError:
        """The error to answer with when none came in time."""
        raise NotImplementedError

    def check_size(self, size: int) -> None:
        """Raise BodyTooLarge where a request body is over the limit."""

    def marks(self) -> bytes:
        """Header lines of an error answer."""
        return b""

    def done(self) -> None:
        """It is over, one way or the other."""
