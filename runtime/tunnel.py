"""Bytes between a client and an upstream that have left HTTP (WebSocket), as they are.

Each side may end before the other, which then goes on until it ends too, or until it
has said nothing for a while: somebody who went away without a word must not keep an
instance.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from runtime.exchange import Exchange
from runtime.upstream_connection import UpstreamConnection

HALF_CLOSED_SECONDS = 30.0


class Tunnel:
    """Both directions, each held back by the side that takes. `over` is called once."""

    __slots__ = ("_ends", "_over", "_since", "exchange", "received", "upstream")

    def __init__(
        self, exchange: Exchange, upstream: UpstreamConnection, over: Callable[[], None]
    ) -> None:
        self.exchange = exchange
        self.upstream = upstream
        self.received = 0  # bytes from the client
        self._over = over
        self._ends = 0  # sides that have ended
        self._since = perf_counter()

    # -- from the client --------------------------------------------------------------

    def from_client(self, data: bytes) -> None:
        """Some have come."""
        self.received += len(data)
        self._since = perf_counter()
        if not self.upstream.transport.is_closing():
            self.upstream.transport.write(data)

    def client_ended(self) -> None:
        """No more will come, but some may still go."""
        if not self.upstream.transport.is_closing():
            self.upstream.transport.write_eof()
        self._one_side_ended()

    def client_writable(self, *, can: bool) -> None:
        """The client takes more, or no more for now."""
        transport = self.upstream.transport
        if transport.is_closing():
            return
        if can:
            transport.resume_reading()
        else:
            transport.pause_reading()

    def client_lost(self) -> None:
        """The connection is gone."""
        self.upstream.abort()
        self._over()

    # -- from the upstream ------------------------------------------------------------

    def from_upstream(self, data: bytes) -> None:
        """Some have come."""
        self.exchange.sent += len(data)
        self._since = perf_counter()
        self.exchange.connection.send(data)

    def upstream_ended(self) -> None:
        """No more will come, but some may still go."""
        self.exchange.connection.end()
        self._one_side_ended()

    def upstream_writable(self, *, can: bool) -> None:
        """The upstream takes more, or no more for now."""
        self.exchange.connection.hold(held=not can)

    def failed(self, _: str) -> None:
        """The connection is gone."""
        self.exchange.connection.close()
        self._over()

    # -- the end ----------------------------------------------------------------------

    def _one_side_ended(self) -> None:
        self._ends += 1
        self._since = perf_counter()
        if self._ends > 1:
            self.upstream.transport.close()
            self.exchange.connection.close()

    def tick(self, now: float) -> None:
        """End one of which only half is left and says nothing."""
        if self._ends and now - self._since > HALF_CLOSED_SECONDS:
            self.exchange.connection.close()
            self.client_lost()
