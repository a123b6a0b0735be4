"""What a client sends, taken apart into requests.

llhttp (through httptools) parses, in its strict mode: what two servers could read
differently is refused here, before anything else sees it.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

import httptools

from runtime.client_socket import ClientSocket
from runtime.errors import (
    BadRequest,
    HeadersTooLarge,
    InvocationError,
    MethodNotAllowed,
    UriTooLong,
)
from runtime.exchange import Exchange
from runtime.http_request import HEADERS_MAX, METHODS, TARGET_MAX, RawHeaders
from runtime.tunnel import Tunnel

# Requests that may wait behind the one being answered, on one connection: with more we
# stop reading. One read may bring thousands; behind so many the others are refused.
PIPELINE_MAX = 32
PIPELINE_HARD = 1024
HEAD_MAX = HEADERS_MAX + TARGET_MAX + 4096
KEPT_MAX = 256 * 1024
_METHOD = re.compile(rb"[\r\n]*[!#-'*+.^_`|~0-9A-Za-z-]+ ")
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


class Memory:
    """What the last request said, and what was made of it (runtime.forward): a client
    mostly repeats itself."""

    __slots__ = ("asked", "passed", "said", "start")

    def __init__(self) -> None:
        self.said: tuple[str, RawHeaders] | None = None  # version and header lines
        self.passed: Any = None
        self.asked: tuple[Any, ...] | None = None  # what else its head depends on
        self.start: Any = None


class RequestReader(ClientSocket):
    """Puts each request into a queue as soon as its head is there."""

    def __init__(self) -> None:
        super().__init__()
        self.scheme = "http"
        self.memory = Memory()
        self.closes = False  # after the answer that is being written
        self._receiving: Exchange | None = None
        self._queue: deque[Exchange] = deque()
        # Who gets bytes that are no request, or not yet known to be one.
        self._sink: Callable[[bytes], None] | None = None
        self._kept = b""  # the latter
        self._parser: Any = httptools.HttpRequestParser(self)
        self._forget_head()

    def _forget_head(self) -> None:
        self._url = b""
        self._headers: RawHeaders = []
        # Of the head, and of the body since the last byte of content.
        self._head_bytes = self._framing_bytes = 0

    def _next(self) -> None:
        """Have the next request answered, if it is its turn."""
        raise NotImplementedError

    def finished(self, exchange: Exchange) -> None:
        """The answer has been written; go on, or end the connection."""
        raise NotImplementedError

    def leave_http(self, tunnel: Tunnel) -> None:
        """From here on the connection's bytes are the tunnel's."""
        raise NotImplementedError

    def data_received(self, data: bytes) -> None:
        if self._sink is not None:
            self._sink(data)
            return
        self._parse(data)
        receiving = self._receiving
        if receiving is not None:
            receiving.on_news()
        self._next()

    def _parse(self, data: bytes) -> None:
        if self._receiving is not None:
            self._framing_bytes += len(data)
        else:
            if not self._head_bytes:
                self._since = monotonic()
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgraded(data[upgrade.args[0] :])
        except httptools.HttpParserInvalidMethodError:
            self._refuse(_unknown_method(data))
        except httptools.HttpParserError:
            self._refuse(BadRequest("The request is not well-formed HTTP/1.1."))
        else:
            if self._head_bytes > HEAD_MAX:
                self._refuse(HeadersTooLarge("The head of the request is too large."))
            elif self._framing_bytes > HEAD_MAX:
                self._refuse(BadRequest("The request's body is mostly framing."))

    # -- httptools --------------------------------------------------------------------

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._receiving is None:  # else it is a trailer, which nobody gets
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._receiving is not None:
            return  # not a new one: see `_expect_body`
        parser = self._parser
        exchange = Exchange(self, parser.get_method(), self._url, self._headers, parser)
        self._forget_head()
        self._receiving = exchange
        self._queue.append(exchange)

    def on_body(self, data: bytes) -> None:
        self._framing_bytes = 0
        if self._receiving is not None:
            self._receiving.feed(data)

    def on_message_complete(self) -> None:
        if self._receiving is not None:
            self._receiving.is_whole = True
            self._receiving.on_news()
            self._receiving = None
            self._framing_bytes = 0

    # -- how much ---------------------------------------------------------------------

    def regulate(self) -> None:
        """Read on, or stop while too much of it is in memory."""
        receiving = self._receiving
        self.hold(
            held=(receiving is not None and receiving.is_full)
            or len(self._queue) > PIPELINE_MAX
            or len(self._kept) > KEPT_MAX
        )
        if len(self._queue) > PIPELINE_HARD and self._parser is not None:
            while len(self._queue) > PIPELINE_HARD:
                self._queue.pop()
            self._receiving = None
            self._refuse(BadRequest("Too many requests at once on one connection."))

    # -- requests that cannot be parsed -----------------------------------------------

    def _stop_reading(self) -> None:
        """Whatever comes from now on belongs to no request."""
        self._receiving = self._parser = None
        self._sink = _drop

    def _refuse(self, error: InvocationError) -> None:
        """Answer what cannot be parsed, behind what was asked before, and close."""
        receiving = self._receiving
        self._stop_reading()
        if receiving is not None:
            if self._queue and self._queue[-1] is receiving:
                receiving.refusal = error  # nobody has begun with it
            receiving.truncated()
            return
        if len(self._url) > TARGET_MAX:
            error = UriTooLong(f"Path and query may be at most {TARGET_MAX} bytes.")
        exchange = Exchange(self, b"GET", self._url[:200], self._headers, None)
        exchange.refusal = error
        exchange.is_whole = True
        self._forget_head()
        self._queue.append(exchange)

    # -- requests that ask for another protocol ---------------------------------------

    def _upgraded(self, rest: bytes) -> None:
        """The parser stops at `Upgrade`; whether we upgrade is not its decision.

        Where it may come to that, `rest` belongs to the new protocol, or is the next
        request where it does not: it waits until the exchange has been answered.
        """
        exchange = self._queue[-1]
        if exchange.method == "CONNECT":  # refused, and what follows is no request
            exchange.close_after()
            self._stop_reading()
            return
        self._parser = httptools.HttpRequestParser(self)
        self._kept, self._sink = rest, self._keep
        if exchange.asks_for_websocket():
            exchange.asks_upgrade = True
        else:
            self._expect_body(exchange)
            asyncio.get_running_loop().call_soon(self._read_on)

    def _expect_body(self, exchange: Exchange) -> None:
        """Go on as if no upgrade had been asked for: llhttp leaves the body of such a
        request alone, and would take it for the next request."""
        framing = [
            b"%b: %b\r\n" % item for item in exchange.raw_headers if item[0] in _FRAMING
        ]
        if framing:
            exchange.is_whole, self._receiving = False, exchange
            self._parse(b"POST / HTTP/1.1\r\n%b\r\n" % b"".join(framing))
            self._url = b""

    def _keep(self, data: bytes) -> None:
        self._kept += data
        self.regulate()

    def _read_on(self) -> None:
        """What was kept is HTTP after all."""
        if self.is_over or self._parser is None:
            return
        data, self._kept, self._sink = self._kept, b"", None
        self.regulate()
        if data:
            self.data_received(data)


def _drop(_: bytes) -> None:
    """Nobody reads what follows."""


def _unknown_method(data: bytes) -> InvocationError:
    if _METHOD.match(data):
        return MethodNotAllowed("This method is not allowed here.", METHODS)
    return BadRequest("This is not HTTP.")
