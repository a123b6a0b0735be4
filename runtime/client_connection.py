"""One client's connection: answers its requests in turn.

One request is answered at a time; those a client pipelines behind it wait in order.
Both directions are held back by the slower side, and nothing waits without an end
(`tick`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from runtime.errors import RequestTimeout
from runtime.exchange import Exchange
from runtime.request_reader import PIPELINE_MAX, RequestReader
from runtime.tunnel import Tunnel

Handler = Callable[[Exchange], None]

# Seconds. The head of a request has to be there this long after its first byte.
HEAD_SECONDS = 20.0
# Between two requests; longer than the proxies in front of us keep theirs.
IDLE_SECONDS = 75.0


class ClientConnection(RequestReader):
    """Hands each request as an Exchange to `handle`."""

    def __init__(self, handle: Handler, connections: set[ClientConnection]) -> None:
        super().__init__()
        self.tunnel: Tunnel | None = None
        self._handle = handle
        self._connections = connections
        self._current: Exchange | None = None
        self._has_ended = False  # the client's side

    # -- asyncio.Protocol -------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connections.add(self)

    def eof_received(self) -> bool:
        """A client that ends its side has gone, unless it is owed an error: one whose
        request ended early can still read what is wrong with it."""
        if self.tunnel is not None:
            self.tunnel.client_ended()
            return True  # keeps our side open
        receiving = self._receiving
        if receiving is None or receiving is not self._current:
            self._abandon()
            return False
        self._has_ended = True
        self._stop_reading()
        receiving.truncated()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self._connections.discard(self)
        if self.tunnel is not None:
            self.tunnel.client_lost()
        self._abandon()

    def _abandon(self) -> None:
        """Nobody reads what we answer."""
        self.is_over = True
        self._stop_reading()
        self._queue.clear()
        if self._current is not None:
            self._current.lost()

    def pause_writing(self) -> None:
        self.is_writable = False
        self._tell_writable()

    def resume_writing(self) -> None:
        self.is_writable = True
        self._tell_writable()
        self._next()

    def _tell_writable(self) -> None:
        if self.tunnel is not None:
            self.tunnel.client_writable(can=self.is_writable)
        elif self._current is not None:
            self._current.writable(self.is_writable)

    # -- the requests in turn ---------------------------------------------------------

    def _next(self) -> None:
        """Have the next request answered, if it is its turn."""
        while (
            self._current is None
            and self._queue
            and self.is_writable
            and not self.is_over
        ):
            self._current = self._queue.popleft()
            self._handle(self._current)
        if self._held or len(self._queue) > PIPELINE_MAX:
            self.regulate()

    def finished(self, exchange: Exchange) -> None:
        """The answer has been written; go on, or end the connection."""
        self._current = None
        self._since = monotonic()
        if self.is_over:
            return
        if exchange is self._receiving or (self._parser is None and not self._queue):
            self._end_early()
        elif self.closes:
            self.close()
        elif exchange.asks_upgrade:
            asyncio.get_running_loop().call_soon(self._read_on)
        elif self._queue:
            asyncio.get_running_loop().call_soon(self._next)
        elif self._held:
            self.regulate()

    def _end_early(self) -> None:
        if self._has_ended:
            self.close()
            return
        self._stop_reading()
        self._sink = self._discard
        self.linger()

    def _discard(self, _: bytes) -> None:
        self._since = monotonic()

    def leave_http(self, tunnel: Tunnel) -> None:
        """From here on the connection's bytes are the tunnel's."""
        self.tunnel, self._sink = tunnel, tunnel.from_client
        self.hold(held=False)
        kept, self._kept = self._kept, b""
        if kept:
            tunnel.from_client(kept)
        if not self.is_writable:
            tunnel.client_writable(can=False)

    # -- time -------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """End what has waited too long."""
        written = self._current.sent if self._current is not None else 0
        if self.is_stuck(now, written) or self.lingers_too_long(now):
            self.transport.abort()
        elif self.has_left(for_good=self.tunnel is not None):
            self._abandon()
            self.transport.abort()
        elif self._current is not None or self.tunnel is not None or self.is_over:
            pass  # whoever answers knows how long that may take
        elif self._head_bytes:
            if now - self._since > HEAD_SECONDS:
                self._refuse(RequestTimeout("The head of the request took too long."))
                self._next()
        elif now - self._since > IDLE_SECONDS and self.is_idle:
            self.close()

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
        """The server stops: finish what was asked, take nothing new. A tunnel would
        not end by itself."""
        self.closes = True
        if self.is_idle or self.tunnel is not None:
            self.close()
