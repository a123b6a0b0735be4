"""Handing `/-/…` on to the web process, whatever state that is in.

A slow or dead dashboard costs a connection here and nothing else: no thread, no slot
of a function, no body in memory.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path

from runtime import http_request
from runtime.errors import (
    DashboardFailed,
    DashboardStarting,
    InvocationError,
    LengthRequired,
    Unavailable,
)
from runtime.exchange import ClientGone, Exchange
from runtime.http_request import HOP_BY_HOP, Headers, RawHeaders, Target
from runtime.idle import IdleConnections
from runtime.origin import Origin, forwardable
from runtime.relay import Relay
from runtime.upstream_connection import UpstreamConnection

log = logging.getLogger(__name__)

MOST_AT_ONCE = 128
ANSWER_SECONDS = 60.0
CONNECT_SECONDS = 3.0
_UNANSWERED = frozenset(
    name.encode() for name in HOP_BY_HOP | {"content-length", "x-request-id", "date"}
) | {b"server"}


class ControlPlane:
    """The way to the web process on its unix socket."""

    def __init__(self, path: Path) -> None:
        self.idle = IdleConnections()
        self._path = str(path)
        self._running: set[ControlRelay] = set()

    async def serve(self, exchange: Exchange, target: Target, origin: Origin) -> None:
        """Have a relay answer a request; raises InvocationError and ClientGone."""
        length = http_request.body_length(exchange.headers)
        if length is None:
            # WSGI has no word for it: Django would take the body for empty.
            raise LengthRequired("The dashboard needs a Content-Length.")
        if len(self._running) >= MOST_AT_ONCE:
            raise Unavailable("The dashboard is busy. Try again in a moment.")
        connection = self.idle.take() or await self._connect()
        if exchange.is_gone:
            self.idle.keep(connection)
            raise ClientGone
        relay = ControlRelay(self, exchange, connection)
        self._running.add(relay)
        relay.begin(_head(exchange, target, origin, length), length)

    async def _connect(self) -> UpstreamConnection:
        loop = asyncio.get_running_loop()
        raw = socket.socket(socket.AF_UNIX)
        raw.setblocking(False)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await loop.sock_connect(raw, self._path)
                _, connection = await loop.create_unix_connection(
                    lambda: UpstreamConnection(raw), sock=raw
                )
        except (OSError, TimeoutError) as error:
            raw.close()
            log.warning("the web process cannot be reached: %s", error)
            raise DashboardStarting(
                "The control plane does not answer yet. Functions are not affected."
            ) from error
        return connection

    def finished(self, relay: ControlRelay) -> None:
        """A relay is over: its connection is free again."""
        self._running.discard(relay)
        if relay.is_clean:
            self.idle.keep(relay.connection)
        relay.exchange.log()

    def tick(self, now: float) -> None:
        """End the wait for answers that do not come."""
        for relay in list(self._running):
            relay.tick(now)

    def close(self) -> None:
        """Drop the idle connections."""
        self.idle.close()


class ControlRelay(Relay):
    """A relay to the web process."""

    __slots__ = ("_control",)

    def __init__(
        self, control: ControlPlane, exchange: Exchange, connection: UpstreamConnection
    ) -> None:
        super().__init__(exchange, connection, ANSWER_SECONDS)
        self._control = control

    def answer_lines(self, headers: RawHeaders) -> tuple[bytes, int | None]:
        lines = [b"%b: %b\r\n" % item for item in headers if item[0] not in _UNANSWERED]
        lengths = [value for name, value in headers if name == b"content-length"]
        return b"".join(lines), int(lengths[0]) if lengths else None

    def failure(self, reason: str) -> InvocationError:
        log.error("the web process failed: %s", reason)
        return DashboardFailed(
            "The control plane gave no answer. Functions are not affected."
        )

    def too_late(self) -> InvocationError:
        return self.failure(f"no answer within {ANSWER_SECONDS:g} s")

    def done(self) -> None:
        self._control.finished(self)


def _head(exchange: Exchange, target: Target, origin: Origin, length: int) -> bytes:
    """The request's head; framed by us alone, whatever the client wrote."""
    path = f"{target.raw_path}?{target.query}" if target.query else target.raw_path
    forwarded = forwardable(exchange.headers, origin, exchange.request_id)
    dropped = {"host", "content-length"}
    kept: Headers = [item for item in forwarded if item[0] not in dropped]
    if length or exchange.method in {"POST", "PUT", "PATCH"}:
        kept.append(("content-length", str(length)))
    lines = b"".join(
        b"%b: %b\r\n" % (name.encode("ascii"), value.encode("latin-1"))
        for name, value in [("host", origin.host), *kept]
    )
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (
        exchange.method.encode("ascii"),
        path.encode("ascii"),
        lines,
    )
